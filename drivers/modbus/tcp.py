"""Modbus TCP: one connection, one question at a time, answers recognised by their transaction id.

MODBUS Messaging on TCP/IP Implementation Guide V1.0b, section 3.1.3 (the MBAP header).
"""

from __future__ import annotations

import asyncio
import struct

from pymodbus.framer.socket import FramerSocket
from pymodbus.pdu.decoders import DecodePDU

from agent.errors import WireError
from drivers.modbus.link import Broken, NoAnswer, checked, connection, fits
from drivers.modbus.question import Question

__all__ = ["TcpLink"]

_MBAP = struct.Struct(">HHH")
_SILENT_MOST = 3
"""After so many questions in a row without a single byte the connection itself is suspect: a half-open link."""


class TcpLink:
    """A Modbus TCP host. `timeout` in seconds, for connecting and for every answer."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self.framer = FramerSocket(DecodePDU(False))
        self.late = 0
        self.took = 0.0
        self.name = f"{host}:{port}"
        self._host, self._port, self._timeout = host, port, timeout
        self._tid = 0
        self._silent = 0
        self._stream: _Stream | None = None

    @property
    def is_open(self) -> bool:
        return self._stream is not None and self._stream.transport is not None

    def patience(self, question: Question, timeout: float | None = None) -> float:
        return timeout or self._timeout

    async def open(self) -> None:
        self.close()
        self._stream = await connection(lambda: _Stream(self), self._host, self._port, self._timeout)
        self._silent = 0

    async def ask(self, question: Question, guard: float = 0.0, timeout: float | None = None) -> bytes:
        timeout = timeout or self._timeout
        stream = self._stream
        if stream is None or stream.transport is None:
            raise WireError(f"{self.name} is not connected")
        loop = asyncio.get_running_loop()
        if guard and (rest := stream.last + guard - loop.time()) > 0:
            await asyncio.sleep(rest)
        self._tid = self._tid % 0xFFFF + 1
        start = loop.time()
        answer: asyncio.Future[bytes] = loop.create_future()
        stream.expect(self._tid, question, answer)
        timer = loop.call_later(timeout, _expire, answer, timeout)
        if stream.transport is not None:
            stream.transport.write(self._tid.to_bytes(2, "big") + question.frame[2:])
        try:
            pdu = await answer
        except Broken:
            raise
        except NoAnswer:
            self._silent += 1
            if self._silent >= _SILENT_MOST:
                self.close()
            raise
        finally:
            timer.cancel()
            stream.pending = None
        self.took = loop.time() - start
        return checked(question, pdu)

    def heard(self) -> None:
        self._silent = 0

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class _Stream(asyncio.Protocol):
    """One connection's bytes, cut into frames."""

    def __init__(self, link: TcpLink) -> None:
        self.transport: asyncio.Transport | None = None
        self.pending: asyncio.Future[bytes] | None = None
        self.last = 0.0
        self._link = link
        self._tid = 0
        self._question: Question | None = None
        self._rest = b""

    def expect(self, tid: int, question: Question, answer: asyncio.Future[bytes]) -> None:
        self._tid, self._question, self.pending = tid, question, answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.last = asyncio.get_running_loop().time()
        self._link.heard()
        if self._rest:
            data = self._rest + data
        while len(data) >= 9:
            tid, protocol, length = _MBAP.unpack_from(data)
            if protocol or not 3 <= length <= 254:
                self._give_up("answers something else than Modbus TCP")
                return
            if len(data) < 6 + length:
                break
            self._frame(tid, data[6], data[7 : 6 + length])
            data = data[6 + length :]
        self._rest = data

    def _frame(self, tid: int, unit: int, pdu: bytes) -> None:
        if self.pending is None or self.pending.done() or tid != self._tid or self._question is None:
            self._link.late += 1
        elif fits(self._question, unit, pdu):
            self.pending.set_result(pdu)
        else:
            self.pending.set_exception(Broken(f"answer of unit {unit} does not fit the question: {pdu[:8].hex()}"))

    def connection_lost(self, exc: Exception | None) -> None:
        known = isinstance(exc, OSError) and exc.strerror
        self._give_up(f"connection lost: {known or 'closed by the other side'}")

    def _give_up(self, reason: str) -> None:
        self.close()
        if self.pending is not None and not self.pending.done():
            self.pending.set_exception(WireError(f"{self._link.name}: {reason}"))

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()
            self.transport = None


def _expire(answer: asyncio.Future[bytes], timeout: float) -> None:
    if not answer.done():
        answer.set_exception(NoAnswer(f"no answer within {timeout:g} s"))
