"""Messages in the queue, and the readings that are not on flash yet."""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal, NamedTuple

from agent.model import Outcome
from agent.outbox.blocks import LIVE, Lot, beyond, cut, decode, encode, pieces, split
from agent.outbox.records import MessageKind

__all__ = [
    "MOST", "Entry", "Held", "Lane", "Load", "Message", "Piece", "RamQueue", "State", "split_entry",
]  # fmt: skip


Lane = Literal["live", "backlog"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message to publish. `body` is JSON (docs/schemas), or RFC 1950 with `zlib`.

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


class State(Enum):
    """State of an entry on its way to the broker."""

    NEW = "new"
    """Not to be sent from memory: the flash gets it first, and it is read there in its turn."""
    WAITING = "waiting"
    IN_FLIGHT = "in flight"
    """Sent, and not acknowledged."""
    DONE = "done"
    """Accepted by the broker, or set aside."""


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
    gap: tuple[str, int] | None = None
    """Of a gap record: the store of the lost numbers, and the first of them."""
    staged: bool = False
    """Whether the stage holds it, of class 0: a start finds it there."""
    state: State = State.NEW
    saving: bool = False
    """Whether it is in the transaction that is being written."""

    def spans(self) -> list[tuple[int, int]]:
        """The runs of numbers in it: an earlier process may have lost some in between, and they are not in it."""
        spans: list[tuple[int, int]] = []
        for lot in self.lots:
            if spans and spans[-1][1] + 1 == lot.seq:
                spans[-1] = spans[-1][0], lot.last
            else:
                spans.append((lot.seq, lot.last))
        return spans or [(self.message.first, self.message.last)]


MOST = 100_000
"""Readings kept while the flash cannot be written."""


class RamQueue:
    """`waiting` are lots in the order of their numbers, `under_way` entries by token, `n` all their readings."""

    def __init__(self) -> None:
        self.waiting: deque[Lot] = deque()
        self.under_way: dict[int, Entry] = {}
        self.n = 0
        self._live = LIVE

    def put(self, lots: Sequence[Lot]) -> None:
        self.waiting.extend(lots)
        self.n += _count(lots)

    def next(self, limit: int) -> tuple[list[Lot], int, bytes]:
        """All that waits, up to 500 readings or `limit` bytes: lots, readings, encoded once. It waits no more."""
        lots = cut(self.waiting, self._live)
        body = encode(lots)
        n = _count(lots)
        while len(body) > limit and n > 1:
            self._live = max(1, min(n - 1, n * (limit - 500) // len(body)))
            lots = cut(lots, self._live)
            body = encode(lots)
            n = _count(lots)
        self._live = min(LIVE, max(self._live, n * (limit - 500) // len(body)))
        left = n
        while left:
            lot = self.waiting.popleft()
            if lot.n > left:
                self.waiting.appendleft(split(lot, left)[1])
                break
            left -= lot.n
        return lots, n, body

    def flush(self) -> list[Lot]:
        """Take all waiting lots, to be written; they come back if that fails."""
        lots = list(self.waiting)
        self.waiting.clear()
        return lots

    def come_back(self, lots: Sequence[Lot]) -> None:
        self.waiting.extendleft(reversed(lots))

    def known(self, flushed: Mapping[str, int]) -> None:
        """Of these stores the flash has what has a number up to this: it is not brought there once more.

        Of entries `n` is what is only here: 0 if that is nothing.
        """
        self.waiting = deque(beyond(self.waiting, flushed))
        for token, entry in list(self.under_way.items()):
            entry.lots = list(beyond(entry.lots, flushed))
            entry.message = replace(entry.message, n=_count(entry.lots))
            if not entry.lots:
                del self.under_way[token]
        self.n = _count(self.waiting) + sum(entry.message.n for entry in self.under_way.values())

    def date(self, date: Callable[[Lot], Lot]) -> None:
        self.waiting = deque(date(lot) for lot in self.waiting)

    def rename(self, old: str, new: str, first: int) -> None:
        """Move waiting readings of store `old`, from number `first` on, to store `new`."""
        self.waiting = deque(
            lot._replace(store=new) if lot.store == old and lot.seq >= first else lot for lot in self.waiting
        )

    @property
    def full(self) -> bool:
        return self.n > MOST

    def shed(self) -> Iterator[Lot]:
        """Drop down to nine tenths of what there may be, the oldest of the least precious class first."""
        for cls in (3, 2, 1):
            kept: deque[Lot] = deque()
            for lot in self.waiting:
                if lot.cls != cls or self.n <= MOST * 9 // 10:
                    kept.append(lot)
                    continue
                self.n -= lot.n
                yield lot
            self.waiting = kept

    def oldest_since(self) -> float:
        """Arrival (clock.monotonic) of the oldest reading; infinity if there is none."""
        waiting = self.waiting[0].since if self.waiting else float("inf")
        for entry in self.under_way.values():
            return min(waiting, entry.lots[0].since)
        return waiting

    def oldest_ms(self) -> int | None:
        for entry in self.under_way.values():
            return entry.lots[0].wall_ms
        return self.waiting[0].wall_ms if self.waiting else None

    def first(self, store: str) -> int | None:
        """The lowest number of a store that is only here."""
        firsts = [lot.seq for lot in self.waiting if lot.store == store]
        firsts += [lot.seq for entry in self.under_way.values() for lot in entry.lots if lot.store == store]
        return min(firsts, default=None)


def _count(lots: Iterable[Lot]) -> int:
    return sum(lot.n for lot in lots)


_OF_THE_WHOLE = ("k", "t", "boottime_ms", "p", "h", "agg")
"""Keys of a batch about its readings; the others, about their time, are repeated in each piece."""


def split_entry(entry: Entry, limit: int, tokens: Iterator[int]) -> list[Entry]:
    """Entries of at most `limit` bytes each in place of one, in its order; a single reading may be longer.

    It is live (with lots) or backlog (with a load, which then has more pieces). Fewer than two: it cannot be split.
    """
    if entry.message.kind is not MessageKind.READINGS or entry.message.n < 2:
        return []
    return _live(entry, limit, tokens) if entry.load is None else _backlog(entry, limit, tokens)


def _live(entry: Entry, limit: int, tokens: Iterator[int]) -> list[Entry]:
    made: list[Entry] = []
    rest, message = list(entry.lots), entry.message
    most = max(1, message.n * limit // max(1, len(message.body)))
    while rest:
        lots = cut(rest, most)
        body, n = encode(lots), sum(lot.n for lot in lots)
        if len(body) > limit and n > 1:
            most = max(1, n // 2)
            continue
        for lot in lots:
            head = rest.pop(0)
            if head.n > lot.n:
                rest.insert(0, split(head, lot.n)[1])
        part = Message(message.kind, body, False, lots[0].seq, lots[-1].last, n, next(tokens), message.lane)
        made.append(replace(entry, message=part, lots=lots, since=lots[0].since))
    return made


def _backlog(entry: Entry, limit: int, tokens: Iterator[int]) -> list[Entry]:
    message, load = entry.message, entry.load
    assert load is not None
    plain = zlib.decompress(message.body) if message.zlib else message.body
    batch = json.loads(plain)
    kept = {key: value for key, value in batch.items() if key not in _OF_THE_WHOLE}

    def moment(ms: int) -> dict[str, Any]:
        return {"t": ms, **kept} if batch["t"] is not None else {"t": None, **kept, "boottime_ms": ms}

    made = []
    for body, rows in pieces(decode(plain), moment, limit, message.zlib):
        part = replace(message, body=body, first=rows[0].seq, last=rows[-1].seq, n=len(rows), token=next(tokens))
        made.append(Entry(part, entry.store, load=load, cls=entry.cls, at=entry.at))
    if len(made) > 1:
        load.made += len(made) - 1
        load.left += len(made) - 1
    return made
