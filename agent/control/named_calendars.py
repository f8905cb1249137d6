"""Named calendars: when the hall is booked, when the market is held. A control asks `View.calendars` for them.

All instants are aware datetimes in UTC, as in `agent.control.calendar`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple, Protocol

from agent.control.api import Now, View
from agent.control.calendar import DAY, Calendar, names

__all__ = [
    "AHEAD", "CALENDAR", "LASTS", "Booking", "NamedCalendar", "Occurrences", "WeeklyTimes", "calendar_input", "held",
    "is_on",
]  # fmt: skip

AHEAD = 2 * DAY
"""A control looks this far ahead for the next change, and then again."""


LASTS = 30 * 86400
"""Seconds for which what a server gave last holds."""
CALENDAR = "calendar:"
"""The beginning of a calendar's name among the inputs of a control."""


class Booking(NamedTuple):
    """From `start` (included) to `end` (not included) the calendar is on."""

    start: datetime
    end: datetime


class NamedCalendar(Protocol):
    """One calendar, as it is known now. It is a value: another content is another object."""

    def knows(self, at: datetime) -> bool:
        """Whether it is known what holds then: a copy of a calendar of the network lasts for some time only."""

    def known(self, since: datetime, until: datetime) -> tuple[datetime, datetime] | None:
        """The part of that time of which it is known what holds (UTC); None if nothing is."""

    def between(self, since: datetime, until: datetime) -> list[Booking]:
        """The bookings from `since` to `until`, in order and cut at both; those that touch are one."""


def calendar_input(name: str) -> str:
    """The name in `inputs` of a control that is to be stepped when the content of a calendar changes."""
    return CALENDAR + name


def is_on(view: View, name: str, now: Now) -> bool | None:
    """Whether a named calendar is on now; None while that, or the time, is not known."""
    calendar = view.calendars.get(name)
    if calendar is None or now.civil is None or not now.known:
        return None
    return held(calendar, now.civil)[0]


def held(calendar: NamedCalendar, at: datetime) -> tuple[bool | None, datetime]:
    """Whether it is on then (None: not known), and until when that holds: to be asked again then.

    The latter is at most `AHEAD` away.
    """
    at = at.astimezone(UTC)
    if not calendar.knows(at):
        return None, at + AHEAD
    found = calendar.between(at, at + AHEAD)
    if not found:
        return False, at + AHEAD
    on = found[0].start <= at
    return on, found[0].end if on else found[0].start


@dataclass(frozen=True, slots=True)
class Occurrences:
    """The occurrences that were read from an iCalendar, from `since` to `until` (Unix s).

    `spans` are begins and ends, apart and in order; `Occurrences.of` makes them so.
    """

    spans: tuple[tuple[int, int], ...]
    since: int
    until: int

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]], since: int, until: int, before: float = 0.0) -> Occurrences:
        """The union of these begins and ends (Unix s); each begins `before` seconds earlier."""
        spans: list[tuple[int, int]] = []
        for begin, end in sorted((int(begin - before), end) for begin, end in pairs):
            if spans and begin <= spans[-1][1]:
                spans[-1] = spans[-1][0], max(spans[-1][1], end)
            else:
                spans.append((begin, end))
        return cls(tuple(spans), since, until)

    def knows(self, at: datetime) -> bool:
        return self.since <= at.timestamp() < self.until

    def known(self, since: datetime, until: datetime) -> tuple[datetime, datetime] | None:
        first = max(since.astimezone(UTC), datetime.fromtimestamp(self.since, UTC))
        last = min(until.astimezone(UTC), datetime.fromtimestamp(self.until, UTC))
        return (first, last) if first < last else None

    def between(self, since: datetime, until: datetime) -> list[Booking]:
        since, until = since.astimezone(UTC), until.astimezone(UTC)
        first, last = (bisect_right(self.spans, (int(at.timestamp()), 1 << 62)) for at in (since, until))
        found: list[Booking] = []
        for begin, end in self.spans[max(first - 1, 0) : last]:  # of 10,000, only these are copied
            start = datetime.fromtimestamp(begin, UTC)
            if start >= until:
                break
            stop = min(datetime.fromtimestamp(end, UTC), until)
            if stop > since:
                found.append(Booking(max(start, since), stop))
        return found

    def agrees(self, other: Occurrences) -> bool:
        """Whether `other` says the same of the time that both know."""
        since = datetime.fromtimestamp(max(self.since, other.since), UTC)
        until = datetime.fromtimestamp(min(self.until, other.until), UTC)
        return self.between(since, until) == other.between(since, until)


@dataclass(frozen=True, slots=True)
class WeeklyTimes:
    """Times of day on days of the week: a market. `days` are 0 (Monday) to 6; `times` are minutes after midnight, an
    end over 1440 goes on into the next day, and belongs to the day on which it begins.

    `leave_out` and `add` are days as `names` has them (2027-03-26, 03-26, good_friday): on those of `add` it is on
    whatever day of the week it is, and `leave_out` beats it. `before` (s) is how much earlier it begins.
    """

    calendar: Calendar
    days: frozenset[int]
    times: tuple[tuple[float, float], ...]
    leave_out: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    before: float = 0.0

    def knows(self, _at: datetime) -> bool:
        return True

    def known(self, since: datetime, until: datetime) -> tuple[datetime, datetime] | None:
        return since.astimezone(UTC), until.astimezone(UTC)

    def between(self, since: datetime, until: datetime) -> list[Booking]:
        since, until = since.astimezone(UTC), until.astimezone(UTC)
        early = timedelta(seconds=self.before)
        day, last = self.calendar.day(since) - 2 * DAY, self.calendar.day(until + early)
        whole: list[Booking] = []
        while day <= last:
            whole += _of_day(self, day)
            day += DAY
        found: list[Booking] = []
        for start, end in sorted(whole):  # the file may have its times in any order
            start, end = max(start, since), min(end, until)
            if end <= start:
                continue
            if found and start <= found[-1].end:
                start, end = found[-1].start, max(found.pop().end, end)
            found.append(Booking(start, end))
        return found

    def is_day(self, day: date) -> bool:
        """Whether it is on a day."""
        called = names(day) if self.leave_out or self.add else frozenset()
        return called.isdisjoint(self.leave_out) and (day.weekday() in self.days or not called.isdisjoint(self.add))


@lru_cache(maxsize=256)
def _of_day(weekly: WeeklyTimes, day: date) -> tuple[Booking, ...]:
    if not weekly.is_day(day):
        return ()
    at, early = weekly.calendar.instant, timedelta(seconds=weekly.before)
    found = (Booking(at(day, start) - early, at(day, end)) for start, end in weekly.times)
    return tuple(one for one in found if one.start < one.end)
