"""The cost of light on request and of presence. It is told at each full hour: no figure shows when a person came by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from agent.control.api import NEVER, Now

__all__ = ["Cost", "RequestAccount"]

HOUR = 3600.0
_EARLY = 0.001
"""Seconds by which a full hour counts as reached: two clocks differ by their rounding."""


class Cost(NamedTuple):
    """Totals: requests, seconds of light that they caused, its energy (Wh), and how often something was detected.
    `night`: requests of the last whole night (None: it was not seen)."""

    requests: int = 0
    seconds: float = 0.0
    energy: float = 0.0
    detections: int = 0
    night: int | None = None

    @property
    def kept(self) -> Cost:
        """As it is kept, and told: what was told never goes back after a restart."""
        return self._replace(seconds=round(self.seconds, 3), energy=round(self.energy, 1))


class RequestAccount(NamedTuple):
    """The totals now, and as they were at the last full hour."""

    cost: Cost = Cost()
    told: Cost = Cost()
    turns: float | None = None
    """When the hour is full (monotonic s); None: not looked at since the start."""

    def add(self, requests: int, night: int | None, detections: int) -> RequestAccount:
        """With what was counted since the last step; `requests` is a total."""
        cost = self.cost
        if requests == cost.requests and night == cost.night and not detections:
            return self
        found = cost._replace(requests=requests, night=night, detections=cost.detections + detections)
        return self._replace(cost=found)

    def burnt(self, seconds: float, energy: float) -> RequestAccount:
        """With light that would not have been without a request."""
        cost = self.cost
        return self._replace(cost=cost._replace(seconds=cost.seconds + seconds, energy=cost.energy + energy))

    def turned(self, now: Now) -> RequestAccount:
        """When the hour is full, the totals are told. By the time since the boot while no other is known."""
        if self.turns is not None and now.monotonic < self.turns:
            return self
        moment = now.monotonic if now.civil is None else now.civil.timestamp() + _EARLY
        turns = now.monotonic + HOUR - moment % HOUR
        return self._replace(turns=turns, told=self.told if self.turns is None else self.cost)

    @property
    def due(self) -> float:
        """When something is told (monotonic s)."""
        return NEVER if self.told == self.cost or self.turns is None else self.turns

    def dump(self) -> dict[str, Any]:
        return {"cost": list(self.cost.kept), "told": list(self.told.kept)}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> RequestAccount:
        return cls(Cost(*kept["cost"]), Cost(*kept["told"]))
