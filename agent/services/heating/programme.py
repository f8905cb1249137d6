"""The modes that a zone has by its calendar: the week, the bookings of its rooms, and dated exceptions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from agent.control.calendar import DAY
from agent.control.named_calendars import NamedCalendar
from agent.control.week import Period, Week

__all__ = ["ModeException", "Occupancy", "ZoneProgramme"]

AHEAD = 2 * DAY
"""A period is looked at for so long; then it is looked at again."""


class Occupancy(NamedTuple):
    """While the named calendar is on, people are there: `mode` holds."""

    calendar: str
    mode: str = "comfort"


class ModeException(NamedTuple):
    """Days on which one mode holds, from the first to the last, both included."""

    name: str
    first: date
    last: date
    mode: str


@dataclass(frozen=True, slots=True)
class ZoneProgramme:
    """The week of a zone with what changes it: exceptions over bookings over the week.

    With `occupancy` the calendar says when people are there, as long as it is known, and the week only what holds
    between: its comfort is its default then (reduced, where that is comfort). While it is not known, the week holds.
    """

    week: Week
    occupancy: Occupancy | None = None
    exceptions: tuple[ModeException, ...] = ()

    def at(self, now: datetime, calendar: NamedCalendar | None) -> Period:
        """The mode that holds, until its next change: `end` is that, or two days ahead if none comes before."""
        return self.periods(now, now.astimezone(UTC) + AHEAD, calendar)[0]

    def next(
        self, mode: str, after: datetime, within: timedelta, calendar: NamedCalendar | None
    ) -> datetime | None:  # fmt: skip
        """When `mode` begins next, after the moment `after` and at most `within` later; None: not so soon."""
        found = self.periods(after, after.astimezone(UTC) + within, calendar)
        return next((one.start for one in found[1:] if one.mode == mode), None)

    def periods(self, since: datetime, until: datetime, calendar: NamedCalendar | None) -> list[Period]:
        """Everything from `since` to `until`, without gaps, neighbours of one mode joined."""
        since, until = since.astimezone(UTC), until.astimezone(UTC)
        found = self.week.periods(since, until)
        known = None if self.occupancy is None or calendar is None else calendar.known(since, until)
        if self.occupancy is not None and calendar is not None and known is not None:
            empty = [one._replace(mode=self._empty) if one.mode == "comfort" else one for one in found]
            found = _laid(found, _cut(empty, *known))
            booked = (Period(one.start, one.end, self.occupancy.mode) for one in calendar.between(*known))
            found = _laid(found, booked)
        at = self.week.calendar.instant
        days = (Period(at(one.first, 0), at(one.last + DAY, 0), one.mode) for one in reversed(self.exceptions))
        return _joined(_laid(found, _cut(days, since, until)))

    @property
    def _empty(self) -> str:
        """The mode between bookings where the week has comfort."""
        return "reduced" if self.week.default == "comfort" else self.week.default


def _cut(periods: Iterable[Period], since: datetime, until: datetime) -> list[Period]:
    """The parts of these periods that lie within a time."""
    found = (one._replace(start=max(one.start, since), end=min(one.end, until)) for one in periods)
    return [one for one in found if one.start < one.end]


def _laid(under: Sequence[Period], over: Iterable[Period]) -> list[Period]:
    """Periods with others laid over them, the last of these on top."""
    found = list(under)
    for top in over:
        split = []
        for one in found:
            if one.end <= top.start or one.start >= top.end:
                split.append(one)
                continue
            if one.start < top.start:
                split.append(one._replace(end=top.start))
            if one.end > top.end:
                split.append(one._replace(start=top.end))
        found = sorted([*split, top])
    return found


def _joined(periods: Iterable[Period]) -> list[Period]:
    found: list[Period] = []
    for one in periods:
        if found and found[-1].mode == one.mode:
            one = one._replace(start=found.pop().start)
        found.append(one)
    return found
