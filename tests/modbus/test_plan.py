"""Which questions read which points, and how their answers are taken apart."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from pymodbus.framer.socket import FramerSocket
from pymodbus.pdu.decoders import DecodePDU

from agent.model import Instant, Point, Quality
from drivers.modbus.plan import Register, RegisterBlock, plan

FRAMER = FramerSocket(DecodePDU(False))
AT = Instant("boot", 1, 2)


def questions(blocks: list[RegisterBlock]) -> list[tuple[int, int, int]]:
    return [(b.question.function, b.question.address, b.question.count) for b in blocks]


@pytest.fixture(name="planned")
def _planned(point: Any) -> Any:
    def planned(points: list[tuple[str, int, str]], max_gap: int = 8, max_read: int = 125) -> list[RegisterBlock]:
        registers = [
            Register(Point(f"d.{n}", "d"), point(table, address, type=kind))
            for n, (table, address, kind) in enumerate(points)
        ]
        return plan(FRAMER, 1, registers, max_gap, max_read)

    return planned


def test_near_registers_are_read_together(planned: Any) -> None:
    points = [("holding", 10, "u16"), ("holding", 12, "u32"), ("holding", 22, "u16")]
    assert questions(planned(points)) == [(3, 10, 13)]


def test_a_wide_gap_and_another_table_start_a_question(planned: Any) -> None:
    points = [("holding", 0, "u16"), ("holding", 10, "u16"), ("input", 0, "f32"), ("coil", 0, "bool")]
    assert questions(planned(points)) == [(1, 0, 1), (3, 0, 1), (3, 10, 1), (4, 0, 2)]


def test_no_gap_allowed(planned: Any) -> None:
    assert len(planned([("holding", 0, "u16"), ("holding", 1, "u16"), ("holding", 3, "u16")], max_gap=0)) == 2


def test_a_question_is_bounded_by_the_profile_and_never_cuts_a_value(planned: Any) -> None:
    blocks = planned([("input", 2 * n, "f32") for n in range(10)], max_read=7)
    assert questions(blocks) == [(4, 0, 6), (4, 6, 6), (4, 12, 6), (4, 18, 2)]


def test_bits_are_bounded_by_the_protocol(planned: Any) -> None:
    assert questions(planned([("coil", n, "bool") for n in range(2001)])) == [(1, 0, 2000), (1, 2000, 1)]


def test_an_answer_is_taken_apart(point: Any) -> None:
    settings = {
        "u": point("holding", 100),
        "f": point("holding", 101, type="f32", order="cdab"),
        "gap": point("holding", 105, type="i16", scale=0.1),
        "bit": point("holding", 100, bit=1),
        "none": point("holding", 106, unavailable=7),
    }
    registers = [Register(Point(name, "d"), one) for name, one in settings.items()]
    (block,) = plan(FRAMER, 1, registers, 8, 125)
    assert block.question.count == 7
    low, high = struct.pack(">f", 61.2)[2:], struct.pack(">f", 61.2)[:2]
    data = b"\x00\x02" + low + high + b"\xee" * 4 + b"\xff\xff" + b"\x00\x07"
    values = {r.point: (r.value, r.quality) for r in block.readings(bytes((3, 14)) + data, AT)}
    good = Quality.GOOD
    assert values == {
        "u": (2, good), "f": (61.2, good), "gap": (-0.1, good), "bit": (True, good), "none": (None, Quality.BAD)
    }  # fmt: skip


def test_bits_are_taken_apart(planned: Any) -> None:
    (block,) = planned([("discrete", 3, "bool"), ("discrete", 4, "bool"), ("discrete", 12, "bool")])
    assert block.question.count == 10
    assert [r.value for r in block.readings(bytes((2, 2, 0b01, 0b10)), AT)] == [True, False, True]
