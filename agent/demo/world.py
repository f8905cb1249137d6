"""The world of any site: tanks that fill, rooms that warm, lamps that take power, by what the site file says of them.

`World` has a value for every point that a device of the site reads. What a service knows (the level of a tank, the
sensor of a room) moves by its outputs; any other measurement moves a little about the middle of its range; a contact is
off. `forced` values come before all of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.demo.registers import ProfileUnit
from agent.site.models.site import Site

__all__ = ["Reservoir", "Value", "WetWell", "World"]

GRAIN = 20.0
"""Seconds that the physics takes at once."""
STANDBY, VOLTS = 38.0, 231.0
"""W of a street's meter whose lamps are out, and V."""
WATER, WALLS, RADIATORS = 1500.0, 20 * 3600.0, 10 * 3600.0
"""Seconds: how slow the flow is, the cooling and the warming of a room."""
TANK = 40.0
"""m3 of a tank whose capacity is not said."""
FIRE = 0.4
"""The part of a tank that the hydrants draw in an hour at a fire."""
_PER_M3H = {"m3/h": 1.0, "L/h": 1000.0, "L/min": 1000 / 60, "L/s": 1 / 3.6}

Value = bool | float


class World:
    """The world of a site from `began` on."""

    def __init__(self, site: Site, began: datetime) -> None:
        self.site, self._began, self.seconds = site, began, 0.0
        self.values: dict[str, Value] = {}
        """The senses of devices, by the names that services have for them: a signal, or device.point."""
        self.forced: dict[str, Value] = {}
        self.pins: dict[str, Value] = {}
        """The outputs that no Modbus device has, by the names of their actuators."""
        self.flows: dict[str, float] = {}
        """L/h through each counter."""
        self._litres: dict[str, float] = {}
        self._signals = {one.from_: (name, one) for name, one in site.signals.items()}
        self._feedbacks = {one.feedback: name for name, one in site.actuators.items() if one.feedback}
        self.units: dict[str, dict[int, ProfileUnit]] = {}
        self._devices: dict[str, ProfileUnit] = {}
        for name, device in site.devices.items():
            if device.profile_data is not None and site.buses[device.bus].type.startswith("modbus"):
                unit = ProfileUnit(device.profile_data, lambda point, name=name: self._sensed(f"{name}.{point}"))  # type: ignore[misc]
                self._devices[name] = unit
                self.units.setdefault(device.bus, {})[device.unit_id] = unit  # type: ignore[attr-defined]
        self.parts = list(_parts(site, self))
        self.step(0.0)
        self.modelled = frozenset(self.values)
        """The points that have a part of the world behind them."""

    @property
    def now(self) -> datetime:
        return self.at(self.seconds)

    def at(self, seconds: float) -> datetime:
        """The time so many seconds after the beginning."""
        return (self._began.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(self._began.tzinfo)

    @property
    def hour(self) -> float:
        now = self.now
        return now.hour + now.minute / 60 + now.second / 3600

    def output(self, reference: str) -> Value:
        """The state of an actuator, or of a point that a service writes itself."""
        actuator = self.site.actuators.get(reference)
        device, _, point = (actuator.output if actuator else reference).partition(".")
        unit = self._devices.get(device)
        return unit.output(point) if unit is not None else self.pins.get(reference, False)

    def step(self, seconds: float) -> None:
        """Let time pass."""
        while True:
            past = min(seconds, GRAIN)
            self.seconds += past
            for part in self.parts:
                part.step(past)
            for name, flow in self.flows.items():
                self._litres[name] = self._litres.get(name, 0.0) + flow * past / 3600
            seconds -= past
            if seconds <= 0:
                return

    def wave(self, period: float, size: float, phase: float = 0.0) -> float:
        """Something that goes up and down by `size` in so many seconds."""
        return size * math.sin(2 * math.pi * self.seconds / period + phase)

    def outdoors(self) -> float:
        """degC: a mild winter's day with frost before dawn."""
        return 3.5 + 4.5 * math.cos((self.hour - 15) / 12 * math.pi) + self.wave(7000, 0.2)

    def daylight(self) -> float:
        """lx, by the height of the sun (the declination by Cooper's formula, solar time by the longitude)."""
        info, now = self.site.site, self.now.astimezone(UTC)
        day = now.timetuple().tm_yday
        declination = math.radians(23.45 * math.sin(2 * math.pi * (284 + day) / 365))
        angle = math.radians(15 * (now.hour + now.minute / 60 - 12) + (info.longitude or 0.0))
        place = math.radians(info.latitude or 47.0)
        sine = math.sin(place) * math.sin(declination) + math.cos(place) * math.cos(declination) * math.cos(angle)
        return float(min(1e5, 400 * math.exp(0.8 * math.degrees(math.asin(sine)))))

    def span(self, reference: str) -> tuple[float, float]:
        """The range of a measurement."""
        signal = self.site.signals.get(reference)
        return signal.scale if signal is not None and isinstance(signal.scale, tuple) else (0.0, 100.0)

    def unit_of(self, reference: str) -> str:
        """The unit of a point, "" where none is said."""
        if signal := self.site.signals.get(reference):
            return signal.unit
        device, _, point = reference.partition(".")
        profile = self.site.devices[device].profile_data if device in self.site.devices else None
        return str(((profile or {}).get("points", {}).get(point) or {}).get("unit") or "")

    def sensed(self, reference: str) -> Value:
        """The value of a signal or a point as people speak of it."""
        for known in (self.forced, self.values):
            if reference in known:
                return known[reference]
        signal = self.site.signals.get(reference)
        if signal is None:
            return _of_meter(reference, self) or 0.0
        if signal.kind == "state" or not isinstance(signal.scale, tuple):
            return self.sensed(signal.from_) if signal.from_ in {**self.forced, **self.values} else False
        low, high = signal.scale
        return (low + high) / 2 + self.wave(1700, (high - low) / 60, len(reference))

    def _sensed(self, reference: str) -> Value:
        """The value of a device's point: what its signal makes of it, turned back."""
        if (actuator := self._feedbacks.get(reference)) is not None and reference not in self.forced:
            return self.output(actuator)
        name, signal = self._signals.get(reference, (reference, None))
        if signal is None or reference in self.forced:
            return self.sensed(reference)
        if signal.kind == "counter":
            return self._litres.get(name, 0.0) / (signal.per_pulse or 1.0)
        value = self.sensed(name)
        if isinstance(value, bool):
            return value
        if signal.signal and isinstance(signal.scale, tuple):
            low, high = signal.scale
            share = (min(max(value, min(low, high)), max(low, high)) - low) / (high - low)
            return (4.0 + 16.0 * share) * {"uA": 1000.0, "mA": 1.0, "A": 0.001}.get(self.unit_of(reference), 1.0)
        factor = signal.scale if isinstance(signal.scale, int | float) else 1.0
        return (value - signal.offset) / factor


def _of_meter(reference: str, world: World) -> float:
    """The points of an electricity meter without a circuit, by their names; 0 for anything else."""
    point = reference.partition(".")[2]
    usual = {"voltage": VOLTS, "frequency": 50.0, "power_factor": 0.95, "active_power": 640.0, "current": 2.8}
    for name, value in usual.items():
        if point.startswith(name):
            return value * (1 + world.wave(97, 0.004, len(point)))
    return world.seconds / 3600 if "energy" in point else 0.0


def _parts(site: Any, world: World) -> Iterator[Any]:
    """The parts of the world that the services of the site ask for."""
    air = {zone.outdoor for zone in site.heating.zones.values() if zone.outdoor}
    air |= {point.frost.signal for point in site.water.points.values() if point.frost}
    lux = {one.photocell.signal for one in site.lighting.circuits.values() if one.photocell}
    yield _Told(world, air, world.outdoors)
    yield _Told(world, lux, lambda: min(world.daylight(), 190.0))
    tanks = {name: Reservoir(world, tank) for name, tank in site.water.tanks.items()}
    yield from tanks.values()
    for station in site.water.lift_stations.values():
        yield WetWell(world, station)
    for district in site.water.districts.values():
        yield _District(world, district, tanks.get(district.storage or ""))
    for point in site.water.points.values():
        yield _WaterPoint(world, point)
    for zone in site.heating.zones.values():
        yield _Zone(world, zone)
    for store in site.heating.hot_water.values():
        yield _Store(world, store)
    for circuit in site.lighting.circuits.values():
        yield _Lamps(world, circuit)


class _Told:
    """The same value at several places."""

    def __init__(self, world: World, names: set[str], value: Callable[[], float]) -> None:
        self._world, self._names, self._value = world, names, value

    def step(self, _seconds: float) -> None:
        self._world.values |= dict.fromkeys(self._names, self._value())


class Reservoir:
    """A tank: its pumps fill it in ten hours, and the village drinks, in the morning and in the evening; at a `fire`
    far more is drawn."""

    def __init__(self, world: World, tank: Any) -> None:
        self._world, self._tank, self.fire = world, tank, False
        self._pumps = [one.actuator for one in tank.pumps or ()] or [tank.pump]
        self.volume = (tank.capacity or TANK * 1000) / 1000
        usual = tank.tariff.otherwise or tank if tank.tariff else tank
        soon_low = (usual.start + tank.tariff.start) / 2 if tank.tariff else tank.start + 2.0
        self._level: float = soon_low
        self.pumped = 0.0

    def trouble(self, on: bool) -> None:
        """A fire breaks out, or is over."""
        self.fire = on

    @property
    def level(self) -> float:
        """Percent."""
        return self._level

    @property
    def drawn(self) -> float:
        """m3/h; the hydrants of a fire have no meter, and are not in it."""
        hour = self._world.hour
        share = 0.012 + 0.02 * math.exp(-(((hour - 7.5) / 2) ** 2)) + 0.025 * math.exp(-(((hour - 19) / 2.5) ** 2))
        return self.volume * share

    def step(self, seconds: float) -> None:
        world = self._world
        self.pumped = sum(self.volume / 10 for pump in self._pumps if pump and world.output(pump))
        drawn = self.drawn + (FIRE * self.volume if self.fire else 0.0)
        self._level += (self.pumped - drawn) / self.volume * 100 * seconds / 3600
        self._level = min(99.0, max(3.0, self._level))
        world.values[self._tank.level] = self._level
        for run in (self._tank.dry_run, *(one.dry_run for one in self._tank.pumps or ())):
            if run is not None:
                world.values[run.flow] = self.pumped * _PER_M3H.get(world.unit_of(run.flow), 1.0)
        for one in self._tank.pumps or ():
            world.values |= dict.fromkeys((name for name in (one.thermal, one.maintenance) if name), False)


class WetWell:
    """A wet well that fills in half an hour; in a `storm` faster than its pumps can empty it."""

    def __init__(self, world: World, station: Any) -> None:
        self.world, self.station, self.storm = world, station, False
        unit = {"mm": 0.001, "cm": 0.01, "dm": 0.1, "m": 1.0, "%": 1.0}
        own = unit.get(world.unit_of(station.level or ""), 1.0)
        limits = [
            one and one.amount * unit.get(one.unit, own) / own for one in (station.stop, station.start, station.high)
        ]
        self._stop, self._start, self._high = (one or usual for one, usual in zip(limits, (0.4, 1.2, 2.0), strict=True))
        self._level = self._stop

    def trouble(self, on: bool) -> None:
        """Rain begins, or ends."""
        self.storm = on

    def step(self, seconds: float) -> None:
        world, station, fill = self.world, self.station, (self._start - self._stop) / 1800
        emptied = sum(4 * fill for pump in station.pumps if world.output(pump.actuator))
        crest = self._high + 0.2 * (self._high - self._start)
        over = max(0.0, self._level - crest)
        self._level += ((14 if self.storm else 1) * fill - emptied - over / 300) * seconds
        self._level = min(max(self._level, 0.5 * self._stop), crest + 0.4 * (self._high - self._start))
        if station.level:
            world.values[station.level] = self._level
        if station.high_float:
            world.values[station.high_float] = self._level > 0.5 * (self._high + crest)
        if station.overflow:
            world.values[station.overflow.signal] = self._level > crest
            if station.overflow.flow:
                world.values[station.overflow.flow] = 40 * max(0.0, self._level - crest)


class _District:
    """A part of the network that loses a tenth of what is drawn."""

    def __init__(self, world: World, district: Any, tank: Reservoir | None) -> None:
        self._world, self._district, self._tank = world, district, tank

    def step(self, _seconds: float) -> None:
        tank = self._tank
        drawn = tank.drawn if tank else 2.0 + self._world.wave(86400, 1.5)
        comes = tank.pumped if tank else drawn
        self._flow(self._district.in_, comes)
        self._flow(self._district.out, 0.9 * drawn)

    def _flow(self, meters: Any, amount: float) -> None:
        self._world.flows |= dict.fromkeys(meters, 1000 * amount / max(1, len(meters)))


class _WaterPoint:
    """A fountain: 300 L/h while its valve is open."""

    def __init__(self, world: World, point: Any) -> None:
        self._world, self._point = world, point

    def step(self, _seconds: float) -> None:
        valve = self._point.valve
        self._world.flows[self._point.meter] = 300.0 if valve is None or self._world.output(valve) else 0.0


class _Zone:
    """A room with its radiators, and what heats them."""

    def __init__(self, world: World, zone: Any) -> None:
        self._world, self._zone = world, zone
        self._most: float = zone.heat_curve.max_flow if zone.heat_curve else 60.0
        self._room: float = zone.setpoints.frost + 1.0 if zone.occupancy else zone.setpoints.comfort - 0.5
        self._flow = self._room + 5.0

    def step(self, seconds: float) -> None:
        world, zone, plant = self._world, self._zone, self._zone.plant
        self._flow += (self._target() - self._flow) * seconds / WATER
        self._room += (self._flow - self._room) * seconds / RADIATORS
        self._room += (world.outdoors() - self._room) * seconds / WALLS
        world.values[zone.sensor] = self._room
        if zone.heat_curve:
            world.values[zone.heat_curve.signal] = self._flow
        if plant.flow_setpoint and "." in plant.flow_setpoint:
            device = plant.flow_setpoint.partition(".")[0]
            world.values |= {f"{device}.flow": self._flow, f"{device}.return": self._flow - 5.0}

    def _target(self) -> float:
        """degC that the flow goes to."""
        world, plant = self._world, self._zone.plant
        if plant.flow_setpoint:
            return max(float(world.output(plant.flow_setpoint)), self._room)
        burners = [one for one in (*(plant.burners or ()), plant.burner) if one]
        burning = sum(bool(world.output(one)) for one in burners) / max(1, len(burners))
        return self._room + math.sqrt(burning) * (self._most - 2.0 - self._room)  # the first one gives the most


class _Store:
    """A store of hot water."""

    def __init__(self, world: World, store: Any) -> None:
        self._world, self._store, self._heat = world, store, store.setpoint - 4.0

    def step(self, seconds: float) -> None:
        self._heat += (12.0 if self._world.output(self._store.actuator) else -0.7) * seconds / 3600
        self._world.values[self._store.sensor] = self._heat


class _Lamps:
    """The meter of a street, and the contacts that ask for its light."""

    def __init__(self, world: World, circuit: Any) -> None:
        self._world, self._circuit, self._kwh = world, circuit, 18_342.6
        asked = [*circuit.on_demand.triggers] if circuit.on_demand else []
        self._asking = [*asked, *([circuit.presence.signal] if circuit.presence else [])]

    def step(self, seconds: float) -> None:
        world, meter = self._world, self._circuit.meter
        world.values |= dict.fromkeys(self._asking, False)
        if meter is None:
            return
        rated = self._circuit.rated_power or 1800.0
        power = STANDBY + world.wave(130, 1.5)
        power += (rated + world.wave(230, 9)) if world.output(self._circuit.actuator) else 0.0
        self._kwh += power * seconds / 3.6e6
        volts = VOLTS + world.wave(970, 1.6)
        world.values |= {
            f"{meter}.active_power": power, f"{meter}.voltage": volts, f"{meter}.current": power / volts / 0.96,
            f"{meter}.energy_import": self._kwh, f"{meter}.energy_total": self._kwh,
        }  # fmt: skip
