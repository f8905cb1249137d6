"""A serial port as lines of text: what a modem says, whole, and nothing that would fill the memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import termios
from collections import deque

import serial

from agent.errors import WireError

__all__ = ["LONGEST_LINE", "LinePort"]

LONGEST_LINE = 1024
"""Bytes. The longest packet (255 bytes) makes a line of some 540; what is longer is no line, and dropped."""
_MOST_LINES = 500  # that nobody took yet
_ENDS = re.compile(rb"[\r\n]+")


class LinePort:
    """A port of the machine itself, 8N1, owned by one program at a time.

    `port` is looked up anew at each opening: an adapter that comes back under another ttyUSB keeps its by-id name.
    `garbage` counts what was dropped: a run without a line's end, or lines that nobody took.
    """

    def __init__(self, port: str, baudrate: int) -> None:
        self.garbage = 0
        self._port, self._baudrate = port, baudrate
        self._serial: serial.Serial | None = None
        self._fd = -1
        self._rest = bytearray()
        self._skipping = False
        self._lines: deque[str] = deque()
        self._lost = ""
        self._waiter: asyncio.Future[None] | None = None

    @property
    def name(self) -> str:
        return self._port

    @property
    def is_open(self) -> bool:
        return self._serial is not None

    def open(self) -> None:
        """WireError if the port is not there, refuses its settings, or belongs to another program."""
        self.close()
        try:
            self._serial = serial.Serial(self._port, self._baudrate, exclusive=True, timeout=0)
        except (OSError, ValueError, termios.error) as error:
            raise WireError(self._why(error)) from error
        self._fd = self._serial.fileno()
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def close(self) -> None:
        port, self._serial = self._serial, None
        self._lines.clear()
        self._rest.clear()
        self._skipping, self._lost = False, ""
        if port is None:
            return
        asyncio.get_running_loop().remove_reader(self._fd)
        with contextlib.suppress(OSError, termios.error):
            port.reset_output_buffer()  # else closing waits for an adapter that takes no bytes
        with contextlib.suppress(OSError):
            port.close()

    def send(self, line: str) -> None:
        """One line, ended by CR LF. WireError if the port is lost."""
        data = line.encode("ascii") + b"\r\n"
        if self._serial is None:
            raise WireError(f"{self._port} is closed")
        try:
            sent = os.write(self._fd, data)
        except OSError as error:
            raise WireError(self._why(error)) from error
        if sent < len(data):
            raise WireError(f"{self._port} takes no bytes")

    async def line(self, seconds: float) -> str | None:
        """The next line that is not empty; None if none came in that time, or after `wake`. WireError once lost."""
        if not self._lines and not self._lost:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(max(seconds, 0.0), self.wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        if self._lines:
            return self._lines.popleft()
        if self._lost:
            raise WireError(self._lost)
        return None

    def wake(self) -> None:
        """Let whoever waits for a line look around."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def feed(self, data: bytes) -> None:
        """Bytes as they came, split anyhow."""
        *whole, rest = _ENDS.split(bytes(self._rest) + data)
        for raw in whole:
            self._take(raw)
        self._rest[:] = rest
        if len(rest) > LONGEST_LINE:
            self._rest.clear()
            self.garbage += not self._skipping
            self._skipping = True
        if self._lines:
            self.wake()

    def _take(self, raw: bytes) -> None:
        skipping, self._skipping = self._skipping, False
        text = raw.decode("ascii", "replace").strip(" \t\0")
        if skipping or not text:
            return
        if len(raw) > LONGEST_LINE or len(self._lines) >= _MOST_LINES:
            self.garbage += 1
            return
        self._lines.append(text)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError as error:
            self._hang_up(self._why(error))
            return
        if data:
            self.feed(data)
        else:
            self._hang_up(f"{self._port} hung up")

    def _hang_up(self, reason: str) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        self._lost = reason
        self.wake()

    def _why(self, error: Exception) -> str:
        number = error.errno if isinstance(error, OSError) else error.args[0] if error.args else None
        text = os.strerror(number) if isinstance(number, int) else str(error)
        if isinstance(error, termios.error):
            return f"{self._port} refuses {self._baudrate} baud: {text}"
        if isinstance(error, BlockingIOError) or number in (11, 16):
            return f"{self._port} is used by another program"
        return f"{self._port}: {text}"
