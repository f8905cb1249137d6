"""Messages on their way: where their content is, and what waits in memory, readings (RamQueue) and class 0 (Events).

Events and outcomes of commands are on flash before they take effect, and first on the link.
"""

from __future__ import annotations

import json
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal

from agent.model import Event, Outcome, OutcomeState
from agent.outbox.blocks import LIVE, HeldBlock, Lot, beyond, cut, decode, encode, pieces, split
from agent.outbox.numbers import Numbers
from agent.outbox.records import (
    Boots,
    MessageKind,
    StagedRecord,
    dated,
    event_body,
    is_gap,
    renamed_record,
    result_body,
)
from agent.outbox.stage import Stage

__all__ = [
    "MANY",
    "MOST",
    "Entry",
    "EntryState",
    "Events",
    "Lane",
    "Load",
    "Message",
    "Piece",
    "RamQueue",
    "split_entry",
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
    """The id of the command, in a result."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A message to be: what is in it, and which numbers it spans."""

    body: bytes
    zlib: bool
    first: int
    last: int
    n: int


@dataclass(slots=True, eq=False)
class Load:
    """Blocks that are under way together: they are deleted when all that was made of them is accepted."""

    store: str
    rows: list[HeldBlock]
    pieces: list[Piece]
    made: int
    left: int
    """Pieces that are not accepted yet, of so many that were made."""


class EntryState(Enum):
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
    """For live readings: the token with which they went first; pieces have that of the whole."""
    gap: tuple[str, int] | None = None
    """For a gap record: the store of the lost numbers, and the first of them."""
    staged: bool = False
    """Whether the stage holds it, of class 0: a start finds it there."""
    state: EntryState = EntryState.NEW
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
        self.returned: list[Entry] = []
        """The messages that came back from the link."""
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
        """Note that the flash has these stores' records up to these numbers: a record is not brought there once more.

        Of entries `n` is what is only here: 0 if that is nothing.
        """
        self.waiting = deque(beyond(self.waiting, flushed))
        for token, entry in list(self.under_way.items()):
            entry.lots = list(beyond(entry.lots, flushed))
            entry.message = replace(entry.message, n=_count(entry.lots))
            if not entry.lots:
                del self.under_way[token]
        self.returned = [entry for entry in self.returned if entry.message.n]
        self.n = _count(self.waiting) + sum(entry.message.n for entry in self.under_way.values())

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Queue messages again in the order in which they were put, or, of an earlier process, were first sent."""
        for entry in entries:
            entry.state = EntryState.WAITING
            self.returned.append(entry)
        self.returned.sort(key=lambda one: (one.since, one.place, one.message.first))

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


MANY = 1_000
"""Records kept in memory while the flash cannot be written, or the broker refuses them."""
_ENDS = {OutcomeState.VERIFIED, OutcomeState.MISMATCH, OutcomeState.FAILED, OutcomeState.UNKNOWN}


class Events:
    """`unsaved` ones are to be written, `ready` ones to be sent; while the flash fails, one may be both.

    What is unsaved is on the stage: a process that is killed before the flash could take it has lost nothing.
    """

    def __init__(self, numbers: Numbers, tokens: Iterator[int], stage: Stage, monotonic: Callable[[], float]) -> None:
        self._numbers, self._tokens, self._stage, self._monotonic = numbers, tokens, stage, monotonic
        self.unsaved: list[Entry] = []
        self.ready: deque[Entry] = deque()

    def add_event(self, event: Event) -> Entry:
        """Number and stage a record of an event."""
        store, seq = self._numbers.take(1, "records")
        return self.keep(self._record(MessageKind.EVENT, event_body(event, store, seq), store, seq))

    def make(self, event: Event) -> Entry:
        """Make a record for the transaction at hand; `keep` it if that fails."""
        store, seq = self._numbers.take(1, "gaps" if event.kind == "gap" else "records")
        entry = self._record(MessageKind.EVENT, event_body(event, store, seq), store, seq)
        if event.kind == "gap" and event.detail:
            entry.gap = (event.detail.get("store", ""), event.detail.get("first") or 1)
        return entry

    def add_result(self, outcome: Outcome) -> Entry:
        return self.keep(self.promise(outcome))

    def refuse(self, refusal: Outcome) -> Entry:
        """Make and stage a refusal that leaves the stored outcome of the command as it is."""
        return self.keep(self._word(refusal))

    def promise(self, outcome: Outcome) -> Entry:
        """Make a record that counts only if the flash takes it: `keep` it once that is decided."""
        entry = self._word(outcome)
        entry.outcome = outcome
        self._stage.give(entry.store, entry.message.first)
        return entry

    def keep(self, entry: Entry) -> Entry:
        """Write it to the stage."""
        message = entry.message
        entry.since = self._monotonic()
        kept = StagedRecord(
            entry.store, message.first, message.kind, message.command, message.body, entry.outcome
        )
        entry.staged = self._stage.keep(kept, entry.since)
        return entry

    def keep_gaps(self) -> bool:
        """Bring the gap records to the stage that found no room there before; return whether it has all of them."""
        found_no_room = [entry for entry in self.unsaved if entry.gap and not entry.staged]
        return all(self.keep(entry).staged for entry in found_no_room)

    def restore(self, kept: StagedRecord, delivered: bool) -> None:
        """Take up a record that an earlier process left on the stage; a delivered one has its outcome to store."""
        entry = self._record(kept.kind, kept.body, kept.store, kept.seq, kept.command)
        entry.outcome, entry.since, entry.staged = kept.outcome, float("-inf"), True
        entry.state = EntryState.DONE if delivered else EntryState.NEW
        if delivered and kept.outcome is None:
            return
        if is_gap(kept.body):
            detail = json.loads(kept.body)["detail"]
            entry.gap = (detail.get("store", ""), detail.get("first") or 1)
        self.unsaved.append(entry)

    def reject(self, entry: Entry, refusal: Outcome) -> None:
        """Turn an outcome that cannot be recorded into a refusal."""
        entry.outcome = None
        body = result_body(refusal, entry.store, entry.message.first)
        entry.message = replace(entry.message, body=body)
        self.keep(entry)

    def rename(self, old: str, new: str, first: int) -> None:
        """Unsaved ones go under the name of another store from this number on, and what they tell of it."""
        for entry in self.unsaved:
            entry.message = replace(entry.message, body=renamed_record(entry.message.body, old, new, first))
            if entry.store == old and entry.message.first >= first:
                entry.store = new
            if entry.gap and entry.gap[0] == old and entry.gap[1] >= first:
                entry.gap = new, entry.gap[1]

    def known(self, records: Mapping[str, Collection[int]], ledger: Mapping[str, Outcome]) -> None:
        """Drop what the flash has: `records` by store and number, `ledger`: the last outcomes of commands."""
        for entry in self.unsaved:
            known = ledger.get(entry.outcome.command) if entry.outcome else None
            if known and entry.outcome and known.at[:2] >= entry.outcome.at[:2]:
                entry.outcome = None

        def is_only_here(entry: Entry) -> bool:
            return entry.message.first not in records.get(entry.store, ())

        self.unsaved = [
            one for one in self.unsaved if is_only_here(one) and (one.outcome or one.state is not EntryState.DONE)
        ]
        self.ready = deque(entry for entry in self.ready if is_only_here(entry))

    def leave(self) -> None:
        """Drop queued records that are on flash: they are read again."""
        self.ready = deque(entry for entry in self.ready if entry.row is None)

    def withdraw(self, records: Collection[tuple[int, str, int]]) -> None:
        """Records (row, store, number) that are too old to be sent: a kill does not bring them back either."""
        rows = {row for row, _, _ in records}
        if rows:
            self.ready = deque(entry for entry in self.ready if entry.row not in rows)
        for _, store, seq in records:
            self._stage.accept(store, seq, seq)

    def first(self, store: str, staged: bool = False) -> int | None:
        """The lowest number of a store that one of the unsaved has, or tells of; `staged`: and is not on the stage."""
        firsts = [entry.message.first for entry in self.unsaved if entry.store == store]
        telling = [entry.gap for entry in self.unsaved if entry.gap and not (staged and entry.staged)]
        firsts += [first for name, first in telling if name == store]
        return min(firsts, default=None)

    def has_gaps(self) -> bool:
        """Whether a gap record waits to be sent."""
        return any(entry.gap for entry in self.ready)

    def oldest_since(self) -> float:
        """Arrival (clock.monotonic) of the oldest unsaved record; infinity if there is none."""
        return min((entry.since for entry in self.unsaved), default=float("inf"))

    def outcome(self, command: str) -> Outcome | None:
        """The last outcome of a command that is not on flash yet."""
        outcomes = (entry.outcome for entry in reversed(self.unsaved) if entry.outcome is not None)
        return next((outcome for outcome in outcomes if outcome.command == command), None)

    def has_ended(self, known: Outcome) -> bool:
        """Whether a command open on flash has an end that is not there yet; a refused repetition does not count."""
        states = {one.outcome.state for one in self.unsaved if one.outcome and one.outcome.command == known.command}
        return bool(states & _ENDS) or (known.state is OutcomeState.ACCEPTED and OutcomeState.EXPIRED in states)

    def pick(self, held_back: Collection[MessageKind], boots: Boots, durable: bool = False) -> Entry | None:
        """The first that may go, with its date if it is known by now; `durable`: of those with a durable number.

        Gap records without one, or of what has none, go first: a power cut would lose what they tell.
        """
        if not self.ready:
            return None
        mine, free = self._numbers.store, [one for one in self.ready if one.message.kind not in held_back]
        if durable:
            free = [one for one in free if one.store == mine]
        first = (one for one in free if one.gap and {one.store, one.gap[0]} != {mine})
        entry = next(first, free[0] if free else None)
        if entry is not None:
            self.ready.remove(entry)
            entry.message = replace(entry.message, body=dated(entry.message.body, boots))
        return entry

    def wants_more(self, held_back: Collection[MessageKind]) -> bool:
        """Whether others on flash may go, and nothing here."""
        return self.has_room and all(one.message.kind in held_back for one in self.ready)

    @property
    def has_room(self) -> bool:
        return len(self.ready) < MANY

    def queue(self, entry: Entry) -> None:
        """Queue a record behind those that wait. Its token keeps this place, also when it comes back."""
        entry.state = EntryState.WAITING
        entry.message = replace(entry.message, token=next(self._tokens))
        self.ready.append(entry)

    def come_back(self, entry: Entry) -> None:
        """The link was lost, or the broker refused it for now: it waits again in its place."""
        later = (at for at, one in enumerate(self.ready) if one.message.token > entry.message.token)
        self.ready.insert(next(later, len(self.ready)), entry)

    def send_unsaved(self) -> list[Entry]:
        """Queue the unsaved while the flash fails, and keep the newest; returns those that are given up."""
        gone = self._give_up(len(self.unsaved) - MANY) if len(self.unsaved) > MANY else []
        self.send(self.unsaved)
        return gone

    def send(self, unsaved: Sequence[Entry]) -> None:
        """Queue these without waiting for the flash."""
        for entry in unsaved:
            if entry.state is EntryState.NEW:
                self.queue(entry)

    def _give_up(self, n: int) -> list[Entry]:
        """Drop the `n` oldest, gap records last, none in flight; returns those that were not delivered."""
        free = [one for one in self.unsaved if one.state is not EntryState.IN_FLIGHT]
        free.sort(key=lambda one: is_gap(one.message.body))
        gone = set(free[:n])
        self.unsaved = [one for one in self.unsaved if one not in gone]
        self.ready = deque(one for one in self.ready if one not in gone)
        return [one for one in free[:n] if one.state is not EntryState.DONE]

    def _word(self, outcome: Outcome) -> Entry:
        store, seq = self._numbers.take(1, "records")
        return self._record(MessageKind.RESULT, result_body(outcome, store, seq), store, seq, outcome.command)

    def _record(self, kind: MessageKind, body: bytes, store: str, seq: int, command: str = "") -> Entry:
        message = Message(kind, body, False, seq, seq, 1, next(self._tokens), command=command)
        return Entry(message, store, since=self._monotonic())
