"""Civil time: what calendars and the sun ask for, as well as it is known.

It is the last trusted anchor plus monotonic time. While the wall clock is trusted the anchor follows it; while it is
not, civil time goes on from the last anchor, in the end from one that an earlier boot left on flash. A wall clock that
steps by more than a minute is an alarm (`clock_step`), and is followed only once it has been held for ten minutes; the
first time that is known in a boot is followed at once, for there is nothing to compare it with.
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
DOUBTFUL = 60.0
"""Seconds from which on a step is not believed before it was `HELD`."""
HELD = 600.0
"""Seconds for which the synchronisation must hold after such a step."""
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


class _Doubt(NamedTuple):
    """A step that is not followed yet: where the wall clock stands (Unix seconds at monotonic 0), and since when."""

    offset: float
    since: float


class Civil:
    """Makes a `Now` of the clock's moments, at a pace; `memory` keeps the last anchor."""

    def __init__(self, timezone: str, memory: Memory, clock: Clock, pace: Pace) -> None:
        self._zone, self._memory, self._clock, self._pace = ZoneInfo(timezone), memory, clock, pace
        self._offset: float | None = None  # Unix seconds at monotonic 0
        self._sure = False  # whether the offset is of this boot
        self._doubt: _Doubt | None = None
        self._kept = float("-inf")
        self._stepped = 0.0
        self._news: list[tuple[str, float]] = []
        self._alarmed = bool(memory.get("clock_step"))
        self._recall()

    def now(self) -> Now:
        """This moment."""
        at = self._clock.now()
        mono = at.boottime_ns / 1e9
        if at.wall_ms is not None:
            self._look(at.wall_ms / 1000 - mono, mono)
            if self._stepped or mono - self._kept >= KEEP:
                self.keep()
        else:
            self._doubt = None
        moment = self._pace.at(mono)
        civil = None if self._offset is None else datetime.fromtimestamp(moment + self._offset, self._zone)
        return Now(moment, civil, at.wall_ms is not None)

    def _look(self, offset: float, mono: float) -> None:
        """The wall clock is trusted and stands at `offset`."""
        moved = None if self._offset is None else offset - self._offset
        if moved is not None and self._sure and abs(moved) > DOUBTFUL:
            if self._doubt is None or abs(offset - self._doubt.offset) >= STEP:
                self._doubt = _Doubt(offset, mono)
                self._alarm(moved)
            if mono - self._doubt.since < HELD - 1e-6:
                return
        self._doubt, self._sure = None, True
        if moved is None or abs(moved) > DRIFT:
            self._offset = offset
            if moved is not None and abs(moved) >= STEP:
                self._stepped += moved
                self._news.append(("clock", moved))
        if self._alarmed:
            self._alarmed = False
            self._memory.put("clock_step", False)
            self._news.append(("cleared", 0.0))

    def _alarm(self, moved: float) -> None:
        if not self._alarmed:
            self._alarmed = True
            self._memory.put("clock_step", True)
            self._news.append(("alarm", moved))

    def due(self) -> float:
        """When a step is followed that is in doubt now (in the controls' time)."""
        return float("inf") if self._doubt is None else self._pace.at(self._doubt.since + HELD)

    def take_news(self) -> list[tuple[str, float]]:
        """What happened to the clock since last asked: alarm, clock (followed) or cleared, and by how many s."""
        news, self._news = self._news, []
        return news

    def take_step(self) -> float:
        """By how many seconds civil time stepped since this was last asked (0: it did not)."""
        stepped, self._stepped = self._stepped, 0.0
        return stepped

    def keep(self) -> None:
        """Remember the anchor (with the next coalesced write)."""
        at = self._clock.now()
        mono = at.boottime_ns / 1e9
        if self._offset is not None:
            self._kept = mono
            self._memory.put("anchor", {"boot": at.boot, "at": mono, "wall": mono + self._offset, "sure": self._sure})

    def _recall(self) -> None:
        kept = self._memory.get("anchor")
        if not isinstance(kept, dict) or not {"boot", "at", "wall"} <= kept.keys():
            return
        at = self._clock.now()
        since = kept["at"] if kept["boot"] == at.boot else at.boottime_ns / 1e9
        self._offset = float(kept["wall"]) - float(since)
        self._sure = kept["boot"] == at.boot and bool(kept.get("sure"))
