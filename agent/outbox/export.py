"""Read an outbox from outside, read-only, with or without a running agent."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.errors import StorageError
from agent.lib.timetext import utc_text
from agent.outbox.blocks import Row, decode, encode
from agent.outbox.stage import replay
from agent.outbox.store import FILE

__all__ = ["export_readings", "read_status"]


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
