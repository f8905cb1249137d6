"""When this start of the box was, as soon as anybody knows: everything of it gets its date by one fact."""

from __future__ import annotations

from agent.clock import Clock
from agent.model import Event
from agent.outbox.blocks import Lot
from agent.outbox.dates import Boot, Boots
from agent.outbox.store import Totals

__all__ = ["Dating"]

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

    def adopt(self, totals: Totals) -> Event | None:
        """Go on from what a database knows; what is to be told, if it opened late.

        Only now it is known whether an earlier process of this start of the box told something without a date.
        """
        boot = self._clock.boot
        offset = self.boots.offset(boot)
        self.boots = totals.boots.with_present(boot)
        if offset is not None:
            self.boots = self.boots.dated(boot, offset)
        waits = totals.boots.waits(boot)
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
        """The outbox is open: what it takes from now on may go out before anybody knows the time."""
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
        """What the database is to know of this start: id, offset (ms), length so far (ms)."""
        now = self._clock.now()
        return now.boot, self.boots.offset(now.boot), now.boottime_ns // 1_000_000

    def noted(self) -> None:
        self._noted_at = self._clock.monotonic()

    def note_again(self) -> None:
        """The database that knew is gone."""
        self._noted_at = float("-inf")

    def present(self) -> Boots:
        """The starts of the box, with how long this one has lasted."""
        return self.boots.seen(self._clock.boot, self._clock.now().boottime_ns // 1_000_000)
