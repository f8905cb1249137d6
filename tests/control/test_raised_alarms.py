"""No alarm of a control stays open for ever: where the control leaves the site file, and where its state forgot it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from agent.control.alarm_state import alarm_changes
from agent.control.api import NEVER, Step, good
from agent.core.alarms import OpenAlarms
from agent.model import Event, Severity


@dataclass(frozen=True)
class Overheat:
    """An alarm above 30, over below it; unknown without a value."""

    name: str = "room"
    point: str = "temp"

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset({self.point})

    def initial(self) -> frozenset[str]:
        return frozenset()

    def step(self, state: frozenset[str], view: Any, _now: Any) -> Step[frozenset[str]]:
        temp = good(view, self.point)
        hot = "overheat" in state if temp is None else temp > 30
        found = {"overheat": {"temp": temp}} if hot else {}
        raised, happened = alarm_changes(self.name, state, found, {"overheat": Severity.CRITICAL})
        return Step(raised, (), happened, NEVER)

    def dump(self, state: frozenset[str]) -> dict[str, Any]:
        return {"raised": sorted(state)}

    def load(self, kept: dict[str, Any]) -> frozenset[str]:
        return frozenset(kept["raised"])


ALARM, CLEARED = ("alarm", "overheat", "room"), ("cleared", "overheat", "room")


class Box:
    """A house whose open alarms are kept, as those of the agent are, in the store of the controls' states."""

    def __init__(self, house: Any) -> None:
        self.house = house
        self.told: list[tuple[str, str, str]] = []
        self.start(Overheat())

    def start(self, *controls: Any) -> None:
        self.open = OpenAlarms(self.tell, self.house.memory)
        self.engine = self.house.engine(*controls, raised=self.open.raised())
        self.engine._tell = self.open.put_event

    async def tell(self, event: Event) -> None:
        self.told.append((event.kind, event.code, event.subject))

    async def read(self, value: float) -> None:
        self.engine.observe(self.house.reading("temp", value))
        await self.engine.look()

    def kill(self) -> None:
        self.house.memory.power_cut()

    @property
    def is_open(self) -> bool:
        return self.open.is_open("overheat.room")


@pytest.fixture
def box(house: Any) -> Box:
    return Box(house)


async def test_the_alarm_of_a_control_that_left_the_file_is_cleared_once(box: Box) -> None:
    await box.read(31)
    assert box.told == [ALARM]
    for _ in range(3):
        box.start(Overheat("hall", "hall-temp"))
        await box.engine.look()
        box.kill()
        assert box.told == [ALARM, CLEARED]
        assert not box.is_open


@dataclass(frozen=True)
class Lockout(Overheat):
    """The same, latched from 40 on."""

    latch: float = 40

    def step(self, state: frozenset[str], view: Any, now: Any) -> Step[frozenset[str]]:
        found = super().step(state - {"latched"}, view, now)
        latched = "latched" in state or (good(view, self.point) or 0) > self.latch
        return found._replace(state=found.state | {"latched"}) if latched else found

    def latched(self, state: frozenset[str]) -> list[tuple[str, str]]:
        return [("overheat", self.name)] if "latched" in state else []


async def test_an_open_alarm_that_is_latched_later_says_so(box: Box) -> None:
    box.start(Lockout())
    for value, detail in ((31, {}), (41, {"latched": True}), (32, {"latched": True})):
        await box.read(value)
        (one,) = box.open.status((), box.engine.latched())
        assert (one["code"], one["subject"], one["detail"]) == ("overheat", "room", detail)
    assert box.told == [ALARM], "it is raised once"
    (text,) = box.open.status((), {("overheat", "hall")})
    assert text["detail"] == {}


@pytest.mark.parametrize("hot", [True, False])
async def test_a_control_that_comes_back_has_its_alarm_again_until_it_is_over(box: Box, hot: bool) -> None:
    await box.read(31)
    box.start()
    await box.engine.look()
    box.start(Overheat())
    await box.read(32 if hot else 20)
    assert box.told[2:] == ([ALARM] if hot else [ALARM, CLEARED]), "its state says that it is open"
    assert box.is_open is hot
    box.start(Overheat())
    await box.read(32 if hot else 20)
    assert len(box.told) == (3 if hot else 4)


async def test_a_clearing_that_was_not_stored_is_made_up_for(box: Box) -> None:
    await box.read(31)
    box.start()
    box.house.memory.flush()  # what else is written at that moment
    box.kill()
    box.start()
    await box.engine.look()
    assert box.told == [ALARM, CLEARED]


@pytest.mark.parametrize("hot", [True, False])
async def test_an_alarm_of_which_no_state_knows_is_cleared_unless_it_stands(box: Box, hot: bool) -> None:
    """Killed after the event was stored, and before the state that knows of it was."""
    await box.read(20)
    box.house.memory.flush()
    memory = box.house.memory
    await box.read(31)
    memory.durable["control.room"] = {"raised": []}
    memory.durable["raised"] = [[*one[:4], False, False] for one in memory.durable["raised"]]
    box.kill()
    box.start(Overheat())
    assert box.is_open
    await box.read(31 if hot else 20)
    assert box.told[1:] == ([ALARM] if hot else [CLEARED])
    assert box.is_open is hot
    await box.read(20)
    assert box.told[-1] == CLEARED
    assert box.told.count(CLEARED) == 1


@pytest.mark.parametrize("is_there", [True, False])
async def test_an_alarm_that_was_told_in_the_moment_of_a_kill_is_cleared(box: Box, is_there: bool) -> None:
    """Its event is stored and delivered, and nothing else is on flash but which control raised it."""

    async def die(event: Event) -> None:
        await box.tell(event)
        raise asyncio.CancelledError

    await box.read(20)
    box.engine._tell = die
    with pytest.raises(asyncio.CancelledError):
        await box.read(31)
    assert box.told == [ALARM]
    box.kill()
    box.start(*([Overheat()] if is_there else []))
    if is_there:
        await box.read(20)
    await box.engine.look()
    assert box.told == [ALARM, CLEARED]
    box.house.memory.flush()
    box.kill()
    box.start()
    await box.engine.look()
    assert box.told == [ALARM, CLEARED]


async def test_a_state_that_cannot_be_read_forgets_no_open_alarm(box: Box) -> None:
    await box.read(31)
    box.house.memory["control.room"] = {"of": "another version"}
    box.start(Overheat())
    await box.read(20)
    assert box.told == [ALARM, CLEARED]
    assert not box.is_open


async def test_what_is_known_is_not_told_again(box: Box) -> None:
    await box.read(31)
    for _ in range(3):
        box.kill()
        box.start(Overheat(), Overheat("hall", "hall-temp"))
        await box.engine.look()
        await box.read(31)
    assert box.told == [ALARM]
    await box.read(20)
    assert box.told == [ALARM, CLEARED]
    box.kill()
    box.start()
    await box.engine.look()
    assert box.told == [ALARM, CLEARED]
    assert box.house.memory["raised"] == [], "nothing is remembered for ever"


async def test_alarms_of_the_gateway_are_not_touched(box: Box) -> None:
    house = box.house
    one = {"code": "device_lost", "subject": "room", "severity": "major", "acked": False}
    house.memory["open"] = {"device_lost.room": one}
    box.start()
    await box.engine.look()
    assert box.told == []
    assert box.open.is_open("device_lost.room")
