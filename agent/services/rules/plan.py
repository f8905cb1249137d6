"""When rules act by times and calendars alone, on the days to come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from agent.control.calendar import DAY
from agent.control.conditions import ON, AllOf, AnyOf, Condition, InCalendar, Lasting, Times
from agent.control.named_calendars import NamedCalendar
from agent.lib.timetext import local_text
from agent.planning.service import Part, PlanRow, period_lines
from agent.services.rules.config import RuleConfig
from agent.site.build.calendars import with_files
from agent.site.build.conditions import condition
from agent.site.build.weeks import calendar
from agent.site.models.site import Site

__all__ = ["RulesPlan", "plan", "spans"]

Spans = list[tuple[datetime, datetime]]


def plan(site: Site, rules: Mapping[str, RuleConfig]) -> RulesPlan:
    """The plan of the rules that depend on nothing but times, and calendars other than those on a server."""
    return RulesPlan(site, {name: condition(site, rule.if_) for name, rule in rules.items()})


@dataclass(frozen=True, slots=True)
class RulesPlan:
    """The conditions of rules, by their names."""

    site: Site
    rules: Mapping[str, Condition]
    key: str = "rules"
    asks_school_holidays: bool = False

    def document(self, first: date, days: int) -> Part:
        at = calendar(self.site)
        since, until = at.instant(first, 0), at.instant(first + days * DAY, 0)
        calendars = with_files(self.site, since, until)
        found = {name: spans(one, calendars, since, until) for name, one in self.rules.items()}
        zone = at.zone
        return {
            name: [{"from": local_text(start, zone), "to": local_text(end, zone)} for start, end in one]
            for name, one in found.items()
            if one is not None
        }

    def rows(self, part: Part) -> Iterator[PlanRow]:
        for name, periods in part.items():
            for one in periods:
                yield PlanRow("rules", name, None, one["from"], one["to"], "active")

    def lines(self, part: Part) -> Iterator[str]:
        return period_lines("active", part)


def spans(one: Condition, calendars: Mapping[str, NamedCalendar], since: datetime, until: datetime) -> Spans | None:
    """When a condition holds from `since` to `until`; None if it depends on anything but times and `calendars`."""
    match one:
        case Times():
            return [(period.start, period.end) for period in one.week.periods(since, until) if period.mode == ON]
        case InCalendar():
            named = calendars.get(one.name)
            return None if named is None else [(found.start, found.end) for found in named.between(since, until)]
        case AllOf() | AnyOf():
            parts = [spans(part, calendars, since, until) for part in one.conditions]
            known = [part for part in parts if part is not None]
            if len(known) < len(parts):
                return None
            return _joined(known, len(known) if isinstance(one, AllOf) else 1)
        case Lasting():
            lasts = timedelta(seconds=one.seconds)
            inner = spans(one.condition, calendars, since - lasts, until)
            later = None if inner is None else [(max(start + lasts, since), end) for start, end in inner]
            return None if later is None else [(start, end) for start, end in later if start < end]
    return None


def _joined(parts: list[Spans], least: int) -> Spans:
    """When at least `least` of these hold at once."""
    edges = sorted((at, step) for part in parts for span in part for at, step in zip(span, (1, -1), strict=True))
    found: Spans = []
    held, begun = 0, None
    for at, step in edges:
        held += step
        if held >= least and begun is None:
            begun = at
        elif held < least and begun is not None:
            if at > begun:
                found.append((begun, at))
            begun = None
    merged: Spans = []
    for start, end in found:
        if merged and merged[-1][1] == start:
            start = merged.pop()[0]
        merged.append((start, end))
    return merged
