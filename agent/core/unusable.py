"""The wire of a bus whose driver cannot be used: it is down, and all its devices are lost."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NoReturn

from agent.clock import Clock
from agent.errors import WireError
from agent.model import BusState, Kind, Point, Quality, Reading, Readings, Value
from drivers.api import BusSpec

__all__ = ["UnusableWire"]


class UnusableWire:
    """In the place of a `Wire` that cannot be made; `reason` says why.

    Its points are those that the profiles of its devices name, and are bad.
    """

    def __init__(self, spec: BusSpec, reason: str, clock: Clock) -> None:
        self.reason, self._clock = reason, clock
        self._lost = [device.name for device in spec.devices]
        self._points = [
            Point(f"{device.name}.{name}", device.name, entry.get("unit") or "", _kind(entry.get("kind")),
                  bool(entry.get("writable")), entry.get("low"), entry.get("high"))
            for device in spec.devices for name, entry in (device.profile or {}).get("points", {}).items()
        ]  # fmt: skip

    @property
    def points(self) -> Sequence[Point]:
        return self._points

    def status(self) -> Mapping[str, Any]:
        return {"state": BusState.DOWN, "load": 0.0, "error": self.reason, "lost": list(self._lost)}

    def due(self) -> float:
        return math.inf

    async def readings(self) -> AsyncIterator[Readings]:
        """Say once that all is bad."""
        now = self._clock.now()
        yield [Reading(point.id, None, now, Quality.BAD) for point in self._points]
        await asyncio.Event().wait()

    async def read(self, _points: Sequence[str]) -> NoReturn:
        raise WireError(self.reason)

    async def write(self, _point: str, _value: Value, _until: float | None = None) -> NoReturn:
        raise WireError(self.reason)

    async def close(self) -> None:
        return None


def _kind(said: Any) -> Kind:
    """The kind of a point, as another distribution's driver says it."""
    return Kind(said) if said in list(Kind) else Kind.TELEMETRY
