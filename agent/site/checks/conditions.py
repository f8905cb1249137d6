"""Rules of conditions: what they look at is there, and what they compare with fits it."""

from __future__ import annotations

from collections.abc import Iterator

from agent.lib.suggestion import did_you_mean, suggested
from agent.model import Kind
from agent.site.build.conditions import amount as amount_in
from agent.site.build.units import unit_of
from agent.site.checks.names import Checked
from agent.site.language.document import Keys
from agent.site.language.problems import listed
from agent.site.language.spellings import words_meant
from agent.site.language.units import canonical, factor, is_known
from agent.site.language.values import number
from agent.site.models.conditions import COMPARISONS, MODES, SUBJECTS, Amount, ConditionConfig

__all__ = ["check_condition", "check_subject", "check_wanted", "looked_at", "moved_by"]

_COMPARED = ("point", "actuator")
_SHARES = {"%": 1e4, "ppm": 1.0, "ppb": 1e-3}
"""Parts of a whole, in ppm."""
_ALONE = (*COMPARISONS, "hysteresis", "within")


def check_condition(at: Checked, keys: Keys, one: ConditionConfig, comparison: bool = True) -> None:
    """Check a condition and those in it. Without `comparison` it may have none."""
    subjects = [key for key in SUBJECTS if one.has(key)]
    if len(subjects) != 1:
        _report_subjects(at, keys, subjects)
        return
    subject = subjects[0]
    if subject in _COMPARED:
        _check_compared(at, keys, one, comparison)
    else:
        for key in _ALONE:
            if one.has(key):
                at.error((*keys, key), f'"{key}" compares a point or an actuator, not "{subject}"', at_key=True)
    _check_subject(at, keys, one)
    for key, goes_with in (("mode", "zone"), ("days", "times")):
        if one.has(key) and subject != goes_with:
            at.error((*keys, key), f'"{key}" goes with "{goes_with}"', at_key=True)
    for key in ("all", "any"):
        for index, inner in enumerate(getattr(one, key) or ()):
            check_condition(at, (*keys, key, index), inner)
        if getattr(one, key) == ():
            at.error((*keys, key), f'"{key}" is empty; write the conditions in it', at_key=True)


def check_subject(at: Checked, section: str, name: str) -> None:
    """Alarms under one code and one name would end each other: the name is not that of another control."""
    others = [other.name for other, _ in at.site.services() if other.is_named and other.name < section]
    clash = next((other for other in others if name in at.names(other)), None)
    if clash is not None:
        text = f'"{name}" is already a name in {clash} (line {at.line(clash, name)}): both tell alarms under it'
        at.error((section, name), text, at_key=True)
    elif at.has_points(name):  # a pump has some too, and tells a sensor_fault
        text = f'"{name}" is already the name of a part of a service, which tells alarms under it; take another name'
        at.error((section, name), text, at_key=True)


def looked_at(one: ConditionConfig) -> Iterator[tuple[str, str]]:
    """Pairs of a key (point, actuator, zone) and the name that it looks at, also of the conditions in it."""
    for key in ("point", "actuator", "zone"):
        if (name := getattr(one, key)) is not None:
            yield key, name
    for inner in (*(one.all or ()), *(one.any or ())):
        yield from looked_at(inner)


def moved_by(at: Checked, one: ConditionConfig) -> set[str]:
    """The actuators on which it depends: by name, by their output or by their feedback."""
    found = {name for key, name in looked_at(one) if key == "actuator"}
    points = {name for key, name in looked_at(one) if key == "point"}
    points |= {signal.from_ for name, signal in at.site.signals.items() if name in points}
    return found | {name for name, other in at.site.actuators.items() if points & {other.output, other.feedback}}


def _report_subjects(at: Checked, keys: Keys, found: list[str]) -> None:
    if any(at.wrong(*keys, key) for key in SUBJECTS):
        return
    if not found:
        at.error(keys, f"a condition needs one of {listed(SUBJECTS, 'or')}", at_key=True)
        return
    hint = "write {all: [...]} or {any: [...]} around several conditions"
    at.error((*keys, found[1]), f"a condition has one of {listed(found)}, not several", hint, at_key=True)


def _check_compared(at: Checked, keys: Keys, one: ConditionConfig, comparison: bool) -> None:
    found = one.comparisons
    wrong = any(at.wrong(*keys, key) for key in COMPARISONS)
    if len(found) > 1:
        hint = "write {any: [...]} or {all: [...]} around two conditions"
        at.error((*keys, found[1]), f"a point is compared once: {listed(found, 'or')}", hint, at_key=True)
    if not found and not wrong and comparison:
        at.error(keys, f"it lacks what to compare with: {listed(COMPARISONS, 'or')}", at_key=True)
    said = found[0] if len(found) == 1 else ""
    if not said:
        return
    for key, goes_with in (("hysteresis", ("above", "below")), ("within", ("falls", "rises"))):
        if one.has(key) and said not in goes_with:
            at.error((*keys, key), f'"{key}" goes with {listed(goes_with, "or")}', at_key=True)
    if said in ("falls", "rises") and one.within is None and not at.wrong(*keys, "within"):
        at.error((*keys, said), f'"{said}" needs "within": the time of it, such as 10min', at_key=True)
    if said == "still" and one.for_ is None and not at.wrong(*keys, "for"):
        at.error((*keys, said), '"still" needs "for": for how long, such as 2h', at_key=True)
    if one.hysteresis is not None and one.hysteresis.value < 0:
        at.error((*keys, "hysteresis"), f"{number(one.hysteresis.value)} is too little; write at least 0")
    for key in ("above", "below", "hysteresis", "still", "falls", "rises"):
        amount = getattr(one, key)
        if amount is not None:
            _check_unit(at, (*keys, key), one, amount)
    _check_scale(at, keys, one)


def _check_scale(at: Checked, keys: Keys, one: ConditionConfig) -> None:
    """A limit or a movement that the sensor cannot show never comes, or is always there."""
    scale = None if one.point is None else at.good_range(one.point)
    if scale is None or one.point is None:
        return
    (lowest, highest), own = scale, canonical(_unit(at, one.point))
    shows = at.shows(one.point)

    def value(key: str) -> float | None:
        amount = getattr(one, key)
        unit = "" if amount is None else canonical(amount.unit)
        is_odd = unit not in ("", own) and factor(unit, own) is None  # which is told, or a difference
        if amount is None or (is_odd and not {unit, own} <= {"K", "degC"}):
            return None
        return amount_in(at.site, one, amount)

    band = value("hysteresis") or 0.0
    for key, sign, least, most in (("above", 1.0, lowest, highest), ("below", -1.0, -highest, -lowest)):
        limit = value(key)
        if limit is None:
            continue
        if sign * limit >= most:
            at.warn((*keys, key), f"{shows}: it is never {key} {number(limit)}")
        elif sign * limit < least:
            at.warn((*keys, key), f"{shows}: it is always {key} {number(limit)}")
        elif sign * limit - band < least:
            text = f"once {key} {number(limit)} it never ends, which would be at {number(limit - sign * band)}"
            at.warn((*keys, "hysteresis"), f"{shows}: {text}")
    for key, what in (("falls", "never falls"), ("rises", "never rises"), ("still", "never moves")):
        moved = value(key)
        if moved is not None and moved > highest - lowest:
            at.warn((*keys, key), f"{shows}: it {what} by {number(moved)}")
    wanted = one.is_
    if isinstance(wanted, float) and not lowest <= wanted <= highest:
        at.warn((*keys, "is"), f"{shows}: it is never {number(wanted)}")


def _check_unit(at: Checked, keys: Keys, one: ConditionConfig, amount: Amount) -> None:
    """A unit that is written is the point's, or converts to it."""
    if not amount.unit:
        return
    own = "" if one.point is None else canonical(_unit(at, one.point))
    unit = canonical(amount.unit)
    difference = keys[-1] not in ("above", "below") and {unit, own} <= {"K", "degC"}
    if unit == own or (own and factor(unit, own) is not None) or difference:
        return
    has = f"{one.point or one.actuator} is in {own}" if own else f"{one.point or one.actuator} has no unit"
    at.error(keys, f"{number(amount.value)} {amount.unit}, and {has}; write {_meant(amount.value, unit, own)}")


def _meant(value: float, unit: str, own: str) -> str:
    """The amount to write in the point's unit: the same number is right only where the unit alone is a slip."""
    if not own:
        return number(value)
    if unit in _SHARES and own in _SHARES:
        return f"{number(round(value * _SHARES[unit] / _SHARES[own], 9))} {own}"
    return f"it in {own}" if is_known(unit) and not {unit, own} <= {"K", "degC"} else f"{number(value)} {own}"


def _unit(at: Checked, reference: str) -> str:
    if "." in reference and at.has_points(reference.partition(".")[0]):
        own = (at.own_points or {}).get(reference)
        return "" if own is None else own.unit
    if "." not in reference:
        return "" if at.wrong("signals", reference, "unit") else unit_of(at.site, reference)
    device, _, point = reference.partition(".")
    return at.profile_unit(device, point)


def _check_subject(at: Checked, keys: Keys, one: ConditionConfig) -> None:
    if one.actuator is not None:
        at.known((*keys, "actuator"), "actuator", one.actuator, at.names("actuators"))
    if one.calendar is not None:
        at.known((*keys, "calendar"), "calendar", one.calendar, at.names("calendars"))
    if one.zone is not None:
        _check_zone(at, keys, one)
    if one.point is None:
        return
    place, (owner, _, short) = (*keys, "point"), one.point.partition(".")
    if short and at.has_points(owner):
        _check_own(at, keys, one, owner, short)
    elif one.point in at.names("actuators") - at.names("signals"):
        at.error(place, f"{one.point} is an actuator; write actuator: {one.point}")
    elif one.is_ is not None:
        check_wanted(at, keys, one.point, one.is_)
    elif at.value(place, one.point) is not None and _is_state(at, one.point):
        for key in one.comparisons:
            at.error((*keys, key), f'{one.point} is on or off: "{key}" compares numbers; write {{is: on}}', at_key=True)


def _check_own(at: Checked, keys: Keys, one: ConditionConfig, owner: str, short: str) -> None:
    """A point of a circuit, a water point, a zone … is there, and is compared with what it may be."""
    own = at.own_points
    if own is None:
        return
    found = own.get(f"{owner}.{short}")
    if found is None:
        points = [name.partition(".")[2] for name in own if name.startswith(f"{owner}.")]
        at.lacking((*keys, "point"), f'{owner} has no point "{short}"', did_you_mean(short, points))
    elif found.kind is Kind.STATE and one.is_ is None:
        for key in one.comparisons:
            at.error((*keys, key), f'{found.id} is a state: "{key}" compares numbers; write is', at_key=True)
    elif short == "mode" and isinstance(one.is_, str) and one.is_ not in MODES and owner in _zones(at):
        what = f'"{one.is_}" is none of {listed(MODES)}'
        at.error((*keys, "is"), what, did_you_mean(one.is_, MODES))


def check_wanted(at: Checked, keys: Keys, point: str, wanted: str | float | bool) -> None:
    """A point or a signal is there (its name is at `point` of `keys`), and may have the value that is wanted (`is`)."""
    place = (*keys, "point")
    if isinstance(wanted, bool):
        at.contact(place, point)
    elif isinstance(wanted, str):
        if at.point(place, point) if "." in point else at.known(place, "signal", point, at.names("signals")):
            _check_word(at, keys, point, wanted)
    elif at.is_contact(at.value(place, point)) and wanted not in (0, 1):
        at.error((*keys, "is"), f"{number(wanted)} is a number, and {point} is on or off; write on or off")


def _check_word(at: Checked, keys: Keys, point: str, word: str) -> None:
    """A word is compared with words."""
    is_state, unit = _is_state(at, point), _unit(at, point)
    meant = next((one for one in words_meant(word) if one in ("on", "off")), None)
    hint = suggested(meant) if meant else "write on or off" if is_state else "write a number, or above or below"
    if is_state or unit:
        at.error((*keys, "is"), f'"{word}" is a word, and {point} is {"on or off" if is_state else f"in {unit}"}', hint)


def _is_state(at: Checked, reference: str) -> bool:
    """Whether a point or a signal is known to be on or off."""
    signal = at.site.signals.get(reference)
    if signal is not None:
        return signal.kind == "state" or (signal.kind is None and not signal.unit and _is_state(at, signal.from_))
    owner, _, point = reference.partition(".")
    bus, device = at.site.buses.get(owner), at.site.devices.get(owner)
    if device is None:
        return bus is not None and bus.has_pins
    return bool(((device.profile_data or {}).get("points", {}).get(point) or {}).get("kind") == "state")


def _zones(at: Checked) -> set[str]:
    """The names of the heating zones, also of wrong ones."""
    zones = at.document.value(("heating", "zones"))
    return set(zones) if isinstance(zones, dict) else set()


def _check_zone(at: Checked, keys: Keys, one: ConditionConfig) -> None:
    at.known((*keys, "zone"), "zone", str(one.zone), _zones(at))
    if one.mode is None and not at.wrong(*keys, "mode"):
        at.error((*keys, "zone"), f'"zone" needs "mode": {listed(MODES)}', at_key=True)
