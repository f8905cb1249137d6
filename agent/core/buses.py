"""The buses of a site: which one carries a point, and its state."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from agent.clock import Clock
from agent.core.driver_calls import (
    DEVICE_KEYS,
    called,
    checked_readings,
    close_wire,
    own_errors,
    retired,
    status_of,
    succeeds,
)
from agent.core.outputs import one_wire
from agent.core.trial import line_settings, other_settings, outline, same_wire, verdicts
from agent.core.unusable import UnusableWire
from agent.errors import BocageError, DeviceError, WireError
from agent.model import BusState, Point, Quality, Reading, Readings, Value
from drivers.api import (
    Aside,
    BusSpec,
    Correspondent,
    DeviceSpec,
    DurableStore,
    Home,
    Inspector,
    Listener,
    NonceKeeper,
    Poller,
    Scanner,
    Successive,
    Trier,
    Wire,
    Writer,
)
from drivers.registry import built_in, find, look_again, open_bus, said

__all__ = ["Buses", "VolatileStore"]

log = logging.getLogger("bocage.buses")


class Buses:
    """Opens each bus by name and routes reads and writes of points to the bus that has them."""

    def __init__(self, clock: Clock, memory: DurableStore) -> None:
        self._clock, self._memory = clock, memory
        self._specs: dict[str, BusSpec] = {}
        self._wires: dict[str, Wire] = {}
        self._home: dict[str, str] = {}
        self._removed: Set[str] = frozenset()
        """Radio nodes that left the site file: they are still written, and their readings are dropped."""
        self._silent: Set[str] = frozenset()
        """Buses that have removed nodes alone: their state is not reported."""
        self._failed: dict[str, str] = {}  # why a bus could not be read when it was last asked
        self._ended: dict[str, str] = {}  # why a driver ended that has read nothing since
        self.publish: Callable[[Readings], None] = lambda _readings: None
        """Takes all readings: the hub's method."""
        self.home: Home | None = None
        """For the drivers that exchange messages with other sites."""

    def configure(
        self, specs: Mapping[str, BusSpec], removed: Set[str] = frozenset(), silent: Set[str] = frozenset()
    ) -> None:
        """Make the drivers of these buses; a bus is opened at its first use.

        `removed` are devices that are only written; `silent` are buses that have no other devices.
        """
        self._removed, self._silent = removed, silent
        self._specs = dict(specs)
        for name, spec in specs.items():
            if name not in self._wires and (wire := self._made(spec)) is not None:
                self._wires[name] = wire
        self._home = {point.id: name for name, wire in self._wires.items() for point in wire.points}

    def _made(self, spec: BusSpec) -> Wire | None:
        """Make the driver of a bus; an `UnusableWire` if that fails, None if only removed nodes are on it then.

        A removed node comes from the record of an earlier file, perhaps of an earlier program. If the driver refuses
        it, the bus is made without it.
        """
        own = tuple(device for device in spec.devices if device.name not in self._removed)
        try:
            return self._opened(spec)
        except BocageError as error:
            reason = str(error)
        if len(own) < len(spec.devices):
            log.error('removed nodes refused bus=%s reason="%s" next=the bus goes without them', spec.name, reason)
            if spec.name in self._silent:
                return None
            spec = replace(spec, devices=own)
            try:
                return self._opened(spec)
            except BocageError as error:
                reason = str(error)
        log.error('bus is down bus=%s reason="%s" next=the rest of the site runs', spec.name, reason)
        return UnusableWire(spec, reason, self._clock)

    def _opened(self, spec: BusSpec) -> Wire:
        """The driver of a bus, which has what each must have. BocageError if it cannot be used."""
        wire = open_bus(spec, self._clock, self._memory)
        try:
            wire.status, wire.due, wire.close  # noqa: B018  another distribution's code may lack one
            if any(not isinstance(point, Point) for point in wire.points):
                raise TypeError("its points are no Points")
        except (Exception, SystemExit) as error:
            raise BocageError(f"the driver of {spec.type} does not implement Wire: {said(error)}") from error
        if self.home is not None and isinstance(wire, Correspondent):
            wire.take_home(self.home)
        return wire

    async def reconfigure(
        self,
        specs: Mapping[str, BusSpec],
        changed: Iterable[str],
        removed: Set[str] = frozenset(),
        silent: Set[str] = frozenset(),
    ) -> None:
        """Close the buses that changed or went, make their successors. The others are not touched.

        Outputs that stay do not move, where their driver can hand them over (`Successive`).
        """
        if self.unusable:
            look_again()
        handed = []
        for name in changed:
            if (wire := self._wires.pop(name, None)) is None:
                continue
            self._ended.pop(name, None)
            kind = self._specs[name].type
            after = next((spec for spec in specs.values() if one_wire(spec, self._specs[name])), None)
            if after is not None and isinstance(wire, Successive) and await retired(name, kind, wire, after.devices):
                handed.append((after.name, wire))
            else:
                await close_wire(name, kind, wire)
        self.configure(specs, removed, silent)
        for name, before in handed:
            wire = self._wires.get(name)
            if not isinstance(wire, Successive) or not succeeds(name, self._specs[name].type, wire, before):
                await close_wire(name, self._specs[name].type, before)

    @property
    def unusable(self) -> dict[str, str]:
        """The buses whose driver cannot be used, each with the reason."""
        return {name: wire.reason for name, wire in self._wires.items() if isinstance(wire, UnusableWire)}

    def why_down(self, point: str) -> str:
        """Why the bus of a point's device cannot be used; "" if it can, or if no bus has that device."""
        device = point.partition(".")[0]
        found = (name for name in self.unusable if any(one.name == device for one in self._specs[name].devices))
        return next((f"its bus {name} is down: {self.unusable[name]}" for name in found), "")

    @property
    def names(self) -> list[str]:
        return list(self._wires)

    @property
    def points(self) -> list[Point]:
        return [point for wire in self._wires.values() for point in wire.points if point.device not in self._removed]

    @property
    def from_other_sites(self) -> Set[str]:
        """The points that other sites have told."""
        wires = (wire for wire in self._wires.values() if isinstance(wire, Correspondent))
        return {point.id for wire in wires for point in wire.points}

    @property
    def specs(self) -> Mapping[str, BusSpec]:
        """The buses as they are driven, removed nodes among their devices."""
        return self._specs

    def status(self) -> list[dict[str, Any]]:
        """One line a bus for the live view: name, type, state up|down, load 0..1, error."""
        lines = []
        for name, wire in self._wires.items():
            if name in self._silent:
                continue
            own = {"name": name, "type": self._specs[name].type, "load": 0.0, "error": "", **status_of(wire)}
            if name in self._ended:
                lost = [device.name for device in self._specs[name].devices]
                own |= {"state": BusState.DOWN, "error": self._ended[name], "lost": lost}
            for key in DEVICE_KEYS.keys() & own.keys() if self._removed else ():
                own[key] = self._without_removed(own[key])
            own["error"] = own["error"] or self._failed.get(name, "")
            lines.append(own)
        return lines

    def _without_removed(self, said: Any) -> Any:
        """The names of devices, or the texts by their names, less those of removed nodes."""
        if isinstance(said, list):
            return [device for device in said if device not in self._removed]
        return {device: text for device, text in said.items() if device not in self._removed}

    def due(self, name: str) -> float:
        """When the next sign of life of a bus is due (infinite for a bus that is gone)."""
        wire = self._wires.get(name)
        if wire is None:
            return math.inf
        try:
            return called(self._specs[name].type, lambda: float(wire.due()))
        except BocageError as error:
            self._failed[name] = str(error)
            return math.inf

    async def listen(self, name: str) -> None:
        """Own one wire: hand on what it reads until cancelled. The bus is down from an error until it reads again."""
        try:
            await own_errors(self._specs[name].type, self._listen(name))
            self._ended[name] = "its driver ended by itself"
        except BocageError as error:
            self._ended[name] = str(error)
            raise

    async def _listen(self, name: str) -> None:
        wire, kind = self._wires[name], self._specs[name].type
        if not isinstance(wire, Listener):
            raise BocageError(f"bus {name} of type {kind} cannot be listened to")
        own = None if kind in built_in() else _ids(wire)
        async for readings in wire.readings():
            self._ended.pop(name, None)
            if own is not None:
                readings = checked_readings(kind, readings, own)
            if self._removed:
                readings = [one for one in readings if one.point.partition(".")[0] not in self._removed]
            if readings:
                self.publish(readings)

    async def read(self, points: Sequence[str]) -> Readings:
        """Read points from their wires now. What cannot be read comes back bad."""
        by_bus: dict[str, list[str]] = {}
        for point in points:
            by_bus.setdefault(self._home.get(point, ""), []).append(point)
        parts = await asyncio.gather(*(self._read_bus(bus, wanted) for bus, wanted in by_bus.items()))
        return [reading for part in parts for reading in part]

    async def write(self, point: str, value: Value, until: float | None = None) -> None:
        """Write one output; only the arbiter calls this. DeviceError or WireError if it was not acknowledged."""
        bus = self._home.get(point, "")
        wire = self._wires.get(bus)
        if not isinstance(wire, Writer):
            raise DeviceError(f"{point} is on no bus that can be written")
        await own_errors(self._specs[bus].type, wire.write(point, value, until))

    async def write_aside(self, spec: BusSpec, point: str, value: Value) -> None:
        """Write an output that the site file does not have any more: `spec` is its bus, with its one device.

        Over the line that has that wire now, whatever it is called; else over one that is opened for it alone.
        DeviceError or WireError if it was not acknowledged; BocageError if there is no driver for it any more.
        """
        for name, wire in self._wires.items():
            if one_wire(self._specs[name], spec):
                if isinstance(wire, Aside):
                    await own_errors(spec.type, wire.write_aside(spec.devices[0], point, value))
                else:
                    await self.write(point, value)
                return
        own = self._opened(spec)
        if not isinstance(own, Writer):
            raise DeviceError(f"{point} is on no bus that can be written")
        try:
            await own_errors(spec.type, own.write(point, value))
        finally:
            await close_wire(spec.name, spec.type, own)

    async def scan(self, bus: str, unit: int, timeout: float | None = None) -> dict[str, Any]:
        """Scan one unit id of a bus, between more urgent requests.

        Returns unit_id, the line's baudrate, parity and stopbits (None where it has none), and ms until the answer,
        None if there is no answer within `timeout` seconds.
        """
        wire = self._wires.get(bus)
        if not isinstance(wire, Scanner):
            if isinstance(wire, UnusableWire):
                raise WireError(wire.reason)
            raise BocageError(f"{bus} is no bus with unit ids that is driven here")
        spec = self._specs[bus]
        driver, line = find(spec.type), line_settings(spec)
        if driver is not None and driver.scan is not None and unit not in driver.scan.allowed:
            raise BocageError(f"{bus} {driver.scan.refusal.format(id=unit)}")
        found = {"unit_id": unit, **{key: line.get(key) for key in ("baudrate", "parity", "stopbits")}, "ms": None}

        async def look() -> None:
            async for seen in wire.scan([unit], timeout):
                found.update(seen)

        await own_errors(spec.type, look())
        return found

    def owner(self, wanted: BusSpec) -> str | None:
        """Our bus on the wire that a file's bus is on, whatever it is called; None if the wire is not ours.

        BocageError if the file wants another line of it than the one that we keep.
        """
        for name, spec in self._specs.items():
            if same_wire(spec, wanted):
                if said := other_settings(spec, wanted):
                    raise BocageError(said)
                return name
        return None

    async def try_devices(self, bus: str, devices: Sequence[DeviceSpec]) -> list[dict[str, Any]]:
        """Read devices of a file that need not be the one that runs, on our bus: see `trial.verdicts`.

        Nothing for a radio bus, which only hears its devices.
        """
        wire = self._wires.get(bus)
        if not isinstance(wire, Trier):
            return []
        try:
            bus_type = self._specs[bus].type
            return verdicts(bus_type, await own_errors(bus_type, wire.try_devices(devices)), "")
        except WireError as error:
            return [{"name": device.name, "works": False, "text": str(error)} for device in devices]

    def runs(self, outlined: Mapping[str, Any]) -> list[str] | None:
        """Return the devices of a file's bus that differ from the running ones; None if the bus itself differs or is
        not there.
        """
        spec = self._specs.get(str(outlined.get("name")))
        own = outline(spec) if spec is not None else {}
        if any(own.get(key) != outlined.get(key) for key in ("type", "options")):
            return None
        return [one["name"] for one in outlined.get("devices", ()) if one not in own["devices"]]

    def inspect(self, topic: str) -> list[dict[str, Any]]:
        """Return what the buses keep beside their points, each row with its bus. BocageError if no bus has such a
        topic.
        """
        rows: list[list[dict[str, Any]]] = []
        refusal = BocageError(f'no bus here has "{topic}" to show')
        for name, wire in self._wires.items():
            if isinstance(wire, Inspector):
                try:
                    found = called(self._specs[name].type, lambda wire=wire: list(wire.inspect(topic)))  # type: ignore[misc]
                    rows.append([{"bus": name, **row} for row in found])
                except BocageError as error:
                    refusal = error
        if not rows:
            raise refusal
        return [row for found in rows for row in found]

    def forget_nonces(self, device: str) -> int | None:
        """Forget the DevNonces of a radio node; return their number, or None if no bus keeps any for it."""
        found = (wire.forget_nonces(device) for wire in self._wires.values() if isinstance(wire, NonceKeeper))
        return next((count for count in found if count is not None), None)

    async def close(self) -> None:
        for name, wire in self._wires.items():
            await close_wire(name, self._specs[name].type, wire)

    async def _read_bus(self, bus: str, points: Sequence[str]) -> Readings:
        wire = self._wires.get(bus)
        if isinstance(wire, Poller):
            self._failed.pop(bus, None)
            try:
                kind = self._specs[bus].type
                readings = await own_errors(kind, wire.read(points))
                return readings if kind in built_in() else checked_readings(kind, readings, _ids(wire))
            except BocageError as error:
                self._failed[bus] = str(error)
                log.warning('wire cannot be read bus=%s reason="%s" next=its points are bad', bus, self._failed[bus])
        now = self._clock.now()
        return [Reading(point, None, now, Quality.BAD) for point in points]


def _ids(wire: Any) -> set[str]:
    return {point.id for point in wire.points}


class VolatileStore:
    """A store that keeps nothing: for a driver that is opened for one read or write."""

    def get(self, _key: str) -> Any:
        return None

    def put(self, _key: str, _value: Any, now: bool = False) -> None:  # noqa: ARG002  drivers pass it by name
        return None
