"""The next transaction: deletions, messages set aside, gap records, and new data; how it is written and noted.

What leaves the outbox ends here: accepted, set aside, or lost, which a gap record tells.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from agent.clock import Clock
from agent.lib.timed_event import TimedEvent
from agent.model import Event, OutcomeState
from agent.outbox.backlog_reader import BacklogReader
from agent.outbox.blocks import Block, HeldBlock, Lot, block, pack
from agent.outbox.flash import Ids
from agent.outbox.messages import Entry, EntryState, Events, Load, RamQueue
from agent.outbox.numbers import Given, Numbers
from agent.outbox.records import Loss, MessageKind, StoredMessage, gap_event, is_counted, is_gap
from agent.outbox.retention import Figures, Removal
from agent.outbox.stage import Stage
from agent.outbox.store import Store, Work

__all__ = ["Batch", "PendingWork", "TransactionResult", "write"]

_log = logging.getLogger("bocage.outbox")


class PendingWork:
    """`work` since `since` (clock.monotonic). `losses` become gap records, and so do `gaps` (reason, detail).

    `events` are what else is to be told in the next transaction, with numbers that are reserved by then. `called` is
    set when there is something that cannot wait. A loss, a deletion and a batch that is on flash each change more than
    one part of the outbox: all these changes are here, so that the parts agree.
    """

    def __init__(
        self, clock: Clock, called: TimedEvent, numbers: Numbers, ram_queue: RamQueue, class_0: Events, stage: Stage,
        figures: Figures, backlog: BacklogReader,
    ) -> None:  # fmt: skip
        self._clock, self._called, self._numbers, self._stage = clock, called, numbers, stage
        self._ram_queue, self._class_0, self._figures, self._backlog = ram_queue, class_0, figures, backlog
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

    def report_again(self, body: bytes) -> None:
        """A message will not arrive. If it is a gap record, what it tells of is told by another one."""
        if not is_gap(body):
            return
        told = json.loads(body)["detail"]
        reason, detail = told["reason"], {name: value for name, value in told.items() if name != "reason"}
        if not is_counted(detail):
            self.gaps.append((reason, detail))
            self._called.set()
            return
        numbers = (detail[name] for name in ("class", "store", "first", "last", "from", "to", "count"))
        self._lose(reason, Loss(*numbers))
        self._figures.add_lost(reason, detail["class"], -detail["count"])  # it is counted once

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

    def take_work(self) -> Work:
        """Take the work, to be done now."""
        work, self.work, self.since = self.work, Work(), float("inf")
        return work

    def take_gaps(self) -> list[Event]:
        """Take all gaps as events, for the transaction at hand, and count them."""
        gaps = self.gaps + [(reason, loss.detail()) for (reason, *_), loss in self.losses.items()]
        self.gaps = []
        self.losses.clear()
        self._figures.gaps += len(gaps)
        for reason, detail in gaps:
            if is_counted(detail):
                self._figures.add_lost(reason, detail["class"], detail["count"])
        now = self._clock.now()
        return [gap_event(*gap, now) for gap in gaps]

    def take_events(self) -> list[Event]:
        """Take the other events, for the transaction at hand."""
        events, self.events = self.events, []
        return events

    def restore(self, batch: Batch) -> None:
        """Put back a batch that was not written, all where it was."""
        self.work.add(batch.work)
        self.since = min(self.since, self._clock.monotonic())
        self._ram_queue.come_back(batch.lots)
        unsaved = [entry for entry in batch.events if entry.state is not EntryState.DONE or entry.outcome is not None]
        self._class_0.unsaved[:0] = unsaved
        for entry in batch.told:
            self._class_0.keep(entry)
        if batch.told:  # the stage has them as records now
            self.stage_losses()
        for entry in (*batch.events, *batch.entries):
            entry.saving = False
        self.shed()

    def forget(self) -> None:
        """The database is gone: what was to be deleted in it too."""
        self.work = Work(refused=self.work.refused)

    def retire(self, entry: Entry) -> None:
        """Forget an entry that was accepted or set aside."""
        self._ram_queue.under_way.pop(entry.message.token, None)
        entry.state = EntryState.DONE
        if entry.load is not None:
            entry.load.left -= 1
            if not entry.load.left:
                self.unload(entry.load)
            return
        telemetry = entry.message.kind is MessageKind.READINGS
        if telemetry and entry.lots:
            self._ram_queue.n -= entry.message.n
        elif telemetry and entry.row is not None:
            self._figures.deleted(entry.message.n, entry.cls, entry.size)
        elif not telemetry and entry.row is not None:
            self._figures.deleted(0, 0, len(entry.message.body))
        if not entry.saving and entry.row is not None:
            self.delete(telemetry, entry.row)
        if not entry.saving and entry.row is None and entry.outcome is None and entry in self._class_0.unsaved:
            self._class_0.unsaved.remove(entry)
            if entry.gap and not entry.staged:  # the stage has it among the losses still
                self.stage_losses()

    def unload(self, load: Load) -> None:
        """Delete blocks of which every piece was accepted or set aside."""
        if self.losses:  # a start takes for delivered what the stage says is done with
            self.stage_losses()
        for row in load.rows:
            self._stage.accept(row.store, row.first, row.last)
            self._figures.deleted(row.n, row.cls, row.size)
            self.delete(True, row.id)

    def drop(self, broken: list[HeldBlock]) -> None:
        """Drop unreadable blocks, and report them as lost."""
        for row in broken:
            _log.error("block unreadable readings=%d next=dropped, a gap record says so", row.n)
            self.lose("store_corrupt", row.cls, row.store, row.first, row.last, row.n)
        if broken:
            self.unload(Load(broken[0].store, broken, [], 0, 0))

    def shed(self) -> None:
        """Drop the least precious readings if there are too many for the memory."""
        if not self._ram_queue.full:
            return
        gone = list(self._ram_queue.shed())
        for lot in gone:
            self.lose("memory", lot.cls, lot.store, lot.seq, lot.last, lot.n, lot.wall_ms)
        if self.stage_losses():
            for lot in gone:  # a start does not take them up, to lose and count them once more
                self._stage.accept(lot.store, lot.seq, lot.last)
        _log.warning("memory full readings=%d next=the oldest are dropped, a gap record says so", self._ram_queue.n)

    def send_unsaved(self) -> None:
        """Class 0 does not wait for a flash that fails."""
        gone = self._class_0.send_unsaved()
        for entry in gone:
            message = entry.message
            self.lose("memory", 0, entry.store, message.first, message.last, 1)
            self.report_again(message.body)
        if gone and self.stage_losses():
            for entry in gone:  # a start does not take them up, to lose and count them once more
                self._stage.accept(entry.store, entry.message.first, entry.message.last)

    def remove(self, removal: Removal) -> None:
        """Let what room was made with be part of the next transaction."""
        for row in removal.blocks:
            self._figures.deleted(row.n, row.cls, row.size)
        for _, made in removal.made:
            self._figures.stored(made)
        for record in removal.joined:
            self._figures.deleted(0, 0, len(record.body))
            self.delete(False, record.id)
            self.lose("thinned", 0, record.store, record.seq, record.seq, 1)
            self.report_again(record.body)
        self._backlog.skip.update(row.id for row in removal.blocks)
        self._backlog.skip.update(row.id for row in removal.joined)
        self._backlog.skip.update(removal.messages)
        self._class_0.withdraw(removal.withdrawn)
        self.work.done_blocks += [row.id for row in removal.blocks]
        self.work.done_messages += removal.messages
        self.work.blocks += removal.made
        self.work.settled += removal.settled
        self.gaps += [(reason, loss.detail()) for reason, loss in removal.losses]
        for reason, loss in removal.losses:
            _log.warning('buffer full or old reason="%s" class=%d readings=%d next=a gap record',
                         reason, loss.cls, loss.count)  # fmt: skip

    def stage_losses(self) -> bool:
        """Keep on the stage what is lost and not on flash, as records and as a list; return whether it is there now.

        The list takes the place of the one before, which holds what a gap record tells that found no room yet.
        """
        return self._class_0.keep_gaps() and self._stage.losses(self.staged())

    def certain(self, store: str, mark: bool = False) -> int:
        """The number of a store up to which every one is on flash, delivered or told as lost.

        For the `mark`: or lost, and the stage says so.
        """
        staged = mark and self._stage.holds(self.staged())
        firsts = [self._ram_queue.first(store), self._class_0.first(store, mark), self.first(store, staged)]
        following = self._numbers.given().get(store, 0) + 1
        return min([first for first in firsts if first is not None], default=following) - 1

    def numbers_done(self) -> dict[str, Given]:
        """By store, how far numbers were given and are done with; nothing must be on its way to flash.

        For the mark: what was lost is done with where the stage tells a start of it, by a record or in its list.
        """
        return {store: Given(last, self.certain(store, mark=True)) for store, last in self._numbers.given().items()}

    def away_open(self) -> dict[str, Given]:
        """The stores without durable numbers of which something is only in memory."""
        mine, given = self._numbers.store, self._numbers.given()
        known = {name: Given(last, self.certain(name)) for name, last in given.items() if name != mine}
        return {name: one for name, one in known.items() if one.done < one.last}

    def settle(self, batch: Batch, written: TransactionResult) -> None:
        """Note where on flash the entries of a batch are now."""
        self._backlog.skip.difference_update(batch.work.done_blocks, batch.work.done_messages)
        for entry, message_row in zip(batch.events, written.messages, strict=True):
            entry.saving = False
            self._settle_event(entry, message_row)
        for entry, (row, made) in zip(batch.entries, written.entries, strict=True):
            entry.saving = False
            self._settle_readings(entry, row, made)
        for row, made in written.blocks:
            self._stored(row, made)
            self._figures.measured(made)

    def _settle_event(self, entry: Entry, row: int | None) -> None:
        """Note that a record is on flash, and where it is in the queue."""
        if row is None:  # only its outcome was written: the message had been delivered from memory
            return
        backlog, size = self._backlog, len(entry.message.body)
        entry.row = row
        self._figures.bytes[0] += size
        behind = backlog.behind("message")
        backlog.newest["message"] = max(backlog.newest["message"], row)
        if entry.state is EntryState.DONE:
            backlog.skip.add(row)
            self._figures.bytes[0] -= size
            self.delete(False, row)
        elif entry.state is EntryState.WAITING and behind:  # older ones on flash go first, now they can
            self._class_0.ready.remove(entry)
            entry.state = EntryState.NEW
            return
        elif entry.state is not EntryState.NEW:
            backlog.skip.add(row)
        elif not behind and self._class_0.has_room:
            self._class_0.queue(entry)
        else:
            return
        if not behind:
            backlog.cursor["message"] = backlog.newest["message"]

    def _settle_readings(self, entry: Entry, row: int, made: Block) -> None:
        """Note that a live message, written while it was under way, is a block of its own."""
        backlog = self._backlog
        entry.lots, entry.row, entry.size = [], row, len(made.body)
        self._ram_queue.under_way.pop(entry.message.token, None)
        backlog.skip.add(row)
        if entry.state is EntryState.DONE:
            backlog.newest["block"] = max(backlog.newest["block"], row)
            self.delete(True, row)
            return
        self._stored(row, made)
        if entry.state is EntryState.WAITING:
            self._ram_queue.returned.remove(entry)
            backlog.skip.discard(row)

    def _stored(self, row: int, made: Block) -> None:
        """Note that readings of the memory are a block on flash."""
        self._backlog.newest["block"] = max(self._backlog.newest["block"], row)
        self._ram_queue.n -= made.n
        self._figures.stored(made)


@dataclass(slots=True)
class Batch:
    """One transaction, and the state after it.

    `told` are the records among `events` that were made for it, `given` the numbers in use by then, by store. `known`
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
class TransactionResult:
    """Result of a transaction: (row), and (row, block). `used` and `free` are bytes of the file and of its disk."""

    messages: list[int | None] = field(default_factory=list)
    entries: list[tuple[int, Block]] = field(default_factory=list)
    blocks: list[tuple[int, Block]] = field(default_factory=list)
    oldest_ms: int | None = None
    used: int = 0
    free: int = 0


def write(db: Store, ids: Ids, batch: Batch, rows: Iterator[int]) -> TransactionResult:
    """In the worker thread: encode, compress, commit."""
    # what is only deleted stays in the work: it is done again if this fails
    work, written = batch.work, TransactionResult()
    messages, outcomes = [*work.messages], [*work.outcomes]
    row: int | None
    for entry in batch.events:
        message = entry.message
        row = None if entry.state is EntryState.DONE else next(rows)
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
