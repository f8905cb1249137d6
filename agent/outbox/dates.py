"""When the starts (boots) of the box were: what was written while the clock was not trusted is dated by it later.

One fact a boot, Unix time minus CLOCK_BOOTTIME, makes a date of every moment in it. A boot that never got one lies
between its neighbours: what it wrote keeps its order and is told with the earliest and the latest it can be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from agent.clock import Clock
from agent.model import Event
from agent.outbox.blocks import Lot

__all__ = [
    "Boot", "Boots", "Dating",
]  # fmt: skip

class Boot(NamedTuple):
    """`offset_ms`: Unix ms when CLOCK_BOOTTIME was 0, None if unknown. `seen_ms`: how long it lasted at least."""

    id: str
    offset_ms: int | None
    seen_ms: int


class Boots:
    """All known boots, the oldest first; the last one is the present one."""

    def __init__(self, boots: Sequence[Boot]) -> None:
        self._boots = list(boots)
        self._index = {boot.id: index for index, boot in enumerate(boots)}

    def with_present(self, boot: str) -> Boots:
        """With a boot at the end, unless it stands there."""
        return self if boot in self._index else Boots([*self._boots, Boot(boot, None, 0)])

    def dated(self, boot: str, offset_ms: int) -> Boots:
        """With the date of one of them."""
        return Boots([one._replace(offset_ms=offset_ms) if one.id == boot else one for one in self._boots])

    def seen(self, boot: str, seen_ms: int) -> Boots:
        """With how long one of them has lasted by now."""
        return Boots([one._replace(seen_ms=seen_ms) if one.id == boot else one for one in self._boots])

    def offset(self, boot: str) -> int | None:
        """Unix ms when CLOCK_BOOTTIME was 0 in that boot; None if unknown."""
        index = self._index.get(boot)
        return None if index is None else self._boots[index].offset_ms

    def waits(self, boot: str) -> bool:
        """Whether that boot is known, and its date is not."""
        return boot in self._index and self.offset(boot) is None

    def moment(self, boot: str, boottime_ms: int, last_ms: int = 0) -> dict[str, Any]:
        """`t` and what goes with it in a message, for a moment that had no date when it was written.

        `last_ms`: CLOCK_BOOTTIME of the last reading of that message, which the boot lived to see.
        """
        offset = self.offset(boot)
        if offset is not None:
            return {"t": offset + boottime_ms, "clock": "synced"}
        low, high = self.bounds(boot, boottime_ms, last_ms)
        head = {"t": None, "boot": boot, "boottime_ms": boottime_ms, "clock": "unsynced"}
        return head if low is high is None else {**head, "clock": "bounded", "t_min": low, "t_max": high}

    def bounds(self, boot: str, boottime_ms: int, last_ms: int = 0) -> tuple[int | None, int | None]:
        """The earliest and the latest (Unix ms) that moment can have been, by the boots before and after it.

        `last_ms`: a later moment (CLOCK_BOOTTIME) of the same boot, noted or not.
        """
        here = self._index.get(boot)
        if here is None or here == len(self._boots) - 1:
            return None, None
        low = high = None
        between = boottime_ms
        for earlier in reversed(self._boots[:here]):
            if earlier.offset_ms is not None:
                low = earlier.offset_ms + earlier.seen_ms + between
                break
            between += earlier.seen_ms
        between = max(0, max(self._boots[here].seen_ms, last_ms) - boottime_ms)
        for later in self._boots[here + 1 :]:
            if later.offset_ms is not None:
                high = later.offset_ms - between
                break
            between += later.seen_ms
        return low, high

    def older_than(self, age_ms: int) -> dict[str, int]:
        """By boot: CLOCK_BOOTTIME (ms) of what is surely older than so much.

        Only time that the box lived through is counted, so no jump of the wall clock makes anything old.
        """
        limits, after = {}, 0
        for boot in reversed(self._boots):
            if (limit := boot.seen_ms + after - age_ms) > 0:
                limits[boot.id] = limit
            after += boot.seen_ms
        return limits

    def is_older(self, record: Mapping[str, Any], age_ms: int) -> bool:
        """Whether a record, as it is published, is surely older than so much of the box's running."""
        limits = self.older_than(age_ms)
        if record.get("t") is None:
            return bool(record.get("boottime_ms", 0) < limits.get(str(record.get("boot")), 0))
        return any((at := self.offset(boot)) is not None and record["t"] < at + limit for boot, limit in limits.items())


_SEEN = 600.0
"""Seconds between two notes of how long this start of the box has lasted, and between two looks for what is too old."""


class Dating:
    """The starts of the box (`boots`), the present one among them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.boots = Boots([Boot(clock.boot, None, 0)])
        self.known = False
        """Whether the clock could be trusted at any moment so far."""
        self._undated = False
        """Whether something of this start may have been told without a date."""
        self._noted_at = float("-inf")

    def adopt(self, known: Boots) -> Event | None:
        """Go on from what a database knows; what is to be told, if it opened late.

        Only now it is known whether an earlier process of this start of the box told something without a date.
        """
        boot = self._clock.boot
        offset = self.boots.offset(boot)
        self.boots = known.with_present(boot)
        if offset is not None:
            self.boots = self.boots.dated(boot, offset)
        waits = known.waits(boot)
        is_news = waits and self.known and not self._undated
        self._undated |= waits
        self._noted_at = float("-inf")
        return self._dated() if is_news else None

    def look(self) -> tuple[bool, Event | None]:
        """Whether this is the first moment at which the clock can be trusted, and what is to be told of it."""
        if self.known or (now := self._clock.now()).wall_ms is None:
            return False, None
        self.known, told = True, None
        if self.boots.offset(now.boot) is None:
            offset = now.wall_ms - now.boottime_ns // 1_000_000
            self.boots = self.boots.dated(now.boot, offset)
            if self._undated:
                told = self._dated()
        self._noted_at = float("-inf")  # it is to be written
        return True, told

    def _dated(self) -> Event:
        now = self._clock.now()
        detail = {"boot": now.boot, "offset_ms": self.boots.offset(now.boot)}
        return Event("clock", "dated", "gateway", now, detail=detail)

    def begin(self) -> None:
        """Note that the outbox is open: what it takes from now on may go out undated."""
        self._undated |= not self.known

    def date(self, lot: Lot) -> Lot:
        """A lot without a date, with the one that is known by now."""
        if lot.wall_ms is not None:
            return lot
        offset = self.boots.offset(lot.boot)
        if offset is None:
            return lot
        return lot._replace(wall_ms=offset + lot.boottime_ns // 1_000_000)

    def should_note(self, now: float) -> bool:
        """Whether it is time (clock.monotonic) to note how long this start has lasted."""
        return now - self._noted_at >= _SEEN

    def fact(self) -> tuple[str, int | None, int]:
        """This start of the box for the database: id, offset (ms), length so far (ms)."""
        now = self._clock.now()
        return now.boot, self.boots.offset(now.boot), now.boottime_ns // 1_000_000

    def noted(self) -> None:
        self._noted_at = self._clock.monotonic()

    def note_again(self) -> None:
        """Write the date again: the database that had it is gone."""
        self._noted_at = float("-inf")

    def present(self) -> Boots:
        """The starts of the box, with how long this one has lasted."""
        return self.boots.seen(self._clock.boot, self._clock.now().boottime_ns // 1_000_000)
