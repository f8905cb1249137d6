"""Modbus RTU on any stream of bytes: the silences, the check sums, and what is done about late answers.

MODBUS over Serial Line V1.02, sections 2.5.1 (frames end with a silence of 3.5 characters of 11 bits; 1.75 ms above
19200 baud) and 2.6 (CRC). An RTU answer does not say which question it answers. So a slave that let a question go
unanswered is in doubt: before anything else it is asked something that no answer still under way can be taken for,
and only an answer to that brings it back. docs/decisions/0003-modbus-line.md tells why.

Some adapters return what is sent. Before a write whose acknowledgement would look the same a read shows whether this
one does (echo.py).

Subclasses carry the bytes: serial_link.py, rtu_tcp.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator

from pymodbus.framer.rtu import FramerRTU
from pymodbus.pdu.decoders import DecodePDU

from agent.errors import WireError
from drivers.modbus import question as ask
from drivers.modbus.echo import Echo
from drivers.modbus.link import Broken, Misfit, NoAnswer, OtherUnit, Silence, checked, misfit
from drivers.modbus.question import Function, Question

__all__ = ["CHARACTER_BITS", "FORGET", "RtuLink"]

CHARACTER_BITS = 11
"""A character: start, eight data, parity or second stop, stop."""
FORGET = 120.0
"""Seconds after which no answer is expected any more."""
_BABBLE = 1.0  # s, after which a line that never falls silent is asked nevertheless
_MOST = 1024  # bytes that are looked through for an answer, which has 256 at the most: the rest is noise
_DOUBTS = 3  # unanswered questions of one slave that are remembered: answers may be late by as many
_READS = (Function.READ_HOLDING, Function.READ_INPUT, Function.READ_COILS, Function.READ_DISCRETE)


class RtuLink(ABC):
    """A stream of RTU frames. `character` and `silence` are in seconds: the time of one, and the pause between frames.

    `timeout` in seconds runs from the end of the question, the answer's own time is added.
    """

    def __init__(self, timeout: float, character: float, silence: float) -> None:
        self.framer = FramerRTU(DecodePDU(False))
        self.late = 0
        self.sole = False  # no matter here: on a line each unit has its own id
        self.answered_as: int | None = None
        self.took = 0.0
        self._timeout, self._character, self._silence = timeout, character, silence
        self._last = 0.0
        self._buffer = bytearray()
        self._question: Question | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._doubts: dict[int, deque[tuple[bytes, float]]] = {}
        self._echo = Echo()

    @property
    def hears_itself(self) -> bool:
        return self._echo.heard

    @property
    @abstractmethod
    def is_open(self) -> bool: ...

    @property
    def renewed(self) -> bool:
        return False

    @abstractmethod
    async def open(self) -> None:
        """Take the port or connect. WireError if it cannot be had."""

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _send(self, frame: bytes) -> None:
        """Put a whole frame on the wire at once, or WireError; the link is closed then."""

    def patience(self, question: Question, timeout: float | None = None) -> float:
        return 4 * (_BABBLE + (timeout or self._timeout)) + (900 + question.size) * self._character

    async def ask(self, question: Question, guard: float = 0.0, timeout: float | None = None) -> bytes:
        timeout = timeout or self._timeout
        await self._reassure(question, guard, timeout)
        await self._listen(question, guard, timeout)
        return checked(question, await self._exchange(question, guard, timeout))

    async def _reassure(self, question: Question, guard: float, timeout: float) -> None:
        """Bring a slave in doubt back in step, or raise NoAnswer."""
        now = asyncio.get_running_loop().time()
        doubts = [head for head, at in self._doubts.get(question.unit, ()) if now - at < FORGET]
        writes = question.function > Function.READ_INPUT
        if not doubts or (writes and question.function not in {head[0] for head in doubts}):
            return
        functions = {head[0] for head in doubts}
        for probe in self._probes(question, doubts):
            answer = await self._exchange(probe, guard, timeout)
            if answer[0] < 0x80 or probe.function not in functions:
                del self._doubts[question.unit]
                return

    async def _listen(self, question: Question, guard: float, timeout: float) -> None:
        """Before a write that its own echo could acknowledge: hear on a read of the same place whether there is one.

        A slave that has nothing to read may say no or nothing: own bytes come back without it.
        """
        if not question.mirrors or self._echo.is_known(asyncio.get_running_loop().time()):
            return
        function = Function.READ_COILS if question.function == Function.WRITE_COIL else Function.READ_HOLDING
        with contextlib.suppress(NoAnswer):
            await self._exchange(ask.read(self.framer, question.unit, function, question.address, 1), guard, timeout)

    def _probes(self, question: Question, doubts: list[bytes]) -> Iterator[Question]:
        """Questions whose answers cannot be mistaken for those that `doubts` still expects.

        First a part of the question itself, in a size of its own. An exception to that could be an earlier one's;
        so the last is of a function that none of them has: there is one, as doubts are fewer than read functions.
        """
        unit, function, address = question.unit, question.function, question.address
        if function <= Function.READ_INPUT:
            step = 8 if function <= Function.READ_DISCRETE else 1
            parts = (ask.read(self.framer, unit, function, address, n) for n in range(1, question.count, step))
            part = next((part for part in itertools.islice(parts, _DOUBTS + 1) if part.head not in doubts), None)
            if part is not None:
                yield part
        functions = {head[0] for head in doubts}
        reads = [f for f in (function, *_READS) if f <= Function.READ_INPUT]
        yield ask.read(self.framer, unit, next(f for f in reads if f not in functions), address, 1)

    async def _exchange(self, question: Question, guard: float, timeout: float) -> bytes:
        loop = asyncio.get_running_loop()
        await self._quiet(max(self._silence, guard))
        sending = len(question.frame) * self._character
        self._buffer.clear()
        start = loop.time()
        self._send(question.frame)  # where it cannot be sent, no answer is waited for
        self._echo.begin(question)
        self._question, self._answer = question, loop.create_future()
        self._last = start + sending
        answering = (question.size + 3) * self._character
        timer = loop.call_later(sending + timeout + answering, self._expire, timeout)
        answer = None
        try:
            answer = await self._answer
        except (NoAnswer, WireError):
            self._doubts.setdefault(question.unit, deque(maxlen=_DOUBTS)).append((question.head, loop.time()))
            raise
        finally:
            timer.cancel()
            self._echo.end(answer is not None, loop.time())
            self._question = self._answer = None
        self.took = loop.time() - start
        return answer

    async def _quiet(self, silence: float) -> None:
        """Wait until nothing was on the line for `silence` seconds; what comes meanwhile is dropped."""
        loop = asyncio.get_running_loop()
        most = loop.time() + _BABBLE
        while (rest := self._last + silence - (now := loop.time())) > 0 and now < most:  # noqa: ASYNC110
            await asyncio.sleep(rest)  # every byte moves the end of it

    def _received(self, data: bytes) -> None:
        """Bytes from the wire."""
        now = asyncio.get_running_loop().time()
        silence, self._last = now - self._last, now
        self._buffer += data
        del self._buffer[:-_MOST]
        if self._question is None or self._answer is None or self._answer.done():
            self.late += silence > self._silence
            self._echo.overhear(self._buffer)
            return
        self._echo.drop(self._buffer)
        answer = self._find(self._question)
        if answer is not None:
            self._answer.set_result(answer)

    def _find(self, question: Question) -> bytes | None:
        """The answer among what came. Noise or other frames may come before it."""
        buffer = self._buffer
        for start in range(len(buffer) - 4):
            if buffer[start] != question.unit:
                continue
            if buffer.startswith(question.head, start + 1):
                end = start + question.size + 3
            elif buffer[start + 1] == question.function | 0x80:
                end = start + 5
            else:
                continue
            if len(buffer) >= end and _is_sound(buffer[start:end]):
                return bytes(buffer[start + 1 : end - 2])
            if start == 0 and len(buffer) < end:
                return None
        return None

    def _expire(self, timeout: float) -> None:
        if self._answer is None or self._answer.done():
            return
        if not self._buffer:
            self._answer.set_exception(Silence(f"no answer within {timeout:g} s"))
        elif _is_sound(self._buffer):
            self.late += 1
            unit, question = self._buffer[0], self._question
            if question is not None and self._buffer[1] & 0x7F == question.function:
                other = unit != question.unit
                why = OtherUnit(unit, question.unit) if other else Misfit(misfit(question, bytes(self._buffer[1:-2])))
                self._answer.set_exception(why)
                return
            self._answer.set_exception(NoAnswer(f"only an answer to another question came: {self._buffer[:8].hex()}"))
        else:
            self._answer.set_exception(Broken(f"broken frame: {self._buffer[:8].hex()} ({len(self._buffer)} bytes)"))

    def _hang_up(self, reason: str) -> None:
        self._fail(WireError(reason))

    def _fail(self, error: WireError) -> bool:
        """Close the connection and fail the question that waits; whether there was one."""
        self.close()
        if self._answer is None or self._answer.done():
            return False
        self._answer.set_exception(error)
        return True


def _is_sound(frame: bytes | bytearray) -> bool:
    return len(frame) >= 4 and FramerRTU.check_CRC(bytes(frame[:-2]), int.from_bytes(frame[-2:], "big"))
