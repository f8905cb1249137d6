"""The common part of all links: one question, one answer that fits it, or an error."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from pymodbus.framer.base import FramerBase

from agent.errors import DeviceError, Refused, WireError
from agent.lib.resolver import addresses
from drivers.modbus.question import Function, Question

__all__ = [
    "Babble", "Broken", "Link", "Misfit", "NoAnswer", "NotListening", "OtherUnit", "Silence",
    "checked", "connection", "misfit",
]  # fmt: skip

P = TypeVar("P", bound=asyncio.Protocol)

_MEANINGS = {
    1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "device failure", 5: "acknowledge",
    6: "busy", 8: "memory parity error", 10: "gateway path unavailable", 11: "gateway target did not respond",
}  # fmt: skip
"""MODBUS Application Protocol V1.1b3, section 7."""


class NoAnswer(DeviceError):
    """Nothing that fits the question came in time."""


class Silence(NoAnswer):
    """Not a byte came in time."""


class Broken(NoAnswer):
    """Something came, but its check sum or its shape is wrong."""


class Misfit(Broken):
    """A sound answer that is not what was asked for: of another unit, length or function."""


class OtherUnit(Misfit):
    """The answer carries `unit` as its unit id, and not the one that was asked."""

    def __init__(self, unit: int, asked: int) -> None:
        super().__init__(f"answers as unit {unit}, asked as {asked}")
        self.unit = unit


class Babble(WireError):
    """The host sent what is no answer at all, so that its connection was given up."""


class NotListening(WireError):
    """The host is there and refuses the connection: nothing listens at that port, or not now."""


class Link(Protocol):
    """A wire with one question on it at a time; its owner sees to that."""

    @property
    def framer(self) -> FramerBase:
        """The framer of questions."""

    late: int
    """Frames that came when no question, or another one, was open. They are dropped."""
    sole: bool
    """Whether the asked unit is the only one known on this host: then any id in an answer is accepted as its own."""
    answered_as: int | None
    """The unit id of the latest answer, where it is another one than was asked."""
    took: float
    """Seconds from the question's first byte to the last one of the latest answer."""

    @property
    def hears_itself(self) -> bool:
        """Whether the adapter returns our own bytes. They are dropped, and acknowledge nothing."""

    @property
    def is_open(self) -> bool: ...

    @property
    def renewed(self) -> bool:
        """Whether the link was closed because questions went unanswered: to ask again at once may help."""

    def patience(self, question: Question, timeout: float | None = None) -> float:
        """Seconds that `ask` may take at the longest."""

    async def open(self) -> None:
        """Take the port or connect. WireError if it cannot be had."""

    async def ask(self, question: Question, guard: float = 0.0, timeout: float | None = None) -> bytes:
        """The PDU of the answer. Refused (an exception), NoAnswer, Broken, or WireError: the link is closed then.

        `guard` is the least silence, in seconds, before the question: for slaves that need time. `timeout` in seconds
        takes the place of the link's own.
        """

    def close(self) -> None: ...


async def connection(protocol: Callable[[], P], host: str, port: int, timeout: float) -> P:
    """A TCP connection, made within `timeout` seconds. WireError says why there is none, NotListening if refused."""
    late = f"the name {host} is not found within {timeout:g} s: the name server does not answer"
    try:
        async with asyncio.timeout(timeout):
            found = await addresses(host, port)
            late = f"{host}:{port} does not answer within {timeout:g} s"
            return await _first(protocol, found, port)
    except TimeoutError:
        raise WireError(late) from None
    except OSError as error:
        number = error.errno or 0  # negative for a name that does not resolve
        kind = NotListening if isinstance(error, ConnectionRefusedError | ConnectionResetError) else WireError
        raise kind(f"{host}:{port}: {os.strerror(number) if number > 0 else error.strerror or error}") from error


async def _first(protocol: Callable[[], P], found: Sequence[str], port: int) -> P:
    """A connection to the first of the addresses that takes one; OSError of the last if none does."""
    loop = asyncio.get_running_loop()
    for address in found[:-1]:
        with contextlib.suppress(OSError):
            return (await loop.create_connection(protocol, address, port))[1]
    return (await loop.create_connection(protocol, found[-1], port))[1]


def misfit(question: Question, answer: bytes) -> str:
    """Why the PDU cannot be this question's answer, by function, byte count or echo; "" if it can."""
    function = answer[0]
    if function == question.function | 0x80 and len(answer) == 2:
        return ""
    if answer.startswith(question.head) and len(answer) == question.size:
        return ""
    if function & 0x7F != question.function:
        return f"answers function {function} where {question.function} was asked"
    reads = question.function <= Function.READ_INPUT
    if function != question.function or len(answer) != (2 + sum(answer[1:2]) if reads else question.size):
        return f"answer does not fit the question: {answer[:8].hex()} ({len(answer)} bytes)"
    if reads:
        return f"answers {answer[1]} bytes where {question.size - 2} were asked"
    return f"acknowledgement does not fit the question: {answer[:8].hex()}"


def checked(question: Question, answer: bytes) -> bytes:
    """The answer, if it is no exception; else Refused with its code."""
    if answer[0] < 0x80:
        return answer
    meaning = _MEANINGS.get(answer[1], "unknown exception")
    raise Refused(f"function {question.function} at {question.address}: exception {answer[1]}, {meaning}", answer[1])
