"""One siren."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.control.alarm_state import alarm_changes
from agent.control.api import NEVER, Now, Step, View, Wish, good
from agent.model import Severity

__all__ = ["Siren"]


@dataclass(frozen=True, slots=True)
class Siren:
    """Sounds while `level` is above `above`. The state is the set of raised alarms."""

    name: str
    actuator: str
    level: str
    above: float

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset((self.level,))

    def initial(self) -> frozenset[str]:
        return frozenset()

    def step(self, state: frozenset[str], view: View, _now: Now) -> Step[frozenset[str]]:
        level = good(view, self.level)
        high = level is not None and level > self.above
        state, happened = alarm_changes(
            self.name, state, {"level_high": {"level": level}} if high else {}, {"level_high": Severity.MAJOR}
        )
        wish = Wish(self.actuator, 15, high, f"{self.name} {'flood' if high else 'dry'}")
        return Step(state, [wish], happened, NEVER)

    def dump(self, state: frozenset[str]) -> dict[str, Any]:
        return {"raised": sorted(state)}

    def load(self, kept: Mapping[str, Any]) -> frozenset[str]:
        return frozenset(kept["raised"])
