"""Plan the questions: near addresses are read together, as far as the profile allows.

A block is one question and the way from its answer to readings. It is made once and used for years, so that all
the thinking is done here: one shuffle of bytes and one struct call give the raw values of a whole answer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from operator import itemgetter
from typing import Any

from pymodbus.framer.base import FramerBase

from agent.model import Instant, Point, Quality, Reading, Value
from drivers.modbus.codec import RegisterField, width
from drivers.modbus.question import Function, Question, read

__all__ = ["Register", "RegisterBlock", "plan"]

_FUNCTIONS = {
    "coil": Function.READ_COILS, "discrete": Function.READ_DISCRETE,
    "holding": Function.READ_HOLDING, "input": Function.READ_INPUT,
}  # fmt: skip
_new_reading = partial(tuple.__new__, Reading)  # three times as fast as Reading(…), and this is done for every value
_MOST_BITS = 2000  # MODBUS Application Protocol V1.1b3, 6.1
_MOST_REGISTERS = 125  # 6.3


class Register:
    """One point of a device, and its place: `address` from 0, `count` bits or registers."""

    def __init__(self, point: Point, settings: Mapping[str, Any]) -> None:
        self.point = point
        self.table: str = settings["register"]
        self.function = _FUNCTIONS[self.table]
        self.address: int = settings["address"]
        self.is_bit = self.table in ("coil", "discrete")
        self.count = 1 if self.is_bit else width(settings)
        self.write: str = settings.get("write") or "auto"
        self.field = None if self.is_bit and not point.moves else RegisterField(settings)


class RegisterBlock:
    """One question, the registers that it reads, and its answer's decoding."""

    def __init__(self, framer: FramerBase, unit: int, registers: Sequence[Register]) -> None:
        self.registers = registers
        first = registers[0]
        count = max(r.address + r.count for r in registers) - first.address
        self.question: Question = read(framer, unit, first.function, first.address, count)
        self._ids = [r.point.id for r in registers]
        self._values = _bits(registers) if first.is_bit else _words(registers, count)

    def readings(self, answer: bytes, at: Instant) -> list[Reading]:
        """The values in the PDU `answer` (function, byte count, data), read `at`."""
        values = self._values(answer)
        if None not in values:
            rest = repeat(at), repeat(Quality.GOOD), repeat(None)
            return list(map(_new_reading, zip(self._ids, values, *rest, strict=False)))
        return [
            Reading(name, value, at, Quality.BAD if value is None else Quality.GOOD)
            for name, value in zip(self._ids, values, strict=True)
        ]

    def bad(self, at: Instant) -> list[Reading]:
        return [Reading(name, None, at, Quality.BAD) for name in self._ids]


def plan(
    framer: FramerBase, unit: int, registers: Iterable[Register], max_gap: int, max_read: int
) -> list[RegisterBlock]:
    """The fewest questions for `registers`: a gap of at most `max_gap` unwanted ones is read along.

    `max_read` bounds the registers of one question; bits are bounded by the protocol alone, and their gaps cost an
    eighth of a byte each, so that they count sixteenfold.
    """
    blocks: list[RegisterBlock] = []
    run: list[Register] = []
    end = 0
    for register in sorted(registers, key=lambda r: (r.function, r.address, r.count)):
        gap, most = (16 * max_gap, _MOST_BITS) if register.is_bit else (max_gap, min(max_read, _MOST_REGISTERS))
        last = register.address + register.count
        if run and (
            register.function != run[0].function or register.address - end > gap or last - run[0].address > most
        ):
            blocks.append(RegisterBlock(framer, unit, run))
            run = []
        end = max(end, last) if run else last
        run.append(register)
    if run:
        blocks.append(RegisterBlock(framer, unit, run))
    return blocks


def _bits(registers: Sequence[Register]) -> Callable[[bytes], list[Value]]:
    """Coils and discrete inputs come least significant bit first (V1.1b3, 6.1)."""
    start = registers[0].address
    places = [r.address - start for r in registers]

    def values(answer: bytes) -> list[Value]:
        bits = int.from_bytes(answer[2:], "little")
        return [bool(bits >> place & 1) for place in places]

    return values


def _words(registers: Sequence[Register], count: int) -> Callable[[bytes], Sequence[Value]]:
    """One struct over the wanted bytes, put in order first where order, gaps or overlaps ask for it."""
    start = registers[0].address
    fields = [(2 + 2 * (r.address - start), r.field) for r in registers if r.field]
    picked = [base + byte for base, field in fields for byte in field.pick]
    unpack = struct.Struct(">" + "".join(field.code for _, field in fields)).unpack
    converts = [(n, field.convert) for n, (_, field) in enumerate(fields) if field.convert is not None]
    pick = None if picked == list(range(2, 2 + 2 * count)) else itemgetter(*picked)

    def values(answer: bytes) -> Sequence[Value]:
        raw = unpack(answer[2:] if pick is None else bytes(pick(answer)))
        if not converts:
            return raw
        converted: list[Value] = list(raw)
        for n, convert in converts:
            converted[n] = convert(raw[n])
        return converted

    return values
