"""Presence: lamps that are dimmed while nothing moves, and bright while something does.

While the sensor is lost, stuck or not read yet, the programme's level holds, as if there were no sensor: a sensor that
cannot see a person must not leave that person in less light than the mayor decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent.control.api import NEVER, Now, View
from agent.control.boot_time import BootShift
from agent.services.lighting.night import FULL
from agent.services.lighting.triggers import TriggerState, is_known

__all__ = ["Presence", "PresenceState"]


@dataclass(frozen=True, slots=True)
class PresenceState:
    """The sensor, as it was seen last."""

    trigger: TriggerState = field(default_factory=TriggerState)
    is_known: bool = False
    """The signal can be read."""
    bright: bool = False
    """The lamps are bright by it."""

    def dump(self) -> dict[str, Any]:
        """When something moved is kept as long as the lamps are bright by it."""
        return self.trigger.dump() | ({"at": self.trigger.at} if self.bright else {})

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> PresenceState:
        return cls(TriggerState.load(kept))

    def shifted(self, by: BootShift) -> PresenceState:
        """With the times of this boot."""
        return replace(self, trigger=self.trigger.shifted(by))


@dataclass(frozen=True, slots=True)
class Presence:
    """The lamps are at `level` % until `hold` s after the signal was on, else at `otherwise` %."""

    signal: str
    level: float = FULL
    otherwise: float = 30.0
    hold: float = 300.0
    stuck_after: float = 4 * 3600.0

    def step(self, state: PresenceState, view: View, now: Now, judged: bool) -> PresenceState:
        """After a look at the signal; `judged` while the lamps burn by it."""
        found = view.points.get(self.signal)
        trigger = state.trigger.look(found, now.monotonic, 0.0, self.stuck_after, judged)
        bright = not trigger.stuck and now.monotonic < trigger.at + self.hold
        known = is_known(found)
        if trigger is state.trigger and known is state.is_known and bright is state.bright:
            return state
        return PresenceState(trigger, known, bright)

    def wanted(self, state: PresenceState) -> float | None:
        """% that the lamps should be at; None: the sensor cannot say."""
        if state.bright:
            return self.level
        return self.otherwise if state.is_known and not state.trigger.stuck else None

    def due(self, state: PresenceState, now: Now) -> float:
        """When something changes by itself (monotonic s)."""
        end = state.trigger.at + self.hold
        stuck = state.trigger.due(now.monotonic, 0.0, self.stuck_after)
        return min(end if end > now.monotonic else NEVER, stuck)
