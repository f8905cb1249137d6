"""What is published in one piece, and the transactions that bring it to flash."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from agent.model import Outcome
from agent.outbox.blocks import Block, Lot, block, pack
from agent.outbox.drain import Load
from agent.outbox.lanes import Lane
from agent.outbox.records import MessageKind
from agent.outbox.store import Store, StoredMessage, Work

__all__ = ["Batch", "Entry", "Message", "Written", "write"]


@dataclass(frozen=True, slots=True)
class Message:
    """What is published in one piece. `body` is JSON (docs/schemas), or RFC 1950 with `zlib`.

    `first` and `last` are numbers of its records, `n` how many there are. `token` is the outbox's own. `lane` says
    whether it is of the present, or backlog that yields to it.
    """

    kind: MessageKind
    body: bytes
    zlib: bool
    first: int
    last: int
    n: int
    token: int
    lane: Lane = "live"
    command: str = ""
    """Of a result: the id of its command."""


@dataclass(slots=True, eq=False)
class Entry:
    """A message and where its content is: `lots` in memory, `row` on flash (`size` bytes), or a `load` of blocks."""

    message: Message
    store: str
    lots: list[Lot] = field(default_factory=list)
    load: Load | None = None
    row: int | None = None
    size: int = 0
    cls: int = 0
    at: float = 0.0
    outcome: Outcome | None = None
    since: float = 0.0
    """When it, or the first of its live readings, went to the stage (clock.monotonic)."""
    place: int = 0
    """Of live readings: the token with which they went first; pieces have that of the whole."""
    tells: tuple[str, int] | None = None
    """Of a gap record: the store of the lost numbers, and the first of them."""
    staged: bool = False
    """Whether the stage holds it, of class 0: a start finds it there."""
    queued: bool = False
    saving: bool = False
    done: bool = False

    def spans(self) -> list[tuple[int, int]]:
        """The runs of numbers in it: an earlier process may have lost some in between, and they are not in it."""
        spans: list[tuple[int, int]] = []
        for lot in self.lots:
            if spans and spans[-1][1] + 1 == lot.seq:
                spans[-1] = spans[-1][0], lot.last
            else:
                spans.append((lot.seq, lot.last))
        return spans or [(self.message.first, self.message.last)]


@dataclass(slots=True)
class Batch:
    """What one transaction brings to flash, and what will be true then.

    `told` are the gap records in `urgent` that were made for it, `given` the numbers in use by then, by store. `known`
    is the youngest row on flash: what a write left there although it failed goes, for all of it is in here once more.
    """

    work: Work
    events: list[Entry]
    told: list[Entry]
    entries: list[Entry]
    lots: list[Lot]
    limit: int
    segment: int
    stage_broken: bool
    last: bool
    given: dict[str, int]
    known: int


@dataclass(slots=True)
class Written:
    """Where it went: (row), and (row, block). `used` and `free` are bytes of the file and of its disk."""

    messages: list[int | None] = field(default_factory=list)
    entries: list[tuple[int, Block]] = field(default_factory=list)
    blocks: list[tuple[int, Block]] = field(default_factory=list)
    oldest_ms: int | None = None
    used: int = 0
    free: int = 0


def write(db: Store, batch: Batch, ids: Iterator[int]) -> Written:
    """In the worker thread: encode, compress, commit."""
    work, written = batch.work, Written()  # what is only deleted stays in the work: it is done again if this fails
    messages, outcomes = [*work.messages], [*work.outcomes]
    row: int | None
    for entry in batch.events:
        message = entry.message
        row = None if entry.done else next(ids)
        written.messages.append(row)
        if row is not None:
            messages.append(StoredMessage(row, entry.store, message.first, message.kind, message.command, message.body))
        if entry.outcome is not None:
            outcomes.append(entry.outcome)
    for entry in batch.entries:
        written.entries.append((next(ids), block(entry.lots)))
    for made in pack(batch.lots):
        written.blocks.append((next(ids), made))
    blocks = [*work.blocks, *written.entries, *written.blocks]
    db.commit(replace(work, messages=messages, outcomes=outcomes, blocks=blocks, known=batch.known))
    if batch.last:
        db.checkpoint()
    written.oldest_ms, written.used = db.oldest_ms(), db.used()
    written.free = shutil.disk_usage(db.folder).free
    return written
