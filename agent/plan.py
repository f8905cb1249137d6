"""What the running agent knows of its site: plain data, read from the site file by a process of its own.

The file's models and its parser take some 15 MB that a small box has better use for. So `agent.wiring` runs as a child,
checks the file, translates it into a `Plan`, hands that over, and is gone with all its memory.
"""

from __future__ import annotations

import pickle
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.arbiter.spec import ActuatorSpec
from agent.child import environment, program
from agent.clock import Trust
from agent.control.core import Accounts, Control
from agent.driver import BusSpec
from agent.errors import BocageError, ConfigError
from agent.hub import Policy
from agent.model import Kind, Point
from agent.signals import Signal
from agent.uplink.settings import UplinkSettings

__all__ = ["Buffer", "Plan", "PlanReader"]


@dataclass(frozen=True, slots=True)
class Buffer:
    """How long and how much the outbox keeps: seconds, days, bytes."""

    window: float = 5.0
    days: float = 30
    max_bytes: int = 200_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """One site, checked and translated. `stale_after` is in seconds by point; `pins` are the points of GPIO chips."""

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
    """What the file asks for and this version does not do yet."""
    signals: tuple[Signal, ...]
    policies: Mapping[str, Policy]
    actuators: tuple[ActuatorSpec, ...]
    controls: tuple[Control[Any], ...]
    """The services' rules, one a circuit, water point, tank, zone and store of hot water."""
    stale_after: Mapping[str, float | None]
    pins: frozenset[str]
    personal: frozenset[str]
    """Devices and signals whose readings do not leave the box."""

    @property
    def outputs(self) -> dict[str, str]:
        """The output point of every actuator: who reads `km1` wants to know what its relay does."""
        return {actuator.name: actuator.output for actuator in self.actuators}

    @property
    def allow(self) -> tuple[str, ...] | None:
        """What commands over MQTT may name; None is everything."""
        return None if self.uplink is None else self.uplink.allow

    def points(self, driven: Iterable[Point]) -> list[Point]:
        """Those of the drivers, each with the time after which it is stale (a pin belongs to its chip), and the
        accounts that controls keep."""
        accounts = [point for control in self.controls if isinstance(control, Accounts) for point in control.points]
        return [*(self._dressed(point) for point in driven), *accounts]

    def _dressed(self, point: Point) -> Point:
        device = point.id.partition(".")[0] if point.id in self.pins else point.device
        stale_after = None if point.kind is Kind.DIAGNOSTIC else self.stale_after.get(point.id, point.stale_after)
        return replace(point, device=device, stale_after=stale_after)


class PlanReader:
    """Reads a site file in a child process; `result` waits for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._child = subprocess.Popen(
            program("agent.wiring", str(path)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment()
        )

    def result(self) -> Plan:
        """The plan. ConfigError lists everything that is wrong with the file."""
        answer, _ = self._child.communicate()
        if self._child.returncode:
            raise BocageError(f"{self._path}: its reader ended with {self._child.returncode}")
        found = pickle.loads(answer)
        if isinstance(found, Plan):
            return found
        raise ConfigError(found)
