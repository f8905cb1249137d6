"""A mocked chip, a memory that remembers, and a driver that is listened to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory

from agent.clock import SystemClock
from drivers.api import BusSpec, DeviceSpec
from drivers.gpio.chip import Gpio, open_gpio
from tests.fakes.listening import Listening
from tests.fakes.store import FakeStore


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
async def listen() -> AsyncIterator[Callable[[Gpio], Listening]]:
    ears: list[Listening] = []

    def start(gpio: Gpio) -> Listening:
        ears.append(Listening(gpio))
        return ears[-1]

    yield start
    for ear in ears:
        await ear.stop()
