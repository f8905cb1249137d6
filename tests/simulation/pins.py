"""The pins of the simulated box: gpiozero's own mock, with a valve on a relay, its end contact, and a water meter.

Each process has a chip of its own, as the kernel gives it: when it ends, all its pins are inputs and the relay falls.
"""

from __future__ import annotations

import contextvars
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from gpiozero import Device
from gpiozero.pins.mock import MockFactory, MockPin

from tests.simulation.plant import Move

__all__ = ["PINS", "Board", "calls"]

METER, RELAY, CONTACT = 17, 22, 23
BOUNCE = 0.002
CLOSED = 0.15
"""Seconds for which the meter's contact closes, once in 10 L."""
TRAVEL = 0.3
"""Seconds from the relay to the end contact."""


class Board:
    """What is wired to the pins, and what it saw; a slave of Modbus has the same lists (`plant.Slave`)."""

    def __init__(self, now: Callable[[], float], later: Callable[..., Any], dice: random.Random) -> None:
        self._now, self._dice = now, dice
        self._later = partial(later, context=contextvars.copy_context())
        """In the world: what is wired goes on moving where a process that moved it dies."""
        self.chip: Chip | None = None
        self.closed = {METER: False, CONTACT: False}
        self.moves: list[Move] = []
        self.good: list[float] = []
        self.failed: list[float] = []
        self.parted: list[float] = []
        self.fell: list[float] = []
        self.ignored: list[float] = []
        self.closures: list[tuple[float, bool]] = []
        """When the meter's contact closed, and whether somebody was listening."""
        self._on = False
        later(dice.uniform(1, 60), self._meter)

    # -- whose pins they are -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A process begins: the chip is its own."""
        Device.pin_factory = self.chip = Chip(self)

    def end(self) -> None:
        """The process is gone, and its pins are inputs."""
        self.chip = None
        if self._on:
            self._relay(False, fell=True)

    def level(self, pin: Wired, high: bool) -> None:
        """A pin that is an output."""
        if pin.factory is self.chip and pin.info.name == f"GPIO{RELAY}":
            self.good.append(self._now())
            if high is not self._on:
                self._relay(high)

    def _relay(self, on: bool, fell: bool = False) -> None:
        self._on = on
        self.moves.append(Move(self._now(), "pin", RELAY, int(on), (), fell))
        self._later(TRAVEL, self._settle)

    def _settle(self) -> None:
        self._contact(CONTACT, self._on)

    # -- contacts, from the pin to ground ----------------------------------------------------------------------------

    def _contact(self, number: int, closed: bool) -> None:
        self.closed[number] = closed
        pin = self.chip.pins_at.get(number) if self.chip is not None else None
        if pin is not None and pin.function == "input":
            (pin.drive_low if closed else pin.drive_high)()

    def _meter(self) -> None:
        """10 L have passed: the contact bounces, and stays closed for a while."""
        pin = self.chip.pins_at.get(METER) if self.chip is not None else None
        self.closures.append((self._now(), pin is not None and pin._when_changed is not None))
        for n, closed in enumerate((True, False, True, False)):
            at = n * BOUNCE + 1e-6 if n < 3 else CLOSED
            self._later(at, self._contact, METER, closed)
        self._later(self._dice.uniform(4, 16) if self._on else self._dice.uniform(100, 400), self._meter)


class Wired(MockPin):
    """A pin of the mock, with what is wired to it."""

    def __init__(self, factory: Chip, info: Any) -> None:
        self._context = contextvars.Context()
        super().__init__(factory, info)
        factory.pins_at[int(info.name[4:])] = self

    def _set_function(self, value: str) -> None:
        super()._set_function(value)
        if value == "input" and self.info.name == f"GPIO{RELAY}":
            self._change_state(False)

    def _set_pull(self, value: str) -> None:
        super()._set_pull(value)
        if self.factory.board.closed.get(int(self.info.name[4:])):
            self.drive_low()

    def _change_state(self, value: bool) -> bool:
        changed = bool(super()._change_state(value))
        if self.info.name == f"GPIO{RELAY}":
            self.factory.board.level(self, bool(value))
        return changed

    def _enable_event_detect(self) -> None:
        """Whoever listens is told in its own life."""
        self._context = contextvars.copy_context()

    def _call_when_changed(self) -> None:
        self._context.copy().run(super()._call_when_changed)


class Chip(MockFactory):
    """The chip of one process; nothing is shared with another one's."""

    def __init__(self, board: Board) -> None:
        self.board, self.pins_at = board, {}
        super().__init__(pin_class=Wired)


def _written(world: Any, dice: random.Random) -> None:
    """The region opens or closes the valve."""
    if world.village.board is None:
        return
    world.pin_commands += 1
    name = f"p-{world.pin_commands}"
    body = {
        "id": name, "point": "fountain", "value": dice.random() < 0.7, "ttl_ms": dice.choice((5_000, 60_000, 600_000)),
        "hold_ms": dice.choice((20_000, 200_000, 1_200_000)),
    }  # fmt: skip
    world.broker.send(f"bocage/v1/v/cmd/{name}", json.dumps(body).encode())


def _lit(world: Any, dice: random.Random) -> None:
    """The region lights the street, or all streets at once."""
    streets = [name for name in ("street", "square") if name in world.village.site["actuators"]]
    value, hold = dice.random() < 0.6, dice.choice((30_000, 150_000, 900_000))
    for name in streets if dice.random() < 0.5 else [dice.choice(streets)]:
        world.light_commands += 1
        command = f"l-{world.light_commands}"
        body = {"id": command, "point": name, "value": value, "ttl_ms": 60_000, "hold_ms": hold}
        world.broker.send(f"bocage/v1/v/cmd/{command}", json.dumps(body).encode())


PINS: dict[str, tuple[float, Callable[[Any, random.Random], None]]] = {
    "pin_command": (300, _written),
    "light_command": (300, _lit),
}
"""What is asked of the pins and of the lamps."""


def calls(world: Any) -> Iterator[tuple[Any, str, Any]]:
    """What is replaced: the clock of the mock."""
    import gpiozero.pins.local as local
    import gpiozero.pins.mock as mock

    yield mock, "monotonic", world.monotonic
    yield local, "monotonic", world.monotonic
