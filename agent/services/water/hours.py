"""The opening hours of a water point: by a named calendar as long as that is known, else by a week."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from agent.control.named_calendars import AHEAD, Booking, NamedCalendar, held
from agent.control.week import Week

__all__ = ["OPEN", "HoursNow", "OpeningHours"]

OPEN = "open"
"""The mode of a `Week` of opening hours in which the valve is open."""


class HoursNow(NamedTuple):
    """From `start` (included) to `end` (not included; UTC) the point is open or closed, and why.

    `calendar` is what it was found out with.
    """

    start: datetime
    end: datetime
    is_open: bool
    cause: str
    calendar: NamedCalendar | None = None


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """When a water point is open.

    The named calendar `by` alone decides as long as it is known. While it is not, or without one, `week` does; without
    a week the point is closed then.
    """

    week: Week | None = None
    by: str = ""

    def at(self, now: datetime, calendar: NamedCalendar | None) -> HoursNow:
        """The hours at `now` (UTC), until their next change: `end` is that, or two days ahead if none comes before."""
        known = None if calendar is None or not self.by else calendar.known(now, now + AHEAD)
        if calendar is not None and known is not None and known[0] <= now:
            is_open, end = held(calendar, now)
            cause = f"{'opening hours' if is_open else 'outside the opening hours'} ({self.by})"
            return HoursNow(now, min(end, known[1]), bool(is_open), cause, calendar)
        end = now + AHEAD if known is None else known[0]
        if self.week is None:
            return HoursNow(now, end, False, f"calendar {self.by} is not known", calendar)
        week = self.week.at(now)
        cause = "opening hours" if week.mode == OPEN else "outside the opening hours"
        return HoursNow(now, min(end, week.end), week.mode == OPEN, cause + " (week)" * bool(self.by), calendar)

    def between(self, since: datetime, until: datetime, calendar: NamedCalendar | None) -> list[Booking]:
        """When it is open from `since` to `until` (UTC), in order and cut at both."""
        known = None if calendar is None or not self.by else calendar.known(since, until)
        booked = [] if calendar is None or known is None else calendar.between(*known)
        first, last = known or (until, until)
        found: list[Booking] = []
        for one in [*self._weekly(since, first), *booked, *self._weekly(last, until)]:
            if found and found[-1].end == one.start:
                one = Booking(found.pop().start, one.end)
            found.append(one)
        return found

    def _weekly(self, since: datetime, until: datetime) -> list[Booking]:
        if self.week is None or since >= until:
            return []
        return [Booking(one.start, one.end) for one in self.week.periods(since, until) if one.mode == OPEN]
