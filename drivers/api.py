"""The interface between the agent and a driver.

A driver owns one wire: an RS-485 line, a Modbus TCP host, a GPIO chip, a LoRa modem. The agent hands it plain,
already validated settings (`BusSpec`, `DeviceSpec`) and gets back an object that offers what the wire can do, in
protocols of one method each. The agent never imports a driver: `drivers.registry` finds the `Driver` of a bus by its
type. `drivers/_blueprint` is a small complete driver to copy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from agent.model import Point, Reading, Readings, Value

__all__ = [
    "Aside", "BusSpec", "Correspondent", "DeviceSpec", "Driver", "DurableStore", "Home", "Inspector", "Listener",
    "NonceKeeper", "Poller", "Scan", "Scanner", "Successive", "Trier", "Wire", "Writer",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """How `bocage scan` looks for devices on a bus whose driver is a `Scanner`."""

    ids: Sequence[int]
    """The unit ids to try, in this order."""
    allowed: range
    refusal: str = ""
    """Said of a bus and a unit id that is not allowed: "is a line, where unit ids are 1 to 247; {id} is not"."""
    hint: str = ""
    """Advice for when no device answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """One type of bus, as the folder of its driver describes it.

    Texts `module:name` are imported when they are used, so that a description costs nothing.
    """

    type: str
    """As the site file says it."""
    open: str = ""
    """`open(spec, clock, memory)` makes the `Wire`. Empty: the type is declared and not driven yet."""
    config: str = ""
    """The bus's model, a subclass of `agent.site.models.bus.BusModel`. The running agent never imports it."""
    profile: str = ""
    """The kind of its devices' profiles, an `agent.site.profiles.kind.ProfileKind`. Our own drivers alone may have one;
    one of another distribution cannot be used with it, and gives its devices points by `BusModel.points`."""
    page: str = ""
    """Its page of documentation, for the reference: a file of its folder, or a URL."""
    commands: str = ""
    """`add(commands)` adds its own commands to those of `bocage`, with `agent.cli.common.add_command`."""
    loggers: Sequence[str] = ()
    """The loggers of its libraries that are silenced: what they have to say is logged by the driver."""
    is_radio: bool = False
    """Its devices are heard when they transmit; they cannot be polled."""
    probe: str = ""
    """`async probe(spec, clock) -> str` tries the bus as a whole for `check --bus`: what was found, in words; WireError
    if it cannot work. Without it each device is read once."""
    can_try: bool = False
    """Whether its `Wire` is a `Trier`."""
    diagnose: str = ""
    """`diagnose(counts) -> str`: what is wrong with a device that cannot be read, from its diagnostic points."""
    diagnostics: str = ""
    """The prefix of the names of a device's diagnostic points: modbus, for `meter.modbus.timeouts`."""
    scan: Scan | None = None
    address: Mapping[str, str] = field(default_factory=dict)
    """The keys that name a device on its bus, each with its noun for people: {"unit_id": "unit"}. The first that a
    device has counts."""
    reach: Sequence[str] = ()
    """The keys of a radio bus without a port that say which devices it reaches: two buses alike in them reach the same.
    """
    session_keys: Sequence[Set[str]] = ()
    """The keys of a device that its driver needs to communicate with it: all of one of these sets."""
    topics: Sequence[str] = ()
    """The topics that its `Wire` can `inspect`."""
    wire: str | None = None
    """The name of its wire, where all buses of the type count as one; of a wire that needs no name "". Default: by the
    keys `host` and `port`, else by type and name."""
    tcp_port: int = 0
    """The port of a host for which the bus has none."""
    line: Mapping[str, Any] = field(default_factory=dict)
    """The settings of a serial line with their defaults: baudrate, parity, stopbits, bytesize. The first three may be
    tried by `bocage scan`."""


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
    fault: str = ""
    """Why its driver cannot be used, as the reader of the site file found it. Such a bus is not opened."""


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
    """The common part of all drivers: the points of their devices, and their statistics as points."""

    @property
    def points(self) -> Sequence[Point]: ...

    def status(self) -> Mapping[str, Any]:
        """For the live view and `health`: {"state": "up"|"down", "load": 0..1, "error": str, …}."""

    def due(self) -> float:
        """When (clock.monotonic) the next sign of life is due at the latest; an attempt that failed is one too."""

    async def close(self) -> None:
        """Save what must last, then close the port. Outputs are left as they are."""


@runtime_checkable
class Listener(Protocol):
    """Owns the wire while it is iterated: polls or listens, reopens a lost port, and yields what came."""

    def readings(self) -> AsyncIterator[Readings]: ...


@runtime_checkable
class Poller(Protocol):
    """Reads points on demand. The request queues at the wire's owner; the wire is opened if it is not listened to.

    A point that cannot be read comes back with quality bad; WireError if the wire cannot be opened at all.
    """

    async def read(self, points: Sequence[str]) -> Readings: ...


@runtime_checkable
class Writer(Protocol):
    """Writes one value, queued before any read. Returns when the device has acknowledged it.

    Raises DeviceError or WireError if it did not: then it is unknown whether the output moved. `until`
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
    """Asks each of these unit ids for an answer, between more urgent questions.

    One mapping a unit, for people and programs: {"unit_id": 3, "ms": 41.2}, `ms` None without an answer within
    `timeout` seconds (None: the bus's own). WireError if the wire cannot be opened.
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

    How many of this node it has forgotten; None if the node is not its own. StorageError if it could not be kept.
    """

    def forget_nonces(self, device: str) -> int | None: ...


class Home(Protocol):
    """The agent's own site, as a `Correspondent` sees it: its values, and its uplink."""

    @property
    def is_up(self) -> bool:
        """Whether the uplink has a connection."""

    def reading(self, name: str) -> Reading | None:
        """The last reading of a point, a signal or an actuator's output; None before the first.

        Rejected, with the reason, for a name that is none, or that is not told to other sites.
        """

    def join(
        self, topics: Sequence[str], take: Callable[[str, bytes], None], connected: Callable[[], None]
    ) -> Callable[[], None]:
        """Hand what comes on these topics of the uplink's broker to `take`; `connected` is called when they can come,
        at each connection. Returns what ends that."""

    async def send(self, topic: str, body: bytes, life: float) -> bool:
        """Publish by the uplink at QoS 1, not retained. True if the broker took it; False without a link: it is not
        kept. A broker that knows how forgets it after `life` seconds."""


@runtime_checkable
class Correspondent(Protocol):
    """Exchanges messages with another site, also by the uplink's own connection."""

    def take_home(self, home: Home) -> None:
        """Called once, before anything else."""
