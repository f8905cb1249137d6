"""The next transaction: deletions, messages set aside, gap records, and new data; and how it is written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from agent.clock import Clock
from agent.lib.timed_event import TimedEvent
from agent.model import Event, OutcomeState
from agent.outbox.blocks import Block, Lot, block, pack
from agent.outbox.flash import Ids
from agent.outbox.messages import Entry, State
from agent.outbox.records import Loss, StoredMessage, is_counted
from agent.outbox.retention import Removal
from agent.outbox.store import Store, Work

__all__ = ["Batch", "PendingWork", "Written", "write"]


class PendingWork:
    """`work` since `since` (clock.monotonic). `losses` become gap records, and so do `gaps` (reason, detail).

    `events` are what else is to be told in the next transaction, with numbers that are reserved by then. `called` is
    set when there is something that cannot wait.
    """

    def __init__(self, clock: Clock, called: TimedEvent) -> None:
        self._clock, self._called = clock, called
        self.work, self.since = Work(), float("inf")
        self.losses: dict[tuple[str, int, str], Loss] = {}
        self.gaps: list[tuple[str, dict[str, Any]]] = []
        self.events: list[Event] = []

    def __bool__(self) -> bool:
        """Whether something cannot wait: deletions can."""
        return bool(self.lost or self.events or self.work.refused)

    @property
    def lost(self) -> bool:
        """Whether something is lost and not told."""
        return bool(self.losses or self.gaps)

    def __len__(self) -> int:
        """Number of records of our own in the next transaction."""
        return len(self.losses) + len(self.gaps) + len(self.events)

    def delete(self, telemetry: bool, row: int) -> None:
        (self.work.done_blocks if telemetry else self.work.done_messages).append(row)
        self.since = min(self.since, self._clock.monotonic())

    def lose(self, reason: str, cls: int, store: str, first: int, last: int, n: int, ms: int | None = None) -> None:
        """Numbers are lost: one gap record will tell of all of a reason, a class and a store."""
        self._lose(reason, Loss(cls, store, first, last, ms, ms, n))

    def report_again(self, told: dict[str, Any]) -> None:
        """A gap record with this detail will not arrive: another one is to tell the same."""
        reason, detail = told["reason"], {name: value for name, value in told.items() if name != "reason"}
        if not is_counted(detail):
            self.gaps.append((reason, detail))
            self._called.set()
            return
        numbers = (detail[name] for name in ("class", "store", "first", "last", "from", "to", "count"))
        self._lose(reason, Loss(*numbers))

    def _lose(self, reason: str, loss: Loss) -> None:
        self._called.set()
        known = self.losses.setdefault((reason, loss.cls, loss.store), loss)
        if known is not loss:
            known.add(loss)

    def first(self, store: str, staged: bool = False) -> int | None:
        """The lowest number of a store that is lost and not told; without the losses, if those are on the stage."""
        losses = {} if staged else self.losses
        firsts = [loss.first for (_, _, name), loss in losses.items() if name == store]
        firsts += [detail["first"] for _, detail in self.gaps if detail.get("store") == store]
        return min(firsts, default=None)

    def loses_beside(self, store: str) -> bool:
        """Whether numbers of another store than this one are lost and not told."""
        names = [name for _, _, name in self.losses]
        return any(name != store for name in (*names, *(detail.get("store", store) for _, detail in self.gaps)))

    def staged(self) -> list[tuple[Any, ...]]:
        """The losses as the stage keeps them."""
        return [(reason, one.cls, one.store, one.first, one.last, one.from_ms, one.to_ms, one.count)
                for (reason, *_), one in self.losses.items()]  # fmt: skip

    def unstage(self, staged: list[tuple[Any, ...]]) -> None:
        self.losses = {(reason, loss[0], loss[1]): Loss(*loss) for reason, *loss in staged}

    def remove(self, removal: Removal) -> None:
        """Add deletions that free space to the work."""
        self.work.done_blocks += [row.id for row in removal.blocks]
        self.work.done_messages += removal.messages
        self.work.blocks += removal.made
        self.work.settled += removal.settled
        self.gaps += [(reason, loss.detail()) for reason, loss in removal.losses]

    def take_work(self) -> Work:
        """Take the work, to be done now."""
        work, self.work, self.since = self.work, Work(), float("inf")
        return work

    def take_gaps(self) -> list[tuple[str, dict[str, Any]]]:
        """Take all gaps, for the transaction at hand."""
        gaps = self.gaps + [(reason, loss.detail()) for (reason, *_), loss in self.losses.items()]
        self.gaps = []
        self.losses.clear()
        return gaps

    def take_events(self) -> list[Event]:
        """Take the other events, for the transaction at hand."""
        events, self.events = self.events, []
        return events

    def give_back(self, work: Work) -> None:
        """Put back work that was not done."""
        self.work.add(work)
        self.since = min(self.since, self._clock.monotonic())

    def forget(self) -> None:
        """The database is gone: what was to be deleted in it too."""
        self.work = Work(refused=self.work.refused)


@dataclass(slots=True)
class Batch:
    """One transaction, and the state after it.

    `told` are the gap records in `urgent` that were made for it, `given` the numbers in use by then, by store. `known`
    is the youngest row on flash: what a write left there although it failed goes, for all of it is in here once more.
    """

    work: Work
    events: list[Entry]
    told: list[Entry]
    entries: list[Entry]
    lots: list[Lot]
    limit: int
    segment: int
    stage_broken: bool
    last: bool
    given: dict[str, int]
    known: int


@dataclass(slots=True)
class Written:
    """Result of a transaction: (row), and (row, block). `used` and `free` are bytes of the file and of its disk."""

    messages: list[int | None] = field(default_factory=list)
    entries: list[tuple[int, Block]] = field(default_factory=list)
    blocks: list[tuple[int, Block]] = field(default_factory=list)
    oldest_ms: int | None = None
    used: int = 0
    free: int = 0


def write(db: Store, ids: Ids, batch: Batch, rows: Iterator[int]) -> Written:
    """In the worker thread: encode, compress, commit."""
    work, written = batch.work, Written()  # what is only deleted stays in the work: it is done again if this fails
    messages, outcomes = [*work.messages], [*work.outcomes]
    row: int | None
    for entry in batch.events:
        message = entry.message
        row = None if entry.state is State.DONE else next(rows)
        written.messages.append(row)
        if row is not None:
            messages.append(StoredMessage(row, entry.store, message.first, message.kind, message.command, message.body))
        if entry.outcome is not None:
            outcomes.append(entry.outcome)
    for entry in batch.entries:
        written.entries.append((next(rows), block(entry.lots)))
    for made in pack(batch.lots):
        written.blocks.append((next(rows), made))
    blocks = [*work.blocks, *written.entries, *written.blocks]
    db.commit(replace(work, messages=messages, outcomes=outcomes, blocks=blocks, known=batch.known))
    if accepted := [one for one in outcomes if one.state is OutcomeState.ACCEPTED]:
        ids.add(accepted)
    if batch.last:
        db.checkpoint()
    written.oldest_ms, written.used = db.oldest_ms(), db.used()
    written.free = shutil.disk_usage(db.folder).free
    return written
