"""What a step of an alarm costs, for each kind of condition, on a value that varies at each step."""

from __future__ import annotations

import random
import statistics
import time
from datetime import UTC, datetime, timedelta

from agent.control.api import Input, Now, View
from agent.control.calendar import Calendar
from agent.control.conditions import (
    ON,
    AllOf,
    Compare,
    Condition,
    During,
    InCalendar,
    Is,
    Lasting,
    Moves,
    Operand,
    Still,
    Times,
)
from agent.control.named_calendars import Occurrences
from agent.control.week import Span, Week
from agent.model import Quality
from agent.services.alarms.control import PointAlarm

__all__ = ["steps"]

STEPS = 20_000
START = datetime(2026, 1, 15, tzinfo=UTC)
P, Q = Operand("p"), Operand("q")
HOURS = Times(Week(Calendar(), "", ((Span(480, 720, ON),),) * 7))
FALLS, STILL = Moves(P, 5.0, 3600.0), Still(P, 4.0, 7200.0)
KINDS: dict[str, Condition] = {
    "above, for": Lasting(Compare(P, 30.0, hysteresis=1.0), 600.0),
    "is": Is(Q, True),
    "still": STILL,
    "falls": FALLS,
    "times": HOURS,
    "calendar": InCalendar("hall"),
    "a gate of two": During(Lasting(Compare(P, 30.0), 600.0), AllOf((HOURS, Is(Q, True)))),
}


def steps() -> dict[str, float]:
    """The median of a step's milliseconds, by kind."""
    return {kind: _step(condition) for kind, condition in KINDS.items()}


def _step(condition: Condition) -> float:
    alarm = PointAlarm("a", condition, value=P, text="{value}", points=("p", "q"))
    begin = int(START.timestamp())
    days = range(begin, begin + 1000 * 86_400, 86_400)
    calendars = {"hall": Occurrences.of([(day, day + 7200) for day in days], days.start, days.stop)}
    state, chance, value, took = alarm.initial(), random.Random(1), 10.0, []
    for number in range(STEPS):
        t, value = number * 60.0, min(max(value + chance.uniform(-1, 1), 0.0), 60.0)
        points = {"p": Input(value, Quality.GOOD, t), "q": Input(True, Quality.GOOD, t)}
        view, now = View(points, {}, calendars), Now(t, START + timedelta(seconds=t), True)
        began = time.perf_counter()
        state = alarm.step(state, view, now).state
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000
