"""Numbers of records: each is given once and never again, not even after a power cut that loses what was in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Literal
from uuid import uuid4, uuid5

from agent.outbox.stage import Replay
from agent.outbox.store import Totals

__all__ = ["RANGE", "Kind", "Numbers", "left_behind"]

_log = logging.getLogger("bocage.outbox")

RANGE = 100_000
"""Numbers that are reserved on flash at a time."""

Kind = Literal["readings", "records", "gaps"]
"""Kinds of numbered things. Within a kind lower numbers leave first; records overtake readings."""


class Numbers:
    """Durably reserved ones of `store` up to `limit`; without any, those of stores that only this process knows.

    A power cut loses those without a trace. So each kind has one of its own, which leaves in the order of its
    numbers: what the power cut takes is the end of it, and no consumer misses that.
    """

    def __init__(self) -> None:
        self.store = str(uuid4())
        self.next, self.limit = 1, 0
        self._name = uuid4()
        self._away: dict[str, int] = {}
        """The highest number in use, by store without durable ones."""
        self._before: dict[str, int] = {}
        self._adopted = False

    def take(self, n: int, kind: Kind) -> tuple[str, int]:
        """Take the next `n` numbers: their store, and the first of them."""
        if self.has(n):
            self.next += n
            return self.store, self.next - n
        store = str(uuid5(self._name, kind))
        if store not in self._away:
            _log.error("no durable numbers left next=%s under store %s until flash can be written", kind, store)
        before = self._away.get(store, 0)
        self._away[store] = before + n
        return store, before + 1

    @property
    def low(self) -> bool:
        """Whether it is time to reserve more."""
        return self.limit - self.next < RANGE // 2

    def has(self, n: int) -> bool:
        """Whether so many durable ones are left."""
        return self.next + n - 1 <= self.limit

    def given(self) -> dict[str, int]:
        """The highest number in use, by store: of this process, and of what it took over."""
        given = dict(self._before)
        if self._adopted:
            given[self.store] = self.next - 1
        return given | self._away

    def rename(self, name: str) -> None:
        """The numbers go on under another store; of the old one nothing is open."""
        self._before[self.store] = self.next - 1
        self.store = name

    def adopt(self, name: str, totals: Totals, found: Replay) -> list[tuple[str, dict[str, Any]]]:
        """Go on from what a database and the stage hold; gaps (reason, detail) for what is nowhere any more."""
        reserved, flushed = totals.reserved, totals.flushed[name]
        last = max(totals.last[name], found.last(name))
        known = found.given or {}
        self._before = {**self.given(), **{store: one.last for store, one in known.items()}}
        self.store, self.limit, self.next, self._adopted = name, reserved, last + 1, True
        gaps = [gap for store in known for gap in _missing(store, totals, found)]
        before = [(store, given, done) for store, (given, done) in totals.away.items()]
        before += [(left["store"], left["reserved"], left["done"]) for left in totals.left]
        for store, given, done in before:
            done = max(done, totals.flushed.get(store, 0))
            if store not in known:
                gaps += left_behind(store, done, given)
        if name in known or reserved <= flushed:
            return gaps
        reason = "stage_cut" if found.found else "power_cut"
        self.next = max(reserved, last) + 1
        return [*gaps, _gap(reason, name, flushed + 1, reserved, None)]


def left_behind(store: str, done: int, given: int) -> list[tuple[str, dict[str, Any]]]:
    """The gap for the numbers of a store beyond `done`, up to `given`, of which an unknown part was in use."""
    return [_gap("power_cut", store, done + 1, given, None)] if given > done else []


def _missing(store: str, totals: Totals, found: Replay) -> Iterator[tuple[str, dict[str, Any]]]:
    """Gaps for numbers that the process before gave and could keep nowhere: it was killed with the stage full."""
    flushed, known = totals.flushed.get(store, 0), (found.given or {})[store]
    holes = found.holes(store, flushed, totals.records.get(store, ()))
    if holes:
        count = sum(last - first + 1 for first, last in holes)
        after_a_cut = flushed and not known.done  # it died before it told what the power cut took: not all were given
        yield _gap("stage_cut", store, holes[0][0], holes[-1][1], None if after_a_cut else count)


def _gap(reason: str, store: str, first: int, last: int, count: int | None) -> tuple[str, dict[str, Any]]:
    _log.warning("numbers lost reason=%s store=%s first=%d last=%d next=a gap record", reason, store, first, last)
    return reason, {"store": store, "first": first, "last": last, "count": count, "from": None, "to": None}
