"""Commands that are refused for their number: each one's id is on flash before the broker hears that it was taken."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from agent.clock import Clock
from agent.lib.rate_limit import Bucket
from agent.uplink.dropped_commands import NAMED

__all__ = ["RefusedCommands"]

GATHER = 0.2
"""Seconds in which those are gathered that one write to flash tells of: so no flood costs more than five writes a
second in the long run."""
STEP = 0.01
"""Seconds without another one after which the broker's window is taken for full, and a write need not wait longer."""
ENOUGH = 10
"""Ids that are worth such a write."""
EARLY = (5_000, 1.0)
"""Such writes: so many at once, so many a second. A broker that keeps to our window of 20 brings 100,000 commands with
them. Mosquitto 2.0.11 does not keep to it, and needs fewer."""

Tell = Callable[[int, list[str]], Awaitable[None]]


class RefusedCommands:
    """`tell` puts on flash how many were refused, and their ids. `spawn` runs a task beside others.

    What is not acknowledged fills the broker's window: so the flash sets the pace of a flood, and nothing else waits.
    """

    def __init__(self, clock: Clock, tell: Tell, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._clock, self._tell, self._spawn = clock, tell, spawn
        self._waiting: deque[tuple[str, Callable[[], None]]] = deque()
        self._early = Bucket(*EARLY)
        self._writing = False
        self._turn = asyncio.Lock()

    def add(self, name: str, kept: Callable[[], None]) -> None:
        """One more, by its id; `kept` is called when that is on flash."""
        self._waiting.append((name, kept))
        if not self._writing:
            self._writing = True
            self._spawn(self._write())

    async def kept(self, name: str) -> None:
        """One more; its id is on flash when this returns."""
        done = asyncio.Event()
        self.add(name, done.set)
        await done.wait()

    async def flush(self) -> None:
        """Write now what waits."""
        async with self._turn:
            while self._waiting:
                await self._write_some()

    async def _write(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                async with self._turn:
                    await self._write_some()
        finally:
            self._writing = False

    async def _gather(self) -> None:
        """Wait until a write is worth its wear: time is over, or a window full stands still."""
        before, end = -1, self._clock.monotonic() + GATHER
        while (now := self._clock.monotonic()) < end:
            n = len(self._waiting)
            if ENOUGH <= n == before and self._early.take(now):
                return
            before = n
            await asyncio.sleep(STEP)

    async def _write_some(self) -> None:
        """One transaction."""
        some = [self._waiting.popleft() for _ in range(min(NAMED, len(self._waiting)))]
        await self._tell(len(some), [name for name, _ in some])
        for _, kept in some:
            kept()
