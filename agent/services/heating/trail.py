"""The recent readings of a room's sensor, and its resolution: a fall must be more than one step of the sensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["APART", "JUDGED", "Trail", "follow"]

JUDGED = 300.0
"""A fall is judged over at least so long (s)."""
APART = 60.0
"""The least time (s) between two readings that are kept."""
NOISE = 0.05
"""K: a change below it is the noise of a fine sensor, no step of a coarse one."""
COARSEST, WHOLE = 0.5, 1.0
"""K: the resolution of a room sensor is no coarser, nor that of a polled one with whole degrees. A larger change is
several steps between two readings of a radio node."""


class Trail(NamedTuple):
    """Readings are (degC, monotonic s), the oldest first. The first one is at least `JUDGED` old, once there is one."""

    recent: tuple[tuple[float, float], ...] = ()
    last: float | None = None
    """The last reading, degC."""
    step: float = 0.0
    """The smallest change that was seen of the sensor, K; 0 while there was none."""

    def before(self, at: float) -> tuple[float, float] | None:
        """The youngest reading that is no younger than `at`."""
        return next((one for one in reversed(self.recent) if one[1] <= at), None)

    def in_this_boot(self) -> Trail:
        """Times of another boot mean nothing; the sensor is the same."""
        return Trail(step=self.step)

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Trail:
        return cls(tuple((value, at) for value, at in kept["recent"]), kept["last"], kept["step"])


def follow(trail: Trail, value: float, at: float) -> Trail:
    """The trail after a reading, read at `at` (monotonic s)."""
    change = 0.0 if trail.last is None else abs(value - trail.last)
    step = trail.step
    if change >= NOISE:
        polled = bool(trail.recent) and at - trail.recent[-1][1] < JUDGED
        is_whole = polled and trail.last is not None and value % 1 == trail.last % 1 == 0
        seen = min(change, WHOLE if is_whole else COARSEST)
        step = seen if step == 0 else min(seen, step)
    recent = trail.recent
    if recent and at - recent[-1][1] < APART:
        return trail if trail.last == value and trail.step == step else Trail(recent, value, step)
    begin = 0
    while begin + 1 < len(recent) and recent[begin + 1][1] <= at - JUDGED:
        begin += 1
    return Trail((*recent[begin:], (value, at)), value, step)
