"""The durable outbox: every reading waits here until the broker has accepted it, every command is done at most once.

    outbox = Outbox.open(state_folder, runtime_folder, clock)
    outbox.put(readings, 2)              # in memory and on the stage (tmpfs); on flash within the window
    message = await outbox.take()        # the next one to send
    outbox.accepted(message)             # only now may it be deleted

A reading that is accepted within the durability window is never written to flash. See docs/decisions/0002-outbox.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from agent.clock import Clock
from agent.errors import StorageError
from agent.lib.machine import Machine
from agent.lib.timetext import utc_text
from agent.model import Command, Event, Origin, Outcome, OutcomeState, Readings
from agent.outbox.backlog_reader import Form
from agent.outbox.blocks import LIMIT, lots_of
from agent.outbox.identity import Claim, Statement
from agent.outbox.messages import Entry, EntryState, Message, split_entry
from agent.outbox.records import MessageKind
from agent.outbox.writer import OutboxWriter

__all__ = ["Message", "Outbox"]

_T = TypeVar("_T")


class Outbox:
    """The queue and the ledger of one agent: what goes in, and what comes out next. The `OutboxWriter` keeps it."""

    def __init__(self, writer: OutboxWriter, clock: Clock, window: float, max_bytes: int) -> None:
        self._writer, self._clock, self._window, self._max_bytes = writer, clock, window, max_bytes
        self._held_back: Collection[MessageKind] = ()
        self._reading = False
        self._jobs: set[asyncio.Future[Any]] = set()
        self._passed = clock.monotonic()

    @classmethod
    def open(
        cls, folder: Path, stage_folder: Path, clock: Clock, *,
        window: float = 5.0, days: float = 30, max_bytes: int = 200_000_000, machine: Machine | None = None,
        audit_days: float = 180,
    ) -> Outbox:  # fmt: skip
        """Open or make the outbox of a state folder; replay the stage. Never fails: `troubles` says what is wrong.

        `window` is in seconds. What is older than `days` of the box's running goes, of class 2 and 3, and what is
        older than `audit_days` of the audit records. `max_bytes` is
        what the database may take on the disk. `machine` is the one we run on: on another one than before, numbers go
        on under a store of their own. Without it that is not checked.
        """
        writer = OutboxWriter(folder, stage_folder, clock, window, days, audit_days, max_bytes, machine or Machine())
        writer.open()
        return cls(writer, clock, window, max_bytes)

    # -- in ----------------------------------------------------------------------------------------------------

    def put(self, readings: Readings, cls: int) -> None:
        """Queue readings of one class (1 to 3). They survive the process at once, a power cut within the window."""
        n = len(readings)
        if not n:
            return
        store, seq = self._writer.numbers.take(n, "readings")
        lots = lots_of(readings, cls, store, seq, self._clock.monotonic())
        if lots[-1].wall_ms is None:
            lots = [self._writer.dating.date(lot) for lot in lots]
        self._writer.stage.put(lots)
        self._writer.figures.came(n)
        self._writer.ram_queue.put(lots)
        self._writer.pending.shed()
        self._writer.call()
        self._writer.wake.set()

    async def put_event(self, event: Event) -> None:
        """Queue an event; it is on flash when this returns (with a faulty flash: in memory, and tried again)."""
        self._writer.events.unsaved.append(self._writer.events.add_event(event))
        await self._shielded(self._writer.save_events())

    async def begin(self, command: Command) -> Outcome | None:
        """Accept a command, at most once. None: it is new, and that it was accepted is on flash now.

        Else the last stored outcome of its id. With a flash that cannot be written a remote command is
        `rejected`, as its repetition could not be recognised. A local one is accepted: the agent gave it its id, so it
        cannot be repeated.
        """
        return await self._shielded(self._begin(command))

    async def record(self, outcome: Outcome) -> None:
        """Store the outcome of a command and queue its result; both are on flash on return."""
        self._writer.events.unsaved.append(self._writer.events.add_result(outcome))
        await self._shielded(self._writer.save_events())

    async def outcome(self, command: Command) -> Outcome | None:
        """The last stored outcome of a command's id; None if it was never seen.

        With a flash that cannot be read a remote command is `rejected`.
        """
        return await self._shielded(self._outcome(command))

    async def unfinished(self) -> list[Outcome]:
        """Commands that were accepted and never ended: a crash came between. StorageError if they cannot be read."""
        async with self._writer.flash.lock:
            left = await self._writer.flash.job(lambda db: db.unfinished())
        return [outcome for outcome in left if not self._writer.events.has_ended(outcome)]

    async def _outcome(self, command: Command) -> Outcome | None:
        async with self._writer.flash.lock:
            return await self._known(command)

    async def _begin(self, command: Command) -> Outcome | None:
        async with self._writer.flash.lock:
            known = await self._known(command)
            if known is not None:
                return known
            entry = self._writer.events.promise(self._result(command, OutcomeState.ACCEPTED))
            self._writer.events.unsaved.append(entry)
            if await self._writer.save():
                return None
            if command.origin is Origin.LOCAL:
                self._writer.events.keep(entry)
                return None
            reason = f"this cannot be recorded: {self._writer.flash.fault}"
            refusal = self._result(command, OutcomeState.REJECTED, reason)
            self._writer.events.reject(entry, refusal)
            return refusal

    async def _known(self, command: Command) -> Outcome | None:
        known = self._writer.events.outcome(command.id)
        if known is not None:
            return known
        try:
            return await self._writer.flash.job(lambda db: db.outcome(command.id))
        except StorageError as error:
            if command.origin is Origin.LOCAL:
                return None
            refusal = self._result(command, OutcomeState.REJECTED, f"nobody knows whether it came before: {error}")
            self._writer.events.unsaved.append(self._writer.events.refuse(refusal))
            await self._writer.save()
            return refusal

    def _result(self, command: Command, state: OutcomeState, reason: str = "") -> Outcome:
        return Outcome(command.id, command.point, command.value, state, reason, self._clock.now())

    # -- out ---------------------------------------------------------------------------------------------------

    def link(self, window: int, *, compress: bool, limit: int) -> None:
        """Begin a connection: most messages in flight, whether history may be compressed, most bytes of a body."""
        self._writer.look_at_clock()  # what has waited for a date as well as for a link goes with it
        self._writer.backlog.pace.link(window, self._clock.monotonic())
        form = Form(min(LIMIT, limit), compress)
        if form != self._writer.backlog.form:
            self._writer.backlog.form = form
            self._writer.backlog.read_again(self._writer.in_flight.values())
        self._writer.wake.set()

    async def compare_claims(self, heard: Statement) -> Claim | None:
        """Compare our state with what the broker retains of it; call it before `take`, at each connection.

        If another box has gone on from a later state, what we numbered since goes under the name of another store.
        Returns what is to be retained from now on, None while that cannot be said. StorageError: send nothing now.
        """
        return await self._shielded(self._writer.compare_claims(heard))

    @property
    def claim(self) -> Claim | None:
        """The claim that the broker must retain before the next message is sent."""
        return self._writer.identity.claim

    @property
    def others(self) -> Sequence[Claim]:
        """Claims of other stores of the site known here: the broker may have forgotten them."""
        return self._writer.identity.others

    @property
    def is_compared(self) -> bool:
        """Whether all that we know of our numbers was compared: a database that opens late was not."""
        return self._writer.identity.unsure is None

    @property
    def is_unsure(self) -> bool:
        """Whether it is not confirmed yet that this is the newest state of the box."""
        return not self.is_compared or self._writer.flash.db is None

    def hold_back(self, kinds: Collection[MessageKind]) -> None:
        """From now on `take` passes over these kinds of messages, which the broker refuses at present."""
        self._held_back = frozenset(kinds)
        self._writer.wake.set()

    async def take(self) -> Message:
        """The next message: class 0, then live readings, all that wait; then backlog, oldest first (`BacklogPace`).

        Waits until there is one that may go.
        """
        while True:
            now = self._clock.monotonic()
            self._read_ahead()
            self._writer.wake.clear()
            entry = self._pick(now)
            if entry is not None:
                entry.at, entry.state = now, EntryState.IN_FLIGHT
                self._writer.in_flight[entry.message.token] = entry
                return entry.message
            await self._writer.wake.wait(self._writer.backlog.wait(now))

    def accepted(self, message: Message) -> None:
        """Note that the broker accepted a message: it will be deleted."""
        entry = self._writer.in_flight.pop(message.token, None)
        if entry is None:
            return
        now = self._clock.monotonic()
        self._writer.backlog.pace.acknowledged(message.lane, now - entry.at, now)
        if entry.load is not None:
            self._writer.backlog.pace.back()
        else:
            for first, last in entry.spans():
                self._writer.stage.accept(entry.store, first, last)
        self._writer.pending.retire(entry)
        if self._writer.backlog.holds:
            self._writer.wake.set()

    def put_back(self, message: Message) -> None:
        """Return a message that the broker did not accept: it comes first again in its lane, unchanged."""
        entry = self._writer.in_flight.pop(message.token, None)
        if entry is None:
            return
        entry.state = EntryState.WAITING
        if message.kind is not MessageKind.READINGS:
            self._writer.events.come_back(entry)
        elif entry.load is not None:
            self._writer.backlog.pace.back()
            self._writer.backlog.come_back(entry)
        elif entry.row is not None:
            self._writer.backlog.join(entry, entry.row)
        elif entry.message.n:  # else a database that opened meanwhile has all of it
            self._writer.ram_queue.put_back([entry])
        self._writer.wake.set()

    def split(self, message: Message, limit: int) -> bool:
        """Split a message that is too long for the broker into pieces of at most `limit` bytes, with the same keys.

        False: it is one record, or one reading, and stays under way.
        """
        entry = self._writer.in_flight.get(message.token)
        if entry is None:
            return True
        if entry.row is not None or entry.saving:  # it is about to be one of the backlog's
            self.put_back(message)
            return True
        parts = split_entry(entry, limit, self._writer.tokens)
        if len(parts) < 2:
            return False
        del self._writer.in_flight[message.token]
        if entry.load is None:
            del self._writer.ram_queue.under_way[message.token]
            self._writer.ram_queue.under_way |= {part.message.token: part for part in parts}
            self._writer.ram_queue.put_back(parts)
        else:
            self._writer.backlog.pace.back()
            for part in parts:
                self._writer.backlog.come_back(part)
        self._writer.wake.set()
        return True

    def set_aside(self, message: Message, reason: str) -> None:
        """Move a message that the broker refuses for good to a table, and report it with a gap record."""
        entry = self._writer.in_flight.pop(message.token, None)
        if entry is None:
            return
        pending = self._writer.pending
        pending.work.refused.append(
            (entry.store, message.first, message.last, message.kind, message.command, reason, message.body)
        )
        pending.lose("refused", entry.cls, entry.store, message.first, message.last, message.n)
        pending.report_again(message.body)
        if entry.load is not None:
            self._writer.backlog.pace.back()
        self._writer.pending.retire(entry)
        self._writer.wake.set()

    def _pick(self, now: float) -> Entry | None:
        self._writer.queue_gaps_first()
        event = self._writer.events.pick(self._held_back, self._writer.dating.boots, durable=self._writer.writes_gaps)
        if event is not None:
            return event
        if self._messages_first() or MessageKind.READINGS in self._held_back:
            return None
        if self._writer.backlog.pace.starved(now) and (starved := self._writer.backlog.pick(now)):
            return starved
        ram_queue = self._writer.ram_queue
        if ram_queue.returned and self._writer.may_go(ram_queue.returned[0].store):
            return ram_queue.returned.pop(0)
        if ram_queue.waiting and self._writer.may_go(ram_queue.waiting[0].store):
            return self._live_entry()
        return self._writer.backlog.pick(now)

    def _live_entry(self) -> Entry:
        lots, n, body = self._writer.ram_queue.next(self._writer.backlog.form.limit)
        token = next(self._writer.tokens)
        message = Message(MessageKind.READINGS, body, False, lots[0].seq, lots[-1].last, n, token)
        cls, since = min(lot.cls for lot in lots), lots[0].since
        entry = Entry(message, lots[0].store, lots, cls=cls, since=since, place=token)
        self._writer.ram_queue.under_way[message.token] = entry
        return entry

    def _messages_first(self) -> bool:
        """Whether class-0 records are on flash that may go before anything else. With a fault `run` looks for them."""
        behind = self._writer.backlog.behind("message") and not self._writer.flash.fault
        return behind and self._writer.events.wants_more(self._held_back)

    def _read_ahead(self) -> None:
        """Bring the next messages and blocks from flash beside whatever goes on."""
        messages, blocks = self._messages_first(), self._writer.backlog.wants_blocks()
        if self._reading or self._writer.flash.fault or not (messages or blocks):
            return
        self._reading = True
        self._job(self._read(messages, blocks))

    async def _read(self, messages: bool, blocks: bool) -> None:
        try:
            async with self._writer.flash.lock:
                if self._writer.flash.fault:  # it came while we waited: what lies there may be what a failed write left
                    return
                if messages:
                    self._writer.events.ready += await self._writer.backlog.read_messages()
                if blocks:
                    self._writer.pending.drop(await self._writer.backlog.read_blocks(self._writer.dating.boots))
        finally:
            self._reading = False
            self._writer.wake.set()

    # -- life --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the window: flush, delete, reserve, tidy the stage. One comes when it is due or called for."""
        while True:
            await self._pass()
            self._passed = self._clock.monotonic()
            rest, least = self._writer.rest(), self._window / 10
            if rest > least:
                await self._writer.called.wait(rest)
                least -= self._clock.monotonic() - self._passed
                if least <= 0:
                    continue
            await asyncio.sleep(least)

    async def close(self) -> None:
        """Bring everything that was not delivered to flash, and end.

        A job that is still under way, its caller cancelled, may write once more, and reserve numbers: then that was not
        the last time. Else the next start would take them for lost in a power cut.
        """
        saved, again = False, True
        while again:
            while self._jobs:
                await asyncio.wait(self._jobs)
            saved = await self._shielded(self._writer.locked_save(flush=True, last=True))
            again = bool(self._jobs)
        self._writer.stage.close(keep=not saved)
        await self._writer.flash.close()

    @property
    def store(self) -> str:
        """The uuid under which numbers are given."""
        return self._writer.numbers.store

    @property
    def troubles(self) -> list[str]:
        """Faults found at the opening, and databases that were set aside since."""
        return self._writer.troubles

    @property
    def fault(self) -> str:
        """Why the flash cannot be written at present, or ""."""
        return self._writer.flash.fault

    @property
    def was_written(self) -> bool:
        """Whether the flash has taken something since the start."""
        return self._writer.flash.was_written

    def progress(self) -> float:
        """When (clock.monotonic) `run` last ended a pass."""
        return self._passed

    def status(self) -> dict[str, Any]:
        """rows: undelivered readings; bytes on flash; oldest: ISO time; hours_left at the present rate; gaps.

        classes: bytes on flash by class; lost: numbers that were lost by reason and class; max_bytes: the buffer.
        """
        figures = self._writer.figures
        return {
            "rows": figures.rows + self._writer.ram_queue.n,
            "oldest": utc_text(figures.oldest_ms if figures.rows else self._writer.ram_queue.oldest_ms()),
            **figures.as_status(),
            "max_bytes": self._max_bytes,
        }

    async def _pass(self) -> None:
        if (work := self._writer.look()) is not None:
            await self._shielded(work)

    async def _shielded(self, job: Coroutine[Any, Any, _T]) -> _T:
        """Let a job end even if its caller is cancelled: what is on flash and what we know of it go together."""
        return await asyncio.shield(self._job(job))

    def _job(self, job: Coroutine[Any, Any, _T]) -> asyncio.Future[_T]:
        task = asyncio.ensure_future(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)
        return task
