"""A zone through days and faults, in virtual time: an arbiter without limits carries out what it wishes."""

import dataclasses
import json
from datetime import datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.control.api import NEVER, Input, Now, Output, View
from agent.control.calendar import Calendar
from agent.control.week import Span, Week
from agent.model import Quality
from agent.services.heating.boiler import HeatCurve
from agent.services.heating.control import Setpoints, Zone
from agent.services.heating.exercise import Exercise, Exerciser
from agent.services.heating.loops import Hysteresis, Tpi
from agent.services.heating.room import OptimumStart, WindowOpen

PARIS = ZoneInfo("Europe/Paris")
CALENDAR = Calendar("Europe/Paris", "FR", "A")
SCHOOL_DAY, EMPTY = (Span(450, 1020, "comfort"),), (Span(0, 1440, "frost"),)
WEEK = Week(
    CALENDAR, "reduced", (SCHOOL_DAY, SCHOOL_DAY, (), SCHOOL_DAY, SCHOOL_DAY, EMPTY, EMPTY),
    public=(Span(0, 1440, "reduced"),), school=EMPTY,
)  # fmt: skip
CURVE = HeatCurve("flow", ((-10, 65), (15, 30)), 70, 16)
ZONE = Zone(
    "school", "room", "burner", WEEK, Setpoints(19, 16, 8), outdoor="out", curve=CURVE, pump="pump",
    exercise=Exercise(7 * 86400, 30, CALENDAR, 190, 2), min_on=240, min_off=360, law=Tpi(900, 0.6, 0.01),
)  # fmt: skip
THURSDAY = datetime(2026, 1, 15, 8, tzinfo=PARIS)


class Rig:
    """The zone, its inputs, and the outputs that its wishes make. `t` is seconds from `start`."""

    def __init__(self, zone=ZONE, start=THURSDAY, t=0.0, trusted=True, **inputs):
        self.zone, self.start, self.t, self.trusted = zone, start, t, trusted
        self.base = t
        self.state = zone.initial()
        self.points, self.edges, self.alarms, self.causes = {}, [], [], {}
        self.outputs = {name: Output(False, 16, "", t, None) for name in ("burner", "pump")}
        self.overrides = {}
        self.calendars = {}
        self.due = t
        self.set(**({"room": 18.5, "out": 0.0, "flow": 40.0} | inputs))

    def now(self):
        civil = (self.start.astimezone(ZoneInfo("UTC")) + timedelta(seconds=self.t - self.base)).astimezone(PARIS)
        return Now(self.t, civil, self.trusted)

    def set(self, quality=Quality.GOOD, **values):
        for name, value in values.items():
            if value is None:
                self.points.pop(name, None)
            else:
                heard = self.t if quality is Quality.GOOD else self.points[name].at if name in self.points else -NEVER
                self.points[name] = Input(value, quality, heard)
        return self.settle()

    def settle(self):
        while True:
            step = self.zone.step(self.state, View(self.points, self.outputs, self.calendars), self.now())
            again = self.zone.step(step.state, View(self.points, self.outputs, self.calendars), self.now())
            assert (again.state, again.wishes, list(again.happenings)) == (step.state, step.wishes, [])
            self.state, self.due = step.state, step.due
            assert self.due > self.t
            self.alarms += [(round(self.t - self.base), one.kind, one.code) for one in step.happenings]
            if not self._apply(step.wishes):
                return self

    def _apply(self, wishes):
        slots = {name: {16: (False, "")} for name in self.outputs}
        for wish in wishes:
            slots[wish.actuator][wish.priority] = (wish.value, wish.cause)
        for name, value in self.overrides.items():
            slots[name][8] = (value, "operator")
        moved = False
        for name, array in slots.items():
            priority = min(array)
            value, cause = array[priority]
            self.causes[name] = f"{priority} {cause}"
            if value is not self.outputs[name].value:
                self.edges.append((round(self.t - self.base), name, value))
                self.outputs[name] = Output(value, priority, cause, self.t, None)
                moved = True
        return moved

    def run(self, seconds, every=None):
        """Jump from due to due, or step every so often."""
        end = self.t + seconds
        while True:
            self.t = min(self.due, end) if every is None else min(self.t + every, end)
            self.settle()
            if self.t >= end:
                return self

    def until(self, hour, minute=0, days=0):
        day = (self.now().civil + timedelta(days=days)).date()
        at = datetime(day.year, day.month, day.day, hour, minute, tzinfo=PARIS)
        return self.run(at.timestamp() - self.now().civil.timestamp())

    def restart(self):
        self.state = self.zone.load(json.loads(json.dumps(self.zone.dump(self.state))))
        return self

    def on(self, name="burner"):
        return self.outputs[name].value

    def raised(self):
        return sorted(self.state.alarms)

    def of(self, name):
        return [(t, value) for t, edge, value in self.edges if edge == name]


def test_tpi_burns_441_s_of_each_cycle_and_the_pump_overruns_ten_minutes():
    rig = Rig(flow=44.0, out=5.0, room=18.5 - 0.05 / 0.6).run(1799)  # the same duty 5 degC outdoors
    assert rig.of("burner") == [(0, True), (441, False), (900, True), (1341, False)]
    assert rig.of("pump") == [(0, True)], "the overrun reaches into the next cycle"
    rig.set(room=20.0).run(3600)
    assert rig.of("pump") == [(0, True), (1341 + 600, False)]


def test_heat_curve_cuts_at_three_above_and_releases_at_three_below():
    rig = Rig(room=15.0, flow=53.9)
    assert rig.on()
    assert not rig.set(flow=54.0).on()
    assert "heat_curve" in rig.causes["burner"]
    assert not rig.set(flow=48.1).on()
    assert rig.set(flow=48.0).on()


def test_flow_limit_is_an_interlock_and_an_alarm():
    rig = Rig(room=15.0)
    rig.overrides["burner"] = True
    rig.set(flow=69.9)
    assert rig.on(), "an operator may go beyond the curve"
    rig.set(flow=70.0)
    assert not rig.on()
    assert rig.causes["burner"].startswith("2 ")
    assert rig.raised() == ["overheat"]
    assert not rig.set(flow=68.0).on()
    assert rig.set(flow=67.0).on()
    assert rig.raised() == []


@pytest.mark.parametrize("override", [False, True])
@pytest.mark.parametrize(("quality", "value"), [(Quality.BAD, 40.0), (Quality.STALE, 40.0), (Quality.GOOD, None)])
def test_no_burner_without_a_flow_sensor(quality, value, override):
    rig = Rig(room=15.0)
    if override:
        rig.overrides["burner"] = True
    assert rig.settle().on()
    rig.set(quality, flow=value)
    assert not rig.on()
    assert rig.causes["burner"] == "5 school flow_sensor_lost"
    rig.run(60)
    assert rig.raised() == ["flow_sensor_lost"]
    assert rig.set(flow=40.0).on()
    assert rig.raised() == []


def test_burner_without_heat_is_locked_out_until_somebody_comes():
    rig = Rig(room=10.0, out=-5.0, flow=20.0)
    rig.run(1199)
    assert rig.on()
    rig.run(1)
    assert rig.causes["burner"] == "5 school burner_no_heat"
    assert rig.raised() == ["burner_no_heat"]
    rig.run(43200).set(room=9.0).run(43200).restart().set(flow=30.0)
    assert not rig.on()
    assert rig.zone.command(rig.state, "school.latch", "reset", rig.now()).burner.locked is False
    with pytest.raises(ValueError, match="takes reset"):
        rig.zone.command(rig.state, "school.latch", "on", rig.now())
    assert rig.zone.commands == ("school.latch", "school.mode", "school.setpoint")
    rig.state = rig.zone.command(rig.state, "school.latch", "reset", rig.now())
    assert rig.settle().raised() == ["comfort_missed"]
    rig.set(room=10.0).run(900)
    assert rig.on()


@pytest.mark.parametrize(
    ("flow", "locked"),
    [
        ([(0, 20), (600, 21.9), (1200, 21.9)], True),
        ([(0, 20), (600, 22.0), (1300, 22.0)], False),  # it rose
        ([(0, 20), (600, 45.0), (1200, 45), (6000, 45), (9000, 44)], False),  # a boiler at its limit
        ([(0, 45), (300, 44), (600, 46), (900, 44), (1200, 42), (1800, 40.9)], True),  # it went out
        ([(0, 58), (1200, 57)], False),  # as hot as the curve wants it
    ],
)
def test_what_counts_as_no_heat(flow, locked):
    rig = Rig(room=5.5, out=-5.0, flow=flow[0][1])  # target 58
    for t, value in flow[1:]:
        rig.run(t - rig.t).set(flow=float(value))
    assert ("burner_no_heat" in rig.raised()) is locked


def test_room_lost_is_counted_from_the_last_good_reading():
    rig = Rig(flow=45.0).run(600).set(room=18.5).run(100)
    rig.set(Quality.BAD, room=18.5).run(2599)
    assert "room_sensor_lost" not in rig.raised()
    rig.run(1)
    assert rig.raised() == ["room_sensor_lost"]
    start = len(rig.edges)
    rig.run(1800)
    burns = [(t - 3300, on) for t, name, on in rig.edges[start - 1 :] if name == "burner"]
    assert burns == [(0, True), (270, False), (900, True), (1170, False), (1800, True)]
    rig.set(room=25.0)
    assert rig.raised() == []
    assert not rig.on()


def test_room_that_never_spoke():
    rig = Rig(room=None, flow=45.0).run(1000).restart().run(1699)
    assert rig.of("burner") == []
    assert rig.run(1).on()
    assert not rig.set(flow=60.0).on(), "with the flow limit"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-50, 90), st.sampled_from([Quality.BAD, Quality.STALE])), min_size=1, max_size=4))
def test_what_a_bad_sensor_says_changes_nothing(said):
    one, other = Rig(flow=45.0), Rig(flow=45.0)
    for value, quality in said:
        one.set(quality, room=value, out=value).run(1200)
        other.set(quality, room=17.0, out=17.0).run(1200)
    assert one.edges == other.edges
    assert one.alarms == other.alarms


def test_outdoors_lost_in_winter_counts_as_frost():
    rig = Rig(room=25.0, out=10.0)
    assert not rig.on("pump")
    rig.set(Quality.STALE, out=10.0)
    assert rig.on("pump")
    summer = Rig(start=datetime(2026, 6, 15, 8, tzinfo=PARIS), room=25.0, out=10.0)
    assert not summer.set(Quality.STALE, out=-10.0).on("pump")


def test_pump_is_forced_in_the_cold_even_against_an_override():
    rig = Rig(room=25.0, out=2.9)
    rig.overrides["pump"] = False
    assert rig.settle().on("pump")
    assert not rig.set(out=3.0).on("pump")


def test_burner_that_was_found_on_counts_from_now():
    rig = Rig(room=10.0, out=-5.0, flow=20.0)
    rig.state = rig.zone.initial()
    rig.outputs["burner"] = Output(True, 16, "", float("-inf"), None)
    rig.settle().run(1199)
    assert rig.raised() == []
    json.dumps(rig.zone.dump(rig.state), allow_nan=False)
    assert rig.run(1).raised() == ["burner_no_heat"]


def test_output_that_nobody_knows_is_as_it_was():
    rig = Rig(room=10.0, out=-5.0, flow=20.0).run(600)
    known = rig.outputs
    view = View(rig.points, {name: output._replace(value=None) for name, output in known.items()})
    step = rig.zone.step(rig.state, view, rig.now())
    assert step.state.burner == rig.state.burner


def test_no_heat_above_sixteen_outdoors():
    rig = Rig(room=10.0, out=16.0, flow=20.0)
    assert rig.on()
    assert not rig.set(out=16.1).on()
    assert not rig.run(7200).on()
    assert not rig.set(out=15.0).on(), "the damped temperature is still above the limit"
    assert not rig.run(86400).on()
    assert rig.set(out=14.0).run(600).on()


def test_outdoors_that_tremble_at_the_summer_limit_decide_once():
    rig = Rig(room=18.0, out=15.9, flow=28.0)
    for minute in range(10, 12 * 60, 10):
        rig.run(600).set(out=16.1 if minute % 20 else 15.9)
        if minute == 300:
            rig.restart()
    assert len(rig.of("burner")) == 2, "on in the beginning, and off once"


def test_a_warm_hour_after_a_cold_night_ends_no_heating():
    rig = Rig(room=15.0, out=5.0, flow=28.0).set(out=17.0)
    assert rig.run(3600).on()
    assert not rig.run(6 * 3600).on()


@pytest.mark.parametrize(
    ("when", "setpoint"),
    [
        ("2026-01-15T07:29", 16), ("2026-01-15T07:30", 19), ("2026-01-15T17:00", 16),
        ("2026-01-14T10:00", 16),  # Wednesday
        ("2026-01-17T10:00", 8),  # Saturday
        ("2026-02-09T10:00", 8),  # school holidays
        ("2026-11-11T10:00", 16),  # Armistice, a Wednesday
        ("2026-05-01T10:00", 16),  # Labour Day, a Friday
        ("2026-05-15T10:00", 8),  # the bridge of Ascension
    ],
)  # fmt: skip
def test_setpoint_by_week_and_holidays(when, setpoint):
    rig = Rig(start=datetime.fromisoformat(when).replace(tzinfo=PARIS))
    assert rig.state.loop.goal == setpoint


def test_setpoint_changes_to_the_second():
    rig = Rig(start=datetime(2026, 1, 15, 7, tzinfo=PARIS), room=18.5, out=0.0, flow=45.0).run(3600)
    assert rig.of("burner")[:2] == [(1800, True), (2241, False)]


def test_clock_untrusted_means_reduced():
    rig = Rig(trusted=False)
    assert rig.state.loop.goal == 16
    rig.trusted = True
    assert rig.settle().state.loop.goal == 19


START = Zone(
    "school", "room", "burner", WEEK, Setpoints(19, 16, 8), law=Hysteresis(0.3), optimum_start=OptimumStart(30, 14400)
)


def test_optimum_start_begins_in_time_and_learns():
    rig = Rig(START, datetime(2026, 1, 15, 0, tzinfo=PARIS), room=17.0)
    rig.run(3600 * 6.5 - 1)
    assert rig.edges == []
    assert rig.run(1).on()
    assert "optimum_start" in rig.causes["burner"]
    rig.run(1800).set(room=18.5)  # 20 min/K
    assert rig.state.start.rate == pytest.approx(27)
    rig.restart().until(18)
    rig.set(room=17.0)
    rig.until(6, 35, 1)
    assert not rig.on()
    rig.until(6, 36)
    assert rig.on(), "54 min before half past seven"


def test_optimum_start_looks_over_midnight_and_days():
    week = Week(CALENDAR, "reduced", ((Span(60, 600, "comfort"),), *((),) * 5, EMPTY))
    zone = Zone("s", "room", "burner", week, Setpoints(), law=Hysteresis(), optimum_start=OptimumStart(30, 6 * 3600))
    rig = Rig(zone, datetime(2026, 1, 18, 12, tzinfo=PARIS), room=8.5)  # Sunday; 10.5 K: 5 h 15 before Monday 01:00
    rig.until(19, 44)
    assert not rig.on()
    assert rig.until(19, 45).on()


def test_comfort_missed_is_found_out_when_the_people_come():
    rig = Rig(START, datetime(2026, 1, 15, 7, 29, tzinfo=PARIS), room=18.0)
    assert rig.raised() == []
    rig.run(60)
    assert rig.raised() == ["comfort_missed"]
    assert rig.set(room=18.1).raised() == []
    assert rig.run(60).set(room=17.0).raised() == [], "that is no longer about the morning"
    assert [kind for _, kind, _ in rig.alarms] == ["alarm", "cleared"]


def test_comfort_missed_ends_with_the_day():
    rig = Rig(START, datetime(2026, 1, 15, 7, 29, tzinfo=PARIS), room=15.0).until(17)
    assert rig.raised() == []


def test_school_holidays_that_end():
    rig = Rig(start=datetime(2027, 3, 10, 23, tzinfo=PARIS), room=19.0)
    assert rig.run(3599).raised() == []
    assert rig.run(1).raised() == ["calendar_ending"], "the table knows 9 May 2027"


def test_frost_risk():
    rig = Rig(room=5.0)
    assert rig.raised() == []
    assert rig.set(room=4.9).raised() == ["frost_risk"]
    assert rig.set(Quality.BAD, room=4.9).raised() == ["frost_risk"]
    assert rig.set(room=5.9).raised() == ["frost_risk"]
    assert rig.set(room=6.0).raised() == []


def test_window_open_is_the_frost_setpoint_for_half_an_hour():
    zone = Zone("school", "room", "burner", WEEK, Setpoints(), law=Hysteresis(), window_open=WindowOpen())
    rig = Rig(zone, room=17.0)
    rig.run(600).restart().set(room=16.0)
    assert not rig.on()
    rig.restart()
    assert rig.raised() == ["window_open"]
    rig.run(1799)
    assert not rig.on()
    assert rig.run(1).on()
    assert rig.raised() == []


def test_pump_is_exercised_after_seven_idle_days():
    rig = Rig(start=datetime(2026, 7, 6, 0, tzinfo=PARIS), room=25.0, out=25.0).run(11 * 86400)
    at = (9 * 24 + 3) * 3600 + 600  # the second Wednesday, 03:10
    assert rig.of("pump") == [(at, True), (at + 30, False)]
    rig.run(6 * 86400)
    assert rig.of("pump")[2:] == [(at + 7 * 86400, True), (at + 7 * 86400 + 30, False)]


def test_burner_is_blocked_during_the_exercise():
    rig = Rig(start=datetime(2026, 7, 6, 0, tzinfo=PARIS), room=25.0, out=25.0).run(9 * 86400 + 3 * 3600 + 605)
    assert rig.on("pump")
    rig.overrides["burner"] = True
    assert not rig.settle().on()
    assert rig.run(30).on()


def test_pump_that_ran_needs_no_exercise():
    rig = Rig(start=datetime(2026, 7, 6, 0, tzinfo=PARIS), room=25.0, out=25.0).run(5 * 86400)
    rig.overrides["pump"] = True
    rig.settle().run(60)
    rig.overrides.clear()
    rig.settle().run(6 * 86400)
    assert len(rig.of("pump")) == 2


def test_exercise_without_a_time_of_the_week():
    zone = Zone("s", "room", "burner", WEEK, Setpoints(), pump="pump", exercise=Exercise(86400, 30, CALENDAR))
    rig = Rig(zone, start=datetime(2026, 7, 6, 5, tzinfo=PARIS), room=25.0).run(2 * 86400 + 3600)
    assert rig.of("pump") == [(86400, True), (86430, False), (86400 * 2 + 30, True), (86400 * 2 + 60, False)]


def test_any_actuator_may_be_exercised():
    zone = Exerciser("pump", Exercise(86400, 30, CALENDAR, 600))
    rig = Rig(zone, start=datetime(2026, 7, 6, 5, tzinfo=PARIS)).run(86400 * 2)
    assert rig.of("pump") == [(86400 + 5 * 3600, True), (86400 + 5 * 3600 + 30, False)]
    assert rig.restart().run(86400).of("pump")[2:] == [(86400 * 2 + 5 * 3600, True), (86400 * 2 + 5 * 3600 + 30, False)]


def _day(rig, every=None, restarts=(), hours=(0, 24)):
    """Hours of a day with a room and a flow that answer the burner, by the minute; the sensors fail now and then."""
    room, flow = 15.0, 25.0
    for minute in range(hours[0] * 60, hours[1] * 60):
        out = 2.0 + 6.0 * ((minute // 60) % 12) / 12
        heat = 62.0 if rig.on() else 20.0
        flow += (heat - flow) / 5
        room += (out + (60 if rig.on() else 0) - room) / 1200
        bad = {
            "room": Quality.BAD if 600 < minute < 700 else Quality.GOOD,
            "flow": Quality.STALE if 800 < minute < 810 else Quality.GOOD,
        }
        if minute in restarts:
            rig.restart()
        rig.points["out"] = Input(out, Quality.GOOD, rig.t)
        rig.points["flow"] = Input(flow, bad["flow"], rig.t)
        if minute % 10 == 0:
            rig.points["room"] = Input(round(room, 2), bad["room"], rig.t)
        rig.settle().run(60, every)
    return rig


FULL = Zone(
    "school", "room", "burner", WEEK, Setpoints(19, 16, 8), outdoor="out", curve=CURVE, pump="pump",
    exercise=ZONE.exercise, optimum_start=OptimumStart(30, 21600), window_open=WindowOpen(), min_on=240, min_off=360,
)  # fmt: skip
MIDNIGHT = datetime(2026, 1, 15, 0, tzinfo=PARIS)


def test_jumping_gives_the_edges_of_stepping_every_second():
    jumped, stepped = (Rig(FULL, MIDNIGHT + timedelta(hours=7), room=18.0) for _ in range(2))
    _day(jumped, hours=(7, 14))
    _day(stepped, every=1, hours=(7, 14))
    assert len(jumped.edges) > 20
    assert jumped.edges == stepped.edges
    assert jumped.alarms == stepped.alarms


@cache
def _undisturbed():
    return _day(Rig(FULL, MIDNIGHT, room=15.0)).edges


@settings(max_examples=5, deadline=None)
@given(st.sets(st.integers(0, 1439), min_size=1, max_size=40))
def test_same_levels_from_any_restart(minutes):
    assert _day(Rig(FULL, MIDNIGHT, room=15.0), restarts=minutes).edges == _undisturbed()


def test_another_boot_keeps_latches_and_what_was_learned():
    rig = Rig(room=10.0, out=-5.0, flow=20.0, t=1e6).run(1200)
    assert rig.raised() == ["burner_no_heat"]
    rig.restart()
    rig.t, rig.base, rig.start = 30.0, 30.0, rig.now().civil + timedelta(minutes=2)
    rig.outputs = {name: Output(False, 16, "", 5.0, None) for name in rig.outputs}
    rig.set(room=10.0, out=-5.0, flow=20.0)
    assert not rig.on()
    assert rig.raised() == ["burner_no_heat"]
    assert rig.state.loop.begun == 30


ACTIONS = st.sampled_from(
    ["bad flow", "stale flow", "no flow", "good flow", "bad room", "good room", "cold", "override", "release", "wait"]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ACTIONS, st.integers(0, 4000)), max_size=20))
def test_burner_never_burns_without_a_flow_sensor(actions):
    rig = Rig(room=15.0)
    for action, seconds in actions:
        {
            "bad flow": lambda: rig.set(Quality.BAD, flow=40.0),
            "stale flow": lambda: rig.set(Quality.STALE, flow=40.0),
            "no flow": lambda: rig.set(flow=None),
            "good flow": lambda: rig.set(flow=40.0),
            "bad room": lambda: rig.set(Quality.BAD, room=1.0),
            "good room": lambda: rig.set(room=17.0),
            "cold": lambda: rig.set(out=-5.0),
            "override": lambda: rig.overrides.update(burner=True),
            "release": lambda: rig.overrides.clear(),
            "wait": lambda: rig,
        }[action]()
        rig.settle().run(seconds)
        flow = rig.points.get("flow")
        if flow is None or flow.quality is not Quality.GOOD:
            assert not rig.on()


def _reboot(rig, trusted=True):
    """The box was off for two minutes; no sensor has spoken yet."""
    rig.restart()
    rig.start, rig.trusted = rig.now().civil + timedelta(minutes=2), trusted
    rig.t = rig.base = 30.0
    rig.points.clear()
    rig.outputs = {name: Output(False, 16, "", 5.0, None) for name in rig.outputs}
    return rig.settle()


@pytest.mark.parametrize(
    ("wrong", "right", "code"),
    [
        ({"flow": None}, {"flow": 40.0}, "flow_sensor_lost"),
        ({"flow": 70.0}, {"flow": 66.0}, "overheat"),
        ({"room": None}, {"room": 18.5}, "room_sensor_lost"),
    ],
)
def test_an_alarm_of_before_a_boot_ends_with_a_good_reading_only(wrong, right, code):
    rig = Rig(t=1e6).set(**wrong).run(3600)
    assert code in rig.raised()
    _reboot(rig).run(20)
    assert code in rig.raised()
    assert not rig.on() or code == "room_sensor_lost"
    rig.set(**{"room": 18.5, "out": 0.0, "flow": 40.0} | right)
    assert code not in rig.raised()
    assert [one[1:] for one in rig.alarms if one[2] == code] == [("alarm", code), ("cleared", code)]


def test_comfort_that_was_missed_is_not_over_while_the_time_is_not_known():
    rig = Rig(START, datetime(2026, 1, 15, 7, 29, tzinfo=PARIS), t=1e6, room=15.0).run(60)
    assert rig.raised() == ["comfort_missed"]
    _reboot(rig, trusted=False).set(room=15.0)
    assert rig.raised() == ["comfort_missed"]
    rig.trusted = True
    rig.settle()
    assert rig.raised() == ["comfort_missed"]
    rig.trusted = False
    assert rig.set(room=19.0).raised() == [], "a warm room is, whatever the time"


def test_a_calendar_that_ends_is_not_over_while_the_time_is_not_known():
    rig = Rig(start=datetime(2027, 3, 11, 8, tzinfo=PARIS), t=1e6, room=19.0)
    assert rig.raised() == ["calendar_ending"]
    assert _reboot(rig, trusted=False).raised() == ["calendar_ending"]


def test_a_window_that_was_open_before_a_boot_is_open_until_it_is_seen_closed():
    zone = Zone("school", "room", "burner", WEEK, Setpoints(), law=Hysteresis(), window_open=WindowOpen())
    rig = Rig(zone, t=1e6, room=17.0).run(600).set(room=16.0)
    assert rig.raised() == ["window_open"]
    _reboot(rig).set(room=15.9)
    assert rig.raised() == ["window_open"]
    rig.run(400).set(room=16.0)
    assert rig.raised() == [] and rig.on()


@pytest.mark.parametrize(("wrong", "code"), [(None, "flow_sensor_lost"), (70.0, "overheat")])
def test_a_boiler_without_a_heat_curve_any_more_is_not_held_by_the_flow_of_before(wrong, code):
    """The curve left the file while its sensor was lost, or the flow too hot: nothing would ever end that."""
    rig = Rig(room=10.0, flow=wrong).run(120)
    assert code in rig.raised() and not rig.on()
    rig.zone = dataclasses.replace(ZONE, curve=None)
    rig.restart().run(1000)
    assert rig.on() and code not in rig.raised()


AIRED = Zone("school", "room", "burner", WEEK, Setpoints(), law=Hysteresis(), window_open=WindowOpen())
SUMMER = Zone("school", "room", "burner", WEEK, Setpoints(), law=Hysteresis(), outdoor="out", curve=CURVE)


@pytest.mark.parametrize(
    ("zone", "without", "readings"),
    [
        (AIRED, {"window_open": None}, [{"room": 17.0}, {"room": 15.0}]),
        (SUMMER, {"curve": dataclasses.replace(CURVE, heat_off_above=None)}, [{"out": 17.0, "room": 10.0, "flow": 20}]),
    ],
    ids=["window_open", "heat_off_above"],
)
def test_what_a_setting_held_off_goes_with_it(zone, without, readings):
    """It left the file while it held: nothing would ever look whether that is over."""
    rig = Rig(zone, room=17.0, out=17.0, flow=20)
    for one in readings:
        rig.run(600).set(**one)
    assert not rig.on()
    rig.zone = dataclasses.replace(zone, **without)
    rig.restart().settle()
    assert rig.on() and rig.raised() == []


def test_an_optimum_start_that_left_the_file_heats_for_nobody():
    rig = Rig(START, datetime(2026, 1, 15, 7, tzinfo=PARIS), room=17.0).run(60)
    assert rig.on() and "optimum_start" in rig.causes["burner"]
    rig.zone = dataclasses.replace(START, optimum_start=None)
    rig.restart().run(1000)
    assert not rig.on() and "reduced" in rig.causes["burner"]
