"""Payloads made of records, in any order and number: channel and type, or a type alone, and then the value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drivers.lora.codecs.downlink import Declared
from drivers.lora.codecs.fields import Layout
from drivers.lora.codecs.result import CodecError, Decoded
from drivers.lora.values import MISSING, look_up

__all__ = ["Tlv"]


class Tlv(Declared):
    """`lora.tlv` of a profile.

    The length of an unknown record is unknown too: decoding stops there with a warning, and keeps the values before.
    """

    def __init__(self, lora: Mapping[str, Any]) -> None:
        super().__init__(lora)
        records = lora["tlv"]
        self._width = 1 if records[0].get("channel") is None else 2
        self._layouts = {_begin(record): (Layout(record.get("fields") or (record,)), record.get("list"))
                         for record in records}  # fmt: skip
        self._skip = {bytes.fromhex(begin): length for begin, length in lora.get("skip", {}).items()}

    async def decode(self, payload: bytes, fport: int, _received_ms: int | None) -> Decoded:
        foreign = self._foreign(fport)
        if foreign is not None:
            return foreign
        data: dict[str, Any] = {}
        absent: dict[str, str] = {}
        at, warning = 0, None
        while at < len(payload) and warning is None:
            begin = payload[at : at + self._width]
            at, warning = self._record(data, absent, payload, begin, at + self._width)
        if warning is not None and warning.startswith("too short") and not data:
            raise CodecError(warning)
        absent = {name: why for name, why in absent.items() if look_up(data, name) is MISSING}
        return Decoded(data, () if warning is None else (warning,), absent, cut=warning is not None)

    def _record(
        self, data: dict[str, Any], absent: dict[str, str], payload: bytes, begin: bytes, at: int
    ) -> tuple[int, str | None]:
        """Read one record into `data`, and what it has no value for into `absent`: where the next one begins, or why
        there is none."""
        if begin in self._skip:
            return at + self._skip[begin], None
        if begin not in self._layouts:
            return at, f"unknown record {begin.hex()} at byte {at - self._width}: the rest was not read"
        layout, into = self._layouts[begin]
        end = len(payload) if layout.size is None else at + layout.size
        if end > len(payload):
            return at, f"too short: record {begin.hex()} has {layout.size} bytes, and {len(payload) - at} are there"
        found = layout.all_of(payload[at:end])
        values = layout.shown(found)
        if into is None:
            _merge(data, values)
            absent.update(layout.without(found))
        else:
            data.setdefault(into, []).append(values)
        return end, None


def _begin(record: Mapping[str, Any]) -> bytes:
    channel = record.get("channel")
    return bytes([record["type"]] if channel is None else [channel, record["type"]])


def _merge(data: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(data.get(key), dict):
            _merge(data[key], value)
        else:
            data[key] = value
