"""The former place of `drivers.api`: a third party's driver that imports from here still works."""

from __future__ import annotations

from drivers.api import (
    Actuator,
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
    is_driven,
    open_bus,
)

Memory = DurableStore
"""The former name."""

__all__ = [
    "Actuator", "Aside", "BusSpec", "DeviceSpec", "Inspector", "Listener", "Memory", "NonceKeeper", "Poller", "Scanner",
    "Successive", "Trier", "Wire",
    "is_driven", "open_bus",
]  # fmt: skip
