"""Pins of a GPIO chip: relays, contacts and pulse counters (README.md)."""

from __future__ import annotations

from drivers.api import Driver

__all__ = ["DRIVERS"]

DRIVERS = (
    Driver(
        type="gpio",
        open="drivers.gpio.chip:open_gpio",
        config="drivers.gpio.config:GpioConfig",
        page="README.md",
        address={"pin": "pin"},
        wire="",
    ),
)
