"""Too many commands: nothing is written to flash for them but one event a minute.

Those that come by MQTT are counted where they come in, by their ids.
"""

from __future__ import annotations

import logging

from agent.arbiter.ledger import Ledger
from agent.clock import Clock
from agent.lib.rate_limit import Bucket
from agent.lib.throttle import Throttle
from agent.model import Command, Event, Origin

__all__ = ["BURST", "RATE", "Flood"]

log = logging.getLogger("bocage.arbiter")

BURST, RATE = 20, 5.0
"""Commands that each origin may send at once, and a second from then on."""
TOLD_AGAIN = 60.0
"""Seconds between two events that say how many commands were too many."""


class Flood:
    """Says which command is one too many for its origin, counts those, and tells of them."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._buckets = {origin: Bucket(BURST, RATE) for origin in Origin}
        self._last: Command | None = None
        self._reports = Throttle(clock.monotonic, TOLD_AGAIN)

    async def is_too_many(self, command: Command) -> bool:
        """Whether it is to be refused; counted if so."""
        if self._buckets[command.origin].take(self._clock.monotonic()):
            return False
        if command.origin is Origin.MQTT:
            return True
        self._last = command
        self._reports.count()
        await self.tell()
        return True

    def untold(self) -> bool:
        """Whether a flood is over, or has gone on for a minute, and was not told yet: `tell` is to be called."""
        return self._reports.is_due()

    async def tell(self) -> None:
        """How many were refused since it was told last, at most once a minute."""
        count, last = self._reports.take(), self._last
        if last is None or not count:
            return
        log.warning("too many commands origin=%s refused=%d next=they are refused", last.origin, count)
        detail = {"refused": count, "origin": str(last.origin), "by": last.by}
        await self._ledger.put_event(Event("audit", "commands_refused", "gateway", self._clock.now(), detail=detail))
