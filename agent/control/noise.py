"""The noise of a reading: by how much it went and came back within an hour. A move in one direction is no noise.

A dead probe is not silent: its converter and its line add a digit or some hundredths of a kelvin.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Noise", "follow_noise"]

SPAN = 3600.0
"""Seconds: noise goes and comes back within this; a room does not, unless its burner comes and goes."""
KEPT = 0.9
"""The part of the noise that is kept over a quieter span: a radio node sends a few readings an hour."""


class Noise(NamedTuple):
    """`low` to `high` was read since `since` (monotonic s); `rise` and `fall` are the largest in that order of time.
    `before` is the noise of the spans before. All in the unit of the reading."""

    before: float = 0.0
    since: float | None = None
    low: float = 0.0
    high: float = 0.0
    rise: float = 0.0
    fall: float = 0.0

    @property
    def swing(self) -> float:
        """By how much it went and came back in this span."""
        return min(self.rise, self.fall)

    @property
    def size(self) -> float:
        return max(self.before, self.swing)


def follow_noise(noise: Noise, value: float, t: float) -> Noise:
    """The noise after a reading at `t` (monotonic s): the span goes on, or the next one begins."""
    since = noise.since
    if since is None or not since <= t < since + SPAN:
        before = noise.before if since is None else max(noise.swing, KEPT * noise.before)
        return Noise(before, t, value, value)
    low, high = min(noise.low, value), max(noise.high, value)
    rise, fall = max(noise.rise, value - low), max(noise.fall, high - value)
    if (low, high, rise, fall) == noise[2:]:
        return noise
    return Noise(noise.before, since, low, high, rise, fall)
