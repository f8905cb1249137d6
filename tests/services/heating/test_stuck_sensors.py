"""Sensors that stand still while they must move, and rooms that are flat although their sensor lives."""

from json import dumps, loads
from math import pi, sin

import pytest

from agent.services.heating.boiler import HeatCurve
from agent.services.heating.control import Setpoints, Zone
from agent.services.heating.loops import Hysteresis, Pid, Tpi
from agent.services.heating.stuck_sensor import FIRE, Stillness, observe
from tests.services.heating.room_model import ALWAYS, live

DAY, HOUR = 86400, 3600
LAWS = {"tpi": Tpi(900, 0.6, 0.01), "hysteresis": Hysteresis(0.3), "pid": Pid(0.5, 0.0001)}
FOUND_OUT = {"tpi_found_out": Tpi()}


def _zone(law="tpi", **more):
    curve = more.pop("curve", None)
    return Zone(
        "school", "room", "burner", ALWAYS, Setpoints(19, 16, 8), (LAWS | FOUND_OUT)[law], "out", curve,
        min_on=240, min_off=360, **more,
    )  # fmt: skip


def _of(found, code):
    return [(t, kind) for t, kind, one in found.alarms if one == code]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("curve", [None, HeatCurve("flow", ((-10, 50), (15, 30)))])
def test_a_room_whose_sensor_died_is_told_and_goes_to_its_fixed_duty(law, curve):
    found = live(_zone(law, curve=curve), 3, -5.0, 40, 45, room=15.0, frozen=0)
    assert _of(found, "comfort_missed") == [(3 * HOUR, "alarm")]
    ((at, kind),) = _of(found, "sensor_stuck")
    assert (kind, at) == ("alarm", 12 * HOUR + 60), "a minute after the fire began"
    assert max(found.rooms[at // 60 :]) < 25
    assert min(found.rooms[at // 60 :]) > 7, "it does not freeze either"


def test_the_fixed_duty_is_raised_in_hard_frost():
    found = live(_zone(), 6, -15.0, 20, 45, room=15.0, frozen=0)
    assert min(found.rooms) > 5
    assert max(found.rooms[4 * DAY // 60 :]) < 14


def test_a_stuck_sensor_that_says_frost_is_heated():
    found = live(_zone(), 2, -12.0, 40, 25, room=6.0, frozen=0)
    assert _of(found, "sensor_stuck")
    assert found.burning == 2 * DAY


def test_a_sensor_that_says_warm_in_the_cold_is_stuck():
    found = live(_zone(), 2, -5.0, 40, 45, room=21.0, frozen=0)
    ((at, _),) = _of(found, "sensor_stuck")
    assert at < 13 * HOUR
    assert found.burning > 0.25 * (2 * DAY - at)


def test_evidence_of_days_and_nights_adds_up():
    """Frozen at 17: full fire by day, none by night, and no phase long enough by itself."""
    outdoors = lambda t: 2.0  # noqa: E731
    found = live(_zone("hysteresis", stuck_after=15 * HOUR), 3, outdoors, 40, 45, room=18.4, frozen=0)
    assert len(_of(found, "sensor_stuck")) == 1


@pytest.mark.parametrize("frozen", [5 * HOUR, 9 * HOUR])
def test_a_sensor_that_dies_while_the_room_warms_up(frozen):
    found = live(_zone(), 2, -5.0, 40, 40, room=10.0, step=0.1, every=600, frozen=frozen)
    ((at, _),) = _of(found, "sensor_stuck")
    assert frozen + 11 * HOUR < at < frozen + 13 * HOUR


def test_it_is_over_when_the_sensor_moves():
    zone = _zone()
    found = live(zone, 1, -5.0, 40, 45, room=15.0, frozen=0, restart=HOUR)
    assert found.state.still.stuck
    assert "sensor_stuck" in zone.load(zone.dump(found.state)).alarms
    assert "sensor_stuck" not in zone.dump(found.state)["alarms"], "the program before does not know it"


@pytest.mark.parametrize("every", [10, 600])
@pytest.mark.parametrize("step", [0.1, 0.5])
@pytest.mark.parametrize(("tau", "gain"), [(5, 28), (12, 27), (40, 26), (80, 25)])
def test_a_boiler_too_small_for_the_frost_goes_on(tau, gain, step, every):
    """It comes to rest some kelvins under the setpoint: its sensor may be flat for days. Comfort is missed, no more."""
    found = live(_zone(), 3, -12.0, tau, gain, room=10.0, step=step, every=every)
    assert _of(found, "sensor_stuck") == []
    assert _of(found, "comfort_missed")
    assert found.burning == 3 * DAY


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("step", [0.1, 0.5])
@pytest.mark.parametrize("tau", [5, 80])
def test_a_room_that_is_well_regulated_is_flat(law, step, tau):
    swing = lambda t: 2 + 5 * sin(2 * pi * t / DAY)  # noqa: E731
    for outdoors in (-8.0, 0.0, 12.0, swing):
        found = live(_zone(law), 4, outdoors, tau, 45, room=18.0, step=step, every=600)
        assert _of(found, "sensor_stuck") == [], outdoors


@pytest.mark.parametrize("amplitude", [0.3, 0.7])
def test_a_boiler_just_large_enough_gives_what_the_room_loses(amplitude):
    """Fires of hours at one reading of 0.5 K, but the law pauses between them at the same setpoint."""
    outdoors = lambda t: -8 + amplitude * sin(2 * pi * t / DAY)  # noqa: E731
    found = live(_zone("tpi_found_out", least_cycle=600), 4, outdoors, 40, 30, step=0.5, every=900)
    assert _of(found, "sensor_stuck") == []


def test_a_store_that_is_drawn_from_is_no_trembling_probe():
    """What came and went within the hour (5 K) does not hide that it warms up slowly (0.3 K/h)."""
    still, stuck = Stillness(), []
    for t in range(0, 12 * HOUR, 60):
        water = 50 - 5 * (HOUR <= t < 2 * HOUR) + 0.3 * t / HOUR
        still, _ = observe(still, FIRE, water, t, 2 * HOUR, slowest=0.25 / HOUR)
        stuck.append(still.stuck)
    assert not any(stuck)


def test_a_restart_does_not_forget_what_a_probe_trembles():
    still = Stillness()
    for t in range(0, 11 * HOUR, 60):
        still, _ = observe(still, FIRE, 15 + 0.04 * (t // 60 % 2), t, 12 * HOUR)
    still = Stillness.load(loads(dumps(still.dump())))
    for t in range(0, 2 * HOUR, 60):
        still, _ = observe(still, FIRE, 15 + 0.04 * (t // 60 % 2), t, 12 * HOUR)
    assert still.stuck
