"""Civil time: what calendars and the sun ask for, as well as it is known.

It is the last trusted anchor plus monotonic time. While the wall clock is trusted the anchor follows it; while it is
not, civil time goes on from the last anchor, in the end from one that an earlier boot left on flash.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from agent.clock import Clock
from agent.control.core import Now
from agent.driver import Memory

__all__ = ["Civil", "Pace"]

DRIFT = 0.005
"""Seconds between anchor and wall beyond which the anchor follows: a wall clock is slewed all the time."""
STEP = 2.0
"""Seconds from which on this is no slewing but a step."""
KEEP = 600.0
"""Seconds between two anchors that are kept."""


class Pace(NamedTuple):
    """How fast the time of the controls goes: as the world's, but for a demo that is in a hurry.

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


class Civil:
    """Makes a `Now` of the clock's moments, at a pace; `memory` keeps the last anchor."""

    def __init__(self, timezone: str, memory: Memory, clock: Clock, pace: Pace) -> None:
        self._zone, self._memory, self._clock, self._pace = ZoneInfo(timezone), memory, clock, pace
        self._offset: float | None = None  # Unix seconds at monotonic 0
        self._kept = float("-inf")
        self._stepped = 0.0
        self._recall()

    def now(self) -> Now:
        """This moment."""
        at = self._clock.now()
        mono = at.boottime_ns / 1e9
        if at.wall_ms is not None:
            offset = at.wall_ms / 1000 - mono
            moved = None if self._offset is None else offset - self._offset
            if moved is None or abs(moved) > DRIFT:
                self._offset = offset
                self._stepped += moved if moved is not None and abs(moved) >= STEP else 0.0
            if self._stepped or mono - self._kept >= KEEP:
                self.keep()
        moment = self._pace.at(mono)
        civil = None if self._offset is None else datetime.fromtimestamp(moment + self._offset, self._zone)
        return Now(moment, civil, at.wall_ms is not None)

    def take_step(self) -> float:
        """By how many seconds the wall clock stepped since this was last asked (0: it did not)."""
        stepped, self._stepped = self._stepped, 0.0
        return stepped

    def keep(self) -> None:
        """Remember the anchor (with the next coalesced write)."""
        at = self._clock.now()
        mono = at.boottime_ns / 1e9
        if self._offset is not None:
            self._kept = mono
            self._memory.put("anchor", {"boot": at.boot, "at": mono, "wall": mono + self._offset})

    def _recall(self) -> None:
        kept = self._memory.get("anchor")
        if not isinstance(kept, dict) or not {"boot", "at", "wall"} <= kept.keys():
            return
        at = self._clock.now()
        since = kept["at"] if kept["boot"] == at.boot else at.boottime_ns / 1e9
        self._offset = float(kept["wall"]) - float(since)
