"""What a driver is, and how one is found by name.

A driver owns one wire: an RS-485 line, a Modbus TCP host, a GPIO chip, a LoRa modem. The agent hands it plain,
already validated settings (`BusSpec`, `DeviceSpec`) and gets back an object that offers what the wire can do, in
protocols of one method each. The agent never imports a driver: `open_bus` finds it by the bus's `type`, among the
built-in names or among the entry points of the group `bocage.drivers`.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

from agent.clock import Clock
from agent.errors import BocageError
from agent.model import Point, Readings, Value

__all__ = [
    "Aside", "BusSpec", "DeviceSpec", "DurableStore", "Inspector", "Listener", "NonceKeeper", "Poller", "Scanner",
    "Successive", "Trier", "Wire", "Writer",
    "is_driven", "open_bus",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """One device on a bus. Times are in seconds.

    `address` holds the keys that name it on its bus ({"unit_id": 1}, {"dev_eui": …}; {"pin": 17} on a GPIO chip).
    `profile` is the profile file as loaded and validated (a mapping, see docs/profiles.md), or None.
    `point_poll` holds the periods of points that differ from `poll`. `output_watchdog` is the time after which the
    device drops its outputs by itself: the driver then polls it at least every third of that, backed off or not.
    `options` holds what only this kind of driver knows (GPIO: role, debounce, active_high, initial_value, …).
    """

    name: str
    address: Mapping[str, Any]
    profile: Mapping[str, Any] | None = None
    poll: float = 10.0
    point_poll: Mapping[str, float] = field(default_factory=dict)
    output_watchdog: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BusSpec:
    """One wire. `options` are the keys of the site file, in SI units (seconds, baud, Hz)."""

    name: str
    type: str
    options: Mapping[str, Any]
    devices: Sequence[DeviceSpec]


class DurableStore(Protocol):
    """Small durable facts that a driver keeps (pulse counters, sessions), by key.

    `put` with `now` returns when the fact is on flash; without, it is written with the next coalesced write
    (at most 10 s later, and at an orderly stop).
    """

    def get(self, key: str) -> Any: ...

    def put(self, key: str, value: Any, now: bool = False) -> None: ...


class Facts(DurableStore, Protocol):
    """A store that can be flushed after several `put`s, so that they reach flash in their order."""

    def flush(self) -> None:
        """Return when all that was put is on flash. StorageError if the disk refuses."""


class Wire(Protocol):
    """What every driver offers: the points of its devices, and their statistics as points."""

    @property
    def points(self) -> Sequence[Point]: ...

    def status(self) -> Mapping[str, Any]:
        """For the live view and `health`: {"state": "up"|"down", "load": 0..1, "error": str, …}."""

    def due(self) -> float:
        """When (clock.monotonic) the next sign of life is due at the latest; an attempt that failed is one too."""

    async def close(self) -> None:
        """Let go of the port, after anything durable is kept. Outputs are left as they are."""


@runtime_checkable
class Listener(Protocol):
    """Owns the wire while it is iterated: polls or listens, reopens a lost port, and yields what came."""

    def readings(self) -> AsyncIterator[Readings]: ...


@runtime_checkable
class Poller(Protocol):
    """Reads points on demand; the request queues at the wire's owner, or opens the wire if nobody listens.

    A point that cannot be read comes back with quality bad; WireError if the wire cannot be had at all.
    """

    async def read(self, points: Sequence[str]) -> Readings: ...


@runtime_checkable
class Writer(Protocol):
    """Writes one value, queued before any read. Returns when the device has acknowledged it.

    Raises DeviceError or WireError if it did not: then nobody knows whether the output moved. `until`
    (clock.monotonic) is when it may start at the latest. A write to a point that is `deferred` is called off by
    cancelling it: what still waits is withdrawn.
    """

    async def write(self, point: str, value: Value, until: float | None = None) -> None: ...


@runtime_checkable
class Aside(Protocol):
    """Writes an output that its settings do not name any more: `device` is as it was, on this very wire.

    Queued and acknowledged as `Writer.write` is, with the same errors.
    """

    async def write_aside(self, device: DeviceSpec, point: str, value: Value) -> None: ...


@runtime_checkable
class Successive(Protocol):
    """Its outputs would move while its bus is made anew: those that stay are handed from one driver to the next."""

    async def retire(self, devices: Sequence[DeviceSpec]) -> None:
        """Close everything but the outputs that are the same among `devices`."""

    def succeed(self, before: Any) -> None:
        """Take the outputs over that `before`, of the same type, has left open."""


@runtime_checkable
class Scanner(Protocol):
    """Looks who answers at these unit ids, as far as nothing more urgent is asked.

    One mapping a unit, for people and programs: {"unit_id": 3, "ms": 41.2}, `ms` None if nobody does within `timeout`
    seconds (None: the bus's own). WireError if the wire cannot be had.
    """

    def scan(self, units: Iterable[int], timeout: float | None = None) -> AsyncIterator[Mapping[str, Any]]: ...


@runtime_checkable
class Trier(Protocol):
    """Reads devices once that are not its own, between its own questions: what a file says that does not run yet.

    All their points, and what was counted of them. WireError if the wire cannot be had.
    """

    async def try_devices(self, devices: Sequence[DeviceSpec]) -> Readings: ...


@runtime_checkable
class Inspector(Protocol):
    """Shows what it keeps beside its points ("devices", "join-log", "airtime"), for people and programs.

    BocageError for a topic that it does not have.
    """

    def inspect(self, topic: str) -> Sequence[Mapping[str, Any]]: ...


@runtime_checkable
class NonceKeeper(Protocol):
    """Remembers which DevNonces its radio nodes have joined with, and forgets them by command.

    How many of this node it has forgotten; None if the node is none of its own. StorageError if it could not be kept.
    """

    def forget_nonces(self, device: str) -> int | None: ...


_BUILT_IN = {
    "modbus_rtu": "drivers.modbus:open_rtu",
    "modbus_tcp": "drivers.modbus:open_tcp",
    "modbus_rtu_over_tcp": "drivers.modbus:open_rtu_over_tcp",
    "gpio": "drivers.gpio:open_gpio",
    "lora_chirpstack": "drivers.lora:open_chirpstack",
    "lora_gwmp": "drivers.lora:open_gwmp",
    "lora_rak_p2p": "drivers.lora:open_rak_p2p",
    "lora_line": "drivers.lora:open_line",
}


def is_driven(bus_type: str) -> bool:
    """Whether a driver of this name is there."""
    return bus_type in _BUILT_IN or bool(_entries(bus_type))


def open_bus(spec: BusSpec, clock: Clock, memory: DurableStore) -> Wire:
    """Make the driver of a bus; nothing is opened before it is used. BocageError if there is none of that name."""
    return cast(Wire, _factory(spec.type)(spec, clock, memory))


def _factory(bus_type: str) -> Callable[[BusSpec, Clock, DurableStore], Any]:
    if bus_type in _BUILT_IN:
        module, _, name = _BUILT_IN[bus_type].partition(":")
        return cast("Callable[[BusSpec, Clock, DurableStore], Any]", getattr(importlib.import_module(module), name))
    for entry in _entries(bus_type):
        return cast("Callable[[BusSpec, Clock, DurableStore], Any]", entry.load())
    raise BocageError(f"no driver for buses of type {bus_type}")


def _entries(bus_type: str) -> Sequence[Any]:
    """A third party's drivers of this name. importlib.metadata costs 2.6 MB: only where one is asked for."""
    from importlib.metadata import entry_points

    return tuple(entry_points(group="bocage.drivers", name=bus_type))
