"""The account of each store's numbers: received, explained or missing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from agent.collect.tables import NUMBERED

__all__ = ["StoreAccount", "accounts"]

_SET_ASIDE = """SELECT count(*) FROM gap JOIN store ON store.store = gap.said_store
WHERE store.site = ? AND gap.said_store <> ? AND gap.reason = 'store_corrupt' AND gap.first IS NULL"""
_GAPS = """SELECT first, last, count FROM gap JOIN store ON store.store = gap.said_store
WHERE gap.store = ? AND store.site = ?"""


@dataclass(frozen=True, slots=True)
class StoreAccount:
    """The account of one store's numbers. Every one from `first` to `last` came, is explained, or is missing.

    `duplicates` are keys that came again with the same content, `conflicts` with another one (there must be none;
    table `conflict` has what came later). `gaps` are the gateway's records of numbers that will never come,
    `explained` the numbers they account for. `missing` came not and are not explained: with a backlog still to come
    they may be on their way, else none may be. `erased` came, and were erased here.
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
    erased: int = 0

    def json(self) -> dict[str, Any]:
        return asdict(self)


def accounts(db: sqlite3.Connection) -> list[StoreAccount]:
    """One account a store, in the order of sites."""
    stores = db.execute("SELECT store, site, duplicates, conflicts FROM store ORDER BY site, store").fetchall()
    return [_account(db, *row) for row in stores]


def _account(db: sqlite3.Connection, store: str, site: str, duplicates: int, conflicts: int) -> StoreAccount:
    def one(query: str, *arguments: Any) -> Any:
        return db.execute(query, arguments).fetchone()[0]

    count = "SELECT count(*) FROM {} WHERE store = ?"
    readings, aggregates, events, results = (one(count.format(table), store) for table in NUMBERED)
    bounds = [db.execute(f"SELECT min(seq), max(seq) FROM {table} WHERE store = ?", (store,)) for table in NUMBERED]
    found = [number for cursor in bounds for number in cursor.fetchone() if number is not None]
    first, last = min(found, default=None), max(found, default=None)
    holes = list(_holes(db, store))
    gaps = db.execute(_GAPS, (store, site)).fetchall()
    told = len(gaps)
    if one(_SET_ASIDE, site, store):  # a database that was set aside took its account with it
        gaps.append((1, last, None))
        told += 1
    explained = _explained(holes, gaps)
    return StoreAccount(
        store, site, readings, events, results, duplicates, conflicts, told, explained,
        sum(end - start + 1 for start, end in holes) - explained,
        one("SELECT count(*) FROM undated WHERE store = ?", store), aggregates, first, last,
        one("SELECT coalesce(sum(last - first + 1), 0) FROM erased WHERE store = ?", store),
    )  # fmt: skip


def _holes(db: sqlite3.Connection, store: str) -> Iterator[tuple[int, int]]:
    """Runs of numbers between the first and the last that did not come."""
    rows = " UNION ALL ".join(f"SELECT seq AS first, seq AS last FROM {table} WHERE store = ?1" for table in NUMBERED)
    query = (
        "SELECT last + 1, later - 1 FROM (SELECT last, LEAD(first) OVER (ORDER BY first) AS later"
        f" FROM ({rows} UNION ALL SELECT first, last FROM erased WHERE store = ?1)) WHERE later > last + 1"
    )
    yield from db.execute(query, (store,))


def _explained(holes: Iterable[tuple[int, int]], gaps: Iterable[tuple[int | None, int | None, int | None]]) -> int:
    """How many of the missing numbers the gap records account for: those in their ranges, at most their counts."""
    known = [(first, last, count) for first, last, count in gaps if first is not None and last is not None]
    counts = [count for _, _, count in known]
    ranges = _united((first, last) for first, last, _ in known)
    inside = at = 0
    for start, end in sorted(holes):
        while at < len(ranges) and ranges[at][1] < start:
            at += 1
        for index in range(at, len(ranges)):
            first, last = ranges[index]
            if first > end:
                break
            inside += min(last, end) - max(first, start) + 1
    return inside if None in counts else min(inside, sum(count or 0 for count in counts))


def _united(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers in runs that do not overlap, in order."""
    united: list[tuple[int, int]] = []
    for first, last in sorted(one for one in ranges if one[0] <= one[1]):
        if united and first <= united[-1][1]:
            united[-1] = united[-1][0], max(united[-1][1], last)
        else:
            united.append((first, last))
    return united
