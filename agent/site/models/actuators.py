"""Actuators: outputs that may be commanded, with the limits that protect them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from agent.site.language.base import Model, Reference
from agent.site.language.values import Choice, LongDuration, Percent, TimeSpan, WeekTimeText

__all__ = ["ActuatorConfig", "ExerciseConfig"]

Stand = Annotated[str | float, Choice("on", "off", "hold", level=True)]
BootStand = Annotated[str | float, Choice("on", "off", "hold", "recompute", level=True)]


class ExerciseConfig(Model):
    """A short run now and then, so that a pump does not seize."""

    every: LongDuration
    """After this long without a run."""
    run: TimeSpan
    at: WeekTimeText | None = None
    """When it is done."""


class ActuatorConfig(Model):
    """One output. on and off are the coil's; fail is the position of a valve without current."""

    output: Reference
    """The output that is switched: device.point, or a pin such as gpio.22."""
    kind: Annotated[Literal["relay", "level"], Choice("relay", "level")] = "relay"
    feedback: Reference | None = None
    """An input that says whether it really switched."""
    safe_state: Stand = "off"
    """Where it goes when its control is lost."""
    boot_state: BootStand = "off"
    """Where it goes at the start; recompute leaves it as it is until its control has decided."""
    stop_state: BootStand | None = None
    """Where it goes at an orderly stop. Default: safe_state."""
    failure_level: Percent | None = None
    """Level: what it shows when it is not commanded."""
    fallback_after: TimeSpan | None = None
    """Radio node: after this long without a downlink it follows its own program. It is written again well before half
    of that."""
    refresh: TimeSpan | None = None
    """A setpoint or level that the device gives up if it is not repeated: it is written again this often, never more
    often, and not while a fault, a stop or a hand holds it. At least 1 s."""
    active: Annotated[Literal["high", "low"], Choice("high", "low")] = "high"
    """Pin: the level that switches on."""
    override: bool = False
    """Allow a pin that is switched at power-on, or active: low."""
    fail: Annotated[
        Literal["normally_closed", "normally_open"] | None, Choice("normally_closed", "normally_open")
    ] = None  # fmt: skip
    """Valve: its position without current."""
    travel: TimeSpan | None = None
    """Valve: how long it moves."""
    min_on: TimeSpan | None = None
    """The least time on."""
    min_off: TimeSpan | None = None
    """The least time off."""
    max_on: TimeSpan | None = None
    """The most time on; then it is switched off and that is an alarm."""
    max_starts_per_hour: Annotated[int, Field(ge=1, le=3600)] | None = None
    exercise: ExerciseConfig | None = None
    """A short run now and then."""

    def model_post_init(self, _context: Any) -> None:
        """Fill in the defaults that depend on other keys."""
        own = self.__dict__
        if self.kind == "level" and "safe_state" not in self.model_fields_set:
            own["safe_state"] = self.failure_level if self.failure_level is not None else "hold"
        if self.kind == "level" and "boot_state" not in self.model_fields_set:
            own["boot_state"] = own["safe_state"]
        if self.stop_state is None:
            own["stop_state"] = own["safe_state"]
