"""Zones and hot water of the site file as their controls."""

from __future__ import annotations

from typing import Any

from agent.control.api import Control
from agent.control.calendar import winter
from agent.control.week import Span, Week
from agent.services.heating import config
from agent.services.heating.boiler import HeatCurve
from agent.services.heating.cascade import Cascade
from agent.services.heating.control import Setpoints, Zone
from agent.services.heating.exercise import Exercise, Exerciser
from agent.services.heating.hotwater import ABOVE, HotWater, ThermalCycle
from agent.services.heating.loops import Hysteresis, Law, Pid, Tpi, least_cycle
from agent.services.heating.modulating import Charging, Modulating
from agent.services.heating.plants import CascadeZone, ModulatingZone
from agent.services.heating.programme import ModeException, Occupancy, ZoneProgramme
from agent.services.heating.room import OptimumStart, OptimumStop, WindowOpen
from agent.services.heating.sg_ready import SgReady
from agent.site.build.counters import profile_point
from agent.site.build.defaults import WrittenPoint
from agent.site.build.weeks import by_day, calendar
from agent.site.models.site import Site

__all__ = ["controls", "flow_bounds", "programme", "setpoints", "written_points"]

_DAY = 1440
_MARGIN = 3.0
"""K: the highest target is this much below max_flow by default, which is where its alarm clears."""
_CHARGING = 5.0
"""K: a store is heated with a flow that is this much warmer than the store becomes."""


def controls(site: Site, heating: config.Heating) -> list[Control[Any]]:
    """Every zone and store of hot water, and whatever else is exercised."""
    zones: list[Control[Any]] = [_zone(site, heating, name, zone) for name, zone in heating.zones.items()]
    stores = (_hot_water(site, name, water) for name, water in heating.hot_water.items())
    pumps = {zone.plant.pump for zone in heating.zones.values()}
    others = ((name, _exercise(site, name)) for name in site.actuators if name not in pumps)
    return [*zones, *stores, *(Exerciser(name, spec) for name, spec in others if spec is not None)]


def written_points(site: Site, heating: config.Heating) -> list[WrittenPoint]:
    """The flow setpoints that zones write as they stand. Zones may share one."""
    zones: dict[str, list[config.ZoneConfig]] = {}
    for zone in heating.zones.values():
        point = zone.plant.flow_setpoint
        if point is not None and _actuator_of(site, point) == point and point not in site.actuators:
            zones.setdefault(point, []).append(zone)
    return [_written_point(site, point, found) for point, found in zones.items()]


def _written_point(site: Site, point: str, zones: list[config.ZoneConfig]) -> WrittenPoint:
    bounds = [flow_bounds(site, zone) for zone in zones]
    refresh = [zone.plant.refresh for zone in zones if zone.plant.refresh is not None]
    low, high = min(low for low, _ in bounds), max(high for _, high in bounds)
    return WrittenPoint(point, low, high, min(refresh, default=None))


def _actuator_of(site: Site, name: str) -> str:
    """The name by which the arbiter knows an output: that of its actuator, if it has one."""
    return next((actuator for actuator, one in site.actuators.items() if one.output == name), name)


def flow_bounds(site: Site, zone: config.ZoneConfig) -> tuple[float, float]:
    """The lowest and the highest target of a zone's flow: within what the point takes."""
    plant, name = zone.plant, zone.plant.flow_setpoint or ""
    actuator = site.actuators.get(name)
    point = profile_point(site, name if actuator is None else actuator.output)
    most = zone.heat_curve.max_flow - _MARGIN if zone.heat_curve is not None else 0.0
    low, high = plant.low, most if plant.high is None else plant.high
    return max(low, point.get("low") or low), min(high, point.get("high") or high)


def _zone(site: Site, heating: config.Heating, name: str, zone: config.ZoneConfig) -> Zone:
    plant = zone.plant
    names = [one for one in (plant.burner, *(plant.burners or ())) if one is not None]
    burners = [site.actuators[one] for one in names]
    limits = [(one.min_on, one.min_off, one.max_starts_per_hour) for one in burners]
    curve, start, stop, window = zone.heat_curve, zone.optimum_start, zone.optimum_stop, zone.window_open
    common: dict[str, Any] = {
        "name": name,
        "sensor": zone.sensor,
        "burner": plant.burner or "",
        "week": heating_week(site, zone),
        "setpoints": setpoints(zone),
        "law": _law(zone.control),
        "outdoor": zone.outdoor,
        "curve": None
        if curve is None
        else HeatCurve(curve.signal, tuple(curve.points), curve.max_flow, curve.heat_off_above),
        "pump": plant.pump,
        "pump_overrun": plant.pump_overrun,
        "pump_forced_below": plant.pump_forced_below,
        "exercise": _exercise(site, plant.pump),
        "optimum_start": OptimumStart(start.initial, start.max) if start is not None and start.enabled else None,
        "window_open": None if window is None else WindowOpen(window.drop, window.max),
        "loss_after": zone.on_sensor_loss.after,
        "loss_duty": zone.on_sensor_loss.duty / 100,
        "min_on": max([on or 0.0 for on, _, _ in limits], default=0.0),
        "min_off": max([off or 0.0 for _, off, _ in limits], default=0.0),
        "least_cycle": max([least_cycle(*one) for one in limits], default=0.0),
        "stuck_after": zone.sensor_stuck.after,
        "missed_after": zone.comfort_missed.after,
        "winter": winter(site.site.latitude),
        "sg": _sg_ready(plant),
        "occupancy": _occupancy(zone),
        "exceptions": _exceptions(zone),
        "optimum_stop": OptimumStop(stop.max, stop.drop) if stop is not None and stop.enabled else None,
    }
    if plant.burners is not None:
        rotation = {"week": "next", "hours": "hours", "none": None}[plant.rotation]
        return CascadeZone(**common, cascade=Cascade(tuple(plant.burners), plant.lag_after, rotation))
    if plant.burner is None:
        return ModulatingZone(**common, modulating=_modulating(site, heating, zone))
    return Zone(**common)


def _modulating(site: Site, heating: config.Heating, zone: config.ZoneConfig) -> Modulating | None:
    plant = zone.plant
    if plant.flow_setpoint is None:
        return None
    low, high = flow_bounds(site, zone)
    return Modulating(
        _actuator_of(site, plant.flow_setpoint),
        low,
        high,
        plant.room_influence,
        plant.room_shift,
        plant.deadband,
        plant.min_interval,
        plant.enable,
        _charging(heating, plant, high),
        plant.flow_missed.after,
    )


def _charging(heating: config.Heating, plant: config.PlantConfig, high: float) -> Charging | None:
    if plant.hot_water is None:
        return None
    store = heating.hot_water[plant.hot_water.store]
    cycle = store.thermal_cycle
    warmest = max(store.setpoint + ABOVE, cycle.temperature if cycle is not None else 0.0)
    flow = warmest + _CHARGING if plant.hot_water.flow is None else plant.hot_water.flow
    return Charging(store.actuator, min(flow, high))


def _sg_ready(plant: config.PlantConfig) -> SgReady | None:
    if plant.sg_ready is None:
        return None
    one, other = plant.sg_ready
    hours = plant.sg_hours or config.SgHoursConfig()
    return SgReady((one, other), tuple(hours.lock), tuple(hours.recommend), tuple(hours.force))


def programme(site: Site, zone: config.ZoneConfig) -> ZoneProgramme:
    """The modes of a zone by the calendar."""
    return ZoneProgramme(heating_week(site, zone), _occupancy(zone), _exceptions(zone))


def setpoints(zone: config.ZoneConfig) -> Setpoints:
    """The setpoint of each mode."""
    return Setpoints(zone.setpoints.comfort, zone.setpoints.reduced, zone.setpoints.frost)


def _occupancy(zone: config.ZoneConfig) -> Occupancy | None:
    found = zone.occupancy
    return None if found is None else Occupancy(found.calendar, found.mode)


def _exceptions(zone: config.ZoneConfig) -> tuple[ModeException, ...]:
    return tuple(ModeException(one.name, one.from_, one.to, one.mode) for one in zone.exceptions)


def heating_week(site: Site, zone: config.ZoneConfig) -> Week:
    """The modes of a zone in a week: comfort, reduced or frost.

    `default` is the mode outside the spans (reduced), or the spans of the days that are not named.
    """
    rest = tuple(Span(*entry) for entry in zone.week.get("default", ()))
    always = rest[0].mode if len(rest) == 1 and rest[0][:2] == (0, _DAY) else None
    spans = {key: tuple(Span(*entry) for entry in entries) for key, entries in zone.week.items() if key != "default"}
    public = zone.holidays.public if zone.holidays is not None else None
    school = zone.holidays.school if zone.holidays is not None else None
    return Week(
        calendar(site),
        always or "reduced",
        by_day(spans, () if always else rest),
        public=None if public is None else (Span(0, _DAY, public),),
        school=None if school is None else (Span(0, _DAY, school),),
    )


def _law(control: config.TpiConfig | config.HysteresisConfig | config.PidConfig) -> Law:
    if isinstance(control, config.TpiConfig):
        return Tpi(control.cycle, control.coef_int, control.coef_ext)
    if isinstance(control, config.PidConfig):
        return Pid(control.kp, control.ki, control.kd, control.cycle)
    return Hysteresis(control.band)


def _exercise(site: Site, pump: str | None) -> Exercise | None:
    wanted = None if pump is None else site.actuators[pump].exercise
    if wanted is None:
        return None
    at = wanted.at
    day, minute = (None, None) if at is None else (at.day, at.minute)
    return Exercise(wanted.every, wanted.run, calendar(site), minute, day)


def _hot_water(site: Site, name: str, water: config.HotWaterConfig) -> HotWater:
    cycle = water.thermal_cycle
    spec = None if cycle is None else ThermalCycle(cycle.at, cycle.temperature, cycle.hold, calendar(site))
    return HotWater(name, water.sensor, water.actuator, water.setpoint, spec, water.sensor_stuck.after)
