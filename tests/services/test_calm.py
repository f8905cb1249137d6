"""What is left out because nothing has changed changes nothing: with it and without it a control does the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from agent.control.api import Input, Sparing, View
from agent.control.calendar import Calendar
from agent.control.calm import Calm, said
from agent.control.conditions import AllOf, AnyOf, Compare, Condition, During, Is, Lasting, Moves, Operand, Still
from agent.control.week import Span, Week
from agent.lib.counter import Dial
from agent.model import Quality, Value
from agent.services.alarms.control import PointAlarm
from agent.services.rules.control import Rule
from agent.services.water.control import Flush, Quota, WaterPoint
from agent.services.water.cuts import DistrictMeter, Storage
from agent.services.water.districts import District, NightAlarm
from agent.services.water.frost import Frost
from agent.services.water.hours import OpeningHours
from agent.services.water.leaks import Leak, NightFlow
from agent.services.water.level_lost import FILL, LevelLost
from agent.services.water.lift import LiftStation
from agent.services.water.overflow import Overflow, OverflowFlow
from agent.services.water.pump import DryRun, PumpSpec
from agent.services.water.rotation import Rotation
from agent.services.water.tanks import Group, Outlet, Tank
from agent.services.water.tariff import CHEAP, FillLevels, Tariff
from agent.services.water.valve import Valve
from agent.services.water.well import ByTime, Well
from tests.services.water.bench import Bench

PARIS = Calendar("Europe/Paris")
START = "2026-10-24T12:00:00"
PUMPS = tuple(PumpSpec(name, DryRun("flow"), thermal=f"{name}-hot") for name in ("p1", "p2"))
GROUP = Tank(
    "reservoir", "level", PUMPS, outlet=Outlet("out"), group=Group(Rotation(("p1", "p2")), both_below=15.0),
    tariff=Tariff(
        Week(PARIS, "otherwise", ((Span(1350, 1830, CHEAP),),) * 7), FillLevels(60.0, 92.0), FillLevels(35.0, 50.0)
    ),
    level_lost=LevelLost(7200.0, Week(PARIS, "wait", ((Span(120, 270, FILL),),) * 7), 10800.0, 7200.0),
)  # fmt: skip
SINGLE = Tank("upper", "level", (PumpSpec("p1", DryRun("count", counts=True)),))
LIFT = LiftStation(
    "relevage-1", PARIS, (PumpSpec("p1", thermal="p1-hot"), PumpSpec("p2")),
    Well("level", 60.0, 20.0, 85.0, "float", timed=ByTime(300.0, 3600.0)), Rotation(("p1", "p2"), "starts"),
    max_run=3600.0, overflow=Overflow("spill", OverflowFlow("flow", 1.0)),
)  # fmt: skip

LEVEL = some.floats(0.0, 100.0).map(lambda level: round(level, 1))
QUALITY = some.sampled_from([Quality.GOOD] * 8 + [Quality.STALE, Quality.BAD])
INPUT = some.one_of(
    some.tuples(some.just("level"), LEVEL),
    some.tuples(some.sampled_from(["flow", "out", "count"]), some.sampled_from([0, 0.2, 7, 12])),
    some.tuples(some.sampled_from(["p1-hot", "p2-hot", "float", "spill"]), some.booleans()),
)
RISE = some.tuples(some.just("rise"), some.floats(-6.0, 6.0))
"""A quarter of an hour in which the level moves by so much each minute."""
HAND = some.tuples(some.sampled_from(["p1", "p2"]), some.sampled_from([True, False, None]))
OTHER = some.sampled_from([("restart", None), ("reboot", None), ("clock", True), ("clock", False), ("reset", None)])
BROKEN = some.tuples(some.just("broken"), some.sampled_from([(), ("p1",), ("p1", "p2")]))
WAIT = some.sampled_from([1.0, 30.0, 60.0, 60.0, 600.0, 3600.0, 9 * 3600.0])
LIFE = some.lists(
    some.tuples(WAIT, some.one_of(INPUT, INPUT, RISE, RISE, HAND, OTHER, BROKEN), QUALITY), min_size=5, max_size=30
)


class Plain(Bench):
    """One step at a time, as the engine makes them. What is kept is the same where the control says so."""

    last: Any = None

    def settle(self) -> None:
        for _ in range(20):
            step = self.control.step(self.state, View(self.points, self.outputs), self.now)
            self.state, self.due, self.wishes = step.state, step.due, list(step.wishes)
            if isinstance(self.control, Sparing):
                kept, dump = self.control.kept(self.state), self.control.dump(self.state)
                assert self.last is None or kept != self.last[0] or dump == self.last[1]
                self.last = kept, dump
            for one in step.happenings:
                self.events.append((round(self.t, 3), one.kind, one.code))
                self.details.append(one.detail)
            if not self._apply():
                return
        raise AssertionError("it never settles")


def befell(one: Any, what: str, value: Any) -> bool:
    """Whether this is no reading, but something that befalls the box or an output; then it has."""
    if what == "restart":
        one.restart()
    elif what == "reboot":
        one.reboot(300.0)
    elif what == "clock":
        one.trusted = value
        one.settle()
    elif what == "broken":
        one.broken = set(value)
    elif what in ("p1", "p2"):
        one.override(what, value)
    else:
        return False
    return True


def lived(control: Any, life: Any) -> Any:
    """All that a control does in this life."""
    one = Plain(control, START, {"p1": False, "p2": False})
    level, told = 50.0, []
    one.set("level", level)
    for wait, (what, value), quality in life:
        one.until(one.t + wait)
        if what == "rise":
            for _ in range(15):
                level = min(max(level + value, 0.0), 100.0)
                one.until(one.t + 60.0)
                one.set("level", round(level, 1))
        elif befell(one, what, value):
            pass
        elif what == "reset":
            one.command(f"{control.name}.latch", "reset")
        else:
            level = value if what == "level" and quality is Quality.GOOD else level
            one.set(what, value, quality)
        told.append((one.t, one.due, one.wishes, control.dump(one.state)))
    return told, one.edges, one.events, one.details


@pytest.mark.parametrize("control", [GROUP, SINGLE, LIFT])
@settings(max_examples=40, deadline=None)
@given(life=LIFE)
def test_a_calm_control_does_what_it_would_do_without(control: Any, life: Any) -> None:
    calm = lived(control, life)
    with patch.object(Calm, "holds", return_value=False):
        assert calm == lived(control, life)


@pytest.mark.parametrize("control", [GROUP, SINGLE, LIFT])
def test_a_level_that_decides_nothing_costs_no_decision(control: Any) -> None:
    one = Bench(control, START, {"p1": False, "p2": False})
    for name in ("p1-hot", "p2-hot", "float", "spill"):
        one.set(name, False)
    one.set("level", 50.0)
    asked: list[bool] = []
    holds = Calm.holds

    def noted(*known: Any) -> bool:
        asked.append(holds(*known))
        return asked[-1]

    with patch.object(Calm, "holds", noted):
        for level in (50.1, 50.2, 50.3):
            one.set("level", level)
    assert len(asked) >= 3
    assert all(asked)


def test_calm_is_no_part_of_what_a_state_says() -> None:
    one, other = Calm((1,), 10.0, "a"), Calm((2,), 20.0, "b")
    assert one == other
    assert hash(one) == hash(other)
    assert one.holds((1,), 9.0)
    assert not one.holds((1,), 10.0)
    assert not one.holds((2,), 9.0)
    assert said(View({}, {}), "level") == ()


# -- readings that say nothing new -----------------------------------------------------------------------------

AIR, DOOR, ZONE = Operand("air"), Operand("door"), Operand("zone")
COLD: Condition = Lasting(Compare(AIR, 1.0, below=True, hysteresis=1.0), 600.0)
CONDITIONS: list[Condition] = [
    COLD, Compare(AIR, 2.0), Is(DOOR, True), Lasting(Is(ZONE, "comfort"), 60.0), During(COLD, Is(ZONE, "comfort")),
    During(Compare(AIR, 0.0), Is(DOOR, False)), Lasting(During(Compare(AIR, 0.0), Is(DOOR, True)), 300.0),
    During(COLD, During(Is(DOOR, True), Is(ZONE, "frost"))), AllOf((COLD, Is(DOOR, True))),
    During(Lasting(Still(AIR, 0.5, 600.0), 1.0), Is(DOOR, True)), Lasting(Moves(AIR, 1.0, 600.0), 60.0),
    AnyOf((COLD, Is(DOOR, True))), During(Still(AIR, 0.5, 600.0), AnyOf((Is(DOOR, True), Is(ZONE, "frost")))),
    During(COLD, AnyOf((Is(DOOR, True), Is(ZONE, "frost")))), During(Compare(AIR, 1.0), During(COLD, Is(DOOR, True))),
    Lasting(AnyOf((Compare(AIR, 2.0), During(Compare(AIR, 0.0), Is(DOOR, False)))), 60.0),
]  # fmt: skip
READING = some.one_of(
    some.tuples(some.just("air"), some.sampled_from([-1.0, 0.5, 0.9, 1.5, 2.5, 2.6])),
    some.tuples(some.just("air"), some.sampled_from([-1.0, 0.5, 0.9, 1.5, 2.5, 2.6])),
    some.tuples(some.just("door"), some.booleans()),
    some.tuples(some.just("zone"), some.sampled_from(["comfort", "Comfort", "frost"])),
)
READINGS = some.lists(some.tuples(some.sampled_from([1.0, 60.0, 599.0, 700.0]), READING, QUALITY), max_size=40)


GOOD_AGAIN = [
    (1.0, ("air", -1.0), Quality.GOOD), (599.0, ("air", -1.0), Quality.GOOD), (1.0, ("air", -1.0), Quality.STALE),
    (1.0, ("door", True), Quality.GOOD), (1.0, ("air", -1.0), Quality.GOOD),
]  # fmt: skip
"""What was unknown is known again, as it was before: that is news."""


class Asked(Bench):
    """Where a control says that a reading is none to it, a step must change nothing."""

    spared = 0

    def set(self, point: str, value: Value, quality: Quality = Quality.GOOD) -> None:
        before = self.points.get(point)
        at = self.now.monotonic if quality is Quality.GOOD or before is None else before.at
        self.points[point] = self.points[point]._replace(at=at) if before else self._first(point, value, quality)
        self.points[point] = self.points[point]._replace(value=value, quality=quality)
        view, now, control = View(self.points, self.outputs), self.now, self.control
        if self.steps and now.monotonic < self.due and control.alike(self.state, view):  # type: ignore[attr-defined]
            self.spared += 1
            step = control.step(self.state, view, now)
            assert step.state == self.state
            assert not step.happenings
            assert list(step.wishes) == list(self.wishes)
            assert step.due == self.due
            return
        self.settle()

    def _first(self, point: str, value: Value, quality: Quality) -> Any:
        super().set(point, value, quality)
        return self.points[point]


@pytest.mark.parametrize("condition", CONDITIONS)
@settings(max_examples=60, deadline=None)
@given(readings=READINGS, points=some.sampled_from([("air", "door", "zone"), ("air",), ()]), raised=some.booleans())
@example(readings=GOOD_AGAIN, points=(), raised=False)
def test_an_alarm_is_indifferent_only_to_what_changes_nothing(
    condition: Condition, readings: Any, points: tuple[str, ...], raised: bool
) -> None:
    """`raised`: it was, under another condition, before the agent began."""
    alarm = PointAlarm("cold", condition, value=AIR, points=points)
    room = Asked(alarm, START, {})
    kept = alarm.dump(alarm.initial()) | {"of": "another", "raised": ["point_alarm"] if raised else []}
    room.state = alarm.load(kept)
    for wait, (point, value), quality in readings:
        room.until(room.t + wait)
        room.set(point, value, quality)


@pytest.mark.parametrize("condition", CONDITIONS)
@settings(max_examples=60, deadline=None)
@given(readings=READINGS, on_stale=some.sampled_from(["keep", "release", "lock"]), locks=some.booleans(),
       points=some.sampled_from([("air", "door", "zone"), ()]))
def test_a_rule_is_indifferent_only_to_what_changes_nothing(
    condition: Condition, readings: Any, on_stale: str, locks: bool, points: tuple[str, ...]
) -> None:
    rule = Rule("trace", condition, "p1", not locks, locks, on_stale, 1800.0, points=points)
    house = Asked(rule, START, {"p1": False})
    for wait, (point, value), quality in readings:
        house.until(house.t + wait)
        house.set(point, value, quality)


def test_a_room_that_stays_warm_is_no_news() -> None:
    room = Asked(PointAlarm("cold", COLD, value=AIR, points=("air",)), START, {})
    for value in (5.0, 5.1, 4.9, 6.0):  # the first is read twice
        room.set("air", value)
    assert room.spared == 4


def test_a_level_says_nothing_while_no_pump_runs() -> None:
    gate = AnyOf((Is(Operand("p1", output=True), True), Is(Operand("p2", output=True), True)))
    alarm = PointAlarm("no-fill", During(Still(AIR, 0.5, 600.0), gate), points=("air",))
    tank = Asked(alarm, START, {"p1": False, "p2": False})
    for value in (5.0, 5.1, 4.9, 6.0):
        tank.set("air", value)
    assert tank.spared == 4


# -- water points: what is seen --------------------------------------------------------------------------------

NIGHT = NightFlow(PARIS, 120, 300, 20.0)
POINTS = [
    WaterPoint(
        "tap", "count", PARIS, pulse=10.0, valve=Valve("p1"), drain=Valve("p2", normally_open=True, travel=20.0),
        hours=OpeningHours(Week(PARIS, "closed", ((Span(360, 1200, "open"),),) * 7)), frost=Frost("air", PARIS),
        leak=Leak(NIGHT, 7200.0, (400.0, 600.0), 20.0, pulse=10.0), quota=Quota(200.0, close=True),
        flush=Flush(7200.0, 180.0), tamper="spill",
    ),
    WaterPoint("bare", "count", PARIS, frost=Frost("air", PARIS, hold=1800.0)),
    WaterPoint("seldom", "count", PARIS, pulse=10.0, frost=Frost("air", PARIS), leak=Leak(
        NIGHT, 7200.0, pulse=10.0, interval=900.0
    )),
    WaterPoint("polled", "count", PARIS, dial=Dial(1000.0, 10.0), frost=Frost("air", PARIS)),
]  # fmt: skip
AIR_READ = some.tuples(some.just("air"), some.sampled_from([-3.0, 1.9, 2.1, 3.9, 4.1, 9.0]))
DRAWN = some.tuples(some.just("drawn"), some.sampled_from([0, 0, 10, 20, 3000]))
TAMPERED = some.tuples(some.just("spill"), some.booleans())
POINT_LIFE = some.lists(
    some.tuples(
        some.sampled_from([1.0, 60.0, 60.0, 600.0, 9 * 3600.0]),
        some.one_of(*[AIR_READ] * 6, *[DRAWN] * 3, TAMPERED, HAND, OTHER, BROKEN),
        QUALITY,
    ), min_size=10, max_size=40,
)  # fmt: skip


class Seeing(Plain):
    """Where a control says that a reading is none to it, a step must change nothing."""

    spared = 0

    def set(self, point: str, value: Value, quality: Quality = Quality.GOOD) -> None:
        before = self.points.get(point)
        at = before.at if before is not None and quality is not Quality.GOOD else self.now.monotonic
        self.points[point] = Input(value, quality, at)
        view, now = View(self.points, self.outputs), self.now
        if now.monotonic < self.due and self.control.alike(self.state, view):  # type: ignore[attr-defined]
            self.spared += 1
            step = self.control.step(self.state, view, now)
            assert step.state == self.state
            assert not step.happenings
            assert list(step.wishes) == list(self.wishes)
            assert step.due == pytest.approx(self.due, abs=1e-3)
            return
        self.settle()


@pytest.mark.parametrize("control", POINTS, ids=lambda one: one.name)
@settings(max_examples=100, deadline=None)
@given(life=POINT_LIFE)
def test_what_a_water_point_sees_is_all_that_it_goes_by(control: WaterPoint, life: Any) -> None:
    one, index = Seeing(control, START, {"p1": False, "p2": False}), 0
    for wait, (what, value), quality in life:
        one.until(one.t + wait)
        if befell(one, what, value):
            pass
        elif what == "reset":
            if control.commands:
                one.command(f"{control.name}.latch", "reset")
        elif what == "drawn":
            index = (index + value) % 1000 if control.dial is not None else index + value
            one.set("count", index, quality)
        else:
            one.set(what, value, quality)


DISTRICT = District(
    "north", PARIS, (DistrictMeter("count"),), (DistrictMeter("out", 100.0),), Storage("level", 60000.0),
    alarm=NightAlarm(500.0, 14),
)  # fmt: skip
GAUGE = some.one_of(some.tuples(some.just("level"), LEVEL), some.tuples(some.sampled_from(["count", "out"]), DRAWN))


def fed(one: Any, life: Any) -> Iterator[None]:
    """Read the level and the meters of a district as this life has it, a step of it at a time."""
    index = {"count": 0, "out": 0}
    for wait, (what, value), quality in life:
        one.until(one.t + wait)
        if befell(one, what, value):
            pass
        elif what == "level":
            one.set("level", value, quality)
        elif what in index:
            index[what] += value[1]
            one.set(what, index[what], quality)
        yield


@settings(max_examples=40, deadline=None)
@given(life=some.lists(some.tuples(WAIT, some.one_of(GAUGE, OTHER), QUALITY), min_size=10, max_size=40))
def test_a_district_keeps_the_same_where_it_says_so(life: Any) -> None:
    for _ in fed(Plain(DISTRICT, START, {}), life):
        pass


class Skipping(Bench):
    """Makes no step where the control says that it need not, as the engine does."""

    spares, spared = True, 0

    def until(self, at: float, every: float | None = None) -> None:
        if not self.spares:
            super().until(at, every)
        while self.spares and (due := max(self.due - self.boot, self.t + 1e-6)) < at:
            self.t = due
            self.settle()
        self.t = at

    def set(self, point: str, value: Value, quality: Quality = Quality.GOOD) -> None:
        before = self.points.get(point)
        at = self.now.monotonic if quality is Quality.GOOD or before is None else before.at
        self.points[point] = Input(value, quality, at)
        skips = self.spares and self.now.monotonic < self.due
        if skips and self.control.alike(self.state, View(self.points, self.outputs)):  # type: ignore[attr-defined]
            self.spared += 1
            return
        self.settle()


def drained(life: Any, spares: bool) -> tuple[Any, int]:
    """All that a district tells in this life, and how many steps were spared."""
    one = Skipping(DISTRICT, START, {})
    one.spares = spares
    for name, value in (("level", 50.0), ("count", 0), ("out", 0)):
        one.set(name, value)
    found = []
    for _ in fed(one, life):
        found.append((DISTRICT.figures(one.state), DISTRICT.facts(one.state), sorted(one.state.raised)))
    return (found, one.events, one.details), one.spared


KILLS = some.sampled_from([("restart", None), ("clock", True), ("clock", False)])


@settings(max_examples=80, deadline=None)
@given(life=some.lists(some.tuples(WAIT, some.one_of(GAUGE, GAUGE, KILLS), QUALITY), min_size=10, max_size=80))
def test_a_district_tells_the_same_without_the_readings_between_its_cuts(life: Any) -> None:
    assert drained(life, True)[0] == drained(life, False)[0]


def test_a_pulse_by_day_is_no_news_to_a_district_and_one_around_midnight_is() -> None:
    pulses: Any = [(60.0, ("count", ("drawn", 10)), Quality.GOOD)]
    told, spared = drained(pulses * 400, True)  # from noon to twenty to seven in the evening
    assert spared > 350
    assert told == drained(pulses * 400, False)[0]
    night, more = drained(pulses * 735, True)  # up to a quarter past midnight
    assert more < 735 - 8
    assert night == drained(pulses * 735, False)[0]


@pytest.mark.parametrize(("begins", "ends"), [(109, 164), (20 * 60 + 59, 26 * 60 + 54), (17 * 60 + 9, 17 * 60 + 21)])
def test_the_last_reading_before_an_outage_counts_though_it_was_not_looked_at(begins: int, ends: int) -> None:
    """Minutes after the first midnight in which the meter is not read: 55 of a night of 60, and 5 h 55 at midnight."""
    told = []
    for spares in (True, False):
        one = Skipping(replace(DISTRICT, night=(120, 180), outflows=(), storage=None), "2026-10-20T00:00:00", {})
        one.spares = spares
        for minute in range(1, 50 * 60):
            one.until(minute * 60.0)
            is_out = begins <= minute < ends
            one.set("count", None if is_out else minute, Quality.BAD if is_out else Quality.GOOD)
        told.append((one.control.figures(one.state), one.of("sensor_fault")))
    assert told[0] == told[1]
    assert told[0][0]["north.in"] == 1.44
    assert len(told[0][1]) == (2 if ends - begins > 70 else 0), "the night is lost, by far"


def test_a_meter_that_is_bad_at_each_look_is_read_in_between() -> None:
    told = []
    for spares in (True, False):
        one = Skipping(replace(DISTRICT, outflows=(), storage=None), "2026-10-20T00:00:00", {})
        one.spares = spares
        for minute in range(1, 30 * 60):
            one.until(minute * 60.0)
            is_out = minute > 17 * 60 and minute % 10 not in (1, 2)
            one.set("count", None if is_out else minute, Quality.BAD if is_out else Quality.GOOD)
        told.append((one.control.figures(one.state), one.of("sensor_fault")))
    assert told[0][1] == told[1][1] == []
    assert told[0][0] == pytest.approx(told[1][0], abs=0.01)


def test_air_that_stays_warm_is_no_news_to_a_water_point() -> None:
    tap = Seeing(POINTS[0], START, {"p1": False, "p2": False})
    tap.set("count", 0)
    for air in (9.0, 9.1, 8.5, 3.0, 2.9):  # 9.1 is the first that changes nothing, 3.0 is on another side
        tap.set("air", air)
    assert tap.spared == 2
