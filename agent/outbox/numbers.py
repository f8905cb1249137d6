"""Numbers of records: each is given once and never again, not even after a power cut that loses what was in memory.

A start finds some on the stage (`Replay`) and some on flash (`Totals`); those that are nowhere are lost, and a gap
record tells of them.
"""

from __future__ import annotations

import json
import logging
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Literal, NamedTuple
from uuid import uuid4, uuid5

from agent.outbox.blocks import Lot, beyond, split
from agent.outbox.identity import IdentityState, Totals
from agent.outbox.records import StagedRecord, is_gap, renamed_record

__all__ = ["RANGE", "Given", "Kind", "Numbers", "Replay", "left_behind"]

_log = logging.getLogger("bocage.outbox")

RANGE = 100_000
"""Numbers that are reserved on flash at a time."""
_LOST_AT_A_START = ("power_cut", "stage_cut")
"""Reasons of gap records that a start makes."""

Kind = Literal["readings", "records", "gaps"]
"""Kinds of numbered things. Within a kind lower numbers leave first; records overtake readings."""


class Given(NamedTuple):
    """Numbers of a store: given up to `last`; up to `done` each is on flash, delivered, or told as lost."""

    last: int
    done: int


@dataclass(slots=True)
class Replay:
    """Contents of the stage. `cut` says that a record could not be read, so that numbers after it are unknown."""

    found: bool = False
    given: dict[str, Given] | None = None
    """The mark, by store; None without one: then the stage may lack anything."""
    lots: list[Lot] = field(default_factory=list)
    records: list[StagedRecord] = field(default_factory=list)
    accepted: list[tuple[str, int, int]] = field(default_factory=list)
    """(store, first, last) of messages that the broker took."""
    cut: bool = False
    losses: list[tuple[Any, ...]] = field(default_factory=list)
    """Losses in memory that were not reported on flash yet, as noted last."""
    identity: IdentityState | None = None
    """The claim of the process before."""

    def last(self, store: str) -> int:
        """The highest number of a store that is mentioned, 0 if none."""
        put = [lot.last for lot in self.lots if lot.store == store]
        put += [last for name, _, last in self.accepted if name == store]
        put += [record.seq for record in self.records if record.store == store]
        given = (self.given or {}).get(store)
        return max([*put, given.last if given else 0])

    def rename(self, old: str, new: str, first: int) -> None:
        """A process before gave numbers from `first` on another name. If it died just then, only the flash knows."""

        def is_later(one: Lot | StagedRecord) -> bool:
            return one.store == old and one.seq >= first

        self.lots = [lot._replace(store=new) if is_later(lot) else lot for lot in self.lots]
        self.records = [
            one._replace(store=new if is_later(one) else one.store, body=renamed_record(one.body, old, new, first))
            for one in self.records
        ]
        self.accepted += [(new, low, high) for store, low, high in self.accepted if store == old and low >= first]
        if self.given and old in self.given:
            self.given.setdefault(new, self.given.pop(old))

    def beyond(self) -> dict[str, int]:
        """By store: the number behind which a class-0 record on flash matters for `holes`, or is one of these."""
        lowest = {store: known.done for store, known in (self.given or {}).items()}
        for one in self.records:
            lowest[one.store] = min(lowest.get(one.store, one.seq - 1), one.seq - 1)
        return lowest

    def holes(self, store: str, done: int, on_flash: Collection[int]) -> list[tuple[int, int]]:
        """The runs of numbers of a store that were given and are nowhere: neither here nor done with.

        `done` is the number up to which the flash answers for all, `on_flash` are class-0 records beyond it.
        """
        covered = [(lot.seq, lot.last) for lot in self.lots if lot.store == store]
        covered += [(first, last) for name, first, last in self.accepted if name == store]
        covered += [(record.seq, record.seq) for record in self.records if record.store == store]
        covered += [(seq, seq) for seq in on_flash]
        covered += _told(self.records, store)
        known = (self.given or {}).get(store, Given(0, 0))
        reached, holes = max(done, known.done), []
        for first, last in [*sorted(covered), (self.last(store) + 1, 0)]:
            if first > reached + 1:
                holes.append((reached + 1, first - 1))
            reached = max(reached, last, first - 1)
        return holes

    def unsure(self, store: str, noted: tuple[int, int] | None) -> tuple[int, int] | None:
        """First unconfirmed number and epoch of a store, as the process before knows it, or the flash (`noted`)."""
        one = self.identity
        return one.unsure if one is not None and (one.claim.store, one.noted) == (store, noted) else noted

    def stores(self) -> set[str]:
        """The stores of the readings and records in it."""
        return {one.store for held in (self.lots, self.records) for one in held}

    def commands(self) -> set[str]:
        """The commands of which it has an outcome."""
        return {one.outcome.command for one in self.records if one.outcome is not None}

    def open_records(self) -> Iterator[tuple[StagedRecord, bool]]:
        """The class-0 records, of one number the last word, and whether it was accepted."""
        accepted = {(store, first) for store, first, last in self.accepted if first == last}
        newest = {(one.store, one.seq): one for one in self.records}
        for key, one in newest.items():
            yield one, key in accepted

    def open_lots(self, on_flash: dict[str, int]) -> list[Lot]:
        """The lots that are neither on flash (up to a number a store) nor accepted."""
        taken: dict[str, list[tuple[int, int]]] = {}
        for store, first, last in _joined(self.accepted):
            taken.setdefault(store, []).append((first, last))
        return [rest for lot in beyond(self.lots, on_flash) for rest in _without(lot, taken.get(lot.store, []))]


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

    def ahead(self, number: int) -> int:
        """Up to where to reserve them, where this number is in use."""
        return max(self.limit, number) + RANGE

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
    _log.warning('numbers lost reason="%s" store=%s first=%d last=%d next=a gap record', reason, store, first, last)
    return reason, {"store": store, "first": first, "last": last, "count": count, "from": None, "to": None}


def _told(records: Sequence[StagedRecord], store: str) -> Iterator[tuple[int, int]]:
    """The numbers of a store that an earlier start found lost and reported, though the flash could not store that."""
    for record in records:
        if is_gap(record.body):
            detail = json.loads(record.body)["detail"]
            if detail["reason"] in _LOST_AT_A_START and detail.get("store") == store:
                yield detail["first"], detail["last"]


def _joined(ranges: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """The same numbers in as few ranges as can be."""
    joined: list[tuple[str, int, int]] = []
    for store, first, last in sorted(ranges):
        if joined and joined[-1][0] == store and first <= joined[-1][2] + 1:
            joined[-1] = (store, joined[-1][1], max(last, joined[-1][2]))
        else:
            joined.append((store, first, last))
    return joined


def _without(lot: Lot, taken: Sequence[tuple[int, int]]) -> Iterator[Lot]:
    """The rest of a lot without the numbers `taken`: ranges in order, with something between them."""
    at = bisect_left(taken, lot.seq, key=itemgetter(1))
    while at < len(taken) and taken[at][0] <= lot.last:
        first, last = taken[at]
        if first > lot.seq:
            yield split(lot, first - lot.seq)[0]
        if last >= lot.last:
            return
        lot = split(lot, last + 1 - lot.seq)[1]
        at += 1
    yield lot
