"""Numbers of records: each is given once and never again, not even after a power cut that loses what was in memory."""

from __future__ import annotations

import logging
from typing import Any
from uuid import uuid4

from agent.outbox.stage import Replay
from agent.outbox.store import Totals

__all__ = ["RANGE", "Numbers"]

_log = logging.getLogger("bocage.outbox")

RANGE = 100_000
"""Numbers that are reserved on flash at a time."""


class Numbers:
    """Durably reserved ones of `store` up to `limit`; without any, those of a store that only this process knows."""

    def __init__(self) -> None:
        self.store = str(uuid4())
        self.next, self.limit = 1, 0
        self._away, self._away_next = str(uuid4()), 1

    def take(self, n: int, limit: int | None = None) -> tuple[str, int]:
        """Whose the next `n` numbers are, and the first. `limit` is what the transaction at hand will reserve."""
        if self.next + n - 1 <= (limit or self.limit):
            self.next += n
            return self.store, self.next - n
        first = self._away_next
        self._away_next += n
        if first == 1:
            _log.error("no durable numbers left next=numbering under store %s until flash can be written", self._away)
        return self._away, first

    @property
    def low(self) -> bool:
        """Whether it is time to reserve more."""
        return self.limit - self.next < RANGE // 2

    def adopt(self, name: str, totals: Totals, found: Replay) -> list[tuple[str, dict[str, Any]]]:
        """Go on from what a database and the stage hold; gaps (reason, detail) for what nobody is certain of."""
        reserved, flushed = totals.reserved, totals.flushed[name]
        last = max(totals.last[name], found.last(name))
        self.store, self.limit, self.next = name, reserved, last + 1
        if reserved <= flushed or (found.found and not found.cut and not totals.stage_broken):
            return []
        reason = "stage_cut" if found.found else "power_cut"
        first = max(flushed, 0 if totals.stage_broken else found.certain(name)) + 1
        self.next = max(reserved, last) + 1
        _log.warning("numbers lost reason=%s first=%d last=%d next=a gap record", reason, first, reserved)
        span = {"store": name, "first": first, "last": reserved, "count": None, "from": None, "to": None}
        return [(reason, span)]
