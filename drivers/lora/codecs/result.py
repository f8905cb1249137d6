"""The interface of codecs, and their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.errors import DeviceError

__all__ = ["Codec", "CodecError", "Decoded"]


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded payload: a (nested) mapping of fields, and the codec's warnings."""

    data: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    """Fields that payloads of this layout do not have, and why: what was known of them holds no longer."""
    cut: bool = field(default=False, compare=False)
    """Whether reading stopped before the end of the payload: what would have come after it is not known."""


class CodecError(DeviceError):
    """Why a payload gave no values, or values no payload; it costs that one uplink or downlink."""


class Codec(Protocol):
    """Reads and writes the payloads of one device. CodecError says what is wrong; nothing else is raised."""

    async def decode(self, payload: bytes, fport: int, received_ms: int | None) -> Decoded:
        """The fields of an uplink. `fport` 0: the radio has no ports. `received_ms` is Unix time, None if unknown."""

    async def encode(self, data: Mapping[str, Any], fport: int | None) -> tuple[int, bytes]:
        """The port and the payload of a downlink; `fport` is the port where neither codec nor profile name one."""
