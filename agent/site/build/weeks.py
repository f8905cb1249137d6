"""The calendar and the weekly programmes of the site file, for the services' translations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from agent.control.calendar import Calendar
from agent.control.week import Span
from agent.site.language.values import DAYS
from agent.site.models.site import Site

__all__ = ["by_day", "calendar"]


def calendar(site: Site) -> Calendar:
    """The site's timezone and holidays. All times of the file are local times of it."""
    info = site.site
    return _prepared(
        Calendar(
            info.timezone,
            info.public_holidays,
            info.school_zone,
            info.more_holidays,
            info.no_holidays,
            given=site.given_holidays,
        )
    )


@lru_cache(maxsize=4)
def _prepared(plain: Calendar) -> Calendar:
    """One object for all parts of a site."""
    return plain.prepared()


def by_day(spans: Mapping[str, tuple[Span, ...]], rest: tuple[Span, ...]) -> tuple[tuple[Span, ...], ...]:
    """The spans of Monday to Sunday, from keys such as "mon,tue"; `rest` holds on days that no key names."""
    named = {day: found for key, found in spans.items() for day in key.split(",")}
    return tuple(named.get(day, rest) for day in DAYS)
