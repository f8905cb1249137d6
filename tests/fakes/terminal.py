"""A terminal of a given size: a program runs in it, keys are typed, and what stands on the screen is read."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

_HALF = re.compile(r"\x1b(\[[0-9;?]*)?$")
_PIECE = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Terminal:
    """`patience` bounds each wait (s); what is waited for is a condition, never a time."""

    def __init__(self, command, columns, rows, patience=30):
        self.columns, self.rows, self.patience = columns, rows, patience
        self._cells, self._row, self._column = [], 0, 0
        self.modes = set()
        self._text, self._rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
        self._clear()
        self._far, near = pty.openpty()
        fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._near = near  # kept, so that what was set there can be read
        env = {key: text for key, text in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            command, stdin=near, stdout=near, stderr=near, env={**env, "TERM": "xterm-256color"}, start_new_session=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self._near)
        os.close(self._far)

    @property
    def lines(self):
        return ["".join(row).rstrip() for row in self._cells]

    @property
    def echoes(self):
        return bool(termios.tcgetattr(self._near)[3] & termios.ECHO)

    def type(self, keys):
        os.write(self._far, keys.encode())

    def until(self, condition):
        """The lines on the screen once `condition` holds of them."""
        ends = time.monotonic() + self.patience
        while not condition(self.lines):
            left = ends - time.monotonic()
            assert left > 0, "\n".join(self.lines)
            if select.select([self._far], [], [], min(left, 0.2))[0]:
                self._draw(self._rest + self._text.decode(os.read(self._far, 65536)))
        return self.lines

    def ends(self):
        """The exit code, once all that the program wrote is on the screen."""
        ends = time.monotonic() + self.patience
        while self.process.poll() is None or select.select([self._far], [], [], 0)[0]:
            assert time.monotonic() < ends, "\n".join(self.lines)
            if select.select([self._far], [], [], 0.1)[0]:
                self._draw(self._rest + self._text.decode(os.read(self._far, 65536)))
        return self.process.returncode

    def _clear(self):
        self._cells = [[" "] * self.columns for _ in range(self.rows)]

    def _draw(self, text):
        half = _HALF.search(text)  # the end of it comes with the next piece
        self._rest = half[0] if half else ""
        text = text.removesuffix(self._rest)
        for private, numbers, letter, control, words in _PIECE.findall(text):
            if private:
                (self.modes.add if letter == "h" else self.modes.discard)(int(numbers))
            elif letter == "H":
                self._row = self._column = 0
            elif letter == "J":
                self._clear()
            elif control == "\r":
                self._column = 0
            elif control == "\n":
                self._next()
            else:
                for one in words:
                    self._put(one)

    def _put(self, one):
        if self._column == self.columns:
            self._column = 0
            self._next()
        self._cells[self._row][self._column] = one
        self._column += 1

    def _next(self):
        if self._row + 1 < self.rows:
            self._row += 1
        else:
            self._cells = [*self._cells[1:], [" "] * self.columns]
