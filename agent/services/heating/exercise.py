"""A short run now and then, so that a pump or a valve does not seize."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from agent.control.api import NEVER, Now, Output, Step, View, Wish
from agent.control.calendar import Calendar

__all__ = ["Exercise", "Exerciser", "Pump", "exercise"]

RULE = 15
LENIENCE = 7200.0
"""Idle time (s) that may be missing: last week's exercise took its time, and a day of 23 h is a day."""


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

    @property
    def enough(self) -> float:
        """Idle time after which it is wanted (s)."""
        return self.every if self.minute is None else self.every - min(LENIENCE, self.every / 2)

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


class Pump(NamedTuple):
    """The pump as known: whether it runs, when it last did (Unix s), until when it is exercised (monotonic)."""

    runs: bool = False
    ran: float | None = None
    until: float | None = None


def exercise(pump: Pump, spec: Exercise | None, output: Output | None, now: Now) -> tuple[Pump, float]:
    """The pump at this moment, and when its exercise has something to decide (monotonic s)."""
    runs = pump.runs if output is None or output.value is None else output.value is True
    if pump.until is not None and now.monotonic >= pump.until:
        pump = pump._replace(until=None)
    stopped = pump.runs and not runs
    if runs is not pump.runs:
        pump = pump._replace(runs=runs)
    if spec is None or now.civil is None:
        return pump, NEVER if pump.until is None else pump.until
    unix = now.civil.timestamp()
    if pump.ran is None or stopped:
        pump = pump._replace(ran=unix)
    if pump.until is None and not runs and now.trusted:
        pump = _begin(pump, spec, now.civil, now.monotonic)
    if pump.until is not None:
        return pump, pump.until
    idle_at = (unix if pump.ran is None else pump.ran) + spec.enough
    next_time = idle_at if unix < idle_at else spec.next(now.civil)
    return pump, NEVER if next_time is None else now.monotonic + next_time - unix


def _begin(pump: Pump, spec: Exercise, civil: datetime, monotonic: float) -> Pump:
    unix = civil.timestamp()
    if pump.ran is None or unix < pump.ran + spec.enough:
        return pump
    last = spec.last(civil)
    left = spec.run if last is None else last + spec.run - unix
    if left <= 0:
        return pump
    return pump._replace(ran=unix, until=monotonic + left)


@dataclass(frozen=True, slots=True)
class Exerciser:
    """Exercises an actuator that is not the pump of a heating zone, beside its other users."""

    actuator: str
    spec: Exercise

    @property
    def name(self) -> str:
        return f"{self.actuator}.exercise"

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset((self.actuator,))

    def initial(self) -> Pump:
        return Pump()

    def step(self, state: Pump, view: View, now: Now) -> Step[Pump]:
        if state.until is not None and state.until > now.monotonic + self.spec.run:
            state = state._replace(until=None)  # of another boot
        state, due = exercise(state, self.spec, view.outputs.get(self.actuator), now)
        wishes = () if state.until is None else (Wish(self.actuator, RULE, True, self.name),)
        return Step(state, wishes, (), due)

    def dump(self, state: Pump) -> dict[str, Any]:
        return state._asdict()

    def load(self, kept: Mapping[str, Any]) -> Pump:
        return Pump(**kept)
