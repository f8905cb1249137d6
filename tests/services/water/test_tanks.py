"""Tanks and their pumps. The bench's pump follows its wishes; what flows, and what the level does, the test says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.model import Quality
from agent.services.water import build
from agent.services.water.pump import DryRun, PumpSpec
from agent.services.water.tank_level import Standstill
from agent.services.water.tanks import Outlet, Tank
from agent.site.loader import load
from tests.services.water.bench import Bench

RESERVOIR = Tank("reservoir", "level", (PumpSpec("well"),))


def protected(dry: DryRun) -> Tank:
    return replace(RESERVOIR, pumps=(PumpSpec("well", dry),))


DRY = protected(DryRun("flow", least=0.2))
SITE = Path(__file__).parents[2] / "cases" / "saint-seine.yaml"


def controls(site):
    return build.controls(site, site.water)



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
        one.until(one.t + 600)
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
        one.plan(600 * (at + 1), "level", level)
    one.until(6000)
    assert one.of("level_low") == [(600.0, "alarm"), (2400.0, "cleared")]
    assert one.of("level_high") == [(3600.0, "alarm"), (5400.0, "cleared")]


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
    assert one.value("well") is False and one.state.pumps[0].latched
    assert one.of("dry_run") == [(45.0, "alarm"), (trips[-1], "change")]


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
    assert [kind for _, kind in one.of("dry_run")] == ["alarm", "change", "cleared"]


def test_three_dry_runs_in_more_than_an_hour_do_not_latch() -> None:
    one = bench(protected(DryRun("flow", no_flow=1600.0)), 30, flow=0.0)
    one.until(3 * 3600)
    assert len(one.state.pumps[0].trips) == 2 and not one.state.pumps[0].latched


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
    one = bench(protected(DryRun("flow", counts=True)), 30, flow=100)
    for at in range(5, 200, 10):
        one.plan(at, "flow", 100 + at)
    one.until(1000)
    assert one.of("dry_run") == [(195 + 30.0, "alarm"), (915.0, "change")]


def test_a_counter_that_may_be_another_meters_shows_no_dry_run_for_two_minutes() -> None:
    one = bench(protected(DryRun("flow", counts=True)), 30, flow=100)
    for at in range(5, 100, 10):
        one.plan(at, "flow", 100 + at)
    one.until(100)
    one.points["flow"] = one.points["flow"]._replace(doubted=True)
    one.settle()
    one.until(175)
    assert one.of("dry_run") == [], "it is doubted"
    one.set("flow", 201)
    one.settle()
    one.until(204)
    assert one.of("dry_run") == [], "another meter's, and it grew"
    one.until(240)
    assert one.of("dry_run") == [(175 + 30.0, "alarm")]


def test_a_counter_that_is_doubted_for_long_still_protects() -> None:
    one = bench(protected(DryRun("flow", counts=True)), 30, flow=100)
    one.until(20)
    for at in range(20, 400, 10):
        one.until(at)
        one.points["flow"] = one.points["flow"]._replace(doubted=at % 20 == 0)
        one.settle()
    assert [kind for _, kind in one.of("dry_run")] == ["alarm"], "though the doubt ends and begins again"


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
    assert controls(load(SITE))[1] == Tank(
        "reservoir", "tank-level", (PumpSpec("well", DryRun("pump-flow", least=0.2)),), interval=1.0
    )


# -- a level that is no level ----------------------------------------------------------------------------------


@pytest.mark.parametrize("slip", [0.0, 0.4, 12.0])
@pytest.mark.parametrize("before", [60.0, 42.0])
def test_one_reading_starts_no_pump_and_tells_nothing(slip: float, before: float) -> None:
    one = bench(level=before)
    one.plan(600, "level", before)
    one.plan(610, "level", slip)
    one.plan(620, "level", before)
    one.until(700)
    assert one.edges == [] and one.events == []


def test_the_first_reading_of_all_may_be_a_slip_too() -> None:
    one = Bench(RESERVOIR, "2026-07-01T12:00:00", {"well": False})
    one.set("level", 0.0)
    one.plan(10, "level", 60.0)
    one.until(200)
    assert one.edges == [] and one.events == []


def test_a_tank_that_is_empty_is_filled_after_a_minute() -> None:
    one = bench(level=60)
    for second in range(10, 120, 10):
        one.plan(second, "level", 0.1 if second % 20 else 0.0)
    one.until(120)
    assert one.of("level_low") == [(70.0, "alarm")] and one.value("well") is True


def test_an_empty_tank_whose_sensor_says_so_without_a_change_is_filled_too() -> None:
    one = bench(level=60)
    one.plan(10, "level", 0.0)
    one.until(200)
    assert one.value("well") is True
    first = Bench(RESERVOIR, "2026-07-01T12:00:00", {"well": False})
    first.set("level", 0.0)
    first.until(200)
    assert first.value("well") is True and first.of("level_fault") == []


H = 3600.0


def test_a_level_that_stands_still_beside_its_pump_stops_it_until_it_moves() -> None:
    one = bench(level=41)
    one.set("level", 39.0)
    one.until(24 * H)
    assert [(at, value, priority) for at, _, value, priority in one.edges] == [(0.0, True, 15), (3 * H, False, 5)]
    assert one.of("sensor_stuck") == [(3 * H, "alarm")] and one.of("fill_too_long") == []
    one.override("well", True)
    assert one.value("well") is False, "a command fills no tank blind"
    one.override("well", None)
    one.set("level", 38.0)
    assert one.value("well") is True and one.of("sensor_stuck")[-1] == (24 * H, "cleared")


def test_a_reset_lets_it_try_again() -> None:
    one = bench(level=39)
    one.until(5 * H)
    one.command("reservoir.latch", "reset")
    one.until(7.9 * H)
    assert one.value("well") is True
    one.until(8 * H)
    assert one.value("well") is False


@pytest.mark.parametrize("kept", [True, False])
def test_what_the_pump_ran_beside_a_level_that_stands_still_outlives_a_restart(kept: bool) -> None:
    """Nobody knows how long a box was off: what ran before counts, but for ten minutes at most, the pause does not."""
    one = bench(level=39)
    one.until(2 * H)
    one.restart() if kept else one.reboot(600)
    one.until(3 * H)
    assert bool(one.of("sensor_stuck")) is kept
    one.until(3 * H + 1200)
    assert one.of("sensor_stuck") != []
    one.reboot(7200)
    one.until(9 * H)
    assert [kind for _, kind in one.of("sensor_stuck")] == ["alarm"] and one.value("well") is False


@pytest.mark.parametrize(("limits", "code"), [((3 * H, None), "sensor_stuck"), ((None, 8 * H), "fill_too_long")])
def test_power_cuts_that_come_sooner_than_the_longest_run_hide_no_fault(
    limits: tuple[float | None, float | None], code: str
) -> None:
    one = bench(replace(RESERVOIR, standstill=Standstill(*limits)), level=39)
    for boot in range(1, 15):
        one.until(boot * 3000.0)
        one.reboot(20)
    assert [kind for _, kind in one.of(code)] == ["alarm"] and one.value("well") is False


def test_a_level_that_hovers_while_the_pump_runs_is_a_fill_that_lasts_too_long() -> None:
    """A leak as large as the pump. It tries again when the level fell by 2 %; the alarm stands until it rises by 2 %
    more than it went up and down before."""
    one = bench(level=39)
    for minute in range(0, 600, 10):
        one.plan(60.0 * minute, "level", 39.0 + (0.0, 0.8, 1.6)[minute // 10 % 3])
    one.plan(10 * H, "level", 37.0)
    one.plan(10.5 * H, "level", 38.5)
    one.plan(11 * H, "level", 41.0)
    one.until(12 * H)
    assert [(at, value) for at, _, value, _ in one.edges] == [(0.0, True), (8 * H, False), (10 * H, True)]
    assert one.of("fill_too_long") == [(8 * H, "alarm"), (11 * H, "cleared")] and one.of("sensor_stuck") == []


@pytest.mark.parametrize("percent_per_hour", [0.5, 1.0, 4.0])
def test_a_slow_fill_is_no_fault(percent_per_hour: float) -> None:
    one = bench(level=39)
    for hour in range(1, 60):
        one.plan(hour * H, "level", min(84.0, 39 + percent_per_hour * hour))
    one.until(min(59.0, 44 / percent_per_hour) * H)
    assert one.events == [] and len(one.edges) == 1


def _ripple(sizes: list[float], seconds: int = 105) -> Iterator[tuple[float, float]]:
    """When, and by how much: a pattern of percents that comes again and again for two days."""
    return ((seconds * number, sizes[number % len(sizes)]) for number in range(int(48 * H / seconds)))


NOISE = [random.Random(seed).uniform(-1, 1) for seed in range(997)]


@pytest.mark.parametrize(
    ("wave", "percent"),
    [([0, 1, 0, -1], 1.5), ([0, 1, 0, -1], 8.0), ([0, -1, 0, 1], 1.5), (NOISE, 0.8), (NOISE, 1.5), (NOISE, 3.0)],
)
def test_a_dead_level_that_ripples_stops_its_pump_for_good(wave: list[float], percent: float) -> None:
    one = bench(level=30)
    for at, share in _ripple(wave):
        one.plan(at, "level", 30 + percent * share)
    one.until(4 * H)
    one.restart()
    one.until(47 * H)
    assert [(at, value) for at, _, value, _ in one.edges] == [(0.0, True), (pytest.approx(8 * H, abs=900), False)]
    assert [kind for _, kind in one.of("fill_too_long")] == ["alarm"]


@pytest.mark.parametrize(
    ("wave", "percent_per_hour"),
    [([0, 1, 0, -1], 0.3), ([0, 1, 0, -1], 0.5), ([0, 1, 0, -1], 4.0), (NOISE, 0.5), (NOISE, 1.0), (NOISE, 4.0)],
)
@pytest.mark.parametrize("percent", [0.8, 1.5, 3.0])
def test_a_slow_fill_that_ripples_is_no_fault(wave: list[float], percent: float, percent_per_hour: float) -> None:
    one = bench(level=30)
    for at, share in _ripple(wave):
        one.plan(at, "level", 30 + percent_per_hour * at / H + percent * share)
    one.until(min(47.0, 50 / percent_per_hour) * H)
    assert one.of("fill_too_long") == [] and [value for _, _, value, _ in one.edges][:1] == [True]


def test_a_level_that_stands_still_while_its_outlet_flows_is_told() -> None:
    one = bench(replace(RESERVOIR, outlet=Outlet("out", 0.1)), level=60)
    one.set("out", 3.0)
    one.plan(6 * H, "out", 0.0)
    one.plan(8 * H, "out", 3.0)
    one.until(30 * H)
    assert one.of("sensor_stuck") == [(14 * H, "alarm")]
    one.set("level", 58.0)
    assert one.of("sensor_stuck")[-1] == (30 * H, "cleared")


def test_a_counter_at_the_outlet_flows_as_long_as_it_grows() -> None:
    one = bench(replace(RESERVOIR, outlet=Outlet("out", counts=True)), level=60)
    for hour in range(1, 30):
        one.plan(hour * H * 0.9, "out", 1000 + 100 * hour)
    one.until(20 * H)
    assert [kind for _, kind in one.of("sensor_stuck")] == ["alarm"]
    quiet = bench(replace(RESERVOIR, outlet=Outlet("out", counts=True)), level=60)
    quiet.set("out", 1000)
    quiet.until(100 * H)
    assert quiet.events == []


def test_no_limit_means_none() -> None:
    one = bench(replace(RESERVOIR, standstill=Standstill(None, None)), level=39)
    one.until(48 * H)
    assert one.value("well") is True and one.events == []


def test_two_pumps_of_one_tank_each_have_their_own_run() -> None:
    """The level rises by the other pump: nothing is stuck."""
    one = bench(level=39)
    for hour in range(1, 13):
        one.plan(hour * H, "level", 39 + 3 * hour)
    one.until(12 * H)
    assert one.events == []


@pytest.mark.parametrize("heard", [True, False], ids=["first look with it", "and without"])
def test_an_alarm_of_before_a_start_ends_with_a_good_reading_only(heard: bool) -> None:
    """The first look after a start comes before the sensors have spoken."""
    one = bench(DRY, flow=1.0)
    one.until(10)
    one.set("level", None, Quality.BAD)
    one.set("flow", None, Quality.BAD)
    raised = [("alarm", "level_fault"), ("alarm", "sensor_fault")]
    assert sorted((kind, code) for _, kind, code in one.events) == raised
    one.restart(heard=heard)
    one.until(30)
    assert len(one.events) == 2
    assert one.value("well") is False
    one.set("level", 60)
    one.set("flow", 1.0)
    assert sorted((kind, code) for _, kind, code in one.events[2:]) == [
        ("cleared", "level_fault"), ("cleared", "sensor_fault"),
    ]  # fmt: skip


def test_a_dry_run_that_is_not_looked_for_any_more_holds_no_pump() -> None:
    one = bench(DRY, level=30, flow=0.0)
    one.until(60)
    assert one.value("well") is False and ("alarm", "dry_run") in [(kind, code) for _, kind, code in one.events]
    one.control = RESERVOIR
    one.restart()
    one.until(one.t + 1)
    assert one.value("well") is True
    assert one.events[-1][1:] == ("cleared", "dry_run")
