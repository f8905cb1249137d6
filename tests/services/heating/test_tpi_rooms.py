"""The TPI that finds out its cycle and coef_ext: as few starts as a hysteresis, and a mean at the setpoint."""

import json

import pytest

from agent.services.heating.control import Setpoints, Zone
from agent.services.heating.loops import Hysteresis, Pid, Tpi
from tests.services.heating.room_model import ALWAYS, ROOMS, live, measured

SENSORS = {
    "fine": {"step": 0.01, "every": 60},
    "radio": {"step": 0.1, "every": 600},
    "coarse": {"step": 0.5, "every": 60},
}
OLD = Tpi(900, 0.6, 0.01)


@pytest.mark.parametrize("gain", [35, 45, 60])
@pytest.mark.parametrize("sensor", SENSORS)
@pytest.mark.parametrize("room", ROOMS)
def test_starts_and_mean_on_the_rooms_of_the_measurement(room, sensor, gain):
    tau, outdoors = ROOMS[room]
    few, *_ = measured(Hysteresis(), tau, outdoors, 3, gain, **SENSORS[sensor])
    starts, mean, _, _ = measured(Tpi(), tau, outdoors, 3, gain, **SENSORS[sensor])
    assert starts <= 1.5 * few
    assert mean == pytest.approx(19, abs=0.2)


@pytest.mark.parametrize("room", ["stone, 0 degC", "stone, -8 degC"])
def test_written_values_behave_as_they_did(room):
    """What the measurement found: eight times the starts, and 0.3 to 0.4 K too cold."""
    few, *_ = measured(Hysteresis(), *ROOMS[room])
    starts, mean, _, _ = measured(OLD, *ROOMS[room])
    assert 8 < starts / few < 10
    assert 18.5 < mean < 18.75


def _zone(**more):
    return Zone("s", "room", "burner", ALWAYS, Setpoints(19, 16, 8), Tpi(), min_on=240, min_off=360, **more)


def test_without_an_outdoor_sensor_the_mean_is_at_the_setpoint_too():
    found = live(_zone(), 5, -3.0, 40, 45)
    assert sum(found.rooms[1440:]) / len(found.rooms[1440:]) == pytest.approx(19, abs=0.2)


def test_what_was_learned_outlives_restarts_and_boots():
    zone = _zone(outdoor="out")
    once, often = live(zone, 2, 0.0, 40, 45), live(zone, 2, 0.0, 40, 45, restart=3600)
    assert once.starts == often.starts
    kept = zone.load(json.loads(json.dumps(zone.dump(once.state))))
    assert kept.tuning == once.state.tuning
    assert kept.tuning.in_this_boot()[:2] == once.state.tuning[:2]
    assert kept.tuning.coef is not None


def test_a_boiler_with_long_times_makes_no_shorter_cycles():
    zone = Zone(
        "s", "room", "burner", ALWAYS, Setpoints(19, 16, 8), Tpi(), "out", min_on=2700, min_off=900, least_cycle=3600
    )
    found = live(zone, 3, 0.0, 12, 45)
    assert all(later - one >= 3600 for one, later in zip(found.starts, found.starts[1:], strict=False))
    assert sum(found.rooms) / len(found.rooms) == pytest.approx(19, abs=0.3)


@pytest.mark.parametrize("ki", [0.0001, 0.00002])
@pytest.mark.parametrize("gain", [25, 27, 30, 40])
def test_a_pid_brings_a_pellet_boiler_near_its_capacity_to_the_setpoint(gain, ki):
    """Full cycles that are owed a pause are not saturation: the integral goes on until the room is there."""
    zone = Zone(
        "s", "room", "burner", ALWAYS, Setpoints(19, 16, 8), Pid(0.4, ki), "out", min_on=2700, min_off=900,
        least_cycle=3600,
    )  # fmt: skip
    settled = live(zone, 6, -5.0, 40, gain).rooms[2 * 1440 :]
    assert sum(settled) / len(settled) == pytest.approx(19, abs=0.2)
