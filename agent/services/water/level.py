"""The plausible level of a tank: a single reading of 0 % is a sensor error, no empty tank."""

from __future__ import annotations

from typing import NamedTuple

from agent.control.api import NEVER
from agent.control.boot_time import BootShift

__all__ = ["Level", "believe"]

EMPTY = 1.0
"""Percent: a fall to this may be a broken wire or a sensor that starts, so it must be confirmed."""
FASTEST = 20.0 / 60
"""Percent a second: no tank empties faster."""
STEP = 5.0
"""Percent by which a level may fall at once."""
CONFIRM = 60.0
"""Seconds for which a level that is doubted must say so."""
LATE = 3
"""Intervals of the sensor after which it would have sent another value, or be stale."""


class Level(NamedTuple):
    """The last accepted percentage (None: none yet) and when it was read; since when another is doubted.

    Times are monotonic seconds.
    """

    value: float | None = None
    at: float = 0.0
    doubted: float | None = None
    missing: bool = False
    """The level is not known at present."""

    @property
    def matters(self) -> bool:
        """Whether it must be kept for a restart: else the level is read again at once."""
        return self.missing or self.doubted is not None

    def shifted(self, by: BootShift) -> Level:
        return self._replace(at=by.past(self.at), doubted=by.optional(self.doubted))


def believe(state: Level, level: float | None, read_at: float, interval: float, now: float) -> tuple[Level, float]:
    """The level after a reading, and when to look again. A rise is accepted at once: it can only stop a pump.

    `read_at` is when `level` was read last (None: it is not known), `interval` how often it is read (s).
    """
    if level is None:
        return Level(state.value, state.at, missing=True), NEVER
    if not _is_odd(state, level, read_at):
        return Level(level, read_at), NEVER
    since = read_at if state.doubted is None else state.doubted
    end = since + CONFIRM + LATE * interval
    if read_at >= since + CONFIRM or now >= end:
        return Level(level, read_at), NEVER
    return Level(state.value, state.at, since), min(end, now + max(interval, CONFIRM / 4))


def _is_odd(state: Level, level: float, read_at: float) -> bool:
    if state.value is None:
        return level <= EMPTY
    fall = state.value - level
    return fall > STEP and (level <= EMPTY or fall > STEP + FASTEST * (read_at - state.at))
