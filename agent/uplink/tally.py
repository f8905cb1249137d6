"""Commands that are refused without a record of their own: told by id, one event for many."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from agent.clock import Clock

__all__ = ["Tally"]

GATHER = 0.2
"""Seconds in which those are gathered that one event tells of."""
YOUNG = 5.0
"""Seconds from the first one for which each is on flash before it is acknowledged. What goes on longer is a flood."""
LONGEST = 60.0
"""Seconds between two events of a flood in the end: twice as long each time. So long without one ends a flood."""
IDS = 100
"""Ids that one event names: with those of 64 characters it stays below 16 kB, and what a record may be cut at."""
NAMED = 5_000
"""Ids that are told at once, by as many events as it takes. Of a longer flood the rest is a number."""


class Tally:
    """`tell` puts an event of how many were refused, and of their ids (none: they are not known any more), on flash.

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
        self._pause = 1.0
        self._told: asyncio.Future[None] | None = None
        self._hurry = asyncio.Event()

    async def add(self, name: str) -> None:
        """Count one by its id. Unless it is one of a flood, that is on flash when this returns."""
        told = self.count(name)
        if self._young():
            self._hurry.set()
            await asyncio.shield(told)

    def count(self, *names: str, n: int = 1) -> asyncio.Future[None]:
        """Count `n` without waiting; the future ends when they were told."""
        now = self._clock.monotonic()
        if now - self._last > LONGEST:
            self._since, self._pause = now, 1.0
        self._last = now
        self._count += n
        self._ids += names[: NAMED - len(self._ids)]
        if self._told is None:
            self._told = asyncio.get_running_loop().create_future()
            self._spawn(self._tell_soon())
        return self._told

    async def flush(self) -> None:
        """Tell what was not told yet."""
        while self._count:
            await self._tell_now()

    async def _tell_soon(self) -> None:
        if not self._young():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self._pause)
            self._pause = min(LONGEST, 2 * self._pause)
        await asyncio.sleep(GATHER)
        await self._tell_now()

    async def _tell_now(self) -> None:
        """What comes while this is written to flash is told next time."""
        count, ids, told = self._count, self._ids, self._told
        self._count, self._ids, self._told = 0, [], None
        self._hurry.clear()
        named = [ids[at : at + IDS] for at in range(0, len(ids), IDS)]
        await asyncio.gather(*(self._tell(len(some), some) for some in named))
        if count > len(ids):
            await self._tell(count - len(ids), [])
        if told is not None and not told.done():
            told.set_result(None)

    def _young(self) -> bool:
        return self._clock.monotonic() - self._since < YOUNG
