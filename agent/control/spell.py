"""Time that is counted while something goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.control.api import NEVER
from agent.control.boot_time import BootShift

__all__ = ["FOLD", "SAME_RUN", "Spell", "next_fold"]

FOLD = 600.0
"""Seconds: on this grid the time that goes on is added to what was counted, so that a power cut costs no more of it."""
SAME_RUN = 5.0
"""Seconds by which the beginning of one and the same run may differ after a restart."""


def next_fold(now: float) -> float:
    """When time that goes on is next added to what was counted."""
    return (now // FOLD + 1) * FOLD


@dataclass(frozen=True, slots=True)
class Spell:
    """Time that is counted while something goes on: `seconds` so far, and since when it goes on now."""

    seconds: float = 0.0
    since: float | None = None

    def at(self, now: float, goes_on: bool) -> Spell:
        """Continue or stop the count. Running time is added to `seconds` on a grid, which is what is kept on flash."""
        if goes_on is (self.since is not None) and (self.since is None or self.since // FOLD == now // FOLD):
            return self
        return Spell(self.total(now), now if goes_on else None)

    def total(self, now: float) -> float:
        return self.seconds + (0.0 if self.since is None else now - self.since)

    def reaches(self, limit: float) -> float:
        """When it will be so long, if it goes on."""
        return NEVER if self.since is None else self.since + limit - self.seconds

    def reset(self, now: float) -> Spell:
        return Spell(0.0, None if self.since is None else now)

    def shifted(self, by: BootShift) -> Spell:
        """After a reboot only `seconds` count: how long the gateway was without power is not known."""
        return Spell(self.seconds, None) if by.is_another(self.since) else self

    @classmethod
    def load(cls, kept: Mapping[str, Any] | None) -> Spell:
        return cls() if kept is None else cls(float(kept["seconds"]), kept["since"])
