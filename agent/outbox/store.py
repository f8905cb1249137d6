"""The outbox's SQLite database: blocks of readings, class-0 messages, and commands with their outcomes.

One worker thread owns it: nothing here is called from the event loop but through that thread. Every method raises
sqlite3.Error or OSError when the storage does not do its part; `Outbox` decides what becomes of it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from agent.lib.machine import Machine
from agent.model import Instant, Outcome, OutcomeState
from agent.outbox.blocks import PAGE, Block, RawBlock, StoredBlock, cost
from agent.outbox.identity import Totals, compare_machine, fact, left, renew, set_facts, unsure
from agent.outbox.records import (
    AUDIT,
    GAP,
    Boot,
    Boots,
    MessageKind,
    StoredMessage,
    former_topic,
    stored_message,
)

__all__ = [
    "FILE", "Store", "Work", "is_corrupt", "set_aside", "wal_bytes",
]  # fmt: skip

_log = logging.getLogger("bocage.outbox")

FILE = "outbox.db"
_SETTINGS = """
PRAGMA page_size = 2048;
PRAGMA journal_mode = WAL;
"""
_STEPS = (
    """
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
    """,
    """
ALTER TABLE block ADD COLUMN thin INTEGER NOT NULL DEFAULT 0;
CREATE TABLE IF NOT EXISTS boot (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, offset_ms INTEGER, seen_ms INTEGER NOT NULL);
    """,
    """
ALTER TABLE message ADD COLUMN kind TEXT;
ALTER TABLE refused ADD COLUMN kind TEXT;
    """,
)
"""Step n makes version n of version n - 1. Steps only add, so that the program before can open a newer database.

Version 3 says what a message is (`kind`). `topic` stays filled for the program before, whose rows have no kind; it may
go in the next minor version.
"""
_WAL_PAGES = 8192
"""16 MB: a checkpoint writes a backlog a second time, so it comes late; with a small buffer after an eighth of it."""
_PRAGMAS = (
    "secure_delete = OFF",  # Debian's default is ON: it would write every deleted page once more
    "synchronous = FULL",  # NORMAL loses committed rows in a power cut
    "busy_timeout = 2000",
    "cache_size = -512",
    "temp_store = MEMORY",  # what is sorted is short: no file in /var/tmp, which may be full or read-only
)
_COMMANDS = 100_000
"""Commands that are remembered, and for how long at least the newest of them whatever the clock says."""
_COMMAND_DAYS = 30
_COMMANDS_KEPT = 1_000


_REFUSED = 100
"""Messages that the broker will never take, kept for a person to look at: 1.6 MB at the most."""
_BOOTS = 200
_STORED = "id, store, first_seq, last_seq, n, class, boot_id, boottime_ns, clock_state = 'synced', from_ms, to_ms, body"

_BLOCK = ("id, store, first_seq, last_seq, n, class, boot_id, boottime_ns, clock_state, from_ms, to_ms, body, "
          "thin")  # fmt: skip
"""By name: a newer version's table may have more."""
_MESSAGE = "id, store, seq, kind, topic, body"
_RAW = ("id, store, first_seq, last_seq, n, boot_id, boottime_ns, clock_state = 'synced', from_ms, to_ms, "
        "length(body), thin")  # fmt: skip


@dataclass(slots=True)
class Work:
    """Changes of one transaction."""

    blocks: list[tuple[int, Block]] = field(default_factory=list)
    messages: list[StoredMessage] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    done_blocks: list[int] = field(default_factory=list)
    done_messages: list[int] = field(default_factory=list)
    refused: list[tuple[str, int, int, MessageKind, str, str, bytes]] = field(default_factory=list)
    """Store, first and last number, kind, command, reason, body."""
    settled: list[int] = field(default_factory=list)
    """Blocks that are not to be thinned (any more)."""
    boot: tuple[str, int | None, int] | None = None
    """Id, offset (ms) and length so far (ms) of this start of the box."""
    facts: dict[str, int | str] = field(default_factory=dict)
    known: int | None = None
    """The youngest row that is known to be there: what lies beyond it is of a transaction that failed, and was kept."""

    def add(self, other: Work) -> None:
        """Put another's deletions, refusals and what room was made with first."""
        self.blocks[:0] = other.blocks
        self.settled[:0] = other.settled
        self.done_blocks[:0] = other.done_blocks
        self.done_messages[:0] = other.done_messages
        self.refused[:0] = other.refused


def is_corrupt(error: Exception) -> bool:
    """Whether the file itself is at fault, so that trying again is of no use."""
    return isinstance(error, sqlite3.DatabaseError) and getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )


def wal_bytes(max_bytes: int) -> int:
    """Most bytes of the write-ahead log."""
    return min(_WAL_PAGES * PAGE, max(131_072, max_bytes // 8))


class Store:
    """One open database. `name` is the uuid that was made with it."""

    def __init__(self, folder: Path, max_bytes: int = 200_000_000, machine: Machine | None = None) -> None:
        self.folder = folder
        self._wal = wal_bytes(max_bytes)
        self._is_sure = not self._log_size()
        """Whether what a process before us left in the log is in the database: it may have died while syncs failed."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._db = self._connect()
        try:
            self._upgrade()
            with self._transaction():
                if fact(self._db, "store") is None:
                    set_facts(self._db, store=str(uuid4()), aside=_last_set_aside(folder))
                compare_machine(self._db, machine or Machine())
            self.name = str(fact(self._db, "store"))
        except (sqlite3.Error, OSError):
            self._db.close()
            raise

    def _upgrade(self) -> None:
        """Do the steps that are missing, each in a transaction. A newer program's database is left as it is."""
        version = int(self._one("PRAGMA user_version"))
        if version == 0:
            self._db.executescript(_SETTINGS)
        for number, step in enumerate(_STEPS[version:], version + 1):
            self._db.executescript(f"BEGIN IMMEDIATE; {step} PRAGMA user_version = {number}; COMMIT;")

    def reopen(self) -> list[dict[str, Any]]:
        """After a fault: a connection that once found its file read-only stays so. Writes a fact, to see.

        Returns what is `left`: a `renew` that failed may have been kept.
        """
        self._db.close()
        self._db = self._connect()
        self.checkpoint()
        self.name = str(fact(self._db, "store"))
        stores = self.left()
        self.commit(Work(facts={"store": self.name}))
        return stores

    def renew(self, first: int, done: int, name: str, why: str, sent: int) -> dict[str, Any]:
        """Give what was numbered from `first` on to another store (`identity.renew`).

        Returns what `left` has of it, until it is told.
        """
        with self._transaction():
            renew(self._db, first, done, name, why, sent)
        self.name = name
        return self.left()[-1]

    def left(self) -> list[dict[str, Any]]:
        """Stores that were left for another one, and were not told yet."""
        return left(self._db)

    def unsure(self) -> tuple[int, int] | None:
        """First number, and epoch, of what the broker had not confirmed when that was noted."""
        return unsure(self._db)

    def totals(self, beyond: Mapping[str, int] = MappingProxyType({}), commands: Iterable[str] = ()) -> Totals:
        """Count everything; the bodies are not read. `beyond` asks for the records of a store behind a number."""
        facts = dict(self._db.execute("SELECT key, value FROM fact"))
        totals = Totals(
            reserved=facts.get("reserved") or 0, gaps=facts.get("gaps") or 0,
            last={self.name: facts.get("known") or 0}, flushed={self.name: facts.get("flushed") or 0},
            used=self.used(), boots=Boots(self.boots()),
            lost=json.loads(facts.get("lost") or "{}"), away=json.loads(facts.get("away") or "{}"),
            epoch=facts.get("epoch") or 0, unsure=self.unsure(),
            left=self.left(), aside=facts.get("aside") or "", others=json.loads(facts.get("others") or "[]"),
            reservations=json.loads(facts.get("reservations") or "[]"),
        )  # fmt: skip
        # not GROUP BY: SQLite would sort the bodies, in files of its own that are twice as long
        for store, cls, n, size, last in self._db.execute("SELECT store, class, n, length(body), last_seq FROM block"):
            totals.rows += n
            totals.bytes[cls] += size
            totals.flushed[store] = max(last, totals.flushed.get(store, 0))
        totals.bytes[0] = self._one("SELECT coalesce(sum(length(body)), 0) FROM message")
        numbers = self._db.execute("SELECT store, max(seq) FROM message GROUP BY store")
        for store, last in [*totals.flushed.items(), *numbers]:
            totals.last[store] = max(last, totals.last.get(store, 0))
        for store, number in beyond.items():
            found = self._db.execute("SELECT seq FROM message WHERE store = ? AND seq > ?", (store, number))
            totals.records[store] = {seq for (seq,) in found}
        totals.outcomes = {one.command: one for one in map(self.outcome, commands) if one is not None}
        totals.oldest_ms = self.oldest_ms()
        totals.next_id = max(self._one(f"SELECT max(id) FROM {table}") or 0 for table in ("block", "message")) + 1
        return totals

    def oldest_ms(self) -> int | None:
        value = self._one("SELECT from_ms FROM block ORDER BY id LIMIT 1")
        return None if value is None else int(value)

    def commit(self, work: Work) -> None:
        """All of it or nothing, on flash when it returns."""
        if not self._is_sure:
            self._make_sure()
        with self._transaction():
            many = self._db.executemany
            if work.known is not None:
                for table in ("block", "message"):
                    self._db.execute(f"DELETE FROM {table} WHERE id > ?", (work.known,))
            many("DELETE FROM block WHERE id = ?", [(row,) for row in work.done_blocks])
            many("DELETE FROM message WHERE id = ?", [(row,) for row in work.done_messages])
            many(f"INSERT INTO block ({_BLOCK}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", map(_columns, work.blocks))
            many(
                "INSERT INTO message (id, store, seq, kind, body, topic) VALUES (?,?,?,?,?,?)",
                [
                    (one.id, one.store, one.seq, one.kind, one.body, former_topic(one.kind, one.command))
                    for one in work.messages
                ],
            )
            many("UPDATE block SET thin = 1 WHERE id = ?", [(row,) for row in work.settled])
            many(
                "INSERT INTO refused (store, first_seq, last_seq, kind, topic, reason, body) VALUES (?,?,?,?,?,?,?)",
                [
                    (store, first, last, kind, former_topic(kind, command), reason, body)
                    for store, first, last, kind, command, reason, body in work.refused
                ],
            )
            if work.refused:
                self._db.execute("DELETE FROM refused WHERE id <= (SELECT max(id) FROM refused) - ?", (_REFUSED,))
            if work.boot is not None:
                self._keep_boot(*work.boot)
            many("INSERT OR REPLACE INTO fact VALUES (?,?)", work.facts.items())
            for outcome in work.outcomes:
                self._keep(outcome)

    def blocks_after(self, row: int, readings: int, size: int) -> list[StoredBlock]:
        """The next blocks by age: one, or more up to so many readings and bytes."""
        rows = self._db.execute(f"SELECT {_STORED} FROM block WHERE id > ? ORDER BY id", (row,))
        return _first((StoredBlock(*columns) for columns in rows), readings, size)

    def messages_after(self, row: int, limit: int) -> list[StoredMessage]:
        cursor = self._db.execute(f"SELECT {_MESSAGE} FROM message WHERE id > ? ORDER BY id LIMIT ?", (row, limit))
        return [stored_message(*columns) for columns in cursor]

    def find(self, delivered: set[tuple[str, int, int]]) -> Work:
        """Deletions of the rows that carry exactly these (store, first, last)."""
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

    def oldest(self, cls: int, size: int, after: int, skip: Collection[int]) -> list[StoredBlock]:
        """The oldest blocks of a class, `size` bytes of those younger than block `after`, without those to `skip`."""
        rows = self._db.execute(f"SELECT {_STORED} FROM block WHERE class = ? AND id > ? ORDER BY id", (cls, after))
        return _first((StoredBlock(*columns) for columns in rows if columns[0] not in skip), 1 << 60, size)

    def raw_after(self, cls: int, after: int, limit: int) -> list[RawBlock]:
        """The next blocks of a class by age, without their bodies."""
        rows = self._db.execute(f"SELECT {_RAW} FROM block WHERE class = ? AND id > ? ORDER BY id LIMIT ?",
                                (cls, after, limit))  # fmt: skip
        return [RawBlock._make(columns) for columns in rows]

    def raw_at(self, cls: int, row: int) -> RawBlock | None:
        """The youngest block of a class up to a row, without its body."""
        rows = self._db.execute(f"SELECT {_RAW} FROM block WHERE class = ? AND id <= ? ORDER BY id DESC LIMIT 1",
                                (cls, row))  # fmt: skip
        return next((RawBlock._make(columns) for columns in rows), None)

    def bodies(self, ids: Sequence[int]) -> dict[int, bytes]:
        """The bodies of blocks, by their rows."""
        places = ",".join("?" * len(ids))
        return dict(self._db.execute(f"SELECT id, body FROM block WHERE id IN ({places})", ids))

    def older(self, limits: dict[str, int], after: int, skip: Collection[int]) -> list[StoredBlock]:
        """Blocks of class 2 and 3 from before a CLOCK_BOOTTIME (ms) a boot, at most 100 of those after a row."""
        found: list[StoredBlock] = []
        for boot, limit in limits.items():
            rows = self._db.execute(
                f"SELECT {_STORED} FROM block WHERE boot_id = ? AND boottime_ns < ? AND class >= 2 AND id > ? "
                "ORDER BY id LIMIT 100", (boot, limit * 1_000_000, after),
            )  # fmt: skip
            found += [StoredBlock(*columns) for columns in rows if columns[0] not in skip]
        return found[:100]

    def oldest_messages(self, size: int) -> list[tuple[int, str, int]]:
        """The oldest class-0 records (row, store, number), so many bytes. What tells of a gap stays."""
        rows = self._db.execute("SELECT id, store, seq, length(body) FROM message WHERE instr(body, ?) = 0 "
                                "ORDER BY id LIMIT 10000", (GAP,))  # fmt: skip
        found = []
        for row, store, seq, length in rows:
            if size <= 0:
                break
            size -= cost(length)
            found.append((row, store, seq))
        rows.close()
        return found

    def gaps_after(self, row: int) -> list[StoredMessage]:
        """The records of gaps behind this row, the oldest first; at most 1,000."""
        cursor = self._db.execute(
            f"SELECT {_MESSAGE} FROM message WHERE id > ? AND instr(body, ?) ORDER BY id LIMIT 1000", (row, GAP)
        )
        return [stored_message(*columns) for columns in cursor]

    def audits(self, is_old: Callable[[bytes], bool]) -> list[tuple[int, str, int]]:
        """The oldest audit records (row, store, number), as long as they are old; at most 1,000."""
        found = []
        rows = self._db.execute(
            "SELECT id, store, seq, body FROM message WHERE instr(body, ?) ORDER BY id LIMIT 1000", (AUDIT,)
        )
        for row, store, seq, body in rows:
            if not is_old(body):
                break
            found.append((row, store, seq))
        rows.close()
        return found

    def boots(self) -> list[Boot]:
        """The known starts of the box, the oldest first."""
        return [Boot(*row) for row in self._db.execute("SELECT id, offset_ms, seen_ms FROM boot ORDER BY n")]

    def used(self) -> int:
        """Bytes of the file that are in use; what was freed is used again before it grows."""
        return int(self._one("PRAGMA page_count") - self._one("PRAGMA freelist_count")) * PAGE

    def _make_sure(self) -> None:
        """As soon as there is room for it: a full disk keeps what it has for what is to be written now."""
        with contextlib.suppress(sqlite3.Error, OSError):
            if shutil.disk_usage(self.folder).free > self._log_size():
                self.checkpoint()

    def _log_size(self) -> int:
        with contextlib.suppress(OSError):
            return (self.folder / f"{FILE}-wal").stat().st_size
        return 0

    def checkpoint(self) -> None:
        """Write the content of the log to the database.

        If its sync failed, the kernel does not bring it to flash any more, and a power cut would take all that comes
        behind it in the log.
        """
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._is_sure = True

    def close(self) -> None:
        self._db.close()

    def _connect(self) -> sqlite3.Connection:
        with contextlib.suppress(OSError):  # made by us, for SQLite makes files as the umask has it
            os.close(os.open(self.folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self.folder / FILE, isolation_level=None, check_same_thread=False)
        pragmas = (*_PRAGMAS, f"wal_autocheckpoint = {self._wal // PAGE}", f"journal_size_limit = {self._wal}")
        try:
            for pragma in pragmas:
                db.execute(f"PRAGMA {pragma}")
        except sqlite3.Error:  # a file that is no database shows it here: nothing of it may stay open
            db.close()
            raise
        return db

    def _keep_boot(self, boot: str, offset_ms: int | None, seen_ms: int) -> None:
        self._db.execute(
            "INSERT INTO boot (id, offset_ms, seen_ms) VALUES (?,?,?) ON CONFLICT (id) DO UPDATE SET "
            "offset_ms = coalesce(offset_ms, excluded.offset_ms), seen_ms = max(seen_ms, excluded.seen_ms)",
            (boot, offset_ms, seen_ms),
        )
        self._db.execute("DELETE FROM boot WHERE n <= (SELECT max(n) FROM boot) - ?", (_BOOTS,))

    def _keep(self, outcome: Outcome) -> None:
        at = outcome.at
        self._db.execute(
            "INSERT INTO command (id, point, value, state, reason, boot_id, boottime_ns, wall_ms) "
            "VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET point=excluded.point, value=excluded.value, "
            "state=excluded.state, reason=excluded.reason, boot_id=excluded.boot_id, "
            "boottime_ns=excluded.boottime_ns, wall_ms=excluded.wall_ms "
            # a second message under a used id is refused: that must not hide what became of the first; one that was
            # accepted may still expire, while it waits for its turn or for its node
            "WHERE command.state = 'received' OR excluded.state NOT IN ('received', 'rejected', 'expired') "
            "OR (command.state = 'accepted' AND excluded.state = 'expired')",
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


def _last_set_aside(folder: Path) -> str:
    """The database that was here before a new one, "" if there was none."""
    names = [path.name for path in folder.glob(f"{FILE}.corrupt-*") if not path.name.endswith(("-wal", "-shm"))]
    return max(names, default="")


def set_aside(folder: Path) -> str:
    """Rename a database that cannot be read, with the date; returns its new name."""
    name = f"{FILE}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            (folder / (FILE + suffix)).rename(folder / (name + suffix))
    return name


def _text(text: str) -> str:
    """Replace lone surrogates, which SQLite does not store."""
    return text.encode("utf-8", "replace").decode()


def _columns(numbered: tuple[int, Block]) -> Sequence[Any]:
    row, b = numbered
    clock = "synced" if b.synced else "unsynced"
    return (
        row, b.store, b.first, b.last, b.n, b.cls, b.boot, b.boottime_ns, clock, b.from_ms, b.to_ms, b.body, b.thin,
    )  # fmt: skip


def _first(blocks: Iterable[StoredBlock], readings: int, size: int) -> list[StoredBlock]:
    """Blocks until there are so many readings or bytes of them; the one that passes the bound is the last."""
    found: list[StoredBlock] = []
    for block in blocks:
        found.append(block)
        readings -= block.n
        size -= block.size
        if readings <= 0 or size <= 0:
            break
    return found
