"""Limit commands: a rate, a most under way, and a bound on how long a flood is held up."""

from __future__ import annotations

import asyncio

from agent.clock import Clock
from agent.lib.rate_limit import Bucket

__all__ = ["CommandLimiter"]

RUNNING = 64
"""Commands under way at the most."""
PACE = 50.0
"""Commands looked at in a second, over any longer time; so many may come at once as well."""
PATIENCE = 5.0
"""Seconds for which excess commands stay with the broker. Then those above the rate are dropped and counted."""
CALM = 1.0
"""Seconds without a queue that end a flood."""


class CommandLimiter:
    """One command enters at a time, and `leave`s when it has ended."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bucket = Bucket(PACE, PACE)
        self._running = 0
        self._pressed_at = self._pressed_since = float("-inf")

    async def enter(self) -> bool:
        """Wait for a turn. False: so many have come for so long that this one gets none."""
        if self._free():
            return True
        now = self._clock.monotonic()
        if now - self._pressed_at > CALM:
            self._pressed_since = now
        self._pressed_at = now
        while now < self._pressed_since + PATIENCE:
            await asyncio.sleep(1 / PACE)
            now = self._pressed_at = self._clock.monotonic()
            if self._free():
                return True
        return False

    def leave(self) -> None:
        self._running -= 1

    def _free(self) -> bool:
        if self._running >= RUNNING or not self._bucket.take(self._clock.monotonic()):
            return False
        self._running += 1
        return True
