"""Modbus RTU over TCP: a serial server passes the frames of an RS-485 line on as they are, check sums and all.

Nothing says which question an answer belongs to, as on the line itself; so late answers are dealt with as there
(rtu.py). The baud rate is the serial server's own: how long frames take on the line is part of `timeout`.
"""

from __future__ import annotations

import asyncio

from agent.errors import WireError
from drivers.modbus.link import NoAnswer, connection
from drivers.modbus.question import Question
from drivers.modbus.rtu import RtuLink

__all__ = ["RtuTcpLink"]

_SILENCE = 0.004
"""Seconds: 3.5 characters at 9600 baud, for serial servers that send on at once what they get."""
_SILENT_MOST = 3
"""After so many questions in a row without a single byte the connection itself is suspect: a half-open link."""


class RtuTcpLink(RtuLink):
    """A serial server. `timeout` in seconds, for connecting and for every answer."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        super().__init__(timeout, 0.0, _SILENCE)
        self._host, self._port = host, port
        self._stream: _Stream | None = None
        self._silent = 0

    @property
    def is_open(self) -> bool:
        return self._stream is not None

    async def open(self) -> None:
        self.close()
        self._stream = await connection(lambda: _Stream(self), self._host, self._port, self._timeout)
        self._silent = 0

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    async def _exchange(self, question: Question, guard: float, timeout: float) -> bytes:
        try:
            return await super()._exchange(question, guard, timeout)
        except NoAnswer:
            self._silent += 1
            if self._silent >= _SILENT_MOST:
                self.close()
            raise

    def _send(self, frame: bytes) -> None:
        if self._stream is None:
            raise WireError(f"{self._host}:{self._port} is not connected")
        self._stream.send(frame)

    def heard(self, data: bytes) -> None:
        """Bytes of the connection."""
        self._silent = 0
        self._received(data)

    def lost(self, stream: _Stream, reason: str) -> None:
        """A connection ended; one that was given up before is nobody's loss."""
        if stream is self._stream:
            self._hang_up(f"{self._host}:{self._port}: {reason}")


class _Stream(asyncio.Protocol):
    """One connection."""

    def __init__(self, link: RtuTcpLink) -> None:
        self._link = link
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._link.heard(data)

    def connection_lost(self, exc: Exception | None) -> None:
        known = isinstance(exc, OSError) and exc.strerror
        self._link.lost(self, f"connection lost: {known or 'closed by the other side'}")

    def send(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
