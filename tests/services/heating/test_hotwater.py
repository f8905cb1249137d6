"""A store of hot water through its days, in virtual time."""

import json
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from agent.control.api import Input, Now, Output, View
from agent.control.calendar import Calendar
from agent.model import Quality
from agent.services.heating.hotwater import HotWater, ThermalCycle

PARIS = ZoneInfo("Europe/Paris")
PLAIN = HotWater("store", "water", "heater", 55)
CYCLED = HotWater("store", "water", "heater", 55, ThermalCycle(180, 65, 240, Calendar()))
NOON = datetime(2026, 1, 15, 12, tzinfo=PARIS)
HOUR = 3600.0


class Rig:
    """`t` is seconds from noon; `track` the times at which the heater was switched."""

    def __init__(self, spec, water=50.0, trusted=True, start=NOON):
        self.spec, self.t, self.trusted, self.start = spec, 0.0, trusted, start
        self.state, self.points, self.alarms, self.track = spec.initial(), {}, [], []
        self.wish = None
        self.set(water)

    def set(self, water, quality=Quality.GOOD):
        self.points = {} if water is None else {"water": Input(water, quality, self.t)}
        return self.settle()

    def settle(self):
        civil = (self.start.astimezone(ZoneInfo("UTC")) + timedelta(seconds=self.t)).astimezone(PARIS)
        step = self.spec.step(self.state, View(self.points, {}), Now(self.t, civil, self.trusted))
        again = self.spec.step(step.state, View(self.points, {}), Now(self.t, civil, self.trusted))
        assert (again.state, again.wishes, list(again.happenings)) == (step.state, step.wishes, [])
        assert step.due > self.t
        if self.wish is None or step.wishes[0].value is not self.wish.value:
            self.track.append((self.t, step.wishes[0].value))
        self.state, self.due, (self.wish,) = step.state, step.due, step.wishes
        self.alarms += [(self.t, one.kind, one.code) for one in step.happenings]
        return self

    def run(self, until):
        while self.t < until:
            self.t = min(self.due, until)
            self.settle()
        return self

    def restart(self):
        self.state = self.spec.load(json.loads(json.dumps(self.spec.dump(self.state))))
        return self


def test_heated_from_the_setpoint_to_three_above():
    rig, seen = Rig(PLAIN, 56.0), []
    for water in (55.1, 55.0, 57.9, 58.0, 55.1, 55.0):
        seen.append(rig.set(water).wish.value)
    assert seen == [False, True, True, False, False, True]


@pytest.mark.parametrize("quality", [Quality.BAD, Quality.STALE])
def test_sensor_lost_is_off_and_an_alarm(quality):
    rig = Rig(PLAIN, 40.0).set(40.0, quality)
    assert (rig.wish.value, rig.wish.priority) == (False, 5)
    assert sorted(rig.state.alarms) == ["sensor_fault"]
    rig.set(40.0)
    assert (rig.wish.value, rig.wish.priority, rig.state.alarms) == (True, 15, frozenset())


def test_sensor_that_never_spoke():
    rig = Rig(PLAIN, None)
    assert rig.wish.value is False
    assert rig.run(59).alarms == []
    assert rig.run(60).alarms == [(60, "alarm", "sensor_fault")]


def test_thermal_cycle_every_day_at_its_time():
    rig = Rig(CYCLED, 60.0).run(15 * HOUR - 1)
    assert rig.wish.value is False
    assert rig.run(15 * HOUR).wish.value is True
    assert rig.wish.cause == "store thermal_cycle"
    rig.run(16 * HOUR).set(65.0).run(16 * HOUR + 100)
    rig.set(64.9).run(16 * HOUR + 200)  # it must be held without a break
    rig.set(66.0).restart().run(16 * HOUR + 200 + 239)
    assert rig.wish.cause == "store thermal_cycle"
    rig.run(16 * HOUR + 200 + 240)
    assert rig.wish.cause == "store setpoint"
    rig.set(60.0).run(39 * HOUR)
    assert rig.wish.cause == "store thermal_cycle"
    assert rig.alarms == []


def test_thermal_cycle_missed():
    rig = Rig(CYCLED, 60.0).run(30 * HOUR)
    assert rig.alarms == [(19 * HOUR, "alarm", "thermal_cycle_missed")]
    rig.set(65.0).run(31 * HOUR)
    assert rig.alarms[1:] == [(30 * HOUR + 240, "cleared", "thermal_cycle_missed")]


def test_thermal_cycle_without_a_clock_is_a_day_after_the_last():
    rig = Rig(CYCLED, 60.0, trusted=False).run(24 * HOUR - 1)
    assert rig.wish.value is False
    assert rig.run(24 * HOUR).wish.cause == "store thermal_cycle"


def test_thermal_cycle_that_a_power_cut_prevented_is_made_up_for():
    rig = Rig(CYCLED, 60.0).run(10 * HOUR).restart()
    rig.start, rig.t = NOON + timedelta(hours=20), 50.0
    rig.set(60.0)
    assert rig.wish.cause == "store thermal_cycle"


@pytest.mark.parametrize("day", [(2026, 3, 28), (2026, 10, 24)])
def test_thermal_cycle_in_the_nights_when_the_clock_is_changed(day):
    rig = Rig(CYCLED, 60.0, start=datetime(*day, 12, tzinfo=PARIS)).run(20 * HOUR)
    at = 14 if day[1] == 3 else 16
    assert rig.track[-1] == (at * HOUR, True)


def _store(readings, hours, spec=PLAIN, restart=None):
    """A store whose heater obeys at once; `readings` gives what its sensor says at a time (s), of the true water.
    The alarms, and the water in the end."""
    state, on, water, alarms, worst = spec.initial(), False, 45.0, [], 0.0
    for t in range(0, hours * 3600, 60):
        points = {"water": Input(readings(t, water), Quality.GOOD, t)}
        if restart is not None and t == restart * 3600:
            state = spec.load(json.loads(json.dumps(spec.dump(state))))
        step = spec.step(state, View(points, {"heater": Output(on, 15, "", 0.0, None)}), Now(float(t), NOON, True))
        state, on = step.state, step.wishes[0].value
        alarms += [(t, one.kind, one.code) for one in step.happenings]
        water += 10.0 / 60 * on - (water - 20) / 80 / 60  # 10 K/h
        worst = max(worst, water)
    return alarms, worst, on


def test_a_store_whose_sensor_stands_still_while_its_heater_is_on():
    alarms, hottest, on = _store(lambda t, water: 45.0, 24, restart=5)
    assert alarms == [(2 * 3600 + 60, "alarm", "sensor_stuck")]
    assert hottest < 65
    assert not on
    alarms, hottest, _ = _store(lambda t, water: 51.0 if 1800 <= t < 9 * 3600 else water, 12)
    assert [(kind, code) for _, kind, code in alarms] == [("alarm", "sensor_stuck"), ("cleared", "sensor_stuck")]
    assert alarms[1][0] == 9 * 3600, "the sensor moves: it is heated again"


@pytest.mark.parametrize("step", [0.1, 0.5, 1.0])
def test_a_store_whose_sensor_lives(step):
    assert _store(lambda t, water: round(water / step) * step, 72)[0] == []


@pytest.mark.parametrize(("grain", "rate"), [(2.0, 0.7), (1.0, 0.4), (2.0, 0.4)])
def test_a_slow_heater_behind_a_coarse_sensor_is_no_stuck_sensor(grain, rate):
    """Days of heating by 3 K and cooling: each step of the sensor takes longer than the two hours. Restarts too."""
    state, on, water, alarms, moved = PLAIN.initial(), False, 60.0, [], 0
    for t in range(0, 240 * 3600, 300):
        says = round(water / grain) * grain
        if t % (31 * 3600) == 0:
            state = PLAIN.load(json.loads(json.dumps(PLAIN.dump(state))))
        view = View({"water": Input(says, Quality.GOOD, t)}, {"heater": Output(on, 15, "", 0.0, None)})
        step = PLAIN.step(state, view, Now(float(t), NOON, True))
        state, before, on = step.state, on, step.wishes[0].value
        moved += on is not before
        alarms += [(t, one.code) for one in step.happenings]
        water += (rate if on else -0.5) * 300 / 3600
    assert alarms == [] and moved > 10


def test_a_coarse_sensor_that_dies_is_found_all_the_same():
    """Its steps are known from the days before: 2 K at 0.25 K/h are 8 h."""
    readings = [56.0, 54.0]
    alarms, _, on = _store(lambda t, water: readings[t >= 600], 12)
    assert alarms == [(8 * 3600 + 660, "alarm", "sensor_stuck")] and not on


def test_a_stuck_store_is_kept_so_that_the_program_before_still_reads_what_is_not():
    assert "still" not in PLAIN.dump(PLAIN.initial())


def test_a_missed_cycle_ends_when_one_is_done_not_with_a_boot():
    rig = Rig(CYCLED).run(15 * HOUR + 4 * HOUR)
    assert [one[1:] for one in rig.alarms] == [("alarm", "thermal_cycle_missed")]
    rig.restart()
    rig.start += timedelta(seconds=rig.t)
    rig.t = 30.0
    rig.set(60)
    rig.run(HOUR)
    assert len(rig.alarms) == 1
    rig.set(65)
    rig.run(rig.t + 240)
    assert [one[1:] for one in rig.alarms[1:]] == [("cleared", "thermal_cycle_missed")]
