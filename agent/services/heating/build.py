"""Zones and hot water of the site file as their controls."""

from __future__ import annotations

from typing import Any

from agent.control.api import Control
from agent.control.calendar import winter
from agent.control.week import Span, Week
from agent.services.heating import config
from agent.services.heating.boiler import HeatCurve
from agent.services.heating.control import Setpoints, Zone
from agent.services.heating.exercise import Exercise, Exerciser
from agent.services.heating.hotwater import HotWater, ThermalCycle
from agent.services.heating.loops import Hysteresis, Law, Pid, Tpi, least_cycle
from agent.services.heating.room import OptimumStart, WindowOpen
from agent.site.build.weeks import by_day, calendar
from agent.site.models.site import Site

__all__ = ["controls", "heating_week"]

_DAY = 1440


def controls(site: Site, heating: config.Heating) -> list[Control[Any]]:
    """Every zone and store of hot water, and whatever else is exercised."""
    zones: list[Control[Any]] = [_zone(site, name, zone) for name, zone in heating.zones.items()]
    stores = (_hot_water(site, name, water) for name, water in heating.hot_water.items())
    pumps = {zone.plant.pump for zone in heating.zones.values()}
    others = ((name, _exercise(site, name)) for name in site.actuators if name not in pumps)
    return [*zones, *stores, *(Exerciser(name, spec) for name, spec in others if spec is not None)]


def _zone(site: Site, name: str, zone: config.ZoneConfig) -> Zone:
    burner, curve, plant = site.actuators[zone.plant.burner], zone.heat_curve, zone.plant
    start, window, points = zone.optimum_start, zone.window_open, zone.setpoints
    return Zone(
        name,
        zone.sensor,
        plant.burner,
        heating_week(site, zone),
        Setpoints(points.comfort, points.reduced, points.frost),
        _law(zone.control),
        zone.outdoor,
        None if curve is None else HeatCurve(curve.signal, tuple(curve.points), curve.max_flow, curve.heat_off_above),
        plant.pump,
        plant.pump_overrun,
        plant.pump_forced_below,
        _exercise(site, plant.pump),
        OptimumStart(start.initial, start.max) if start is not None and start.enabled else None,
        None if window is None else WindowOpen(window.drop, window.max),
        zone.on_sensor_loss.after,
        zone.on_sensor_loss.duty / 100,
        burner.min_on or 0.0,
        burner.min_off or 0.0,
        least_cycle(burner.min_on, burner.min_off, burner.max_starts_per_hour),
        zone.sensor_stuck.after,
        zone.comfort_missed.after,
        winter=winter(site.site.latitude),
    )


def heating_week(site: Site, zone: config.ZoneConfig) -> Week:
    """The modes of a zone: comfort, reduced or frost.

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
