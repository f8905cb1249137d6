"""The laws of a room, as numbers: duty, on-time, curve, optimum start, window."""

import pytest

from agent.services.heating.boiler import HeatCurve
from agent.services.heating.loops import (
    Hysteresis,
    Loop,
    Pid,
    Situation,
    Tpi,
    advance,
    calls,
    least_cycle,
    on_time,
    tpi_duty,
    until,
)
from agent.services.heating.room import Airing, OptimumStart, Start, WindowOpen, air, prepare, start_at
from agent.services.heating.trail import Trail, follow

TPI = Tpi(900, 0.6, 0.01)


@pytest.mark.parametrize(
    ("setpoint", "room", "outdoor", "seconds"),
    [
        (19, 18.5, 0, 441),
        (19, 19, 0, 171),
        (19, 18.5, None, 270),
        (19, 17, -10, 900),
        (19, 20, 0, 0),
        (8, 18, 5, 0),
    ],
)
def test_tpi_duty(setpoint, room, outdoor, seconds):
    assert tpi_duty(TPI, setpoint, room, outdoor) * 900 == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("duty", "carry", "expected"),
    [
        (0.49, 0, (441, 0)),
        (0.2, 0, (0, 180)),  # under min_on 240: carried over
        (0.2, 180, (360, 0)),
        (0.2, 50, (0, 230)),
        (240 / 900, 0, (240, 0)),
        (0.65, 0, (900, 0)),  # 315 s off is under min_off 360: fully on
        (0.6, 0, (540, 0)),
        (0.9, 230, (900, 0)),
        (0, 230, (0, 0)),  # nothing is wanted: nothing is owed
        (1, 0, (900, 0)),
    ],
)
def test_on_time(duty, carry, expected):
    assert on_time(duty, 900, carry, 240, 360) == pytest.approx(expected)


def test_duty_is_fixed_at_the_start_of_the_cycle():
    loop = advance(TPI, Loop(), Situation(1000, 19, 18.5, 0, min_on=240, min_off=360))
    for t, room in ((1001, 10), (1200, 25), (1899, 10)):
        loop = advance(TPI, loop, Situation(t, 19, room, 0, min_on=240, min_off=360))
        assert loop.on == pytest.approx(441)
        assert calls(loop, t) is (t < 1441)
    assert until(TPI, loop, 1100) == 1441
    assert until(TPI, loop, 1500) == 1900
    loop = advance(TPI, loop, Situation(1900, 19, 19, 0, min_on=240, min_off=360))
    assert (loop.begun, loop.on, loop.carry) == pytest.approx((1900, 0, 171))
    loop = advance(TPI, loop, Situation(2810, 19, 19, 0, min_on=240, min_off=360))
    assert (loop.begun, loop.on) == pytest.approx((2800, 342)), "a late step keeps the cycles in line"


def test_another_setpoint_begins_a_cycle():
    loop = advance(TPI, Loop(), Situation(0, 16, 18, 0))
    assert not calls(loop, 0)
    loop = advance(TPI, loop, Situation(500, 19, 18, 0))
    assert loop.begun == 500
    assert calls(loop, 500)


def test_without_a_room_the_duty_holds_but_for_a_lower_setpoint():
    loop = advance(TPI, Loop(), Situation(0, 19, 18.5, 0))
    loop = advance(TPI, loop, Situation(900, 19, None, 0))
    assert loop.on == pytest.approx(441)
    assert advance(TPI, loop, Situation(1000, 16, None, 0)).on == 0
    lost = advance(TPI, loop, Situation(1000, None, None, 0, fixed=0.3))
    assert lost.on == pytest.approx(270)


def test_hysteresis():
    law, loop, seen = Hysteresis(0.3), Loop(), []
    for t, room in enumerate((19.0, 18.71, 18.7, 19.0, 19.29, 19.3, 19.0)):
        loop = advance(law, loop, Situation(t, 19, room, None))
        seen.append(calls(loop, t))
    assert seen == [False, False, True, True, True, False, False]
    lost = advance(law, loop, Situation(10, None, None, None, fixed=0.3))
    assert calls(lost, 279)
    assert not calls(lost, 280)


def test_pid_proportional_integral_derivative():
    law = Pid(kp=0.2, ki=0.0001, kd=90)
    loop = advance(law, Loop(), Situation(0, 20, 18, None))
    assert loop.integral == pytest.approx(0.18)
    assert loop.duty == pytest.approx(0.4 + 0.18)
    loop = advance(law, loop, Situation(900, 20, 19, None))
    assert loop.integral == pytest.approx(0.27)
    assert loop.duty == pytest.approx(0.2 + 0.27 - 90 * 1 / 900)


def test_pid_does_not_wind_up():
    law, loop = Pid(kp=0.1, ki=0.001), Loop()
    for cycle in range(50):
        loop = advance(law, loop, Situation(cycle * 900, 20, 10, None))
    assert (loop.duty, loop.integral) == (1, 0), "what saturates by its proportion alone integrates nothing"
    loop = advance(law, loop, Situation(50 * 900, 20, 21, None))
    assert loop.duty < 0.1


def test_pid_holds_its_integral_once_the_burner_gives_all_it_has():
    law, loop = Pid(kp=0.1, ki=0.0001), Loop()
    for cycle in range(50):  # 0.2 by proportion; with a pause under min_off left out, 0.6 and more is all of 900 s
        loop = advance(law, loop, Situation(cycle * 900, 20, 18, None, min_on=240, min_off=360))
    assert loop.on == 900
    assert 0.4 < loop.integral < 0.7


@pytest.mark.parametrize("law", [TPI, Pid(kp=0.5), Hysteresis()])
@pytest.mark.parametrize(("min_on", "min_off"), [(1800, 900), (2700, 900), (900, 0), (600, 600), (450, 450)])
def test_a_cycle_that_the_burner_cannot_follow_is_lengthened(law, min_on, min_off):
    limits = {"min_on": min_on, "min_off": min_off, "least": least_cycle(min_on, min_off, None)}

    def share(setpoint, room, fixed=0.3):
        loop, on = Loop(), 0
        for t in range(0, 4 * 24 * 3600, 150):
            loop = advance(law, loop, Situation(t, setpoint, room, None, fixed, **limits))
            on += calls(loop, t)
        return on / (4 * 24 * 24)

    assert share(19, 12) == 1, "at full duty it is on without end"
    assert share(None, None) == pytest.approx(0.3, abs=0.01)
    assert share(None, None, 0.05) == pytest.approx(0.05, abs=0.01)
    assert share(19, 20) == 0


@pytest.mark.parametrize(("limits", "least"), [((None, None, None), 0), ((240, 360, 6), 600), ((60, None, 2), 1800)])
def test_least_cycle(limits, least):
    assert least_cycle(*limits) == least


@pytest.mark.parametrize(("outdoor", "flow"), [(0, 51.0), (-10, 65), (-20, 65), (15, 30), (30, 30), (None, 65)])
def test_heat_curve(outdoor, flow):
    assert HeatCurve("flow", ((-10, 65), (15, 30))).target(outdoor) == pytest.approx(flow)


def test_heat_curve_of_three_points():
    curve = HeatCurve("flow", ((-10, 65), (0, 55), (20, 25)))
    assert [curve.target(x) for x in (-5, 0, 10)] == pytest.approx([60, 55, 40])


@pytest.mark.parametrize(("room", "minutes"), [(16, 90), (18, 30), (19, 0), (20, 0), (8, 240)])
def test_optimum_start_by_the_initial_rate(room, minutes):
    assert 100_000 - start_at(OptimumStart(30, 4 * 3600), Start(), 19, room, 100_000) == minutes * 60


def test_optimum_start_learns_and_holds():
    spec, occupied = OptimumStart(30, 4 * 3600), 100_000.0

    def at(start, room, before, goal: float | None = occupied):
        return prepare(spec, start, 19, room, goal, occupied - before * 60, 5000 - before * 60)

    start = at(Start(), 16, 91)
    assert start.goal is None
    start = at(start, 16, 90)
    assert start.goal == occupied
    start = at(start, 18.5, 40)  # 50 min for 2.5 K: 20 min/K
    assert start.rate == pytest.approx(30 + 0.3 * (20 - 30))
    start = at(start, 19.2, 20)
    assert start.goal == occupied, "it goes on until the people are there"
    start = at(start, 19.2, 0, None)
    assert start == Start(start.rate)


def test_optimum_start_learns_from_a_morning_that_was_too_short():
    spec = OptimumStart(30, 4 * 3600)
    start = prepare(spec, Start(), 19, 16, 100_000, 100_000 - 5400, 0)
    start = prepare(spec, start, 19, 17, None, 100_000, 5400)
    assert start.rate == pytest.approx(30 + 0.3 * (60 - 30)), "90 min/K is believed as far as twice the old"


def test_optimum_start_is_given_up_when_the_occupied_time_is_another():
    spec = OptimumStart(30, 14400)
    start = prepare(spec, Start(), 19, 16, 100_000, 100_000 - 5400, 0)
    assert prepare(spec, start, 19, 16, 186_400, 100_000 - 5000, 400).goal is None  # a clock that was put back
    assert prepare(spec, start, 19, 16, None, 100_000 - 5000, 400).goal is None  # a clock that is not trusted


WINDOW = WindowOpen(0.1, 1800)


def _aired(*readings):
    """Open or not after each reading (minutes, degC)."""
    airing, trail, seen = Airing(), Trail(), []
    for minute, room in readings:
        trail = follow(trail, room, minute * 60)
        airing, _ = air(WINDOW, airing, trail, room, minute * 60, minute * 60)
        seen.append(airing.open())
    return seen


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([(0, 19), (10, 18.1)], [False, False]),
        ([(0, 19), (10, 18.0)], [False, True]),
        ([(0, 19), (10, 17.5), (20, 17.2), (30, 17.3)], [False, True, True, False]),  # closed: it no longer falls
        ([(0, 19), (10, 17.5), (20, 16.0), (39, 14), (41, 13.5), (60, 10)], [False, True, True, True, False, False]),
        ([(0, 19), (0.1, 18.9), (0.9, 18.9), (2, 18.9)], [False, False, False, False]),  # the steps of a sensor
    ],
)
def test_window(readings, expected):
    assert _aired(*readings) == expected


def test_window_ends_by_itself():
    trail = follow(follow(Trail(), 19, 0), 17, 600)
    airing, _ = air(WINDOW, Airing(19, 0), trail, 17, 600, 600)
    assert air(WINDOW, airing, trail, None, 601, 601)[1] == 600 + 1800
    assert not air(WINDOW, airing, trail, None, 2400, 2400)[0].open()


def _polled(step, every, fall, minutes, falls_from=30):
    """Minutes in which a window is open, of a sensor with steps that is polled; `fall` K/min from a minute on."""
    airing, trail, opened = Airing(), Trail(), set()
    for t in range(0, minutes * 60, every):
        true = 19.47 - 0.01 * t / 60 - (fall * max(0, t / 60 - falls_from))
        room = round(round(true / step) * step, 3)
        trail = follow(trail, room, t)
        airing, _ = air(WINDOW, airing, trail, room, t, t)
        opened |= {t // 60} if airing.open() else set()
    return opened


@pytest.mark.parametrize("every", [10, 60, 120, 300, 600])
@pytest.mark.parametrize("step", [0.1, 0.2, 0.25, 0.5])
def test_a_step_of_the_sensor_is_no_window(step, every):
    assert _polled(step, every, 0.0, 360) == set(), "a room that cools by 0.6 K/h"
    opened = _polled(step, every, 0.2, 60)
    assert opened
    assert 30 <= min(opened) <= 45


def test_a_radio_sensor_is_judged_between_successive_readings():
    assert _aired((0, 19.0), (10, 18.9), (20, 17.4)) == [False, False, True]
    assert _aired((0, 19.0), (20, 18.5), (40, 18.0), (60, 17.5)) == [False] * 4


def test_what_the_flow_held_back_is_not_owed():
    """A pellet boiler that burned on for want of a pause makes up for it; one that the heat curve cut did not burn."""
    law = Tpi(cycle=900.0, coef_int=0.5, coef_ext=0.0)
    at = Situation(0.0, 19.0, 17.5, None, min_on=2700, min_off=2700, least=5400)
    loop = advance(law, Loop(), at)
    assert (loop.on, loop.carry) == (5400, -1350)
    then = at._replace(now=5400.0, room=17.9)
    assert advance(law, loop, then).on == 0
    assert advance(law, loop._replace(held=True), then).on == 5400
