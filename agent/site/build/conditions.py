"""Conditions of the site file as the controls judge them."""

from __future__ import annotations

from agent.control import conditions as control
from agent.control.week import Span, Week
from agent.site.build.units import point_unit
from agent.site.build.weeks import by_day, calendar
from agent.site.language.units import canonical, factor
from agent.site.models.conditions import Amount, ConditionConfig
from agent.site.models.site import Site

__all__ = ["amount", "condition", "sources"]

_DAY = 1440


def condition(site: Site, wanted: ConditionConfig) -> control.Condition:
    """The condition, with its time."""
    if wanted.still is not None:
        assert wanted.for_ is not None
        return control.Still(_source(wanted), amount(site, wanted, wanted.still), wanted.for_)
    found = _plain(site, wanted)
    return found if not wanted.for_ else control.Lasting(found, wanted.for_)


def sources(wanted: ConditionConfig) -> list[str]:
    """The points and signals that it looks at, in the order of the file."""
    inner = [name for one in (*(wanted.all or ()), *(wanted.any or ())) for name in sources(one)]
    return [wanted.point, *inner] if wanted.point is not None else inner


def amount(site: Site, wanted: ConditionConfig, written: Amount) -> float:
    """A number in the unit of the condition's point."""
    own = "" if wanted.point is None else canonical(point_unit(site, wanted.point))
    unit = canonical(written.unit)
    return written.value * (factor(unit, own) or 1.0) if unit and unit != own else written.value


def _plain(site: Site, wanted: ConditionConfig) -> control.Condition:
    if wanted.all is not None:
        return control.AllOf(tuple(condition(site, one) for one in wanted.all))
    if wanted.any is not None:
        return control.AnyOf(tuple(condition(site, one) for one in wanted.any))
    if wanted.zone is not None:
        return control.Is(control.Operand(f"{wanted.zone}.mode"), wanted.mode or "")
    if wanted.calendar is not None:
        return control.InCalendar(wanted.calendar)
    if wanted.times is not None:
        return control.Times(_week(site, wanted))
    return _compared(site, wanted)


def _compared(site: Site, wanted: ConditionConfig) -> control.Condition:
    source = _source(wanted)
    if wanted.is_ is not None:
        return control.Is(source, wanted.is_)
    moved = wanted.falls or wanted.rises
    if moved is not None:
        assert wanted.within is not None
        return control.Moves(source, amount(site, wanted, moved), wanted.within, wanted.rises is not None)
    limit = wanted.above or wanted.below
    assert limit is not None
    band = 0.0 if wanted.hysteresis is None else amount(site, wanted, wanted.hysteresis)
    return control.Compare(source, amount(site, wanted, limit), wanted.below is not None, band)


def _source(wanted: ConditionConfig) -> control.Operand:
    if wanted.actuator is not None:
        return control.Operand(wanted.actuator, output=True)
    return control.Operand(wanted.point or "")


def _week(site: Site, wanted: ConditionConfig) -> Week:
    spans = tuple(
        Span(start, end if end > start else end + _DAY, control.ON) for start, end in sorted(wanted.times or ())
    )
    if wanted.days is None:
        return Week(calendar(site), "", (spans,) * 7)
    public, school = (spans if word in wanted.days else None for word in ("public_holiday", "school_holiday"))
    return Week(calendar(site), "", by_day(dict.fromkeys(wanted.days, spans), ()), public=public, school=school)
