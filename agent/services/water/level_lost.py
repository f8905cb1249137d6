"""Fill without a level: at some hours of the day, and for so long at the most, once it has been lost for a while.

The level counts as lost while it is bad, stale or never came, and while it stands still beside a pump. What was pumped
is counted from noon to noon, so that hours around midnight are one fill. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any, NamedTuple

from agent.control.api import NEVER, Now, updated
from agent.control.boot_time import BootShift
from agent.control.spell import Spell, next_fold
from agent.control.week import Week, mode_at

__all__ = ["FILL", "LevelLost", "LostState", "see_lost"]

FILL = "fill"
BACK = 300.0
"""Seconds for which a level must be known without a break until it is no longer lost."""
DAY = 86400.0


@dataclass(frozen=True, slots=True)
class LevelLost:
    """`hours` is a week with the mode `FILL`. Seconds."""

    after: float
    hours: Week
    at_most: float
    unknown: float
    """The run time in 24 h while the time of the day is not known."""


class LostState(NamedTuple):
    since: float | None = None
    """Since when the level is lost; None: it is not."""
    back: float | None = None
    """Since when it is known again; not kept."""
    pumped: Spell = Spell()
    """Run time without a level, of this day."""
    day: str | None = None
    """The day, from noon to noon, to which it belongs; None: the time is not known."""
    begun: float | None = None
    """When it was last set to 0, for a time that is not known."""
    blind: bool = False
    """It is filled without a level, when its hours come."""

    def dump(self) -> dict[str, Any]:
        return {
            "since": self.since, "seconds": round(self.pumped.seconds, 1), "running": self.pumped.since,
            "day": self.day, "begun": self.begun, "blind": self.blind,
        }  # fmt: skip

    @classmethod
    def load(cls, kept: Mapping[str, Any] | None) -> LostState:
        if kept is None:
            return cls()
        pumped = Spell(float(kept["seconds"]), kept["running"])
        return cls(kept["since"], None, pumped, kept["day"], kept["begun"], bool(kept["blind"]))

    def shifted(self, by: BootShift) -> LostState:
        since, begun = by.optional(self.since), by.optional(self.begun)
        return self._replace(since=since, begun=begun, pumped=self.pumped.shifted(by))


def see_lost(spec: LevelLost, state: LostState, known: bool, runs: bool, now: Now) -> tuple[LostState, bool, float]:
    """The state, whether it is to be filled now without a level, and when to look again. `runs`: a pump does."""
    at = now.monotonic
    if known:
        return _see_known(state, at)
    since = at if state.since is None else state.since
    state = updated(state, since=since, back=None)
    if at < since + spec.after:
        return updated(state, pumped=state.pumped.at(at, False)), False, since + spec.after
    state = _see_day(spec, updated(state, blind=True), now)
    is_hour, changes = _see_hour(spec, state, now)
    pumped = state.pumped.at(at, runs)
    limit = spec.unknown if state.day is None else spec.at_most
    fills = is_hour and pumped.total(at) < limit - 1e-6
    dues = (changes, pumped.reaches(limit) if fills else NEVER, next_fold(at) if runs else NEVER)
    return updated(state, pumped=pumped), fills, min(dues)


def _see_known(state: LostState, at: float) -> tuple[LostState, bool, float]:
    """A level that comes and goes is still lost."""
    state = updated(state, pumped=state.pumped.at(at, False))
    if state.since is None:
        return state, False, NEVER
    back = at if state.back is None else state.back
    if at < back + BACK:
        return updated(state, back=back), False, back + BACK
    return updated(state, since=None, back=None, blind=False), False, NEVER


def _see_day(spec: LevelLost, state: LostState, now: Now) -> LostState:
    """Count the run time anew from noon on; while no time is known, a day after it was last set to 0."""
    at = now.monotonic
    if now.civil is None:
        begun = at if state.begun is None else state.begun
        if at < begun + DAY:
            return updated(state, begun=begun, day=None)
        return state._replace(begun=at, day=None, pumped=state.pumped.reset(at))
    day = spec.hours.calendar.night(now.civil).isoformat()
    if state.day == day:
        return state
    known_before = state.day is not None
    return state._replace(day=day, begun=at, pumped=state.pumped.reset(at) if known_before else state.pumped)


def _see_hour(spec: LevelLost, state: LostState, now: Now) -> tuple[bool, float]:
    """Whether it is an hour to fill, and when that, or the day, ends."""
    if now.civil is None:
        return True, (state.begun or now.monotonic) + DAY
    (mode, left), calendar = mode_at(spec.hours, now.civil), spec.hours.calendar
    noon = calendar.instant(calendar.night(now.civil) + timedelta(days=1), 720)
    until_noon = max((noon - now.civil.astimezone(UTC)).total_seconds(), 1.0)
    return mode == FILL, now.monotonic + min(left, until_noon)
