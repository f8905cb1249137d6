"""Registers to values and back: what the bytes of one point mean.

A value is raw x scale + offset. Integers stay int while scale and offset are whole; a scaled value is rounded to the
decimals that scale and offset have, a float to the shortest decimal that is the same float on the wire, so that 61.2
is published and not 61.20000076.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from agent.errors import DeviceError
from agent.model import Value

__all__ = ["RegisterField", "width"]

Convert = Callable[[Any], Value]

_CODES = {
    "bool": "H", "u16": "H", "i16": "h", "bcd16": "H", "u32": "I", "i32": "i", "f32": "f", "bcd32": "I",
    "u64": "Q", "i64": "q", "f64": "d",
}  # fmt: skip
_F32 = struct.Struct(">f")


def width(point: Mapping[str, Any]) -> int:
    """How many registers a point of a profile takes: 1, 2 or 4, or the `length` of a string."""
    if point["type"] == "string":
        return int(point.get("length") or 1)
    return struct.calcsize(">" + _CODES[point["type"]]) // 2


class RegisterField:
    """One register point: `code` for struct, `order` of its bytes, and how the raw value converts.

    `pick` lists the bytes of the registers, as sent, in the order struct wants them. `convert` is None where the raw
    value is the value; it returns None for "not available", for a float that is no number and for broken BCD.
    """

    def __init__(self, point: Mapping[str, Any]) -> None:
        self.type: str = point["type"]
        self.size = 2 * width(point)
        self.code = f"{self.size}s" if self.type == "string" else _CODES[self.type]
        self.pick = byte_order(str(point.get("order") or "abcd"), self.size, self.type == "string")
        self.bit: int | None = point.get("bit")
        self.words: tuple[int, int] | None = None if point.get("on") is None else (point["on"], point["off"])
        self.scale: float = point.get("scale", 1) or 1
        self.offset: float = point.get("offset", 0) or 0
        if float(self.scale).is_integer() and float(self.offset).is_integer():
            self.scale, self.offset = int(self.scale), int(self.offset)
        self._unavailable = _in_domain(point.get("unavailable"), self.code)
        self._struct = struct.Struct(">" + self.code)
        self.convert = self._converter()

    def decode(self, data: bytes) -> Value:
        """The value of the registers `data`, as they came; None if it is not available."""
        (raw,) = self._struct.unpack(bytes(data[i] for i in self.pick))
        return raw if self.convert is None else self.convert(raw)

    def place(self, bit: int) -> tuple[int, int]:
        """The place of a bit of the value: which register of the point, and which bit of that (0..15)."""
        byte = self.pick[self.size - 1 - bit // 8]
        return byte // 2, bit % 8 + (0 if byte % 2 else 8)

    def encode(self, value: Value) -> list[int]:
        """The registers that hold `value`. DeviceError if the type cannot hold it."""
        try:
            data = self._struct.pack(self._to_raw(value))
        except (struct.error, OverflowError, ValueError) as error:
            raise DeviceError(f"{value!r} does not fit into {self.type}") from error
        wire = bytearray(self.size)
        for place, byte in zip(self.pick, data, strict=True):
            wire[place] = byte
        return [wire[i] << 8 | wire[i + 1] for i in range(0, self.size, 2)]

    def _converter(self) -> Convert | None:
        if self.type == "string":
            return _text
        if self.bit is not None:
            bit = self.bit
            return lambda raw: bool(raw >> bit & 1)
        if self.words is not None:
            return _switched(*self.words)
        if self.type == "bool":
            return bool
        first = {"bcd16": _from_bcd, "bcd32": _from_bcd, "f32": _shortest, "f64": _number}.get(self.type)
        return _chain(self._unavailable, first, self._scaler())

    def _scaler(self) -> Callable[[Any], Any] | None:
        scale, offset = self.scale, self.offset
        if scale == 1 and offset == 0:
            return None
        if self.type in ("f32", "f64"):
            return lambda raw: float(f"{raw * scale + offset:.12g}")
        if isinstance(scale, int) and isinstance(offset, int):
            return lambda raw: raw * scale + offset
        digits = min(max(_decimals(scale), _decimals(offset)), 15)
        return lambda raw: round(raw * scale + offset, digits)

    def _to_raw(self, value: Value) -> Any:
        if self.type == "string":
            text = str(value).encode("latin-1", "replace")
            if len(text) > self.size:
                raise DeviceError(f"{value!r} is longer than {self.size} characters")
            return text
        if isinstance(value, str) or value is None:
            raise DeviceError(f"{value!r} is not a number")
        if self.words is not None:
            return self.words[0 if value else 1]
        if self.type == "bool":
            return int(bool(value))
        if self.type in ("f32", "f64"):
            return (value - self.offset) / self.scale
        raw = round((value - self.offset) / self.scale) if not self._plain else value
        if raw != int(raw):
            raise DeviceError(f"{value!r} is not a whole number")
        return _to_bcd(int(raw), self.size * 2) if self.type.startswith("bcd") else int(raw)

    @property
    def _plain(self) -> bool:
        return self.scale == 1 and self.offset == 0


def byte_order(order: str, size: int, text: bool = False) -> tuple[int, ...]:
    """The position of each byte, most significant first, in the registers as sent.

    Two habits mix: words in either order (ab cd, cd ab), bytes swapped within the word (ba dc, dc ba). "abcd" says
    it for every size; the spelling of 8 bytes ("ghefcdab") is understood too. Text has no order of words.
    """
    words_swapped = order[0] not in "ab" and size > 2 and not text
    bytes_swapped = order.index(min(order)) % 2 == 1
    words = range(0, size, 2)
    pair = (1, 0) if bytes_swapped else (0, 1)
    return tuple(word + byte for word in (reversed(words) if words_swapped else words) for byte in pair)


def _switched(on: int, off: int) -> Convert:
    """On or off by the maker's words. Where they are commands the register itself reads 1 and 0; else it is neither."""
    states: dict[int, bool] = {0: False, 1: True} | {off: False, on: True}
    return states.get


def _chain(unavailable: Any, first: Convert | None, then: Callable[[Any], Any] | None) -> Convert | None:
    """One function of the steps that are wanted, None if none is: this runs once for every value."""
    if unavailable is None and first is None:
        return then
    if first is None:
        if then is None:
            return lambda raw: None if raw == unavailable else raw
        return lambda raw: None if raw == unavailable else then(raw)

    def convert(raw: Any) -> Value:
        if raw == unavailable:
            return None
        value = first(raw)
        return value if value is None or then is None else then(value)

    return convert


def _in_domain(unavailable: Any, code: str) -> Any:
    """A pattern written unsigned (0x8000) meets a signed raw value, and -1 an unsigned one."""
    if unavailable is None or code not in "HhIiQq":
        return unavailable
    size = struct.calcsize(">" + code)
    return int.from_bytes((int(unavailable) % (1 << 8 * size)).to_bytes(size, "big"), "big", signed=code.islower())


def _decimals(number: float) -> int:
    exponent = Decimal(repr(number)).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _number(raw: float) -> float | None:
    return raw if math.isfinite(raw) else None


def _shortest(raw: float) -> float | None:
    """The shortest decimal that is this f32; nine digits always are (IEEE 754-2019, 5.12.2)."""
    if not math.isfinite(raw):
        return None
    for form in ("%.7g", "%.8g"):
        value = float(form % raw)
        if abs(value) < 3.4e38 and _F32.unpack(_F32.pack(value))[0] == raw:
            return value
    return float(f"{raw:.9g}")


def _from_bcd(raw: int) -> int | None:
    digits = f"{raw:x}"
    return int(digits) if digits.isdecimal() else None


def _to_bcd(value: int, digits: int) -> int:
    if not 0 <= value < 10**digits:
        raise DeviceError(f"{value} does not fit into {digits} decimal digits")
    return int(str(value), 16)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("latin-1").rstrip()
