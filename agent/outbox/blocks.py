"""Readings as they wait, travel and rest: columns, not rows, because work per value is what costs.

A `Lot` is what one `put` brought, as tuples. `encode` turns lots into the telemetry batch of the native dialect
(docs/schemas/telemetry.json), `pack` into blocks for the flash: the same batch, compressed once and sent as it is.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from agent.model import Quality, Readings, Value

__all__ = [
    "AGGREGATE", "HISTORY", "LIMIT", "LIVE", "PAGE", "PLAIN", "Block", "HeldBlock", "Lot", "RawBlock", "Row",
    "StoredBlock", "beyond", "block_of", "cost", "decode", "dumps", "encode", "lots_of", "pack", "pieces", "renamed",
    "split", "take",
]  # fmt: skip

LIMIT = 16_000
"""Bytes of a message as it is stored, compressed or not."""
LIVE = 500
"""Readings in a message that was never on flash."""
HISTORY = 5_000
"""Readings in a block."""
PLAIN = 250_000
"""Bytes of a batch before it is compressed: a consumer need not unpack more than 256 kB (docs/schemas)."""
AGGREGATE = 900
"""Seconds of an aggregate; they begin at whole quarters of an hour."""
PAGE = 2048
"""Bytes of a page of the database."""

_GOOD = Quality.GOOD
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False, allow_nan=False)


Moment = Callable[[int], dict[str, Any]]
"""The time fields of a batch (`t`, `clock`, …) for a time in ms (Unix or boot)."""


class Lot(NamedTuple):
    """Readings of one put, one class and one moment. Their numbers run from `seq` on, under the name of `store`.

    `wall_ms` is None while the clock is not trusted. `qualities` is None where all are good. `since` is when they
    began to wait (clock.monotonic, seconds). `measured` (Unix ms) is None where nothing is a device's own history.
    """

    store: str
    seq: int
    cls: int
    boot: str
    boottime_ns: int
    wall_ms: int | None
    points: tuple[str, ...]
    values: tuple[Value, ...]
    qualities: tuple[str, ...] | None
    since: float
    measured: tuple[int | None, ...] | None = None

    @property
    def n(self) -> int:
        return len(self.points)

    @property
    def last(self) -> int:
        return self.seq + len(self.points) - 1


class Block(NamedTuple):
    """One message for the flash: readings of one store, class, boot and clock state. `body` is RFC 1950."""

    store: str
    first: int
    last: int
    n: int
    cls: int
    boot: str
    boottime_ns: int
    synced: bool
    from_ms: int | None
    to_ms: int | None
    body: bytes
    thin: bool = False
    """Aggregates, or what would not get smaller by it."""


class HeldBlock(NamedTuple):
    """A block on flash, without what is in it: its row, its numbers, and the bytes of its body."""

    id: int
    store: str
    first: int
    last: int
    n: int
    cls: int
    size: int


class StoredBlock(NamedTuple):
    """A block with the number of its row."""

    id: int
    store: str
    first: int
    last: int
    n: int
    cls: int
    boot: str
    boottime_ns: int
    synced: int
    from_ms: int | None
    to_ms: int | None
    body: bytes

    @property
    def size(self) -> int:
        """Bytes on flash, as far as one block can know them."""
        return cost(len(self.body))

    @property
    def held(self) -> HeldBlock:
        return HeldBlock(self.id, self.store, self.first, self.last, self.n, self.cls, len(self.body))


class RawBlock(NamedTuple):
    """A row of a block without its body, which is `size` bytes long."""

    id: int
    store: str
    first: int
    last: int
    n: int
    boot: str
    boottime_ns: int
    synced: bool
    from_ms: int | None
    to_ms: int | None
    size: int
    thin: int

    @property
    def kin(self) -> tuple[str, str, bool]:
        return self.store, self.boot, self.synced


class Row(NamedTuple):
    """One reading out of a batch. `ms` is Unix time, None while that was unknown.

    Of an aggregate, `value` is [min, mean, max, last, count], and the rest is the last reading's.
    """

    store: str
    seq: int
    point: str
    value: Value | list[Any]
    quality: str
    ms: int | None
    boottime_ms: int | None
    measured_ms: int | None = None

    @property
    def own_ms(self) -> int:
        """Its time as it was written: Unix ms, CLOCK_BOOTTIME in ms while that was unknown."""
        ms = self.boottime_ms if self.ms is None else self.ms
        assert ms is not None
        return ms


def cost(size: int) -> int:
    """Bytes that a body of so many takes in the file: its row, and whole pages where it is long (SQLite, 1.6)."""
    return size + 200 if size < PAGE - 240 else 240 + -(-size // (PAGE - 4)) * PAGE


def dumps(value: object) -> bytes:
    """Compact JSON, ASCII. ValueError for a number that JSON cannot express (NaN, infinity)."""
    return _ENCODER.encode(value).encode()


def lots_of(readings: Readings, cls: int, store: str, seq: int, since: float) -> list[Lot]:
    """The readings of one put as lots: one lot for each moment."""
    points, values, moments, qualities, measured = zip(*readings, strict=True)
    if moments.count(moments[0]) == len(moments):
        boot, boottime_ns, wall_ms = moments[0]
        good = qualities.count(_GOOD) == len(qualities)
        names = None if good else tuple([str(quality) for quality in qualities])
        kept = None if measured.count(None) == len(measured) else measured
        return [Lot(store, seq, cls, boot, boottime_ns, wall_ms, points, values, names, since, kept)]
    lots: list[Lot] = []
    for _, run in groupby(readings, key=lambda reading: reading.at):
        same = list(run)
        lots += lots_of(same, cls, store, seq, since)
        seq += len(same)
    return lots


def split(lot: Lot, n: int) -> tuple[Lot, Lot]:
    """The first `n` readings of a lot, and the others. Each keeps its number."""

    def part(piece: slice, seq: int) -> Lot:
        return lot._replace(
            seq=seq, points=lot.points[piece], values=lot.values[piece],
            qualities=lot.qualities and lot.qualities[piece], measured=lot.measured and lot.measured[piece],
        )  # fmt: skip

    return part(slice(n), lot.seq), part(slice(n, None), lot.seq + n)


def take(lots: Iterable[Lot], limit: int) -> list[Lot]:
    """The lots at the head that fit one batch of `limit` readings: one store, one boot, one clock state.

    The last one may be longer than fits: the caller splits it.
    """
    chosen: list[Lot] = []
    count = 0
    for lot in lots:
        if count >= limit or (chosen and _kin(lot) != _kin(chosen[0])):
            break
        chosen.append(lot)
        count += len(lot.points)
    return chosen


def beyond(lots: Iterable[Lot], done: Mapping[str, int]) -> Iterator[Lot]:
    """The parts of lots with numbers beyond `done` of their store."""
    for lot in lots:
        skip = done.get(lot.store, 0) + 1 - lot.seq
        if skip < lot.n:
            yield lot if skip <= 0 else split(lot, skip)[1]


def encode(lots: Sequence[Lot], history: bool = False) -> bytes:
    """The telemetry batch of lots of one store, boot and clock state."""
    try:
        return dumps(_columns(lots, history))
    except (ValueError, TypeError):  # NaN, infinity, or no value at all: JSON cannot express it
        return dumps(_columns([_sayable(lot) for lot in lots], history))


def _columns(lots: Sequence[Lot], history: bool) -> dict[str, Any]:
    head = lots[0]
    synced = head.wall_ms is not None
    base, first = _ms(head), head.seq
    columns: dict[str, list[list[Any]]] = {}
    before: dict[str, tuple[int, int]] = {}
    for lot in lots:
        at, seq = _ms(lot), lot.seq
        for index, (point, value) in enumerate(zip(lot.points, lot.values, strict=True)):
            column = columns.get(point)
            if column is None:
                entry = [at - base, value, seq - first]
                columns[point] = [entry]
            else:
                past, number = before[point]
                entry = [at - past, value, seq - number]
                column.append(entry)
            before[point] = (at, seq)
            if lot.measured is not None and lot.measured[index] is not None:
                entry += (lot.qualities[index] if lot.qualities else "good", lot.measured[index])
            elif lot.qualities is not None and lot.qualities[index] != "good":
                entry.append(lot.qualities[index])
            seq += 1
    batch: dict[str, Any] = {"k": [head.store, first, lots[-1].last], "t": base if synced else None}
    if not synced:
        batch |= _unsynced(head.boot, base)
    batch |= {"clock": "synced" if synced else "unsynced", "p": columns}
    if history:
        batch["h"] = 1
    return batch


def decode(body: bytes) -> list[Row]:
    """The readings of a batch, plain or compressed, in the order of their numbers. ValueError if it is not a batch."""
    if body[:1] != b"{":
        try:
            body = zlib.decompress(body)
        except zlib.error as error:
            raise ValueError(f"neither JSON nor zlib: {error}") from error
    batch = json.loads(body)
    store, first, _ = batch["k"]
    synced = batch["t"] is not None
    base = batch["t"] if synced else batch["boottime_ms"]
    rows = []
    for point, entries in batch["p"].items():
        at, seq = base, first
        for dt, value, dseq, *rest in entries:
            at, seq = at + dt, seq + dseq
            quality, measured, *_ = (*rest, None, None) if rest else ("good", None)
            ms, boottime_ms = (at, None) if synced else (None, at)
            rows.append(Row(store, seq, point, value, quality, ms, boottime_ms, measured))
    return sorted(rows, key=lambda row: row.seq)


def renamed(body: bytes, store: str) -> bytes:
    """A compressed batch under the name of another store."""
    batch = json.loads(zlib.decompress(body))
    batch["k"][0] = store
    return zlib.compress(dumps(batch), 9)


def pieces(rows: Sequence[Row], moment: Moment, limit: int, compress: bool) -> Iterator[tuple[bytes, list[Row]]]:
    """Messages of history, with what is in each. `rows` are of one store and boot, in the order of their numbers."""
    size = HISTORY if compress else LIVE
    start = 0
    while start < len(rows):
        some = list(rows[start : start + size])
        plain = _history(some, moment)
        body = zlib.compress(plain, 9) if compress else plain
        share = max(len(plain) / PLAIN, len(body) / limit)
        if share > 1 and len(some) > 1:
            size = max(1, min(len(some) - 1, int(len(some) * 0.96 / share)))
            continue
        yield body, some
        start += len(some)


def block_of(rows: Sequence[Row], like: Any, to_ms: int | None) -> Block:
    """A thinned block of rows (class 2), in the place of another that began it."""
    head = rows[0]
    base = like.boottime_ns // 1_000_000

    def moment(ms: int) -> dict[str, Any]:
        return {"t": ms, "clock": "synced"} if like.synced else {**_unsynced(like.boot, ms), "clock": "unsynced"}

    body = zlib.compress(_history(rows, moment), 9)
    boottime_ns = like.boottime_ns if head.boottime_ms is None else min(base, head.boottime_ms) * 1_000_000
    return Block(
        like.store, head.seq, rows[-1].seq, len(rows), 2, like.boot, boottime_ns, like.synced, like.from_ms,
        to_ms, body, thin=True,
    )  # fmt: skip


def _history(rows: Sequence[Row], moment: Moment) -> bytes:
    """The batch of rows; `moment` says what stands for the time of the first one."""
    head = rows[0]
    first = head.seq
    base = head.own_ms
    columns: dict[str, list[list[Any]]] = {}
    before: dict[str, tuple[int, int]] = {}
    for row in rows:
        at = row.own_ms
        past, number = before.get(row.point, (base, first))
        before[row.point] = (at, row.seq)
        entry = [at - past, row.value, row.seq - number]
        if row.measured_ms is not None:
            entry += (row.quality, row.measured_ms)
        elif row.quality != "good":
            entry.append(row.quality)
        columns.setdefault(row.point, []).append(entry)
    batch = {"k": [head.store, first, rows[-1].seq], **moment(base), "p": columns, "h": 1}
    if any(isinstance(row.value, list) for row in rows):
        batch["agg"] = AGGREGATE
    return dumps(batch)


def _unsynced(boot: str, ms: int) -> dict[str, Any]:
    return {"t": None, "boot": boot, "boottime_ms": ms}


def pack(lots: Iterable[Lot]) -> Iterator[Block]:
    """Blocks of lots, a class each, at most 5,000 readings and 16 kB (a longer reading has a block of its own)."""
    groups: dict[object, list[Lot]] = {}
    for lot in lots:
        groups.setdefault((_kin(lot), lot.cls), []).append(lot)
    size = HISTORY
    for group in groups.values():
        rest = list(reversed(group))
        while rest:
            block, size = _block(rest, size)
            yield block


def block(lots: Sequence[Lot]) -> Block:
    """One block of lots that were sent together. It has the class of the most precious of them."""
    body = zlib.compress(encode(lots, history=True), 9)
    head = lots[0]
    walls = [lot.wall_ms for lot in lots if lot.wall_ms is not None]
    return Block(
        head.store, head.seq, lots[-1].last, sum(lot.n for lot in lots), min(lot.cls for lot in lots), head.boot,
        head.boottime_ns, head.wall_ms is not None, min(walls, default=None), max(walls, default=None), body,
    )  # fmt: skip


def _block(rest: list[Lot], size: int) -> tuple[Block, int]:
    """Take a block off `rest` (a stack, oldest on top), and say how many readings the next one may try."""
    while True:
        chosen = cut(reversed(rest), size)
        made = block(chosen)
        if len(made.body) <= LIMIT or made.n == 1:
            break
        size = max(1, min(made.n - 1, made.n * (LIMIT - 500) // len(made.body)))
    left = made.n
    while left:
        lot = rest.pop()
        if lot.n > left:
            rest.append(split(lot, left)[1])
            break
        left -= lot.n
    return made, min(HISTORY, max(size, made.n * (LIMIT - 500) // max(1, len(made.body))))


def cut(lots: Iterable[Lot], limit: int) -> list[Lot]:
    """`take`, with the last lot cut to fit."""
    chosen = take(lots, limit)
    over = sum(lot.n for lot in chosen) - limit
    if over > 0:
        chosen[-1] = split(chosen[-1], chosen[-1].n - over)[0]
    return chosen


def _kin(lot: Lot) -> tuple[str, str, bool]:
    return lot.store, lot.boot, lot.wall_ms is None


def _ms(lot: Lot) -> int:
    return lot.boottime_ns // 1_000_000 if lot.wall_ms is None else lot.wall_ms


def _sayable(lot: Lot) -> Lot:
    """The lot with NaN, infinities and what is no value as None, and bad."""
    qualities = lot.qualities or ("good",) * lot.n
    odd = [
        value - value != 0 if isinstance(value, float) else not (value is None or isinstance(value, (bool, int, str)))
        for value in lot.values
    ]
    return lot._replace(
        values=tuple(None if o else v for o, v in zip(odd, lot.values, strict=True)),
        qualities=tuple("bad" if o else q for o, q in zip(odd, qualities, strict=True)),
    )
