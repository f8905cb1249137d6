"""What is counted: for the status, and to know when there is too much."""

from __future__ import annotations

from typing import Any

from agent.outbox.blocks import Block
from agent.outbox.retention import QUOTA
from agent.outbox.store import Totals, cost

__all__ = ["Figures"]

_A_READING = 8.0
"""Bytes of a reading on flash, until some were written."""


class Figures:
    """On flash: `rows` readings, `bytes` by class, `used` bytes of the file, `free` ones of its disk.

    `oldest_ms` is the oldest; `gaps` were told so far; `lost` are numbers by reason and class.
    """

    def __init__(self, quota: int, now: float) -> None:
        self._quota = quota
        self.rows = self.used = self.free = self.gaps = 0
        self.bytes = dict.fromkeys(range(4), 0)
        self.lost: dict[str, dict[str, int]] = {}
        self.oldest_ms: int | None = None
        self._rate: float | None = None
        self._came, self._counted_at = 0, now
        self._per_reading = _A_READING

    def adopt(self, totals: Totals) -> None:
        """A database was opened."""
        self.rows, self.bytes, self.oldest_ms, self.used = totals.rows, totals.bytes, totals.oldest_ms, totals.used
        self.gaps += totals.gaps
        for why, classes in totals.lost.items():
            for cls, n in classes.items():
                self.add_lost(why, cls, n)

    def forget(self) -> None:
        """The database is gone."""
        self.rows, self.bytes = 0, dict.fromkeys(range(4), 0)

    def stored(self, block: Block) -> None:
        self.rows += block.n
        self.bytes[block.cls] += len(block.body)

    def measured(self, block: Block) -> None:
        """What a reading of a whole block takes, over the last thousand or so."""
        self._per_reading += (cost(len(block.body)) / block.n - self._per_reading) * min(1.0, block.n / 1000)

    def deleted(self, n: int, cls: int, size: int) -> None:
        self.rows -= n
        self.bytes[cls] -= size

    def add_lost(self, reason: str, cls: int | str, n: int) -> None:
        classes = self.lost.setdefault(reason, {})
        classes[str(cls)] = classes.get(str(cls), 0) + n

    def came(self, n: int) -> None:
        """So many readings were put."""
        self._came += n

    def count(self, now: float) -> None:
        """Readings a second, over about a minute."""
        elapsed = now - self._counted_at
        if elapsed >= 10:
            rate = self._came / elapsed
            self._rate = rate if self._rate is None else self._rate + (rate - self._rate) / 6
            self._came, self._counted_at = 0, now

    def excess(self) -> dict[int, int]:
        """Bytes of class 2 and 3 above their quotas; below 0 where there is room."""
        return {cls: round(self.bytes[cls] - self._quota * QUOTA[cls]) for cls in (2, 3)}

    def too_much(self) -> int:
        """Bytes to be freed: a hundredth of the quota more than is needed; 0 if there is room."""
        return self.used - self._quota + max(self._quota // 100, 32_000) if self.used > self._quota else 0

    def over(self) -> bool:
        """Whether the buffer, or the part of it that a class has, is full."""
        quota, size = self._quota, self.bytes
        return self.used > quota or size[2] > quota * QUOTA[2] or size[3] > quota * QUOTA[3]

    def hours_left(self) -> float | None:
        """Until something has to be thinned, if nothing is delivered from now on."""
        if not self._rate:
            return None
        room = max(0, min(self._quota - self.used, round(self._quota * QUOTA[2]) - self.bytes[2], self.free))
        return round(room / (self._rate * self._per_reading) / 3600, 1)

    def as_status(self) -> dict[str, Any]:
        """What of the status is counted here."""
        return {
            "bytes": sum(self.bytes.values()),
            "hours_left": self.hours_left(),
            "gaps": self.gaps,
            "classes": {str(cls): size for cls, size in self.bytes.items()},
            "lost": {reason: dict(classes) for reason, classes in self.lost.items()},
        }
