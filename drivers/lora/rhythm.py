"""How often a radio node sends, learned from its uplinks."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence

__all__ = ["Rhythm"]

_GAPS = 7  # the median follows a node that was set anew after four of them
_ENOUGH, _ENOUGH_FOR_MUCH_LESS = 3, 5
_BURST = 0.25  # of the interval: what follows sooner belongs to the same word
_LONG = 10.0  # times the median: the pauses between bursts
_LEAST = 1.0  # s


class Rhythm:
    """The median of the last gaps between uplinks, in seconds.

    A burst (a payload in parts, history that is caught up, the frames after a join) counts as one uplink while it
    takes less than an interval; frames that follow each other closely for longer are a new interval. `expected` is used
    until enough was heard: the profile's, None if it is unknown.
    """

    def __init__(self, expected: float | None, gaps: Sequence[float] = ()) -> None:
        self._expected = expected
        self._gaps: deque[float] = deque(gaps, _GAPS)
        self._burst: list[float] = []
        self.learnt = self._learn()

    @property
    def gaps(self) -> list[float]:
        """The gaps that it was learned from, to be kept."""
        return list(self._gaps)

    @property
    def interval(self) -> float | None:
        """Seconds between two words: learned, else expected."""
        return self.learnt or self._expected

    def heard(self, gap: float, frames: int = 1) -> None:
        """`gap` seconds after the frame before; `frames` of them were sent in that time, as far as the counter says."""
        if self.learnt is not None and gap < self.learnt * _BURST:
            self._burst.append(gap)
            if sum(self._burst) <= self.learnt:
                return
            self._gaps.clear()
            self._gaps.extend(self._burst)
        else:
            self._gaps.append((gap + sum(self._burst)) / max(frames, 1))
        self._burst.clear()
        self.learnt = self._learn()

    def _learn(self) -> float | None:
        if len(self._gaps) < _ENOUGH:
            return None
        median = statistics.median(self._gaps)
        pauses = [gap for gap in self._gaps if gap > _LONG * median]
        if 4 * len(pauses) >= len(self._gaps):
            median = statistics.median(pauses)
        much_less = self._expected is not None and median < self._expected * _BURST
        if much_less and len(self._gaps) < _ENOUGH_FOR_MUCH_LESS:
            return None
        return max(median, _LEAST)
