"""The hours that the law gives to outdoor lighting (arrêté du 27 décembre 2018, NOR TREP1831126A, articles 2 and 3).

Heritage, parks, façades and the car parks of activity zones are lit from sunset at the earliest. They are dark by
01:00, parks with a closing hour 1 h after it; an enclosed site is dark 1 h after its activity ends, a car park 2 h.
For roads there is no hour in it. `legal_reference` exempts a circuit.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from agent.control.calendar import DAY, Calendar
from agent.services.lighting.config import (
    AFTER_END,
    BY_ONE,
    LEGAL_OFF,
    CircuitConfig,
    LightCalendar,
    LightException,
    NightCut,
    SwitchConfig,
)
from agent.services.lighting.sun import SunEvent, night_sun
from agent.site.checks.names import Checked
from agent.site.language.document import Keys
from agent.site.language.values import DAYS

__all__ = ["check_law"]

_SOURCE = "arrêté du 27 décembre 2018"
_NOON, _DAY = 720, 1440
_FROM_SUNSET = ("heritage", "park", "facade", "car_park")
_YEAR = date(2026, 1, 1)
"""Any year will do: the sun keeps its hours to a few minutes."""


def check_law(at: Checked, keys: Keys, name: str, circuit: CircuitConfig) -> None:
    if circuit.activity_ends is not None and circuit.kind not in AFTER_END:
        text = f"activity_ends is for a park, a site or a car_park; the law asks nothing of it for {circuit.kind}"
        at.warn((*keys, "activity_ends"), text)
    if circuit.legal_reference:
        return
    who = f"{name} ({circuit.kind})"
    if circuit.kind in _FROM_SUNSET or circuit.kind in AFTER_END:
        _check_rules(at, who, circuit.actuator)
    if circuit.kind in _FROM_SUNSET:
        _check_on(at, (*keys, "switch_on"), who, circuit.switch_on)
    _check_exceptions(at, keys, who, circuit)
    if circuit.kind in AFTER_END and circuit.activity_ends is not None:
        _check_after_end(at, keys, who, circuit)
    elif circuit.kind in BY_ONE:
        _check_off(at, keys, who, circuit.switch_off, LEGAL_OFF, f"the legal {clock(LEGAL_OFF)}")
    elif circuit.kind in AFTER_END and not at.wrong(*keys, "activity_ends"):
        hours = AFTER_END[circuit.kind] // 60
        text = f'{who} has no activity_ends, such as "19:00"; the law wants it off {hours} h after ({_SOURCE})'
        at.warn((*keys, "kind"), text)


def _check_rules(at: Checked, who: str, actuator: str) -> None:
    """A rule knows no hours of the law."""
    for name, rule in getattr(at.site, "rules", {}).items():
        if rule.then is not None and rule.then.actuator == actuator and rule.then.value not in ("off", 0):
            text = f"{name} may light {who} outside the hours that the law gives ({_SOURCE})"
            at.warn(("rules", name, "then"), text, "let the circuit's own hours light it, or state its legal_reference")


def _check_exceptions(at: Checked, keys: Keys, who: str, circuit: CircuitConfig) -> None:
    """An exception with hours of its own is no permission."""
    ends, more = circuit.activity_ends, AFTER_END.get(circuit.kind)
    until = (ends + more) % _DAY if ends is not None and more is not None else None
    if until is None and circuit.kind in BY_ONE:
        until = LEGAL_OFF
    for index, one in enumerate(circuit.exceptions):
        where, name = (*keys, "exceptions", index), f"{who}, {_called(one)}:"
        if one.switch_on is not None and circuit.kind in _FROM_SUNSET:
            _check_on(at, (*where, "switch_on"), name, one.switch_on)
        if one.switch_off is not None and until is not None and not _is_cut_by(one.part_night_off, until):
            _check_off(at, where, name, one.switch_off, until, f"the legal {clock(until)}")


def _called(one: LightException | LightCalendar) -> str:
    return one.name or (one.calendar if isinstance(one, LightCalendar) else str(one.from_))


# -- on --------------------------------------------------------------------------------------------------------------


def _check_on(at: Checked, keys: Keys, who: str, on: SwitchConfig) -> None:
    later = "switch on later, or state legal_reference"
    if on.event in ("civil_dawn", "sunrise"):
        text = f"{who} switches on at {on.event}, not after sunset ({_SOURCE}); switch on at sunset"
        at.error((*keys, "event"), f"{text}, or state legal_reference")
    elif on.event == "sunset":
        if on.offset < 0:
            at.error((*keys, "offset"), f"{who} switches on before sunset; {later}")
    elif on.event == "civil_dusk" and on.offset < 0:
        dusks, sunsets = _year(at, "civil_dusk"), _year(at, "sunset")
        both = [(dusk - sunset, sunset) for dusk, sunset in zip(dusks, sunsets, strict=True) if dusk and sunset]
        least, day = min(both, default=(timedelta.max, datetime.max))
        if least.total_seconds() + on.offset < 0:
            dusk = f"{int(least.total_seconds() // 60)} min before civil dusk on {_day(day)}"
            text = f"{who} switches on before sunset, {dusk} ({_SOURCE}); {later}"
            at.error((*keys, "offset"), text)
    elif on.time is not None:
        _check_fixed_on(at, (*keys, "time"), who, on.time, later)


def _check_fixed_on(at: Checked, keys: Keys, who: str, minute: int, later: str) -> None:
    """A fixed hour must come after the latest sunset of the year."""
    sunsets = [civil for sunset in _year(at, "sunset") if sunset and (civil := _at_home(at, sunset))]
    if not sunsets:
        return
    latest = max(sunsets, key=lambda civil: _since_noon(civil.hour * 60 + civil.minute))
    if _since_noon(minute) < _since_noon(latest.hour * 60 + latest.minute):
        sunset = f"before sunset, {latest:%H:%M} on {_day(latest)} ({_SOURCE})"
        at.error(keys, f"{who} switches on at {clock(minute)}, {sunset}; {later}")


# -- off -------------------------------------------------------------------------------------------------------------


def _check_after_end(at: Checked, keys: Keys, who: str, circuit: CircuitConfig) -> None:
    ends, more = circuit.activity_ends or 0, AFTER_END[circuit.kind]
    until = (ends + more) % _DAY
    what = "closing" if circuit.kind == "park" else "the end of activity"
    legal = f"the legal {clock(until)}, {more // 60} h after {what} at {clock(ends)} ({_SOURCE})"
    if circuit.part_night_off and _is_cut_by(circuit.part_night_off, until) and circuit.kind != "park":
        for index, exception in enumerate(circuit.exceptions):
            if not _is_cut_by(exception.part_night_off, until):
                where = (*keys, "exceptions", index, "part_night_off")
                _check_off(at, keys, f"{who}, {_called(exception)}:", circuit.switch_off, until, legal,
                           where)  # fmt: skip
        return
    _check_off(at, keys, who, circuit.switch_off, until, legal)


def _check_off(
    at: Checked, keys: Keys, who: str, off: SwitchConfig, until: int, legal: str, where: Keys | None = None
) -> None:
    later = f"later than {legal}; switch off earlier, or state legal_reference"
    if off.time is not None and _since_noon(off.time) > _since_noon(until):
        at.error(where or (*keys, "switch_off", "time"), f"{who} switches off at {clock(off.time)}, {later}")
    elif off.event in ("civil_dawn", "sunrise"):
        at.error(where or (*keys, "switch_off", "event"), f"{who} switches off at {off.event}, {later}")
    elif off.event is not None:
        offs = [_at_home(at, sun + timedelta(seconds=off.offset)) for sun in _year(at, off.event) if sun]
        latest = max(offs, key=lambda civil: _since_noon(civil.hour * 60 + civil.minute), default=None)
        if latest is not None and _since_noon(latest.hour * 60 + latest.minute) > _since_noon(until):
            text = f"{who} switches off at {latest:%H:%M} on {_day(latest)}, {later}"
            at.error(where or (*keys, "switch_off", "event"), text)


def _is_cut_by(cuts: tuple[NightCut, ...], until: int) -> bool:
    """Whether in every night a cut has begun by then: the cuts of a day hold alone, else those without days."""
    named = {day for cut in cuts for day in cut.days}
    for day in {*DAYS, *named}:
        chosen = [cut for cut in cuts if day in cut.days] or [cut for cut in cuts if not cut.days]
        if not any(_since_noon(cut.from_) <= _since_noon(until) for cut in chosen):
            return False
    return True


# -- time ------------------------------------------------------------------------------------------------------------


def _year(at: Checked, event: SunEvent) -> Iterator[datetime | None]:
    """The event in each night of a year, in UTC; nothing for a site without a place."""
    site = at.site.site
    if site.latitude is None or site.longitude is None or at.wrong("site", "timezone"):
        return
    calendar = Calendar(site.timezone)
    for day in range(365):
        yield night_sun(site.latitude, site.longitude, calendar, _YEAR + day * DAY, event)


def _at_home(at: Checked, moment: datetime) -> datetime:
    """The same moment in local time."""
    return Calendar(at.site.site.timezone).civil(moment.astimezone(UTC))


def _since_noon(minute: int) -> int:
    return (minute - _NOON) % _DAY


def clock(minute: int) -> str:
    """23:00, of minutes after midnight."""
    return f"{minute // 60:02}:{minute % 60:02}"


def _day(moment: datetime) -> str:
    return f"{moment.day} {moment:%B}"
