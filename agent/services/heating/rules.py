"""Zones and hot water: limits in their order, weeks that the law allows, a plant that can follow."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from itertools import pairwise

from agent.services.heating.config import Heating, HotWaterConfig, WeekEntry, ZoneConfig
from agent.services.heating.loops import CYCLE, least_cycle
from agent.services.heating.plant_rules import check_plant, span_text
from agent.site.build.weeks import calendar
from agent.site.checks.names import Checked
from agent.site.language.document import Keys
from agent.site.language.values import DAYS, DURATION, number

__all__ = ["check"]

FOUND = 1800.0
"""Seconds: a cycle that is found out is this long in a light room. A boiler that needs more makes it swing more."""
ENDING = timedelta(days=60)
"""So long before its table of school holidays ends it is time for a newer version."""
COMFORT = 19
"""degC (code de l'énergie R.241-26)."""
_EMPTY = ((48, 8), (24, 16))
"""From so many hours without people, degC (code de l'énergie R.241-27)."""
_CYCLES = ((70, 120), (65, 240), (60, 3600))
"""degC, and how long once a day (arrêté du 30 novembre 2005, article 36)."""

Stretch = tuple[float, str, str]
"""Minutes, the setpoint's name, and the key of the week that has it."""


def check(at: Checked, heating: Heating) -> None:
    for name, zone in heating.zones.items():
        keys: Keys = ("heating", "zones", name)
        _check_parts(at, keys, zone)
        check_plant(at, keys, name, zone, heating)
        _check_curve(at, keys, zone)
        _check_setpoints(at, keys, zone)
        _check_week(at, keys, zone)
        _check_start(at, keys, zone)
        _check_programme(at, keys, zone)
        _check_control(at, keys, zone)
    for name, water in heating.hot_water.items():
        _check_hot_water(at, ("heating", "hot_water", name), name, water)


def _check_parts(at: Checked, keys: Keys, zone: ZoneConfig) -> None:
    refused = _has_new_plant(zone)
    at.measurement((*keys, "sensor"), zone.sensor, "degC", refused)
    if zone.outdoor is not None:
        at.measurement((*keys, "outdoor"), zone.outdoor, "degC", refused)
    if zone.plant.burner is not None:
        at.actuator((*keys, "plant", "burner"), zone.plant.burner, "the heating", zone.heat_curve is not None)
        if zone.heat_curve is not None:
            at.held_here((*keys, "plant", "burner"), zone.plant.burner)
    if zone.plant.pump is not None:
        at.actuator((*keys, "plant", "pump"), zone.plant.pump, "the heating", held_on=zone.outdoor is not None)
        if zone.plant.pump == zone.plant.burner:
            at.error((*keys, "plant", "pump"), f"{zone.plant.pump} is the burner already")
    holidays = zone.holidays
    known = calendar(at.site)
    given = known.given is not None and bool(known.given.public)
    for kind, need, there in (
        ("school", "school_zone", known.has_school),
        ("public", "public_holidays", known.public is not None or given),
    ):
        wanted = holidays is not None and getattr(holidays, kind) is not None
        if wanted and not there and not (at.wrong("site", need) or at.wrong("site", "holiday_tables")):
            at.error((*keys, "holidays", kind), f'{kind} holidays need "{need}" in site')
    ends = known.ends()
    if holidays is not None and holidays.school is not None and ends is not None and date.today() + ENDING > ends:
        at.warn(
            (*keys, "holidays", "school"),
            f"the table of school holidays ends on {ends}; from then on such days are ordinary "
            "ones, until a newer version brings the next",
        )


def _has_new_plant(zone: ZoneConfig) -> bool:
    """Whether its plant is of those that never took a contact for a temperature."""
    return zone.plant.burners is not None or zone.plant.flow_setpoint is not None


def _check_curve(at: Checked, keys: Keys, zone: ZoneConfig) -> None:
    curve = zone.heat_curve
    if curve is None:
        return
    at.measurement((*keys, "heat_curve", "signal"), curve.signal, "degC", _has_new_plant(zone))
    limit = f"max_flow {number(curve.max_flow)} degC"
    at.check_reached((*keys, "heat_curve", "max_flow"), curve.signal, limit, curve.max_flow)
    if zone.outdoor is None and not at.wrong(*keys, "outdoor"):
        at.error((*keys, "heat_curve"), 'a heat curve needs "outdoor": the outdoor temperature', at_key=True)
    for index, (one, next_one) in enumerate(pairwise(curve.points)):
        if one[0] >= next_one[0]:
            text = f"outdoors {number(next_one[0])} is not above {number(one[0])}; write the coldest point first"
            at.error((*keys, "heat_curve", "points", index + 1), text)
    for index, point in enumerate(curve.points):
        if point[1] > curve.max_flow:
            text = f"flow {number(point[1])} degC is above max_flow {number(curve.max_flow)} degC"
            at.error((*keys, "heat_curve", "points", index), text)


def _check_setpoints(at: Checked, keys: Keys, zone: ZoneConfig) -> None:
    points = zone.setpoints
    for low, high in (("frost", "reduced"), ("reduced", "comfort")):
        below, above = getattr(points, low), getattr(points, high)
        if below > above:
            key = low if at.written(*keys, "setpoints", low) else high
            at.error((*keys, "setpoints", key), f"{low} {number(below)} degC is above {high} {number(above)} degC")
    for mode in ("frost", "reduced", "comfort"):
        target = getattr(points, mode)
        text = f"{mode} {number(target)} degC"
        at.check_reached((*keys, "setpoints", mode), zone.sensor, text, target)
    if points.comfort > COMFORT:
        at.warn(
            (*keys, "setpoints", "comfort"),
            f"comfort {number(points.comfort)} degC is above {COMFORT} degC (code de l'énergie R.241-26)",
        )


def _check_week(at: Checked, keys: Keys, zone: ZoneConfig) -> None:
    week: dict[str, str] = {}
    for days, entries in zone.week.items():
        where = (*keys, "week", days)
        for day in days.split(",") if days != "default" else ():
            if day in week:
                at.error(where, f"{day} is in {week[day]} already", at_key=True)
            week.setdefault(day, days)
        for index, (one, next_one) in enumerate(pairwise(entries)):
            if next_one.start < one.end:
                at.error((*where, index + 1), _overlap(one, next_one))
    for run in () if at.has_wrong(*keys, "week") else _empty_runs(_stretches(zone, week)):
        _check_run(at, (*keys, "week"), zone, run)


def _overlap(one: WeekEntry, after: WeekEntry) -> str:
    """Say what is wrong with an entry that begins before the end of the `one` above it."""
    above, below = span_text((one.start, one.end)), span_text((after.start, after.end))
    if after.end <= one.start:
        return f"{below} is earlier than {above}; write {below} first"
    text = f"{below} begins before {above} has ended"
    if after.start < one.start or after.end <= one.end:
        return f"{text}; write parts that do not overlap"
    return f"{text}; write {span_text((one.end, after.end))}"


def _stretches(zone: ZoneConfig, week: dict[str, str]) -> list[Stretch]:
    """The week from Monday 00:00, in stretches. `default` is the mode outside all entries, or the spans of the days
    that are not named."""
    rest = zone.week.get("default", ())
    always = rest[0].mode if len(rest) == 1 and rest[0][:2] == (0, 1440) else None
    mode = always or "reduced"
    found: list[Stretch] = []
    for day in DAYS:
        now, days = 0, week.get(day, "default")
        for entry in () if always and days == "default" else zone.week.get(days, ()):
            found.append((entry.start - now, mode, "default"))
            found.append((entry.end - entry.start, entry.mode, days))
            now = entry.end
        found.append((1440 - now, mode, "default"))
    return [stretch for stretch in found if stretch[0] > 0]


def _empty_runs(stretches: list[Stretch]) -> list[list[Stretch]]:
    """The runs without comfort, around the end of the week; none where there never is comfort."""
    starts = [index for index, stretch in enumerate(stretches) if stretch[1] == "comfort"]
    runs = []
    for index, start in enumerate(starts):
        end = starts[(index + 1) % len(starts)]
        turned = stretches[start + 1 : end] if end > start else stretches[start + 1 :] + stretches[:end]
        if turned:
            runs.append(turned)
    return runs


def _check_run(at: Checked, keys: Keys, zone: ZoneConfig, run: list[Stretch]) -> None:
    hours = sum(minutes for minutes, _, _ in run) / 60
    lowest = min(getattr(zone.setpoints, mode) for _, mode, _ in run)
    if lowest > zone.setpoints.comfort:
        return  # which is said already
    for least, legal in _EMPTY:
        if hours >= least:
            if lowest > legal:
                longest: Counter[str] = Counter()
                for minutes, _, days in run:
                    longest[days] += round(minutes)
                at.warn(
                    (*keys, longest.most_common(1)[0][0]),
                    f"{number(round(hours, 1))} h without comfort never go below {number(lowest)} degC, "
                    f"the law wants {legal} degC from {least} h (code de l'énergie R.241-27)",
                )
            return


def _check_start(at: Checked, keys: Keys, zone: ZoneConfig) -> None:
    start, points = zone.optimum_start, zone.setpoints
    if start is None or not start.enabled:
        return
    comfort = min(points.comfort, COMFORT)  # what is above is warned of by itself
    needed = start.initial * 60 * (comfort - points.frost)
    if needed > start.max:
        at.warn(
            (*keys, "optimum_start", "max" if at.written(*keys, "optimum_start", "max") else "initial"),
            f"from frost {number(points.frost)} to comfort {number(comfort)} degC takes "
            f"{number(round(needed / 3600, 1))} h at {number(start.initial)} min/K, "
            f"optimum start begins at most {DURATION.format(start.max)} before",
        )


def _check_programme(at: Checked, keys: Keys, zone: ZoneConfig) -> None:
    """The calendar, the exceptions, and the end of comfort."""
    if zone.occupancy is not None:
        at.known((*keys, "occupancy", "calendar"), "calendar", zone.occupancy.calendar, at.names("calendars"))
    for index, one in enumerate(zone.exceptions):
        if one.from_ > one.to:
            text = f"{one.from_} is after {one.to}; write the first day first"
            at.error((*keys, "exceptions", index, "from"), text)
    stop, points = zone.optimum_stop, zone.setpoints
    if stop is not None and stop.enabled and points.comfort - stop.drop < points.reduced <= points.comfort:
        text = (
            f"{number(stop.drop)} K below comfort {number(points.comfort)} degC is below reduced "
            f"{number(points.reduced)} degC, at which nothing has to be held back"
        )
        at.warn((*keys, "optimum_stop", "drop"), text)


def _check_control(at: Checked, keys: Keys, zone: ZoneConfig) -> None:
    """A cycle that the burner cannot follow is lengthened: say to what. It is also that of the fixed duty."""
    plant = zone.plant
    for name in (plant.burner, *(plant.burners or ())):
        burner = at.site.actuators.get(name or "")
        if name is None or burner is None:
            continue
        least = least_cycle(burner.min_on, burner.min_off, burner.max_starts_per_hour)
        cycle = getattr(zone.control, "cycle", CYCLE)
        if least <= (FOUND if cycle is None else cycle):
            continue
        together = (burner.min_on or 0) + (burner.min_off or 0) >= least
        limits = f"{'min_on and min_off' if together else 'max_starts_per_hour'} of {name}"
        verb, line = "allow" if together else "allows", at.line("actuators", name)
        if cycle is None:
            text = f"{limits} {verb} no cycle under {DURATION.format(least)} (line {line}); it is lengthened to that"
        else:
            text = (
                f"cycle {DURATION.format(cycle)} is shorter than {limits} {verb} ({DURATION.format(least)}, "
                f"line {line}); it is lengthened to {DURATION.format(least)}"
            )
        written, key = at.written(*keys, "control", "cycle"), "burner" if plant.burner is not None else "burners"
        at.warn((*keys, "control", "cycle") if written else (*keys, "plant", key), text)
        return


def _check_hot_water(at: Checked, keys: Keys, name: str, water: HotWaterConfig) -> None:
    at.measurement((*keys, "sensor"), water.sensor, "degC")
    at.actuator((*keys, "actuator"), water.actuator, name)
    at.check_reached((*keys, "setpoint"), water.sensor, f"{number(water.setpoint)} degC", water.setpoint)
    if water.setpoint < 50:
        text = f"hot water at {number(water.setpoint)} degC is below 50 degC (arrêté du 30 novembre 2005)"
        at.warn((*keys, "setpoint"), text)
    cycle = water.thermal_cycle
    if cycle is not None:
        where, limit = (*keys, "thermal_cycle", "temperature"), f"{number(cycle.temperature)} degC"
        at.check_reached(where, water.sensor, limit, cycle.temperature)
    if cycle is not None and not any(cycle.temperature >= t and cycle.hold >= s for t, s in _CYCLES):
        at.warn(
            (*keys, "thermal_cycle"),
            f"{number(cycle.temperature)} degC for {DURATION.format(cycle.hold)} is too little; the law wants "
            "70 degC for 2min, 65 for 4min or 60 for 60min (arrêté du 30 novembre 2005)",
        )
