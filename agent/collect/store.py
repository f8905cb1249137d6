"""What was collected, in one SQLite file: readings, events, results of commands, and the account of their numbers.

    reading(store, seq, point, t, value, quality, measured_at)      t in Unix ms; NULL until its time is known
    aggregate(store, seq, point, t, min, mean, max, last, count)    where the gateway had to thin: 15 minutes of a point
    event(store, seq, t, kind, code, subject, severity, detail)     detail is JSON
    result(store, seq, t, id, point, value, state, reason)
    gap(store, first, last, count, reason, class)                   numbers that will never come, as the gateway says
    undated(store, seq, boot, boottime_ms, t_min, t_max)            what has no time, or never will
    boot(boot, offset_ms)                                           what dates a start of a gateway
    refused(at, topic, reason, body)                                messages that are not what the schemas say

`store` is the gateway's uuid of its queue; together with `seq` it is the key by which duplicates are known.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.errors import BocageError

__all__ = ["Account", "Store"]

_TABLES = """
CREATE TABLE IF NOT EXISTS store(
  store TEXT PRIMARY KEY, site TEXT NOT NULL, duplicates INTEGER NOT NULL DEFAULT 0,
  conflicts INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reading(
  store TEXT NOT NULL, seq INTEGER NOT NULL, point TEXT NOT NULL, t INTEGER, value, quality TEXT NOT NULL,
  measured_at INTEGER, PRIMARY KEY(store, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS aggregate(
  store TEXT NOT NULL, seq INTEGER NOT NULL, point TEXT NOT NULL, t INTEGER, min REAL, mean REAL, max REAL, last REAL,
  count INTEGER, PRIMARY KEY(store, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event(
  store TEXT NOT NULL, seq INTEGER NOT NULL, t INTEGER, kind TEXT, code TEXT, subject TEXT, severity TEXT,
  detail TEXT, PRIMARY KEY(store, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS result(
  store TEXT NOT NULL, seq INTEGER NOT NULL, t INTEGER, id TEXT, point TEXT, value, state TEXT, reason TEXT,
  PRIMARY KEY(store, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gap(
  store TEXT NOT NULL, first INTEGER, last INTEGER, count INTEGER, reason TEXT, class INTEGER,
  said_store TEXT NOT NULL, said_seq INTEGER NOT NULL, PRIMARY KEY(said_store, said_seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS undated(
  store TEXT NOT NULL, seq INTEGER NOT NULL, boot TEXT NOT NULL, boottime_ms INTEGER NOT NULL,
  t_min INTEGER, t_max INTEGER, PRIMARY KEY(store, seq)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS undated_boot ON undated(boot);
CREATE TABLE IF NOT EXISTS boot(boot TEXT PRIMARY KEY, offset_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refused(at INTEGER, topic TEXT, reason TEXT, body BLOB);
"""
_VERSION = 1
_DATED = ("reading", "aggregate", "event", "result")
_COLUMNS = {
    "reading": ("point", "t", "value", "quality", "measured_at"),
    "aggregate": ("point", "t", "min", "mean", "max", "last", "count"),
    "event": ("t", "kind", "code", "subject", "severity", "detail"),
    "result": ("t", "id", "point", "value", "state", "reason"),
}
_REFUSED_MOST = 10_000
_SET_ASIDE = """SELECT count(*) FROM gap JOIN store ON store.store = gap.said_store
WHERE store.site = ? AND gap.said_store <> ? AND gap.reason = 'store_corrupt' AND gap.first IS NULL"""


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the numbers of one store. Every one from `first` to `last` came, is explained, or is missing.

    `duplicates` are keys that came again with the same content, `conflicts` with another one (there must be none).
    `gaps` are the gateway's records of numbers that will never come, `explained` the numbers they account for.
    `missing` came not and are not explained: with a backlog still to come they may be on their way, else none may be.
    """

    store: str
    site: str
    readings: int
    events: int
    results: int
    duplicates: int
    conflicts: int
    gaps: int
    explained: int
    missing: int
    undated: int
    aggregates: int
    first: int | None
    last: int | None

    def json(self) -> dict[str, Any]:
        return asdict(self)


class Store:
    """One file. `take` belongs to the transaction that `commit` ends; acknowledge a message only after that."""

    def __init__(self, path: Path, create: bool = True) -> None:
        """BocageError if the file is not there (with `create` off) or is something else."""
        if not create and not path.is_file():
            raise BocageError(f"{path}: there is no such file; bocage collect URL --sqlite {path} makes it")
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
        except sqlite3.OperationalError as error:
            raise BocageError(f"{path} cannot be opened: is its folder there, and may you write to it?") from error
        try:
            self._prepare(create)
        except sqlite3.DatabaseError as error:
            raise BocageError(f"{path} is not a file of bocage collect: {error}") from error
        self._offsets = dict(self._db.execute("SELECT boot, offset_ms FROM boot"))

    def take(self, topic: str, site: str, body: Mapping[str, Any]) -> None:
        """Keep one message that fits its schema, and count what is known already."""
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
        store = body["k"][0]
        self._db.execute("INSERT OR IGNORE INTO store(store, site) VALUES(?, ?)", (store, site))
        if topic == "telemetry":
            rows = list(_readings(body))
            thin = [(*row[:3], *row[3]) for row in rows if isinstance(row[3], list)]
            self._keep("reading", store, [row for row in rows if not isinstance(row[3], list)], body)
            self._keep("aggregate", store, thin, body)
        elif topic == "event":
            row = (*(body[key] for key in ("t", "kind", "code", "subject", "severity")), json.dumps(body["detail"]))
            self._keep("event", store, [(body["k"][1], *row)], body)
            self._learn(store, body)
        else:
            row = tuple(body[key] for key in ("t", "id", "point", "value", "state", "reason"))
            self._keep("result", store, [(body["k"][1], *row)], body)

    def refuse(self, topic: str, reason: str, payload: bytes) -> None:
        """Keep a message that is not what its schema says, for a person to look at; the newest 10,000."""
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("INSERT INTO refused VALUES(?, ?, ?, ?)", (time.time_ns() // 10**6, topic, reason, payload))
        self._db.execute("DELETE FROM refused WHERE rowid <= (SELECT max(rowid) FROM refused) - ?", (_REFUSED_MOST,))

    def commit(self) -> None:
        """All that was taken is on disk when this returns."""
        if self._db.in_transaction:
            self._db.execute("COMMIT")

    def close(self) -> None:
        self.commit()
        self._db.close()

    def accounts(self) -> list[Account]:
        """One account a store, in the order of sites."""
        stores = self._db.execute("SELECT store, site, duplicates, conflicts FROM store ORDER BY site, store")
        return [self._account(*row) for row in stores.fetchall()]

    @property
    def refused(self) -> int:
        """Messages that were not what the schemas say."""
        return int(self._db.execute("SELECT count(*) FROM refused").fetchone()[0])

    # -- inside --------------------------------------------------------------------------------------------------

    def _prepare(self, create: bool) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if version not in (0, _VERSION) or (version == 0 and (tables or not create)):
            raise sqlite3.DatabaseError("it does not have its tables")
        self._db.execute("PRAGMA synchronous = FULL")
        if version == _VERSION:
            return  # whoever only looks must not ask for the lock of a collector at work
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(_TABLES)
        self._db.execute(f"PRAGMA user_version = {_VERSION}")

    def _keep(self, table: str, store: str, rows: list[tuple[Any, ...]], body: Mapping[str, Any]) -> None:
        """Insert what is new; what is not is a duplicate, or a conflict if it says something else."""
        if not rows:
            return
        columns = _COLUMNS[table]
        places = ", ".join("?" * (2 + len(columns)))
        insert = f"INSERT OR IGNORE INTO {table}(store, seq, {', '.join(columns)}) VALUES({places})"
        if body["t"] is None:
            rows = self._date(table, store, rows, body)
        before = self._db.total_changes
        self._db.executemany(insert, ((store, *row) for row in rows))
        known = len(rows) - (self._db.total_changes - before)
        if known:
            self._compare(table, store, rows, known)

    def _compare(self, table: str, store: str, rows: list[tuple[Any, ...]], known: int) -> None:
        """Of rows whose key was there: does it say the same? Times may have become known since."""
        columns = [column for column in _COLUMNS[table] if column != "t"]
        at = [1 + _COLUMNS[table].index(column) for column in columns]
        query = f"SELECT {', '.join(columns)} FROM {table} WHERE store = ? AND seq = ?"
        others = sum(
            self._db.execute(query, (store, row[0])).fetchone() != tuple(row[index] for index in at) for row in rows
        )
        self._db.execute(
            "UPDATE store SET duplicates = duplicates + ?, conflicts = conflicts + ? WHERE store = ?",
            (known - others, others, store),
        )

    def _date(
        self, table: str, store: str, rows: list[tuple[Any, ...]], body: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        """Rows of a time that the gateway did not know: dated if its boot is known by now, else noted for later."""
        boot = body["boot"]
        when = 1 + _COLUMNS[table].index("t")
        since = [body["boottime_ms"] if table in ("event", "result") else row[when] for row in rows]
        offset = self._offsets.get(boot)
        if offset is None:
            bounds = body.get("t_min"), body.get("t_max")
            notes = ((store, row[0], boot, moment, *bounds) for row, moment in zip(rows, since, strict=True))
            self._db.executemany("INSERT OR IGNORE INTO undated VALUES(?, ?, ?, ?, ?, ?)", notes)
        times = [None if offset is None else moment + offset for moment in since]
        return [(*row[:when], moment, *row[when + 1 :]) for row, moment in zip(rows, times, strict=True)]

    def _learn(self, store: str, event: Mapping[str, Any]) -> None:
        """Events that say something of other numbers: gaps, and what time it was in a boot."""
        detail = event["detail"]
        if event["kind"] == "gap":
            self._db.execute(
                "INSERT OR IGNORE INTO gap VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    detail.get("store", store), detail.get("first"), detail.get("last"), detail["count"],
                    detail["reason"], detail.get("class"), store, event["k"][1],
                ),
            )  # fmt: skip
        elif event["kind"] == "clock" and {"boot", "offset_ms"} <= detail.keys():
            self._learn_boot(detail["boot"], detail["offset_ms"])

    def _learn_boot(self, boot: str, offset_ms: int) -> None:
        if boot in self._offsets:
            return
        self._offsets[boot] = offset_ms
        self._db.execute("INSERT OR REPLACE INTO boot VALUES(?, ?)", (boot, offset_ms))
        for table in _DATED:
            self._db.execute(
                f"UPDATE {table} SET t = undated.boottime_ms + ? FROM undated WHERE undated.boot = ?"
                f" AND undated.store = {table}.store AND undated.seq = {table}.seq AND {table}.t IS NULL",
                (offset_ms, boot),
            )
        self._db.execute("DELETE FROM undated WHERE boot = ?", (boot,))

    def _account(self, store: str, site: str, duplicates: int, conflicts: int) -> Account:
        count = "SELECT count(*) FROM {} WHERE store = ?"
        readings, aggregates, events, results = (self._one(count.format(table), store) for table in _DATED)
        bounds = "SELECT {}(seq) FROM (" + " UNION ALL ".join(
            f"SELECT {{}}(seq) AS seq FROM {table} WHERE store = ?1" for table in _DATED
        ) + ")"  # fmt: skip
        first, last = (self._db.execute(bounds.replace("{}", way), (store,)).fetchone()[0] for way in ("min", "max"))
        holes = list(self._holes(store))
        gaps = self._db.execute("SELECT first, last, count FROM gap WHERE store = ?", (store,)).fetchall()
        if self._one(_SET_ASIDE, site, store):  # a database that was set aside took its account with it
            gaps.append((1, last, None))
        explained = _explained(holes, gaps)
        return Account(
            store, site, readings, events, results, duplicates, conflicts, len(gaps), explained,
            sum(end - start + 1 for start, end in holes) - explained,
            self._one("SELECT count(*) FROM undated WHERE store = ?", store), aggregates, first, last,
        )  # fmt: skip

    def _one(self, query: str, *arguments: Any) -> int:
        return int(self._db.execute(query, arguments).fetchone()[0])

    def _holes(self, store: str) -> Iterator[tuple[int, int]]:
        """Runs of numbers between the first and the last that did not come."""
        everything = " UNION ALL ".join(f"SELECT seq FROM {table} WHERE store = ?1" for table in _DATED)
        query = (
            "SELECT seq + 1, later - 1 FROM (SELECT seq, LEAD(seq) OVER (ORDER BY seq) AS later"
            f" FROM ({everything})) WHERE later > seq + 1"
        )
        yield from self._db.execute(query, (store,))


def _readings(body: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """(seq, point, t or boottime in ms, value, quality, measured_at) of every entry of a batch."""
    start = body["boottime_ms"] if body["t"] is None else body["t"]
    for point, entries in body["p"].items():
        moment, number = start, body["k"][1]
        for entry in entries:
            moment += entry[0]
            number += entry[2]
            quality, measured_at = (*entry[3:], *("good", None)[len(entry) - 3 :])[:2]
            yield number, point, moment, entry[1], quality, measured_at


def _explained(holes: Iterable[tuple[int, int]], gaps: Iterable[tuple[int | None, int | None, int | None]]) -> int:
    """How many of the missing numbers the gap records account for: those in their ranges, at most their counts."""
    ranges = sorted((first, last, count) for first, last, count in gaps if first is not None and last is not None)
    counts = [count for _, _, count in ranges]
    inside = 0
    for start, end in holes:
        reached = start
        for first, last, _ in ranges:
            low, high = max(first, reached), min(last, end)
            if low <= high:
                inside += high - low + 1
                reached = high + 1
    return inside if None in counts else min(inside, sum(count or 0 for count in counts))
