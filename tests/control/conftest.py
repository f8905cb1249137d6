"""Toy controls and a arbiter, on a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from agent.control.api import NEVER, Happening, Output, Step, Wish, good
from agent.model import Quality, Reading, Severity
from tests.fakes.clock import FollowedClock
from tests.fakes.store import FakeStore

EPOCH = 1_768_467_500.0  # it is 2026-01-15T10:00:00+01:00 at second 100


class FakeArbiter:
    """What is wished for, by actuator and priority."""

    def __init__(self, *actuators: str) -> None:
        self.told = lambda: None
        self.now = {name: Output(False, 16, "", float("-inf"), None) for name in actuators}
        self.wishes: dict[tuple[str, int], tuple[Any, str]] = {}
        self.asked = 0
        self.named: set[str] | None = None

    def wish(self, actuator: str, priority: int, value: Any, cause: str) -> None:
        assert actuator in self.now
        self.asked += 1
        self.wishes[actuator, priority] = value, cause

    def relinquish(self, actuator: str, priority: int) -> None:
        assert actuator in self.now
        self.wishes.pop((actuator, priority), None)

    def release_unnamed(self, named: Any) -> None:
        self.named = set(named)

    def outputs(self) -> dict[str, Output]:
        return dict(self.now)


@dataclass(frozen=True)
class Thermostat:
    """On below 18, with a latch above 30 that a command resets; it counts its steps."""

    name: str = "room"
    signal: str = "temp"
    actuator: str = "burner"
    period: float = NEVER

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset({self.signal, self.actuator})

    @dataclass(frozen=True)
    class State:
        latched: bool = False
        steps: int = 0

    def initial(self) -> State:
        return self.State()

    def step(self, state: State, view: Any, now: Any) -> Step:
        temp = good(view, self.signal)
        if temp == 13:
            raise ZeroDivisionError("a bug")
        state = replace(state, steps=state.steps + 1)
        happened = []
        if temp is not None and temp > 30 and not state.latched:
            state = replace(state, latched=True)
            happened.append(Happening("alarm", "overheat", self.name, Severity.CRITICAL, {"temp": temp}))
        wishes = []
        if state.latched:
            wishes.append(Wish(self.actuator, 2, False, "overheat"))
        elif temp is not None:
            wishes.append(Wish(self.actuator, 15, temp < 18, f"room {temp:g}"))
        return Step(state, wishes, happened, now.monotonic + self.period)

    def dump(self, state: State) -> dict[str, Any]:
        return {"latched": state.latched, "steps": state.steps}

    def load(self, kept: dict[str, Any]) -> State:
        return self.State(kept["latched"], kept["steps"])

    @property
    def commands(self) -> list[str]:
        return [f"{self.name}.latch"]

    def command(self, state: State, point: str, value: Any, now: Any) -> State:
        if value != "reset":
            raise ValueError(f"{point} takes reset, not {value!r}")
        return replace(state, latched=False)


@dataclass
class House:
    """Everything around an engine."""

    clock: FollowedClock = field(default_factory=lambda: FollowedClock(100.0, epoch=EPOCH))
    memory: FakeStore = field(default_factory=FakeStore)
    arbiter: FakeArbiter = field(default_factory=lambda: FakeArbiter("burner", "pump"))
    events: list[Any] = field(default_factory=list)

    async def tell(self, event: Any) -> None:
        self.events.append((event.kind, event.code, event.subject))

    def engine(self, *controls: Any, **more: Any) -> Any:
        from agent.control.engine import Engine

        return Engine(controls, "Europe/Paris", self.arbiter, self.tell, self.memory, self.clock, **more)

    def reading(self, point: str, value: Any, quality: Quality = Quality.GOOD) -> list[Reading]:
        return [Reading(point, value, self.clock.now(), quality)]


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def thermostat() -> type[Thermostat]:
    return Thermostat
