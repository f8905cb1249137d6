"""Erase rows of a collector's file: by age, or because a person has the right to it.

Erased numbers are remembered (table `erased`): they do not count as missing, and are not stored again when they come
again. The work is done in small transactions, so that a collector on the same file hardly waits; only at the end of
`erase`, while the file is written anew, it does.
"""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agent.collect.store import CollectStore, site_and_kind
from agent.collect.tables import NUMBERED, runs_between
from agent.errors import BocageError

__all__ = ["Which", "erase", "expire"]

_TOGETHER = 5_000
"""Rows in one transaction."""


@dataclass(frozen=True, slots=True)
class Which:
    """The rows to erase: those that meet every condition that is given. `before` is Unix ms."""

    site: str | None = None
    device: str | None = None
    point: str | None = None
    person: str | None = None
    before: int | None = None

    @property
    def whole_site(self) -> bool:
        return self.site is not None and not (self.device or self.point or self.person or self.before is not None)


def erase(store: CollectStore, which: Which) -> int:
    """Erase it; how many rows that were. No trace of them is left, in the file or in its log.

    BocageError if the rows are gone and traces may be left: then it must be run again.
    """
    db = store.db
    stores = db.execute("SELECT store FROM store WHERE ? IS NULL OR site = ?", (which.site, which.site)).fetchall()
    erased = 0
    for (name,) in stores:
        for table in NUMBERED:
            condition, arguments = _condition(table, which)
            if condition is not None:
                query = f"SELECT seq FROM {table} WHERE store = ? AND {condition}"
                found = [seq for (seq,) in db.execute(query, (name, *arguments))]
                erased += len(found)
                for seqs in _portions(found):
                    _delete(store, table, name, seqs)
        erased += _delete_conflicts(store, name, which)
    erased += _delete_refused(store, which)
    if which.whole_site:
        _forget_site(store, str(which.site), [name for (name,) in stores])
    store.commit()
    _rewrite(db, erased)
    return erased


def _rewrite(db: sqlite3.Connection, erased: int) -> None:
    """The file without the copies of rows that SQLite leaves within its pages, and an empty log."""
    try:
        db.execute("VACUUM")
        busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        reason = "another program reads the file, and its log still has them" if busy else ""
    except sqlite3.Error as error:
        reason = f"the file cannot be written anew, {error}"
    if reason:
        raise BocageError(f"{erased} rows are erased, but traces of them may be left: {reason}; run it again")


def expire(store: CollectStore, before: int) -> Iterator[int]:
    """Erase what is older than `before` (Unix ms), a portion each time that it is asked; how many rows that were."""
    db = store.db
    for (name,) in db.execute("SELECT store FROM store").fetchall():
        for table in reversed(NUMBERED):  # readings last: they date what is rarer
            for old in _old(db, table, name, before):
                for seqs in _portions(old):
                    _delete(store, table, name, seqs)
                    yield len(seqs)
                if not old:
                    yield 0
    store.begin()
    gone = db.execute("DELETE FROM conflict WHERE at < ?", (before,)).rowcount
    gone += db.execute("DELETE FROM refused WHERE at < ?", (before,)).rowcount
    store.commit()
    yield gone


def _old(db: sqlite3.Connection, table: str, name: str, before: int) -> Iterator[list[int]]:
    """Numbers that are to go, as they are found. What has no time goes with what came after it."""
    query = f"SELECT seq, t FROM {table} WHERE store = ? AND seq > ? ORDER BY seq LIMIT {_TOGETHER}"
    after, timeless = 0, list[int]()
    while rows := db.execute(query, (name, after)).fetchall():
        after, old = rows[-1][0], list[int]()
        for seq, t in rows:
            timeless.append(seq)
            if t is not None:
                old += timeless if t < before else ()
                timeless.clear()
        yield old
    while timeless:  # nothing came after it in this table, but perhaps in another
        following = [_next_time(db, other, name, timeless[0]) for other in NUMBERED]
        seq, t = min((found for found in following if found is not None), default=(0, before))
        if t >= before:
            timeless = [one for one in timeless if one > seq > 0]
            continue
        yield [one for one in timeless if one < seq]
        timeless = [one for one in timeless if one > seq]


def _next_time(db: sqlite3.Connection, table: str, name: str, seq: int) -> tuple[int, int] | None:
    """The next row that has a time: its number, and Unix ms."""
    query = f"SELECT seq, t FROM {table} WHERE store = ? AND seq > ? AND t IS NOT NULL ORDER BY seq LIMIT 1"
    return db.execute(query, (name, seq)).fetchone()  # type: ignore[no-any-return]


def _is_by(by: str, place: str) -> str:
    """Whether a person did it: `marie`, or `uid 1000 (marie)`; to the letter."""
    return f"({by} = {place} OR substr({by}, -length({place}) - 2) = '(' || {place} || ')')"


def _condition(table: str, which: Which) -> tuple[str | None, list[Any]]:
    """The SQL condition of the rows to erase in a table; None if it has none."""
    parts, arguments = ["1"], list[Any]()
    name = "subject" if table == "event" else "point"
    if which.device is not None:
        parts.append(f"({name} = ? OR substr({name}, 1, length(?) + 1) = ? || '.')")
        arguments += [which.device] * 3
    if which.point is not None:
        parts.append(f"{name} = ?")
        arguments.append(which.point)
    if which.person is not None:
        if table != "event":
            return None, []
        parts.append(_is_by("json_extract(detail, '$.by')", "?"))
        arguments += [which.person] * 3
    if which.before is not None:
        parts.append("t < ?")
        arguments.append(which.before)
    return " AND ".join(parts), arguments


def _delete(store: CollectStore, table: str, name: str, seqs: Sequence[int]) -> None:
    """Rows of one store, in one transaction, with the rows of other tables that have their numbers."""
    store.begin()
    keys = [(name, seq) for seq in seqs]
    for place in (table, "undated", "conflict"):
        store.db.executemany(f"DELETE FROM {place} WHERE store = ? AND seq = ?", keys)
    for first, last in _runs(seqs):
        _remember(store.db, name, first, last)
    store.commit()


def _runs(seqs: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as runs without holes."""
    first = before = seqs[0]
    for seq in seqs[1:]:
        if seq > before + 1:
            yield first, before
            first = seq
        before = seq
    yield first, before


def _remember(db: sqlite3.Connection, store: str, first: int, last: int) -> None:
    """A run of erased numbers, joined with its neighbours."""
    for low, high in runs_between(db, store, first - 1, last + 1):
        first, last = min(first, low), max(last, high)
        db.execute("DELETE FROM erased WHERE store = ? AND first = ?", (store, low))
    db.execute("INSERT INTO erased VALUES(?, ?, ?)", (store, first, last))


def _delete_conflicts(store: CollectStore, name: str, which: Which) -> int:
    """Delete conflicts: later messages with a known number and other content. Returns how many."""
    row = "json_extract(row, '$.{}')".format
    point = f"coalesce({row('point')}, {row('subject')})"
    by = f"json_extract({row('detail')}, '$.by')"
    store.begin()
    found = store.db.execute(
        f"DELETE FROM conflict WHERE store = ?1 AND (?2 IS NULL OR {point} = ?2 OR"
        f" substr({point}, 1, length(?2) + 1) = ?2 || '.') AND (?3 IS NULL OR {point} = ?3)"
        f" AND (?4 IS NULL OR {_is_by(by, '?4')}) AND (?5 IS NULL OR {row('t')} < ?5)",
        (name, which.device, which.point, which.person, which.before),
    ).rowcount  # fmt: skip
    store.commit()
    return found


def _delete_refused(store: CollectStore, which: Which) -> int:
    """Messages that were not kept and that contain the name anywhere."""
    names = [_spellings(name) for name in (which.device, which.point, which.person) if name]
    rows = store.db.execute("SELECT rowid, at, topic, body FROM refused").fetchall()
    found = [
        (rowid,) for rowid, at, topic, body in rows
        if (which.site is None or site_and_kind(topic)[0] == which.site)
        and (which.before is None or at < which.before)
        and all(any(one in plain for one in name) for name in names for plain in (_plain(body),))
    ]  # fmt: skip
    store.begin()
    store.db.executemany("DELETE FROM refused WHERE rowid = ?", found)
    store.commit()
    return len(found)


def _spellings(name: str) -> set[bytes]:
    """As JSON may have it, where é is also \\u00e9 or \\u00E9."""
    escaped = json.dumps(name)[1:-1]
    upper = re.sub(r"(?<=\\u)[0-9a-f]{4}", lambda found: found[0].upper(), escaped)
    return {one.encode() for one in (name, json.dumps(name, ensure_ascii=False)[1:-1], escaped, upper)}


def _plain(body: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(body, 1 << 20) if body[:1] == b"\x78" else body
    except zlib.error:
        return body


def _forget_site(store: CollectStore, site: str, stores: Sequence[str]) -> None:
    """A site that is gone altogether: its accounts and alarms too."""
    store.begin()
    for table in (*NUMBERED, "gap", "undated", "conflict", "erased", "store"):  # what came meanwhile too
        store.db.executemany(f"DELETE FROM {table} WHERE store = ?", [(name,) for name in stores])
    store.db.execute("DELETE FROM boot WHERE boot IN (SELECT boot FROM owner WHERE site = ?)", (site,))
    store.db.execute("DELETE FROM owner WHERE site = ?", (site,))
    store.db.execute("DELETE FROM alarm WHERE site = ?", (site,))
    store.commit()


def _portions(found: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(found), _TOGETHER):
        yield found[start : start + _TOGETHER]
