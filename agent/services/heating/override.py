"""The commands that a zone takes: a mode or a setpoint for a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from agent.control.api import NEVER, Now
from agent.control.boot_time import BootShift, boot_anchor
from agent.model import Value

__all__ = ["LEGAL", "LONGEST", "MODES", "TimedValue", "ZoneOverride"]

MODES = ("comfort", "reduced", "frost", "off")
"""The modes of a zone. Off heats against frost only."""
LEGAL = 19.0
"""degC on the average of a building that is used (code de l'énergie, R.241-26)."""
USUAL = 2 * 3600.0
"""Seconds that a command lasts which does not say how long."""
LONGEST = 24 * 3600.0


class TimedValue(NamedTuple):
    """The value of a command until a time (monotonic s), `hold` seconds after it was carried out."""

    value: Any
    until: float
    hold: float


class ZoneOverride(NamedTuple):
    """The commands that hold. `restored`: the times are those of the process before."""

    mode: TimedValue | None = None
    setpoint: TimedValue | None = None
    anchor: float | None = None
    restored: bool = False

    def here(self, now: Now) -> ZoneOverride:
        """The ones that still hold, with the times of this boot.

        Where the time without power is not known, none holds for longer than it was given for.
        """
        if self.mode is None and self.setpoint is None:
            return NONE
        found, t = self, now.monotonic
        if self.restored:
            by = BootShift.from_anchor(self.anchor, now).seconds
            mode, setpoint = (
                None if one is None else one._replace(until=min(one.until + by, t + one.hold))
                for one in (self.mode, self.setpoint)
            )
            found = ZoneOverride(mode, setpoint, self.anchor)
        mode, setpoint = (one if one is not None and one.until > t else None for one in (found.mode, found.setpoint))
        if mode is None and setpoint is None:
            return NONE
        anchor = boot_anchor(found.anchor, now)
        if (mode, setpoint, anchor, False) == tuple(self):
            return self
        return ZoneOverride(mode, setpoint, anchor)

    @property
    def due(self) -> float:
        """When the next of them ends (monotonic s)."""
        if self is NONE:
            return NEVER
        return min((one.until for one in (self.mode, self.setpoint) if one is not None), default=NEVER)

    def set_mode(self, value: Value, now: Now, hold: float | None) -> ZoneOverride:
        """The commands after one for a mode; None and "auto" end it. ValueError if it is wrong."""
        return self._replace(mode=None if value in (None, "auto") else _lasting(_mode(value), now, hold))

    def set_setpoint(self, value: Value, now: Now, hold: float | None, low: float, high: float) -> ZoneOverride:
        """The commands after one for a setpoint, from `low` to `high` degC; None ends it. ValueError if it is wrong."""
        return self._replace(setpoint=None if value is None else _lasting(_setpoint(value, low, high), now, hold))

    def dump(self) -> dict[str, Any] | None:
        if self.mode is None and self.setpoint is None:
            return None
        mode, setpoint = (None if one is None else list(one) for one in (self.mode, self.setpoint))
        return {"mode": mode, "setpoint": setpoint, "anchor": self.anchor}

    @classmethod
    def load(cls, kept: Mapping[str, Any] | None) -> ZoneOverride:
        if kept is None:
            return NONE
        mode, setpoint = (None if kept[key] is None else TimedValue(*kept[key]) for key in ("mode", "setpoint"))
        return cls(mode, setpoint, kept["anchor"], restored=True)


NONE = ZoneOverride()


def _lasting(value: Any, now: Now, hold: float | None) -> TimedValue:
    lasts = USUAL if hold is None else hold
    if not 0 < lasts <= LONGEST:
        raise ValueError("an override lasts more than 0 and at most 24 h (hold_ms 86400000)")
    return TimedValue(value, now.monotonic + lasts, lasts)


def _mode(value: Value) -> str:
    if value is False:  # off comes as the state of an output
        return "off"
    if value not in MODES:
        shown = "on" if value is True else value
        raise ValueError(f"a mode is comfort, reduced, frost, off or auto, not {shown}")
    return str(value)


def _setpoint(value: Value, low: float, high: float) -> float:
    if isinstance(value, bool | str) or value is None:
        raise ValueError(f"a setpoint is a number in degC, not {value!r}")
    if value < low:
        raise ValueError(f"{value:g} degC is below the frost setpoint {low:g} degC")
    if value > high:
        raise ValueError(f"{value:g} degC is above {high:g} degC (code de l'énergie R.241-26)")
    return float(value)
