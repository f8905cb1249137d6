"""The sun: when a night falls and ends at a place, by `astral`; defined also where it does not set or rise."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from agent.control.calendar import DAY, Calendar

__all__ = ["EVENTS", "SunEvent", "night_sun"]

SunEvent = Literal["civil_dusk", "civil_dawn", "sunset", "sunrise"]
EVENTS = ("civil_dusk", "civil_dawn", "sunset", "sunrise")
CIVIL = 6.0
"""Degrees below the horizon: the end of civil twilight."""
RISE = 0.833
"""Degrees below the horizon of the sun's centre when its upper edge is seen there: refraction and half its width."""


def night_sun(latitude: float, longitude: float, calendar: Calendar, night: date, event: SunEvent) -> datetime | None:
    """When `event` comes in the night that starts on the day `night` (noon to noon), in UTC, to the second.

    The height of the place is left out (it would shift the sunset). Where the sun stays below for the whole night, dusk
    is its first noon and dawn its last; where it stays above, None.
    """
    first, last = calendar.instant(night, 720), calendar.instant(night + DAY, 720)
    rising = event in ("civil_dawn", "sunrise")
    for day in (night + DAY, night, night - DAY) if rising else (night, night - DAY, night + DAY):
        found = _crossing(latitude, longitude, day, event)
        if found is not None and first <= found < last:
            return found.replace(microsecond=0)
    noon = last if rising else first
    return noon if _is_below(latitude, longitude, noon, event) else None


def _crossing(latitude: float, longitude: float, day: date, event: SunEvent) -> datetime | None:
    """The event of one day in UTC; None where the sun does not cross that height."""
    from astral import Observer, SunDirection, sun

    direction = SunDirection.RISING if event in ("civil_dawn", "sunrise") else SunDirection.SETTING
    zenith = 90 + (CIVIL if event.startswith("civil") else sun.SUN_APPARENT_RADIUS)
    try:
        return sun.time_of_transit(Observer(latitude, longitude, 0), day, zenith, direction)
    except ValueError:  # the sun stays above or below all day
        return None


def _is_below(latitude: float, longitude: float, at: datetime, event: SunEvent) -> bool:
    from astral import Observer, sun

    height = sun.elevation(Observer(latitude, longitude, 0), at, with_refraction=False)
    return height < -(CIVIL if event.startswith("civil") else RISE)
