"""Light on request and presence: what asks, whether the contactor and the lamps can follow, and the legal hours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from agent.control.calendar import DAY
from agent.services.lighting.build import MIN_OFF_HID, MIN_ON, on_demand, programme
from agent.services.lighting.config import AFTER_END, BY_ONE, CircuitConfig, OnDemandConfig, PresenceConfig
from agent.site.checks.conditions import looked_at
from agent.site.checks.names import Checked
from agent.site.language.document import Keys
from agent.site.language.values import DURATION
from agent.site.models.conditions import ConditionConfig

__all__ = ["check_on_request"]

_YEAR = date(2026, 1, 1)
"""Any year will do: the sun keeps its hours to a few minutes."""
_EACH = 10
"""Days between two nights that are looked at."""


def check_on_request(at: Checked, keys: Keys, name: str, circuit: CircuitConfig) -> None:
    if circuit.on_demand is not None:
        where = (*keys, "on_demand")
        _check_triggers(at, where, circuit.on_demand)
        _check_level(at, where, name, circuit, circuit.on_demand)
        _check_times(at, where, name, circuit, circuit.on_demand)
        _check_hours(at, keys, name, circuit, circuit.on_demand)
    if circuit.presence is not None:
        _check_presence(at, (*keys, "presence"), name, circuit, circuit.presence)


def _check_triggers(at: Checked, keys: Keys, wanted: OnDemandConfig) -> None:
    for index, trigger in enumerate(wanted.triggers):
        where = (*keys, "triggers", index)
        if trigger in wanted.triggers[:index]:
            at.error(where, f"{trigger} is in the list already; write it once")
        else:
            _check_trigger(at, where, trigger)


def _check_trigger(at: Checked, keys: Keys, name: str) -> None:
    """A contact, and no output of ours: lamps that ask for themselves never go out."""
    at.contact(keys, name)
    at.private.setdefault(name, keys)
    source = at.source(name)
    actuator = at.shown(name, at.site.actuators)
    if actuator is not None:
        text = f"{name} shows the output of {actuator}, and would ask for itself"
        at.error(keys, f"{text}; name a button, a motion sensor or a contact")
    same = {source, *(other for other, signal in at.site.signals.items() if signal.from_ == source)}
    for place, word in _inputs(at):
        if word in same and ("." in word or word in at.site.signals):
            text = f"{word} asks for light (line {at.line(*keys)}), and here it would tell each time that it is on"
            at.warn(place, f"{text}: who asks for light is not told", "take a contact of its own")
    for section, part, condition in _conditions(at):
        points = {point for key, point in looked_at(condition) if key == "point"} & same
        if points:
            text = f"{part} would tell each time that {points.pop()} is on, and when: who asks for light is not told"
            place = (section, part, "point") if at.written(section, part, "point") else (section, part)
            at.warn(place, f"{text} (line {at.line(*keys)})")
    device = source.partition(".")[0]
    found = at.site.devices.get(device)
    if found is not None and not found.is_polled and at.written("devices", device, "publish"):
        text = f"{name} tells when people come by, so nothing of {device} leaves the gateway; leave out publish"
        at.warn(keys, f"{text} (line {at.line('devices', device, 'publish')})")


def _inputs(at: Checked) -> Iterator[tuple[Keys, str]]:
    """The words of the services beside those that ask for light: their alarms and audit records leave the box at
    once."""
    for section in (service.name for service, _ in at.site.services() if not service.is_named):
        for place, text in _texts((section,), at.document.value((section,))):
            if "on_demand" not in place and "presence" not in place:
                yield place, text


def _texts(keys: Keys, value: Any) -> Iterator[tuple[Keys, str]]:
    if isinstance(value, str):
        yield keys, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from _texts((*keys, key), one)


def _conditions(at: Checked) -> Iterator[tuple[str, str, ConditionConfig]]:
    """The conditions of alarms and rules, with their section and name: what they tell leaves the box at once."""
    for name, alarm in getattr(at.site, "alarms", {}).items():
        for one in (alarm, alarm.when, alarm.while_):
            if one is not None:
                yield "alarms", name, one
    for name, rule in getattr(at.site, "rules", {}).items():
        yield "rules", name, rule.if_


def _dims(at: Checked, circuit: CircuitConfig) -> bool:
    actuator = at.site.actuators.get(circuit.actuator)
    return circuit.dimming is not None or (actuator is not None and actuator.kind == "level")


def _check_level(at: Checked, keys: Keys, name: str, circuit: CircuitConfig, wanted: OnDemandConfig) -> None:
    if wanted.level == 0:
        at.error((*keys, "level"), "a request lights the lamps; write a level above 0 %, such as 100 %")
    elif wanted.level < 100 and not _dims(at, circuit):
        text = f"{name} is not dimmed, so it lights at 100 %; leave out level, or give it dimming"
        at.error((*keys, "level"), text)


def _check_times(at: Checked, keys: Keys, name: str, circuit: CircuitConfig, wanted: OnDemandConfig) -> None:
    lasts = DURATION.format(wanted.for_)
    if wanted.stuck_after is not None and wanted.stuck_after <= wanted.for_ and not at.wrong(*keys, "for"):
        text = f"stuck_after {DURATION.format(wanted.stuck_after)} is not above for {lasts}"
        at.error((*keys, "stuck_after"), f"{text}: each request would make its trigger stuck")
    actuator = at.site.actuators.get(circuit.actuator)
    if actuator is None or at.wrong(*keys, "for"):
        return
    min_on = MIN_ON if actuator.min_on is None else actuator.min_on
    if wanted.for_ < min_on:
        stays = f"{circuit.actuator}.min_on {DURATION.format(min_on)}"
        text = f"for {lasts} is shorter than {stays}: the lamps burn that long for each request"
        at.warn((*keys, "for"), f"{text}; write a shorter min_on or a longer for")
    if circuit.lamp is None or circuit.lamp.type != "hid":
        return
    restrike = circuit.lamp.restrike or MIN_OFF_HID
    cool = max(restrike, actuator.min_off or 0.0)
    if wanted.for_ < cool:
        text = f"for {lasts} is over before the lamps of {name} (hid) can light again, {DURATION.format(cool)} after"
        at.error((*keys, "for"), f"{text} they went off; write a longer for")
    else:
        text = f"the lamps of {name} (hid) light again only {DURATION.format(cool)} after they went off"
        at.warn((*keys, "for"), f"{text}: who asks sooner waits in the dark")


def _check_hours(at: Checked, keys: Keys, name: str, circuit: CircuitConfig, wanted: OnDemandConfig) -> None:
    where = (*keys, "on_demand")
    ends = circuit.kind in AFTER_END and circuit.kind not in BY_ONE and circuit.activity_ends is None
    if ends and circuit.legal_reference is None:
        text = f"{name} ({circuit.kind}) has no activity_ends, so it is not known until when the law lets it burn"
        at.error(where, f"{text}; write it, or state legal_reference", at_key=True)
        return
    site = at.site.site
    unsure = site.latitude is None or site.longitude is None or at.wrong("site", "timezone") or at.has_wrong(*keys)
    if unsure or circuit.actuator not in at.site.actuators:
        return
    cuts = (circuit.part_night_off, *(one.part_night_off for one in circuit.exceptions))
    if wanted.only is not None and not any(cuts):
        text = f"{name} has no part_night_off, and only then light may be requested; leave out only"
        at.error((*where, "only"), text)
        return
    asked, hours = on_demand(at.site, circuit), programme(at.site, circuit)
    assert asked is not None
    nights = (hours.night(_YEAR + day * DAY) for day in range(0, 365, _EACH))
    longest = max((part.end - part.start for night in nights for part in asked.windows(hours, night)), default=None)
    if longest is None:
        text = f"light is never possible on request: {name} ({circuit.kind}) burns all night, or the law allows no more"
        at.warn(where, f"{text}; bocage plan shows the hours")


def _check_presence(at: Checked, keys: Keys, name: str, circuit: CircuitConfig, wanted: PresenceConfig) -> None:
    _check_trigger(at, (*keys, "signal"), wanted.signal)
    if not _dims(at, circuit):
        at.error(keys, f"{name} is not dimmed; presence is for a circuit with dimming", at_key=True)
    if wanted.otherwise == 0:
        text = "otherwise 0 % would switch the lamps off in hours in which they must burn"
        at.error((*keys, "otherwise"), f"{text}; write a level such as 20 %, or on_demand with part_night_off")
    at.below(keys, wanted, "otherwise", "level")
    if wanted.stuck_after is not None and wanted.stuck_after <= wanted.hold:
        stuck, hold = DURATION.format(wanted.stuck_after), DURATION.format(wanted.hold)
        at.error((*keys, "stuck_after"), f"stuck_after {stuck} is not above hold {hold}")
