"""Tanks and their pumps. The bench's pump follows its wishes; what flows, and what the level does, the test says."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from water_bench import Bench

from agent.config import load
from agent.control.tanks import DryRun, Tank
from agent.model import Quality
from agent.wiring.water import controls

RESERVOIR = Tank("reservoir", "level", "well")
DRY = replace(RESERVOIR, dry_run=DryRun("flow", least=0.2))
SITE = Path(__file__).parent.parent / "cases" / "saint-seine.yaml"


def bench(tank: Tank = RESERVOIR, level: float = 60.0, flow: float | None = None) -> Bench:
    one = Bench(tank, "2026-07-01T12:00:00", {"well": False})
    one.set("level", level)
    if flow is not None:
        one.set("flow", flow)
    return one


@pytest.mark.parametrize(
    ("levels", "runs"),
    [
        ([60], [False]),
        ([40.1, 40, 60, 84.9, 85], [False, True, True, True, False]),
        ([20, 90, 60, 41, 39], [True, False, False, False, True]),
    ],
)
def test_fills_from_start_to_stop(levels: list[float], runs: list[bool]) -> None:
    one = bench()
    seen = []
    for level in levels:
        one.set("level", level)
        seen.append(one.value("well"))
    assert seen == runs


@pytest.mark.parametrize("quality", [Quality.BAD, Quality.STALE])
def test_a_level_fault_stops_the_pump_even_under_a_command_and_filling_goes_on_after_it(quality: Quality) -> None:
    one = bench(level=30)
    one.until(10)
    one.set("level", 30 if quality is Quality.STALE else None, quality)
    one.override("well", True)
    assert one.value("well") is False and one.outputs["well"].priority == 5
    one.override("well", None)
    one.until(20)
    one.set("level", 50)
    assert one.value("well") is True
    assert one.of("level_fault") == [(10.0, "alarm"), (20.0, "cleared")]


def test_low_and_high_are_raised_once_and_cleared_once_with_a_band() -> None:
    one = bench()
    for at, level in enumerate([10, 11.9, 10, 12, 94, 95, 93.1, 96, 93]):
        one.plan(at + 1, "level", level)
    one.until(20)
    assert one.of("level_low") == [(1.0, "alarm"), (4.0, "cleared")]
    assert one.of("level_high") == [(6.0, "alarm"), (9.0, "cleared")]


def test_a_full_tank_stops_the_pump_of_a_command() -> None:
    one = bench(level=90)
    one.override("well", True)
    assert one.value("well") is True
    one.set("level", 95)
    assert one.value("well") is False and one.outputs["well"].priority == 2


def test_dry_run_after_grace_and_half_a_minute_without_flow() -> None:
    one = bench(DRY, 30, flow=0.1)  # less than a hundredth of the range is noise
    one.until(2000)
    trips = [45.0, 45 + 345.0, 45 + 2 * 345.0]
    assert [at for at, _, value, priority in one.edges if value is False and priority == 2] == trips
    assert one.value("well") is False and one.state.latched
    assert one.of("dry_run") == [(45.0, "alarm")]


def test_the_latch_outlives_restart_reboot_and_command_until_it_is_reset() -> None:
    one = bench(DRY, 30, flow=0.0)
    one.until(2000)
    one.restart(heard=False)
    one.reboot(7200)
    one.override("well", True)
    one.until(9000 + 7200)
    assert one.value("well") is False
    with pytest.raises(ValueError, match="reset"):
        one.command("reservoir.latch", "off")
    one.override("well", None)
    one.set("flow", 5.0)
    one.command("reservoir.latch", "reset")
    assert one.value("well") is True
    assert [kind for _, kind in one.of("dry_run")] == ["alarm", "cleared"]


def test_three_dry_runs_in_more_than_an_hour_do_not_latch() -> None:
    one = bench(replace(DRY, dry_run=DryRun("flow", no_flow=1600.0)), 30, flow=0.0)
    one.until(3 * 3600)
    assert len(one.state.trips) == 2 and not one.state.latched


def test_a_pump_that_moves_water_again_is_no_longer_dry() -> None:
    one = bench(DRY, 30, flow=0.0)
    one.plan(350, "flow", 5.0)
    one.until(1000)
    assert one.of("dry_run") == [(45.0, "alarm"), (360.0, "cleared")]  # 345 s, and the grace
    assert one.value("well") is True


def test_flow_that_stops_while_it_pumps() -> None:
    one = bench(DRY, 30, flow=5.0)
    one.plan(500, "flow", 0.0)
    one.plan(520, "flow", 5.0)
    one.plan(600, "flow", 0.0)
    one.until(700)
    assert one.of("dry_run") == [(630.0, "alarm")]


@pytest.mark.parametrize("quality", [Quality.BAD, Quality.STALE])
def test_a_lost_flow_sensor_stops_no_pump_and_is_told(quality: Quality) -> None:
    one = bench(DRY, 30, flow=5.0)
    one.until(100)
    one.set("flow", 0.0, quality)
    one.until(1000)
    assert one.value("well") is True
    one.set("flow", 0.0)
    one.until(2000)
    assert one.of("sensor_fault") == [(100.0, "alarm"), (1000.0, "cleared")]
    assert one.of("dry_run")[0] == (1030.0, "alarm")


def test_a_counter_as_flow_must_grow() -> None:
    one = bench(replace(DRY, dry_run=DryRun("flow", counts=True)), 30, flow=100)
    for at in range(5, 200, 10):
        one.plan(at, "flow", 100 + at)
    one.until(1000)
    assert one.of("dry_run") == [(195 + 30.0, "alarm")]


def test_a_pump_whose_contactor_did_not_close_is_not_dry() -> None:
    one = bench(DRY, 30, flow=0.0)
    one.outputs["well"] = one.outputs["well"]._replace(feedback=False)
    one.settle()
    assert one.due == float("inf")


def test_a_restart_lets_a_running_pump_run_for_a_minute_and_starts_none() -> None:
    one = bench(level=30)
    one.until(100)
    kept, one.points = one.points, {}
    one.restart()
    assert one.value("well") is True
    one.until(161)
    assert one.value("well") is False and one.of("level_fault") == [(160.0, "alarm")]
    one.points = kept
    idle = bench(level=30)
    idle.rest, idle.overrides["well"] = {"well": False}, False
    idle.settle()
    idle.points = {}
    idle.restart()
    idle.override("well", None)
    assert idle.value("well") is False


def test_the_site_file_says_it_all() -> None:
    assert controls(load(SITE))[1] == Tank("reservoir", "tank-level", "well", dry_run=DryRun("pump-flow", least=0.2))
