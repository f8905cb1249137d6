"""Payloads of a fixed form: fields one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drivers.lora.codecs.downlink import Declared
from drivers.lora.codecs.fields import Layout, holds
from drivers.lora.codecs.result import CodecError, Decoded
from drivers.lora.values import look_up

__all__ = ["Struct"]


class Struct(Declared):
    """`lora.struct` of a profile. Bytes beyond its fields are of no interest, unless the payload is one of `blocks`."""

    def __init__(self, lora: Mapping[str, Any]) -> None:
        super().__init__(lora)
        self._layout = Layout(lora["struct"])
        self._blocks: Mapping[str, Any] | None = lora.get("blocks")
        self._aside: Sequence[Mapping[str, Sequence[int]]] = lora.get("aside", ())

    async def decode(self, payload: bytes, fport: int, _received_ms: int | None) -> Decoded:
        foreign = self._foreign(fport)
        if foreign is not None:
            return foreign
        found = self._layout.all_of(payload)
        if self._blocks is not None and holds(self._blocks["when"], found):
            return self._all_blocks(payload, self._blocks)
        return Decoded(self._layout.shown(found), absent=self._absent(found))

    def _all_blocks(self, payload: bytes, blocks: Mapping[str, Any]) -> Decoded:
        """The samples that the device stored; none of them is a present value."""
        length = blocks["length"]
        whole = len(payload) // length
        if not whole:
            raise CodecError(f"too short: {len(payload)} bytes, and a block has {length}")
        entries = [self._layout.read(payload[at * length : (at + 1) * length]) for at in range(whole)]
        rest = len(payload) % length
        warnings = (f"{rest} bytes after {whole} blocks of {length} were not read",) if rest else ()
        return Decoded({blocks["list"]: entries}, warnings)

    def _absent(self, found: Mapping[str, Any]) -> Mapping[str, str]:
        fields = self._layout.fields
        there = {field.name for field in fields if holds(field.when, found)}
        absent: dict[str, str] = {}
        aside = any(holds(when, found) for when in self._aside)
        for field in fields:
            if field.name not in there and not aside:
                now = " and ".join(f"{name} is {look_up(found, name)}" for name in field.when if name[0] != "_")
                absent[field.name] = f"not in this payload, where {now}"
        return {**absent, **self._layout.without(found)}
