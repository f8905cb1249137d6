"""Retention: how full the buffer is, and what is deleted first when it is full.

Class 3 goes first, the oldest of it; then the oldest of class 2 is thinned to aggregates of 15 minutes; then the
oldest of class 2 goes; class 1 and 0 only when nothing else is left. All deletion runs in the outbox's thread, in
short steps: class 0 waits for the same one.

    thinner = Thinner()
    removal = thinner.step(db, after, skip, boots, now)  # None: go on, or `thinner.idle`: there is nothing to thin

Thinning takes a quarter of an hour of the clock (of CLOCK_BOOTTIME while the time is unknown), of one store and start
of the box, when it is over and all of it is on flash: so no rerun meets it twice and none is cut in halves; what a
block holds of the next quarter stays as it is. Each step reads some thousand readings.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from agent.outbox.blocks import AGGREGATE, Block, HeldBlock, RawBlock, Row, StoredBlock, block_of, cost, decode
from agent.outbox.identity import Totals
from agent.outbox.records import Boots, Loss, StoredMessage, is_counted
from agent.outbox.store import Store

__all__ = [
    "QUOTA", "Figures", "PresentTime", "Removal", "Thin", "Thinner", "expired", "free_space", "merged_gaps",
]  # fmt: skip

QUOTA = {0: 1.0, 1: 1.0, 2: 0.8, 3: 0.1}
"""Share of the buffer by class. The last fifth is for alarms and states: they never wait for room to be made."""

FEWER = 16
"""Records of gaps that must be saved by it, before some of them become one."""


@dataclass(slots=True)
class Removal:
    """Rows to delete, their replacement, and the numbers lost by it (by reason)."""

    blocks: list[HeldBlock] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)
    withdrawn: list[tuple[int, str, int]] = field(default_factory=list)
    """The `messages` (row, store, number) that must not be sent from memory either."""
    made: list[tuple[int, Block]] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    """Blocks that thinning would not make smaller."""
    losses: list[tuple[str, Loss]] = field(default_factory=list)
    joined: list[StoredMessage] = field(default_factory=list)
    """Records of gaps that go; a few others tell the same."""


Thin = Callable[[Store], "Removal | Literal[False] | None"]


def free_space(
    db: Store, excess: dict[int, int], total: int, after: int, skip: Collection[int], thin: Thin
) -> Removal | None:
    """One step towards `total` bytes less on flash, and `excess` bytes less of a class. None: it is not done yet.

    What is in memory too stays: blocks up to `after`, and those to `skip`. `thin` does a step of thinning, or says that
    there is nothing to thin (False).
    """
    if (size := max(total, excess.get(3, 0))) > 0 and (rows := db.oldest(3, size, after, skip)):
        return _drop(rows, "quota")
    if (size := max(total, excess.get(2, 0))) > 0:
        if (step := thin(db)) is not False:
            return step
        if rows := db.oldest(2, size, after, skip):
            return _drop(rows, "quota")
    if total > 0 and (rows := db.oldest(1, total, after, skip)):
        return _drop(rows, "quota")
    removal = Removal()
    for row, store, seq in db.oldest_messages(total) if total > 0 else ():
        removal.messages.append(row)
        _add(removal.losses, "quota", Loss(0, store, seq, seq, None, None, 1))
    return removal


def merged_gaps(db: Store, after: int, skip: Collection[int]) -> Removal | None:
    """Records of gaps that may become fewer ones; None where they are too few, or of too many kinds.

    Only those behind row `after`, and not to `skip`: what may have been sent keeps what it says. In a long outage
    with a full buffer each minute brings one of each class, and they would take the place of all else.
    """
    waiting = [(row, json.loads(row.body)["detail"]) for row in db.gaps_after(after) if row.id not in skip]
    counted = [(row, told) for row, told in waiting if is_counted(told)]
    kinds = {(told["reason"], told["class"], told["store"]) for _, told in counted}
    left = len(kinds) + len({row.store for row, _ in counted})
    return Removal(joined=[row for row, _ in counted]) if len(counted) - left >= FEWER else None


def expired(
    db: Store, boots: Boots, days: float, audit_days: float, after: int, skip: Collection[int], sent: Collection[int]
) -> Removal:
    """Remove class 2 and 3 older than `days`, and audit records older than `audit_days` that are not `sent`."""
    removal = _drop(db.older(boots.older_than(round(days * 86_400_000)), after, skip), "age")
    age_ms = round(audit_days * 86_400_000)
    if not boots.older_than(age_ms):
        return removal
    old = db.audits(lambda body: boots.is_older(json.loads(body), age_ms))
    removal.withdrawn = [one for one in old if one[0] not in sent]
    for row, store, seq in removal.withdrawn:
        removal.messages.append(row)
        _add(removal.losses, "age", Loss(0, store, seq, seq, None, None, 1))
    return removal


def _drop(rows: Sequence[StoredBlock], reason: str) -> Removal:
    removal = Removal(blocks=[row.held for row in rows])
    for row in rows:
        _add(removal.losses, reason, Loss(row.cls, row.store, row.first, row.last, row.from_ms, row.to_ms, row.n))
    return removal


def _add(losses: list[tuple[str, Loss]], reason: str, loss: Loss) -> None:
    for _, known in losses:
        if (known.cls, known.store) == (loss.cls, loss.store):
            known.add(loss)
            return
    losses.append((reason, loss))


_A_READING = 8.0
"""Bytes of a reading on flash, until some were written."""


class Figures:
    """On flash: `rows` readings, `bytes` by class, `used` bytes of the file, `free` ones of its disk.

    `oldest_ms` is the oldest; `gaps` were told so far; `lost` are numbers by reason and class.
    """

    def __init__(self, quota: int, now: float) -> None:
        self._quota = quota
        self.rows = self.used = self.free = self.gaps = 0
        self.bytes = dict.fromkeys(range(4), 0)
        self.lost: dict[str, dict[str, int]] = {}
        self.oldest_ms: int | None = None
        self._rate: float | None = None
        self._came, self._counted_at = 0, now
        self._per_reading = _A_READING

    def adopt(self, totals: Totals) -> None:
        """A database was opened."""
        self.rows, self.bytes, self.oldest_ms, self.used = totals.rows, totals.bytes, totals.oldest_ms, totals.used
        self.gaps += totals.gaps
        for why, classes in totals.lost.items():
            for cls, n in classes.items():
                self.add_lost(why, cls, n)

    def forget(self) -> None:
        """The database is gone."""
        self.rows, self.bytes = 0, dict.fromkeys(range(4), 0)

    def stored(self, block: Block) -> None:
        self.rows += block.n
        self.bytes[block.cls] += len(block.body)

    def measured(self, block: Block) -> None:
        """Average the bytes of a reading over the last thousand or so."""
        self._per_reading += (cost(len(block.body)) / block.n - self._per_reading) * min(1.0, block.n / 1000)

    def deleted(self, n: int, cls: int, size: int) -> None:
        self.rows -= n
        self.bytes[cls] -= size

    def add_lost(self, reason: str, cls: int | str, n: int) -> None:
        classes = self.lost.setdefault(reason, {})
        classes[str(cls)] = classes.get(str(cls), 0) + n

    def came(self, n: int) -> None:
        """Count readings that were put."""
        self._came += n

    def count(self, now: float) -> None:
        """Readings a second, over about a minute."""
        elapsed = now - self._counted_at
        if elapsed >= 10:
            rate = self._came / elapsed
            self._rate = rate if self._rate is None else self._rate + (rate - self._rate) / 6
            self._came, self._counted_at = 0, now

    def excess(self) -> dict[int, int]:
        """Bytes of class 2 and 3 above their quotas; below 0 where there is room."""
        return {cls: round(self.bytes[cls] - self._quota * QUOTA[cls]) for cls in (2, 3)}

    def too_much(self) -> int:
        """Bytes to be freed: a hundredth of the quota more than is needed; 0 if there is room."""
        return self.used - self._quota + max(self._quota // 100, 32_000) if self.used > self._quota else 0

    def over(self) -> bool:
        """Whether the buffer, or the part of it that a class has, is full."""
        quota, size = self._quota, self.bytes
        return self.used > quota or size[2] > quota * QUOTA[2] or size[3] > quota * QUOTA[3]

    def hours_left(self) -> float | None:
        """Until something has to be thinned, if nothing is delivered from now on."""
        if not self._rate:
            return None
        room = max(0, min(self._quota - self.used, round(self._quota * QUOTA[2]) - self.bytes[2], self.free))
        return round(room / (self._rate * self._per_reading) / 3600, 1)

    def as_status(self) -> dict[str, Any]:
        """The fields of the status that are counted here."""
        return {
            "bytes": sum(self.bytes.values()),
            "hours_left": self.hours_left(),
            "gaps": self.gaps,
            "classes": {str(cls): size for cls, size in self.bytes.items()},
            "lost": {reason: dict(classes) for reason, classes in self.lost.items()},
        }


_READINGS = 5_000
"""Readings that a step folds at the most; a block has no more."""
_ROWS = 100
"""Rows that a step looks at."""
_QUARTER = AGGREGATE * 1000
_LATE = 60_000
"""Milliseconds after which what was read in a quarter is on flash (twelve windows)."""
_WORTH = 0.8
"""Thinned to more than this part of its size it is left as it is."""
_BLOCK = 2_000
"""Aggregates in a block, about."""
_SCALE = 2.0**64
"""A power of two: it takes no digit of a value."""


class PresentTime(NamedTuple):
    """The present start of the box, and its time: Unix ms, None where that is unknown, and CLOCK_BOOTTIME in ms."""

    boot: str
    wall_ms: int | None
    boottime_ms: int


@dataclass(slots=True)
class _Span:
    """The readings of one point in the quarter, folded."""

    low: float = 0.0
    high: float = 0.0
    total: float = 0.0
    """In units of `_SCALE`, which no sum exceeds."""
    good: int = 0
    last_good: Row | None = None
    last: Row | None = None

    def add(self, row: Row) -> None:
        self.last = row
        if row.quality != "good" or type(row.value) not in (int, float):
            return
        value = float(row.value)  # type: ignore[arg-type]
        self.low, self.high = (min(self.low, value), max(self.high, value)) if self.good else (value, value)
        self.total += value / _SCALE
        self.good += 1
        self.last_good = row

    def row(self) -> Row:
        """The aggregate, with time and number of the last good reading; the last value for fewer than two."""
        if self.last_good is None or self.good < 2:
            kept = self.last_good or self.last
            assert kept is not None
            return kept
        mean = _rounded(self.total / self.good * _SCALE, self.low, self.high)
        return self.last_good._replace(value=[self.low, mean, self.high, self.last_good.value, self.good])


@dataclass(slots=True)
class Thinner:
    """One quarter at a time. `idle` after a step that found nothing to thin."""

    idle: bool = False
    _from: int = 0
    """All of class 2 up to this row is thinned, or as small as it gets."""
    _at: int = 0
    _blocks: list[RawBlock] = field(default_factory=list)
    _begun: tuple[tuple[str, str, bool], int] | None = None
    """The quarter of which the beginning is under way: the rest of it goes as it is."""
    _mixed: bool = False
    """Whether blocks of another store lie between."""
    _folded: int = -1
    """Blocks that were folded; below 0 the quarter's are still looked for."""
    _spans: dict[tuple[str, int], _Span] = field(default_factory=dict)
    _kept: list[Row] = field(default_factory=list)
    _later: list[Row] = field(default_factory=list)
    _n: int = 0

    def step(self, db: Store, after: int, skip: Collection[int], boots: Boots, now: PresentTime) -> Removal | None:
        """Go on. What is under way (blocks up to `after`, and those to `skip`) is left alone."""
        self.idle = False
        if self._blocks and (self._blocks[0].id <= after or any(one.id in skip for one in self._blocks)):
            self._forget()
        if self._folded < 0:
            self._look(db, max(self._from, after), skip, boots, now)
            return None
        if self._folded < len(self._blocks):
            return self._fold(db, boots)
        return self._made()

    def _look(self, db: Store, start: int, skip: Collection[int], boots: Boots, now: PresentTime) -> None:
        """Find the blocks of the oldest quarter that is over."""
        if self._at < start:
            self._at, before = start, db.raw_at(2, start)
            self._begun = None if before is None or before.thin else (before.kin, _quarter(before, boots))
        rows = db.raw_after(2, self._at, _ROWS)
        for row in rows:
            self._at = row.id
            if row.thin or row.id in skip or (row.kin, _quarter(row, boots)) == self._begun:
                continue
            head = self._blocks[0] if self._blocks else None
            if head is None or (row.kin == head.kin and _quarter(row, boots) <= _quarter(head, boots)):
                self._blocks.append(row)
            elif row.kin == head.kin or (row.boot, row.synced) != (head.boot, head.synced):
                self._folded = 0
                return
            else:
                self._mixed = True
        if len(rows) == _ROWS:
            return
        if self._blocks and _is_over(self._blocks[0], boots, now):
            self._folded = 0
        else:
            self._forget()
            self.idle = True

    def _fold(self, db: Store, boots: Boots) -> Removal | None:
        """Read the next blocks of the quarter."""
        chunk: list[RawBlock] = []
        for block in self._blocks[self._folded :]:
            if chunk and sum(one.n for one in chunk) + block.n > _READINGS:
                break
            chunk.append(block)
        quarter = _quarter(self._blocks[0], boots)
        bodies = db.bodies([block.id for block in chunk])
        try:
            for block in chunk:
                for row in decode(bodies[block.id]):
                    self._take(row, (row.own_ms + _offset(block, boots)) // _QUARTER, quarter)
        except (ValueError, KeyError):  # the flash has garbled one, which is reported when it is sent; or it is gone
            removal = Removal(settled=[block.id for block in self._blocks])
            self._forget()
            return removal
        self._folded += len(chunk)
        return None

    def _take(self, row: Row, its: int, quarter: int) -> None:
        if row.measured_ms is not None or isinstance(row.value, list):
            self._kept.append(row)
        elif its > quarter:
            self._later.append(row)
        else:
            self._spans.setdefault((row.point, its), _Span()).add(row)
            self._n += 1

    def _made(self) -> Removal:
        """All of the quarter is folded: what comes in the place of its blocks."""
        old, later = self._blocks, self._later
        ids = [block.id for block in old]
        kept = sorted([*self._kept, *(span.row() for span in self._spans.values())], key=lambda row: row.seq)
        gone = self._n - len(self._spans)
        made = list(_packed(old, kept, later))
        self._from = ids[0] - 1 if self._mixed else ids[-1] - 1
        self._forget()
        if not gone or sum(len(block.body) for block in made) > _WORTH * sum(block.size for block in old):
            self._from = max(self._from, ids[0])
            return Removal(settled=ids)
        span = Loss(
            2, old[0].store, old[0].first, max(block.last for block in old), old[0].from_ms, old[-1].to_ms, gone
        )
        places = [*ids[: len(made) - 1], ids[-1]]  # what is left of the last block stays the youngest
        return Removal(
            blocks=[
                HeldBlock(block.id, block.store, block.first, block.last, block.n, 2, block.size) for block in old
            ],
            made=list(zip(places, made, strict=True)),
            losses=[("thinned", span)],
        )

    def _forget(self) -> None:
        self._at, self._folded, self._n, self._mixed = self._from, -1, 0, False
        self._blocks, self._kept, self._later, self._spans = [], [], [], {}


def _rounded(mean: float, low: float, high: float) -> float:
    """To 6 digits, more where the values differ only behind them (101,325.2 and .4 Pa); never beyond a value."""
    if low == high:
        return low
    largest = max(abs(low), abs(high))
    digits = max(6, 4 + int(math.log10(largest) - math.log10(max(high / 2 - low / 2, sys.float_info.min))))
    return min(max(float(f"{mean:.{digits}g}"), low), high)


def _packed(old: Sequence[RawBlock], kept: Sequence[Row], later: Sequence[Row]) -> list[Block]:
    """As many blocks as there were at the most. What is left of a later quarter is to be thinned yet."""
    like = old[0]
    if later and len(old) == 1:
        rows = sorted([*kept, *later], key=lambda row: row.seq)
        return [_beginning(block_of(rows, like, old[-1].to_ms), later[0])]
    places = len(old) - 1 if later else len(old)
    share = max(_BLOCK, -(-len(kept) // places))
    made = [block_of(kept[start : start + share], like, old[-1].to_ms) for start in range(0, len(kept), share)]
    if later:
        made.append(_beginning(block_of(later, like, old[-1].to_ms), later[0]))
    return made


def _beginning(block: Block, row: Row) -> Block:
    """A block that is not thinned, and counts from this row's time on."""
    if row.ms is not None:
        return block._replace(thin=False, from_ms=row.ms)
    return block._replace(thin=False, boottime_ns=(row.boottime_ms or 0) * 1_000_000)


def _is_over(block: RawBlock, boots: Boots, now: PresentTime) -> bool:
    """Whether nothing more can come of the quarter of a block."""
    if block.boot != now.boot:
        return True
    present = now.wall_ms if now.wall_ms is not None and _dated(block, boots) else now.boottime_ms
    return (present - _LATE) // _QUARTER > _quarter(block, boots)


def _quarter(block: RawBlock, boots: Boots) -> int:
    start = block.boottime_ns // 1_000_000 if block.from_ms is None else block.from_ms
    return (start + _offset(block, boots)) // _QUARTER


def _offset(block: RawBlock, boots: Boots) -> int:
    """Offset (ms) from a block's own time to Unix time; 0 while unknown."""
    return 0 if block.synced else boots.offset(block.boot) or 0


def _dated(block: RawBlock, boots: Boots) -> bool:
    return block.synced or boots.offset(block.boot) is not None
