"""Time that is hurried: schedules and timers run fast, and the loop that serves them is awake in time."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from agent.control.api import Output
from agent.control.civil import Civil, Pace
from agent.control.engine import Engine
from agent.demo import cabinet
from agent.model import Quality, Reading
from agent.services.lighting.control import Circuit
from agent.services.lighting.faults import Watch
from tests.fakes.clock import FollowedClock

NOON = datetime(2026, 1, 15, 12, tzinfo=ZoneInfo("Europe/Paris"))


class Control:
    """Wants to be looked at after an hour of its own, and remembers what it saw."""

    name, inputs = "hourly", frozenset({"level", "well"})

    def __init__(self):
        self.seen = []

    def initial(self):
        return None

    def step(self, state, view, now):
        self.seen.append((view, now))
        return SimpleNamespace(state=None, wishes=(), happenings=(), due=now.monotonic + 3600)


def test_there_and_back():
    pace = Pace(600, 1000)
    assert [pace.at(1000), pace.at(1001), pace.back(1600)] == [1000, 1600, 1001]
    assert pace.back(math.inf) == math.inf and pace.at(-math.inf) == -math.inf
    assert Pace().at(7) == Pace().back(7) == 7


def test_a_day_passes_in_two_minutes_and_a_bit():
    clock = FollowedClock(epoch=NOON.timestamp() - 1000)
    civil = Civil("Europe/Paris", clock, Pace(600, 1000))
    assert civil.now().civil == NOON
    clock.at += 144
    now = civil.now()
    assert (now.civil, now.monotonic) == (NOON + timedelta(days=1), 1000 + 86400)
    assert not clock.wall.take_news(), "it is no step of the clock"


def test_controls_see_one_time():
    clock, control = FollowedClock(epoch=NOON.timestamp() - 1000), Control()
    door = SimpleNamespace(
        outputs=lambda: {"well": Output(True, 15, "", 1001.0, None)}, release_unnamed=lambda _named: None
    )
    memory = SimpleNamespace(get=lambda key: None, put=lambda *_: None)
    engine = Engine([control], "Europe/Paris", door, None, memory, clock, pace=Pace(600, 1000))
    clock.at += 2
    engine.observe([Reading("level", 40.0, clock.now(), Quality.GOOD)])
    engine.turn()
    view, now = control.seen[0]
    assert (now.monotonic, view.points["level"].at, view.outputs["well"].since) == (2200, 2200, 1600)
    assert engine.pace.back(engine.due_next()) == pytest.approx(clock.at + 6)


def test_a_slow_bus_is_no_fault_of_the_lamps():
    circuit = Circuit("main", "km1", programme=None)
    other = Control()
    assert cabinet.patient(Pace())(circuit) is circuit
    hurried = cabinet.patient(Pace(600, 0))
    assert hurried(circuit).least_hold == 1800 and hurried(other) is other


def test_a_fault_lasts_the_least_hold_at_least():
    welded, manual = {"contactor_welded": True}, {"local_manual": True}
    watch = Watch().look(welded, 0.0, 1800)
    assert watch.due(1800) == 1800 and not watch.look(welded, 1799.0, 1800).open
    assert watch.look(welded, 1800.0, 1800).open == {"contactor_welded"}
    assert Watch().look(manual, 0.0, 1800).open == {"local_manual"}, "what is reported at once stays so"
