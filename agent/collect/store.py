"""The collected data in one SQLite file: readings, events, results of commands, and the account of their numbers."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.collect.account import StoreAccount, accounts
from agent.collect.schemas import InvalidMessage
from agent.collect.tables import COLUMNS, NUMBERED, Stranger, prepare, runs_between
from agent.errors import BocageError
from agent.lib.hints import again

__all__ = ["CollectStore", "Foreign", "file_fault", "is_locked", "site_and_kind"]

_REFUSED_MOST, _REFUSED_BYTES = 10_000, 100_000_000
_BODY = 256 * 1024
"""Bytes that are kept of a refused message."""
_INT64 = 1 << 63
_EXACT = 1 << 53
"""Whole numbers below are the same in every program that reads JSON."""
_DATED = 10_000
"""Rows that get their time in one transaction, where it was learned later."""
_WAIT = 4.0
"""Seconds that another program may hold the file's lock; below the 5 s in which a collector ends."""
_POISON = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError,
           sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)  # fmt: skip
"""Errors that one bad message can cause; an error of the disk ends the collector instead."""


_CURES = {
    sqlite3.SQLITE_BUSY: "; another program is at work on it, try again when it is done",
    sqlite3.SQLITE_READONLY: "; it and its folder must be writable: use it as its owner, or use a copy",
    sqlite3.SQLITE_CANTOPEN: "; its folder must be writable: copy FILE, and FILE-wal if it is there, to one that is",
    sqlite3.SQLITE_CORRUPT: "; take an earlier copy, or save what is left: sqlite3 FILE .recover | sqlite3 NEW",
}
"""By SQLite's result code."""


class Foreign(InvalidMessage):
    """A message under the number of a store, or of a boot, that is another site's."""

    def __init__(self, code: str, subject: str, text: str) -> None:
        super().__init__(f"foreign: {text}")
        self.code, self.subject = code, subject


class CollectStore:
    """One file. `take` belongs to the transaction that `commit` ends; acknowledge a message only after that."""

    def __init__(self, path: Path, create: bool = True) -> None:
        """BocageError if the file is not there (with `create` off) or is something else."""
        if not create and not path.is_file():
            maker = f"{again('collect')} URL --sqlite {shlex.quote(str(path))}"
            raise BocageError(f"{path}: there is no such file; {maker} makes it")
        self._path = path
        self.to_date = True
        """Whether there may be something for `date_some`; another program may have begun it."""
        try:
            self.db = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
        except sqlite3.OperationalError as error:
            denied = path.parent.is_dir() and not os.access(path if path.exists() else path.parent, os.W_OK)
            why = "Permission denied" if denied else "is its folder there, and may you write to it?"
            raise BocageError(f"{path} cannot be opened: {why}") from error
        try:
            prepare(self.db, create)
            self._file = self._identity()
            self._wal = self.db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        except Stranger as reason:
            self.db.close()
            raise BocageError(f"{path} is not a file of bocage collect: {reason}") from None
        except (sqlite3.Error, OSError) as error:
            self.db.close()
            raise file_fault(path, error) from error

    def _identity(self) -> tuple[int, int]:
        if str(self._path) == ":memory:":
            return 0, 0
        found = self._path.stat()
        return found.st_dev, found.st_ino

    def check_place(self) -> None:
        """After a commit, raise BocageError if the file, or its log, was moved or deleted: the data would be lost."""
        try:
            there = self._identity() == self._file
            if there and self._wal:
                Path(f"{self._path}-wal").stat()
        except OSError:
            there = False
        if not there:
            raise BocageError(f"{self._path}: the file or its -wal was deleted, moved or replaced while it was in use; "
                              "what came since was not acknowledged")  # fmt: skip

    def begin(self) -> None:
        """A transaction, unless one is under way."""
        if not self.db.in_transaction:
            self.db.execute("BEGIN IMMEDIATE")

    def take(self, topic: str, site: str, body: Mapping[str, Any]) -> None:
        """Keep one message that fits its schema, and count what is known already.

        InvalidMessage if it cannot be kept, Foreign if what it names is another site's: then nothing of it is.
        """
        self.begin()
        self.db.execute("SAVEPOINT message")
        try:
            self._take(topic, site, body)
        except InvalidMessage:
            self.db.execute("ROLLBACK TO message")
            raise
        except _POISON as error:
            self.db.execute("ROLLBACK TO message")
            raise InvalidMessage(f"cannot be kept: {type(error).__name__}: {str(error)[:200]}") from error
        finally:
            if self.db.in_transaction:  # a full disk has ended it
                self.db.execute("RELEASE message")

    def refuse(self, topic: str, reason: InvalidMessage, payload: bytes) -> None:
        """Keep a message that is not what it must be, for a person to look at: the newest 10,000, or 100 MB."""
        self.begin()
        row = (time.time_ns() // 10**6, topic[:1000], str(reason), payload[:_BODY])
        self.db.execute("INSERT INTO refused(at, topic, reason, body) VALUES(?, ?, ?, ?)", row)
        self.db.execute("DELETE FROM refused WHERE rowid <= (SELECT max(rowid) FROM refused) - ?", (_REFUSED_MOST,))
        if len(payload) > _REFUSED_BYTES // _REFUSED_MOST:
            self._bound_refused()
        if isinstance(reason, Foreign):
            site, _ = site_and_kind(topic)
            self.alarm(reason.code, site, reason.subject, str(reason))

    def alarm(self, code: str, site: str, subject: str, text: str) -> None:
        """Something that a person must look at; `report` shows it."""
        now = time.time_ns() // 10**6
        self.db.execute(
            "INSERT INTO alarm VALUES(?, ?, ?, ?, ?, 1, ?) ON CONFLICT DO UPDATE"
            " SET last = excluded.last, count = count + 1, text = excluded.text",
            (code, site, subject, now, now, text),
        )

    def date_some(self) -> bool:
        """Date a portion of what waits for the time of a boot that is known by now; False if nothing does.

        A gateway without a clock may have gathered weeks: all of them in one transaction would hold up its end.
        """
        waits = "EXISTS (SELECT 1 FROM undated WHERE undated.boot = boot.boot)"
        found = self.db.execute(f"SELECT boot, offset_ms FROM boot WHERE {waits} LIMIT 1").fetchone()
        self.to_date = found is not None
        if found is None:
            return False
        boot, offset_ms = found
        self.begin()
        query = "SELECT boottime_ms + ?, store, seq FROM undated WHERE boot = ? ORDER BY store, seq LIMIT ?"
        rows = self.db.execute(query, (offset_ms, boot, _DATED)).fetchall()
        for table in NUMBERED:
            self.db.executemany(f"UPDATE {table} SET t = ? WHERE store = ? AND seq = ? AND t IS NULL", rows)
        self.db.executemany("DELETE FROM undated WHERE store = ? AND seq = ?", [row[1:] for row in rows])
        return True

    def commit(self) -> None:
        """All that was taken is on disk when this returns."""
        if self.db.in_transaction:
            self.db.execute("COMMIT")

    def close(self) -> None:
        self.commit()
        self.db.close()

    def accounts(self, within: float | None = None) -> list[StoreAccount] | None:
        """One account a store, in the order of sites; None if it takes more than `within` seconds."""
        if within is None:
            return accounts(self.db)
        end = time.monotonic() + within
        self.db.set_progress_handler(lambda: int(time.monotonic() > end), 20_000)
        try:
            return accounts(self.db)
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                return None
            raise
        finally:
            self.db.set_progress_handler(None, 0)

    @property
    def refused(self) -> int:
        """Messages that were not kept."""
        return int(self.db.execute("SELECT count(*) FROM refused").fetchone()[0])

    def alarms(self) -> list[dict[str, Any]]:
        """code, site, subject, since and last (Unix ms), count and text, the oldest first."""
        names = ("code", "site", "subject", "since", "last", "count", "text")
        rows = self.db.execute(f"SELECT {', '.join(names)} FROM alarm ORDER BY since, code, site, subject")
        return [dict(zip(names, row, strict=True)) for row in rows]

    # -- inside --------------------------------------------------------------------------------------------------

    def _take(self, topic: str, site: str, body: Mapping[str, Any]) -> None:
        store = body["k"][0]
        self._claim(store, site, body)
        if topic == "telemetry":
            rows = list(_readings(body))
            thin = [(*row[:3], *map(_kept, row[3])) for row in rows if isinstance(row[3], list)]
            self._keep("reading", store, [row for row in rows if not isinstance(row[3], list)], body)
            self._keep("aggregate", store, thin, body)
        elif topic == "event":
            detail = json.dumps(body["detail"])
            if not self.db.execute("SELECT json_valid(?)", (detail,)).fetchone()[0]:  # erase must read it
                raise InvalidMessage("detail: nested too deeply")
            row = (*(body[key] for key in ("t", "kind", "code", "subject", "severity")), detail)
            self._keep("event", store, [(body["k"][1], *row)], body)
            self._learn(store, body)
        else:
            value = _kept(body["value"])
            row = (body["t"], body["id"], body["point"], value, body["state"], body["reason"])
            self._keep("result", store, [(body["k"][1], *row)], body)

    def _claim(self, store: str, site: str, body: Mapping[str, Any]) -> None:
        """Note that a store and a boot belong to this site; Foreign if another site's topic brought them first."""
        claims = [("store", store, "store"), ("owner", body.get("boot"), "boot")]
        if body.get("kind") == "clock":
            claims.append(("owner", body["detail"].get("boot"), "boot"))
        for table, name, key in claims:
            if name is None:
                continue
            self.db.execute(f"INSERT OR IGNORE INTO {table}({key}, site) VALUES(?, ?)", (name, site))
            (whose,) = self.db.execute(f"SELECT site FROM {table} WHERE {key} = ?", (name,)).fetchone()
            if whose != site:
                raise Foreign(f"foreign_{key}", name, f"{key} {name} is of site {whose}, and {site} uses it")

    def _keep(self, table: str, store: str, rows: Sequence[tuple[Any, ...]], body: Mapping[str, Any]) -> None:
        """Insert what is new; what is not is a duplicate, or a conflict if it says something else."""
        if not rows:
            return
        erased = self._erased(store, [row[0] for row in rows])
        taken = self._taken(table, store, [row[0] for row in rows])
        for row in rows if taken else ():
            if row[0] in taken and row[0] not in erased:
                at = 1 + COLUMNS[table].index("t")  # of what has no time, it is the time since its start
                self._disagree(table, store, (*row[:at], None, *row[at + 1 :]) if body["t"] is None else row)
        self._duplicate(store, sum(row[0] in erased for row in rows))
        rows = [row for row in rows if row[0] not in erased and row[0] not in taken]
        since = self._since(table, rows, body)
        if rows and body["t"] is None:
            rows = self._date(table, store, rows, since, body)
        columns = COLUMNS[table]
        places = ", ".join("?" * (2 + len(columns)))
        insert = f"INSERT OR IGNORE INTO {table}(store, seq, {', '.join(columns)}) VALUES({places})"
        before = self.db.total_changes
        self.db.executemany(insert, ((store, *row) for row in rows))
        known = len(rows) - (self.db.total_changes - before)
        if known:
            self._compare(table, store, rows, known, since, body.get("boot"))

    def _erased(self, store: str, numbers: Sequence[int]) -> set[int]:
        """The numbers that were here before and were erased: they stay away when they come again."""
        runs = runs_between(self.db, store, min(numbers), max(numbers))
        firsts = [first for first, _ in runs]
        places = ((number, bisect_right(firsts, number) - 1) for number in numbers if runs)
        return {number for number, place in places if place >= 0 and number <= runs[place][1]}

    def _taken(self, table: str, store: str, numbers: Sequence[int]) -> set[int]:
        """The numbers that belong to something else: an event has the number of a reading.

        An aggregate may have that of a reading: it had been sent before the gateway had to thin.
        """
        low, high, found = min(numbers), max(numbers), set[int]()
        for other in set(NUMBERED) - ({"reading", "aggregate"} if table in ("reading", "aggregate") else {table}):
            if high - low < 4 * len(numbers):
                query = f"SELECT seq FROM {other} WHERE store = ? AND seq BETWEEN ? AND ?"
                found.update(seq for (seq,) in self.db.execute(query, (store, low, high)))
            else:
                one = f"SELECT 1 FROM {other} WHERE store = ? AND seq = ?"
                found.update(seq for seq in numbers if self.db.execute(one, (store, seq)).fetchone())
        return found.intersection(numbers) if found else found

    def _compare(
        self, table: str, store: str, rows: Sequence[tuple[Any, ...]], known: int, since: Sequence[int],
        boot: str | None,
    ) -> None:  # fmt: skip
        """Compare rows with the stored ones of the same key. A time may have become known since; nothing may change."""
        columns = COLUMNS[table]
        when = columns.index("t")
        query = f"SELECT {', '.join(columns)} FROM {table} WHERE store = ? AND seq = ?"
        others = 0
        for row, moment in zip(rows, since, strict=True):
            here, came = list(self.db.execute(query, (store, row[0])).fetchone()), list(row[1:])
            times = here.pop(when), came.pop(when)
            if here != came or not self._same_time(store, row[0], times, (boot, moment)):
                others += 1
                self._disagree(table, store, row)
        self._duplicate(store, known - others)

    def _same_time(self, store: str, seq: int, times: tuple[Any, Any], start: tuple[str | None, int]) -> bool:
        """Whether the stored time can be the received one; two unknown times are compared by their boots."""
        if times == (None, None):
            query = "SELECT boot, boottime_ms FROM undated WHERE store = ? AND seq = ?"
            return self.db.execute(query, (store, seq)).fetchone() in (None, start)
        return None in times or times[0] == times[1]

    def _disagree(self, table: str, store: str, row: tuple[Any, ...]) -> None:
        """One number with two contents: what was there stays, and what came is kept beside it."""
        content = json.dumps(dict(zip(COLUMNS[table], row[1:], strict=True)))
        now = time.time_ns() // 10**6
        new = self.db.execute(
            "INSERT OR IGNORE INTO conflict VALUES(?, ?, ?, ?, ?)", (store, row[0], now, table, content)
        )
        if not new.rowcount:
            self._duplicate(store, 1)
            return
        self.db.execute("UPDATE store SET conflicts = conflicts + 1 WHERE store = ?", (store,))
        (site,) = self.db.execute("SELECT site FROM store WHERE store = ?", (store,)).fetchone()
        self.alarm("conflict", site, store, f"number {row[0]} came twice with different content (table conflict)")

    def _duplicate(self, store: str, count: int) -> None:
        if count:
            self.db.execute("UPDATE store SET duplicates = duplicates + ? WHERE store = ?", (count, store))

    def _since(self, table: str, rows: Sequence[tuple[Any, ...]], body: Mapping[str, Any]) -> list[int]:
        """The time of each row: since its boot (ms) where the gateway did not know the time, else its own."""
        if body["t"] is None and table in ("event", "result"):
            return [body["boottime_ms"]] * len(rows)
        when = 1 + COLUMNS[table].index("t")
        return [row[when] for row in rows]

    def _date(
        self, table: str, store: str, rows: Sequence[tuple[Any, ...]], since: Sequence[int], body: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        """Rows of a time that the gateway did not know: dated if its boot is known by now, else noted for later."""
        boot = body["boot"]
        when = 1 + COLUMNS[table].index("t")
        offset = self._offset(boot)
        if offset is None:
            notes = ((store, row[0], boot, moment, *_bounds(body, moment), store, row[0])
                     for row, moment in zip(rows, since, strict=True))  # fmt: skip
            self.db.executemany(  # what is here has its time, or its note
                "INSERT OR IGNORE INTO undated SELECT ?, ?, ?, ?, ?, ?"
                f" WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE store = ? AND seq = ?)", notes,
            )  # fmt: skip
        times = [None if offset is None else moment + offset for moment in since]
        return [(*row[:when], moment, *row[when + 1 :]) for row, moment in zip(rows, times, strict=True)]

    def _offset(self, boot: str) -> int | None:
        found = self.db.execute("SELECT offset_ms FROM boot WHERE boot = ?", (boot,)).fetchone()
        return None if found is None else int(found[0])

    def _learn(self, store: str, event: Mapping[str, Any]) -> None:
        """Events that say something of other numbers: gaps, and what time it was in a boot."""
        detail = event["detail"]
        if event["kind"] == "gap":
            self.db.execute(
                "INSERT OR IGNORE INTO gap VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    detail.get("store", store), detail.get("first"), detail.get("last"), detail["count"],
                    detail["reason"], detail.get("class"), store, event["k"][1],
                ),
            )  # fmt: skip
        elif event["kind"] == "clock" and {"boot", "offset_ms"} <= detail.keys():
            self._learn_boot(detail["boot"], detail["offset_ms"])

    def _learn_boot(self, boot: str, offset_ms: int) -> None:
        if self._offset(boot) is not None:
            return
        self.db.execute("INSERT INTO boot VALUES(?, ?)", (boot, offset_ms + 0))
        self.to_date = True
        self.date_some()

    def _bound_refused(self) -> None:
        """The newest that have at most so many bytes together."""
        self.db.execute(
            "DELETE FROM refused WHERE rowid IN (SELECT rowid FROM (SELECT rowid, sum(length(body)) OVER"
            " (ORDER BY rowid DESC) AS size FROM refused) WHERE size > ?)", (_REFUSED_BYTES,),
        )  # fmt: skip


def _bounds(body: Mapping[str, Any], moment: int) -> Iterator[int | None]:
    """The earliest and the latest that `moment` (ms of its boot) can have been; told are those of `boottime_ms`."""
    for name in ("t_min", "t_max"):
        told = body.get(name)
        yield None if told is None else told + moment - body["boottime_ms"]


def is_locked(error: sqlite3.Error) -> bool:
    """Whether another program has the file, which passes."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def file_fault(path: Path, error: sqlite3.Error | OSError) -> BocageError:
    """The error of a collector's file, with the remedy."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return BocageError(f"{path} is not a file of bocage collect: {error}")
    return BocageError(f"{path}: {error}{_CURES.get(code, '')}")


def site_and_kind(topic: str) -> tuple[str, str]:
    """Split a topic into site and kind: `…/SITE/telemetry`, `…/SITE/event`, `…/SITE/cmd/ID/result`."""
    levels = topic.split("/")
    if levels[-1] == "result" and len(levels) >= 4 and levels[-3] == "cmd":
        return levels[-4], "result"
    return (levels[-2] if len(levels) >= 2 else ""), levels[-1]


def _kept(value: Any) -> Any:
    """A number that fits no whole number of SQLite's, as a float."""
    return float(value) if type(value) is int and not -_INT64 <= value < _INT64 else value


def _readings(body: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """(seq, point, t or boottime in ms, value, quality, measured_at) of every entry of a batch."""
    start = body["boottime_ms"] if body["t"] is None else body["t"]
    _, first, last = body["k"]
    for point, entries in body["p"].items():
        moment, number = start, first
        for entry in entries:
            moment += entry[0]
            number += entry[2]
            if number > last:
                raise InvalidMessage(f"p/{point}: number {number} is beyond the batch's last, {last}")
            if not -_EXACT < moment < _EXACT:
                raise InvalidMessage(f"p/{point}: a time beyond all bounds")
            quality, measured_at = (*entry[3:], *("good", None)[len(entry) - 3 :])[:2]
            yield number, point, moment, _kept(entry[1]), quality, measured_at
