"""What protects a boiler and its pump: the limit of the flow, a flame that gives no heat, overrun, frost, exercise.

The limit aquastat of the boiler stays hard-wired: nothing here takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from agent.control.calendar import Calendar
from agent.control.core import NEVER, Now, Output, View, good

__all__ = ["Burner", "Exercise", "HeatCurve", "Pump", "exercise", "guard", "guard_due", "has_no_heat", "see_burner"]

BAND = 3.0
"""The burner is cut this far (K) above the heat curve's target and released as far below it."""
NO_HEAT = 1200.0
"""A burner that is on for so long (s) without the flow rising is locked out."""
RISE = 2.0
"""The flow rises when it gains this much (K)."""
SAG = 5.0
"""A flow that stays within this (K) of what it had risen to is being heated: a boiler at its limit."""
SILENCE = 60.0
"""A flow sensor that never spoke since the start is an alarm after this long (s)."""


@dataclass(frozen=True, slots=True)
class HeatCurve:
    """The flow temperature by the outdoor temperature: `points` are (outdoors, flow) in degC, the coldest first."""

    signal: str
    points: tuple[tuple[float, float], ...]
    max_flow: float = 70.0
    heat_off_above: float | None = None

    def target(self, outdoor: float | None) -> float:
        """degC, clamped at both ends: (-10, 65), (15, 30) gives 51.0 at 0. None: as on the coldest day."""
        points = self.points
        if outdoor is None or outdoor <= points[0][0]:
            return points[0][1]
        for (x1, y1), (x2, y2) in pairwise(points):
            if outdoor <= x2:
                return y1 + (y2 - y1) * (outdoor - x1) / (x2 - x1)
        return points[-1][1]


@dataclass(frozen=True, slots=True)
class Burner:
    """What is known of the burner. Times are monotonic seconds, temperatures those of the flow (degC)."""

    on: float | None = None
    """Since when; None: off."""
    off: float | None = None
    """When it last went off."""
    cut: bool = False
    """By the heat curve."""
    hot: bool = False
    """The flow reached its limit and has not come down yet."""
    locked: bool = False
    lost: float | None = None
    """Since when the flow is not known."""
    failed: bool = False
    """It is known to have failed: an alarm."""
    mark: float | None = None
    """When it last gave heat, else when it was switched on."""
    low: float | None = None
    """The lowest flow since."""
    level: float | None = None
    """What the flow had risen to, in this burn."""


def see_burner(burner: Burner, output: Output | None, now: Now) -> Burner:
    """Takes note of the burner's output."""
    on = output is not None and output.value is True
    if output is None or on is (burner.on is not None):
        return burner
    since = min(output.since, now.monotonic)
    if on:
        return replace(burner, on=since, off=None, mark=since, low=None, level=None)
    return replace(burner, on=None, off=since, mark=None, low=None, level=None)


def guard(burner: Burner, curve: HeatCurve, outdoor: float | None, view: View, now: Now) -> Burner:
    """Takes note of the flow. A flow that is not known lets no burner run; a latch holds until it is reset."""
    flow = good(view, curve.signal)
    if flow is None:
        lost = now.monotonic if burner.lost is None else burner.lost
        found = view.points.get(curve.signal)
        failed = burner.failed or found is not None or now.monotonic >= lost + SILENCE
        return replace(burner, lost=lost, failed=failed)
    target = curve.target(outdoor)
    cut = flow > target - BAND if burner.cut else flow >= target + BAND
    hot = flow > curve.max_flow - BAND if burner.hot else flow >= curve.max_flow
    burner = _heat(replace(burner, cut=cut, hot=hot, lost=None, failed=False), flow, now)
    return replace(burner, locked=burner.locked or has_no_heat(burner, flow, target, now))


def _heat(burner: Burner, flow: float, now: Now) -> Burner:
    if burner.on is None:
        return burner
    if burner.low is None or flow < burner.low:
        return replace(burner, low=flow)
    if flow >= burner.low + RISE:
        return replace(burner, mark=now.monotonic, low=flow, level=flow)
    return burner


def has_no_heat(burner: Burner, flow: float, target: float, now: Now) -> bool:
    """Whether it has been on for 20 min without the flow rising, while it is neither hot nor held where it rose to."""
    if burner.mark is None or now.monotonic < burner.mark + NO_HEAT or flow >= target - BAND:
        return False
    return burner.level is None or flow < burner.level - SAG


def guard_due(burner: Burner, now: Now) -> float:
    """When the guard has next something to decide by itself (monotonic s)."""
    times = (
        NEVER if burner.mark is None or burner.locked else burner.mark + NO_HEAT,
        NEVER if burner.lost is None or burner.failed else burner.lost + SILENCE,
    )
    return min((time for time in times if time > now.monotonic), default=NEVER)


@dataclass(frozen=True, slots=True)
class Exercise:
    """A run of `run` s after `every` s without one; with `minute` of the day, and `day` (0 Monday), at that time only.

    In site time.
    """

    every: float
    run: float
    calendar: Calendar
    minute: int | None = None
    day: int | None = None

    def last(self, civil: datetime) -> float | None:
        """The last time that it was due by the week (Unix s); None for one that keeps to no time."""
        return None if self.minute is None else self._occurrence(civil, back=True)

    def next(self, civil: datetime) -> float | None:
        return None if self.minute is None else self._occurrence(civil, back=False)

    def _occurrence(self, civil: datetime, back: bool) -> float:
        for days in range(8):
            day = civil.date() + timedelta(days=-days if back else days)
            at = self.calendar.instant(day, self.minute or 0)
            if (self.day is None or day.weekday() == self.day) and ((at <= civil) if back else (at > civil)):
                return at.timestamp()
        raise AssertionError("every time of a week comes within eight days")


@dataclass(frozen=True, slots=True)
class Pump:
    """What is known of the pump: whether it runs, when it last did (Unix s), until when it is exercised (monotonic)."""

    runs: bool = False
    ran: float | None = None
    until: float | None = None


LENIENCE = 7200.0
"""Idle time (s) that may be missing: last week's exercise took its time, and a day of 23 h is a day."""


def exercise(pump: Pump, spec: Exercise | None, output: Output | None, now: Now) -> tuple[Pump, float]:
    """The pump at this moment, and when its exercise has something to decide (monotonic s)."""
    runs = output is not None and output.value is True
    if pump.until is not None and now.monotonic >= pump.until:
        pump = replace(pump, until=None)
    if spec is None or now.civil is None:
        return replace(pump, runs=runs), NEVER if pump.until is None else pump.until
    unix = now.civil.timestamp()
    if pump.ran is None or (pump.runs and not runs):
        pump = replace(pump, ran=unix)
    pump = replace(pump, runs=runs)
    if pump.until is None and not runs and now.trusted:
        pump = _begin(pump, spec, now.civil, now.monotonic)
    if pump.until is not None:
        return pump, pump.until
    next_time = spec.next(now.civil) or (pump.ran or unix) + spec.every
    return pump, now.monotonic + next_time - unix if next_time > unix else NEVER


def _begin(pump: Pump, spec: Exercise, civil: datetime, monotonic: float) -> Pump:
    unix = civil.timestamp()
    idle = unix - (unix if pump.ran is None else pump.ran)
    if idle < (spec.every if spec.minute is None else spec.every - min(LENIENCE, spec.every / 2)):
        return pump
    last = spec.last(civil)
    left = spec.run if last is None else last + spec.run - unix
    if left <= 0:
        return pump
    return replace(pump, ran=unix, until=monotonic + left)
