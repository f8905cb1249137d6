"""Fields of a binary payload: how they lie in its bytes, what they mean, and how they are written."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from drivers.lora.codecs.result import CodecError
from drivers.lora.values import MISSING, look_up

__all__ = ["Field", "Layout", "holds", "put"]

NONE = "this payload has no value for it"
_SIZES = {"u8": 1, "i8": 1, "bool": 1, "u16": 2, "i16": 2, "u24": 3, "i24": 3, "u32": 4, "i32": 4, "f32": 4, "u64": 8,
          "i64": 8, "f64": 8}  # fmt: skip


class Field:
    """One field. `name` is a dotted path into the decoded object; value = raw x scale + offset."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.name: str = entry["field"]
        kind: str = entry["as"] if "as" in entry else entry["type"]
        self.kind = kind[:-2] if kind[-2:] in ("be", "le") else kind
        self._order: Literal["little", "big"] = "little" if kind.endswith("le") else "big"
        self.size: int | None = _SIZES.get(self.kind, entry.get("length"))
        self._form = (">" if self._order == "big" else "<") + ("f" if self.size == 4 else "d")
        self._signed = self.kind[0] == "i"
        self._scale, self._offset = entry.get("scale", 1), entry.get("offset", 0)
        self._plain = self._scale == 1 and self._offset == 0
        self._unavailable: Sequence[int] = entry.get("unavailable", ())
        self.bit: int | None = entry.get("bit")
        self.bits: int = entry.get("bits", 1)
        self._flag = self.bit is not None and "bits" not in entry
        self.optional: bool = entry.get("optional", False)
        self.when: Mapping[str, Sequence[int]] = entry.get("when") or {}

    def read(self, raw: bytes) -> Any:
        """The value in its bytes; None where the device says that it has none."""
        if self.kind == "hex":
            return raw.hex()
        if self.kind == "ascii":
            return raw.decode("ascii", "replace").rstrip("\0")
        if self.kind[0] == "f":
            value = struct.unpack(self._form, raw)[0]
            return None if not math.isfinite(value) else self._scaled(value)
        number = int.from_bytes(raw, self._order, signed=self._signed)
        if self.bit is not None:
            number = (number >> self.bit) & ((1 << self.bits) - 1)
        if number in self._unavailable:
            return None
        return bool(number) if self._flag or self.kind == "bool" else self._scaled(number)

    def _scaled(self, number: float) -> float | None:
        if self._plain:
            return number
        try:
            value = float(f"{number * self._scale + self._offset:.12g}")  # 27.2, not 27.200000000000003
        except OverflowError:
            return None
        return value if math.isfinite(value) else None

    def write(self, value: Any) -> bytes:
        """The bytes of a value; CodecError if it does not fit."""
        if self.kind == "bool":
            return bytes([_truth(self.name, value)])
        if self.kind in ("hex", "ascii"):
            return self._text(value)
        if not isinstance(value, int | float):
            raise CodecError(f"{self.name} is a number, not {value!r}")
        try:
            raw: float = value if self._plain else (value - self._offset) / self._scale
            if self.kind[0] == "f":
                return struct.pack(self._form, raw)
            return round(raw).to_bytes(self.size or 0, self._order, signed=self._signed)
        except (OverflowError, ValueError):  # too large, or not a number at all
            why = "" if self.kind[0] == "f" else f"; it goes from {self._ends()}"
            raise CodecError(f"{self.name} {value} does not fit into {self.kind}{why}") from None

    def _ends(self) -> str:
        bits = 8 * (self.size or 0)
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if self._signed else (0, (1 << bits) - 1)
        ends = sorted((low * self._scale + self._offset, high * self._scale + self._offset))
        return f"{ends[0]:.10g} to {ends[1]:.10g}"

    def _text(self, value: Any) -> bytes:
        try:
            raw = bytes.fromhex(value) if self.kind == "hex" else str(value).encode("ascii")
        except (ValueError, TypeError):
            raise CodecError(f"{self.name} {value!r} is not {self.kind}") from None
        if self.size is not None and len(raw) != self.size:
            raise CodecError(f"{self.name} has {self.size} bytes, not {len(raw)}")
        return raw


class Layout:
    """Fields one after the other; `size` is None where the last takes all that follows.

    Neighbours with `bit` lie in the same bytes as long as they are of one type and do not overlap. `at` is a place of
    its own, in bytes from the start; below 0, from the end. A field with `when` is there where others, which have none,
    hold these values; one whose name begins with _ is read for that only.
    """

    def __init__(self, entries: Sequence[Mapping[str, Any]]) -> None:
        self._places: list[tuple[int, Field]] = []
        at, taken, shared = 0, 0, None
        start = 0
        for entry in entries:
            field = Field(entry)
            own = 0 if field.bit is None else ((1 << field.bits) - 1) << field.bit
            place = entry.get("at")
            if place is not None:
                start, taken = place, 0
            elif not (own and shared == field.kind and not taken & own):
                start, taken = at, 0
            taken, shared = taken | own, field.kind if own else None
            self._places.append((start, field))
            at = start + (field.size or 0)
        self.fields = tuple(field for _, field in self._places)
        self.size = None if any(field.size is None for field in self.fields) else at
        self._places.sort(key=lambda place: bool(place[1].when))  # what others depend on is read first
        self._by_layout = any(field.when or field.name.startswith("_") for field in self.fields)

    def read(self, payload: bytes) -> dict[str, Any]:
        """The values, nested by the dots of their names. CodecError if the payload is too short."""
        return self.shown(self.all_of(payload))

    def shown(self, found: dict[str, Any]) -> dict[str, Any]:
        """Without the fields that begin with _."""
        return {name: value for name, value in found.items() if not name.startswith("_")} if self._by_layout else found

    def all_of(self, payload: bytes) -> dict[str, Any]:
        """The same with the fields that begin with _."""
        found: dict[str, Any] = {}
        for place, field in self._places:
            if not holds(field.when, found):
                continue
            start = place if place >= 0 else len(payload) + place
            end = len(payload) if field.size is None else start + field.size
            if field.optional and end > len(payload):
                continue
            if start < 0 or end > len(payload) or start > end:
                raise CodecError(f"too short: {len(payload)} bytes, and {field.name} needs {_needs(place, field)}")
            value = field.read(payload[start:end])
            if value is not None:
                put(found, field.name, value)
        return found

    def without(self, found: Mapping[str, Any]) -> dict[str, str]:
        """The fields of this layout that have no value here, and why: `unavailable`, no number, or `optional`."""
        there = [field.name for field in self.fields if holds(field.when, found)]
        return {name: NONE for name in there if look_up(found, name) is MISSING}


def holds(when: Mapping[str, Sequence[int]], found: Mapping[str, Any]) -> bool:
    """Whether each of these fields has one of its values."""
    return all(look_up(found, name) in values for name, values in when.items())


def _needs(place: int, field: Field) -> int:
    return place + (field.size or 0) if place >= 0 else -place


def put(data: dict[str, Any], path: str, value: Any) -> None:
    """Put a value into nested mappings by its dotted path."""
    *outer, last = path.split(".")
    for part in outer:
        data = data.setdefault(part, {})
    data[last] = value


def _truth(name: str, value: Any) -> int:
    words = {"on": 1, "off": 0}
    found = words.get(value) if isinstance(value, str) else int(value) if value in (0, 1) else None
    if found is None:
        raise CodecError(f"{name} is on or off, not {value}")
    return found
