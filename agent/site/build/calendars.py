"""The calendars of the site file as controls see them."""

from __future__ import annotations

from agent.control.named_calendars import NamedCalendar, WeeklyTimes
from agent.site.build.weeks import calendar
from agent.site.language.values import Window
from agent.site.models.calendars import CalendarConfig
from agent.site.models.site import Site

__all__ = ["weekly_times"]

_DAY = 1440
_ALL_DAY = (Window(0, _DAY),)


def weekly_times(site: Site) -> dict[str, NamedCalendar]:
    """The calendars that are days and times, by their names."""
    return {name: _weekly(site, one) for name, one in site.calendars.items()}


def _weekly(site: Site, one: CalendarConfig) -> WeeklyTimes:
    times = tuple((start, end if end > start else end + _DAY) for start, end in one.times or _ALL_DAY)
    return WeeklyTimes(calendar(site), frozenset(one.days), times, one.leave_out, one.add, one.before)
