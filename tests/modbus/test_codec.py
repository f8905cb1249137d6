"""Registers to values and back, for every type and order."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import DeviceError
from drivers.modbus.codec import RegisterField, byte_order

INTEGERS = {"u16": (0, 2**16), "i16": (-(2**15), 2**15), "u32": (0, 2**32), "i32": (-(2**31), 2**31),
            "u64": (0, 2**64), "i64": (-(2**63), 2**63), "bcd16": (0, 10**4), "bcd32": (0, 10**8)}  # fmt: skip
ORDERS = ["abcd", "cdab", "badc", "dcba"]


def wire(registers: list[int]) -> bytes:
    return b"".join(r.to_bytes(2, "big") for r in registers)


def field(kind: str, **more: Any) -> RegisterField:
    return RegisterField({"type": kind, **more})


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", INTEGERS)
@given(data=st.data())
def test_integers_come_back(kind: str, order: str, data: st.DataObject) -> None:
    low, high = INTEGERS[kind]
    value = data.draw(st.integers(low, high - 1))
    coded = field(kind, order=order)
    decoded = coded.decode(wire(coded.encode(value)))
    assert decoded == value and isinstance(decoded, int)


@pytest.mark.parametrize("order", ORDERS)
@given(value=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_f32_comes_back_as_the_same_float(order: str, value: float) -> None:
    coded = field("f32", order=order)
    decoded = coded.decode(wire(coded.encode(value)))
    assert struct.pack(">f", decoded) == struct.pack(">f", value)


@pytest.mark.parametrize("order", ORDERS)
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_f64_comes_back(order: str, value: float) -> None:
    coded = field("f64", order=order)
    assert coded.decode(wire(coded.encode(value))) == value


@given(raw=st.integers(-(2**31), 2**31 - 1), scale=st.sampled_from([0.1, 0.01, 0.001, 10, 2.5]))
def test_scaled_integers_come_back(raw: int, scale: float) -> None:
    coded = field("i32", scale=scale)
    value = coded.decode(struct.pack(">i", raw))
    assert wire(coded.encode(value)) == struct.pack(">i", raw)


@pytest.mark.parametrize(
    ("order", "data", "value"),
    [
        ("abcd", "0123 4567", 0x01234567), ("cdab", "4567 0123", 0x01234567),
        ("badc", "2301 6745", 0x01234567), ("dcba", "6745 2301", 0x01234567),
    ],
)  # fmt: skip
def test_orders_of_four_bytes(order: str, data: str, value: int) -> None:
    assert field("u32", order=order).decode(bytes.fromhex(data)) == value


@pytest.mark.parametrize(
    ("order", "data"),
    [
        ("abcd", "0123 4567 89ab cdef"), ("cdab", "cdef 89ab 4567 0123"), ("badc", "2301 6745 ab89 efcd"),
        ("dcba", "efcd ab89 6745 2301"), ("ghefcdab", "cdef 89ab 4567 0123"), ("hgfedcba", "efcd ab89 6745 2301"),
    ],
)  # fmt: skip
def test_orders_of_eight_bytes(order: str, data: str) -> None:
    assert field("u64", order=order).decode(bytes.fromhex(data)) == 0x0123456789ABCDEF


def test_one_register_has_bytes_to_swap_but_no_words() -> None:
    assert [byte_order(order, 2) for order in ORDERS] == [(0, 1), (0, 1), (1, 0), (1, 0)]


@pytest.mark.parametrize(
    ("settings", "data", "value"),
    [
        ({"type": "f32"}, struct.pack(">f", 61.2), 61.2),
        ({"type": "f32"}, struct.pack(">f", 123456.79), 123456.79),
        ({"type": "f32", "scale": 1000}, struct.pack(">f", 1.2), 1200.0),
        ({"type": "u16", "scale": 0.1}, struct.pack(">H", 612), 61.2),
        ({"type": "u16", "scale": 0.1, "offset": -40}, struct.pack(">H", 612), 21.2),
        ({"type": "i16", "scale": 10}, struct.pack(">h", -3), -30),
        ({"type": "i64", "scale": 0.001}, struct.pack(">q", 123456789012345), 123456789012.345),
        ({"type": "u16", "bit": 3}, b"\x00\x08", True),
        ({"type": "u16", "bit": 3}, b"\xff\xf7", False),
        ({"type": "bool"}, b"\x00\x02", True),
        ({"type": "bcd16"}, b"\x12\x34", 1234),
        ({"type": "bcd16"}, b"\x12\x3a", None),
        ({"type": "string", "length": 3}, b"AB12\0\0", "AB12"),
        ({"type": "string", "length": 2, "order": "badc"}, b"BA21", "AB12"),
        ({"type": "u16", "unavailable": 0xFFFF}, b"\xff\xff", None),
        ({"type": "i16", "unavailable": 0x8000}, b"\x80\x00", None),
        ({"type": "i64", "scale": 0.001, "unavailable": 0x8000000000000000}, b"\x80" + bytes(7), None),
        ({"type": "u32", "unavailable": -1}, b"\xff" * 4, None),
        ({"type": "f32"}, struct.pack(">f", math.nan), None),
        ({"type": "f32", "scale": 2}, struct.pack(">f", math.inf), None),
        ({"type": "f64", "unavailable": -9999}, struct.pack(">d", -9999), None),
    ],
)
def test_values(settings: dict[str, Any], data: bytes, value: Any) -> None:
    decoded = RegisterField(settings).decode(data)
    assert decoded == value and type(decoded) is type(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("u16", -1), ("u16", 65536), ("i16", 40000), ("bcd16", 10000), ("bcd16", -1), ("u16", 1.5), ("u16", math.nan),
     ("u16", math.inf), ("u16", "7"), ("u16", None), ("f32", 1e40), ("string", "too long")],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_words(kind: str, value: Any) -> None:
    with pytest.raises(DeviceError, match=r"fit|whole|number|longer"):
        field(kind, length=2).encode(value)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ["u16", "u32", "u64"])
def test_a_bit_is_found_where_it_is_read(kind: str, order: str) -> None:
    coded = field(kind, order=order)
    for bit in range(8 * coded.size):
        register, place = coded.place(bit)
        registers = [0] * (coded.size // 2)
        registers[register] = 1 << place
        assert coded.decode(wire(registers)) == 1 << bit
