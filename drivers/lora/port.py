"""A serial port as lines of text: what a modem says, whole, and nothing that would fill the memory."""

from __future__ import annotations

import asyncio
import re
from collections import deque

from agent.errors import WireError
from drivers.serial_port import SerialPort

__all__ = ["LONGEST_LINE", "LinePort"]

LONGEST_LINE = 1024
"""Bytes. The longest packet (255 bytes) makes a line of some 540; what is longer is no line, and dropped."""
_MOST_LINES = 500  # that were not taken yet
_ENDS = re.compile(rb"[\r\n]+")


class LinePort:
    """A serial port, 8N1, read line by line.

    `garbage` counts what was dropped: a run without a line's end, or lines that were not read.
    """

    def __init__(self, port: str, baudrate: int) -> None:
        self.garbage = 0
        self._port = SerialPort(port, self.feed, self._hang_up, baudrate=baudrate)
        self._rest = bytearray()
        self._skipping = False
        self._lines: deque[str] = deque()
        self._lost = ""
        self._waiter: asyncio.Future[None] | None = None

    @property
    def name(self) -> str:
        return self._port.name

    @property
    def is_open(self) -> bool:
        """Whether it was opened; one that is lost stays so until `line` has said it."""
        return self._port.is_open or bool(self._lost)

    def open(self) -> None:
        """WireError if the port is not there, refuses its settings, or belongs to another program."""
        self.close()
        self._port.open()

    def close(self) -> None:
        self._port.close()
        self._lines.clear()
        self._rest.clear()
        self._skipping, self._lost = False, ""

    def send(self, line: str) -> None:
        """One line, ended by CR LF. WireError if the port is lost."""
        self._port.send(line.encode("ascii") + b"\r\n")

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
        """Wake the task that waits for a line."""
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

    def _hang_up(self, reason: str) -> None:
        self._lost = reason
        self.wake()
