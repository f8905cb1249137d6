"""Water points and tanks of the site file as their controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.control.api import Control
from agent.control.calendar import winter
from agent.control.week import Span, Week
from agent.model import Severity
from agent.services.water import config
from agent.services.water.control import Flush, Quota, WaterPoint
from agent.services.water.cuts import DistrictMeter, Storage
from agent.services.water.districts import District, NightAlarm
from agent.services.water.frost import Frost
from agent.services.water.hours import OPEN, OpeningHours
from agent.services.water.leaks import Leak, NightFlow
from agent.services.water.level_lost import FILL, LevelLost
from agent.services.water.lift import LiftStation
from agent.services.water.meter import HOUR, PLAUSIBLE
from agent.services.water.overflow import Overflow, OverflowFlow
from agent.services.water.pump import DryRun, PumpSpec
from agent.services.water.rotation import APART, Rotation
from agent.services.water.tank_level import Standstill
from agent.services.water.tanks import Group, Outlet, Tank
from agent.services.water.tariff import CHEAP, OTHERWISE, FillLevels, Tariff, TariffPoint
from agent.services.water.valve import Valve
from agent.services.water.well import ByTime, Well
from agent.site.build.counters import max_rate, point_dial
from agent.site.build.defaults import ActuatorDefaults
from agent.site.build.units import unit_of
from agent.site.build.weeks import by_day, calendar
from agent.site.language.units import canonical, factor
from agent.site.language.values import DAYS, Window
from agent.site.models.site import Site

__all__ = ["actuator_defaults", "controls", "interval", "level_in", "opening_hours", "overflow_flow", "tariff"]

_DAY = 1440
_CLOSED = "closed"
_LITRES = {"L": 1.0, "m3": 1000.0}
STALE_INTERVALS, HOURLY = 3, 3 * 3600.0
"""A node whose `stale_after` is three hours or more sends each third of it."""
_LEAST = 0.01
"""Part of a flow sensor's range below which it is noise and no flow."""


def controls(site: Site, water: config.Water) -> list[Control[Any]]:
    """Every water point, tank, lift station and district."""
    points: list[Control[Any]] = [_point(site, name, point) for name, point in water.points.items()]
    tanks = [_tank(site, name, tank) for name, tank in water.tanks.items()]
    lifts = [_lift_station(site, name, one) for name, one in water.lift_stations.items()]
    return [*points, *tanks, *lifts, *(_district(site, water, name, one) for name, one in water.districts.items())]


def actuator_defaults(water: config.Water) -> dict[str, ActuatorDefaults]:
    """The pumps of a tank or a lift station start one after the other."""
    groups = [(f"tank {name}", tank.pumps or ()) for name, tank in water.tanks.items()]
    groups += [(f"lift station {name}", station.pumps) for name, station in water.lift_stations.items()]
    return {
        pump.actuator: ActuatorDefaults(stagger=APART, stagger_group=group) for group, pumps in groups for pump in pumps
    }


def opening_hours(site: Site, point: config.WaterPointConfig) -> OpeningHours | None:
    """The opening hours of a water point. None: it has none, and is always open."""
    found = point.opening_hours
    if isinstance(found, config.CalendarHoursConfig):
        return OpeningHours(_open_week(site, found.week) if found.week else None, found.calendar)
    return OpeningHours(_open_week(site, found)) if found else None


def _open_week(site: Site, hours: Mapping[str, Sequence[Window]]) -> Week:
    """Days that the file does not name are closed.

    The most particular key holds: public_holiday, then the day of the week, then all.
    """
    spans = {
        key: tuple(Span(start, end if end > start else end + _DAY, OPEN) for start, end in sorted(windows))
        for key, windows in hours.items()
    }
    return Week(calendar(site), _CLOSED, by_day(spans, spans.get("all", ())), public=spans.get("public_holiday"))


def _point(site: Site, name: str, point: config.WaterPointConfig) -> WaterPoint:
    frost, quota, flush = point.frost, point.quota, point.flush
    litres = _LITRES.get(unit_of(site, point.meter), 1.0)
    signal = site.signals.get(point.meter)
    rate = None if signal is None else max_rate(signal, unit_of(site, point.meter))
    pulse = litres * (signal.per_pulse or 1.0) if signal is not None and signal.kind == "counter" else 1.0
    return WaterPoint(
        name,
        point.meter,
        calendar(site),
        litres=litres,
        pulse=pulse,
        dial=None if signal is not None else point_dial(site, point.meter, litres),
        most=PLAUSIBLE if rate is None else rate * litres * HOUR,
        valve=_valve(site, point.valve),
        drain=_valve(site, point.drain),
        hours=opening_hours(site, point),
        frost=None if frost is None else _frost(site, frost),
        leak=_leak(site, point, pulse),
        latches=point.on_burst == "close_and_latch",
        quota=None if quota is None else Quota(quota.daily, quota.action == "close"),
        flush=None if flush is None else Flush(flush.idle, flush.run),
        tamper=point.tamper,
    )


def _leak(site: Site, point: config.WaterPointConfig, pulse: float) -> Leak:
    leak = point.leak
    if leak is None:
        return Leak(pulse=pulse)
    night, continuous = leak.night, leak.continuous
    return Leak(
        night=None if night is None else _night(site, night),
        continuous=None if continuous is None else continuous.duration,
        burst=None if leak.burst is None else (leak.burst.flow, leak.burst.duration),
        closed=leak.flow_when_closed,
        pulse=pulse,
        pause=None if continuous is None else continuous.pause,
        interval=interval(site, point.meter),
    )


def interval(site: Site, meter: str) -> float:
    """Seconds between two readings of a meter: its poll; for a radio node that of its profile, or a third of its
    `stale_after` where that is hours. 0 for a pin, which reads each pulse."""
    signal = site.signals.get(meter)
    name, _, point = (meter if signal is None else signal.from_).partition(".")
    device = site.devices.get(name)
    if device is None:
        return 0.0
    interval = device.point_interval(point) or 0.0
    if device.is_polled:
        return interval
    stale = (signal.stale_after if signal is not None else None) or device.stale_after or 0.0
    return max(interval, stale / STALE_INTERVALS) if stale >= HOURLY else interval


def _night(site: Site, night: config.NightFlowConfig) -> NightFlow:
    start, end = night.window
    return NightFlow(calendar(site), start, end if end > start else end + _DAY, night.max_flow)


def _frost(site: Site, frost: config.FrostConfig) -> Frost:
    return Frost(
        frost.signal, calendar(site), frost.close_below, frost.reopen_above, frost.hold, winter(site.site.latitude)
    )  # fmt: skip


def _valve(site: Site, name: str | None) -> Valve | None:
    if name is None:
        return None
    actuator = site.actuators[name]
    return Valve(name, actuator.fail == "normally_open", actuator.travel or 0.0)


def _with_feedback(site: Site, rotation: Rotation) -> Rotation:
    seen = frozenset(name for name in rotation.pumps if site.actuators[name].feedback is not None)
    return replace(rotation, with_feedback=seen)


def _tank(site: Site, name: str, tank: config.TankConfig) -> Tank:
    group = None
    if tank.pumps is not None:
        names = tuple(pump.actuator for pump in tank.pumps)
        group = Group(_with_feedback(site, Rotation(names, tank.alternate, tank.standby_after)), tank.both_below)
    return Tank(
        name, tank.level, _pumps(site, tank), tank.start, tank.stop, tank.low, tank.high,
        Standstill(tank.stuck_after, tank.max_fill),
        None if tank.outlet is None else Outlet(tank.outlet, *_flow(site, tank.outlet)),
        interval(site, tank.level), group, tariff(site, tank), _level_lost(site, tank.level_lost),
    )  # fmt: skip


def _pumps(site: Site, tank: config.TankConfig) -> tuple[PumpSpec, ...]:
    shared = _dry_run(site, tank.dry_run)
    if tank.pumps is None:
        return (PumpSpec(str(tank.pump), shared),)
    return tuple(_pump(site, one, shared) for one in tank.pumps)


def _pump(site: Site, pump: config.PumpConfig, shared: DryRun | None = None) -> PumpSpec:
    dry_run = shared if pump.dry_run is None else _dry_run(site, pump.dry_run)
    return PumpSpec(pump.actuator, dry_run, pump.thermal, pump.maintenance, pump.rated_power)


def tariff(site: Site, tank: config.TankConfig) -> Tariff | None:
    """When the current is cheap, and the levels that hold then and otherwise. None: the tank has one tariff."""
    found = tank.tariff
    if found is None:
        return None
    cheap, otherwise = found.cheap, tank if found.otherwise is None else found.otherwise
    by: Week | TariffPoint
    if isinstance(cheap, config.CheapPointConfig):
        by = TariffPoint(cheap.point, cheap.is_)
    else:
        by = _daily(site, cheap, CHEAP, OTHERWISE)
    return Tariff(by, FillLevels(found.start, found.stop), FillLevels(otherwise.start, otherwise.stop))


def _level_lost(site: Site, lost: config.LevelLostConfig | None) -> LevelLost | None:
    if lost is None:
        return None
    hours = 60.0 * sum((end - start) % _DAY or _DAY for start, end in lost.fill)
    return LevelLost(lost.after, _daily(site, lost.fill, FILL, "wait"), lost.at_most, min(lost.at_most, hours))


def _daily(site: Site, windows: Sequence[Window], mode: str, default: str) -> Week:
    """The same hours on every day."""
    spans = tuple(Span(start, end if end > start else end + _DAY, mode) for start, end in sorted(windows))
    return Week(calendar(site), default, (spans,) * len(DAYS))


def _lift_station(site: Site, name: str, station: config.LiftStationConfig) -> LiftStation:
    overflow, timed = station.overflow, station.level_lost
    unit = "" if station.level is None else canonical(unit_of(site, station.level))
    start, stop = (0.0 if one is None else level_in(one, unit) or 0.0 for one in (station.start, station.stop))
    well = Well(
        station.level, start, stop, None if station.high is None else level_in(station.high, unit), station.high_float,
        station.float_run, None if timed is None else ByTime(timed.run, timed.every),
    )  # fmt: skip
    names, patience = tuple(pump.actuator for pump in station.pumps), station.standby_after
    return LiftStation(
        name, calendar(site), tuple(_pump(site, pump) for pump in station.pumps), well,
        _with_feedback(site, Rotation(names, station.alternate, patience, patience)), station.max_run,
        None if overflow is None else Overflow(overflow.signal, overflow_flow(site, overflow.flow), overflow.gap),
        None if overflow is None or overflow.alarm == "none" else Severity(overflow.alarm),
    )  # fmt: skip


def level_in(limit: config.LimitOfLevel, unit: str) -> float | None:
    """A level in the unit of its signal (canonical); None: it cannot be told in that."""
    if not limit.unit or limit.unit == unit:
        return limit.amount
    by = factor(limit.unit, unit)
    return None if by is None else round(limit.amount * by, 9)


def overflow_flow(site: Site, reference: str | None) -> OverflowFlow | None:
    """How the flow at an overflow is measured; None: it is not, or not in a unit of water."""
    if reference is None:
        return None
    unit = canonical(unit_of(site, reference))
    flow, volume = factor(unit, "L/s"), factor(unit, "L")
    if flow is not None:
        return OverflowFlow(reference, flow)
    return None if volume is None else OverflowFlow(reference, volume, counts=True)


def _district(site: Site, water: config.Water, name: str, district: config.DistrictConfig) -> District:
    start, end = district.night
    alarm = district.alarm
    tank = None if district.storage is None else water.tanks[district.storage]
    return District(
        name,
        calendar(site),
        tuple(_district_meter(site, meter) for meter in district.in_),
        tuple(_district_meter(site, meter) for meter in district.out),
        storage=None if tank is None else Storage(tank.level, tank.capacity or 0.0),
        night=(start, end if end > start else end + _DAY),
        alarm=None if alarm is None else NightAlarm(alarm.above_median, alarm.nights),
    )


def _district_meter(site: Site, meter: str) -> DistrictMeter:
    litres = _LITRES.get(unit_of(site, meter), 1.0)
    return DistrictMeter(meter, litres, None if meter in site.signals else point_dial(site, meter, litres))


def _dry_run(site: Site, dry: config.DryRunConfig | None) -> DryRun | None:
    if dry is None:
        return None
    return DryRun(dry.flow, dry.grace, dry.no_flow, dry.latch_after, *_flow(site, dry.flow))


def _flow(site: Site, reference: str) -> tuple[float, bool]:
    """The least flow that is one, and whether it is a counter instead."""
    signal = site.signals.get(reference)
    counts = signal is not None and signal.kind == "counter"
    scale = signal.scale if signal is not None else None
    return _LEAST * max(map(abs, scale)) if isinstance(scale, tuple) else 0.0, counts
