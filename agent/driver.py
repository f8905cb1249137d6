"""The former place of `drivers.api`: a third party's driver that imports from here still works."""

from __future__ import annotations

from drivers.api import (
    Aside,
    BusSpec,
    DeviceSpec,
    DurableStore,
    Inspector,
    Listener,
    NonceKeeper,
    Poller,
    Scanner,
    Successive,
    Trier,
    Wire,
    Writer,
)
from drivers.registry import is_driven, open_bus

Actuator, Memory = Writer, DurableStore
"""Their former names."""

__all__ = [
    "Actuator", "Aside", "BusSpec", "DeviceSpec", "Inspector", "Listener", "Memory", "NonceKeeper", "Poller", "Scanner",
    "Successive", "Trier", "Wire",
    "is_driven", "open_bus",
]  # fmt: skip
