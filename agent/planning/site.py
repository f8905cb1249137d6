"""The plan of a whole site: the parts of its services."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from agent.control.calendar import Calendar
from agent.planning.picture import Panel, Swatch, draw, period_panels
from agent.planning.service import Drawing, PlanRow, ServicePlan
from agent.site.build.calendars import sources
from agent.site.build.weeks import calendar
from agent.site.models.site import Site

__all__ = ["SitePlan", "site_plan"]


def site_plan(site: Site) -> SitePlan:
    """The plan of a site: the part that the calendar alone decides."""
    found = [(service.plan, section) for service, section in site.services()]
    parts = tuple(module.plan(site, section) for module, section in found if module is not None)
    not_read = tuple(one.name for one in sources(site) if one.url is not None)
    return SitePlan(site.site.id, calendar(site), parts, not_read)


@dataclass(frozen=True, slots=True)
class SitePlan:
    """The plan of the site with this id."""

    site: str
    calendar: Calendar
    services: tuple[ServicePlan, ...]
    not_read: tuple[str, ...] = ()
    """The named calendars on a server."""

    def document(self, first: date, days: int) -> dict[str, Any]:
        """The plan of `days` nights and days from `first`, as JSON values."""
        head = {"site": self.site, "from": first.isoformat(), "days": days}
        return head | {one.key: one.document(first, days) for one in self.services}

    def rows(self, document: dict[str, Any]) -> Iterator[PlanRow]:
        """The same as lines of CSV."""
        for one in self.services:
            yield from one.rows(document[one.key])

    def lines(self, document: dict[str, Any]) -> Iterator[str]:
        """The same for people."""
        yield f"{document['site']}, {document['days']} days from {document['from']}"
        for one in self.services:
            yield from one.lines(document[one.key])

    def draw(self, first: date, days: int) -> str:
        """The picture of all that has times, by day and hour, as SVG."""
        panels: list[Panel] = []
        legend: list[Swatch] = []
        for one in self.services:
            if isinstance(one, Drawing):
                legend += one.legend()
                panels += one.panels(first, days)
            else:  # its days are from midnight to midnight, the picture's from noon to noon
                panels += period_panels(one.rows(one.document(first, days + 1)), first, days)
        return draw(self.site, panels, legend, first, days)

    def ends(self, first: date, days: int) -> date | None:
        """The last day of the table of school holidays, if these days go on after it and a service asks it."""
        last = self.calendar.ends()
        needed = any(one.asks_school_holidays for one in self.services)
        return last if needed and last is not None and first + timedelta(days - 1) > last else None
