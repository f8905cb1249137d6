"""A mocked chip, a memory that remembers, and a driver that is listened to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory

from agent.clock import SystemClock
from agent.model import Quality, Reading
from drivers.api import BusSpec, DeviceSpec
from drivers.gpio.chip import Gpio, open_gpio
from tests.fakes.store import FakeStore


class Ear:
    """Listens to a driver and lets a test wait for what it says."""

    def __init__(self, gpio: Gpio) -> None:
        self.gpio = gpio
        self.batches: list[tuple[Reading, ...]] = []
        self._came = asyncio.Event()
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for batch in self.gpio.readings():
            self.batches.append(tuple(batch))
            self._came.set()

    def of(self, point: str) -> list[Reading]:
        return [reading for batch in self.batches for reading in batch if reading.point == point]

    async def until(self, seen: Callable[[Ear], bool], within: float = 5.0) -> None:
        async with asyncio.timeout(within):
            while not seen(self):
                await self._came.wait()
                self._came.clear()

    async def heard(self, point: str, value: Any, quality: Quality = Quality.GOOD) -> None:
        await self.until(lambda ear: any(r.value == value and r.quality is quality for r in ear.of(point)))

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self.gpio.close()


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Iterator[MockFactory]:
    factory = MockFactory()
    monkeypatch.setattr(Device, "pin_factory", factory)
    yield factory
    factory.reset()


@pytest.fixture
def memory() -> FakeStore:
    return FakeStore()


Make = Callable[..., Gpio]


@pytest.fixture
async def make(chip: MockFactory, memory: FakeStore) -> AsyncIterator[Make]:
    """Make a driver of some pins; it is closed at the end."""
    made: list[Gpio] = []

    def build(*devices: DeviceSpec) -> Gpio:
        made.append(open_gpio(BusSpec("gpio", "gpio", {}, devices), SystemClock("always"), memory))
        return made[-1]

    yield build
    for gpio in made:
        await gpio.close()


@pytest.fixture
async def listen() -> AsyncIterator[Callable[[Gpio], Ear]]:
    ears: list[Ear] = []

    def start(gpio: Gpio) -> Ear:
        ears.append(Ear(gpio))
        return ears[-1]

    yield start
    for ear in ears:
        await ear.stop()
