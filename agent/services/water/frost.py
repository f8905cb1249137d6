"""Frost at a water point: when it is closed for the cold, and when it may open again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from agent.control.api import NEVER, Now, View, good, updated
from agent.control.boot_time import BootShift
from agent.control.calendar import DAY, WINTER, Calendar

__all__ = ["Frost", "FrostState", "step"]

PATIENCE = 3600.0
"""Seconds to the first reading of a sensor after the start (LoRaWAN: a reading in some minutes)."""


@dataclass(frozen=True, slots=True)
class Frost:
    """Closes below `close_below`, opens again when it was above `reopen_above` for `hold`. degC and seconds."""

    signal: str
    calendar: Calendar
    close_below: float = 2.0
    reopen_above: float = 4.0
    hold: float = 6 * 3600.0
    winter: frozenset[int] = WINTER

    def side(self, view: View) -> tuple[bool, ...]:
        """On which side of the limits the temperature is; without one, whether it was ever read."""
        degrees = good(view, self.signal)
        if degrees is None:
            return (self.signal in view.points,)
        return degrees < self.close_below, degrees > self.reopen_above


@dataclass(frozen=True, slots=True)
class FrostState:
    """Times are monotonic seconds. `lost`: the sensor is what closed it."""

    cold: bool = False
    warm: float | None = None
    """Since when it has been warm, while it is closed."""
    lost: bool = False
    awaited: float | None = None
    """Since when the first reading is waited for; not kept."""

    def shifted(self, by: BootShift) -> FrostState:
        return replace(self, warm=by.optional(self.warm))


def step(frost: Frost, state: FrostState, view: View, now: Now) -> tuple[FrostState, float]:
    """The state now, and when to look again (monotonic s)."""
    degrees = good(view, frost.signal)
    if degrees is not None:
        state = updated(state, awaited=None, lost=False)
        if degrees < frost.close_below:
            return updated(state, cold=True, warm=None), NEVER
        if degrees > frost.reopen_above:
            return _warm(frost, state, now.monotonic)
        return updated(state, warm=None), NEVER
    if frost.signal not in view.points:
        awaited = now.monotonic if state.awaited is None else state.awaited
        if now.monotonic < awaited + PATIENCE:
            return updated(state, awaited=awaited), awaited + PATIENCE
    if now.civil is None or now.civil.month in frost.winter:
        return updated(state, cold=True, warm=None, lost=True), _spring(frost, now)
    state, due = _warm(frost, updated(state, lost=True), now.monotonic)
    return state, min(due, _until(now, frost.calendar.instant(now.civil.date() + DAY, 0)))


def _warm(frost: Frost, state: FrostState, now: float) -> tuple[FrostState, float]:
    if not state.cold:
        return updated(state, warm=None), NEVER
    since = now if state.warm is None else state.warm
    if now >= since + frost.hold:
        return updated(state, cold=False, warm=None), NEVER
    return updated(state, warm=since), since + frost.hold


def _spring(frost: Frost, now: Now) -> float:
    """The end of the winter: the first day of the month after it."""
    if now.civil is None:
        return NEVER
    year, month = now.civil.year, now.civil.month
    while month in frost.winter:
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return _until(now, frost.calendar.instant(datetime(year, month, 1, tzinfo=UTC).date(), 0))


def _until(now: Now, at: datetime) -> float:
    return NEVER if now.civil is None else now.monotonic + (at - now.civil).total_seconds()
