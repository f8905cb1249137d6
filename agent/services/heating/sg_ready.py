"""SG Ready: the four states of a heat pump by two contacts, as the Bundesverband Wärmepumpe defines them.

1 (contacts 1:0): locked, for two hours at most. 2 (0:0): normal. 3 (0:1): recommended, the heat pump runs more if it
can. 4 (1:1): it is told to run, as far as its settings let it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from agent.control.api import NEVER, Now

__all__ = ["CONTACTS", "LOCKED", "SgReady", "SgState", "sg_ready"]

LOCKED, NORMAL, RECOMMENDED, TOLD = 1, 2, 3, 4
CONTACTS: Mapping[int, tuple[bool, bool]] = {
    LOCKED: (True, False),
    NORMAL: (False, False),
    RECOMMENDED: (False, True),
    TOLD: (True, True),
}
"""The two contacts of each state."""
LEAST = 600.0
"""Seconds: a state holds at least so long."""
LONGEST, LOCKS = 7200.0, 3
"""A lock is this long (s) at most, and there are no more of them a day."""
DAY = 22 * 3600.0
"""Seconds in which locks are counted: less than 23 h, after which the same hours may come again."""

Minutes = tuple[int, int]
"""From and to, minutes after midnight, site time; it may go over midnight."""


@dataclass(frozen=True, slots=True)
class SgReady:
    """The two relays, and the hours of each state that is not the normal one."""

    relays: tuple[str, str]
    lock: Sequence[Minutes] = ()
    recommend: Sequence[Minutes] = ()
    force: Sequence[Minutes] = ()

    @property
    def edges(self) -> set[int]:
        """The minutes at which an hour begins or ends."""
        return {edge for hours in (self.lock, self.recommend, self.force) for span in hours for edge in span}


class SgState(NamedTuple):
    """The state now, since when (monotonic s; None: since before), and when it was locked today (Unix s)."""

    state: int = NORMAL
    since: float | None = None
    locks: tuple[float, ...] = ()
    spent: bool = False
    """The lock that is still wanted lasted for as long as it may."""

    def in_this_boot(self) -> SgState:
        """The relays have fallen: the normal state."""
        return SgState(locks=self.locks)

    def dump(self) -> dict[str, Any]:
        return self._asdict()

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> SgState:
        return cls(**{**kept, "locks": tuple(kept["locks"])})


def sg_ready(spec: SgReady, sg: SgState, heats_up: bool, cold: bool, now: Now) -> tuple[SgState, float]:
    """The state at this moment, and when it next has something to decide by itself (monotonic s).

    `heats_up`: the room is brought to comfort, `cold`: it is near to frost. Hours count while the time is known.
    """
    t, due = now.monotonic, NEVER
    wanted = TOLD if cold else RECOMMENDED if heats_up else NORMAL
    if now.civil is not None and now.trusted and (spec.lock or spec.recommend or spec.force):
        hours = _by_hours(spec, now)
        wanted = TOLD if cold else hours or wanted
        due = _next_edge(spec, now)
    if wanted == LOCKED:
        sg, wanted, due = _lock(sg, now, due)
    elif sg.spent:
        sg = sg._replace(spent=False)
    if wanted == sg.state:
        return sg, due
    free_at = t if sg.since is None or (sg.state == LOCKED and cold) else sg.since + LEAST
    if t < free_at:
        return sg, min(due, free_at)
    locks = sg.locks
    if wanted == LOCKED and now.civil is not None:
        locks = (*_last_day(locks, now), now.civil.timestamp())
        due = min(due, t + LONGEST)
    return sg._replace(state=wanted, since=t, locks=locks), due


def _lock(sg: SgState, now: Now, due: float) -> tuple[SgState, int, float]:
    """A lock that is wanted: what it gives, by its limits."""
    t = now.monotonic
    if sg.state == LOCKED and sg.since is not None:
        ends = sg.since + LONGEST
        if t >= ends:
            return sg._replace(spent=True), NORMAL, due
        return sg, LOCKED, min(due, ends)
    return sg, NORMAL if sg.spent or len(_last_day(sg.locks, now)) >= LOCKS else LOCKED, due


def _last_day(locks: Sequence[float], now: Now) -> list[float]:
    """The locks that count as those of one day."""
    return [] if now.civil is None else [at for at in locks if at > now.civil.timestamp() - DAY]


def _by_hours(spec: SgReady, now: Now) -> int | None:
    assert now.civil is not None
    minute = now.civil.hour * 60 + now.civil.minute
    for state, hours in ((LOCKED, spec.lock), (TOLD, spec.force), (RECOMMENDED, spec.recommend)):
        if any(_within(minute, *span) for span in hours):
            return state
    return None


def _within(minute: int, start: int, end: int) -> bool:
    return start <= minute < end if start < end else minute >= start or minute < end


def _next_edge(spec: SgReady, now: Now) -> float:
    """When an hour begins or ends next (monotonic s), by the hands of the clock: a zone looks again every 5 min, so a
    change of the clock's time within is seen."""
    assert now.civil is not None
    second = now.civil.hour * 3600 + now.civil.minute * 60 + now.civil.second + now.civil.microsecond / 1e6
    return now.monotonic + min([(edge * 60 - second) % 86400.0 or 86400.0 for edge in spec.edges], default=NEVER)
