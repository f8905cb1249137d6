"""Zones whose plant modulates or is a cascade, in virtual time: an arbiter without limits carries out their wishes."""

import dataclasses
import json
import math
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agent.control.api import NEVER, Input, Now, Output, View
from agent.control.calendar import Calendar
from agent.control.week import Span, Week
from agent.model import Quality
from agent.services.heating.boiler import Burner, HeatCurve
from agent.services.heating.cascade import Cascade, Stages, guard_stages, order, see_stages, stage
from agent.services.heating.control import Setpoints, Zone
from agent.services.heating.loops import Hysteresis
from agent.services.heating.modulating import Charging, Modulating
from agent.services.heating.plants import CascadeZone, ModulatingZone
from agent.services.heating.sg_ready import SgReady

PARIS, UTC = ZoneInfo("Europe/Paris"), ZoneInfo("UTC")
DAY = (Span(450, 1020, "comfort"),)
WEEK = Week(Calendar("Europe/Paris"), "reduced", (DAY,) * 7)
CURVE = HeatCurve("flow", ((-10, 50), (15, 30)), 60, 17)
HALL = ModulatingZone(
    "hall", "room", "", WEEK, Setpoints(19, 16, 8), outdoor="out", curve=CURVE, pump="pump",
    modulating=Modulating("hp", 20, 57, enable="enable", hot_water=Charging("charge", 55)),
)  # fmt: skip
ALWAYS = Week(Calendar("Europe/Paris"), "comfort", ((),) * 7)
SCHOOL = CascadeZone(
    "school", "room", "", ALWAYS, Setpoints(19, 16, 8), Hysteresis(), outdoor="out",
    curve=HeatCurve("flow", ((-10, 65), (15, 30)), 75, 17), pump="pump", cascade=Cascade(("b1", "b2", "b3")),
)  # fmt: skip
THURSDAY = datetime(2026, 1, 15, 8, tzinfo=PARIS)
OFF = Output(False, 16, "", 0.0, None)


class Rig:
    """A zone, its inputs, and the outputs that its wishes make. `t` is seconds from `start`."""

    def __init__(self, zone, start=THURSDAY, trusted=True, **inputs):
        self.zone, self.start, self.trusted, self.base = zone, start, trusted, 1000.0
        self.t = self.base
        self.state, self.points, self.moves, self.alarms = zone.initial(), {}, [], []
        self.outputs = {"charge": OFF}
        self.due = self.t
        self.set(**({"room": 19.0, "out": 0.0, "flow": 42.0} | inputs))

    def value(self, name):
        return self.outputs[name].value if name in self.outputs else False

    def now(self):
        civil = (self.start.astimezone(UTC) + timedelta(seconds=self.t - self.base)).astimezone(PARIS)
        return Now(self.t, civil, self.trusted)

    def set(self, quality=Quality.GOOD, **values):
        for name, value in values.items():
            heard = self.t if quality is Quality.GOOD else self.points[name].at
            self.points[name] = Input(value, quality, heard)
        return self.settle()

    def charge(self, on):
        self.outputs["charge"] = Output(on, 15, "", self.t, None)
        return self.settle()

    def settle(self):
        for _ in range(20):
            view = View(self.points, self.outputs)
            step = self.zone.step(self.state, view, self.now())
            again = self.zone.step(step.state, view, self.now())
            still = step.state.still  # a room that moves as its fire begins is looked at once more
            assert (again.state._replace(still=still), again.wishes) == (step.state, step.wishes)
            assert not again.happenings
            self.state, self.due = step.state, step.due
            assert self.due > self.t
            self.alarms += [(round(self.t - self.base), one.kind, one.code, one.subject) for one in step.happenings]
            if not self._apply(step.wishes):
                return self
        raise AssertionError("it does not come to rest")

    def _apply(self, wishes):
        slots = {}
        for wish in wishes:
            slots.setdefault(wish.actuator, {})[wish.priority] = (wish.value, wish.cause)
        moved = False
        for name, array in slots.items():
            value, cause = array[min(array)]
            if value != self.value(name) or name not in self.outputs:
                self.moves.append((round(self.t - self.base), name, value, cause))
                self.outputs[name] = Output(value, min(array), cause, self.t, None)
                moved = True
        return moved

    def run(self, seconds, step=60.0, physics=None):
        end = self.t + seconds
        while self.t < end:
            self.t = min(self.due, end) if physics is None else min(self.t + step, end)
            if physics is not None:
                self.set(**physics(self))
            self.settle()
        return self

    def reload(self):
        """A kill: what was kept goes through JSON."""
        self.state = self.zone.load(json.loads(json.dumps(self.zone.dump(self.state))))
        return self

    def reboot(self, off=60.0):
        """A power cut of the box: another boot, whose clock begins at 0; relays drop."""
        self.reload()
        self.start = self.now().civil + timedelta(seconds=off)
        self.t = self.base = 10.0
        self.outputs = {"charge": OFF}
        self.points = {name: one._replace(at=self.t) for name, one in self.points.items()}
        return self.settle()

    def of(self, name):
        return [(at, value) for at, moved, value, _ in self.moves if moved == name]


# -- the target of a flow ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "target"),
    [
        ({}, 42.0),
        ({"out": -10.0}, 50.0),
        ({"out": -30.0}, 50.0),
        ({"room": 18.0}, 46.0),
        ({"room": 10.0}, 52.0),  # 10 K at most
        ({"room": 10.0, "out": -10.0}, 57.0),  # the highest
        ({"room": 19.75}, 39.0),
        ({"room": 20.0}, 20.0),  # warm
        ({"out": 17.5}, 20.0),  # summer
    ],
)
def test_the_curve_and_the_room_make_the_target(inputs, target):
    assert Rig(HALL, **inputs).value("hp") == target


def test_a_setback_is_a_warmer_day_less_the_difference():
    night = Rig(HALL, start=datetime(2026, 1, 15, 3, tzinfo=PARIS), room=16.0)
    assert night.value("hp") == round((CURVE.target(3.0) - 3.0) * 2) / 2


def test_a_warm_room_gets_heat_again_half_a_kelvin_above():
    rig = Rig(HALL)
    assert [rig.set(room=room).value("hp") > 20 for room in (19.9, 20.0, 19.6, 19.5, 19.9, 20.0)] == [
        True, False, False, True, True, False,
    ]  # fmt: skip


def test_the_target_waits_for_its_deadband_and_its_interval():
    rig = Rig(HALL)
    rig.t += 60
    assert rig.set(out=-1.0).value("hp") == 42.0, "0.8 K are too little"
    rig.t += 60
    rig.set(out=-5.0)
    assert rig.value("hp") == 42.0
    rig.run(600)
    assert rig.of("hp") == [(0, 42.0), (600, 46.0)]
    rig.run(9 * 3600)
    assert (9 * 3600, 20) in rig.of("hp"), "another mode does not wait"


def test_a_lost_room_leaves_its_last_shift_and_then_the_curve():
    rig = Rig(HALL, room=18.0)
    rig.t += 60
    rig.set(Quality.STALE, room=18.0)
    rig.run(2000)
    assert rig.value("hp") == 46.0
    rig.run(1000)
    assert rig.value("hp") == 42.0
    assert [one[1:3] for one in rig.alarms] == [("alarm", "room_sensor_lost")]


def test_a_lost_room_is_not_heated_to_frost_alone():
    frost = dataclasses.replace(HALL, week=Week(Calendar("Europe/Paris"), "frost", ((),) * 7))
    rig = Rig(frost, room=8.0)
    rig.set(Quality.BAD, room=None)
    rig.run(3000)
    assert rig.value("hp") == round((CURVE.target(3.0) - 3.0) * 2) / 2


@pytest.mark.parametrize(("month", "target"), [(1, 50.0), (6, 38.0)])
def test_lost_outdoors_is_the_coldest_day_of_winter(month, target):
    rig = Rig(HALL, start=datetime(2026, month, 15, 8, tzinfo=PARIS), out=10.0)
    rig.t += 600
    rig.set(out=10.0)
    before = rig.value("hp")
    rig.t += 10
    assert rig.set(Quality.BAD, out=None).value("hp") == before != target, "one reading that fails moves nothing"
    rig.run(880)
    assert rig.value("hp") == before
    rig.run(20)
    assert rig.value("hp") == target


def test_a_lost_flow_stops_nothing():
    rig = Rig(HALL)
    rig.t += 60
    assert rig.set(Quality.BAD, flow=None).value("hp") == 42.0
    assert [one[1:3] for one in rig.alarms] == [("alarm", "flow_sensor_lost")]


def test_max_flow_lowers_the_target_and_takes_the_release():
    rig = Rig(HALL)
    assert rig.value("enable") is True
    rig.set(flow=60.0)
    assert (rig.value("hp"), rig.outputs["hp"].priority, rig.value("enable")) == (20, 2, False)
    rig.set(flow=57.5)
    assert rig.value("hp") == 20
    rig.set(flow=57.0)
    assert (rig.value("hp"), rig.value("enable")) == (42.0, True)


def test_hot_water_has_priority_but_before_a_room_near_to_frost():
    rig = Rig(HALL)
    rig.charge(True)
    assert (rig.value("hp"), rig.value("pump"), rig.value("enable")) == (55, False, True)
    rig.set(room=4.0)
    assert rig.value("pump") is True
    rig.set(room=19.0)
    rig.charge(False)
    assert rig.value("hp") == 42.0
    rig.set(out=18.0)
    rig.run(12 * 3600)
    assert (rig.value("hp"), rig.value("enable")) == (20, False)
    rig.charge(True)
    assert (rig.value("hp"), rig.value("enable")) == (55, True), "hot water goes on in summer"


def test_a_store_that_never_gets_warm_leaves_the_rooms_their_turn():
    rig = Rig(dataclasses.replace(HALL, week=ALWAYS), out=5.0)
    rig.charge(True)
    rig.run(6 * 3600 + 60)
    assert [(at, value) for at, value in rig.of("pump") if at] == [(7200, True), (14400, False), (21600, True)]
    assert [value for _, value in rig.of("hp")] == [38.0, 55, 38.0, 55, 38.0]
    assert rig.value("enable") is True


def test_a_cold_flow_is_an_alarm_and_no_lockout():
    rig = Rig(HALL, flow=30.0)
    rig.run(3599)
    assert rig.alarms == []
    rig.reload().run(2)
    assert rig.alarms == [(3600, "alarm", "flow_missed", "hall")]
    assert rig.value("hp") == 42.0
    rig.set(flow=37.5)
    assert rig.alarms[-1][1:3] == ("cleared", "flow_missed")


def test_a_cold_flow_beside_hot_water_or_a_warm_room_is_none():
    rig = Rig(HALL, flow=30.0)
    for _ in range(4):
        rig.run(3000)
        rig.charge(True).charge(False)
    rig.set(room=21.0)
    rig.run(9000)
    assert rig.alarms == []


def heated(rig, gain, tau=40 * 3600.0):
    """A room by its flow, which follows the target."""
    room, flow = rig.points["room"].value, rig.value("hp") if rig.value("hp") > 20 else 20.0
    out = rig.points["out"].value
    room += (out + gain * flow - (1 + gain) * room) / tau * 60
    return {"room": round(room, 4), "flow": flow}


@pytest.mark.parametrize("gain", [0.6, 0.8, 1.0])
def test_a_wrong_curve_is_corrected_and_that_outlasts_a_power_cut(gain):
    rig = Rig(dataclasses.replace(HALL, week=ALWAYS))
    rig.run(5 * 86400, physics=lambda rig: heated(rig, gain))
    assert rig.points["room"].value == pytest.approx(19.0, abs=0.2)
    learned = rig.state.flow.learned
    assert abs(learned) > 0.5
    rig.reboot()
    assert rig.state.flow.learned == pytest.approx(learned, abs=0.05)
    changes = len(rig.of("hp"))
    assert changes < 5 * 40, "few writes"


def test_a_sensor_that_stands_still_under_full_heat_is_stuck_and_a_regulated_room_is_not():
    calm = Rig(dataclasses.replace(HALL, week=ALWAYS), room=18.5)
    calm.run(4 * 86400)
    assert not [one for one in calm.alarms if one[2] == "sensor_stuck"]
    dead = Rig(dataclasses.replace(HALL, week=ALWAYS), room=17.0)
    dead.run(13 * 3600)
    assert (43200, "alarm", "sensor_stuck", "hall") in dead.alarms
    assert dead.value("hp") == 42.0, "the curve alone"
    dead.set(room=17.5)
    assert dead.alarms[-1][1:3] == ("cleared", "sensor_stuck")


def test_the_pump_follows_the_heat_and_runs_over():
    rig = Rig(HALL, out=8.0)
    assert rig.value("pump") is True
    rig.t += 60
    rig.set(room=20.5)
    rig.run(599)
    assert rig.value("pump") is True
    rig.run(2)
    assert rig.value("pump") is False
    assert rig.set(out=2.0).outputs["pump"].priority == 2


@given(st.lists(st.tuples(st.floats(-25, 25), st.floats(5, 25), st.integers(1, 4000), st.integers(0, 5)), max_size=40))
@settings(max_examples=60, deadline=None)
def test_targets_are_bounded_rounded_and_rare(life):
    rig = Rig(HALL)
    for out, room, seconds, event in life:
        rig.t += seconds
        rig.set(out=round(out, 1), room=round(room, 1))
        if event == 0:
            rig.reload().settle()
        elif event == 1:
            rig.charge(not rig.value("charge"))
    moves = [(at, value, cause) for at, name, value, cause in rig.moves if name == "hp"]
    assert all(20 <= value <= 57 and value * 2 % 1 == 0 for _, value, _ in moves)
    for (one, before, why), (two, after, because) in pairwise(moves):
        assert abs(after - before) >= 1.0
        assert two - one >= 600 or why != because


@given(st.lists(st.tuples(st.floats(-20, 25), st.floats(5, 25), st.integers(1, 4000)), max_size=20), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_kill_changes_nothing(life, cascade):
    one = Rig(SCHOOL if cascade else HALL)
    two = Rig(SCHOOL if cascade else HALL)
    for out, room, seconds in life:
        for rig in (one, two):
            rig.t += seconds
            if rig is two:
                rig.reload()
            rig.set(out=round(out, 1), room=round(room, 1))
    assert one.moves == two.moves
    assert one.alarms == two.alarms


# -- SG Ready ------------------------------------------------------------------------------------------------------

SG = dataclasses.replace(
    HALL, modulating=None, curve=None, sg=SgReady(("r1", "r2"), lock=((600, 720), (720, 780)), recommend=((840, 900),))
)


def contacts(rig):
    return rig.value("r1"), rig.value("r2")


def test_hours_and_the_law_of_a_lock():
    rig = Rig(SG)
    assert contacts(rig) == (False, False)
    rig.run(2 * 3600 + 1)
    assert contacts(rig) == (True, False)
    rig.run(2 * 3600)
    assert contacts(rig) == (False, False), "2 h, and the hour that follows is the same lock"
    rig.run(2 * 3600)
    assert contacts(rig) == (False, True)
    rig.run(3600)
    assert contacts(rig) == (False, False)


def test_a_room_near_to_frost_ends_a_lock_at_once():
    rig = Rig(SG)
    rig.run(2 * 3600 + 60)
    rig.set(room=4.9)
    rig.settle()
    assert contacts(rig) == (True, True)
    rig.set(room=6.1)
    rig.settle()
    assert contacts(rig) == (True, True), "10 min at least"
    rig.run(601)
    assert contacts(rig) == (True, False)


def test_the_fourth_lock_of_a_day_is_none():
    lock = ((600, 615), (660, 675), (720, 735), (780, 795))
    rig = Rig(dataclasses.replace(SG, sg=SgReady(("r1", "r2"), lock=lock)))
    rig.run(48 * 3600)
    hours = [7200, 10800, 14400]
    assert [at for at, value in rig.of("r1") if value] == [*hours, *(at + 86400 for at in hours)]


def test_without_the_time_there_is_no_lock():
    rig = Rig(SG, trusted=False)
    rig.run(6 * 3600)
    assert not rig.value("r1")
    assert not rig.value("r2")


def test_a_heat_pump_that_is_switched_has_contacts_too():
    zone = Zone("hall", "room", "hp", ALWAYS, Setpoints(19, 16, 8), Hysteresis(), sg=SG.sg)
    rig = Rig(zone, room=18.0)
    rig.run(2 * 3600 + 1)
    assert (rig.value("hp"), *contacts(rig)) == (True, True, False)


def test_alone_it_needs_no_curve_and_the_pump_follows_the_room():
    rig = Rig(SG, out=8.0)
    assert rig.value("pump") is True
    rig.set(room=20.5)
    rig.run(700)
    assert rig.value("pump") is False
    assert "hp" not in rig.outputs


@given(
    st.lists(st.tuples(st.integers(0, 1439), st.integers(1, 120)), max_size=5),
    st.lists(st.tuples(st.integers(60, 20000), st.integers(0, 4)), max_size=25),
)
@settings(max_examples=60, deadline=None)
def test_a_lock_is_short_and_rare_whatever_happens(hours, life):
    lock = tuple((start, (start + length) % 1440) for start, length in hours)
    rig = Rig(dataclasses.replace(SG, sg=SgReady(("r1", "r2"), lock=lock, recommend=((0, 1439),))))
    locked, clock, states = [], 0.0, []
    for seconds, event in life:
        before = rig.t
        rig.run(seconds)
        clock += rig.t - before
        if event == 0:
            rig.reload().settle()
        states = [(at, name, value) for at, name, value, _ in rig.moves if name == "r1"]
    for at, _, value in states:
        if value:
            locked.append([at, NEVER])
        elif locked:
            locked[-1][1] = at
    assert all(end - begin <= 7200 for begin, end in locked if end != NEVER)
    assert all(sum(at - 22 * 3600 < other <= at for other, _ in locked) <= 3 for at, _ in locked)


# -- cascades ------------------------------------------------------------------------------------------------------


def burning(rig):
    return [name for name in ("b1", "b2", "b3") if rig.value(name)]


def test_the_lag_joins_after_ten_minutes_and_leaves_first():
    rig = Rig(SCHOOL, room=18.0, flow=40.0)
    assert burning(rig) == ["b1"]
    rig.run(599)
    assert burning(rig) == ["b1"]
    rig.run(2)
    assert burning(rig) == ["b1", "b2"]
    rig.set(flow=45.0)
    rig.run(600)
    assert burning(rig) == ["b1", "b2", "b3"]
    rig.set(flow=54.0)
    assert burning(rig) == ["b1", "b2"]
    rig.run(59)
    assert burning(rig) == ["b1", "b2"]
    rig.run(2)
    assert burning(rig) == ["b1"]
    rig.set(flow=53.0)
    rig.run(300)
    assert burning(rig) == ["b1"], "no warmer than target + 3 K: the lead stays"
    rig.set(flow=54.0)
    assert burning(rig) == []
    assert burning(rig.set(flow=48.5)) == []
    assert burning(rig.set(flow=48.0)) == ["b1"]
    assert burning(rig.set(room=19.5)) == []


def test_a_flow_that_is_near_its_target_calls_no_other():
    rig = Rig(SCHOOL, room=18.0, flow=40.0)
    rig.run(500)
    rig.set(flow=48.0)
    rig.set(flow=47.0)
    rig.run(599)
    assert burning(rig) == ["b1"]
    rig.run(2)
    assert burning(rig) == ["b1", "b2"]


class Plant:
    """Burners on slow water, without a zone: each live one holds the flow its `gains` K above 20 degC in the end."""

    def __init__(self, names, tau, lag_after=600.0, **gains):
        self.spec, self.tau, self.gains = Cascade(names, lag_after, None), tau, gains
        self.stages, self.burner, self.outputs = Stages().of(names), Burner(), dict.fromkeys(names, OFF)
        self.t, self.flow, self.warmest, self.led = 1000.0, 20.0, 20.0, set()

    def burn(self, hours=3.0, pause=6.0):
        """A call for heat, and a pause after it."""
        for _ in range(round(hours * 60)):
            self._step(called=True)
            self._heat(60.0)
        self._step(called=False)
        self._heat(pause * 3600.0)
        self._step(called=False)
        return self

    def _heat(self, seconds):
        warm = 20.0 + sum(gain for name, gain in self.gains.items() if self.outputs[name].value)
        self.flow = warm - (warm - self.flow) * math.exp(-seconds / self.tau)
        self.warmest, self.t = max(self.warmest, self.flow), self.t + seconds

    def _step(self, called):
        view, now = View({"flow": Input(self.flow, Quality.GOOD, self.t)}, self.outputs), Now(self.t, None, False)
        for _ in range(2):
            stages = see_stages(self.spec, self.stages, view.outputs, now)
            stages, self.burner = guard_stages(self.spec, stages, self.burner, SCHOOL.curve, 51.0, view, now)
            self.stages = stage(self.spec, stages, called, self.burner, self.t)
            ready = order(self.stages)
            for index, name in enumerate(self.spec.burners):
                on = index in ready[: self.stages.wanted]
                if on is not self.outputs[name].value:
                    self.outputs[name] = Output(on, 15, "", self.t, None)
        if called and ready:
            self.led.add(self.spec.burners[ready[0]])

    def power_cut(self):
        self.stages = Stages.load(json.loads(json.dumps(self.stages.dump()))).in_this_boot()
        self.t = 10.0
        self.outputs = dict.fromkeys(self.outputs, OFF)

    @property
    def locked(self):
        return {name for name, unit in zip(self.spec.burners, self.stages.units, strict=True) if unit.locked}


@pytest.mark.parametrize("lag_after", [300.0, 600.0, 3600.0])
def test_burners_that_heat_only_together_are_never_locked_out(lag_after):
    """A big loop: 1.6 K in 20 min by one of them, 3.3 by both, while it is cold."""
    plant = Plant(("b1", "b2"), 30000.0, lag_after, b1=42.0, b2=42.0)
    for count in range(60):
        plant.burn()
        if count % 7 == 3:
            plant.power_cut()
        assert plant.locked == set()
    assert plant.warmest > 40.0
    assert plant.led == {"b1", "b2"}


def test_a_burner_without_heat_is_passed_over_at_once():
    rig = Rig(dataclasses.replace(SCHOOL, cascade=Cascade(("b1", "b2"), lag_after=3600.0)), room=18.0, flow=40.0)
    rig.run(1199)
    assert burning(rig) == ["b1"]
    rig.run(1)
    assert burning(rig) == ["b2"]
    assert rig.alarms == [], "in doubt: the other one may do no better"
    rig.run(60)
    rig.set(flow=42.0)
    assert burning(rig.set(room=19.5)) == []
    assert burning(rig.set(room=18.0, flow=36.0)) == ["b1"], "its last try"
    rig.reload().settle()
    rig.run(1200)
    assert burning(rig) == ["b2"]
    assert rig.alarms == [(2460, "alarm", "burner_no_heat", "b1")]
    rig.run(1200)
    assert burning(rig) == []
    assert rig.alarms[1:] == [(3660, "alarm", "burner_no_heat", "b2")]
    rig.reboot()
    assert burning(rig) == []
    rig.state = rig.zone.command(rig.state, "school.latch", "reset", rig.now())
    rig.settle()
    assert burning(rig) == ["b2"]
    assert [one[1:] for one in rig.alarms[2:]] == [
        ("cleared", "burner_no_heat", "b1"), ("cleared", "burner_no_heat", "b2"),
    ]  # fmt: skip


@pytest.mark.parametrize(("lag_after", "after"), [(600.0, 1800), (3600.0, 3600)])
def test_a_plant_in_which_nothing_heats_is_locked_out(lag_after, after):
    rig = Rig(dataclasses.replace(SCHOOL, cascade=Cascade(("b1", "b2"), lag_after)), room=18.0, flow=40.0)
    rig.run(after - 1)
    assert burning(rig) == ["b1", "b2"]
    assert rig.alarms == []
    rig.run(1)
    assert burning(rig) == []
    assert rig.alarms == [(after, "alarm", "burner_no_heat", name) for name in ("b1", "b2")]


def test_doubt_adds_up_over_starts_and_power_cuts():
    rig = Rig(SCHOOL, room=18.0, flow=40.0)
    rig.run(660)  # a whole lag_after alone
    assert burning(rig) == ["b1", "b2"]
    rig.set(room=19.5)
    rig.run(60)
    rig.reboot()
    for _ in range(4):  # of 8 min each, which says nothing
        rig.set(room=18.0)
        rig.run(480)
        assert burning(rig) == ["b1"]
        rig.set(room=19.5)
        rig.run(60)
    rig.set(room=18.0)
    rig.run(599)
    assert burning(rig) == ["b1"]
    rig.run(1)
    assert burning(rig) == ["b2"]


def test_a_burner_in_doubt_that_heats_again_leads_as_before():
    rig = Rig(dataclasses.replace(SCHOOL, cascade=Cascade(("b1", "b2"))), room=18.0, flow=30.0)
    rig.run(600)
    assert burning(rig) == ["b1", "b2"]
    rig.set(room=19.5)
    rig.set(room=18.0)
    rig.run(600)
    assert burning(rig) == ["b2"], "b1 is in doubt"
    rig.set(flow=32.0)
    rig.set(room=19.5, flow=26.0)
    rig.set(room=18.0)
    assert burning(rig) == ["b1"], "its last try"
    rig.set(flow=28.0)
    assert rig.state.stages.units[0][3:] == (0.0, False, False, None)
    assert rig.alarms == []


def test_a_last_try_is_from_no_warmer_a_flow():
    rig = Rig(dataclasses.replace(SCHOOL, cascade=Cascade(("b1", "b2"), 3600.0)), room=18.0, flow=30.0)
    rig.run(1200)
    rig.set(flow=32.0)  # b2 gives heat from 30 degC
    rig.set(room=19.5, flow=33.0)
    rig.set(room=18.0)
    assert burning(rig) == ["b2"]
    rig.set(room=19.5, flow=31.0)
    rig.set(room=18.0)
    assert burning(rig) == ["b1"]


def test_state_of_before_is_read():
    rig = Rig(SCHOOL, room=18.0, flow=40.0)
    rig.run(300)
    kept = json.loads(json.dumps(rig.zone.dump(rig.state)))
    del kept["stages"]["cold"]
    for unit in kept["stages"]["units"]:
        del unit["outdone"]
    rig.state = rig.zone.load(kept)
    rig.settle().run(600)
    assert burning(rig) == ["b1", "b2"]


@given(
    st.lists(st.booleans(), min_size=2, max_size=3),
    st.floats(2.0, 100.0),
    st.floats(600.0, 60000.0),
    st.sampled_from((300.0, 600.0, 1800.0)),
    st.lists(st.tuples(st.floats(0.05, 2.0), st.floats(0.1, 8.0), st.booleans()), min_size=8, max_size=15),
)
@settings(max_examples=60, deadline=None)
def test_no_live_burner_is_locked_out_whatever_the_plant(burners, gain, tau, lag_after, burns):
    """Burners of one size, dead or not, in a plant of any load and inertia, that heats with all of them."""
    names = tuple(f"b{index}" for index in range(1, len(burners) + 1))
    live = {name: gain for name, alive in zip(names, burners, strict=True) if alive}
    assume((sum(live.values()) - 28.0) * (1 - math.exp(-1140.0 / tau)) > 2.0)
    plant = Plant(names, tau, lag_after, **live)
    for hours, pause, power_cut in burns:
        plant.burn(hours, pause)
        if power_cut:
            plant.power_cut()
        assert not plant.locked & set(live)


@given(
    st.integers(0, 2), st.integers(2, 3), st.floats(40.0, 60.0), st.floats(1200.0, 4800.0),
    st.sampled_from((600.0, 1800.0)), st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_dead_burner_beside_live_ones_is_locked_out(dead, number, gain, tau, lag_after, power_cuts):
    names = ("b1", "b2", "b3")[:number]
    dead = names[dead % number]
    plant = Plant(names, tau, lag_after, **dict.fromkeys(set(names) - {dead}, gain))
    plant.stages = plant.stages._replace(lead=names.index(dead))
    for _ in range(2 * 1200 // min(int(lag_after), 1200) + 2):
        plant.burn(3.0, 5.0)
        if power_cuts:
            plant.power_cut()
    assert plant.locked == {dead}


def test_the_hours_of_a_long_burn_are_counted_while_it_goes_on():
    """A power cut costs ten minutes of the count at most, a kill none."""
    rig = Rig(SCHOOL, room=18.0, flow=50.0)
    rig.run(199 * 60.0)
    assert burning(rig) == ["b1"]
    assert rig.zone.figures(rig.state)["school.b1.run_hours"] >= 3.15
    rig.reload().run(3600.0)
    assert rig.zone.figures(rig.state)["school.b1.run_hours"] >= 4.15
    rig.reboot()
    assert rig.zone.figures(rig.state)["school.b1.run_hours"] >= 4.15


def test_a_burner_that_went_off_unseen_has_no_hours_of_that_time():
    rig = Rig(SCHOOL, room=18.0, flow=50.0)
    rig.run(1800.0)
    rig.reload()
    rig.t += 5 * 3600.0
    rig.outputs["b1"] = rig.outputs["b1"]._replace(since=rig.t - 10.0)
    rig.settle().run(600.0)
    assert 0.5 <= rig.zone.figures(rig.state)["school.b1.run_hours"] <= 0.7


def test_burners_that_heat_are_never_locked_out():
    """The lag always joins for a short while only; both give heat."""
    rig = Rig(SCHOOL, room=18.0, flow=40.0)
    for _ in range(20):
        for flow in (40.0, 41.5, 43.0):  # the lead alone
            rig.set(flow=flow)
            rig.run(200)
        rig.run(60)
        assert "b2" in burning(rig)
        for flow in (45.5, 48.0, 54.0):
            rig.set(flow=flow)
            rig.run(200)
        rig.set(flow=40.0)
        rig.set(room=19.5)
        rig.run(60)
        rig.set(room=18.0)
    assert rig.alarms == []


def test_a_lost_flow_or_its_limit_stops_all():
    rig = Rig(SCHOOL, room=18.0, flow=40.0)
    rig.run(700)
    assert burning(rig) == ["b1", "b2"]
    rig.set(Quality.BAD, flow=None)
    assert burning(rig) == []
    rig.set(flow=40.0)
    assert burning(rig) == ["b1"]
    rig.set(flow=75.0)
    assert burning(rig) == []
    assert {one[2] for one in rig.alarms} == {"flow_sensor_lost", "overheat"}


MONDAY = datetime(2026, 1, 19, tzinfo=PARIS)


def leads(rig, at):
    """The lead that a call at this time gives."""
    rig.set(room=19.5, flow=49.0)
    rig.t = rig.base + (at - rig.start).total_seconds()
    rig.settle()
    rig.set(room=15.0)
    found = burning(rig)
    rig.set(room=19.5)
    return found


def test_another_one_leads_each_week():
    rig = Rig(SCHOOL, room=19.5, flow=49.0)
    assert leads(rig, THURSDAY + timedelta(days=3)) == ["b1"]
    rig.reload()
    assert leads(rig, MONDAY + timedelta(minutes=1)) == ["b2"]
    rig.reboot()
    assert leads(rig, MONDAY + timedelta(days=6, hours=23)) == ["b2"]
    assert leads(rig, MONDAY + timedelta(days=7, hours=1)) == ["b3"]
    assert leads(rig, MONDAY + timedelta(days=14, hours=1)) == ["b1"]


def test_nothing_stops_for_the_rotation_and_without_the_time_there_is_none():
    rig = Rig(SCHOOL, room=18.0, flow=49.0)
    rig.run((MONDAY - THURSDAY).total_seconds() + 3600, physics=lambda rig: {"flow": 49.0}, step=3600)
    assert burning(rig) == ["b1"]
    rig.trusted = False
    assert leads(rig, MONDAY + timedelta(hours=2)) == ["b1"]
    rig.trusted = True
    assert leads(rig, MONDAY + timedelta(hours=3)) == ["b2"]


def test_the_one_with_the_fewest_hours_leads():
    rig = Rig(dataclasses.replace(SCHOOL, cascade=Cascade(("b1", "b2"), rotation="hours")), room=18.0, flow=49.0)
    rig.run(86400, physics=lambda rig: {"flow": 49.0}, step=3600)
    assert dict(rig.zone.figures(rig.state)) == {"school.b1.run_hours": 24.0, "school.b2.run_hours": 0.0}
    assert leads(rig, MONDAY + timedelta(hours=1)) == ["b2"]
    assert leads(rig, MONDAY + timedelta(days=7, hours=1)) == ["b2"], "b1 has still more"
    never = Rig(dataclasses.replace(SCHOOL, cascade=Cascade(("b1", "b2"), rotation=None)), room=19.5)
    assert leads(never, MONDAY + timedelta(hours=1)) == ["b1"]


def test_burners_that_stay_keep_what_is_known_of_them():
    rig = Rig(SCHOOL, room=18.0, flow=40.0)
    units = rig.state.stages.units
    rig.state = rig.state._replace(stages=rig.state.stages._replace(units=(units[0]._replace(locked=True), *units[1:])))
    rig.run(1300)
    assert rig.alarms[0][1:] == ("alarm", "burner_no_heat", "b1")
    rig.zone = dataclasses.replace(SCHOOL, cascade=Cascade(("b2", "b4")))
    hours = rig.state.stages.units[1].ran
    rig.reload().settle()
    assert rig.alarms[1:] == [(1300, "cleared", "burner_no_heat", "b1")]
    assert rig.state.stages.units[0].ran == hours
    rig.zone = Zone("school", "room", "b2", ALWAYS, SCHOOL.setpoints, outdoor="out", curve=SCHOOL.curve)
    rig.reload().settle()
    assert rig.state.stages.names == ()


@given(st.lists(st.tuples(st.floats(20, 80), st.sampled_from((18.0, 19.5)), st.integers(1, 1500)), max_size=40))
@settings(max_examples=60, deadline=None)
def test_the_lag_never_burns_without_the_lead(life):
    rig = Rig(SCHOOL, room=18.0)
    for flow, room, seconds in life:
        rig.run(seconds)
        rig.set(flow=round(flow, 1), room=room)
        ready = [rig.zone.cascade.burners[index] for index in order(rig.state.stages)]
        assert set(burning(rig)) == set(ready[: len(burning(rig))])
        if flow >= 75:
            assert burning(rig) == []
