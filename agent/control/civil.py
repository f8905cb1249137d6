"""Civil time: what calendars and the sun ask for, as well as it is known.

It is the clock's wall time (`clock.Wall`). While that is not trusted, it goes on from the last anchor, in the end from
one that an earlier boot left on flash: a calendar has to go by something.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from agent.clock import Clock
from agent.control.api import Now

__all__ = ["REAL_TIME", "Civil", "Pace"]


class Pace(NamedTuple):
    """The speed of the controls' time: real time, or faster in the demo.

    From `since` (monotonic s) on, `speed` of their seconds pass in one.
    """

    speed: float = 1.0
    since: float = 0.0

    def at(self, monotonic: float) -> float:
        """A moment of the world in the controls' time."""
        return monotonic if self.speed == 1 else self.since + (monotonic - self.since) * self.speed

    def back(self, moment: float) -> float:
        """A moment of the controls' time in the world's."""
        return moment if self.speed == 1 else self.since + (moment - self.since) / self.speed


REAL_TIME = Pace()


class Civil:
    """Makes a `Now` of the clock's moments, at a pace."""

    def __init__(self, timezone: str, clock: Clock, pace: Pace) -> None:
        self._zone, self._clock, self._pace = ZoneInfo(timezone), clock, pace

    def now(self) -> Now:
        """This moment."""
        at = self._clock.now()
        moment, offset = self._pace.at(at.boottime_ns / 1e9), self._clock.wall.offset_ns
        civil = None if offset is None else datetime.fromtimestamp(moment + offset / 1e9, self._zone)
        return Now(moment, civil, at.wall_ms is not None, self._clock.wall.sure)

    def due(self) -> float:
        """When a step of the clock is followed that is in doubt now (in the controls' time)."""
        return self._pace.at(self._clock.wall.due())
