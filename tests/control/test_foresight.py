"""What comes next: a control is stepped ahead while its inputs stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from agent.control.api import NEVER, Happening, Input, Now, Step, View, Wish, good
from agent.control.calendar import Calendar
from agent.control.foresight import HORIZON, STEPS, Coming, look_ahead, look_for_alarm
from agent.control.week import Span, Week
from agent.model import Quality

PARIS = ZoneInfo("Europe/Paris")
NIGHTS = Week(Calendar(), "off", ((Span(1380, 1740, "on"),),) * 7)


@dataclass(frozen=True)
class Timer:
    """On from 23:00 to 05:00, and off a minute after its sensor was read last."""

    name: str = "timer"
    inputs: frozenset[str] = frozenset({"sensor"})
    week: Week = NIGHTS
    every: float = NEVER

    def initial(self):
        return 0

    def step(self, state, view, now):
        period = self.week.at(now.reached)
        due = now.monotonic + (period.end - now.civil).total_seconds()
        lost = good(view, "sensor") is not None and now.monotonic > view.points["sensor"].at + 60
        wish = Wish("lamp", 14 if lost else 15, period.mode == "on", "lost" if lost else period.mode)
        return Step(state + 1, (wish,), (), min(due, now.monotonic + self.every))


def ahead(control, civil="2026-10-24T20:00:00", quality=Quality.GOOD):
    now = Now(1000.0, datetime.fromisoformat(civil).replace(tzinfo=PARIS), True)
    view = View({"sensor": Input(1.0, quality, 990.0)}, {})
    steps = list(look_ahead(control, control.initial(), view, now, "lamp"))
    assert all(one is None for one in steps[:-1])
    return (steps[-1] if steps else None), now, len(steps)


def test_the_next_change_by_the_clock():
    coming, _, _ = ahead(Timer())
    assert coming == Coming(1000.0 + 3 * 3600, Wish("lamp", 15, True, "on"))


def test_a_night_of_the_clock_change_has_an_hour_more():
    coming, now, _ = ahead(Timer(), "2026-10-24T23:30:00")
    assert coming is not None and coming.at == now.monotonic + 6.5 * 3600
    assert (now.civil.astimezone(ZoneInfo("UTC")) + timedelta(hours=6.5)).astimezone(PARIS).hour == 5


def test_what_is_good_goes_on_being_read_and_what_is_lost_is_not():
    """A sensor is not lost in a minute only because time is looked ahead."""
    coming, _, _ = ahead(Timer(every=300.0))
    assert coming is not None and coming.wish is not None and coming.wish.cause == "on"


def test_nothing_changes_in_two_days_and_a_busy_control_has_an_end():
    @dataclass(frozen=True)
    class Always(Timer):
        def step(self, state, view, now):
            return Step(state, (Wish("lamp", 15, True, "on"),), (), now.monotonic + self.every)

    assert ahead(Always(every=HORIZON / 10))[::2] == (None, 10)
    assert ahead(Always(every=1.0))[::2] == (None, STEPS)
    assert ahead(Always())[::2] == (None, 0)


def test_the_alarm_to_come():
    @dataclass(frozen=True)
    class Counter(Timer):
        def step(self, state, view, now):
            told = (Happening("alarm", "point_alarm", "timer"),) if now.monotonic >= 1600 else ()
            return Step(state, (), told, NEVER if told else 1600.0)

    now = Now(1000.0, None, False)
    *none, coming = look_for_alarm(Counter(), 0, View({}, {}), now)
    assert none == [None] and (coming.at, coming.alarm.code) == (1600.0, "point_alarm")
