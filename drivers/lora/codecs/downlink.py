"""Downlinks as data: each writable field has its record, a prefix and a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from drivers.lora.codecs.fields import Field
from drivers.lora.codecs.result import CodecError, Decoded

__all__ = ["Declared"]


class Declared:
    """The common part of struct and tlv: the port that they read, and `lora.downlink`."""

    def __init__(self, lora: Mapping[str, Any]) -> None:
        self._fport: int | None = lora.get("fport")
        self._downlinks = {record["field"]: record for record in lora.get("downlink", ())}

    def _foreign(self, fport: int) -> Decoded | None:
        """The result for a payload of a port that the profile does not read; None for its own port."""
        if self._fport is None or fport in (0, self._fport):
            return None
        return Decoded({}, (f"not read: it came on port {fport}, and the profile reads {self._fport}",))

    async def encode(self, data: Mapping[str, Any], fport: int | None) -> tuple[int, bytes]:
        """One payload for all the fields given, in the order of the profile."""
        wanted = dict(_leaves(data))
        unknown = [name for name in wanted if name not in self._downlinks]
        if unknown or not wanted:
            there = ", ".join(self._downlinks) or "nothing"
            raise CodecError(f"{unknown[0] if unknown else 'nothing'} cannot be written; the profile writes {there}")
        records = [(record, wanted[name]) for name, record in self._downlinks.items() if name in wanted]
        ports = {record.get("fport") or fport or self._fport for record, _ in records}
        if len(ports) > 1:
            raise CodecError(f"{' and '.join(wanted)} go to different ports; write them one by one")
        port = ports.pop()
        if port is None:
            raise CodecError("no port to send to; name one: --fport, or fport in lora or lora.downlink of the profile")
        return port, b"".join(_bytes(record, value) for record, value in records)


def _bytes(record: Mapping[str, Any], value: Any) -> bytes:
    values = record.get("values")
    if values is not None:
        word = _word(value)
        if word not in values:
            raise CodecError(f"{record['field']} is one of {', '.join(values)}, not {word}")
        return bytes.fromhex(values[word])
    middle = Field(record).write(value)
    return bytes.fromhex(record.get("prefix", "")) + middle + bytes.fromhex(record.get("suffix", ""))


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.10g}" if isinstance(value, int | float) else str(value)


def _leaves(data: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
