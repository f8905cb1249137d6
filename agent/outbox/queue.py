"""The durable outbox: every reading waits here until the broker has accepted it, every command is done at most once.

    outbox = Outbox.open(state_folder, runtime_folder, clock)
    outbox.put(readings, 2)              # in memory and on the stage (tmpfs); on flash within the window
    message = await outbox.take()        # the next one to send
    outbox.accepted(message)             # only now may it be deleted

A reading that is accepted within the durability window is never written to flash. See docs/decisions/0002-outbox.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from agent.clock import Clock
from agent.errors import OutboxError
from agent.model import Command, Event, Origin, Outcome, OutcomeState, Readings, Severity
from agent.outbox.blocks import LIMIT, LIVE, Block, Lot, cut, encode, lots_of, split
from agent.outbox.dates import Boot, Boots
from agent.outbox.drain import Form, Held, Load, fetch
from agent.outbox.lanes import Pace
from agent.outbox.parcels import Batch, Message, Parcel, Written, write
from agent.outbox.records import dated, event_body, gap_event, is_gap, iso, loss_detail, result_body
from agent.outbox.room import QUOTA, Room, aged, make_room
from agent.outbox.stage import Replay, Stage, replay
from agent.outbox.store import Loss, Store, Totals, Work, cost, is_corrupt, set_aside, wal_bytes

__all__ = ["Message", "Outbox"]

_log = logging.getLogger("bocage.outbox")
_T = TypeVar("_T")

_RANGE = 100_000
"""Numbers that are reserved on flash at a time."""
_MEMORY = 100_000
"""Readings kept in memory while the flash cannot be written."""
_URGENT = 1_000
"""Class-0 records kept in memory while the flash cannot be written."""
_AHEAD = 8
"""Class-0 records read from flash at a time, and messages of the backlog held ready."""
_SEEN = 600.0
"""Seconds between two notes of how long this start of the box has lasted, and between two looks for what is too old."""
_RETRY = (5.0, 60.0)
"""Seconds between two attempts at a flash that failed: first, at most."""
_A_READING = 8.0
"""Bytes of a reading on flash, until some were written."""


class Outbox:
    """The queue and the ledger of one agent. The event loop never touches the flash: one thread of ours does."""

    def __init__(
        self, folder: Path, stage_folder: Path, clock: Clock, window: float, days: float, max_bytes: int
    ) -> None:
        self.store = str(uuid4())
        self.troubles: list[str] = []
        self._folder, self._clock, self._window, self._days = folder, clock, window, days
        self._max_bytes, self._quota = max_bytes, max(max_bytes // 2, max_bytes - wal_bytes(max_bytes))
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._disk = asyncio.Lock()
        self._db: Store | None = None
        self._found: Replay = replay(stage_folder)
        self._stage = Stage(stage_folder)
        # numbers: durably reserved ones up to _limit; without any, those of a store that only this process knows
        self._next, self._limit = 1, 0
        self._away, self._away_next = str(uuid4()), 1
        self._ids = count(1)
        self._tokens = count(1)
        # what waits
        self._wake = asyncio.Event()
        self._waiting: deque[Lot] = deque()
        self._urgent: deque[Parcel] = deque()
        self._returned: list[Parcel] = []
        self._returned_backlog: list[Parcel] = []
        self._ahead: deque[Parcel] = deque()
        self._out: dict[int, Parcel] = {}
        self._unstored: dict[int, Parcel] = {}
        self._unsaved: list[Parcel] = []
        self._losses: dict[tuple[str, int, str], Loss] = {}
        self._gaps_due: list[tuple[str, dict[str, Any]]] = []
        self._live = LIVE
        self._form = Form()
        self._pace = Pace(clock.monotonic())
        self._reading, self._read_anew = False, 0
        self._in_memory = 0
        self._jobs: set[asyncio.Future[Any]] = set()
        # what is on flash: ids up to the cursors are in memory, those up to the newest are there
        self._rows = self._used = self._gaps = 0
        self._bytes = dict.fromkeys(range(4), 0)
        self._lost: dict[str, dict[str, int]] = {}
        self._oldest_ms: int | None = None
        self._cursor = {"block": 0, "message": 0}
        self._newest = {"block": 0, "message": 0}
        self._skip: set[int] = set()
        self._flushed = 0
        self._done = Work()
        self._done_since = float("inf")
        self._stage_told = False
        # the box's starts, and what was not dated in this one
        self._boots = Boots([Boot(clock.boot, None, 0)])
        self._dated = False
        self._undated = False  # whether something of it may have been told without a date
        self._seen_at = float("-inf")
        # faults and figures
        self._fault = ""
        self._retry_at = float("-inf")
        self._delay = _RETRY[0]
        self._passed = clock.monotonic()
        self._opened_at: float | None = None
        self._rate: float | None = None
        self._put = 0
        self._counted_at = self._passed
        self._per_reading = _A_READING
        self._free = 0

    @classmethod
    def open(
        cls, folder: Path, stage_folder: Path, clock: Clock, *,
        window: float = 5.0, days: float = 30, max_bytes: int = 200_000_000,
    ) -> Outbox:  # fmt: skip
        """Open or make the outbox of a state folder; replay the stage. Never fails: `troubles` says what is wrong.

        `window` is in seconds. What is older than `days` of the box's running goes, of class 2 and 3. `max_bytes` is
        what the database may take on the disk.
        """
        self = cls(folder, stage_folder, clock, window, days, max_bytes)
        flushed: dict[str, int] = {}
        try:
            flushed = self._adopt(*self._open())
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            self.troubles.append(f"the outbox cannot be written: {error}")
        self._waiting.extend(lot._replace(since=float("-inf")) for lot in self._found.open_lots(flushed))
        self._in_memory = sum(lot.n for lot in self._waiting)
        if self._waiting:
            _log.info("stage replayed readings=%d next=they go to flash", self._in_memory)
        self._losses = {(reason, loss[0], loss[1]): Loss(*loss) for reason, *loss in self._found.losses}
        self._look_at_clock()
        self._undated |= not self._dated
        if self._db is not None:
            batch = self._batch(flush=False, last=False)
            try:
                self._settle(batch, write(self._db, batch, self._ids))
            except (sqlite3.Error, OSError) as error:
                self._failed(error)
                self._restore(batch)
        self._opened_at = clock.monotonic()
        return self

    # -- in ----------------------------------------------------------------------------------------------------

    def put(self, readings: Readings, cls: int) -> None:
        """Queue readings of one class (1 to 3). They survive the process at once, a power cut within the window."""
        n = len(readings)
        if not n:
            return
        store, seq = self._numbers(n)
        lots = lots_of(readings, cls, store, seq, self._clock.monotonic())
        if lots[-1].wall_ms is None:
            lots = [self._date(lot) for lot in lots]
        self._stage.put(lots)
        self._waiting.extend(lots)
        self._put += n
        self._in_memory += n
        if self._in_memory > _MEMORY:
            self._shed()
        self._wake.set()

    async def put_event(self, event: Event) -> None:
        """Queue an event; it is on flash when this returns (with a faulty flash: in memory, and tried again)."""
        self._unsaved.append(self._event(event))
        await self._shielded(self._save_urgent())

    async def begin(self, command: Command) -> Outcome | None:
        """Accept a command, at most once. None: it is new, and that it was accepted is on flash now.

        Else the last stored outcome of its id. With a flash that cannot be written nothing can be promised to anybody
        afar: then the outcome is `rejected`. A technician at the box is obeyed: the agent gave his command its id, and
        nobody can send it again.
        """
        return await self._shielded(self._begin(command))

    async def record(self, outcome: Outcome) -> None:
        """Keep what became of a command and queue its result; on flash when this returns."""
        self._unsaved.append(self._result(outcome))
        await self._shielded(self._save_urgent())

    async def outcome(self, command: str) -> Outcome | None:
        """The last stored outcome of a command's id; None if it was never seen."""
        async with self._disk:
            return await self._known(command)

    async def unfinished(self) -> list[Outcome]:
        """Commands that were accepted and never ended: a crash came between."""
        async with self._disk:
            try:
                return await self._job(lambda db: db.unfinished())
            except OutboxError:
                return []

    # -- out ---------------------------------------------------------------------------------------------------

    def link(self, window: int, *, compress: bool, limit: int) -> None:
        """A connection begins: messages under way at the most, whether history may be compressed, bytes of a body."""
        self._look_at_clock()  # what has waited for a date as well as for a link goes with it
        self._pace.link(window, self._clock.monotonic())
        form = Form(min(LIMIT, limit), compress)
        if form != self._form:
            self._form = form
            self._unread()
        self._wake.set()

    async def take(self) -> Message:
        """The next message: class 0, then live readings, all that wait; then backlog, oldest first, as `Pace` allows.

        Waits until there is one that may go.
        """
        while True:
            now = self._clock.monotonic()
            self._read_ahead()
            self._wake.clear()
            parcel = self._pick(now)
            if parcel is not None:
                parcel.at = now
                self._out[parcel.message.token] = parcel
                return parcel.message
            waiting = bool(self._returned_backlog or self._ahead)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), (waiting and self._pace.wait(now)) or None)

    def accepted(self, message: Message) -> None:
        """The broker took it: it will be deleted."""
        parcel = self._out.pop(message.token, None)
        if parcel is None:
            return
        now = self._clock.monotonic()
        self._pace.acknowledged(message.lane, now - parcel.at, now)
        if parcel.load is not None:
            self._pace.back()
        else:
            self._stage.accept(parcel.store, message.first, message.last)
        self._retire(parcel)
        self._wake.set()

    def put_back(self, message: Message) -> None:
        """The link was lost before the broker took it: it comes first again in its lane, the same."""
        parcel = self._out.pop(message.token, None)
        if parcel is None:
            return
        if message.topic != "telemetry":
            self._urgent.appendleft(parcel)
        elif parcel.load is not None:
            self._pace.back()
            self._return_backlog(parcel)
        elif parcel.row is not None:
            self._to_backlog(parcel, parcel.row)
        else:
            self._returned.append(parcel)
            self._returned.sort(key=lambda other: other.message.token)
        self._wake.set()

    def set_aside(self, message: Message, reason: str) -> None:
        """The broker will never take it: keep it in a table, and say so with a gap record."""
        parcel = self._out.pop(message.token, None)
        if parcel is None:
            return
        _log.error("message refused topic=%s n=%d reason=%s next=set aside", message.topic, message.n, reason)
        self._done.refused.append(
            (parcel.store, message.first, message.last, message.topic, reason, message.body)
        )  # fmt: skip
        self._lose("refused", parcel.cls, parcel.store, message.first, message.last, message.n)
        if parcel.load is not None:
            self._pace.back()
        self._retire(parcel)
        self._wake.set()

    # -- life --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the window: flush, delete, reserve, tidy the stage."""
        while True:
            await self._pass()
            self._passed = self._clock.monotonic()
            await asyncio.sleep(self._window / 10)

    async def close(self) -> None:
        """Bring everything that was not delivered to flash, and end."""
        saved = await self._shielded(self._locked_save(flush=True, last=True))
        self._stage.close(keep=not saved)
        if self._db is not None:
            await asyncio.get_running_loop().run_in_executor(self._worker, self._db.close)
        self._worker.shutdown()

    def progress(self) -> float:
        """When (clock.monotonic) `run` last ended a pass."""
        return self._passed

    @property
    def fault(self) -> str:
        """Why the flash cannot be written at present, or ""."""
        return self._fault

    def status(self) -> dict[str, Any]:
        """rows: undelivered readings; bytes on flash; oldest: ISO time; hours_left at the present rate; gaps.

        classes: bytes on flash by class; lost: numbers that were lost by reason and class; max_bytes: the buffer.
        """
        return {
            "rows": self._rows + self._in_memory,
            "bytes": sum(self._bytes.values()),
            "oldest": iso(self._oldest()),
            "hours_left": self._hours_left(),
            "gaps": self._gaps,
            "classes": {str(cls): size for cls, size in self._bytes.items()},
            "lost": {reason: dict(classes) for reason, classes in self._lost.items()},
            "max_bytes": self._max_bytes,
        }

    # -- numbers -----------------------------------------------------------------------------------------------

    def _numbers(self, n: int, limit: int | None = None) -> tuple[str, int]:
        """Whose the next `n` numbers are, and the first. None is given twice, not even after a power cut."""
        if self._next + n - 1 <= (limit or self._limit):
            self._next += n
            return self.store, self._next - n
        first = self._away_next
        self._away_next += n
        if first == 1:
            _log.error("no durable numbers left next=numbering under store %s until flash can be written", self._away)
        return self._away, first

    def _open(self) -> tuple[Store, Totals]:
        """Open the database, and find in it what the stage says is delivered. One that is corrupt is set aside."""
        for last in (False, True):  # a read that failed once can look like it
            try:
                return _opened(self._folder, self._found, self._max_bytes)
            except sqlite3.DatabaseError as error:
                if not is_corrupt(error):
                    raise
                if last:
                    self._set_aside(error)
        return _opened(self._folder, self._found, self._max_bytes)

    def _set_aside(self, error: Exception) -> None:
        name = set_aside(self._folder)
        _log.error("outbox database corrupt error=%s next=kept as %s, a new one is opened", error, name)
        what = f"the outbox database was corrupt ({error}): kept as {name}, a new one was opened"
        self.troubles.append(what)
        gap: dict[str, Any] = {"file": name, "count": None}
        if self._opened_at is not None:  # at a start nobody knows whose numbers they were, and who opens it says so
            gap |= {"store": self.store, "first": 1, "last": max(1, self._next - 1)}
            alarm = Event("alarm", "store_corrupt", "gateway", self._clock.now(), Severity.MAJOR, {"what": what})
            self._unsaved.append(self._event(alarm))
        self._gaps_due.append(("store_corrupt", gap))

    def _adopt(self, db: Store, totals: Totals) -> dict[str, int]:
        """Go on from what a database holds; says up to which number, by store, readings are on flash."""
        found, reserved = self._found, totals.reserved
        last = max(totals.last[db.name], found.last(db.name))
        self._db, self.store, self._limit, self._flushed = db, db.name, reserved, totals.flushed[db.name]
        self._next = last + 1
        if reserved > self._flushed and (not found.found or found.cut or totals.stage_broken):
            reason = "stage_cut" if found.found else "power_cut"
            known = 0 if totals.stage_broken else found.certain(db.name)
            first = max(self._flushed, known) + 1
            span = {"store": db.name, "first": first, "last": reserved, "count": None, "from": None, "to": None}
            self._gaps_due.append((reason, span))
            self._next = max(reserved, last) + 1
            _log.warning("numbers lost reason=%s first=%d last=%d next=a gap record", reason, first, reserved)
        self._ids = count(totals.next_id)
        self._newest = {"block": totals.next_id - 1, "message": totals.next_id - 1}
        self._cursor = {"block": 0, "message": 0}
        self._rows, self._bytes, self._oldest_ms = totals.rows, totals.bytes, totals.oldest_ms
        self._used, self._gaps = totals.used, self._gaps + totals.gaps
        for why, classes in totals.lost.items():
            for cls, n in classes.items():
                self._add_lost(why, cls, n)
        self._skip.clear()
        offset = self._boots.offset(self._clock.boot)
        self._boots = totals.boots.with_present(self._clock.boot)
        if offset is not None:
            self._boots = self._boots.dated(self._clock.boot, offset)
        self._undated |= totals.boots.waits(self._clock.boot)
        self._seen_at = float("-inf")
        return totals.flushed

    # -- class 0 -----------------------------------------------------------------------------------------------

    def _event(self, event: Event, limit: int | None = None) -> Parcel:
        store, seq = self._numbers(1, limit)
        return self._record("event", event_body(event, store, seq), store, seq)

    def _result(self, outcome: Outcome) -> Parcel:
        store, seq = self._numbers(1)
        parcel = self._record(f"cmd/{outcome.command}/result", result_body(outcome, store, seq), store, seq)
        parcel.outcome = outcome
        return parcel

    def _record(self, topic: str, body: bytes, store: str, seq: int) -> Parcel:
        return Parcel(Message(topic, body, False, seq, seq, 1, next(self._tokens)), store)

    async def _begin(self, command: Command) -> Outcome | None:
        async with self._disk:
            known = await self._known(command.id)
            if known is not None:
                return known
            now = self._clock.now()
            outcome = Outcome(command.id, command.point, command.value, OutcomeState.ACCEPTED, "", now)
            parcel = self._result(outcome)
            self._unsaved.append(parcel)
            if await self._save() or command.origin is Origin.LOCAL:
                return None
            refusal = replace(outcome, state=OutcomeState.REJECTED, reason=f"this cannot be recorded: {self._fault}")
            parcel.outcome = None
            parcel.message = replace(parcel.message, body=result_body(refusal, parcel.store, parcel.message.first))
            return refusal

    async def _known(self, command: str) -> Outcome | None:
        for parcel in reversed(self._unsaved):
            if parcel.outcome is not None and parcel.outcome.command == command:
                return parcel.outcome
        try:
            return await self._job(lambda db: db.outcome(command))
        except OutboxError:
            return None

    async def _save_urgent(self) -> None:
        async with self._disk:
            if self._unsaved:
                await self._save()

    # -- choosing ----------------------------------------------------------------------------------------------

    def _pick(self, now: float) -> Parcel | None:
        if self._urgent:
            parcel = self._urgent.popleft()
            parcel.message = replace(parcel.message, body=dated(parcel.message.body, self._boots))
            return parcel
        if self._behind("message") and not self._fault:
            return None
        if self._pace.starved(now) and (starved := self._from_backlog(now)):
            return starved
        if self._returned:
            return self._returned.pop(0)
        if self._waiting:
            return self._live_parcel()
        return self._from_backlog(now)

    def _from_backlog(self, now: float) -> Parcel | None:
        if not (self._returned_backlog or self._ahead) or self._pace.wait(now) != 0:
            return None
        returned = self._returned_backlog
        if returned and not (self._ahead and _row(self._ahead[0]) < _row(returned[0])):
            parcel = returned.pop(0)
        else:
            parcel = self._ahead.popleft()
        self._pace.take(len(parcel.message.body), now)
        return parcel

    def _live_parcel(self) -> Parcel:
        """All that waits, up to 500 readings or 16 kB; encoded once."""
        lots = cut(self._waiting, self._live)
        body = encode(lots)
        n = sum(lot.n for lot in lots)
        limit = self._form.limit
        while len(body) > limit and n > 1:
            self._live = max(1, min(n - 1, n * (limit - 500) // len(body)))
            lots = cut(lots, self._live)
            body = encode(lots)
            n = sum(lot.n for lot in lots)
        self._live = min(LIVE, max(self._live, n * (limit - 500) // len(body)))
        left = n
        while left:
            lot = self._waiting.popleft()
            if lot.n > left:
                self._waiting.appendleft(split(lot, left)[1])
                break
            left -= lot.n
        message = Message("telemetry", body, False, lots[0].seq, lots[-1].last, n, next(self._tokens))
        parcel = self._unstored[message.token] = Parcel(message, lots[0].store, lots)
        parcel.cls = min(lot.cls for lot in lots)
        return parcel

    def _behind(self, table: str) -> bool:
        return self._cursor[table] < self._newest[table]

    def _read_ahead(self) -> None:
        """Bring the next messages and blocks from flash beside whatever goes on; few, so that memory stays flat."""
        messages = self._behind("message") and not self._urgent
        blocks = self._behind("block") and len(self._ahead) < _AHEAD // 2
        if self._reading or self._fault or not (messages or blocks):  # a fault is mended by `run`, and wakes us
            return
        self._reading = True
        task = asyncio.ensure_future(self._read(messages, blocks))
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    async def _read(self, messages: bool, blocks: bool) -> None:
        try:
            async with self._disk:
                if messages:
                    await self._read_messages()
                if blocks:
                    await self._read_blocks()
        finally:
            self._reading = False
            self._wake.set()

    async def _read_messages(self) -> None:
        try:
            rows = await self._job(lambda db: db.messages_after(self._cursor["message"], _AHEAD))
        except OutboxError:
            return
        self._cursor["message"] = rows[-1].id if len(rows) == _AHEAD else self._newest["message"]
        for row in rows:
            if row.id not in self._skip:
                message = Message(row.topic, row.body, False, row.seq, row.seq, 1, next(self._tokens))
                self._urgent.append(Parcel(message, row.store, row=row.id, queued=True))

    async def _read_blocks(self) -> None:
        after, form, skip, boots = self._cursor["block"], self._form, set(self._skip), self._boots
        generation = self._read_anew
        try:
            last, loads, broken = await self._job(lambda db: fetch(db, after, skip, boots, form))
        except OutboxError:
            return
        if generation != self._read_anew:  # a new connection began meanwhile, or the clock was set
            return
        self._cursor["block"] = self._newest["block"] if last is None else last
        for row in broken:
            _log.error("block unreadable readings=%d next=dropped, a gap record says so", row.n)
            self._lose("store_corrupt", row.cls, row.store, row.first, row.last, row.n)
        if broken:
            self._unload(Load(broken[0].store, broken, [], 0, 0))
        for load in loads:
            for piece in load.pieces:
                message = Message(
                    "telemetry", piece.body, piece.zlib, piece.first, piece.last, piece.n, next(self._tokens), "backlog"
                )
                self._ahead.append(Parcel(message, load.store, load=load, cls=min(row.cls for row in load.rows)))
            load.pieces.clear()

    def _unread(self) -> None:
        """Leave what was read ahead to be read again, in another form."""
        self._read_anew += 1
        ready = Counter(id(parcel.load) for parcel in self._ahead)
        again = [p for p in self._ahead if p.load is not None and p.load.rows and ready[id(p.load)] == p.load.made]
        if not again:
            return
        gone = {id(parcel.load) for parcel in again}
        self._ahead = deque(parcel for parcel in self._ahead if id(parcel.load) not in gone)
        first = min(row.id for parcel in again for row in (parcel.load.rows if parcel.load else ()))
        held = [*self._ahead, *self._returned_backlog, *self._out.values()]
        self._skip |= {row.id for parcel in held if parcel.load for row in parcel.load.rows}
        self._cursor["block"] = first - 1

    def _to_backlog(self, parcel: Parcel, row: int) -> None:
        """What was live is on flash by now: it goes in the other lane, in its turn."""
        if row > self._cursor["block"]:
            self._skip.discard(row)
            return
        message = parcel.message
        held = Held(row, parcel.store, message.first, message.last, message.n, parcel.cls, parcel.size)
        parcel.load, parcel.row = Load(parcel.store, [held], [], 1, 1), None
        parcel.message = replace(message, lane="backlog")
        self._return_backlog(parcel)

    def _return_backlog(self, parcel: Parcel) -> None:
        self._returned_backlog.append(parcel)
        self._returned_backlog.sort(key=lambda other: (_row(other), other.message.first))

    def _retire(self, parcel: Parcel) -> None:
        """A parcel needs not be kept any more."""
        self._unstored.pop(parcel.message.token, None)
        parcel.done = True
        if parcel.load is not None:
            parcel.load.left -= 1
            if not parcel.load.left:
                self._unload(parcel.load)
            return
        telemetry = parcel.message.topic == "telemetry"
        if telemetry and parcel.lots:
            self._in_memory -= parcel.message.n
        elif telemetry and parcel.row is not None:
            self._rows -= parcel.message.n
            self._bytes[parcel.cls] -= parcel.size
        elif not telemetry and parcel.row is not None:
            self._bytes[0] -= len(parcel.message.body)
        if not parcel.saving and parcel.row is not None:
            self._delete(telemetry, parcel.row)
        if not parcel.saving and parcel.row is None and parcel.outcome is None and parcel in self._unsaved:
            self._unsaved.remove(parcel)

    def _unload(self, load: Load) -> None:
        """All that was made of these blocks is accepted, or set aside."""
        for row in load.rows:
            self._stage.accept(row.store, row.first, row.last)
            self._rows -= row.n
            self._bytes[row.cls] -= row.size
            self._delete(True, row.id)

    def _delete(self, telemetry: bool, row: int) -> None:
        (self._done.done_blocks if telemetry else self._done.done_messages).append(row)
        self._done_since = min(self._done_since, self._clock.monotonic())

    # -- the flash ---------------------------------------------------------------------------------------------

    async def _pass(self) -> None:
        now = self._clock.monotonic()
        self._count(now)
        self._look_at_clock()
        due = self._oldest_since() <= now - 0.8 * self._window
        told = self._unsaved or self._losses or self._gaps_due or self._done.refused or self._fault
        old = now - self._done_since >= self._window
        news = self._stage.broken != self._stage_told or now - self._seen_at >= _SEEN
        if now >= self._retry_at and (due or told or old or news or self._low() or self._over()):
            await self._shielded(self._locked_save(due))
        self._stage.tidy(self._oldest_since())

    async def _locked_save(self, flush: bool, last: bool = False) -> bool:
        async with self._disk:
            return await self._save(flush, last)

    async def _save(self, flush: bool = False, last: bool = False) -> bool:
        """Write all that is to be written, in one transaction; with `flush` the readings too. Holds `_disk`."""
        try:
            if self._db is None or self._fault:
                await self._job(lambda db: db.reopen())
            await self._make_room()
            batch = self._batch(flush, last)
            try:
                written = await self._job(lambda db: write(db, batch, self._ids))
            except OutboxError:
                self._restore(batch)
                raise
            self._settle(batch, written)
            return True
        except OutboxError:
            self._send_from_memory()
            return False
        finally:
            self._wake.set()

    def _batch(self, flush: bool, last: bool) -> Batch:
        """Everything that is due, moved out of the way of what comes while it is written."""
        work, self._done, self._done_since = self._done, Work(), float("inf")
        now, limit = self._clock.now(), self._limit
        if self._low() and not last:
            limit = max(self._limit, self._next) + _RANGE
        gaps = [*self._gaps_due, *((key[0], loss_detail(loss)) for key, loss in self._losses.items())]
        self._gaps_due.clear()
        self._losses.clear()
        self._gaps += len(gaps)
        for reason, detail in gaps:
            if detail.get("class") is not None:
                self._add_lost(reason, detail["class"], detail["count"])
        self._unsaved += [self._event(gap_event(*gap, now), limit) for gap in gaps]
        urgent, self._unsaved = self._unsaved, []
        parcels = list(self._unstored.values()) if flush else []
        lots = list(self._waiting) if flush else []
        if flush:
            self._waiting.clear()
        for parcel in (*urgent, *parcels):
            parcel.saving = True
        if last:
            limit = self._next - 1
        flushed = self._next - 1 if flush else self._certain()
        if limit != self._limit or last or gaps or work.done_blocks or work.done_messages:
            work.facts |= {"reserved": limit, "known": self._next - 1, "flushed": flushed, "gaps": self._gaps}
        if gaps:
            work.facts["lost"] = json.dumps(self._lost)
        if self._stage.broken != self._stage_told:
            work.facts |= {"stage": "broken" if self._stage.broken else "kept", "flushed": flushed}
        offset = self._boots.offset(now.boot)
        if self._clock.monotonic() - self._seen_at >= _SEEN or last:
            work.boot = (now.boot, offset, now.boottime_ns // 1_000_000)
        segment = self._stage.rotate() if flush else 0
        return Batch(work, urgent, parcels, lots, limit, flushed, segment, self._stage.broken, last)

    def _settle(self, batch: Batch, written: Written) -> None:
        """The batch is on flash."""
        self._limit, self._stage_told, self._flushed = batch.limit, batch.stage_broken, batch.flushed
        self._oldest_ms, self._used, self._free = written.oldest_ms, written.used, written.free
        if batch.work.boot is not None:
            self._seen_at = self._clock.monotonic()
        if not self._losses:
            self._stage.forget_losses()
        for row in (*batch.work.done_blocks, *batch.work.done_messages):
            self._skip.discard(row)
        for parcel, message_row in zip(batch.urgent, written.messages, strict=True):
            parcel.saving = False
            self._settle_urgent(parcel, message_row)
        for parcel, (row, block) in zip(batch.parcels, written.parcels, strict=True):
            parcel.saving = False
            parcel.lots, parcel.row, parcel.size = [], row, len(block.body)
            self._unstored.pop(parcel.message.token, None)
            self._skip.add(row)
            if parcel.done:
                self._newest["block"] = max(self._newest["block"], row)
                self._delete(True, row)
                continue
            self._stored(row, block)
            if parcel in self._returned:
                self._returned.remove(parcel)
                self._skip.discard(row)
        for row, block in written.blocks:
            self._stored(row, block)
            size = cost(len(block.body))
            self._per_reading += (size / block.n - self._per_reading) * min(1.0, block.n / 1000)
        if batch.segment:
            self._stage.forget(batch.segment)

    def _stored(self, row: int, block: Block) -> None:
        """What was in memory is a block on flash."""
        self._newest["block"] = max(self._newest["block"], row)
        self._in_memory -= block.n
        self._rows += block.n
        self._bytes[block.cls] += len(block.body)

    def _settle_urgent(self, parcel: Parcel, row: int | None) -> None:
        if row is None:  # only its outcome was written: the message had been delivered from memory
            return
        parcel.row = row
        self._bytes[0] += len(parcel.message.body)
        behind = self._behind("message")
        self._newest["message"] = max(self._newest["message"], row)
        if parcel.done:
            self._skip.add(row)
            self._bytes[0] -= len(parcel.message.body)
            self._delete(False, row)
        elif parcel.queued:
            self._skip.add(row)
        elif not behind and len(self._urgent) < _URGENT:
            parcel.queued = True
            self._urgent.append(parcel)
        else:
            return
        if not behind:
            self._cursor["message"] = self._newest["message"]

    def _restore(self, batch: Batch) -> None:
        """The batch is not on flash: as before."""
        self._done.add(batch.work)
        self._done_since = min(self._done_since, self._clock.monotonic())
        self._waiting.extendleft(reversed(batch.lots))
        self._unsaved[:0] = [parcel for parcel in batch.urgent if not parcel.done or parcel.outcome is not None]
        for parcel in (*batch.urgent, *batch.parcels):
            parcel.saving = False
        if self._in_memory > _MEMORY:
            self._shed()

    def _over(self) -> int:
        """Bytes above the buffer; at least 1 where a class is above its quota."""
        over = self._used - self._quota
        return max(over, *(self._bytes[cls] > self._quota * QUOTA[cls] for cls in (2, 3)), 0)

    async def _make_room(self) -> None:
        """Beyond the quota: thin or drop what is least precious; a hundredth of the quota more than is needed."""
        days = self._clock.monotonic() - self._seen_at >= _SEEN and self._db is not None
        if days:
            old = partial(aged, boots=self._present_boots(), days=self._days, after=self._cursor["block"])
            self._take_room(await self._job(partial(old, skip=set(self._skip))))
        spare = max(self._quota // 100, 32_000)
        total = self._used - self._quota + spare if self._used > self._quota else 0
        excess = {cls: round(self._bytes[cls] - self._quota * QUOTA[cls]) for cls in (2, 3)}
        if total > 0 or max(excess.values()) > 0:
            step = partial(make_room, excess=excess, total=total, after=self._cursor["block"], skip=set(self._skip))
            self._take_room(await self._job(step))

    def _take_room(self, room: Room) -> None:
        """Let what room was made with be part of the next transaction."""
        work = self._done
        for row in room.blocks:
            self._rows -= row.n
            self._bytes[row.cls] -= len(row.body)
        for _, block in room.made:
            self._rows += block.n
            self._bytes[block.cls] += len(block.body)
        gone = [row.id for row in room.blocks]
        self._skip |= set(gone)
        work.done_blocks += gone
        work.done_messages += room.messages
        self._skip |= set(room.messages)
        work.blocks += room.made
        work.settled += room.settled
        for reason, loss in room.losses:
            self._gaps_due.append((reason, loss_detail(loss)))
            _log.warning("buffer full or old reason=%s class=%d readings=%d next=a gap record",
                         reason, loss.cls, loss.count)  # fmt: skip

    def _send_from_memory(self) -> None:
        """The flash does not take class 0: deliver it all the same, and keep the newest."""
        while len(self._unsaved) > _URGENT:
            parcel = next((one for one in self._unsaved if not is_gap(one.message.body)), self._unsaved[0])
            self._unsaved.remove(parcel)
            if not parcel.queued:
                message = parcel.message
                self._lose("memory", 0, parcel.store, message.first, message.last, 1)
        for parcel in self._unsaved:
            if not parcel.queued:
                parcel.queued = True
                self._urgent.append(parcel)

    def _shed(self) -> None:
        """Memory is full: drop a tenth, the oldest of the least precious class first."""
        excess = self._in_memory - _MEMORY * 9 // 10
        for cls in (3, 2, 1):
            kept: deque[Lot] = deque()
            for lot in self._waiting:
                if lot.cls != cls or excess <= 0:
                    kept.append(lot)
                    continue
                excess -= lot.n
                self._in_memory -= lot.n
                self._lose("memory", cls, lot.store, lot.seq, lot.last, lot.n, lot.wall_ms)
            self._waiting = kept
        self._stage.losses([(reason, loss.cls, loss.store, loss.first, loss.last, loss.from_ms, loss.to_ms, loss.count)
                            for (reason, *_), loss in self._losses.items()])  # fmt: skip
        _log.warning("memory full readings=%d next=the oldest are dropped, a gap record says so", self._in_memory)

    def _lose(self, reason: str, cls: int, store: str, first: int, last: int, n: int, ms: int | None = None) -> None:
        loss = self._losses.setdefault((reason, cls, store), Loss(cls, store, first, last, ms, ms))
        loss.add(n, last, ms)

    async def _job(self, job: Callable[[Store], _T]) -> _T:
        """Do a job on the database in its thread; the caller holds `_disk`. OutboxError if the flash fails."""
        loop = asyncio.get_running_loop()
        try:
            if self._db is None:
                self._adopt(*await loop.run_in_executor(self._worker, self._open))
            db = self._db
            assert db is not None
            result = await loop.run_in_executor(self._worker, job, db)
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            raise OutboxError(str(error)) from error
        if self._fault:
            _log.info("outbox can be written again next=what waits in memory goes to flash")
            self._fault, self._retry_at, self._delay = "", float("-inf"), _RETRY[0]
        return result

    def _failed(self, error: Exception) -> None:
        now = self._clock.monotonic()
        if not self._fault:
            _log.error("outbox cannot be written error=%s next=memory, again in %.0f s", error, self._delay)
        if now >= self._retry_at:  # an event in between tries too, and puts nothing off
            self._retry_at = now + self._delay
            self._delay = min(2 * self._delay, _RETRY[1])
        self._fault = str(error)
        if self._db is not None and is_corrupt(error):
            self._db.close()
            self._db = None
            self._set_aside(error)
            self._forget_rows()
            self._retry_at = float("-inf")

    def _forget_rows(self) -> None:
        """The database is gone: what is in memory of it is only there."""
        self._done, self._found, self._rows = Work(refused=self._done.refused), Replay(found=True), 0
        self._bytes, self._seen_at = dict.fromkeys(range(4), 0), float("-inf")
        for parcel in (*self._urgent, *self._ahead, *self._returned, *self._returned_backlog, *self._out.values()):
            parcel.row = None
            if parcel.load is not None:
                parcel.load.rows.clear()

    async def _shielded(self, job: Coroutine[Any, Any, _T]) -> _T:
        """Let a job end even if its caller is cancelled: what is on flash and what we know of it go together."""
        task = asyncio.ensure_future(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)
        return await asyncio.shield(task)

    # -- figures -----------------------------------------------------------------------------------------------

    def _low(self) -> bool:
        return self._limit - self._next < _RANGE // 2

    def _oldest_since(self) -> float:
        waiting = self._waiting[0].since if self._waiting else float("inf")
        unstored = next((parcel.lots[0].since for parcel in self._unstored.values()), float("inf"))
        return min(waiting, unstored)

    def _oldest(self) -> int | None:
        if self._rows:
            return self._oldest_ms
        for parcel in self._unstored.values():
            return parcel.lots[0].wall_ms
        return self._waiting[0].wall_ms if self._waiting else None

    def _count(self, now: float) -> None:
        """Readings a second, over about a minute."""
        elapsed = now - self._counted_at
        if elapsed >= 10:
            rate = self._put / elapsed
            self._rate = rate if self._rate is None else self._rate + (rate - self._rate) / 6
            self._put, self._counted_at = 0, now

    def _hours_left(self) -> float | None:
        """Until something has to be thinned, if nothing is delivered from now on."""
        if not self._rate:
            return None
        room = max(0, min(self._quota - self._used, round(self._quota * QUOTA[2]) - self._bytes[2], self._free))
        return round(room / (self._rate * self._per_reading) / 3600, 1)

    def _add_lost(self, reason: str, cls: int | str, n: int) -> None:
        classes = self._lost.setdefault(reason, {})
        classes[str(cls)] = classes.get(str(cls), 0) + n

    # -- dates -------------------------------------------------------------------------------------------------

    def _look_at_clock(self) -> None:
        """The first moment at which the clock can be trusted dates all of this start of the box."""
        now = self._clock.now()
        if self._dated or now.wall_ms is None:
            return
        self._dated = True
        if self._boots.offset(now.boot) is None:
            offset = now.wall_ms - now.boottime_ns // 1_000_000
            self._boots = self._boots.dated(now.boot, offset)
            if self._undated:
                self._unsaved.append(self._event(Event("clock", "dated", "gateway", now, detail={
                    "boot": now.boot, "offset_ms": offset})))  # fmt: skip
        self._seen_at = float("-inf")  # it is to be written
        self._waiting = deque(self._date(lot) for lot in self._waiting)
        self._unread()

    def _date(self, lot: Lot) -> Lot:
        """A lot without a date, with the one that is known by now."""
        if lot.wall_ms is not None:
            return lot
        offset = self._boots.offset(lot.boot)
        if offset is None:
            return lot
        return lot._replace(wall_ms=offset + lot.boottime_ns // 1_000_000)

    def _present_boots(self) -> Boots:
        """The starts of the box, with how long this one has lasted."""
        return self._boots.seen(self._clock.boot, self._clock.now().boottime_ns // 1_000_000)

    def _certain(self) -> int:
        """The number up to which every one is on flash, delivered or told as lost."""
        firsts = [lot.seq for lot in self._waiting if lot.store == self.store]
        firsts += [lot.seq for parcel in self._unstored.values() for lot in parcel.lots if lot.store == self.store]
        return min(firsts, default=self._next) - 1


def _row(parcel: Parcel) -> int:
    """The block on flash at which a parcel of the backlog begins; 0 if the flash has lost it."""
    return parcel.load.rows[0].id if parcel.load is not None and parcel.load.rows else 0


def _opened(folder: Path, found: Replay, max_bytes: int) -> tuple[Store, Totals]:
    db = Store(folder, max_bytes)
    try:
        delivered = db.find(set(found.accepted)) if found.accepted else Work()
        if delivered.done_blocks or delivered.done_messages:
            db.commit(delivered)
        return db, db.totals()
    except (sqlite3.Error, OSError):
        db.close()
        raise
