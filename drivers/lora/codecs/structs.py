"""Payloads of a fixed form: fields one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drivers.lora.codecs.downlink import Declared
from drivers.lora.codecs.fields import Layout
from drivers.lora.codecs.result import Decoded

__all__ = ["Struct"]


class Struct(Declared):
    """`lora.struct` of a profile. Bytes beyond its fields are of no interest."""

    def __init__(self, lora: Mapping[str, Any]) -> None:
        super().__init__(lora)
        self._layout = Layout(lora["struct"])

    async def decode(self, payload: bytes, fport: int, received_ms: int | None) -> Decoded:
        return self._foreign(fport) or Decoded(self._layout.read(payload))
