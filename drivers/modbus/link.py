"""What the two wires have in common: one question, one answer that fits it, or a reason."""

from __future__ import annotations

from typing import Protocol

from pymodbus.framer.base import FramerBase

from agent.errors import DeviceError, Refused
from drivers.modbus.question import Question

__all__ = ["Broken", "Link", "NoAnswer", "checked", "fits"]

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

    def patience(self, question: Question) -> float:
        """Seconds that `ask` may take at the longest."""

    async def open(self) -> None:
        """Take the port or connect. WireError if it cannot be had."""

    async def ask(self, question: Question, guard: float = 0.0) -> bytes:
        """The PDU of the answer. Refused (an exception), NoAnswer, Broken, or WireError: the link is closed then.

        `guard` is the least silence, in seconds, before the question: for slaves that need time.
        """

    def close(self) -> None: ...


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
