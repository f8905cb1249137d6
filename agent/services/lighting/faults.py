"""The faults of a circuit: how long each must last, how severe it is, and which are open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.control.api import NEVER
from agent.model import Severity

__all__ = ["HOLD", "LAMP_FAULTS", "SEVERITY", "Watch"]

LAMP_FAULTS = frozenset({"lamp_lost", "power_drop", "circuit_dead"})
HOLD = {
    "lamp_lost": 900.0,
    "power_drop": 900.0,
    "circuit_dead": 60.0,
    "contactor_welded": 60.0,
    "contactor_open": 60.0,
    "day_burning": 60.0,
    "undervoltage": 60.0,
    "photocell_stuck": 0.0,
    "local_manual": 0.0,
    "trigger_stuck": 0.0,
    "sensor_fault": 60.0,
}
"""Seconds that each fault must be present before its alarm is raised, and absent before it is cleared."""
SEVERITY = {
    "lamp_lost": Severity.MINOR,
    "power_drop": Severity.MAJOR,
    "circuit_dead": Severity.MAJOR,
    "contactor_welded": Severity.MAJOR,
    "contactor_open": Severity.MAJOR,
    "day_burning": Severity.MINOR,
    "undervoltage": Severity.MINOR,
    "photocell_stuck": Severity.MINOR,
    "local_manual": Severity.INFO,
    "trigger_stuck": Severity.MINOR,
    "sensor_fault": Severity.MINOR,
}


def _hold(code: str, least: float) -> float:
    """Seconds that a fault must last before it is raised, and be over before it is cleared."""
    return max(HOLD[code], least) if HOLD[code] else 0.0


@dataclass(frozen=True, slots=True)
class Watch:
    """Which faults are open, and since when (monotonic s) others are about to begin or to end."""

    open: frozenset[str] = frozenset()
    turning: Mapping[str, float] = field(default_factory=dict)

    def look(self, verdicts: Mapping[str, bool | None], now: float, least_hold: float = 0.0) -> Watch:
        """Return the watch after these verdicts. A hold is `least_hold` seconds at least, or 0."""
        found, turning = self.open, {}
        for code, verdict in verdicts.items():
            if verdict is None or verdict is (code in self.open):
                continue
            since = self.turning.get(code, now)
            if now - since < _hold(code, least_hold):
                turning[code] = since
            else:
                found = found | {code} if verdict else found - {code}
        return Watch(found, turning) if turning or self.turning or found is not self.open else self

    def due(self, least_hold: float = 0.0) -> float:
        return min((since + _hold(code, least_hold) for code, since in self.turning.items()), default=NEVER)

    @property
    def lamps_are_fine(self) -> bool:
        """No fault of the lamps is open or about to be."""
        return not (LAMP_FAULTS & (self.open | self.turning.keys()))
