"""The modes of the heating zones on the days to come, with their setpoints. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any

from agent.control.calendar import DAY, Calendar
from agent.control.named_calendars import NamedCalendar
from agent.lib.timetext import local_text
from agent.planning.service import Part, PlanRow, period_lines
from agent.services.heating.boiler import HeatCurve
from agent.services.heating.build import flow_bounds, programme, setpoints
from agent.services.heating.config import Heating, ZoneConfig
from agent.services.heating.modulating import base
from agent.services.heating.override import MODES
from agent.services.heating.programme import ZoneProgramme
from agent.site.build.calendars import with_files
from agent.site.build.weeks import calendar
from agent.site.language.values import Window
from agent.site.models.site import Site

__all__ = ["HeatingPlan", "ZonePlan", "plan"]


def plan(site: Site, heating: Heating) -> HeatingPlan:
    """The plan of all zones."""
    zones = {name: _zone(site, zone) for name, zone in heating.zones.items()}
    return HeatingPlan(calendar(site), zones, partial(with_files, site))


def _zone(site: Site, zone: ZoneConfig) -> ZonePlan:
    points, plant, curve = {mode: setpoints(zone).of(mode) for mode in MODES}, zone.plant, zone.heat_curve
    flow: dict[str, list[list[float]]] = {}
    if plant.flow_setpoint is not None and curve is not None:
        low, high = flow_bounds(site, zone)
        plain = HeatCurve(curve.signal, tuple(curve.points))
        for mode, setpoint in points.items():
            targets = [(out, base(plain, setpoint, points["comfort"], out)) for out, _ in curve.points]
            flow[mode] = [[out, round(min(max(target, low), high), 1)] for out, target in targets]
    return ZonePlan(programme(site, zone), points, flow, {} if plant.sg_hours is None else dict(plant.sg_hours))


@dataclass(frozen=True, slots=True)
class ZonePlan:
    """A zone's programme and the setpoint of each of its modes, degC.

    `flow` has the target of the flow at each point of the curve, [outdoors, flow] in degC, before the room moves it;
    `sg_hours` the hours of each state of SG Ready.
    """

    programme: ZoneProgramme
    setpoints: Mapping[str, float]
    flow: Mapping[str, list[list[float]]]
    sg_hours: Mapping[str, Sequence[Window]]


@dataclass(frozen=True, slots=True)
class HeatingPlan:
    """The zones by their names. `calendars` reads the named calendars for a time."""

    calendar: Calendar
    zones: Mapping[str, ZonePlan]
    calendars: Callable[[datetime, datetime], Mapping[str, NamedCalendar]]
    key: str = "heating"

    @property
    def asks_school_holidays(self) -> bool:
        return any(zone.programme.week.school is not None for zone in self.zones.values())

    def document(self, first: date, days: int) -> Part:
        since, until = self.calendar.instant(first, 0), self.calendar.instant(first + days * DAY, 0)
        booked = any(zone.programme.occupancy is not None for zone in self.zones.values())
        calendars = self.calendars(since, until) if booked else {}
        part: dict[str, Any] = {}
        for name, zone in self.zones.items():
            occupancy = zone.programme.occupancy
            named = None if occupancy is None else calendars.get(occupancy.calendar)
            part[name] = [
                {
                    "from": local_text(one.start, self.calendar.zone),
                    "to": local_text(one.end, self.calendar.zone),
                    "mode": one.mode,
                    "setpoint": zone.setpoints[one.mode],
                    **({"flow": zone.flow[one.mode]} if zone.flow else {}),
                }
                for one in zone.programme.periods(since, until, named)
            ]
            if any(zone.sg_hours.values()):
                part[f"{name}.sg_ready"] = sorted(self._hours(zone, first, days), key=lambda one: str(one["from"]))
        return part

    def _hours(self, zone: ZonePlan, first: date, days: int) -> Iterator[Part]:
        """The hours of SG Ready."""
        for state, windows in zone.sg_hours.items():
            for ahead in range(days):
                day = first + ahead * DAY
                for window in windows:
                    end = day if window.end > window.start else day + DAY
                    yield {
                        "from": local_text(self.calendar.instant(day, window.start), self.calendar.zone),
                        "to": local_text(self.calendar.instant(end, window.end), self.calendar.zone),
                        "mode": state,
                    }

    def rows(self, part: Part) -> Iterator[PlanRow]:
        for name, periods in part.items():
            for one in periods:
                yield PlanRow("heating", name, None, one["from"], one["to"], one["mode"], one.get("setpoint"))

    def lines(self, part: Part) -> Iterator[str]:
        return period_lines("heating", part)
