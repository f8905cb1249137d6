"""The opening hours of the water points, and the cheap hours of the tanks, on the days to come. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from agent.control.calendar import DAY, Calendar
from agent.control.week import Week
from agent.lib.timetext import local_text
from agent.planning.service import Part, PlanRow, day_text, period_lines, time_text
from agent.services.water.build import opening_hours, tariff
from agent.services.water.config import Water
from agent.services.water.control import OPEN
from agent.services.water.tariff import CHEAP, Tariff
from agent.site.build.weeks import calendar
from agent.site.models.site import Site

__all__ = ["WaterPlan", "plan"]


def plan(site: Site, water: Water) -> WaterPlan:
    """The plan of the water points that have opening hours, and of the tanks that have a tariff by the clock."""
    hours = {name: opening_hours(site, point) for name, point in water.points.items()}
    tariffs = {name: tariff(site, tank) for name, tank in water.tanks.items()}
    return WaterPlan(
        calendar(site),
        {name: week for name, week in hours.items() if week is not None},
        {name: one for name, one in tariffs.items() if one is not None and isinstance(one.by, Week)},
    )


@dataclass(frozen=True, slots=True)
class WaterPlan:
    """The opening hours of water points and the tariffs of tanks, by their names."""

    calendar: Calendar
    points: Mapping[str, Week]
    tanks: Mapping[str, Tariff]
    key: str = "water"
    asks_school_holidays: bool = False

    def document(self, first: date, days: int) -> Part:
        points = {name: self._periods(week, OPEN, first, days) for name, week in self.points.items()}
        return points | {name: self._cheap(one, first, days) for name, one in self.tanks.items()}

    def _cheap(self, found: Tariff, first: date, days: int) -> list[dict[str, Any]]:
        """The cheap hours, with the levels between which the tank is filled then."""
        if not isinstance(found.by, Week):
            return []
        levels = {"mode": CHEAP, **found.cheap._asdict()}
        return [period | levels for period in self._periods(found.by, CHEAP, first, days)]

    def _periods(self, week: Week, mode: str, first: date, days: int) -> list[dict[str, Any]]:
        since, until = self.calendar.instant(first, 0), self.calendar.instant(first + days * DAY, 0)
        return [
            {"from": local_text(one.start, self.calendar.zone), "to": local_text(one.end, self.calendar.zone)}
            for one in week.periods(since, until)
            if one.mode == mode
        ]

    def rows(self, part: Part) -> Iterator[PlanRow]:
        for name, periods in part.items():
            for one in periods:
                yield PlanRow("water", name, None, one["from"], one["to"], one.get("mode", "open"))

    def lines(self, part: Part) -> Iterator[str]:
        yield from period_lines("open", {name: periods for name, periods in part.items() if name in self.points})
        for name in self.tanks:
            yield ""
            yield f"{name}  cheap current"
            for one in part[name]:
                start, end = one["from"], one["to"]
                times = f"{day_text(start)} {time_text(start)[:5]} to {day_text(end)} {time_text(end)[:5]}"
                yield f"  {times}  fills from {one['start']:g} to {one['stop']:g} %"
