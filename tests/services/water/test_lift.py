"""A lift station on a rig: a well that fills and that its pumps empty, with a probe and a float that may lie."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.control.api import Output, View
from agent.control.calendar import Calendar
from agent.model import Quality
from agent.services.water.lift import LiftStation
from agent.services.water.overflow import Overflow
from agent.services.water.pump import PumpSpec
from agent.services.water.rotation import Rotation
from agent.services.water.well import ByTime, Well
from tests.services.water.bench import Bench

H = 3600.0
WELL = Well("level", 80.0, 30.0, 120.0, "float")
STATION = LiftStation(
    "relevage-1", Calendar("Europe/Paris"), (PumpSpec("p1"), PumpSpec("p2")), WELL,
    Rotation(("p1", "p2"), "starts", 60.0, 60.0), overflow=Overflow("spill"),
)  # fmt: skip
TICK = 10.0
SLOW = 300.0


class Rig(Bench):
    """`inflow` and each pump's `power` in cm a minute. Probe and float are read each ten seconds; a `lost` one is bad,
    one that is `held` shows that value. Pumps that are `broken` do not run."""

    def __init__(self, station: LiftStation = STATION, level: float = 50.0, inflow: float = 2.0) -> None:
        super().__init__(station, "2026-05-20T12:00:00", {pump.actuator: False for pump in station.pumps})
        self.level, self.inflow, self.power, self.top = level, inflow, 10.0, 160.0
        self.lost: set[str] = set()
        self.held: dict[str, float | bool] = {}
        self.broken: set[str] = set()
        self.spilt = 0.0
        self.dry = 0.0
        """Seconds for which a pump ran at the bottom of the well."""
        self.read()
        self.settle()

    def read(self) -> None:
        true = {"level": round(self.level, 1), "float": self.level >= 130, "spill": self.level >= self.top}
        for name, value in true.items():
            quality = Quality.BAD if name in self.lost else Quality.GOOD
            shown = None if name in self.lost else self.held.get(name, value)
            before = self.points.get(name)
            at = self.now.monotonic if quality is Quality.GOOD or before is None else before.at
            if name in self.control.inputs:
                self.points[name] = _input(shown, quality, at)

    def _apply(self) -> bool:
        moved = super()._apply()
        for name, output in list(self.outputs.items()):
            feedback = False if name in self.broken and output.value else None
            if output.feedback is not feedback:
                self.outputs[name] = output._replace(feedback=feedback)
                moved = True
        return moved

    def run(self, seconds: float, tick: float = TICK) -> None:
        end = self.t + seconds
        while self.t < end:
            self.until(min(end, self.t + tick))
            going = sum(1 for name, one in self.outputs.items() if one.value and name not in self.broken)
            self.level += (self.inflow - self.power * going) * tick / 60
            self.dry += tick if going and self.level <= 5 else 0
            self.spilt += max(0.0, self.level - self.top)
            self.level = min(max(self.level, 5.0), self.top + 1e-6)
            self.read()
            self.settle()

    def starts(self) -> list[str]:
        return [name for _, name, value, _ in self.edges if value]

    def running(self) -> set[str]:
        return {name for name, one in self.outputs.items() if one.value}


def _input(value, quality, at):
    from agent.control.api import Input

    return Input(value, quality, at)


def test_pumps_down_from_start_to_stop_in_turn() -> None:
    rig = Rig()
    seen = []
    for _ in range(6 * 360):
        rig.run(TICK)
        seen.append(rig.level)
    assert 28 < min(seen) < 31 and 79 < max(seen) < 83
    assert rig.starts()[:4] == ["p1", "p2", "p1", "p2"] and len(rig.running()) <= 1
    assert not rig.events


def test_both_pump_when_it_is_high_and_the_alarm_is_over_after_a_calm() -> None:
    rig = Rig(inflow=19.0)
    rig.run(900)
    assert rig.running() == {"p1", "p2"}
    assert rig.of("high_level")[0][1] == "alarm" and rig.details[0] == {"level": pytest.approx(120, abs=3)}
    rig.inflow = 2.0
    rig.run(1800)
    assert [kind for _, kind in rig.of("high_level")] == ["alarm", "cleared"] and rig.running() == set()
    assert rig.spilt == 0 and rig.level > 25


def test_a_level_that_is_lost_leaves_it_to_the_float() -> None:
    rig = Rig()
    rig.run(H)
    rig.lost.add("level")
    rig.run(4 * H)
    assert rig.of("level_fault") == [(H + TICK, "alarm")]
    assert rig.spilt == 0 and rig.dry == 0
    lengths = runs_of(rig, since=H + 600)
    assert lengths and all(120 <= one <= 200 for one in lengths), "up to the float and two minutes on"
    rig.lost.clear()
    rig.run(H)
    assert [kind for _, kind in rig.of("level_fault")] == ["alarm", "cleared"]


def test_a_lost_level_is_told_once_over_restarts_at_which_nothing_was_read_yet() -> None:
    rig = Rig()
    rig.lost = {"level"}
    rig.run(600)
    assert [kind for _, kind in rig.of("level_fault")] == ["alarm"]
    for _ in range(2):
        rig.restart(heard=False)
        rig.run(600)
        assert [kind for _, kind in rig.of("level_fault")] == ["alarm"]
    rig.lost = set()
    rig.run(600)
    assert [kind for _, kind in rig.of("level_fault")] == ["alarm", "cleared"]


def runs_of(rig: Rig, since: float = 0.0) -> list[float]:
    """The times from each start of any pump to the next stop of all."""
    found, going, began = [], set(), None
    for at, name, value, _ in rig.edges:
        going = going | {name} if value else going - {name}
        if going and began is None:
            began = at
        elif not going and began is not None:
            found += [at - began] if began >= since else []
            began = None
    return found


def test_neither_level_nor_float_stops_the_pumps_unless_the_file_says_by_time() -> None:
    rig = Rig()
    rig.lost |= {"level", "float"}
    rig.run(2 * H)
    assert rig.running() == set() and rig.spilt > 0
    codes = {code for _, _, code in rig.events}
    assert {"level_fault", "sensor_fault", "overflow"} <= codes
    timed = Rig(replace(STATION, well=replace(WELL, timed=ByTime(300.0, 1500.0))))
    timed.lost |= {"level", "float"}
    timed.run(6 * H)
    assert runs_of(timed) == [300.0] * len(runs_of(timed)) and len(runs_of(timed)) >= 14
    assert timed.spilt == 0 and set(timed.starts()) == {"p1", "p2"}


def test_a_float_alone() -> None:
    station = replace(STATION, well=Well(high_float="float", float_run=300.0), overflow=None)
    rig = Rig(station)
    rig.run(6 * H)
    assert rig.spilt == 0 and rig.dry == 0 and rig.starts()[:2] == ["p1", "p2"]
    assert {code for _, _, code in rig.events} == {"high_level"}
    rig.lost.add("float")
    rig.run(H)
    assert rig.of("sensor_fault")[-1][1] == "alarm" and rig.running() == set()


def test_a_float_that_hangs_is_found_out_by_a_level_that_moves() -> None:
    rig = Rig()
    rig.held["float"] = True
    rig.run(6 * H)
    assert rig.of("sensor_stuck") == [(pytest.approx(60, abs=11), "alarm")]
    assert rig.dry == 0 and rig.spilt == 0
    rig.held.clear()
    rig.run(60)
    assert [kind for _, kind in rig.of("sensor_stuck")] == ["alarm", "cleared"]


def test_a_float_that_hangs_in_an_empty_well_runs_the_pumps_dry_for_its_time_only() -> None:
    rig = Rig(level=5.0, inflow=1.0)
    rig.held["float"] = True
    rig.run(6 * H)
    assert rig.of("sensor_stuck")[0][1] == "alarm" and rig.dry <= 130 and rig.spilt == 0


def test_a_level_that_stands_still_while_the_float_is_up_is_not_believed() -> None:
    rig = Rig(inflow=4.0)
    rig.run(600)
    rig.held["level"] = 45.0
    rig.run(8 * H)
    assert rig.of("level_fault")[0][1] == "alarm" and {"reason": "it stands still"} in rig.details
    assert rig.spilt == 0 and rig.dry <= 1500, "once, for half an hour at most, until it is found out"
    before = rig.dry
    rig.run(4 * H)
    assert rig.spilt == 0 and rig.dry == before
    rig.held.clear()
    rig.run(H)
    assert rig.of("level_fault")[-1][1] == "cleared" and rig.of("sensor_stuck") == []


def test_a_level_that_says_empty_while_the_float_goes_up_and_down_is_not_believed() -> None:
    rig = Rig(level=100.0, inflow=3.0)
    rig.held["level"] = 20.0
    rig.run(4 * H)
    raised = rig.of("level_fault")[0][0]
    assert 600 < raised <= 780 and rig.spilt == 0, "the float is up after ten minutes"
    assert min(runs_of(rig, since=raised + 60)) >= 120 and not rig.of("sensor_stuck")


def test_a_level_that_says_empty_while_the_float_stays_up_is_not_believed_after_a_pause() -> None:
    rig = Rig(level=131.0, inflow=0.0)
    rig.power = 0.0  # the pumps are clogged
    rig.held["level"] = 20.0
    rig.run(H)
    assert rig.of("level_fault") == [(pytest.approx(120 + 900, abs=21), "alarm")] and rig.running()


def test_a_float_that_is_down_while_it_overflows_is_told() -> None:
    rig = Rig()
    rig.broken |= {"p1", "p2"}
    rig.held["float"] = False
    rig.run(2 * H)
    (told,) = rig.of("sensor_stuck")
    begun = next(at for at, kind in rig.of("overflow") if kind == "alarm")
    assert told == (pytest.approx(begun + 60, abs=1), "alarm")


def test_a_pump_that_fails_is_replaced_and_both_are_told() -> None:
    rig = Rig()
    rig.broken.add("p1")
    rig.run(2 * H)
    assert rig.spilt == 0 and rig.of("pump_failed") and not rig.of("pumps_failed")
    rig.broken.add("p2")
    rig.run(2 * H)
    assert rig.of("pumps_failed")[0][1] == "alarm" and rig.of("overflow")[0][1] == "alarm"
    rig.broken.clear()
    rig.run(2 * H)
    assert rig.of("pumps_failed")[-1][1] == "cleared" and rig.level < 90


def test_a_run_that_is_too_long_hands_over_and_a_lone_pump_rests() -> None:
    rig = Rig(replace(STATION, max_run=1800.0), inflow=9.9)
    rig.run(6 * H)
    assert rig.of("run_too_long")[0] == (pytest.approx(2130, abs=200), "alarm")
    assert rig.starts()[:4] == ["p1", "p2", "p1", "p2"] and rig.spilt == 0
    lone = replace(STATION, pumps=(PumpSpec("p1"),), rotation=Rotation(("p1",), "starts"), max_run=1800.0)
    rig = Rig(lone, inflow=9.9)
    rig.run(4 * H)
    off = [(at, value) for at, name, value, _ in rig.edges if name == "p1"]
    rests = [after[0] - before[0] for before, after in pairwise(off) if after[1]]
    assert rests and all(one == pytest.approx(300, abs=11) for one in rests)


def test_a_lone_pump_does_not_rest_while_the_float_is_up() -> None:
    lone = replace(STATION, pumps=(PumpSpec("p1"),), rotation=Rotation(("p1",), "starts"), max_run=1800.0)
    rig = Rig(lone, level=140.0, inflow=10.0)
    rig.run(4 * H)
    assert rig.starts() == ["p1"] and rig.of("run_too_long") != []


def test_none_rests_in_a_storm_and_one_at_a_time_without_a_float() -> None:
    rig = Rig(replace(STATION, max_run=1800.0), level=140.0, inflow=20.0)
    rig.run(2 * H)
    assert len(rig.starts()) == 2 and rig.of("run_too_long")[0][1] == "alarm"
    rig = Rig(replace(STATION, well=replace(WELL, high_float=None), max_run=1800.0), level=110.0, inflow=19.5)
    rig.run(3 * H)
    going: set[str] = set()
    for at, name, value, _ in rig.edges:
        going = going | {name} if value else going - {name}
        assert going or at < 60 or rig.level < 40
    assert len(rig.starts()) > 2


def test_a_pump_that_did_not_run_for_a_day_is_run() -> None:
    rig = Rig(inflow=0.0, level=60.0)
    rig.run(24 * H - 60, SLOW)
    assert rig.starts() == []
    rig.run(600)
    assert rig.starts() == ["p1"] and rig.level < 31 and rig.edges[0][2] is True
    rig.level = 60.0
    rig.run(600)
    assert rig.starts() == ["p1", "p2"], "the other one too, as soon as there is water for it"
    rig.run(20 * H, SLOW)
    assert rig.starts() == ["p1", "p2"]


def test_the_pump_that_did_not_run_has_the_turn_of_the_day() -> None:
    """Although the other one has fewer starts."""
    rig = Rig(inflow=0.0, level=70.0)
    for at, name in ((0, "p1"), (600, "p1"), (2 * H, "p2")):
        rig.run(at - rig.t, SLOW)
        rig.override(name, True)
        rig.run(10)
        rig.override(name, None)
    rig.level = 70.0
    rig.run(24 * H + 900 - rig.t, SLOW)
    assert rig.starts() == ["p1", "p1", "p2", "p1"]


def test_an_empty_well_is_not_pumped_for_the_day() -> None:
    rig = Rig(inflow=0.0, level=33.0)
    rig.run(50 * H, SLOW)
    assert rig.starts() == []


def test_a_command_pumps_by_hand_but_not_below_the_stop_level() -> None:
    rig = Rig(inflow=1.0)
    rig.override("p2", True)
    rig.run(1800)
    assert rig.level > 27 and rig.dry == 0
    assert rig.outputs["p2"].value is False and rig.outputs["p2"].priority == 2
    rig.override("p2", None)
    rig.override("p1", False)
    rig.run(2 * H)
    assert "p1" not in rig.starts() and rig.spilt == 0, "the other one takes over from a pump that is worked on"


@pytest.mark.parametrize("heard", [True, False])
def test_a_restart_goes_on_with_the_pump_that_runs(heard: bool) -> None:
    rig = Rig()
    while not rig.running():
        rig.run(TICK)
    rig.run(60)
    before = rig.starts()
    rig.restart(heard)
    rig.run(60)
    assert rig.starts() == before and rig.running()


def test_the_level_is_awaited_after_a_start() -> None:
    rig = Rig(level=100.0)
    while not rig.running():
        rig.run(TICK)
    rig.state = rig.control.load(rig.control.dump(rig.state))
    rig.points.clear()
    rig.until(rig.t + 59)
    assert rig.running() and not rig.of("level_fault")
    rig.until(rig.t + 2)
    assert not rig.running() and rig.of("level_fault")


def test_the_reset_believes_level_and_float_again() -> None:
    rig = Rig()
    rig.held["float"] = True
    rig.run(600)
    assert rig.state.well.stuck
    with pytest.raises(ValueError, match="reset"):
        rig.command("relevage-1.latch", "on")
    rig.held.clear()
    rig.command("relevage-1.latch", "reset")
    assert not rig.state.well.stuck and rig.control.commands == ("relevage-1.latch", "p1.latch", "p2.latch")


def test_hours_and_starts_of_each_pump() -> None:
    rig = Rig()
    rig.run(6 * H)
    found = rig.control.figures(rig.state)
    assert found["p1.starts"] == rig.starts().count("p1") and found["p2.run_hours"] == pytest.approx(0.6, abs=0.3)
    assert {one.id for one in rig.control.points} >= found.keys()


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["rain", "calm", "lose level", "lose float", "hang", "heal", "break", "kill", "cut"]),
            st.floats(60, H),
        ),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_what_holds_of_any_sequence(moves: list[tuple[str, float]]) -> None:
    """No pump runs for long in an empty well; with a level and a pump nothing spills; kills and cuts change nothing."""
    rig = Rig()
    whole = True
    for what, seconds in moves:
        match what:
            case "rain" | "calm":
                rig.inflow = 8.0 if what == "rain" else 0.5
            case "lose level":
                rig.lost.add("level")
            case "lose float":
                rig.lost.add("float")
            case "hang":
                rig.held["float"] = True
            case "heal":
                rig.lost.clear()
                rig.held.clear()
                rig.broken.clear()
            case "break":
                rig.broken.add("p1")
            case "kill":
                rig.restart()
            case "cut":
                rig.reboot(60)
        before, dry = rig.spilt, rig.dry
        whole = whole and not rig.lost
        rig.run(seconds, 3 * TICK)
        assert rig.spilt == before or not whole
        if "level" not in rig.lost:
            assert rig.dry - dry <= 160, "two minutes of a float that hangs"
    for name, one in rig.outputs.items():
        assert isinstance(one, Output) and name in ("p1", "p2")


def test_a_step_is_short() -> None:
    rig = Rig()
    rig.run(600)
    noise, begun, steps = random.Random(1), time.process_time(), 2000
    for _ in range(steps):
        rig.t += 1
        rig.points["level"] = _input(60 + noise.random(), Quality.GOOD, rig.now.monotonic)
        rig.state = rig.control.step(rig.state, View(rig.points, rig.outputs), rig.now).state
    assert (time.process_time() - begun) / steps < 2e-4, "0.1 ms, with a margin for a busy machine"
