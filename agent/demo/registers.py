"""A Modbus device by its profile: registers that hold what the world says, and outputs that hold what is written.

Written from the profile's keys (docs/profiles.md), apart from the agent's own codec, so that one checks the other.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

from agent.demo.slave import ADDRESS, Illegal

__all__ = ["ProfileUnit"]

_CODES = {"bool": "H", "u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q", "f32": "f", "f64": "d"}
_BCD = {"bcd16": 4, "bcd32": 8}
"""Decimal digits."""
_BITS = {"coil", "discrete"}


class ProfileUnit:
    """One device. `sensed` gives the value of a point that is not written; None reads as 0.

    `profile` is checked, with every default filled in. A register that no point has reads as 0, up to the last one.
    """

    def __init__(self, profile: Mapping[str, Any], sensed: Callable[[str], bool | float | None]) -> None:
        self._points = {name: point for name, point in profile["points"].items() if not point.get("moves")}
        self._sensed = sensed
        self._written: dict[tuple[str, int], int] = {}
        """Coils and holding registers by their address, as they were written last."""
        self._ends: dict[str, int] = {}
        for point in self._points.values():
            end = point["address"] + _size(point)
            self._ends[point["register"]] = max(end, self._ends.get(point["register"], 0))

    def output(self, name: str) -> bool | float:
        """The value that was written to a point; off, or 0, before that."""
        point = self._points[name]
        if point["register"] == "coil":
            return bool(self._written.get(("coil", point["address"]), 0))
        words = [self._written.get(("holding", point["address"] + n), 0) for n in range(_size(point))]
        return _decoded(point, words)

    def bits(self, table: str, address: int, count: int) -> list[bool]:
        self._check(table, address, count)
        found = [False] * count
        for name, point in self._points.items():
            at = point["address"] - address
            if point["register"] == table and 0 <= at < count:
                found[at] = bool(self.output(name) if point["writable"] else self._sensed(name))
        return found

    def words(self, table: str, address: int, count: int) -> list[int]:
        self._check(table, address, count)
        found = [0] * count
        for name, point in self._points.items():
            at = point["address"] - address
            if point["register"] != table or at + _size(point) <= 0 or at >= count:
                continue
            for n, word in enumerate(self._words_of(name, point)):
                if 0 <= at + n < count:
                    found[at + n] |= word
        return found

    def set_bit(self, address: int, on: bool) -> None:
        self._check("coil", address, 1)
        self._written["coil", address] = int(on)

    def set_word(self, address: int, word: int) -> None:
        self._check("holding", address, 1)
        self._written["holding", address] = word

    def _words_of(self, name: str, point: Mapping[str, Any]) -> list[int]:
        if point["writable"]:
            return [self._written.get(("holding", point["address"] + n), 0) for n in range(_size(point))]
        return _encoded(point, self._sensed(name) or 0.0)

    def _check(self, table: str, address: int, count: int) -> None:
        if address + count > self._ends.get(table, 0):
            raise Illegal(ADDRESS)


def _size(point: Mapping[str, Any]) -> int:
    """Registers, or one coil."""
    if point["register"] in _BITS:
        return 1
    if point["type"] == "string":
        return int(point["length"])
    return _BCD[point["type"]] // 4 if point["type"] in _BCD else struct.calcsize(">" + _CODES[point["type"]]) // 2


def _encoded(point: Mapping[str, Any], value: float) -> list[int]:
    """The registers of a value, as they go on the wire."""
    if point.get("on") is not None:
        return [point["on"] if value else point["off"]]
    if point["type"] == "string":
        return [0] * _size(point)
    if point["bit"] is not None:
        data = (int(bool(value)) << point["bit"]).to_bytes(2 * _size(point), "big")
    else:
        data = _packed(point, (value - point["offset"]) / point["scale"])
    return list(struct.unpack(f">{len(data) // 2}H", _ordered(data, point["order"])))


def _packed(point: Mapping[str, Any], raw: float) -> bytes:
    if point["type"] in _BCD:
        return bytes.fromhex(f"{max(0, round(raw)) % 10 ** _BCD[point['type']]:0{_BCD[point['type']]}d}")
    code = _CODES[point["type"]]
    if code in "fd":
        return struct.pack(">" + code, raw)
    bits = 8 * struct.calcsize(">" + code)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if code.islower() else (0, (1 << bits) - 1)
    return struct.pack(">" + code, min(max(round(raw), low), high))


def _decoded(point: Mapping[str, Any], words: list[int]) -> bool | float:
    if point.get("on") is not None:
        return bool(words[0] == point["on"])
    data = _ordered(struct.pack(f">{len(words)}H", *words), point["order"])
    if point["bit"] is not None:
        return bool(int.from_bytes(data, "big") >> point["bit"] & 1)
    if point["type"] in _BCD:
        raw = float(data.hex()) if data.hex().isdecimal() else math.nan
    elif point["type"] == "string":
        return 0.0
    else:
        raw = float(struct.unpack(">" + _CODES[point["type"]], data)[0])
    value = raw * point["scale"] + point["offset"]
    return bool(value) if point["type"] == "bool" else value


def _ordered(data: bytes, order: str) -> bytes:
    """Bytes between most significant first and the wire: words in either order, bytes of a word swapped or not."""
    words = [data[n : n + 2] for n in range(0, len(data), 2)]
    if order[0] not in "ab":
        words.reverse()
    return b"".join(word[::-1] if order.index(min(order)) % 2 else word for word in words)
