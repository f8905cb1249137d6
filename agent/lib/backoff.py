"""Delays between attempts: doubled after each failure, or growing with the length of an outage."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["Backoff", "doubled", "outage_delay"]

FIRST, LONGEST = 1.0, 60.0
"""Seconds: the usual first and longest delay."""


class Backoff:
    """A series of delays in seconds: `first`, doubled each time, `longest` at most.

    Each is multiplied by a random factor of `spread` (lowest, highest), so that many gateways do not try at once.
    `dice` gives a number from 0 to 1.
    """

    def __init__(
        self,
        first: float = FIRST,
        longest: float = LONGEST,
        spread: tuple[float, float] = (1.0, 1.0),
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._first, self._longest, self._spread, self._dice = first, longest, spread, dice
        self._last = 0.0

    @property
    def delay(self) -> float:
        """The next delay, before it is spread."""
        return doubled(self._last, self._first, self._longest)

    def next(self) -> float:
        """Return the next delay, spread; the one after it is twice as long."""
        self._last = self.delay
        low, high = self._spread
        return self._last if low == high == 1.0 else self._last * (low + (high - low) * self._dice())

    def reset(self) -> None:
        """Begin again with the first delay, after a success."""
        self._last = 0.0


def doubled(delay: float, first: float, longest: float) -> float:
    """Return the delay that follows `delay`: twice as long, from `first` to `longest` seconds."""
    return min(max(2 * delay, first), longest)


def outage_delay(outage: float) -> float:
    """Return the delay after `outage` seconds without a connection: a thirtieth of it, from 1 s to 60 s.

    A server that was away for 30 s is asked every second, one that was away for an hour once a minute.
    """
    return min(max(outage / 30, FIRST), LONGEST)
