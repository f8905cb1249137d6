"""The sun: when a night falls and ends at a place, by `astral`; defined also where it does not set or rise."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Literal

from agent.control.calendar import DAY, Calendar

__all__ = ["EVENTS", "SunEvent", "night_sun"]

SunEvent = Literal["civil_dusk", "civil_dawn", "sunset", "sunrise"]
EVENTS = ("civil_dusk", "civil_dawn", "sunset", "sunrise")
CIVIL = 6.0
"""Degrees below the horizon: the end of civil twilight."""
CLOSE = 0.02
"""Degrees by which the sun may be off at a time of `astral`: five times what it is."""
_STEP, _SECOND = timedelta(minutes=15), timedelta(seconds=1)


def night_sun(latitude: float, longitude: float, calendar: Calendar, night: date, event: SunEvent) -> datetime | None:
    """When `event` comes in the night that starts on the day `night` (noon to noon), in UTC, to the second.

    The height of the place is left out (it would shift the sunset). Where the sun stays below for the whole night, dusk
    is its first noon and dawn its last; where it stays above, None.
    """
    first, last = calendar.instant(night, 720), calendar.instant(night + DAY, 720)
    rising = event in ("civil_dawn", "sunrise")
    for day in (night + DAY, night, night - DAY) if rising else (night, night - DAY, night + DAY):
        found = _crossing(latitude, longitude, day, event)
        if found is not None and first <= found < last and abs(_height(latitude, longitude, found, event)) < CLOSE:
            return found.replace(microsecond=0)
    return _searched(latitude, longitude, first, last, event)


def _crossing(latitude: float, longitude: float, day: date, event: SunEvent) -> datetime | None:
    """The event of one day in UTC; None where the sun does not cross that height."""
    from astral import Observer, SunDirection, sun

    direction = SunDirection.RISING if event in ("civil_dawn", "sunrise") else SunDirection.SETTING
    zenith = 90 + (CIVIL if event.startswith("civil") else sun.SUN_APPARENT_RADIUS)
    try:
        return sun.time_of_transit(Observer(latitude, longitude, 0), day, zenith, direction)
    except ValueError:  # the sun stays above or below all day
        return None


def _searched(latitude: float, longitude: float, first: datetime, last: datetime, event: SunEvent) -> datetime | None:
    """The same by the sun's elevation: `astral` gives each day one event, and where it comes a little earlier each day
    and crosses 00:00 UTC, one day has two: it gives none of the second, or computes it two minutes wrong by the sun of
    the day after. Else the two agree to some seconds."""
    rising = event in ("civil_dawn", "sunrise")
    marks = [first + _STEP * number for number in range(int((last - first) / _STEP) + 1)]
    below = [_is_below(latitude, longitude, at, event) for at in marks]
    for (start, was), (end, becomes) in pairwise(zip(marks, below, strict=True)):
        if (was, becomes) == (rising, not rising):
            while end - start > _SECOND:
                middle = start + (end - start) / 2
                if _is_below(latitude, longitude, middle, event) == was:
                    start = middle
                else:
                    end = middle
            return end.replace(microsecond=0)
    return (last if rising else first) if below[-1 if rising else 0] else None


def _is_below(latitude: float, longitude: float, at: datetime, event: SunEvent) -> bool:
    return _height(latitude, longitude, at, event) < 0


def _height(latitude: float, longitude: float, at: datetime, event: SunEvent) -> float:
    """How far (degrees) the sun is above where it is at the event."""
    from astral import Observer, refraction_at_zenith, sun

    depth = CIVIL if event.startswith("civil") else sun.SUN_APPARENT_RADIUS
    height = sun.elevation(Observer(latitude, longitude, 0), at, with_refraction=False)
    return height + depth + refraction_at_zenith(90 + depth)
