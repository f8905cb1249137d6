"""From flash to messages: stored blocks go out as they are, unless they are small, undated, or too long for the link.

Small blocks of one start of the box are joined, up to 5,000 readings a message: a site of a few readings a second
writes one each window, and a link with a long round trip would carry hardly more than one at a time.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agent.outbox.blocks import HISTORY, LIMIT, PLAIN, decode, pieces
from agent.outbox.dates import Boots
from agent.outbox.store import Store, StoredBlock

__all__ = ["Fetched", "Form", "Held", "Load", "Piece", "fetch"]

_READINGS = 4 * HISTORY
_BYTES = 8 * LIMIT
"""What is read at a time."""
_SMALL = LIMIT // 4
_JOINED = 2 * LIMIT
"""Bytes of small blocks that are joined: compressed together they are about half as long."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a message may look: bytes at the most, and whether it may be compressed."""

    limit: int = LIMIT
    compress: bool = True


@dataclass(frozen=True, slots=True)
class Piece:
    """A message to be: what is in it, and which numbers it spans."""

    body: bytes
    zlib: bool
    first: int
    last: int
    n: int


class Held(NamedTuple):
    """A block on flash whose content is under way."""

    id: int
    store: str
    first: int
    last: int
    n: int
    cls: int
    size: int


@dataclass(slots=True, eq=False)
class Load:
    """Blocks that are under way together: they are deleted when all that was made of them is accepted."""

    store: str
    rows: list[Held]
    pieces: list[Piece]
    made: int
    left: int
    """Pieces that are not accepted yet, of so many that were made."""


class Fetched(NamedTuple):
    """What was read: up to which row (None: there are no more), and what of it nobody can read any more."""

    last: int | None
    loads: list[Load]
    broken: list[Held]


def fetch(db: Store, after: int, skip: set[int], boots: Boots, form: Form) -> Fetched:
    """The next blocks after a row, as loads."""
    rows = db.blocks_after(after, _READINGS, _BYTES)
    loads: list[Load] = []
    broken: list[Held] = []
    group: list[StoredBlock] = []
    as_it_is = True
    for row in rows:
        if row.id in skip:
            continue
        if (plain := _plain(row.body)) is None:
            broken.append(_held(row))
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
    held = [_held(row) for row in rows]
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


def _held(row: StoredBlock) -> Held:
    return Held(row.id, row.store, row.first, row.last, row.n, row.cls, len(row.body))


def _plain(body: bytes) -> int | None:
    """How long it is unpacked. None if the flash gave back something else: zlib ends with a checksum (RFC 1950)."""
    try:
        return len(zlib.decompress(body))
    except zlib.error:
        return None


def _as_written(row: StoredBlock, boots: Boots) -> bool:
    return bool(boots.moment(row.boot, 0)["clock"] == "unsynced")
