"""What is published in one piece, and the transactions that bring it to flash."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.model import Outcome
from agent.outbox.blocks import Lot, block, pack
from agent.outbox.store import Store, StoredMessage, Work

__all__ = ["Batch", "Message", "Parcel", "Written", "write"]


@dataclass(frozen=True, slots=True)
class Message:
    """What is published in one piece. `topic` is the part after the site; `body` is JSON, or RFC 1950 with `zlib`.

    `first` and `last` are numbers of its records, `n` how many there are. `token` is the outbox's own.
    """

    topic: str
    body: bytes
    zlib: bool
    first: int
    last: int
    n: int
    token: int


@dataclass(slots=True, eq=False)
class Parcel:
    """A message and where its content is kept: `lots` in memory, or `row` on flash (`size` bytes)."""

    message: Message
    store: str
    lots: list[Lot] = field(default_factory=list)
    row: int | None = None
    size: int = 0
    outcome: Outcome | None = None
    queued: bool = False
    saving: bool = False
    done: bool = False


@dataclass(slots=True)
class Batch:
    """What one transaction brings to flash, and what will be true then."""

    work: Work
    urgent: list[Parcel]
    parcels: list[Parcel]
    lots: list[Lot]
    limit: int
    number: int
    segment: int
    stage_broken: bool
    last: bool


@dataclass(slots=True)
class Written:
    """Where it went: (id), (id, size) and (id, readings, size)."""

    messages: list[int | None] = field(default_factory=list)
    parcels: list[tuple[int, int]] = field(default_factory=list)
    blocks: list[tuple[int, int, int]] = field(default_factory=list)
    oldest_ms: int | None = None
    free: int = 0


def write(db: Store, batch: Batch, ids: Iterator[int]) -> Written:
    """In the worker thread: encode, compress, commit."""
    work, written = batch.work, Written()
    row: int | None
    for parcel in batch.urgent:
        message = parcel.message
        row = None if parcel.done else next(ids)
        written.messages.append(row)
        if row is not None:
            work.messages.append(StoredMessage(row, parcel.store, message.first, message.topic, message.body))
        if parcel.outcome is not None:
            work.outcomes.append(parcel.outcome)
    for parcel in batch.parcels:
        made = block(parcel.lots)
        written.parcels.append((next(ids), len(made.body)))
        work.blocks.append((written.parcels[-1][0], made))
    for made in pack(batch.lots):
        written.blocks.append((next(ids), made.n, len(made.body)))
        work.blocks.append((written.blocks[-1][0], made))
    db.commit(work)
    if batch.last:
        db.checkpoint()
    written.oldest_ms = db.oldest_ms()
    written.free = shutil.disk_usage(db.folder).free
    return written
