"""The alarm of a named calendar that is not known any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from agent.control.alarm_state import alarm_changes
from agent.control.api import Now, Step, View
from agent.control.named_calendars import calendar_input
from agent.model import Severity

__all__ = ["CalendarWatch"]

PATIENCE = 600.0
"""Seconds for which a calendar may be unknown: at the first start it is still being fetched."""
_SEVERITY = {"calendar_stale": Severity.MINOR}


class WatchState(NamedTuple):
    """Since when it is not known (monotonic s), and the open alarms."""

    since: float | None = None
    alarms: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CalendarWatch:
    """Raises `calendar_stale` while what a calendar holds now is not known. While the time is not, nothing changes."""

    calendar: str

    @property
    def name(self) -> str:
        return f"calendar.{self.calendar}"

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset((calendar_input(self.calendar),))

    def initial(self) -> WatchState:
        return WatchState()

    def step(self, state: WatchState, view: View, now: Now) -> Step[WatchState]:
        t, since = now.monotonic, state.since
        due = t + PATIENCE
        if now.civil is not None and now.known:
            found = view.calendars.get(self.calendar)
            if found is not None and found.knows(now.civil):
                since = None
            elif since is None or since > t:  # of another boot
                since = t
        stale = since is not None and (t >= since + PATIENCE or "calendar_stale" in state.alarms)
        if since is not None and not stale:
            due = since + PATIENCE
        standing: Mapping[str, None] = {"calendar_stale": None} if stale else {}
        alarms, happened = alarm_changes(self.calendar, state.alarms, standing, _SEVERITY)
        if (since, alarms) != state:
            state = WatchState(since, alarms)
        return Step(state, (), happened, due)

    def dump(self, state: WatchState) -> dict[str, Any]:
        return {"since": state.since, "alarms": sorted(state.alarms)}

    def load(self, kept: Mapping[str, Any]) -> WatchState:
        return WatchState(kept["since"], frozenset(kept["alarms"]))
