"""The outbox's SQLite database: blocks of readings, class-0 messages, and commands with their outcomes.

One worker thread owns it: nothing here is called from the event loop but through that thread. Every method raises
sqlite3.Error or OSError when the storage does not do its part; `Outbox` decides what becomes of it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from agent.model import Instant, Outcome, OutcomeState
from agent.outbox.blocks import Block

__all__ = ["FILE", "Loss", "Store", "StoredBlock", "StoredMessage", "Totals", "Work", "is_corrupt", "set_aside"]

_log = logging.getLogger("bocage.outbox")

FILE = "outbox.db"
_SCHEMA = """
PRAGMA page_size = 2048;
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS fact (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS block (
    id INTEGER PRIMARY KEY, store TEXT NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    n INTEGER NOT NULL, class INTEGER NOT NULL, boot_id TEXT NOT NULL, boottime_ns INTEGER NOT NULL,
    clock_state TEXT NOT NULL, from_ms INTEGER, to_ms INTEGER, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY, store TEXT NOT NULL, seq INTEGER NOT NULL, topic TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS command (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, point TEXT NOT NULL, value TEXT NOT NULL, state TEXT NOT NULL,
    reason TEXT NOT NULL, boot_id TEXT NOT NULL, boottime_ns INTEGER NOT NULL, wall_ms INTEGER);
CREATE TABLE IF NOT EXISTS refused (
    id INTEGER PRIMARY KEY, store TEXT NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    topic TEXT NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL);
PRAGMA user_version = 1;
"""
_PRAGMAS = (
    "secure_delete = OFF",  # Debian's default is ON: it would write every deleted page once more
    "synchronous = FULL",  # NORMAL loses committed rows in a power cut
    "wal_autocheckpoint = 8192",  # 16 MB: a checkpoint writes a backlog a second time, so it comes late
    "busy_timeout = 2000",
    "cache_size = -512",
)
_COMMANDS = 100_000
"""Commands that are remembered, and for how long at least the newest of them whatever the clock says."""
_COMMAND_DAYS = 30
_COMMANDS_KEPT = 1_000


class StoredBlock(NamedTuple):
    id: int
    store: str
    first: int
    last: int
    n: int
    body: bytes


class StoredMessage(NamedTuple):
    """A class-0 record: an event or an outcome."""

    id: int
    store: str
    seq: int
    topic: str
    body: bytes


@dataclass(slots=True)
class Loss:
    """Readings of one class that are dropped; `rows` and `size` (bytes) where they were on flash."""

    cls: int
    store: str
    first: int
    last: int
    from_ms: int | None
    to_ms: int | None
    count: int = 0
    rows: list[int] = field(default_factory=list)
    size: int = 0

    def add(self, n: int, last: int, to_ms: int | None) -> None:
        self.count += n
        self.last = max(self.last, last)
        self.to_ms = to_ms or self.to_ms


@dataclass(slots=True)
class Totals:
    """What is on flash. `oldest_ms` is None where unknown.

    By store: `last` is the highest number known, `flushed` the one up to which all readings are on flash or done with.
    """

    rows: int = 0
    bytes: int = 0
    blocks: int = 0
    oldest_ms: int | None = None
    next_id: int = 1
    reserved: int = 0
    gaps: int = 0
    stage_broken: bool = False
    last: dict[str, int] = field(default_factory=dict)
    flushed: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Work:
    """What one transaction does."""

    blocks: list[tuple[int, Block]] = field(default_factory=list)
    messages: list[StoredMessage] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    done_blocks: list[int] = field(default_factory=list)
    done_messages: list[int] = field(default_factory=list)
    refused: list[tuple[str, int, int, str, str, bytes]] = field(default_factory=list)
    facts: dict[str, int | str] = field(default_factory=dict)

    def add(self, other: Work) -> None:
        """Put another's deletions and refusals first."""
        self.done_blocks[:0] = other.done_blocks
        self.done_messages[:0] = other.done_messages
        self.refused[:0] = other.refused


def is_corrupt(error: Exception) -> bool:
    """Whether the file itself is at fault, so that trying again is of no use."""
    return isinstance(error, sqlite3.DatabaseError) and getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )


class Store:
    """One open database. `name` is the uuid that was made with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._db = self._connect()
        try:
            if self._one("PRAGMA user_version") != 1:
                self._db.executescript(_SCHEMA)
            with self._transaction():
                self._db.execute("INSERT OR IGNORE INTO fact VALUES ('store', ?)", (str(uuid4()),))
            self.name = str(self.fact("store"))
        except (sqlite3.Error, OSError):
            self._db.close()
            raise

    def reopen(self) -> None:
        """After a fault: a connection that once found its file read-only stays so. Writes a fact, to see."""
        self._db.close()
        self._db = self._connect()
        self.commit(Work(facts={"store": self.name}))

    def fact(self, key: str) -> Any:
        return self._one("SELECT value FROM fact WHERE key = ?", key)

    def totals(self) -> Totals:
        """Count everything; the bodies are not read."""
        facts = {key: self.fact(key) or 0 for key in ("reserved", "known", "flushed", "gaps")}
        totals = Totals(
            reserved=facts["reserved"], gaps=facts["gaps"], stage_broken=self.fact("stage") == "broken",
            last={self.name: facts["known"]}, flushed={self.name: facts["flushed"]},
        )  # fmt: skip
        for store, blocks, rows, size, last in self._db.execute(
            "SELECT store, count(*), sum(n), sum(length(body)), max(last_seq) FROM block GROUP BY store"
        ):
            totals.blocks += blocks
            totals.rows += rows
            totals.bytes += size
            totals.flushed[store] = max(last, totals.flushed.get(store, 0))
        numbers = self._db.execute("SELECT store, max(seq) FROM message GROUP BY store")
        for store, last in [*totals.flushed.items(), *numbers]:
            totals.last[store] = max(last, totals.last.get(store, 0))
        totals.oldest_ms = self.oldest_ms()
        totals.next_id = max(self._one(f"SELECT max(id) FROM {table}") or 0 for table in ("block", "message")) + 1
        return totals

    def oldest_ms(self) -> int | None:
        value = self._one("SELECT from_ms FROM block ORDER BY id LIMIT 1")
        return None if value is None else int(value)

    def commit(self, work: Work) -> None:
        """All of it or nothing, on flash when it returns."""
        with self._transaction():
            many = self._db.executemany
            many("INSERT INTO block VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", map(_columns, work.blocks))
            many("INSERT INTO message VALUES (?,?,?,?,?)", work.messages)
            many("DELETE FROM block WHERE id = ?", [(row,) for row in work.done_blocks])
            many("DELETE FROM message WHERE id = ?", [(row,) for row in work.done_messages])
            many(
                "INSERT INTO refused (store, first_seq, last_seq, topic, reason, body) VALUES (?,?,?,?,?,?)",
                work.refused,
            )
            many("INSERT OR REPLACE INTO fact VALUES (?,?)", work.facts.items())
            for outcome in work.outcomes:
                self._keep(outcome)

    def blocks_after(self, row: int, limit: int) -> list[StoredBlock]:
        """The next blocks by age."""
        cursor = self._db.execute(
            "SELECT id, store, first_seq, last_seq, n, body FROM block WHERE id > ? ORDER BY id LIMIT ?", (row, limit)
        )
        return [StoredBlock(*columns) for columns in cursor]

    def messages_after(self, row: int, limit: int) -> list[StoredMessage]:
        cursor = self._db.execute(
            "SELECT id, store, seq, topic, body FROM message WHERE id > ? ORDER BY id LIMIT ?", (row, limit)
        )
        return [StoredMessage(*columns) for columns in cursor]

    def find(self, delivered: set[tuple[str, int, int]]) -> Work:
        """What of the flash carries exactly these (store, first, last), as what is to be deleted."""
        blocks = self._db.execute("SELECT id, store, first_seq, last_seq FROM block")
        messages = self._db.execute("SELECT id, store, seq, seq FROM message")
        return Work(
            done_blocks=[row for row, *numbers in blocks if tuple(numbers) in delivered],
            done_messages=[row for row, *numbers in messages if tuple(numbers) in delivered],
        )

    def outcome(self, command: str) -> Outcome | None:
        """The last stored outcome of a command, None if its id is new."""
        rows = list(self._outcomes("id = ?", command))
        return rows[0] if rows else None

    def unfinished(self) -> list[Outcome]:
        return list(self._outcomes("state IN ('accepted', 'applied')"))

    def oldest(self, size: int, after: int) -> list[Loss]:
        """The oldest blocks of the least precious classes, `size` bytes of those younger than block `after`."""
        losses: dict[tuple[int, str], Loss] = {}
        for cls in (3, 2, 1):
            rows = self._db.execute(
                "SELECT id, store, first_seq, last_seq, n, length(body), from_ms, to_ms FROM block "
                "WHERE class = ? AND id > ? ORDER BY id", (cls, after),
            )  # fmt: skip
            for row, store, first, last, n, length, from_ms, to_ms in rows:
                if size <= 0:
                    break
                size -= length
                loss = losses.setdefault((cls, store), Loss(cls, store, first, last, from_ms, to_ms))
                loss.add(n, last, to_ms)
                loss.rows.append(row)
                loss.size += length
            rows.close()
        return list(losses.values())

    def checkpoint(self) -> None:
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self._db.close()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.folder / FILE, isolation_level=None, check_same_thread=False)
        for pragma in _PRAGMAS:
            db.execute(f"PRAGMA {pragma}")
        return db

    def _keep(self, outcome: Outcome) -> None:
        at = outcome.at
        self._db.execute(
            "INSERT INTO command (id, point, value, state, reason, boot_id, boottime_ns, wall_ms) "
            "VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET point=excluded.point, value=excluded.value, "
            "state=excluded.state, reason=excluded.reason, boot_id=excluded.boot_id, "
            "boottime_ns=excluded.boottime_ns, wall_ms=excluded.wall_ms "
            # a second message under a used id is refused: that must not hide what became of the first
            "WHERE command.state = 'received' OR excluded.state NOT IN ('received', 'rejected', 'expired')",
            (
                outcome.command,
                _text(outcome.point),
                json.dumps(outcome.value),
                outcome.state.value,
                _text(outcome.reason),
                *at,
            ),
        )
        newest = self._one("SELECT max(n) FROM command")
        self._db.execute("DELETE FROM command WHERE n <= ?", (newest - _COMMANDS,))
        if at.wall_ms is not None:  # a clock that jumped ahead must not make the agent forget what it has just done
            self._db.execute(
                "DELETE FROM command WHERE n = (SELECT min(n) FROM command) AND n <= ? AND wall_ms < ?",
                (newest - _COMMANDS_KEPT, at.wall_ms - _COMMAND_DAYS * 86_400_000),
            )

    def _outcomes(self, where: str, *values: object) -> Iterator[Outcome]:
        for command, point, value, state, reason, *at in self._db.execute(
            f"SELECT id, point, value, state, reason, boot_id, boottime_ns, wall_ms FROM command WHERE {where}", values
        ):
            yield Outcome(command, point, json.loads(value), OutcomeState(state), reason, Instant(*at))

    def _one(self, query: str, *values: object) -> Any:
        row = self._db.execute(query, values).fetchone()
        return row[0] if row else None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except (sqlite3.Error, OSError):
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise


def set_aside(folder: Path) -> str:
    """Rename a database that cannot be read, with the date; returns its new name."""
    name = f"{FILE}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            (folder / (FILE + suffix)).rename(folder / (name + suffix))
    return name


def _text(text: str) -> str:
    """What came off the network may hold lone surrogates, which SQLite does not store."""
    return text.encode("utf-8", "replace").decode()


def _columns(numbered: tuple[int, Block]) -> Sequence[Any]:
    row, b = numbered
    clock = "synced" if b.synced else "unsynced"
    return (row, b.store, b.first, b.last, b.n, b.cls, b.boot, b.boottime_ns, clock, b.from_ms, b.to_ms, b.body)
