"""Iterates a driver in a task, keeps what came, and waits for what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from agent.model import Quality, Reading, Readings
from drivers.api import Listener


class Listening:
    """`batches` is everything that came, in order."""

    def __init__(self, wire: Any) -> None:
        self.wire: Any = wire
        self.batches: list[Readings] = []
        self._task = asyncio.create_task(self._run(wire))

    async def _run(self, wire: Listener) -> None:
        async for batch in wire.readings():
            self.batches.append(batch)

    @property
    def readings(self) -> list[Reading]:
        return [reading for batch in self.batches for reading in batch]

    def of(self, point: str) -> list[Reading]:
        return [reading for reading in self.readings if reading.point == point]

    def values(self, point: str) -> list[Any]:
        return [reading.value for reading in self.of(point)]

    async def until(self, condition: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Wait for a condition, which may be of the other end and the driver, and not of the readings alone."""
        async with asyncio.timeout(seconds):
            while not (found := condition()):
                if self._task.done():
                    self._task.result()
                    raise AssertionError("the readings ended")
                await asyncio.sleep(0.002)
        return found

    async def heard(self, point: str, value: Any, quality: Quality = Quality.GOOD) -> None:
        await self.until(lambda: any(one.value == value and one.quality is quality for one in self.of(point)))

    async def up(self) -> None:
        await self.until(lambda: self.wire.status()["state"] == "up")

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        await self.wire.close()
