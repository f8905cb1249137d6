"""Modbus TCP: one connection, one question at a time, answers recognised by their transaction id.

MODBUS Messaging on TCP/IP Implementation Guide V1.0b, section 3.1.3 (the MBAP header).
"""

from __future__ import annotations

import asyncio
import struct
from functools import partial

from pymodbus.framer.socket import FramerSocket
from pymodbus.pdu.decoders import DecodePDU

from agent.errors import WireError
from drivers.flood import Flood
from drivers.modbus.host import Host, closed
from drivers.modbus.link import Babble, Broken, Misfit, NoAnswer, OtherUnit, Silence, checked, connection, misfit
from drivers.modbus.question import Question

__all__ = ["TcpLink"]

_MBAP = struct.Struct(">HHH")


class TcpLink:
    """A Modbus TCP host. `timeout` in seconds, for connecting and for every answer."""

    hears_itself = False

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self.framer = FramerSocket(DecodePDU(False))
        self.late = 0
        self.sole = False
        self.answered_as: int | None = None
        self.took = 0.0
        self._timeout = timeout
        self._tid = 0
        name = f"{host}:{port}"
        self.host: Host[_Stream] = Host(name, lambda: connection(lambda: _Stream(self), host, port, timeout), timeout)

    @property
    def is_open(self) -> bool:
        return self.host.is_open

    @property
    def renewed(self) -> bool:
        return self.host.renewed

    def patience(self, _question: Question, timeout: float | None = None) -> float:
        return 2 * (timeout or self._timeout) + self.host.patience

    async def open(self) -> None:
        await self.host.open()

    async def ask(self, question: Question, guard: float = 0.0, timeout: float | None = None) -> bytes:
        ask = partial(self._exchange, question, guard, timeout or self._timeout)
        return checked(question, await self.host.exchange(question, ask))

    async def _exchange(self, question: Question, guard: float, timeout: float) -> bytes:
        stream = self.host.stream
        if stream is None or not stream.is_open:
            raise WireError(f"{self.host.name} is not connected")
        loop = asyncio.get_running_loop()
        if guard and (rest := stream.last + guard - loop.time()) > 0:
            await asyncio.sleep(rest)
        self._tid = self._tid % 0xFFFF + 1
        start = loop.time()
        answer = stream.ask(self._tid, question)
        timer = loop.call_later(timeout, stream.expire, timeout)
        try:
            pdu = await answer
        finally:
            timer.cancel()
            stream.pending = None
        self.took = loop.time() - start
        return pdu

    def close(self) -> None:
        self.host.close()


class _Stream(asyncio.Protocol):
    """One connection's bytes, cut into frames."""

    def __init__(self, link: TcpLink) -> None:
        self.transport: asyncio.Transport | None = None
        self.pending: asyncio.Future[bytes] | None = None
        self.last = 0.0
        self._link = link
        self._tid = 0
        self._question: Question | None = None
        self._astray: int | None = None
        self._rest = b""
        self._flood = Flood(65536, least=16)  # 4,000 pieces or 6,000 frames that each are looked at

    @property
    def is_open(self) -> bool:
        return self.transport is not None

    def ask(self, tid: int, question: Question) -> asyncio.Future[bytes]:
        """The PDU of the answer, if it comes in time. The caller calls `expire` and sets `pending` to None."""
        self._tid, self._question, self._astray = tid, question, None
        self.pending = asyncio.get_running_loop().create_future()
        if self.transport is None:  # closed while it waited for its turn
            self.pending.set_exception(closed(self._link.host.name, None, asked=False))
        else:
            self.transport.write(tid.to_bytes(2, "big") + question.frame[2:])
        return self.pending

    def expire(self, timeout: float) -> None:
        """End the wait for an answer. After half a frame the beginning of the next one is unknown."""
        if self.pending is None or self.pending.done():
            return
        if self._rest:
            self._refuse(Broken(f"broken frame: {self._rest[:8].hex()} ({len(self._rest)} bytes)"))
            self.close()
        elif self._astray is not None:
            self._refuse(NoAnswer(f"answers with transaction id {self._astray}, asked with {self._tid}"))
        else:
            self._refuse(Silence(f"no answer within {timeout:g} s"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.last = asyncio.get_running_loop().time()
        if self._flood.rises(len(data), self.last):
            self._give_up("sends without end, more than 64 kB in a second")
            return
        if self._rest:
            data = self._rest + data
        start, end = 0, len(data)
        while end - start >= 9:
            tid, protocol, length = _MBAP.unpack_from(data, start)
            if protocol or not 3 <= length <= 254:
                self._give_up("answers something else than Modbus TCP")
                return
            if end - start < 6 + length:
                break
            self._frame(tid, data[start + 6], data[start + 7 : start + 6 + length])
            start += 6 + length
        self._rest = data[start:]

    def _frame(self, tid: int, unit: int, pdu: bytes) -> None:
        question = self._question
        if self.pending is None or self.pending.done() or question is None:
            self._link.late += 1
        elif tid != self._tid:
            self._link.late += 1
            self._astray = tid
        elif unit != question.unit and not self._link.sole:
            self._refuse(OtherUnit(unit, question.unit))
        elif why := misfit(question, pdu):
            self._refuse(Misfit(why))
            if len(pdu) != question.size and len(pdu) != 2 + pdu[1]:
                self.close()  # its header is wrong about its length: where the next frame begins is unknown
        else:
            self._link.answered_as = unit if unit != question.unit else None
            self._flood.was_asked(7 + len(pdu))
            self.pending.set_result(pdu)

    def connection_lost(self, exc: Exception | None) -> None:
        self.close()
        self._refuse(closed(self._link.host.name, exc))

    def _give_up(self, reason: str) -> None:
        self.close()
        fault = Babble(f"{self._link.host.name}: {reason}")
        if self.pending is None or self.pending.done():
            self._link.host.fault = fault
        else:
            self._refuse(fault)

    def _refuse(self, error: Exception) -> None:
        if self.pending is not None and not self.pending.done():
            self.pending.set_exception(error)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()
            self.transport = None
