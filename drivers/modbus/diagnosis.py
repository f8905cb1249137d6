"""The likely cause why a Modbus device cannot be read, from its statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["diagnose"]

_CAUSES = {
    "misfits": "it answers something else than was asked; is its unit_id right, and its profile?",
    "timeouts": "no answer; is its unit_id right, does it have power?",
    "crc_errors": "its answers are garbled; are baudrate, parity and wiring right?",
    "exceptions": "the device refuses; is its profile right?",
}
"""The meaning of each count that is not 0, in the order of inspection."""
_VAGUE = ("no answer", "broken frame")


def diagnose(counts: Mapping[str, Any]) -> str:
    """The likely cause, in words; "" if the counts show none.

    `counts["said"]` is the device's last error. It is the cause itself, unless it only tells of silence or noise.
    """
    said = str(counts.get("said") or "")
    if said and not said.startswith(_VAGUE):
        return said
    return next((text for key, text in _CAUSES.items() if counts.get(key)), "")
