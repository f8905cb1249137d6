"""Circuits: their contactor, their meter, the sun, and the hours that the law gives."""

from __future__ import annotations

from agent.services.lighting.config import (
    CircuitConfig,
    DimStep,
    LightCalendar,
    LightException,
    Lighting,
    NightCut,
    SwitchConfig,
)
from agent.services.lighting.light_law import check_law, clock
from agent.services.lighting.request_rules import check_on_request
from agent.site.checks.names import Checked
from agent.site.language.document import Keys
from agent.site.language.units import canonical, factor
from agent.site.language.values import DURATION, number

__all__ = ["check"]

_NOON = 720


def check(at: Checked, lighting: Lighting) -> None:
    switch = lighting.local_switch
    if switch is not None:
        for key in ("manual_on", "manual_off"):
            reference = getattr(switch, key)
            if reference is not None:
                at.contact(("lighting", "local_switch", key), reference)
    for name, circuit in lighting.circuits.items():
        keys: Keys = ("lighting", "circuits", name)
        at.actuator((*keys, "actuator"), circuit.actuator, name)
        if circuit.meter is not None:
            at.known((*keys, "meter"), "device", circuit.meter, at.names("devices"))
            _check_shared_meter(at, keys, lighting, name)
            _check_power(at, keys, circuit.meter)
        _check_restrike(at, keys, name, circuit)
        for key in ("switch_on", "switch_off"):
            _check_switch(at, (*keys, key), name, getattr(circuit, key))
        _check_photocell(at, keys, circuit)
        _check_nights(at, keys, circuit)
        check_law(at, keys, name, circuit)
        check_on_request(at, keys, name, circuit)
        if circuit.dimming is not None:
            at.actuator((*keys, "dimming", "actuator"), circuit.dimming.actuator, name)


def _check_power(at: Checked, keys: Keys, meter: str) -> None:
    """Lamps are judged in watts."""
    unit = at.profile_unit(meter, "active_power") or "W"
    if canonical(unit) != "W":
        wanted = factor(canonical(unit), "W")
        how = "write the profile in W" + (f": its scale times {number(wanted)}" if wanted is not None else "")
        at.error((*keys, "meter"), f"{meter}.active_power is in {unit}; {how}")


def _check_shared_meter(at: Checked, keys: Keys, lighting: Lighting, name: str) -> None:
    """Said once a meter, at the second circuit."""
    meter = lighting.circuits[name].meter
    names = [key for key, one in lighting.circuits.items() if one.meter == meter]
    if len(names) > 1 and names[1] == name:
        who = f"{', '.join(names[:-1])} and {names[-1]}"
        text = (
            f"{meter} measures {who} together (line {at.line('lighting', 'circuits', names[0], 'meter')}): single lamps"
        )
        at.warn((*keys, "meter"), f"{text} are judged only while one of them burns alone; give each a meter of its own")


def _check_restrike(at: Checked, keys: Keys, name: str, circuit: CircuitConfig) -> None:
    actuator = at.site.actuators.get(circuit.actuator)
    restrike = circuit.lamp.restrike if circuit.lamp is not None else None
    if actuator is None or restrike is None or actuator.min_off is None or actuator.min_off >= restrike:
        return
    where: Keys = ("actuators", circuit.actuator, "min_off")
    least = f"{circuit.actuator}.min_off {DURATION.format(actuator.min_off)}"
    line = at.line(*keys, "lamp", "restrike")
    at.warn(where, f"{least} is shorter than {name} lamp.restrike {DURATION.format(restrike)} (line {line})")


def _check_switch(at: Checked, keys: Keys, name: str, switch: SwitchConfig) -> None:
    if (switch.event is None) == (switch.time is None) and not (at.wrong(*keys, "event") or at.wrong(*keys, "time")):
        at.error(keys, "write one of event and time")
    if switch.time is not None and at.written(*keys, "offset"):
        at.error((*keys, "offset"), "an offset goes with an event; write the time itself", at_key=True)
    if switch.event is None:
        return
    lost = [f'"{key}"' for key in ("latitude", "longitude") if getattr(at.site.site, key) is None]
    said = any(" missing in site; " in found.message for found in at.document.problems)
    if lost and not said and not (at.wrong("site", "latitude") or at.wrong("site", "longitude")):
        are = "is" if len(lost) == 1 else "are"
        at.error(("site",), f"{' and '.join(lost)} {are} missing in site; {name} follows the sun")


def _check_photocell(at: Checked, keys: Keys, circuit: CircuitConfig) -> None:
    cell = circuit.photocell
    if cell is None:
        return
    at.measurement((*keys, "photocell", "signal"), cell.signal, "lx")
    at.below((*keys, "photocell"), cell, "on_below", "off_above")
    for key, side in (("on_below", "below"), ("off_above", "above")):
        limit = getattr(cell, key)
        at.check_reached((*keys, "photocell", key), cell.signal, f"{key} {number(limit)} lx", limit, side)


def _check_nights(at: Checked, keys: Keys, circuit: CircuitConfig) -> None:
    _check_cuts(at, (*keys, "part_night_off"), circuit.part_night_off)
    if circuit.dimming is not None:
        _check_cuts(at, (*keys, "dimming", "levels"), circuit.dimming.levels)
    for index, exception in enumerate(circuit.exceptions):
        where = (*keys, "exceptions", index)
        _check_exception(at, where, exception)
        _check_cuts(at, (*where, "part_night_off"), exception.part_night_off)


def _check_exception(at: Checked, keys: Keys, exception: LightException | LightCalendar) -> None:
    """Its nights, by date or by a calendar, and its hours."""
    if isinstance(exception, LightCalendar):
        at.known((*keys, "calendar"), "calendar", exception.calendar, at.names("calendars"))
    elif exception.from_ > exception.to:
        at.error((*keys, "from"), f"{exception.from_} is after {exception.to}; write the first night first")
    for key in ("switch_on", "switch_off"):
        switch = getattr(exception, key)
        if switch is not None:
            _check_switch(at, (*keys, key), exception.name or "the exception", switch)


def _check_cuts(at: Checked, keys: Keys, cuts: tuple[NightCut | DimStep, ...]) -> None:
    for index, cut in enumerate(cuts):
        if cut.from_ == cut.to:
            at.error((*keys, index, "to"), "ends when it begins")
        elif (cut.from_ - _NOON) % 1440 > (cut.to - _NOON) % 1440:
            text = f"ends at {clock(cut.to)}, before it begins at {clock(cut.from_)}; a night goes from noon to noon"
            at.error((*keys, index, "to"), text)
        for place, day in enumerate(cut.days):
            unknown = at.site.site.public_holidays is None and not at.wrong("site", "public_holidays")
            if "public_holiday" in day and unknown:
                at.error((*keys, index, "days", place), f'{day} needs "public_holidays" in site, such as FR')
