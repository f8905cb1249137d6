"""The settings of an actuator in the site file, and its values: which it takes, which are on, which are the same."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from typing import Literal

from agent.errors import Rejected
from agent.model import Kind, Point, Value

__all__ = ["SETTLE", "ActuatorSpec", "Level", "bounded", "implicit", "say"]

SETTLE = 3.0
"""Seconds that an output may take to show what was written (a contactor: its `travel` comes on top)."""
_LARGEST = sys.float_info.max
"""A whole number above this cannot be converted to a float."""

Level = Literal["on", "off", "hold", "recompute"] | float


@dataclass(frozen=True, slots=True)
class ActuatorSpec:
    """The settings of an actuator in the site file. Times in seconds; levels in the unit of the output.

    `kind`: "relay" is on or off, "level" a number from `low` to `high`, "once" a number that is written and holds
    nothing (the index of a meter). The states at boot, at an orderly stop and in failure: "hold" leaves the output as
    it is; "recompute" too, until a rule or a command decides. `fail` is a valve's position without current.
    """

    name: str
    output: str
    kind: Literal["relay", "level", "once"] = "relay"
    feedback: str | None = None
    safe_state: Level = "off"
    boot_state: Level = "hold"
    stop_state: Level | None = None
    """None: the safe state."""
    min_on: float | None = None
    min_off: float | None = None
    max_on: float | None = None
    max_starts_per_hour: int | None = None
    back_is_no_start: bool = False
    """Switching on again after a loss of power does not count as a start (LED lamps)."""
    travel: float = 0.0
    fail: str | None = None
    low: float | None = None
    high: float | None = None
    output_watchdog: float | None = None
    stagger: float = 0.0
    """Switches on no sooner than this after any other actuator with a stagger in its group."""
    stagger_group: str = ""
    """The lamps of a site are one group, the pumps of a tank another."""
    refresh: float | None = None
    """Written again this often although nothing changed, and never more often, for a device that falls back to its own
    program without a write. Not while priorities 1 to 5 hold it."""

    def coerce(self, value: Value) -> Value:
        """Convert `value` to one that is written: a boolean for a relay, a number within the bounds for a level.

        Rejected for any other value.
        """
        if self.kind == "relay":
            word = value.strip().lower() if isinstance(value, str) else value
            if word not in ("on", "off", True, False):  # 1 and 0 are equal to True and False
                raise Rejected(f"{self.name} takes on or off, not {value!r}")
            return word in ("on", True)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
            raise Rejected(f"{self.name} takes a number, not {value!r}")
        low, high = self.low, self.high
        if (low is not None and value < low) or (high is not None and value > high):
            raise Rejected(f"{value:g} is out of range: {self.name} takes {_range(low, high)}")
        return value

    def state(self, level: Level) -> Value:
        """Return a state of the site file as a value; None for hold and recompute."""
        if level in ("hold", "recompute"):
            return None
        if self.kind == "relay":
            return level == "on"
        if level in ("on", "off"):
            top = self.high if self.high is not None else 1.0
            return top if level == "on" else self.off
        return level

    @property
    def off(self) -> Value:
        """The value that switches it off."""
        return False if self.kind == "relay" else self.low or 0.0

    def is_on(self, value: Value) -> bool:
        return bool(value) if self.kind == "relay" else isinstance(value, int | float) and value > 0

    def same(self, one: Value, other: Value) -> bool:
        """Whether two values are the same to this output, as a level written and a level read.

        Levels are the same within 1 % of the range from `low` to `high` (a register has steps), or within 0.1 % of the
        larger value, whichever is more. Values of a relay must be equal.
        """
        if self.kind == "relay" or not isinstance(one, int | float) or not isinstance(other, int | float):
            return one == other
        low, high = self.low, self.high
        step = 0.01 * (high - low) if low is not None and high is not None else 0.0
        return math.isclose(one, other, rel_tol=1e-3, abs_tol=max(step, 1e-9))

    def read(self, value: Value) -> Value:
        """Convert a reading of the output to a value of this actuator; None if it is not a number."""
        if not isinstance(value, bool | int | float):
            return None
        return bool(value) if self.kind == "relay" else float(value)


def implicit(point: Point) -> ActuatorSpec:
    """Return the actuator of a writable point that the site file gives none: without limits, under the point's own
    name.

    A counter is written once, and so is a command that moves another output. A two-state point is a relay that is off
    by default. Anything else is a level that stays as it was set. At a stop the output is left as it is.
    """
    limited = point.low is not None or point.high is not None
    kind: Literal["relay", "level", "once"] = "level"
    if point.moves or point.kind is Kind.COUNTER:
        kind = "once"
    elif point.kind is Kind.STATE and not limited:
        kind = "relay"
    return ActuatorSpec(point.id, point.id, kind, safe_state="hold", low=point.low, high=point.high)


def bounded(spec: ActuatorSpec, point: Point | None) -> ActuatorSpec:
    """Return `spec` with the bounds of its output if it is a level without bounds of its own."""
    if point is None or spec.low is not None or spec.high is not None:
        return spec
    return replace(spec, low=point.low, high=point.high)


def say(value: Value) -> str:
    """A value as text: on, off, a number, or unknown."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"{low:g} to {high:g}"
