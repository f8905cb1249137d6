"""Making room on flash: what goes first when the buffer is full, and what is kept of it.

Class 3 goes first, the oldest of it; then the oldest of class 2 is thinned to aggregates of 15 minutes; then the
oldest of class 2 goes; class 1 and 0 only when nothing else is left. Everything here runs in the outbox's thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from agent.outbox.blocks import AGGREGATE, Block, Row, block_of, decode
from agent.outbox.dates import Boots
from agent.outbox.store import Loss, Store, StoredBlock

__all__ = ["QUOTA", "Room", "aged", "make_room", "thinned"]

QUOTA = {0: 1.0, 1: 1.0, 2: 0.8, 3: 0.1}
"""What a class may have of the buffer. The last fifth is for alarms and states: they never wait for room to be made."""
_CHUNK = 50_000
"""Readings that are thinned at a time: class 0 waits for the same thread."""
_WORTH = 0.8
"""Thinned to more than this part of its size it is left as it is."""


@dataclass(slots=True)
class Room:
    """What is to be deleted, what comes in its place, and which numbers are lost by it (by reason)."""

    blocks: list[StoredBlock] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)
    made: list[tuple[int, Block]] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    """Blocks that thinning would not make smaller."""
    losses: list[tuple[str, Loss]] = field(default_factory=list)


def make_room(db: Store, excess: dict[int, int], total: int, after: int, skip: Collection[int]) -> Room:
    """One step towards `total` bytes less on flash, and `excess` bytes less of a class.

    What is in memory too stays: blocks up to `after`, and those to `skip`.
    """
    if (size := max(total, excess.get(3, 0))) > 0 and (rows := db.oldest(3, size, after, skip)):
        return _drop(rows, "quota")
    if (size := max(total, excess.get(2, 0))) > 0:
        if rows := db.oldest(2, size, after, skip, raw=_CHUNK):
            return thinned(rows)
        if rows := db.oldest(2, size, after, skip):
            return _drop(rows, "quota")
    if total > 0 and (rows := db.oldest(1, total, after, skip)):
        return _drop(rows, "quota")
    room = Room()
    for row, store, seq in db.oldest_messages(total) if total > 0 else ():
        room.messages.append(row)
        _add(room.losses, "quota", Loss(0, store, seq, seq, None, None, 1))
    return room


def aged(db: Store, boots: Boots, days: float, after: int, skip: Collection[int]) -> Room:
    """What of class 2 and 3 is older than so many days."""
    return _drop(db.older(boots.older_than(round(days * 86_400_000)), after, skip), "age")


def thinned(rows: Sequence[StoredBlock]) -> Room:
    """Blocks as aggregates. An aggregate has the number of its last reading; the other numbers are lost."""
    room = Room()
    for _, group in groupby(rows, key=lambda row: (row.store, row.boot, row.synced)):
        old = list(group)
        try:
            readings = [reading for row in old for reading in decode(row.body)]
        except ValueError:  # the flash has garbled one: whoever sends it says so
            room.settled += [row.id for row in old]
            continue
        kept = sorted(_aggregates(readings), key=lambda reading: reading.seq)
        made = list(_blocks(old, kept))
        if len(kept) == len(readings) or sum(len(b.body) for b in made) > _WORTH * sum(len(row.body) for row in old):
            room.settled += [row.id for row in old]
            continue
        room.blocks += old
        room.made += zip([row.id for row in old], made, strict=False)
        gone = {reading.seq for reading in readings} - {reading.seq for reading in kept}
        span = Loss(2, old[0].store, min(gone), max(gone), old[0].from_ms, old[-1].to_ms, len(gone))
        room.losses.append(("thinned", span))
    return room


def _drop(rows: Sequence[StoredBlock], reason: str) -> Room:
    room = Room(blocks=list(rows))
    for row in rows:
        _add(room.losses, reason, Loss(row.cls, row.store, row.first, row.last, row.from_ms, row.to_ms, row.n))
    return room


def _add(losses: list[tuple[str, Loss]], reason: str, loss: Loss) -> None:
    for _, known in losses:
        if (known.cls, known.store) == (loss.cls, loss.store):
            known.add(loss.count, loss.last, loss.to_ms)
            known.first = min(known.first, loss.first)
            return
    losses.append((reason, loss))


def _aggregates(readings: Sequence[Row]) -> Iterator[Row]:
    """One a point and quarter of an hour; what is no good number leaves its last value."""
    spans: dict[tuple[str, int], list[Row]] = {}
    for reading in readings:
        if reading.measured_ms is not None or isinstance(reading.value, list):
            yield reading
            continue
        at = reading.boottime_ms if reading.ms is None else reading.ms
        assert at is not None
        spans.setdefault((reading.point, at // (AGGREGATE * 1000)), []).append(reading)
    for span in spans.values():
        good = [one for one in span if one.quality == "good" and type(one.value) in (int, float)]
        if len(good) < 2:
            yield (good or span)[-1]
            continue
        values = [float(one.value) for one in good]  # type: ignore[arg-type]
        mean = float(f"{sum(values) / len(values):.6g}")
        last = good[-1]
        yield last._replace(value=[min(values), mean, max(values), last.value, len(values)])


def _blocks(old: Sequence[StoredBlock], kept: Sequence[Row]) -> Iterator[Block]:
    """As many as there were at the most: each takes the place of one of them."""
    share = -(-len(kept) // len(old)) if len(kept) > 2000 else len(kept)
    for start in range(0, len(kept), share):
        yield block_of(kept[start : start + share], old[0], old[-1].to_ms)
