"""The modes of the heating zones on the days to come, with their setpoints. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from agent.control.calendar import DAY, Calendar
from agent.control.week import Week
from agent.lib.timetext import local_text
from agent.planning.service import Part, PlanRow, period_lines
from agent.services.heating.build import heating_week
from agent.services.heating.config import Heating
from agent.site.build.weeks import calendar
from agent.site.models.site import Site

__all__ = ["HeatingPlan", "ZonePlan", "plan"]


def plan(site: Site, heating: Heating) -> HeatingPlan:
    """The plan of all zones."""
    zones = heating.zones.items()
    return HeatingPlan(
        calendar(site), {name: ZonePlan(heating_week(site, zone), zone.setpoints.model_dump()) for name, zone in zones}
    )


@dataclass(frozen=True, slots=True)
class ZonePlan:
    """A zone's week and the setpoint of each of its modes, degC."""

    week: Week
    setpoints: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class HeatingPlan:
    """The zones by their names."""

    calendar: Calendar
    zones: Mapping[str, ZonePlan]
    key: str = "heating"

    @property
    def asks_school_holidays(self) -> bool:
        return any(zone.week.school is not None for zone in self.zones.values())

    def document(self, first: date, days: int) -> Part:
        since, until = self.calendar.instant(first, 0), self.calendar.instant(first + days * DAY, 0)
        return {
            name: [
                {
                    "from": local_text(one.start, self.calendar.zone),
                    "to": local_text(one.end, self.calendar.zone),
                    "mode": one.mode,
                    "setpoint": zone.setpoints[one.mode],
                }
                for one in zone.week.periods(since, until)
            ]
            for name, zone in self.zones.items()
        }

    def rows(self, part: Part) -> Iterator[PlanRow]:
        for name, periods in part.items():
            for one in periods:
                yield PlanRow("heating", name, None, one["from"], one["to"], one["mode"], one["setpoint"])

    def lines(self, part: Part) -> Iterator[str]:
        return period_lines("heating", part)
