"""The site file's keys of a GPIO chip, and which of its pins a relay may hang on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Literal

from agent.site.models.bus import BusModel

if TYPE_CHECKING:
    from agent.site.checks.names import Checked

__all__ = ["GpioConfig"]

_LAST = 27
_PULLED_UP = range(9)
_CONSOLE = (14, 15)


class GpioConfig(BusModel):
    """The pins of the Raspberry Pi itself, by their BCM numbers: gpio.17."""

    type: Literal["gpio"]

    has_pins: ClassVar = True

    @property
    def wire(self) -> tuple[str, str]:
        """A machine has one chip with pins."""
        return "the pins", "type"

    def pin(self, name: str, text: str) -> int:
        """The number of a pin. ValueError for one that is not there."""
        if not re.fullmatch(r"[0-9]{1,2}", text) or int(text) > _LAST:
            raise ValueError(f'"{text}" is not a pin; write its BCM number, {name}.0 to {name}.{_LAST}')
        return int(text)

    def check_pin(self, at: Checked, name: str, number: int) -> None:
        """A relay on a pin is on or off, falls off when the program ends, and must not move at power-on."""
        actuator = at.site.actuators[name]
        keys = ("actuators", name)
        if actuator.refresh is not None:
            at.error((*keys, "refresh"), f"{actuator.output} is a pin: it stays as it is written; leave out refresh")
        if actuator.kind == "level":
            at.error((*keys, "kind"), f"{actuator.output} is a pin: it is on or off, it has no level")
        elif actuator.safe_state == "hold":
            at.error(
                (*keys, "safe_state"),
                f"{name} ({actuator.output}) cannot hold its state: the program releases its pins when it ends; "
                "write off or on",
            )
        if actuator.override or at.wrong(*keys, "override"):
            return
        if number in _CONSOLE:
            at.error(
                (*keys, "output"),
                f"pin {number} is the serial console at boot and would move the relay; "
                "use 9-13 or 16-27, or override: true",
            )
        elif number in _PULLED_UP:
            at.error(
                (*keys, "output"),
                f"pin {number} is pulled up at reset and would switch the relay; use 9-13 or 16-27, or override: true",
            )
        elif actuator.active == "low":
            at.error(
                (*keys, "active"),
                f"pin {number} is low at reset, which would switch an active-low relay on; "
                "use an active-high relay, or override: true",
            )
