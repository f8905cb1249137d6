"""The opening hours of the water points, and the cheap hours of the tanks, on the days to come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any

from agent.control.calendar import DAY, Calendar
from agent.control.named_calendars import NamedCalendar
from agent.control.week import Week
from agent.lib.timetext import local_text
from agent.planning.service import Part, PlanRow, day_text, period_lines, time_text
from agent.services.water.build import opening_hours, tariff
from agent.services.water.config import Water
from agent.services.water.hours import OpeningHours
from agent.services.water.tariff import CHEAP, Tariff
from agent.site.build.calendars import with_files
from agent.site.build.weeks import calendar
from agent.site.models.site import Site

__all__ = ["WaterPlan", "plan"]


def plan(site: Site, water: Water) -> WaterPlan:
    """The plan of the water points that have opening hours, and of the tanks that have a tariff by the clock."""
    hours = {name: opening_hours(site, point) for name, point in water.points.items()}
    tariffs = {name: tariff(site, tank) for name, tank in water.tanks.items()}
    return WaterPlan(
        calendar(site),
        {name: one for name, one in hours.items() if one is not None},
        {name: one for name, one in tariffs.items() if one is not None and isinstance(one.by, Week)},
        partial(with_files, site),
    )


@dataclass(frozen=True, slots=True)
class WaterPlan:
    """The opening hours of water points and the tariffs of tanks, by their names. `read` gives the named calendars as
    they are in a time."""

    calendar: Calendar
    points: Mapping[str, OpeningHours]
    tanks: Mapping[str, Tariff]
    read: Callable[[datetime, datetime], Mapping[str, NamedCalendar]]
    key: str = "water"
    asks_school_holidays: bool = False

    def document(self, first: date, days: int) -> Part:
        since, until = self.calendar.instant(first, 0), self.calendar.instant(first + days * DAY, 0)
        calendars = self.read(since, until) if any(one.by for one in self.points.values()) else {}
        points = {
            name: [self._local(*span) for span in one.between(since, until, calendars.get(one.by))]
            for name, one in self.points.items()
        }
        return points | {name: self._cheap(one, since, until) for name, one in self.tanks.items()}

    def _cheap(self, found: Tariff, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """The cheap hours, with the levels between which the tank is filled then."""
        if not isinstance(found.by, Week):
            return []
        levels = {"mode": CHEAP, **found.cheap._asdict()}
        periods = found.by.periods(since, until)
        return [self._local(one.start, one.end) | levels for one in periods if one.mode == CHEAP]

    def _local(self, start: datetime, end: datetime) -> dict[str, Any]:
        return {"from": local_text(start, self.calendar.zone), "to": local_text(end, self.calendar.zone)}

    def rows(self, part: Part) -> Iterator[PlanRow]:
        for name, periods in part.items():
            for one in periods:
                yield PlanRow("water", name, None, one["from"], one["to"], one.get("mode", "open"))

    def lines(self, part: Part) -> Iterator[str]:
        for name, hours in self.points.items():
            title = f"open while {hours.by} is on" if hours.by else "open"
            yield from period_lines(title, {name: part[name]})
        for name in self.tanks:
            yield ""
            yield f"{name}  cheap current"
            for one in part[name]:
                start, end = one["from"], one["to"]
                times = f"{day_text(start)} {time_text(start)[:5]} to {day_text(end)} {time_text(end)[:5]}"
                yield f"  {times}  fills from {one['start']:g} to {one['stop']:g} %"
