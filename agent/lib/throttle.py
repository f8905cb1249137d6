"""Reports of what happens often: one of each kind in a period, with the number of occurrences."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable

__all__ = ["Throttle"]


class Throttle:
    """Counts occurrences by kind and says when one is to be reported: at once, then once in `period` seconds.

    `monotonic` gives seconds. Of at most `kinds` kinds the last report is remembered; the oldest is forgotten first.
    """

    def __init__(self, monotonic: Callable[[], float], period: float = 60.0, kinds: int = 256) -> None:
        self._monotonic, self._period, self._kinds = monotonic, period, kinds
        self._reported: dict[Hashable, float] = {}
        self._counts: dict[Hashable, int] = {}

    def __call__(self, *kind: Hashable) -> int:
        """Count one. Return the number since the last report if one is due now, else 0."""
        self.count(*kind)
        return self.take(*kind)

    def count(self, *kind: Hashable) -> None:
        """Count one."""
        self._counts[kind] = self._counts.get(kind, 0) + 1

    def is_due(self, *kind: Hashable) -> bool:
        """Whether something was counted that may be reported now."""
        return kind in self._counts and self._monotonic() - self._reported.get(kind, -math.inf) >= self._period

    def take(self, *kind: Hashable) -> int:
        """Return the number since the last report and begin anew if a report is due, else 0."""
        if not self.is_due(*kind):
            return 0
        self._reported.pop(kind, None)
        self._reported[kind] = self._monotonic()
        if len(self._reported) > self._kinds:
            oldest = next(iter(self._reported))
            del self._reported[oldest]
            self._counts.pop(oldest, None)
        return self._counts.pop(kind)
