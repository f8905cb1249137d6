"""Modbus RTU over TCP: a serial server passes the frames of an RS-485 line on as they are, check sums and all.

Nothing says which question an answer belongs to, as on the line itself; so late answers are dealt with as there
(rtu.py). A line answers one question after the other. What listens at the port need not be a line, though: a program
that serves several questions at a time lets a quick answer overtake a slow one. Its late answers come on the connection
that they were asked on; so a question that one of them would fit is asked on a new one.

The baud rate is the serial server's own: how long frames take on the line is part of `timeout`.
"""

from __future__ import annotations

import asyncio
from functools import partial

from agent.errors import WireError
from drivers.flood import Flood
from drivers.modbus.host import Host, closed
from drivers.modbus.link import Babble, NoAnswer, connection
from drivers.modbus.question import Function, Question
from drivers.modbus.rtu import FORGET, RtuLink

__all__ = ["RtuTcpLink"]

_SILENCE = 0.004
"""Seconds: 3.5 characters at 9600 baud, for serial servers that send on at once what they get."""


class RtuTcpLink(RtuLink):
    """A serial server. `timeout` in seconds, for connecting and for every answer."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        super().__init__(timeout, 0.0, _SILENCE)
        self._awaited: dict[tuple[int, bytes], tuple[bytes, float]] = {}
        """Requests without an answer on this connection, by unit and head: the question's frame (b"" if nothing may
        pass for it any more) and when it was abandoned (loop s)."""

        async def connect() -> _Stream:
            stream = await connection(lambda: _Stream(self), host, port, timeout)
            self._awaited.clear()
            return stream

        self._host: Host[_Stream] = Host(f"{host}:{port}", connect, timeout)

    @property
    def is_open(self) -> bool:
        return self._host.is_open

    @property
    def renewed(self) -> bool:
        return self._host.renewed

    def patience(self, question: Question, timeout: float | None = None) -> float:
        return 2 * super().patience(question, timeout) + self._host.patience

    async def open(self) -> None:
        await self._host.open()

    def close(self) -> None:
        self._host.close()

    async def _exchange(self, question: Question, guard: float, timeout: float) -> bytes:
        if self._is_mistakable(question):
            await self._host.open()
        return await self._host.exchange(question, partial(self._exchange_once, question, guard, timeout))

    async def _exchange_once(self, question: Question, guard: float, timeout: float) -> bytes:
        if question.function > Function.READ_INPUT:  # what was read before it is no answer to what is asked behind it
            for key, (frame, at) in self._awaited.items():
                if key[0] == question.unit and frame != question.frame:
                    self._awaited[key] = b"", at
        try:
            return await super()._exchange(question, guard, timeout)
        except (NoAnswer, WireError):
            key = (question.unit, question.head)
            again = self._awaited.get(key, (question.frame, 0.0))[0] == question.frame
            self._awaited[key] = question.frame if again else b"", asyncio.get_running_loop().time()
            raise

    def _is_mistakable(self, question: Question) -> bool:
        """Whether the late answer to another question would fit this one. To the same question it is no other answer,
        as long as nothing was written meanwhile."""
        frame, at = self._awaited.get((question.unit, question.head), (question.frame, 0.0))
        return frame != question.frame and asyncio.get_running_loop().time() - at < FORGET

    def _send(self, frame: bytes) -> None:
        if self._host.stream is None:  # closed while the question waited for its turn
            raise closed(self._host.name, None, asked=False)
        self._host.stream.send(frame)

    def heard(self, data: bytes) -> None:
        """Bytes of the connection."""
        self._received(data)

    def lost(self, stream: _Stream, exc: Exception | None) -> None:
        """Note that a connection ended; one that was given up before does not count."""
        if stream is self._host.stream:
            self._fail(closed(self._host.name, exc))

    def flooded(self) -> None:
        """More came than any line can give."""
        fault = Babble(f"{self._host.name}: sends without end, more than 8 MB in a second")
        if not self._fail(fault):
            self._host.fault = fault


class _Stream(asyncio.Protocol):
    """One connection."""

    def __init__(self, link: RtuTcpLink) -> None:
        self._link = link
        self._transport: asyncio.Transport | None = None
        self._flood = Flood(8_000_000, least=1000)  # all but the last kB of each of 8,000 pieces is dropped unseen

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        if self._flood.rises(len(data), asyncio.get_running_loop().time()):
            self._link.flooded()
        else:
            self._link.heard(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.lost(self, exc)

    def send(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)

    def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
