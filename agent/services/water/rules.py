"""Water points and tanks: what they measure with, what they move, and limits in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import inf

from agent.services.water.build import interval, level_in, overflow_flow
from agent.services.water.config import (
    CalendarHoursConfig,
    CheapPointConfig,
    DistrictConfig,
    LiftStationConfig,
    OverflowConfig,
    PumpConfig,
    TankConfig,
    Water,
    WaterPointConfig,
)
from agent.site.checks.conditions import check_wanted
from agent.site.checks.names import Checked, PointRef
from agent.site.language.document import Keys
from agent.site.language.units import canonical
from agent.site.language.values import DAYS, DURATION, Rate, Window, number
from agent.site.models.actuators import ActuatorConfig
from agent.site.models.calendars import IcsUrlConfig

__all__ = ["check"]

_DAY = 1440
_SECTIONS = ("points", "tanks", "lift_stations", "districts")


def check(at: Checked, water: Water) -> None:
    for name, point in water.points.items():
        keys: Keys = ("water", "points", name)
        _check_parts(at, keys, name, point)
        _check_drain(at, keys, point)
        _check_frost(at, keys, point)
        _check_night(at, keys, point)
        _check_burst(at, keys, point)
        _check_calendar(at, keys, name, point)
        _check_hours(at, keys, name, point)
    for name, tank in water.tanks.items():
        _check_tank(at, ("water", "tanks", name), name, tank)
    for name, station in water.lift_stations.items():
        _check_lift(at, ("water", "lift_stations", name), name, station)
    for name, district in water.districts.items():
        _check_district(at, ("water", "districts", name), water, district)


def _is_held_closed(point: WaterPointConfig) -> bool:
    """Whether frost, a drain or a burst that latches may hold the valve closed."""
    latches = point.on_burst == "close_and_latch" and point.leak is not None and point.leak.burst is not None
    return point.frost is not None or point.drain is not None or latches


def _check_parts(at: Checked, keys: Keys, name: str, point: WaterPointConfig) -> None:
    _check_meter(at, (*keys, "meter"), point.meter)
    for key in ("valve", "drain"):
        if getattr(point, key) is not None:
            held = key == "drain" or _is_held_closed(point)
            drains = key == "drain" and point.frost is not None
            at.actuator((*keys, key), getattr(point, key), name, held, held_on=drains)
            if held:
                at.held_here((*keys, key), getattr(point, key))
    if point.tamper is not None:
        at.contact((*keys, "tamper"), point.tamper)
    if point.valve is not None or at.wrong(*keys, "valve"):
        return
    for key in ("drain", "opening_hours", "frost", "flush"):
        if at.written(*keys, key):
            at.error((*keys, key), f'{key} needs a "valve" in {name}', at_key=True)


def _check_meter(at: Checked, keys: Keys, meter: str, refused: bool = False) -> None:
    found = at.value(keys, meter)
    signal = at.site.signals.get(found) if isinstance(found, str) else None
    if signal is not None and signal.kind != "counter" and not at.wrong("signals", meter, "kind"):
        at.error(keys, f"{meter} is no counter (line {at.line('signals', meter)}); a water meter is one")
    elif at.is_contact(found):
        tell = at.error if refused else at.warn
        how = f"write a signal: {{from: {meter}, kind: counter, unit: L, per_pulse: 10}}"
        if isinstance(found, PointRef):
            how = "take a point that counts, or a pin: a signal {from: gpio.17, kind: counter, unit: L, per_pulse: 10}"
        tell(keys, f"{meter} is on or off, and a water meter counts", how)
    unit = at.unit(found)
    if unit not in ("", "m3") and canonical(unit) != "L":
        at.error(keys, f"{meter} is in {unit}; a water meter is in L or m3")


def _check_drain(at: Checked, keys: Keys, point: WaterPointConfig) -> None:
    """Supply and drain are never both open: not after a stop or a crash either, and not without current."""
    found = (at.site.actuators.get(name) for name in (point.valve, point.drain) if name is not None)
    pair = [(name, one) for name, one in zip((point.valve, point.drain), found, strict=False) if one is not None]
    if len(pair) < 2:
        return
    for state, when in (("safe_state", "after a crash"), ("stop_state", "when the agent stops")):
        if all(_stands_open(one, getattr(one, state)) for _, one in pair):
            said = [f"{name} ({state} {getattr(one, state)}, {one.fail or 'normally_closed'})" for name, one in pair]
            at.warn((*keys, "drain"), f"supply and drain are both open {when}: {' and '.join(said)}")
            return
    if all(one.fail == "normally_open" for _, one in pair):
        both = " and ".join(str(name) for name, _ in pair)
        at.warn((*keys, "drain"), f"supply and drain are both open without current: {both} are normally_open")


def _stands_open(valve: ActuatorConfig, state: str | None) -> bool:
    """Whether a valve is open in a state of its coil; one that only holds or is computed may be closed."""
    return state in ("on", "off") and (state == "on") is not (valve.fail == "normally_open")


def _check_frost(at: Checked, keys: Keys, point: WaterPointConfig) -> None:
    frost = point.frost
    if frost is None:
        return
    at.measurement((*keys, "frost", "signal"), frost.signal, "degC")
    at.below((*keys, "frost"), frost, "close_below", "reopen_above")
    for key, side in (("close_below", "below"), ("reopen_above", "above")):
        limit = getattr(frost, key)
        at.check_reached((*keys, "frost", key), frost.signal, f"{key} {number(limit)} degC", limit, side)


def _check_calendar(at: Checked, keys: Keys, name: str, point: WaterPointConfig) -> None:
    """A calendar on a server may become unknown: what holds then should be decided, not found out in the field."""
    found, place = point.opening_hours, (*keys, "opening_hours", "calendar")
    if not isinstance(found, CalendarHoursConfig):
        if not found and at.written(*keys, "opening_hours") and not at.has_wrong(*keys, "opening_hours"):
            text = f"there are no hours here: {name} is always open"
            at.warn(place[:-1], text, "write {all: [\"07:00-21:00\"]}, or leave opening_hours out")
        return
    at.known(place, "calendar", found.calendar, at.names("calendars"))
    calendar = at.site.calendars.get(found.calendar)
    if calendar is None or not isinstance(calendar.ics, IcsUrlConfig):
        week = (*keys, "opening_hours", "week")
        if not found.week and at.written(*week) and not at.has_wrong(*week):
            text = f"there are no hours here: {name} is closed while {found.calendar} is not known"
            at.warn(week, text, "write {all: [\"07:00-21:00\"]}, or leave week out")
        return
    if not found.week and not at.has_wrong(*keys, "opening_hours", "week"):
        text = f"{name} is closed while {found.calendar} is not known, as when its server gave nothing for 30 days"
        at.warn(place, text, "give it hours for that time: week: {all: [\"07:00-21:00\"]}")


def _check_hours(at: Checked, keys: Keys, name: str, point: WaterPointConfig) -> None:
    """A coil that its valve's hours hold on for longer than max_on is switched off, with an alarm, every time."""
    valve = at.site.actuators.get(point.valve) if point.valve is not None else None
    if point.valve is None or valve is None or valve.max_on is None or at.has_wrong(*keys, "opening_hours"):
        return
    limit = f"{point.valve}.max_on {DURATION.format(valve.max_on)} (line {at.line('actuators', point.valve)})"
    place = (*keys, "opening_hours") if point.opening_hours else (*keys, "valve")
    if point.flush is not None and point.flush.run > valve.max_on and valve.fail != "normally_open":
        at.error((*keys, "flush", "run"), f"run is longer than {limit}")
    is_open = valve.fail != "normally_open"
    longest = 60.0 * max((_longest_stretch(one, is_open) for one in _weeks(at, point)), default=0.0)
    if longest <= valve.max_on:
        return
    state, then = ("open", "closes") if is_open else ("closed", "opens")
    spell = "always" if longest == inf else f"for {number(round(longest / 3600, 2))} h"
    at.warn(place, f"{name} is {state} {spell}, longer than {limit}: it {then} after that, with an alarm")


def _weeks(at: Checked, point: WaterPointConfig) -> Iterator[Mapping[str, Sequence[Window]]]:
    """The hours of a water point by day of the week, whichever hold; those of an iCalendar are not in the file."""
    found = point.opening_hours
    if not isinstance(found, CalendarHoursConfig):
        yield found
        return
    if found.week:
        yield found.week
    calendar = at.site.calendars.get(found.calendar)
    if calendar is not None and calendar.ics is None:
        early, times = round(calendar.before / 60), calendar.times or (Window(0, _DAY),)
        times = tuple(Window(start - early, end if end > start else end + _DAY) for start, end in times)
        yield {day: times if number in calendar.days else () for number, day in enumerate(DAYS)}


def _longest_stretch(hours: Mapping[str, Sequence[Window]], is_open: bool) -> float:
    """Minutes of the longest time for which a water point is open (or closed) by its hours, whatever day a public
    holiday is; infinite if it always is."""
    if not hours:
        return inf if is_open else 0.0
    named = {day: windows for key, windows in hours.items() for day in key.split(",")}
    week = [named.get(day, named.get("all", ())) for day in DAYS]
    weeks = [week * 3]
    if "public_holiday" in named:
        holiday = named["public_holiday"]
        weeks += [[*week, *week[:day], holiday, *week[day + 1 :], *week] for day in range(7)]
    return max(_stretch(days, is_open) for days in weeks)


def _stretch(days: Sequence[Sequence[Window]], is_open: bool) -> float:
    spans = sorted(
        (day * _DAY + one.start, day * _DAY + (one.end if one.end > one.start else one.end + _DAY))
        for day, windows in enumerate(days)
        for one in windows
    )
    whole, longest, begin, end = len(days) * _DAY, 0.0, 0, 0
    for start, stop in [*spans, (whole, whole)]:
        if start > end:
            longest = max(longest, end - begin if is_open else start - end)
            begin = start
        end = max(end, stop)
    longest = max(longest, min(end, whole) - begin if is_open else 0.0)
    return inf if longest >= whole - _DAY else longest


def _check_burst(at: Checked, keys: Keys, point: WaterPointConfig) -> None:
    """A burst that the meter cannot show can never be seen: pulses that are faster than max_rate are one."""
    burst = point.leak.burst if point.leak is not None else None
    signal = at.site.signals.get(point.meter)
    if burst is None or signal is None or not isinstance(signal.max_rate, Rate) or signal.max_rate.of != "L/h":
        return
    if burst.flow >= signal.max_rate.amount:
        line = at.line("signals", point.meter)
        limit = f"{number(burst.flow)} L/h is not below {point.meter}.max_rate {number(signal.max_rate.amount)} L/h"
        at.error((*keys, "leak", "burst"), f"{limit} (line {line}): such a flow is never counted")


def _check_night(at: Checked, keys: Keys, point: WaterPointConfig) -> None:
    """A limit below one pulse in the window can never be seen."""
    night = point.leak.night if point.leak is not None else None
    signal = at.site.signals.get(point.meter)
    if night is None or signal is None or signal.kind != "counter" or signal.unit not in ("L", "m3"):
        return
    pulse = (signal.per_pulse or 1) * (1000 if signal.unit == "m3" else 1)
    hours = ((night.window.end - night.window.start) % 1440 or 1440) / 60
    if night.max_flow * hours < pulse:
        at.error(
            (*keys, "leak", "night", "max_flow"),
            f"leak.night {number(night.max_flow)} L/h over {number(round(hours, 2))} h is "
            f"{number(round(night.max_flow * hours, 2))} L, below one pulse of {point.meter} "
            f"({number(pulse)} L, line {at.line('signals', point.meter)})",
        )


def _check_tank(at: Checked, keys: Keys, name: str, tank: TankConfig) -> None:
    found = at.measurement((*keys, "level"), tank.level, "%", refused=tank.pumps is not None)
    signal = at.site.signals.get(found) if isinstance(found, str) else None
    if signal is not None and signal.unit not in ("%", ""):
        line = at.line("signals", tank.level)
        at.error((*keys, "level"), f"{tank.level} is in {signal.unit} (line {line}); the level of a tank is in %")
    _check_pumps(at, keys, name, tank)
    if tank.dry_run is not None:
        at.value((*keys, "dry_run", "flow"), tank.dry_run.flow)  # a switch that is on while water flows will do
    if tank.outlet is not None:
        at.value((*keys, "outlet"), tank.outlet)
    _check_order(at, {key: ((*keys, key), getattr(tank, key)) for key in ("low", "start", "stop", "high")})
    _check_tariff(at, keys, tank)
    _check_both(at, keys, tank)
    _check_reached(at, keys, tank)


Level = tuple[Keys, float]
"""A limit of the level: its place and its value."""


def _check_order(at: Checked, limits: Mapping[str, Level]) -> None:
    """FillLevels of a level, the lowest first."""
    for (low, (below_at, below)), (high, (above_at, above)) in pairwise(limits.items()):
        if below >= above and not (at.wrong(*below_at) or at.wrong(*above_at)):
            place = below_at if at.written(*below_at) else above_at
            at.error(place, f"{low} {number(below)} % is not below {high} {number(above)} %")


def _check_reached(at: Checked, keys: Keys, tank: TankConfig) -> None:
    """A level at which pumps start or stop is one that the sensor can show: else it overflows, or runs empty."""
    other = None if tank.tariff is None else tank.tariff.otherwise
    rest: tuple[Keys, object] = (keys, tank) if other is None else ((*keys, "tariff", "otherwise"), other)
    for place, part in (((*keys, "tariff"), tank.tariff), rest):
        for key in ("start", "stop"):
            limit = getattr(part, key, None)
            if limit is not None and not at.wrong(*place):
                then = f"the pump would never {key}"
                at.check_reached((*place, key), tank.level, f"{key} {number(limit)} %", limit, then=then)
    for key in ("low", "high", "both_below"):
        limit = getattr(tank, key)
        if limit is not None:
            at.check_reached((*keys, key), tank.level, f"{key} {number(limit)} %", limit)


def _check_tariff(at: Checked, keys: Keys, tank: TankConfig) -> None:
    """Whatever the price, it is filled above `low` and below `high`."""
    tariff = tank.tariff
    if tariff is None:
        return
    place: Keys = (*keys, "tariff")
    cheap = tariff.cheap
    if isinstance(cheap, CheapPointConfig):
        check_wanted(at, (*place, "cheap"), cheap.point, cheap.is_)
    ends = {"low": ((*keys, "low"), tank.low), "high": ((*keys, "high"), tank.high)}
    for name, part, within in (("tariff", tariff, place), ("otherwise", tariff.otherwise, (*place, "otherwise"))):
        if part is not None and not at.wrong(*within):
            inner = {f"{name}.{key}": ((*within, key), getattr(part, key)) for key in ("start", "stop")}
            _check_order(at, {"low": ends["low"], **inner, "high": ends["high"]})
    other = tariff.otherwise
    if other is not None and other.stop > tariff.stop:
        line = at.line(*place, "stop")
        text = f"otherwise.stop {number(other.stop)} % is above stop {number(tariff.stop)} % (line {line})"
        at.warn((*place, "otherwise", "stop"), f"{text}: more is pumped while the current is dear")


def _check_both(at: Checked, keys: Keys, tank: TankConfig) -> None:
    """All pumps run from `both_below` up to `start`, whatever the tariff."""
    if tank.both_below is None:
        return
    starts = {"start": tank.start}
    if tank.tariff is not None:
        other = tank.tariff.otherwise
        starts = {"tariff.start": tank.tariff.start} | (starts if other is None else {"otherwise.start": other.start})
    for name, start in starts.items():
        if tank.both_below >= start:
            text = f"both_below {number(tank.both_below)} % is not below {name} {number(start)} %"
            at.error((*keys, "both_below"), text)


def _check_pumps(at: Checked, keys: Keys, name: str, tank: TankConfig) -> None:
    if tank.pumps is None:
        _check_pump(at, keys, name, tank)
        return
    if tank.pump is not None:
        line = at.line(*keys, "pumps")
        at.error((*keys, "pump"), f'"pumps" (line {line}) says already which pumps {name} has; write one of the two')
    if len(tank.pumps) == 1:
        for key in ("alternate", "both_below"):
            if at.written(*keys, key):
                at.error((*keys, key), f'"{key}" is for several pumps, and {name} has one', at_key=True)
    _check_entries(at, keys, name, tank.pumps)


def _check_entries(at: Checked, keys: Keys, name: str, pumps: Sequence[PumpConfig]) -> None:
    """Pumps that take turns, each with points and alarms under its own name."""
    named = _named(at)
    for index, pump in enumerate(pumps):
        place: Keys = (*keys, "pumps", index)
        where = (*place, "actuator") if at.written(*place, "actuator") else place
        at.actuator(where, pump.actuator, name, held_off=True)
        if pump.actuator in named:
            line = at.line(*named[pump.actuator])
            text = f"{pump.actuator} is also the name of a {named[pump.actuator][1].removesuffix('s')} (line {line})"
            at.error(where, f"{text}: both would have the same points and alarms", "give one another name")
        for key in ("thermal", "maintenance"):
            contact = getattr(pump, key)
            if contact is not None:
                at.contact((*place, key), contact)
                _check_own(at, (*place, key), contact, pumps, "each run would stop a pump")
        if pump.dry_run is not None:
            at.value((*place, "dry_run", "flow"), pump.dry_run.flow)


def _named(at: Checked) -> dict[str, tuple[str, str, str]]:
    """The names under which services have points and alarms of their own, and where each stands."""
    sections = (("lighting", "circuits"), ("heating", "zones"), *(("water", name) for name in _SECTIONS))
    found: dict[str, tuple[str, str, str]] = {}
    for section in sections:
        entries = at.document.value(section)
        found |= {name: (*section, name) for name in entries} if isinstance(entries, dict) else {}
    return found


def _check_pump(at: Checked, keys: Keys, name: str, tank: TankConfig) -> None:
    """One pump as it always was."""
    if tank.pump is not None:
        at.actuator((*keys, "pump"), tank.pump, name, held_off=True)
    elif not (at.wrong(*keys, "pump") or at.has_wrong(*keys, "pumps")):
        at.error(keys, f'"pump" is missing in {name}')
    for key in ("alternate", "standby_after", "both_below"):
        if at.written(*keys, key) and not at.has_wrong(*keys, "pumps"):
            at.error((*keys, key), f'"{key}" is for several pumps; write "pumps: [p1, p2]" in {name}', at_key=True)


def _check_lift(at: Checked, keys: Keys, name: str, station: LiftStationConfig) -> None:
    _check_entries(at, keys, name, station.pumps)
    if len(station.pumps) == 1 and at.written(*keys, "alternate"):
        at.error((*keys, "alternate"), f'"alternate" is for several pumps, and {name} has one', at_key=True)
    for pump in station.pumps:
        _check_longest_run(at, keys, station, pump)
    if station.high_float is not None:
        at.contact((*keys, "high_float"), station.high_float)
        _check_own(at, (*keys, "high_float"), station.high_float, station.pumps, "each run would ask for all pumps")
    if station.level is not None:
        _check_well(at, keys, name, station, station.level)
    elif station.high_float is not None:
        for key in ("start", "stop", "high"):
            if at.written(*keys, key):
                at.error((*keys, key), f'"{key}" needs a "level" in {name}', at_key=True)
    elif not (at.wrong(*keys, "level") or at.wrong(*keys, "high_float")):
        at.error(keys, f'{name} has neither "level" nor "high_float": nothing says when to pump')
    timed = station.level_lost
    if timed is not None and timed.run >= timed.every:
        text = f"run {DURATION.format(timed.run)} is not below every {DURATION.format(timed.every)}"
        at.error((*keys, "level_lost", "run"), text)
    if station.overflow is not None:
        _check_overflow(at, (*keys, "overflow"), station.overflow)
        _check_weir(at, keys, station, station.overflow.signal)


def _check_own(at: Checked, keys: Keys, contact: str, pumps: Sequence[PumpConfig], then: str) -> None:
    """A contact of a station is not what it moves itself."""
    actuator = at.shown(contact, [pump.actuator for pump in pumps])
    if actuator is not None:
        at.error(keys, f"{contact} shows the output of {actuator}: {then}; name the contact that is meant")


def _check_weir(at: Checked, keys: Keys, station: LiftStationConfig, contact: str) -> None:
    where = (*keys, "overflow", "signal")
    _check_own(at, where, contact, station.pumps, "each run would be told as an overflow")
    if station.high_float is not None and at.source(station.high_float) == at.source(contact):
        line = at.line(*keys, "high_float")
        at.warn(where, f"{contact} is also high_float (line {line}): each high level would be told as an overflow")


def _check_longest_run(at: Checked, keys: Keys, station: LiftStationConfig, pump: PumpConfig) -> None:
    actuator = at.site.actuators.get(pump.actuator)
    limit = None if actuator is None else actuator.max_on
    if limit is None or station.max_run is None or limit > station.max_run:
        return
    line = at.line("actuators", pump.actuator)
    at.warn(
        (*keys, "max_run"),
        f"{pump.actuator}.max_on {DURATION.format(limit)} (line {line}) ends each run before max_run "
        f"{DURATION.format(station.max_run)}, and the pump stays off",
    )


def _check_well(at: Checked, keys: Keys, name: str, station: LiftStationConfig, level: str) -> None:
    measured = at.measurement((*keys, "level"), level, refused=True)
    if at.is_contact(measured):
        return
    unit = canonical(at.unit(measured))
    signal = at.site.signals.get(level)
    if signal is not None and signal.signal is not None and not signal.unit:
        unit = ""  # that of its source is a current's
    limits: dict[str, float] = {}
    for key in ("stop", "start", "high"):
        limit = getattr(station, key)
        if limit is None:
            if key != "high" and not at.wrong(*keys, key):
                at.error(keys, f'"{key}" is missing in {name}: it has a "level"')
            continue
        found = level_in(limit, unit)
        if found is None:
            own = f"is in {unit}" if unit else "has no unit"
            at.error((*keys, key), f"{key} is in {limit.unit}, and {level} {own}; write a number in its own unit")
        else:
            limits[key] = found
    _check_shown(at, keys, station, level, limits)
    for low, high in pairwise(key for key in ("stop", "start", "high") if key in limits):
        if limits[low] >= limits[high]:
            text = f"{low} {getattr(station, low)} is not below {high} {getattr(station, high)}"
            at.error((*keys, low), f"{text}: it pumps down from start to stop")
    if station.high is None and station.high_float is None and not at.has_wrong(*keys):
        at.warn(keys, f'{name} has neither "high" nor "high_float": a level that is too high is never told')


def _check_shown(at: Checked, keys: Keys, station: LiftStationConfig, level: str, limits: Mapping[str, float]) -> None:
    """A level at which pumps start or stop is one that the sensor shows, even if it is a little off."""
    scale = at.good_range(level)
    if scale is None:
        return
    for key, limit in limits.items():
        said = f"{key} {getattr(station, key)}"
        if not scale[0] <= limit <= scale[1]:
            at.error((*keys, key), f"{said} is never reached: {at.shows(level)}")
        elif limit == (scale[0] if key == "stop" else scale[1]):
            at.warn((*keys, key), f"{said} is reached at the end of the range alone: {at.shows(level)}")


def _check_overflow(at: Checked, keys: Keys, overflow: OverflowConfig) -> None:
    at.contact((*keys, "signal"), overflow.signal)
    if overflow.flow is None:
        return
    found = at.measurement((*keys, "flow"), overflow.flow, refused=True)
    if found is None or at.is_contact(found) or at.wrong(*keys, "flow"):
        return
    if overflow_flow(at.site, overflow.flow) is None:
        unit = at.unit(found)
        has = f"is in {unit}" if unit else "has no unit"
        text = f"{overflow.flow} {has}; the flow of an overflow is in m3/h or L/s, or it counts m3 or L"
        at.error((*keys, "flow"), text)


def _check_district(at: Checked, keys: Keys, water: Water, district: DistrictConfig) -> None:
    seen: dict[str, Keys] = {}
    for key, meters in (("in", district.in_), ("out", district.out)):
        for index, meter in enumerate(meters):
            where = (*keys, key, index)
            _check_meter(at, where, meter, refused=True)
            if meter in seen:
                at.error(where, f"{meter} is already among the meters of this district (line {at.line(*seen[meter])})")
            seen.setdefault(meter, where)
    if not district.in_ and not at.wrong(*keys, "in"):
        at.error((*keys, "in"), "a district without a meter of what comes in has no balance; write in: [meter]")
    _check_storage(at, keys, water, district.storage)
    start, end = district.night
    length = 60.0 * ((end - start) % _DAY or _DAY)
    for meter in seen if not at.wrong(*keys, "night") else ():
        every = interval(at.site, meter)
        if every > length:
            text = f"{meter} is read every {DURATION.format(every)}, and the night has {DURATION.format(length)}"
            at.warn((*keys, "night"), f"{text}: its flow is never known", "write a longer night")


def _check_storage(at: Checked, keys: Keys, water: Water, storage: str | None) -> None:
    if storage is None or not at.known((*keys, "storage"), "tank", storage, at.names("water", "tanks")):
        return
    tank = water.tanks.get(storage)
    if tank is not None and tank.capacity is None and not at.wrong("water", "tanks", storage, "capacity"):
        line = at.line("water", "tanks", storage)
        at.error((*keys, "storage"), f"{storage} has no capacity (line {line}); write capacity: 120 m3 there")
