"""A weekly programme with holidays, such as the modes of a heating zone and the opening hours of a water point."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from agent.control.calendar import DAY, Calendar

__all__ = ["Period", "Span", "Week", "mode_at"]


class Span(NamedTuple):
    """A part of a day in minutes after midnight; an `end` over 1440 goes on into the next day."""

    start: float
    end: float
    mode: str


class Period(NamedTuple):
    """From `start` (included) to `end` (not included), aware in UTC, `mode` holds."""

    start: datetime
    end: datetime
    mode: str


@dataclass(frozen=True, slots=True)
class Week:
    """`days` are the spans of Monday to Sunday, in order; between them `default` holds.

    The spans of `public` and `school` take the place of the day's own on holidays (None: a holiday is a day like
    others); a public holiday within the school holidays is one of these. A span belongs to the day on which it starts.
    """

    calendar: Calendar
    default: str
    days: tuple[tuple[Span, ...], ...]
    public: tuple[Span, ...] | None = None
    school: tuple[Span, ...] | None = None

    def __hash__(self) -> int:
        """Quick: a site has few weeks, and each is asked for its mode at each step of a control."""
        return hash((self.default, len(self.days[0])))

    def spans(self, day: date) -> tuple[Span, ...]:
        """The spans of `day`."""
        if self.school is not None and self.calendar.is_school_holiday(day):
            return self.school
        if self.public is not None and self.calendar.is_public_holiday(day):
            return self.public
        return self.days[day.weekday()]

    def at(self, now: datetime) -> Period:
        """The mode that holds, until its next change: `end` is that, or two days ahead if none comes before."""
        return self.periods(now, now.astimezone(UTC) + 2 * DAY)[0]

    def next(self, mode: str, after: datetime, within: timedelta) -> datetime | None:
        """When `mode` begins next, after the moment `after` and at most `within` later; None: not so soon."""
        for one in self.periods(after, after.astimezone(UTC) + within)[1:]:
            if one.mode == mode:
                return one.start
        return None

    def periods(self, since: datetime, until: datetime) -> list[Period]:
        """Everything from `since` to `until`, without gaps, neighbours of one mode joined."""
        since, until = since.astimezone(UTC), until.astimezone(UTC)
        found: list[Period] = []
        day, last = self.calendar.day(since) - DAY, self.calendar.day(until)
        reached = since
        while day <= last:
            for start, end, mode in _said(self, day):
                if end > reached and start < until:
                    _add(found, reached, start, self.default)
                    _add(found, max(start, reached), min(end, until), mode)
                    reached = end
            day += DAY
        _add(found, reached, until, self.default)
        return found


@lru_cache(maxsize=256)
def _said(week: Week, day: date) -> tuple[Period, ...]:
    at = week.calendar.instant
    return tuple(Period(at(day, start), at(day, end), mode) for start, end, mode in week.spans(day))


def mode_at(week: Week, now: datetime) -> tuple[str, float]:
    """The mode that holds, and the seconds until its next change: two days if none comes before. Quick where it is
    asked again and again, as each step of a control does."""
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    at = (now - hour).total_seconds()
    for end, mode in _hours(week, hour):
        if at < end:
            return mode, end - at
    raise AssertionError("the last period of two days ends after an hour")


@lru_cache(maxsize=64)
def _hours(week: Week, hour: datetime) -> tuple[tuple[float, str], ...]:
    """The periods of two days and an hour: the end (s after `hour`) and the mode of each."""
    found = week.periods(hour, hour + 2 * DAY + DAY / 24)
    return tuple(((one.end - hour).total_seconds(), one.mode) for one in found)


def _add(found: list[Period], start: datetime, end: datetime, mode: str) -> None:
    if end <= start:
        return
    if found and found[-1].mode == mode:
        start = found.pop().start
    found.append(Period(start, end, mode))
