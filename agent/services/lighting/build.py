"""The section `lighting` of the site file as controls, programmes and limits of contactors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agent.control.api import Control
from agent.services.lighting import config
from agent.services.lighting.control import Circuit, Shared
from agent.services.lighting.lamps import Lamps
from agent.services.lighting.light_on_request import LightOnRequest
from agent.services.lighting.night import Exceptional, NightPart, Programme, Switch
from agent.services.lighting.on_demand import LegalHours, OnDemand
from agent.services.lighting.photocell import Photocell
from agent.services.lighting.presence import Presence
from agent.site.build.defaults import ActuatorDefaults
from agent.site.build.weeks import calendar
from agent.site.models.site import Site

__all__ = ["actuator_defaults", "controls", "on_demand", "programme"]

MIN_ON = 900.0
"""Seconds that a contactor of lamps stays on at least, where the site file is silent; likewise the others."""
MIN_OFF_LED, MIN_OFF_HID = 60.0, 900.0
STARTS_PER_HOUR = 4
STAGGER = 10.0
"""Seconds between the switchings on of two circuits."""
STUCK_AFTER, STUCK_PRESENCE = 3600.0, 4 * 3600.0
"""Seconds after which a trigger, and a presence signal, is stuck; or this many times what they light for."""
STUCK_TIMES = 4
_NOT_BEFORE_SUNSET = ("heritage", "park", "facade", "car_park")
"""Kinds that no photocell may light before their hour (arrêté du 27 décembre 2018)."""
_VOLTAGES = {"voltage", "voltage_l1", "voltage_l2", "voltage_l3"}


def controls(site: Site, lighting: config.Lighting) -> list[Control[Any]]:
    """One control a circuit."""
    return [_circuit(site, lighting, name, circuit) for name, circuit in lighting.circuits.items()]


def actuator_defaults(lighting: config.Lighting) -> dict[str, ActuatorDefaults]:
    """The limits of the circuits' contactors. HID lamps must cool before they light again, so for them each time that
    the contactor closes is a start, after a power failure too."""
    circuits = lighting.circuits.values()
    hid = {one.actuator for one in circuits if _is_hid(one)}
    found = {}
    for circuit in circuits:
        lamp = circuit.lamp
        cool = (lamp.restrike or MIN_OFF_HID) if lamp is not None and _is_hid(circuit) else MIN_OFF_LED
        led = circuit.actuator not in hid
        found[circuit.actuator] = ActuatorDefaults(MIN_ON, cool, STARTS_PER_HOUR, back_is_no_start=led, stagger=STAGGER)
    return found


def _circuit(site: Site, lighting: config.Lighting, name: str, circuit: config.CircuitConfig) -> Circuit:
    switch = lighting.local_switch or config.LocalSwitch()
    lamp = circuit.lamp
    measured = _measured(site, circuit.meter)
    return Circuit(
        name,
        circuit.actuator,
        programme(site, circuit),
        Lamps(
            circuit.rated_power,
            lamp.count if lamp is not None else None,
            _is_hid(circuit),
            circuit.meter_position == "downstream",
        ),
        power=next((point for point in measured if point.endswith(".active_power")), None),
        voltages=tuple(point for point in measured if point.rpartition(".")[2] in _VOLTAGES),
        photocell=_photocell(circuit.photocell),
        manual_on=switch.manual_on,
        manual_off=switch.manual_off,
        proportional=site.actuators[circuit.actuator].kind == "level",
        dimmer=_dimmer(circuit),
        shared=tuple(
            Shared(other.actuator, _dimmer(other), other.rated_power, _is_hid(other))
            for key, other in lighting.circuits.items()
            if key != name and circuit.meter is not None and other.meter == circuit.meter
        ),
        near=tuple((other.actuator, _dimmer(other)) for key, other in lighting.circuits.items() if key != name),
        never_early=circuit.kind in _NOT_BEFORE_SUNSET and circuit.legal_reference is None,
        on_request=_on_request(site, name, circuit),
    )


def _on_request(site: Site, name: str, circuit: config.CircuitConfig) -> LightOnRequest | None:
    if circuit.on_demand is None and circuit.presence is None:
        return None
    presence = circuit.presence
    return LightOnRequest(
        name,
        circuit.actuator,
        _dimmer(circuit),
        site.actuators[circuit.actuator].kind == "level",
        on_demand(site, circuit),
        None
        if presence is None
        else Presence(
            presence.signal,
            presence.level,
            presence.otherwise,
            presence.hold,
            presence.stuck_after or max(STUCK_PRESENCE, STUCK_TIMES * presence.hold),
        ),
        has_steps=circuit.dimming is not None and bool(circuit.dimming.levels),
        rated=circuit.rated_power is not None
        or any(point.endswith(".active_power") for point in _measured(site, circuit.meter)),
    )


def on_demand(site: Site, circuit: config.CircuitConfig) -> OnDemand | None:
    """Translate the light of a circuit on request."""
    wanted = circuit.on_demand
    if wanted is None:
        return None
    return OnDemand(
        tuple(dict.fromkeys(wanted.triggers)),
        wanted.for_,
        wanted.level,
        wanted.at_most,
        wanted.only == "part_night_off",
        wanted.stuck_after or max(STUCK_AFTER, STUCK_TIMES * wanted.for_),
        _legal_hours(circuit),
        programme(site, circuit).min_on,
    )


def _legal_hours(circuit: config.CircuitConfig) -> LegalHours:
    """By the kind of the circuit; none where `legal_reference` exempts it."""
    if circuit.legal_reference is not None:
        return LegalHours()
    ends, more = circuit.activity_ends, config.AFTER_END.get(circuit.kind)
    until = config.LEGAL_OFF if circuit.kind in config.BY_ONE else None
    if ends is not None and more is not None:
        until = (ends + more) % 1440
    return LegalHours(circuit.kind in _NOT_BEFORE_SUNSET, until)


def _is_hid(circuit: config.CircuitConfig) -> bool:
    return circuit.lamp is not None and circuit.lamp.type == "hid"


def _dimmer(circuit: config.CircuitConfig) -> str | None:
    return circuit.dimming.actuator if circuit.dimming is not None else None


def _photocell(cell: config.PhotocellConfig | None) -> Photocell | None:
    return None if cell is None else Photocell(cell.signal, cell.on_below, cell.off_above, cell.delay, cell.window)


def _measured(site: Site, meter: str | None) -> list[str]:
    """The points of a meter."""
    device = site.devices.get(meter) if meter is not None else None
    points = (device.profile_data or {}).get("points", {}) if device is not None else {}
    return [f"{meter}.{point}" for point in points]


def programme(site: Site, circuit: config.CircuitConfig) -> Programme:
    """The hours of a circuit."""
    actuator = site.actuators[circuit.actuator]
    return Programme(
        calendar(site),
        site.site.latitude or 0.0,
        site.site.longitude or 0.0,
        _switch(circuit.switch_on),
        _switch(circuit.switch_off),
        cuts=_cuts(circuit.part_night_off),
        exceptions=tuple(map(_exceptional, circuit.exceptions)),
        levels=_levels(circuit.dimming),
        min_on=MIN_ON if actuator.min_on is None else actuator.min_on,
        start_delay=circuit.start_delay,
        season=None if circuit.season is None else (circuit.season.from_, circuit.season.to),
    )


def _exceptional(one: config.LightException | config.LightCalendar) -> Exceptional:
    on, off = (None if switch is None else _switch(switch) for switch in (one.switch_on, one.switch_off))
    cuts = _cuts(one.part_night_off)
    if isinstance(one, config.LightCalendar):
        return Exceptional(one.name or one.calendar, None, None, cuts, one.calendar, on, off)
    return Exceptional(one.name, one.from_, one.to, cuts, on=on, off=off)


def _switch(switch: config.SwitchConfig) -> Switch:
    return Switch(switch.event, switch.offset, switch.time)


def _cuts(cuts: Iterable[config.NightCut]) -> tuple[NightPart, ...]:
    return tuple(NightPart(cut.from_, cut.to, cut.days) for cut in cuts)


def _levels(dimming: config.Dimming | None) -> tuple[NightPart, ...]:
    return () if dimming is None else tuple(NightPart(one.from_, one.to, one.days, one.level) for one in dimming.levels)
