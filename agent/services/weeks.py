"""The calendar of a site, its opening hours and its heating weeks, of the models of the site file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from agent.control.calendar import Calendar
from agent.control.week import Span, Week
from agent.services.heating.config import Zone
from agent.services.water.config import WaterPoint
from agent.site.language.values import DAYS
from agent.site.models.site import Site

__all__ = ["CLOSED", "OPEN", "calendar", "heating_week", "opening_hours"]

OPEN, CLOSED = "open", "closed"
_DAY = 1440


def calendar(site: Site) -> Calendar:
    """By which all times of the site are meant, with its public holidays."""
    info = site.site
    return _calendar(
        Calendar(info.timezone, info.public_holidays, info.school_zone, info.more_holidays, info.no_holidays)
    )


@lru_cache(maxsize=4)
def _calendar(plain: Calendar) -> Calendar:
    """One for all parts of a site."""
    return plain.prepared()


def opening_hours(site: Site, point: WaterPoint) -> Week | None:
    """When a water point is `OPEN`; days that the file does not name are `CLOSED`. None: it has no hours.

    The most particular key holds: public_holiday, then the day of the week, then all.
    """
    hours = point.opening_hours
    if not hours:
        return None
    spans = {
        key: tuple(Span(start, end if end > start else end + _DAY, OPEN) for start, end in sorted(windows))
        for key, windows in hours.items()
    }
    return Week(calendar(site), CLOSED, _by_day(spans, spans.get("all", ())), public=spans.get("public_holiday"))


def heating_week(site: Site, zone: Zone) -> Week:
    """The modes of a zone: comfort, reduced or frost.

    `default` is one mode for all that no day says (reduced), or the spans of the days that are not named.
    """
    rest = tuple(Span(*entry) for entry in zone.week.get("default", ()))
    always = rest[0].mode if len(rest) == 1 and rest[0][:2] == (0, _DAY) else None
    spans = {key: tuple(Span(*entry) for entry in entries) for key, entries in zone.week.items() if key != "default"}
    public = zone.holidays.public if zone.holidays is not None else None
    school = zone.holidays.school if zone.holidays is not None else None
    return Week(
        calendar(site),
        always or "reduced",
        _by_day(spans, () if always else rest),
        public=None if public is None else (Span(0, _DAY, public),),
        school=None if school is None else (Span(0, _DAY, school),),
    )


def _by_day(spans: Mapping[str, tuple[Span, ...]], rest: tuple[Span, ...]) -> tuple[tuple[Span, ...], ...]:
    """Monday to Sunday, from keys such as "mon,tue"."""
    named = {day: found for key, found in spans.items() for day in key.split(",")}
    return tuple(named.get(day, rest) for day in DAYS)
