"""The database's versions: a file of each version before opens, drains, and is of the present one then."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zlib
from pathlib import Path
from typing import Any

import pytest

from agent.model import Event
from agent.outbox.store import FILE, Store

FIXTURES = Path(__file__).parent / "fixtures"
VERSION_1 = """
CREATE TABLE fact (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE block (
    id INTEGER PRIMARY KEY, store TEXT NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    n INTEGER NOT NULL, class INTEGER NOT NULL, boot_id TEXT NOT NULL, boottime_ns INTEGER NOT NULL,
    clock_state TEXT NOT NULL, from_ms INTEGER, to_ms INTEGER, body BLOB NOT NULL);
CREATE TABLE message (
    id INTEGER PRIMARY KEY, store TEXT NOT NULL, seq INTEGER NOT NULL, topic TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE command (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, point TEXT NOT NULL, value TEXT NOT NULL, state TEXT NOT NULL,
    reason TEXT NOT NULL, boot_id TEXT NOT NULL, boottime_ns INTEGER NOT NULL, wall_ms INTEGER);
CREATE TABLE refused (
    id INTEGER PRIMARY KEY, store TEXT NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    topic TEXT NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL);
PRAGMA user_version = 1;
"""
"""As the program of 21dc80d^ made it."""


def first_version(path: Path) -> None:
    batch = {"k": ["s", 1, 2], "t": 1764000000000, "clock": "synced", "p": {"a.b": [[0, 1.5, 0], [0, 2.5, 1]]}}
    block = ("s", 1, 2, 2, 2, "b", 1, "synced", 1, 1, zlib.compress(json.dumps(batch).encode()))
    result = {"k": ["s", 4], "t": 1, "id": "c1", "point": "km1", "value": True, "state": "verified", "reason": ""}
    event = {"k": ["s", 3], "t": 1, "kind": "alarm", "code": "x", "subject": "y", "severity": "minor", "detail": {}}
    with sqlite3.connect(path) as db:
        db.executescript(VERSION_1)
        facts = {"store": "s", "known": 4, "reserved": 4, "flushed": 4}
        db.executemany("INSERT INTO fact VALUES (?, ?)", facts.items())
        db.execute("INSERT INTO block VALUES (1,?,?,?,?,?,?,?,?,?,?,?)", block)
        rows = [(2, "s", 3, "event", json.dumps(event)), (3, "s", 4, "cmd/c1/result", json.dumps(result))]
        db.executemany("INSERT INTO message VALUES (?,?,?,?,?)", [(*row[:4], row[4].encode()) for row in rows])


def second_version(path: Path) -> None:
    shutil.copy(FIXTURES / "state-51fdbb0/outbox.db", path)


@pytest.mark.parametrize("make", [first_version, second_version], ids=["version 1", "version 2"])
async def test_a_database_of_a_version_before_drains_and_is_of_this_one_then(box: Any, make: Any) -> None:
    await box.out.close()
    for old in box.state.iterdir():
        old.unlink()
    make(box.state / FILE)
    with sqlite3.connect(box.state / FILE) as db:
        (n,) = db.execute("SELECT sum(n) FROM block").fetchone()
        told = {(store, seq, topic) for store, seq, topic in db.execute("SELECT store, seq, topic FROM message")}
    box.open()
    came = await box.drain()
    assert sum(one.n for one in came if one.kind == "readings") == n
    topics = {
        (*json.loads(one.body)["k"], f"cmd/{one.command}/result" if one.kind == "result" else one.kind)
        for one in came if one.kind != "readings"
    }  # fmt: skip
    assert topics >= told
    await box.out.close()
    with sqlite3.connect(box.state / FILE) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
        assert {"kind", "topic"} <= {name for _, name, *_ in db.execute("PRAGMA table_info(message)")}
    box.open().put(box.readings(1), 2)
    assert [one.n for one in await box.drain() if one.kind == "readings"] == [1]


async def test_the_program_before_finds_its_topics_and_leaves_rows_without_a_kind(box: Any) -> None:
    """Version 2 wrote and read `topic`; it opens a database of version 3, and what it adds is understood here."""
    await box.out.put_event(Event("alarm", "x", "km1", box.clock.now()))
    await box.out.close()
    with sqlite3.connect(box.state / FILE) as db:
        assert db.execute("SELECT DISTINCT topic, kind FROM message").fetchall() == [("event", "event")]
        body = json.dumps({"k": ["s", 9], "id": "c7", "state": "failed"}).encode()
        db.execute("INSERT INTO message (id, store, seq, topic, body) VALUES (99, 's', 9, 'cmd/c7/result', ?)", (body,))
    store = Store(box.state)
    assert [(one.kind, one.command) for one in store.messages_after(0, 9)][-1] == ("result", "c7")
    store.close()
