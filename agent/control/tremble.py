"""How much a reading trembles: what it went and came back within a short time. What goes one way only is no noise.

A dead probe is not silent: its converter and its line add a digit or some hundredths of a kelvin.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Tremble", "follow"]

SPAN = 3600.0
"""Seconds: noise goes and comes back within this; a room does not, unless its burner comes and goes."""
KEPT = 0.9
"""Of what was known is kept over a span that was quieter: a radio node speaks a few times an hour."""


class Tremble(NamedTuple):
    """`low` to `high` was read since `since` (monotonic s); `rise` and `fall` are the largest in that order of time.
    `before` is what it trembled in the spans before. All in the unit of the reading."""

    before: float = 0.0
    since: float | None = None
    low: float = 0.0
    high: float = 0.0
    rise: float = 0.0
    fall: float = 0.0

    @property
    def swing(self) -> float:
        """What it went and came back in this span."""
        return min(self.rise, self.fall)

    @property
    def size(self) -> float:
        return max(self.before, self.swing)


def follow(tremble: Tremble, value: float, t: float) -> Tremble:
    """The tremble after a reading at `t` (monotonic s): the span goes on, or the next one begins."""
    since = tremble.since
    if since is None or not since <= t < since + SPAN:
        before = tremble.before if since is None else max(tremble.swing, KEPT * tremble.before)
        return Tremble(before, t, value, value)
    low, high = min(tremble.low, value), max(tremble.high, value)
    rise, fall = max(tremble.rise, value - low), max(tremble.fall, high - value)
    if (low, high, rise, fall) == tremble[2:]:
        return tremble
    return Tremble(tremble.before, since, low, high, rise, fall)
