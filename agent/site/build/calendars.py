"""The calendars of the site file as controls see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from agent.control.named_calendars import NamedCalendar, WeeklyTimes
from agent.errors import ConfigError
from agent.settings import CalendarSource
from agent.site.build.weeks import calendar
from agent.site.calendar_files import BACK, CalendarFiles
from agent.site.language.values import Window
from agent.site.models.calendars import CalendarConfig, IcsUrlConfig
from agent.site.models.site import Site

__all__ = ["sources", "weekly_times", "with_files"]

_DAY = 1440
_ALL_DAY = (Window(0, _DAY),)


def weekly_times(site: Site) -> dict[str, NamedCalendar]:
    """The calendars that are days and times, by their names."""
    return {name: _weekly(site, one) for name, one in site.calendars.items() if one.ics is None}


def sources(site: Site) -> Iterator[CalendarSource]:
    """The calendars that the running agent reads: files and addresses."""
    for name, one in site.calendars.items():
        if isinstance(one.ics, IcsUrlConfig):
            yield CalendarSource(name, url=one.ics.url, refresh=one.ics.refresh, before=one.before)
        elif one.ics is not None:
            yield CalendarSource(name, file=one.ics.as_posix(), before=one.before)


def with_files(
    site: Site, since: datetime, until: datetime, served: Mapping[str, Path] | None = None
) -> dict[str, NamedCalendar]:
    """The calendars of a site, read for the time from `since` to `until`.

    Nothing is fetched: of those on a server only the ones in `served` are among them, with the file that stands for
    what it gives. ConfigError for a file that cannot be read.
    """
    files = CalendarFiles(site.path.parent, int(since.timestamp()) - BACK, int(until.timestamp()) + BACK)
    for name, one in site.calendars.items():
        file = (served or {}).get(name) if isinstance(one.ics, IcsUrlConfig) else one.ics
        if file is not None:
            why = files.read(name, file, site.site.timezone, one.before)
            if why is not None:
                raise ConfigError([why])
    if files.problems:
        raise ConfigError([str(problem) for problem in files.problems], files.problems[0])
    return {**weekly_times(site), **files.occurrences}


def _weekly(site: Site, one: CalendarConfig) -> WeeklyTimes:
    times = tuple((start, end if end > start else end + _DAY) for start, end in one.times or _ALL_DAY)
    return WeeklyTimes(calendar(site), frozenset(one.days), times, one.leave_out, one.add, one.before)
