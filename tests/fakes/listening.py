"""Iterates a driver that listens, in a task, and waits for what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any


class Listening:
    """`readings` is everything that came, in order."""

    def __init__(self, wire: Any) -> None:
        self.wire = wire
        self.readings: list[Any] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for batch in self.wire.readings():
            self.readings += batch

    def values(self, point: str) -> list[Any]:
        return [reading.value for reading in self.readings if reading.point == point]

    async def until(self, condition: Callable[[], Any], seconds: float = 10.0) -> Any:
        async with asyncio.timeout(seconds):
            while not (found := condition()):
                if self._task.done():
                    self._task.result()
                    raise AssertionError("the readings ended")
                await asyncio.sleep(0.005)  # conditions are of the modem and the driver, not of readings alone
        return found

    async def up(self) -> None:
        await self.until(lambda: self.wire.status()["state"] == "up")

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        await self.wire.close()
