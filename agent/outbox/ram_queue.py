"""Readings that are not on flash: those that wait, and those that are under way. The stage holds the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from agent.outbox.blocks import LIVE, Lot, beyond, cut, encode, split
from agent.outbox.messages import Entry

__all__ = ["MOST", "RamQueue"]

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
        """What waits is to be written; it is `stored` in the end, or comes back."""
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
        """What waits under the name of a store goes under another from this number on."""
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
        """Since when (clock.monotonic) the oldest is here."""
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
