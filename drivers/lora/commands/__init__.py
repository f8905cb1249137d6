"""LoRa's own commands: `bocage codec` and `bocage lora`. The command line imports them by name."""

from __future__ import annotations

from typing import Any

from drivers.lora.commands import codec, nodes

__all__ = ["add"]


def add(commands: Any) -> None:
    codec.add(commands)
    nodes.add(commands)
