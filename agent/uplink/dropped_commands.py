"""Commands at QoS 0 that were dropped unread: counted, and reported by id. They need no acknowledgement."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from agent.clock import Clock
from agent.lib.backoff import Backoff

__all__ = ["NAMED", "DroppedCommands"]

GATHER = 0.2
"""Seconds in which those are gathered that one event tells of."""
YOUNG = 5.0
"""Seconds from the first one for which they are told at once. What goes on longer is a flood."""
LONGEST = 60.0
"""Seconds between two events of a flood in the end: twice as long each time. So long without one ends a flood."""
NAMED = 5_000
"""Ids that are told at once. Of a longer flood the rest is a number."""


class DroppedCommands:
    """`tell` puts on flash how many were refused, and as many of their ids as are known.

    `spawn` runs a task beside others.
    """

    def __init__(
        self,
        clock: Clock,
        tell: Callable[[int, list[str]], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._clock, self._tell, self._spawn = clock, tell, spawn
        self._count, self._ids = 0, list[str]()
        self._since = self._last = float("-inf")
        self._pause = Backoff(longest=LONGEST)
        self._telling = False

    def count(self, name: str) -> None:
        """Count one, by its id while there is room for that."""
        now = self._clock.monotonic()
        if now - self._last > LONGEST:
            self._since = now
            self._pause.reset()
        self._last = now
        self._count += 1
        if len(self._ids) < NAMED:
            self._ids.append(name)
        if not self._telling:
            self._telling = True
            self._spawn(self._tell_soon())

    async def flush(self) -> None:
        """Tell what was not told yet."""
        while self._count:
            await self._tell_now()

    async def _tell_soon(self) -> None:
        if self._clock.monotonic() - self._since >= YOUNG:
            await asyncio.sleep(self._pause.next())
        await asyncio.sleep(GATHER)
        self._telling = False
        await self._tell_now()

    async def _tell_now(self) -> None:
        """Record what was counted; what comes meanwhile is recorded next time."""
        count, ids = self._count, self._ids
        self._count, self._ids = 0, []
        await self._tell(count, ids)
