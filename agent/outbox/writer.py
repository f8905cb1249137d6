"""When what goes to flash: one transaction writes all that is due, in passes and whenever class 0 cannot wait.

The writer owns the parts: numbers, queues in memory, class 0, the backlog on its way, the stage, the database. It takes
up what a database that opens holds, and gives numbers another store where the broker knows of a later state.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from agent.clock import Clock
from agent.errors import StorageError
from agent.lib.machine import Machine
from agent.lib.timed_event import TimedEvent
from agent.model import Event, Severity
from agent.outbox.backlog_reader import BacklogReader
from agent.outbox.flash import Flash
from agent.outbox.identity import Claim, Identity, Statement, Totals
from agent.outbox.messages import Entry, Events, RamQueue
from agent.outbox.numbers import Given, Numbers, left_behind
from agent.outbox.pending_work import Batch, PendingWork, TransactionResult, write
from agent.outbox.records import Dating
from agent.outbox.retention import Figures, PresentTime, Removal, Thinner, expired, free_space, merged_gaps
from agent.outbox.stage import Stage, replay
from agent.outbox.store import Store, Work, wal_bytes

__all__ = ["OutboxWriter"]

_log = logging.getLogger("bocage.outbox")

_LOOK = 1.0
"""Seconds between two looks at a clock that is not trusted yet: it asks the machine no more often."""
_STEPS = 100
"""Steps of making room in one pass: a few seconds at the most on a slow box."""


class OutboxWriter:
    """All parts of one outbox. The event loop never touches the flash: one thread of ours does (`flash`)."""

    def __init__(
        self, folder: Path, stage_folder: Path, clock: Clock, window: float, days: float, audit_days: float,
        max_bytes: int, machine: Machine,
    ) -> None:  # fmt: skip
        self._clock, self._window, self._days, self._audit_days = clock, window, days, audit_days
        self.troubles: list[str] = []
        self.tokens = count(1)
        self.wake = TimedEvent()
        """Set whenever there may be something to send."""
        self.called = TimedEvent()
        """Set when a pass is not to wait for what is due at a time: see `rest`."""
        self.numbers = Numbers()
        self.ram_queue = RamQueue()
        found = replay(stage_folder, clock.boot)
        self.stage = Stage(stage_folder, clock.boot, found)
        for store in found.given or {}:
            self.stage.give(store, found.last(store))  # killed between the two: the mark is behind the stage
        self.events = Events(self.numbers, self.tokens, self.stage, clock.monotonic)
        self.dating = Dating(clock)
        self.figures = Figures(max(max_bytes // 2, max_bytes - wal_bytes(max_bytes)), clock.monotonic())
        self.flash = Flash(folder, max_bytes, machine, found, clock, self)
        self.identity = Identity(machine, found.identity)
        self.backlog = BacklogReader(self.flash, self.tokens, clock.monotonic())
        self.pending = PendingWork(
            clock, self.called, self.numbers, self.ram_queue, self.events, self.stage, self.figures, self.backlog
        )
        self.in_flight: dict[int, Entry] = {}
        """Under way, by token."""
        self._rows, self._first_row = count(1), 1
        self._thinner = Thinner()
        self._stage_noted = False
        self._away_noted = self._lost_noted = "{}"
        self._aside = ""
        """The database that was set aside while it was used: that is told with its numbers."""
        self._opened_at: float | None = None
        self._marks = False
        self._writes_readings = self.writes_gaps = False
        """Whether readings, and gap records, are being written: they may come back."""
        self._doubt = False
        """A write failed, and may have been kept all the same: the next one replaces all that it brought."""

    def open(self) -> None:
        """Open the database, go on from what the stage holds. Never fails: `troubles` says what is wrong."""
        found = self.flash.found
        self.ram_queue.put([lot._replace(since=float("-inf")) for lot in found.open_lots({})])
        for record, delivered in found.open_records():
            self.events.restore(record, delivered)
        try:
            self.flash.open()
        except (sqlite3.Error, OSError) as error:
            self.flash.failed(error)
            self.troubles.append(f"the outbox cannot be written: {error}")
            self.identity.recall()
        if self.ram_queue.n:
            _log.info("stage replayed readings=%d next=they go to flash", self.ram_queue.n)
        self.pending.unstage(found.losses)
        if found.losses:
            self.stage.losses(self.pending.staged())
        self.look_at_clock()
        self.dating.begin()
        if self.flash.db is not None:
            if reserving := self._reservation():
                try:
                    self.flash.db.commit(reserving)
                    self._reserved(reserving)
                except (sqlite3.Error, OSError) as error:
                    self.flash.failed(error)
            batch = self._batch(flush=False, last=False)
            try:
                self._settle(batch, write(self.flash.db, self.flash.ids, batch, self._rows))
            except (sqlite3.Error, OSError) as error:
                self.flash.failed(error)
                self._restore(batch)
        if self.flash.fault:
            self.pending.send_unsaved()
        self.stage.finish(self.pending.numbers_done())
        self._opened_at = self._clock.monotonic()

    # -- what the flash says -----------------------------------------------------------------------------------

    def adopt(self, db: Store, totals: Totals) -> None:
        """A database is open: go on from what it holds."""
        self.pending.gaps += self.numbers.adopt(db.name, totals, self.flash.found)
        self.identity.adopt(totals, self.flash.found.unsure(db.name, totals.unsure), self.numbers.next)
        self._stand()
        if totals.aside not in ("", self._aside):
            self.pending.gaps.append(("store_corrupt", {"file": totals.aside, "count": None}))
        for left in totals.left:
            self._take_left(left)
            if left["first"]:
                self._rename(left["store"], left["now"], left["first"])
        self._rows, self._first_row = count(totals.next_id), totals.next_id
        self._away_noted, self._lost_noted = json.dumps(totals.away), json.dumps(totals.lost)
        self.backlog.adopt(totals.next_id - 1)
        self._thinner = Thinner()
        self.figures.adopt(totals)
        self.ram_queue.known(totals.flushed)
        self.events.known(totals.records, totals.outcomes)
        self._report_dated(self.dating.adopt(totals.boots))
        self.stage.release()
        self._marks = self._opened_at is not None
        self.called.set()

    def corrupted(self, name: str, error: Exception) -> None:
        """A database was set aside: an alarm and a gap record say so."""
        what = f"the outbox database was corrupt ({error}): kept as {name}, a new one was opened"
        self.troubles.append(what)
        if self._opened_at is None:  # its store is unknown; the app raises the alarm
            return
        self._aside = name
        span = {"store": self.numbers.store, "first": 1, "last": max(1, self.numbers.next - 1)}
        self.pending.gaps.append(("store_corrupt", {"file": name, "count": None, **span}))
        alarm = Event("alarm", "store_corrupt", "gateway", self._clock.now(), Severity.MAJOR, {"what": what})
        self.events.unsaved.append(self.events.add_event(alarm))

    def _take_left(self, left: dict[str, Any]) -> None:
        """Numbers go on under another store, and what that makes a consumer miss."""
        self._report_move(left["store"], left["now"], left["why"])
        self.pending.gaps += [(reason, detail) for reason, detail in left.get("gaps", ())]

    def _report_move(self, before: str, now: str, why: str) -> None:
        _log.warning("new store id before=%s now=%s why=%r next=what waits keeps its keys", before, now, why)
        detail = {"before": before, "store": now, "reason": why}
        self.pending.events.append(Event("audit", "store_moved", "gateway", self._clock.now(), Severity.MINOR, detail))

    def forget(self) -> None:
        """The database is gone: what is in memory of it is only there."""
        self.pending.forget()
        self.figures.forget()
        self.dating.note_again()
        self.called.set()
        backlog = self.backlog
        queued = (*self.events.ready, *backlog.ready, *self.ram_queue.returned, *backlog.returned)
        for entry in (*queued, *self.in_flight.values()):
            entry.row = None
            if entry.load is not None:
                entry.load.rows.clear()

    # -- looking after it --------------------------------------------------------------------------------------

    def look(self) -> Coroutine[Any, Any, None] | None:
        """Return the work that is due now, to be awaited; None, as mostly, if the flash is left alone."""
        self.called.clear()
        now = self._clock.monotonic()
        self.figures.count(now)
        self.look_at_clock()
        flush = self.ram_queue.oldest_since() <= now - 0.8 * self._window
        told = self._cannot_wait()
        old = now - self.pending.since >= self._window
        noted = self.dating.should_note(now)
        news = self.stage.broken != self._stage_noted or noted
        save = now >= self.flash.retry_at and bool(flush or told or old or news or self.numbers.low)
        if save or self._needs_space(noted):
            return self._work(save, flush, noted)
        self._tidy()
        return None

    def rest(self) -> float:
        """Seconds until the next pass, unless `called` is set before.

        What comes meanwhile may wait for longer: readings until they are to be flushed, deletions for the window.
        """
        least, longest = 0.1 * self._window, 0.8 * self._window
        now = self._clock.monotonic()
        ails = bool(self.flash.fault) and now < self.flash.retry_at
        if not ails and (self._cannot_wait() or self.numbers.low or self.figures.over()):
            return least
        oldest = self._oldest_since()
        if self.stage.broken != self._stage_noted or self.stage.is_untidy(oldest):
            return least
        next_at = self.flash.retry_at if ails else min(oldest + longest, self.pending.since + self._window)
        look = longest if self.dating.known else _LOOK
        return max(least, min(longest, look, next_at - now))

    def call(self) -> None:
        """After readings were put: a pass comes soon if numbers run out, or the stage has something to tidy."""
        if self.numbers.low or self.stage.is_full or self.stage.broken != self._stage_noted:
            self.called.set()

    def _cannot_wait(self) -> bool:
        """Whether something is to be written that cannot wait."""
        return bool(self.events.unsaved or self.pending or self.flash.fault)

    def _oldest_since(self) -> float:
        return min(self.ram_queue.oldest_since(), self.events.oldest_since())

    async def _work(self, save: bool, flush: bool, noted: bool) -> None:
        if save:
            await self.locked_save(flush)
        if self._needs_space(noted):
            await self._free_space(noted)
        self._tidy()

    def _needs_space(self, noted: bool) -> bool:
        return not self.flash.fault and (noted or self.figures.over())

    def _tidy(self) -> None:
        oldest = self._oldest_since()
        if self.stage.is_untidy(oldest) and not self.flash.lock.locked():  # what is being written is in neither
            self.stage.tidy(oldest, self.pending.numbers_done())

    def look_at_clock(self) -> None:
        """The first moment at which the clock can be trusted dates all of this start of the box."""
        known, event = self.dating.look()
        self._report_dated(event)
        if known:
            self.called.set()
            self.ram_queue.date(self.dating.date)
            self.backlog.read_again(self.in_flight.values())

    def _report_dated(self, event: Event | None) -> None:
        if event is not None:
            self.events.unsaved.append(self.events.add_event(event))

    async def locked_save(self, flush: bool, last: bool = False) -> bool:
        async with self.flash.lock:
            return await self.save(flush, last)

    async def save_events(self) -> None:
        async with self.flash.lock:
            if self.events.unsaved:
                await self.save()

    async def save(self, flush: bool = False, last: bool = False) -> bool:
        """Write all that is to be written, in one transaction; with `flush` the readings too. Under the flash's lock.

        False if the flash cannot be written: it stays in memory, within bounds.
        """
        try:
            if self.flash.db is None or self.flash.fault:
                for left in await self.flash.job(lambda db: db.reopen()):
                    if left["store"] == self.numbers.store:
                        self._renewed(left)
            if reserving := self._reservation():
                with suppress(StorageError):  # without numbers it goes under those of another store
                    await self.flash.job(lambda db: db.commit(reserving))
                    self._reserved(reserving)
            batch = self._batch(flush, last)
            self._writes_readings, self.writes_gaps = bool(batch.lots), bool(batch.told)
            try:
                written = await self.flash.job(lambda db: write(db, self.flash.ids, batch, self._rows))
            except StorageError:
                self._restore(batch)
                self._mark_first()
                raise
            finally:
                self._writes_readings = self.writes_gaps = False
            self._settle(batch, written)
            self.flash.recovered()
            self._mark_first()
            if self.figures.over():
                self.called.set()
            return True
        except StorageError:
            self.pending.send_unsaved()
            return False
        finally:
            self.wake.set()

    def _mark_first(self) -> None:
        """The mark learns of a database that was opened late once the stage or the flash has what it found lost."""
        if self._marks:
            self._marks = False
            self.stage.finish(self.pending.numbers_done())

    def queue_gaps_first(self) -> None:
        """Queue gap records before anything else is sent, where the flash may not take them in time.

        A power cut would lose what they tell. What is lost while such a record waits is told after it.
        """
        if not self.pending.lost:
            return
        doubtful = self.flash.fault or not self.numbers.has(1) or self.pending.loses_beside(self.numbers.store)
        if doubtful and not (self.writes_gaps or self.events.has_gaps()):
            told = [self.events.keep(self.events.make(event)) for event in self.pending.take_gaps()]
            self.events.unsaved += told
            self.events.send(told)
            self.pending.stage_losses()  # it has them as records now

    def may_go(self, store: str) -> bool:
        """Whether readings that wait may leave. Without durable numbers what is being written goes before them."""
        return store == self.numbers.store or not (self._writes_readings or self.writes_gaps)

    async def compare_claims(self, heard: Statement) -> Claim | None:
        """Compare with what the broker retains, before anything numbered is sent; what may be claimed then.

        None where no numbers are reserved on flash, as far as that or the stage is known.
        StorageError if another agent used this store's numbers and the flash does not take the consequence.
        """
        async with self.flash.lock:
            if self.identity.gone_on(heard.claims):
                await self._renew(heard)
            if self.identity.unsure is not None:
                if (state := self.identity.compared()) is not None:
                    self.stage.keep_identity(state)  # it says so to a start, too: the flash may not take it
                if self.flash.db is not None:
                    await self.save()
            if self.identity.hear(heard.claims, self.numbers.store) and self.flash.db is not None:
                await self.save()
            return self.identity.claim

    def _stand(self) -> None:
        """Note anew what may be claimed, on the stage too."""
        self.stage.keep_identity(self.identity.claim_up_to(self.numbers.store, self.numbers.limit))

    async def _renew(self, heard: Statement) -> None:
        """Give another name to what was numbered since this state began, and go on under it.

        What the later state had numbered and not sent went with it: that is told, up to the last that was claimed.
        """
        done = self.numbers.next - 1
        if not await self.save(flush=True):
            raise StorageError(self.flash.fault)
        why = self.identity.gone_on(heard.claims)
        if not why or self.identity.unsure is None:  # it was the stage that knew less than the flash
            return
        first, old, new = self.identity.unsure[0], self.numbers.store, str(uuid4())
        claim = heard.claims[old]
        sent = 0 if claim.reservation in self.identity.reservations else claim.last
        self._renewed(await self.flash.job(lambda db: db.renew(first, done, new, why, sent)))
        await self.save()

    def _renewed(self, left: dict[str, Any]) -> None:
        """Follow the flash, where our numbers have another store from one on."""
        old, new, first = left["store"], left["now"], left["first"]
        self.identity.confirm()
        self.numbers.rename(new)
        self._stand()
        self.backlog.start_over({*self.pending.work.done_blocks, *self.pending.work.done_messages, *self._rows_out()})
        self.events.leave()
        self._rename(old, new, first)
        self.stage.finish(self.pending.numbers_done())
        self._take_left(left)
        self.pending.gaps += left_behind(old, left["done"], left["reserved"])

    def _rename(self, old: str, new: str, first: int) -> None:
        """Move what is in memory and on the stage, from number `first` on, to another store."""
        self.ram_queue.rename(old, new, first)
        self.events.rename(old, new, first)
        self.stage.rename(old, new, first)

    def _rows_out(self) -> Iterator[int]:
        """Rows on flash of messages that are in flight."""
        for entry in self.in_flight.values():
            yield from (row.id for row in entry.load.rows) if entry.load is not None else ()
            if entry.row is not None:
                yield entry.row

    # -- one transaction ---------------------------------------------------------------------------------------

    def _reservation(self) -> Work | None:
        """Numbers for what is to be told, in a transaction of its own; None if there are enough.

        One that fails may be on flash all the same, if it was the sync that failed: what it gave numbers to could not
        get others, and those numbers not be given again.
        """
        if self.numbers.has(len(self.pending)):
            return None
        known = self.numbers.next - 1
        limit = self.numbers.ahead(known)
        return Work(facts={**self.identity.facts(reserved=True, tells=False), "reserved": limit, "known": known})

    def _reserved(self, work: Work) -> None:
        self.numbers.limit = int(work.facts["reserved"])
        self.identity.settled(work.facts)
        self._stand()

    def _batch(self, flush: bool, last: bool) -> Batch:
        """Everything that is due, moved out of the way of what comes while it is written."""
        numbers, events, doubt = self.numbers, self.events, self._doubt
        flush = flush or doubt
        work, gaps = self.pending.take_work(), self.pending.take_gaps()
        limit = numbers.ahead(numbers.next) if numbers.low and not last else numbers.limit
        told = [events.make(event) for event in [*self.pending.take_events(), *gaps]]
        events.unsaved += told
        records, events.unsaved = events.unsaved, []
        entries = list(self.ram_queue.under_way.values()) if flush else []
        lots = self.ram_queue.flush() if flush else []
        for entry in (*records, *entries):
            entry.saving = True
        known = numbers.next - 1
        if last:
            limit = known
        flushed = known if flush else self.pending.certain(numbers.store)
        work.facts |= self.identity.facts(reserved=limit > numbers.limit)
        if doubt or limit != numbers.limit or last or gaps or work.done_blocks or work.done_messages:
            work.facts |= {"reserved": limit, "known": known, "flushed": flushed, "gaps": self.figures.gaps}
        lost = json.dumps(self.figures.lost)
        if doubt or lost != self._lost_noted:
            work.facts |= {"lost": lost, "gaps": self.figures.gaps}
        if doubt or self.stage.broken != self._stage_noted:  # the mark knows more, but a program before it goes by this
            work.facts |= {"stage": "broken" if self.stage.broken else "kept", "flushed": flushed}
        away = json.dumps({} if flush else self.pending.away_open())
        if doubt or away != self._away_noted:
            work.facts["away"] = away
        if last or self.dating.should_note(self._clock.monotonic()):
            work.boot = self.dating.fact()
        segment = self.stage.rotate() if flush else 0
        given, youngest = numbers.given(), self.backlog.known
        return Batch(work, records, told, entries, lots, limit, segment, self.stage.broken, last, given, youngest)

    def _settle(self, batch: Batch, written: TransactionResult) -> None:
        """Note that the batch is on flash."""
        self.numbers.limit, self._stage_noted, self._doubt = batch.limit, batch.stage_broken, False
        self.figures.oldest_ms, self.figures.used, self.figures.free = written.oldest_ms, written.used, written.free
        self.identity.settled(batch.work.facts)
        self._stand()
        self._away_noted = str(batch.work.facts.get("away", self._away_noted))
        self._lost_noted = str(batch.work.facts.get("lost", self._lost_noted))
        if batch.work.boot is not None:
            self.dating.noted()
        if not self.pending.losses:
            self.stage.forget_losses()
        self.pending.settle(batch, written)
        for entry in batch.told:
            self.stage.give(entry.store, entry.message.first)
        if batch.segment:
            self.stage.finish({store: Given(last, last) for store, last in batch.given.items()})
            self.stage.forget(batch.segment)

    def _restore(self, batch: Batch) -> None:
        """Undo a batch whose write failed; it may be on flash all the same."""
        self._doubt = True
        self.pending.restore(batch)

    # -- room --------------------------------------------------------------------------------------------------

    async def _free_space(self, old: bool) -> None:
        """Beyond the quota, and at times for what is too `old`: thin or drop what is least precious.

        In short steps: class 0 comes in between. What is not done in so many goes on in the next pass.
        """
        for _ in range(_STEPS):
            async with self.flash.lock:
                total, excess = self.figures.too_much(), self.figures.excess()
                over = total > 0 or max(excess.values()) > 0
                if self.flash.db is None or self.flash.fault or not (old or over):
                    return
                try:
                    step = self._expired if old else partial(self._next_removal, total=total, excess=excess)
                    removal = await self.flash.job(step)
                except StorageError:
                    return
                if removal is None:
                    continue
                if not (old or removal.blocks or removal.messages or removal.made or removal.settled or removal.joined):
                    return  # nothing is left that may go
                old = old and bool(removal.blocks or removal.messages)
                self.pending.remove(removal)
                if not await self.save():
                    return
                for row in removal.joined:  # a start does not take them up from the stage
                    self.stage.accept(row.store, row.seq, row.seq)
                if not (old or over):
                    return

    def _expired(self, db: Store) -> Removal:
        after, skip = self.backlog.cursor["block"], set(self.backlog.skip)
        sent = {entry.row for entry in (*self.ram_queue.returned, *self.in_flight.values()) if entry.row is not None}
        return expired(db, self.dating.present(), self._days, self._audit_days, after, skip, sent)

    def _next_removal(self, db: Store, total: int, excess: dict[int, int]) -> Removal | None:
        after, skip = self.backlog.cursor["block"], set(self.backlog.skip)

        def thin(db: Store) -> Removal | Literal[False] | None:
            at = self._clock.now()
            now = PresentTime(at.boot, at.wall_ms, at.boottime_ns // 1_000_000)
            removal = self._thinner.step(db, after, skip, self.dating.boots, now)
            return False if self._thinner.idle else removal

        records = max(self.backlog.cursor["message"], self._first_row - 1)
        joined = merged_gaps(db, records, skip) if total > 0 else None
        return joined or free_space(db, excess, total, after, skip, thin)

