"""The backlog on its way from flash to the link: paced, read a few messages at a time, so that memory stays flat.

Live messages go first and must not become slow because of the backlog. It has at most half of the window under way,
and a rate in bytes. Within that `BacklogPace` adapts: one message more with each acknowledgement, three quarters of
them when acknowledgements get slower than they can be (additive increase, multiplicative decrease, as TCP does: RFC
5681). On a link of 64 kbit/s that ends at one message of 16 kB at a time, which keeps the link busy and a live message
two seconds away; on a fast one at half of the window.

Stored blocks go out as they are, unless they are small, undated, or too long for the link. Small blocks of one start
of the box are joined, up to 5,000 readings a message: a site of a few readings a second writes one each window, and a
link with a long round trip would carry hardly more than one at a time.

A person reads it from outside, read-only, with or without a running agent (`read_status`, `export_readings`).
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import zlib
from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from agent.errors import StorageError
from agent.lib.timetext import utc_text
from agent.outbox.blocks import HISTORY, LIMIT, PLAIN, HeldBlock, Row, StoredBlock, decode, encode, pieces
from agent.outbox.flash import Flash
from agent.outbox.messages import Entry, EntryState, Lane, Load, Message, Piece
from agent.outbox.records import Boots, MessageKind
from agent.outbox.stage import replay
from agent.outbox.store import FILE, Store

__all__ = [
    "BURST",
    "FEW",
    "RATE",
    "SLACK",
    "STARVED",
    "WINDOW",
    "BacklogPace",
    "BacklogReader",
    "Fetched",
    "Form",
    "export_events",
    "export_readings",
    "fetch",
    "read_status",
]  # fmt: skip


WINDOW = 20
"""Messages under way, until the uplink says how many the broker allows."""
RATE = 2_000_000
"""Bytes a second of backlog at the most."""
BURST = 500_000
"""Bytes that may go at once."""
SLACK = {"live": 0.05, "backlog": 0.5}
"""Seconds above twice the quickest acknowledgement that are not yet slow."""
STARVED = 60.0
"""Seconds after which one message of the backlog goes first: on a thin link the live ones would take all of it."""


class BacklogPace:
    """Says when a message of the backlog may go. Times are clock.monotonic, in seconds."""

    def __init__(self, now: float) -> None:
        self.under_way = 0
        self._most = WINDOW // 2
        self._allowed = 1.0
        self._tokens, self._filled = float(BURST), now
        self._went = now
        self._quickest: dict[Lane, float] = {}
        self._slowed_until = now

    def link(self, window: int, now: float) -> None:
        """A new connection, of which nothing is known but its window."""
        self._most, self._allowed, self._went = max(1, window // 2), 1.0, now
        self._quickest.clear()

    def wait(self, now: float) -> float | None:
        """Seconds until the backlog may go: 0 is now, None not before an acknowledgement."""
        if self.under_way >= int(self._allowed):
            return None
        self._tokens = min(float(BURST), self._tokens + (now - self._filled) * RATE)
        self._filled = now
        return max(0.0, -self._tokens / RATE)

    def starved(self, now: float) -> bool:
        return now - self._went > STARVED and self.under_way == 0

    def take(self, size: int, now: float) -> None:
        """Note that a backlog message of `size` bytes is sent."""
        self.under_way += 1
        self._tokens -= size
        self._went = now

    def back(self) -> None:
        """One that was under way is not any more."""
        self.under_way -= 1

    def acknowledged(self, lane: Lane, seconds: float, now: float) -> None:
        """The broker took a message so many seconds after it was handed out."""
        quickest = self._quickest[lane] = min(seconds, self._quickest.get(lane, seconds))
        if seconds > 2 * quickest + SLACK[lane]:
            if now >= self._slowed_until:  # what was under way by then tells nothing new
                self._allowed = max(1.0, self._allowed * 0.75)
                self._slowed_until = now + seconds
        elif lane == "backlog" and now >= self._slowed_until:
            self._allowed = min(float(self._most), self._allowed + 1.0)


_READINGS = 4 * HISTORY
_BYTES = 8 * LIMIT
"""Readings and bytes that one read takes at the most."""
_SMALL = LIMIT // 4
_JOINED = 2 * LIMIT
"""Bytes of small blocks that are joined: compressed together they are about half as long."""


@dataclass(frozen=True, slots=True)
class Form:
    """Form of a message: most bytes, and whether it may be compressed."""

    limit: int = LIMIT
    compress: bool = True


class Fetched(NamedTuple):
    """Loads read up to row `last` (None: there are no more rows), and blocks that are unreadable."""

    last: int | None
    loads: list[Load]
    broken: list[HeldBlock]


def fetch(db: Store, after: int, skip: set[int], boots: Boots, form: Form) -> Fetched:
    """The next blocks after a row, as loads."""
    rows = db.blocks_after(after, _READINGS, _BYTES)
    loads: list[Load] = []
    broken: list[HeldBlock] = []
    group: list[StoredBlock] = []
    as_it_is = True
    for row in rows:
        if row.id in skip:
            continue
        if (plain := _plain(row.body)) is None:
            broken.append(row.held)
            continue
        if group and not _fits(group, row):
            loads.append(_load(group, boots, form, as_it_is))
            group, as_it_is = [], True
        group.append(row)
        as_it_is = as_it_is and plain <= PLAIN and row.n <= HISTORY
    if group:
        loads.append(_load(group, boots, form, as_it_is))
    return Fetched(rows[-1].id if rows else None, loads, broken)


def _fits(group: Sequence[StoredBlock], row: StoredBlock) -> bool:
    head = group[0]
    sizes = [len(one.body) for one in (*group, row)]
    return bool(
        (head.store, head.boot, head.synced) == (row.store, row.boot, row.synced)
        and sum(one.n for one in group) + row.n <= HISTORY
        and sum(sizes) <= (_JOINED if max(sizes) <= _SMALL else LIMIT)
    )


def _load(rows: Sequence[StoredBlock], boots: Boots, form: Form, as_it_is: bool) -> Load:
    """`as_it_is`: what is in them is no more than a consumer takes."""
    head = rows[0]
    held = [row.held for row in rows]
    as_it_is = as_it_is and len(rows) == 1 and form.compress and len(head.body) <= form.limit
    if as_it_is and (head.synced or _as_written(head, boots)):
        return Load(head.store, held, [Piece(head.body, True, head.first, head.last, head.n)], 1, 1)

    readings = sorted((reading for row in rows for reading in decode(row.body)), key=lambda reading: reading.seq)
    last = max((reading.boottime_ms or 0 for reading in readings), default=0)

    def moment(ms: int) -> dict[str, object]:
        return {"t": ms, "clock": "synced"} if head.synced else boots.moment(head.boot, ms, last)

    made = [
        Piece(body, form.compress, some[0].seq, some[-1].seq, len(some))
        for body, some in pieces(readings, moment, form.limit, form.compress)
    ]
    return Load(head.store, held, made, len(made), len(made))


def _plain(body: bytes) -> int | None:
    """Bytes of a body once unpacked. None if it is garbled: zlib ends with a checksum (RFC 1950)."""
    try:
        return len(zlib.decompress(body))
    except zlib.error:
        return None


def _as_written(row: StoredBlock, boots: Boots) -> bool:
    return bool(boots.moment(row.boot, 0)["clock"] == "unsynced")


FEW = 8
"""Class-0 records read from flash at a time, and messages of the backlog held ready."""


class BacklogReader:
    """`ready` in the order of the flash, and what came back from the link. `pace` says when one may go.

    Rows up to `cursor` are in memory, those up to `newest` are on flash; those to `skip` are never read (again).
    """

    def __init__(self, flash: Flash, tokens: Iterator[int], now: float) -> None:
        self._flash, self._tokens = flash, tokens
        self.pace = BacklogPace(now)
        self.form = Form()
        self.ready: deque[Entry] = deque()
        self.returned: list[Entry] = []
        self.cursor = {"block": 0, "message": 0}
        self.newest = {"block": 0, "message": 0}
        self.skip: set[int] = set()
        self._generation = 0

    def adopt(self, newest: int) -> None:
        """Start over with a database whose last row is `newest`."""
        self.newest = {"block": newest, "message": newest}
        self.cursor = {"block": 0, "message": 0}
        self.skip.clear()

    @property
    def known(self) -> int:
        """The youngest row on flash."""
        return max(self.newest.values())

    def start_over(self, held: Collection[int]) -> None:
        """Read everything again, as its store was renamed, except rows that are `held`."""
        self._generation += 1
        self.ready.clear()
        self.returned.clear()
        self.skip = set(held)
        self.cursor = {"block": 0, "message": 0}

    def behind(self, table: str) -> bool:
        """Whether there are rows that were not looked at."""
        return self.cursor[table] < self.newest[table]

    def wants_blocks(self) -> bool:
        return self.behind("block") and len(self.ready) < FEW // 2

    @property
    def holds(self) -> bool:
        """Whether messages of the backlog wait in memory."""
        return bool(self.returned or self.ready)

    def wait(self, now: float) -> float | None:
        """Seconds until the next one may go; None: not before something happens."""
        return (self.pace.wait(now) or None) if self.holds else None

    def pick(self, now: float) -> Entry | None:
        """Take the oldest message, if the pace allows one now."""
        if not self.holds or self.pace.wait(now) != 0:
            return None
        if self.returned and not (self.ready and _row(self.ready[0]) < _row(self.returned[0])):
            entry = self.returned.pop(0)
        else:
            entry = self.ready.popleft()
        self.pace.take(len(entry.message.body), now)
        return entry

    def come_back(self, entry: Entry) -> None:
        """Put back a message that the broker did not accept."""
        entry.state = EntryState.WAITING
        self.returned.append(entry)
        self.returned.sort(key=lambda other: (_row(other), other.message.first))

    def join(self, entry: Entry, row: int) -> None:
        """Take over a live message that came back and is on flash by now; it goes in its turn."""
        if row > self.cursor["block"]:
            self.skip.discard(row)
            self._generation += 1  # a read that is under way passes it by: it is made again
            return
        message = entry.message
        held = HeldBlock(row, entry.store, message.first, message.last, message.n, entry.cls, entry.size)
        entry.load, entry.row = Load(entry.store, [held], [], 1, 1), None
        entry.message = replace(message, lane="backlog")
        self.come_back(entry)

    async def read_messages(self) -> list[Entry]:
        """Read the next class-0 records. The caller holds the flash's lock."""
        try:
            rows = await self._flash.job(lambda db: db.messages_after(self.cursor["message"], FEW))
        except StorageError:
            return []
        self.cursor["message"] = rows[-1].id if len(rows) == FEW else self.newest["message"]
        return [
            Entry(
                Message(row.kind, row.body, False, row.seq, row.seq, 1, next(self._tokens), command=row.command),
                row.store, row=row.id, state=EntryState.WAITING,
            )
            for row in rows if row.id not in self.skip
        ]  # fmt: skip

    async def read_blocks(self, boots: Boots) -> list[HeldBlock]:
        """Make the next blocks ready; returns the unreadable ones. The caller holds the flash's lock."""
        after, form, skip, generation = self.cursor["block"], self.form, set(self.skip), self._generation
        try:
            last, loads, broken = await self._flash.job(lambda db: fetch(db, after, skip, boots, form))
        except StorageError:
            return []
        if generation != self._generation:  # a new connection began meanwhile, or the clock was set
            return []
        self.cursor["block"] = self.newest["block"] if last is None else last
        for load in loads:
            for piece in load.pieces:
                message = Message(
                    MessageKind.READINGS, piece.body, piece.zlib, piece.first, piece.last, piece.n,
                    next(self._tokens), "backlog",
                )  # fmt: skip
                cls = min(row.cls for row in load.rows)
                self.ready.append(Entry(message, load.store, load=load, cls=cls, state=EntryState.WAITING))
            load.pieces.clear()
        return broken

    def read_again(self, out: Collection[Entry]) -> None:
        """Drop what is ready, to read it again in another form or with dates; `out` is in flight."""
        self._generation += 1
        ready = Counter(id(entry.load) for entry in self.ready)
        again = [p for p in self.ready if p.load is not None and p.load.rows and ready[id(p.load)] == p.load.made]
        if not again:
            return
        gone = {id(entry.load) for entry in again}
        self.ready = deque(entry for entry in self.ready if id(entry.load) not in gone)
        first = min(row.id for entry in again for row in (entry.load.rows if entry.load else ()))
        held = [*self.ready, *self.returned, *out]
        self.skip |= {row.id for entry in held if entry.load for row in entry.load.rows}
        self.cursor["block"] = first - 1


def _row(entry: Entry) -> int:
    """The block on flash at which an entry of the backlog begins; 0 if the flash has lost it."""
    return entry.load.rows[0].id if entry.load is not None and entry.load.rows else 0


def read_status(folder: Path, stage_folder: Path, max_bytes: int = 200_000_000) -> dict[str, Any]:
    """rows, bytes, oldest, hours_left, gaps, classes, lost and max_bytes, as `Outbox.status` has them.

    StorageError if it cannot be read. hours_left follows the growth of what is on flash; it is None where nothing is.
    """
    stage = replay(stage_folder)
    with _database(folder) as db:
        if db is None:
            flushed: dict[str, int] = {}
            rows = size = gaps = 0
            oldest = newest = None
            classes: dict[str, int] = dict.fromkeys("0123", 0)
            lost: dict[str, dict[str, int]] = {}
        else:
            classes, lost = _classes(db), _lost(db)
            flushed = _flushed(db)
            rows, size, oldest, newest, gaps = db.execute(
                "SELECT coalesce(sum(n), 0), coalesce(sum(length(body)), 0), min(from_ms), max(to_ms), "
                "(SELECT coalesce(max(value), 0) FROM fact WHERE key = 'gaps') FROM block"
            ).fetchone()
    waiting = stage.open_lots(flushed)
    if oldest is None:
        oldest = min((lot.wall_ms for lot in waiting if lot.wall_ms is not None), default=None)
    hours = None
    if size and newest is not None and newest > oldest:
        hours = round(max(0, max_bytes - size) / (size / (newest - oldest)) / 3_600_000, 1)
    return {
        "rows": rows + sum(lot.n for lot in waiting), "bytes": sum(classes.values()), "oldest": utc_text(oldest),
        "hours_left": hours, "gaps": gaps, "classes": classes, "lost": lost, "max_bytes": max_bytes,
    }  # fmt: skip


def export_readings(folder: Path, stage_folder: Path) -> Iterator[Row]:
    """Every undelivered reading, oldest first. StorageError if the outbox cannot be read.

    What is delivered while this runs may still be among them.
    """
    stage = replay(stage_folder)
    with _database(folder) as db:
        flushed = _flushed(db) if db is not None else {}
        waiting = stage.open_lots(flushed)
        if db is not None:
            yield from _stored(db)
    for lot in waiting:
        yield from decode(encode([lot]))


def export_events(folder: Path, stage_folder: Path) -> list[dict[str, Any]]:
    """Every undelivered event as docs/schemas/event.json says, in its order. StorageError if it cannot be read.

    One that is not dated yet has no `t`.
    """
    found = {(one.store, one.seq): one.body for one in replay(stage_folder).records if one.kind is MessageKind.EVENT}
    with _database(folder) as db:
        query = "SELECT store, seq, body FROM message WHERE kind = 'event' OR topic = 'event' ORDER BY id"
        stored = [] if db is None else db.execute(query).fetchall()
    bodies = {**{(store, seq): body for store, seq, body in stored}, **found}
    return [json.loads(body) for body in bodies.values()]


def _stored(db: sqlite3.Connection) -> Iterator[Row]:
    """The readings on flash, in short looks: a long one would keep the write-ahead log from being used again."""
    after = 0
    with contextlib.suppress(sqlite3.OperationalError):  # none is under way
        db.execute("COMMIT")
    while rows := db.execute("SELECT id, body FROM block WHERE id > ? ORDER BY id LIMIT 20", (after,)).fetchall():
        for row, body in rows:
            after = row
            yield from decode(body)


def _classes(db: sqlite3.Connection) -> dict[str, int]:
    """Bytes by class."""
    sizes = dict.fromkeys("0123", 0)
    for cls, size in db.execute("SELECT class, length(body) FROM block"):  # GROUP BY would sort the bodies, in files
        sizes[str(cls)] += size
    (sizes["0"],) = db.execute("SELECT coalesce(sum(length(body)), 0) FROM message").fetchone()
    return sizes


def _lost(db: sqlite3.Connection) -> dict[str, dict[str, int]]:
    """Numbers that were lost, by reason and class."""
    found = db.execute("SELECT value FROM fact WHERE key = 'lost'").fetchone()
    lost: dict[str, dict[str, int]] = json.loads(found[0]) if found else {}
    return lost


def _flushed(db: sqlite3.Connection) -> dict[str, int]:
    """Up to which number, by store, the stage holds nothing that is not on flash or delivered."""
    facts = dict(db.execute("SELECT key, value FROM fact WHERE key IN ('store', 'flushed')").fetchall())
    flushed = {facts["store"]: int(facts.get("flushed", 0))}
    for store, last in db.execute("SELECT store, max(last_seq) FROM block GROUP BY store"):
        flushed[store] = max(last, flushed.get(store, 0))
    return flushed


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[sqlite3.Connection | None]:
    """One snapshot of the database; None if there is none yet."""
    path = folder / FILE
    if not path.exists():
        yield None
        return
    if not path.is_file():  # SQLite would wait for a pipe
        raise StorageError(f"{path} cannot be read: it is no file")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            db.execute("PRAGMA busy_timeout = 2000")
            db.execute("BEGIN")
            yield db
    except sqlite3.Error as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
