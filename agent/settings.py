"""The settings of the running agent: plain data, read from the site file by a process of its own.

The file's models and its parser take some 15 MB that a small box has better use for. So `agent.site.build` runs as a
child process, checks the file, translates it into `Settings`, hands them over, and ends.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.clock import Trust
from agent.control.api import Accounts, Control, Factual
from agent.control.named_calendars import NamedCalendar, Occurrences
from agent.core.actuator_spec import ActuatorSpec
from agent.core.hub import Policy
from agent.core.signals import Signal
from agent.errors import ConfigError, Problem
from agent.lib.child import environment, program
from agent.lib.secret import Kept
from agent.lib.secret_reference import SecretReference
from agent.model import Kind, Point
from agent.uplink.settings import UplinkSettings
from drivers.api import BusSpec

__all__ = ["Buffer", "CalendarSource", "Found", "Settings", "SettingsReader"]

PATIENCE = 40
"""Seconds that reading a site file may take: systemd waits 60 for a start and for a reload. The child ends itself."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """The outbox's window (seconds), retention (days) and size (bytes)."""

    window: float = 5.0
    days: float = 30
    max_bytes: int = 200_000_000
    audit_days: float = 180


@dataclass(frozen=True, slots=True)
class CalendarSource:
    """An iCalendar: a `file` beside the site file, or an address. It begins `before` seconds early.

    What is on a server is fetched every `refresh` seconds.
    """

    name: str
    file: str | None = None
    url: Kept | None = None
    refresh: float = 0.0
    before: float = 0.0


@dataclass(frozen=True, slots=True)
class Settings:
    """One site, checked and translated. `stale_after` is in seconds by point; `pins` are the points that are pins."""

    site: str
    name: str
    timezone: str
    trust: Trust
    config_hash: str
    buffer: Buffer
    uplink: UplinkSettings | None
    buses: Mapping[str, BusSpec]
    idle_buses: tuple[dict[str, Any], ...]
    """Buses without a driver, as the live view shows them."""
    not_driven: tuple[str, ...]
    """Requests of the file that this version does not carry out yet."""
    signals: tuple[Signal, ...]
    policies: Mapping[str, Policy]
    actuators: tuple[ActuatorSpec, ...]
    controls: tuple[Control[Any], ...]
    """The services' rules, one a circuit, water point, tank, zone and store of hot water."""
    calendars: Mapping[str, NamedCalendar]
    """The named calendars: days and times, and of iCalendars beside the file what was read with it."""
    calendar_sources: tuple[CalendarSource, ...]
    """The iCalendars that are read again and again."""
    stale_after: Mapping[str, float | None]
    pins: frozenset[str]
    personal: frozenset[str]
    """Devices and signals whose readings do not leave the box."""

    @classmethod
    def bare(cls) -> Settings:
        """Settings of an unknown site: they read nothing and command nothing. No buffer is made smaller."""
        long, large = 3660, 1 << 50  # days, bytes
        return cls(
            site="", name="", timezone="UTC", trust="auto", config_hash="",
            buffer=Buffer(days=long, max_bytes=large, audit_days=long), uplink=None, buses={}, idle_buses=(),
            not_driven=(), signals=(), policies={}, actuators=(), controls=(), calendars={},
            calendar_sources=(), stale_after={}, pins=frozenset(), personal=frozenset(),
        )  # fmt: skip

    @property
    def outputs(self) -> dict[str, str]:
        """The output point of every actuator, by the actuator's name: reading `km1` shows its relay."""
        return {actuator.name: actuator.output for actuator in self.actuators}

    @property
    def allow(self) -> tuple[str, ...] | None:
        """The points that commands over MQTT may name; None is all."""
        return None if self.uplink is None else self.uplink.allow

    def has_calendars_of(self, other: Settings) -> bool:
        """Whether the named calendars are those of `other`, read at another time."""
        mine, others = self.calendars, other.calendars
        if self.calendar_sources != other.calendar_sources or mine.keys() != others.keys():
            return False
        pairs = ((mine[name], others[name]) for name in mine)
        return all(
            one.agrees(old) if isinstance(one, Occurrences) and isinstance(old, Occurrences) else one == old
            for one, old in pairs
        )

    def points(self, driven: Iterable[Point]) -> list[Point]:
        """The points of the drivers, each with the time after which it is stale (a pin belongs to its chip), and the
        points of controls: their accounts, and what other controls look at."""
        own = [one for control in self.controls if isinstance(control, Accounts | Factual) for one in control.points]
        return [*(self._dressed(point) for point in driven), *own]

    def _dressed(self, point: Point) -> Point:
        device = point.id.partition(".")[0] if point.id in self.pins else point.device
        stale_after = None if point.kind is Kind.DIAGNOSTIC else self.stale_after.get(point.id, point.stale_after)
        return replace(point, device=device, stale_after=stale_after)


@dataclass(frozen=True, slots=True)
class Found:
    """The result of reading a site file."""

    settings: Settings | None
    """The settings, also where rules are broken; None if the file cannot be understood at all."""
    problems: tuple[Problem, ...]
    files: Mapping[str, bytes]
    """The site's own files as they were read: `site.yaml`, its profiles, their codecs and calendars."""
    absent: frozenset[str] = frozenset()
    """Codecs that a profile needs and that are not there."""
    secret_references: tuple[SecretReference, ...] = ()
    """Secrets, certificates and keys that it points to."""

    @property
    def first(self) -> Problem | None:
        """The first error that keeps it from running; None for a file that can run."""
        return next((problem for problem in self.problems if problem.is_fatal), None)

    @property
    def breaks_rules_only(self) -> bool:
        """Whether all that is wrong with it are rules: nothing that it names is missing."""
        wrong = [problem for problem in self.problems if problem.is_fatal]
        return self.settings is not None and all(problem.rule for problem in wrong)


class SettingsReader:
    """Reads a site file in a child process; `found` and `result` wait for it.

    With `home`, `path` is a copy of that site file: what is secret stays beside the original.
    """

    def __init__(self, path: Path, home: Path | None = None) -> None:
        self._path = home or path
        command = program("agent.site.build", str(path), *([str(home)] if home else []))
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment())

    def found(self) -> Found:
        """Everything, with all that is wrong. Never raises for what the file holds."""
        answer, _ = self._child.communicate()
        if self._child.returncode == -signal.SIGALRM:
            return self._unread(f"cannot be read within {PATIENCE} s")
        if self._child.returncode:
            return self._unread(f"its reader ended with {self._child.returncode}")
        found = pickle.loads(answer)
        assert isinstance(found, Found)
        return found

    def result(self) -> Settings:
        """The settings. ConfigError lists everything that is wrong with the file."""
        found = self.found()
        if found.settings is None or found.first is not None:
            raise ConfigError([str(problem) for problem in found.problems], found.first)
        return found.settings

    def _unread(self, why: str) -> Found:
        return Found(None, (Problem(str(self._path), 1, 1, "error", why),), {})
