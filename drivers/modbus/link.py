"""What the wires have in common: one question, one answer that fits it, or a reason."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Protocol, TypeVar

from pymodbus.framer.base import FramerBase

from agent.errors import DeviceError, Refused, WireError
from drivers.modbus.question import Question

__all__ = ["Broken", "Link", "NoAnswer", "checked", "connection", "fits"]

P = TypeVar("P", bound=asyncio.Protocol)

_MEANINGS = {
    1: "illegal function", 2: "illegal data address", 3: "illegal data value", 4: "device failure", 5: "acknowledge",
    6: "busy", 8: "memory parity error", 10: "gateway path unavailable", 11: "gateway target did not respond",
}  # fmt: skip
"""MODBUS Application Protocol V1.1b3, section 7."""


class NoAnswer(DeviceError):
    """Nothing that fits the question came in time."""


class Broken(NoAnswer):
    """Something came, but its check sum or its shape is wrong."""


class Link(Protocol):
    """A wire with one question on it at a time; its owner sees to that."""

    @property
    def framer(self) -> FramerBase:
        """What makes the frames of questions."""

    late: int
    """Frames that came when no question, or another one, was open. They are dropped."""
    took: float
    """Seconds from the question's first byte to the last one of the latest answer."""

    @property
    def is_open(self) -> bool: ...

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
    """A TCP connection, made within `timeout` seconds. WireError says why there is none."""
    try:
        async with asyncio.timeout(timeout):
            _, made = await asyncio.get_running_loop().create_connection(protocol, host, port)
    except TimeoutError:
        raise WireError(f"{host}:{port} does not answer within {timeout:g} s") from None
    except OSError as error:
        number = error.errno or 0  # negative for a name that does not resolve
        raise WireError(f"{host}:{port}: {os.strerror(number) if number > 0 else error}") from error
    return made


def fits(question: Question, unit: int, answer: bytes) -> bool:
    """Whether the PDU can be this question's answer: unit, function, and byte count or echo."""
    if unit != question.unit:
        return False
    if answer.startswith(question.head):
        return len(answer) == question.size
    return len(answer) == 2 and answer[0] == question.function | 0x80


def checked(question: Question, answer: bytes) -> bytes:
    """The answer, if it is no exception; else Refused with its code."""
    if answer[0] < 0x80:
        return answer
    meaning = _MEANINGS.get(answer[1], "unknown exception")
    raise Refused(f"function {question.function} at {question.address}: exception {answer[1]}, {meaning}", answer[1])
