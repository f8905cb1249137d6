"""Values that all parts share: points, readings, commands, outcomes and events. Frozen, without behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

__all__ = [
    "BusState", "Command", "Event", "Instant", "Kind", "LinkState", "Origin", "Outcome", "OutcomeState", "Point",
    "Quality", "Reading", "Readings", "Severity", "Value",
]  # fmt: skip

Value = float | int | bool | str | None
"""The value of a point. None only with a quality that is not good, and in a command, where it releases."""


class Quality(StrEnum):
    """How far a value may be trusted. Neither bad nor stale ever drives an output."""

    GOOD = "good"
    STALE = "stale"
    """It was good, but nothing came for the point's `stale_after`. The value is the last good one."""
    BAD = "bad"
    """The device, the wire or the signal says so. The value is None, or what was out of range."""


class Kind(StrEnum):
    """The sort of series that a point is; it decides the outbox class of its readings (uplink contract)."""

    TELEMETRY = "telemetry"
    """A measurement: class 2."""
    STATE = "state"
    """A two-state or a few-states value whose changes matter (relay, contact): class 1."""
    COUNTER = "counter"
    """A counter or an index that only grows: class 1."""
    DIAGNOSTIC = "diagnostic"
    """Health of a wire or a device: class 3."""


class Severity(StrEnum):
    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"
    INFO = "info"


class BusState(StrEnum):
    """Whether a bus can be used: its port, chip or connection is open."""

    UP = "up"
    DOWN = "down"


class LinkState(StrEnum):
    """The state of the uplink."""

    OFF = "off"
    """The site has no uplink, or the agent is stopping."""
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"
    """The next attempt comes after a delay."""


class Instant(NamedTuple):
    """A moment that stays true when the wall clock is wrong.

    `boot` is the kernel's boot id, `boottime_ns` CLOCK_BOOTTIME in nanoseconds, `wall_ms` Unix time in
    milliseconds, or None while the wall clock cannot be trusted.
    """

    boot: str
    boottime_ns: int
    wall_ms: int | None


class Reading(NamedTuple):
    """One value of one point. `at` is when it was on the wire, not when it was handed on.

    `measured_at` (Unix milliseconds) is set only for history that a device kept and sends later: when it says that it
    measured it. Such a reading goes upstream and nowhere else: it is not a present value.
    """

    point: str
    value: Value
    at: Instant
    quality: Quality = Quality.GOOD
    measured_at: int | None = None


Readings = Sequence[Reading]
"""The readings of one look at a device: handed on whole, because work per value is what costs."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point, as a technician names it. `id` is `device.point` ("meter-a.active_power"), `signal` or `actuator` names.

    `low` and `high` bound what may be written, in `unit`. `stale_after` is in seconds: None means never.
    `deferred`: a write waits until the device listens (a LoRaWAN class A node: after its next uplink), perhaps for an
    hour; the caller may cancel it until then. `moves` is the id of the output that a write moves once,
    without holding it (a relay's pulse of some seconds): such a point is a command, not a state, and is never read.
    """

    id: str
    device: str
    unit: str = ""
    kind: Kind = Kind.TELEMETRY
    writable: bool = False
    low: float | None = None
    high: float | None = None
    stale_after: float | None = None
    deferred: bool = False
    moves: str = ""


class Origin(StrEnum):
    """The source of a write. All sources pass the same arbiter."""

    MQTT = "mqtt"
    LOCAL = "local"
    """The command line on the box, over the agent's socket."""
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Command:
    """A requested write. `value` None releases an earlier one.

    `issued_at` and `expires_at` are Unix milliseconds (None: not stated); `ttl_ms` is validity from receipt, and from
    `issued_at` as well where that is stated and the time is known.
    Both bound when the command may *start*. `hold_ms` is how long the override lasts from then on.
    `by` is the user ("mqtt", "uid 1000 (marie)"): it goes into the audit record. `condition` is (point, value):
    it is carried out only if that point has that value, in good quality, when it is accepted.
    """

    id: str
    point: str
    value: Value
    received: Instant
    issued_at: int | None = None
    expires_at: int | None = None
    ttl_ms: int | None = None
    hold_ms: int | None = None
    origin: Origin = Origin.LOCAL
    by: str = ""
    condition: tuple[str, Value] | None = None


class OutcomeState(StrEnum):
    """The life of a command: received -> rejected | expired | accepted -> applied -> verified | mismatch | failed."""

    RECEIVED = "received"
    REJECTED = "rejected"
    EXPIRED = "expired"
    ACCEPTED = "accepted"
    APPLIED = "applied"
    VERIFIED = "verified"
    MISMATCH = "mismatch"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """A crash came between acceptance and the wire: it was perhaps carried out, and is not tried again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a command, in words a person understands."""

    command: str
    point: str
    value: Value
    state: OutcomeState
    reason: str
    at: Instant
    on_record: bool = True
    """False: it is on no record, so the caller has to count it."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened once: class 0, on flash before anyone acts on it.

    `kind` is one of alarm, cleared, change, audit, gap, clock, config, link; `code` is from the closed list
    in docs/alarms.md for alarms; `subject` is the bare name of what it is about ("km1", "meter-a").
    """

    kind: str
    code: str
    subject: str
    at: Instant
    severity: Severity = Severity.INFO
    detail: dict[str, Any] | None = None
