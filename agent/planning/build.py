"""The site file as `bocage plan` wants it."""

from __future__ import annotations

from agent.planning.programme import CircuitPlan, SitePlan, ZonePlan
from agent.services.lighting.build import programme
from agent.services.weeks import calendar, heating_week, opening_hours
from agent.site.models.site import Site

__all__ = ["site_plan"]


def site_plan(site: Site) -> SitePlan:
    """Everything that the calendar alone decides. A water point without opening hours has no plan."""
    hours = {name: opening_hours(site, point) for name, point in site.water.points.items()}
    return SitePlan(
        site.site.id,
        calendar(site),
        circuits={
            name: CircuitPlan(programme(site, circuit), circuit.rated_power)
            for name, circuit in site.lighting.circuits.items()
        },
        water={name: week for name, week in hours.items() if week is not None},
        heating={
            name: ZonePlan(heating_week(site, zone), zone.setpoints.model_dump())
            for name, zone in site.heating.zones.items()
        },
    )
