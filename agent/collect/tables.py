"""The tables of a collector's file, and how a file of an earlier version gets those that it has not.

    reading(store, seq, point, t, value, quality, measured_at)      t in Unix ms; NULL until its time is known
    aggregate(store, seq, point, t, min, mean, max, last, count)    where the gateway had to thin: 15 minutes of a point
    event(store, seq, t, kind, code, subject, severity, detail)     detail is JSON
    result(store, seq, t, id, point, value, state, reason)
    conflict(store, seq, at, kind, row)                             what came later under a number that was there; JSON
    gap(store, first, last, count, reason, class)                   numbers that will never come, as the gateway says
    undated(store, seq, boot, boottime_ms, t_min, t_max)            what has no time, or never will
    boot(boot, offset_ms)                                           what dates a start of a gateway
    owner(boot, site)                                               the site of a start
    erased(store, first, last)                                      numbers that were here and were erased
    refused(at, topic, reason, body)                                messages that were not kept
    alarm(code, site, subject, since, last, count, text)            what a person must look at

`store` is the gateway's uuid of its queue; together with `seq` it is the key by which duplicates are known. Changes
are additive: an older program opens the file, and the number of columns of its tables stays.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

__all__ = ["COLUMNS", "NUMBERED", "Stranger", "prepare", "runs_between"]


class _Step(NamedTuple):
    """One step from a version of the file to the next, and the tables that show that it is done."""

    tables: frozenset[str]
    sql: str


_STEPS = (
    _Step(
        frozenset({"store", "reading", "aggregate", "event", "result", "gap", "undated", "boot", "refused"}),
        """
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
""",
    ),
    _Step(
        frozenset({"owner", "conflict", "erased", "alarm"}),
        """
CREATE TABLE IF NOT EXISTS owner(boot TEXT PRIMARY KEY, site TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS conflict(
  store TEXT NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL, row TEXT NOT NULL,
  PRIMARY KEY(store, seq, kind, row)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erased(
  store TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY(store, first)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alarm(
  code TEXT NOT NULL, site TEXT NOT NULL, subject TEXT NOT NULL, since INTEGER NOT NULL, last INTEGER NOT NULL,
  count INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY(code, site, subject)) WITHOUT ROWID;
INSERT OR IGNORE INTO owner SELECT undated.boot, store.site FROM undated JOIN store USING(store);
INSERT OR IGNORE INTO owner SELECT json_extract(detail, '$.boot'), store.site FROM event JOIN store USING(store)
  WHERE kind = 'clock' AND json_extract(detail, '$.boot') IS NOT NULL ORDER BY seq;
""",
    ),
)
"""In order. Steps only add tables, and `user_version` stays 1: the program before refuses a higher one."""
_VERSION = 1

NUMBERED = ("reading", "aggregate", "event", "result")
"""The tables whose rows have a number of their store, and a time."""
COLUMNS = {
    "reading": ("point", "t", "value", "quality", "measured_at"),
    "aggregate": ("point", "t", "min", "mean", "max", "last", "count"),
    "event": ("t", "kind", "code", "subject", "severity", "detail"),
    "result": ("t", "id", "point", "value", "state", "reason"),
}
"""Besides store and seq."""


class Stranger(Exception):
    """A database of another program, or of a later version of this one."""


def prepare(db: sqlite3.Connection, create: bool) -> None:
    """Make the missing tables. Stranger, and no change, if the file is not a collector's."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if version > _VERSION and tables >= _STEPS[0].tables:
        raise Stranger(f"it is of a later version, {version}; this program knows {_VERSION}")
    # other programs number their versions from 1 too
    if not (tables >= _STEPS[0].tables if version == _VERSION else version == 0 and create and not tables):
        raise Stranger("it does not have its tables")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA secure_delete = ON")  # deleted content is overwritten with zeros by every connection
    if create:  # a copy (VACUUM INTO) has lost it, and its readers would shut a collector out
        db.execute("PRAGMA journal_mode = WAL")
    missing = [step.sql for step in _STEPS if not tables >= step.tables]
    if missing:  # else a reader must not ask for the lock of a running collector
        db.executescript(f"BEGIN IMMEDIATE; {' '.join(missing)} PRAGMA user_version = {_VERSION}; COMMIT;")


def runs_between(db: sqlite3.Connection, store: str, low: int, high: int) -> list[tuple[int, int]]:
    """The erased runs of a store that have numbers from `low` to `high`, in order.

    Runs do not overlap, so at most one of those that begin before reaches into them: a device among others leaves a
    run for each of its numbers, and to go through all of them each time would never end.
    """
    query = (
        "SELECT first, last FROM erased WHERE store = ?1 AND first BETWEEN coalesce((SELECT max(first) FROM erased"
        " WHERE store = ?1 AND first <= ?2), ?2) AND ?3 AND last >= ?2 ORDER BY first"
    )
    return db.execute(query, (store, low, high)).fetchall()
