"""The opening hours of the water points on the days to come. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from agent.control.calendar import DAY, Calendar
from agent.control.week import Week
from agent.lib.timetext import local_text
from agent.planning.service import Part, PlanRow, period_lines
from agent.services.water.build import opening_hours
from agent.services.water.config import Water
from agent.services.water.control import OPEN
from agent.site.build.weeks import calendar
from agent.site.models.site import Site

__all__ = ["WaterPlan", "plan"]


def plan(site: Site, water: Water) -> WaterPlan:
    """The plan of the water points that have opening hours."""
    hours = {name: opening_hours(site, point) for name, point in water.points.items()}
    return WaterPlan(calendar(site), {name: week for name, week in hours.items() if week is not None})


@dataclass(frozen=True, slots=True)
class WaterPlan:
    """The opening hours of water points, by their names."""

    calendar: Calendar
    points: Mapping[str, Week]
    key: str = "water"
    asks_school_holidays: bool = False

    def document(self, first: date, days: int) -> Part:
        since, until = self.calendar.instant(first, 0), self.calendar.instant(first + days * DAY, 0)
        return {
            name: [
                {"from": local_text(one.start, self.calendar.zone), "to": local_text(one.end, self.calendar.zone)}
                for one in week.periods(since, until)
                if one.mode == OPEN
            ]
            for name, week in self.points.items()
        }

    def rows(self, part: Part) -> Iterator[PlanRow]:
        for name, periods in part.items():
            for one in periods:
                yield PlanRow("water", name, None, one["from"], one["to"], "open")

    def lines(self, part: Part) -> Iterator[str]:
        return period_lines("open", part)
