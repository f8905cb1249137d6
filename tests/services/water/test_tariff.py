"""A tank that is filled while the current is cheap, and one that is filled without a level."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from agent.control.api import Now, View
from agent.control.calendar import Calendar
from agent.control.week import Span, Week
from agent.model import Quality, Value
from agent.services.water.level_lost import FILL, LevelLost
from agent.services.water.pump import DryRun, PumpSpec
from agent.services.water.rotation import Rotation
from agent.services.water.tank_level import Standstill
from agent.services.water.tanks import Group, Outlet, Tank
from agent.services.water.tariff import CHEAP, OTHERWISE, FillLevels, Tariff, TariffPoint
from tests.services.water.bench import PARIS, Bench

H = 3600.0


def daily(start: float, end: float, mode: str) -> Week:
    return Week(Calendar("Europe/Paris"), "else", ((Span(start * 60, end * 60, mode),),) * 7)


NIGHT = Tariff(daily(22.5, 30.5, CHEAP), FillLevels(60, 92), FillLevels(35, 50))
LINKY = replace(NIGHT, by=TariffPoint("tariff", "HC"))
PLAIN = Tank("reservoir", "level", (PumpSpec("well"),), standstill=Standstill(None, None))


def bench(control: Tank, start: str = "2026-07-01T12:00:00", level: float = 55.0, **points: Value) -> Bench:
    one = Bench(control, start, {pump.actuator: False for pump in control.pumps})
    for name, value in {**points, "level": level}.items():
        one.set(name, value)
    return one


def starts(one: Bench) -> list[tuple[float, Value]]:
    return [(round(at / H, 3), value) for at, _, value, _ in one.edges]


def test_the_levels_of_the_cheap_hours_and_of_the_others() -> None:
    one = bench(replace(PLAIN, tariff=NIGHT))
    for hour, level in ((12, 72), (16, 91.9), (16.5, 92), (20, 40), (22, 35), (22.5, 49.9), (22.6, 50)):
        one.plan(hour * H, "level", level)
    one.until(24 * H)
    assert starts(one) == [(10.5, True), (16.5, False), (22, True), (22.6, False)]


def test_the_end_of_the_cheap_hours_ends_a_fill_that_is_high_enough() -> None:
    one = bench(replace(PLAIN, tariff=NIGHT), "2026-07-01T20:00:00")
    one.plan(4 * H, "level", 70)
    one.until(12 * H)
    assert starts(one) == [(2.5, True), (10.5, False)]
    low = bench(replace(PLAIN, tariff=NIGHT), "2026-07-01T20:00:00")
    low.plan(4 * H, "level", 45)
    low.until(12 * H)
    assert starts(low) == [(2.5, True)], "it goes on to 50 %"


@pytest.mark.parametrize(
    ("night", "begins", "ends"), [("2026-03-28", 2.5, 9.5), ("2026-10-24", 2.5, 11.5), ("2026-06-20", 2.5, 10.5)]
)
def test_the_hours_are_those_of_the_wall_clock_in_a_night_of_change(night: str, begins: float, ends: float) -> None:
    one = bench(replace(PLAIN, tariff=NIGHT), f"{night}T20:00:00")
    one.until(20 * H)
    assert starts(one) == [(begins, True), (ends, False)]


def test_a_time_that_is_not_known_is_not_cheap() -> None:
    one = bench(replace(PLAIN, tariff=NIGHT), "2026-07-01T23:00:00")
    assert one.value("well") is True
    dark = Bench(replace(PLAIN, tariff=NIGHT), "2026-07-01T23:00:00", {"well": False})
    dark.civil = False
    dark.set("level", 55)
    dark.until(H)
    assert dark.value("well") is False
    dark.set("level", 35)
    assert dark.value("well") is True, "and there is water all the same"


def test_a_clock_that_is_not_trusted_goes_on_as_it_was() -> None:
    one = bench(replace(PLAIN, tariff=NIGHT), "2026-07-01T20:00:00")
    one.trusted = False
    one.until(4 * H)
    assert starts(one) == [(2.5, True)]


@pytest.mark.parametrize("word", ["HC", "HC..", "hc"])
def test_a_point_says_when_it_is_cheap(word: str) -> None:
    one = bench(replace(PLAIN, tariff=LINKY), tariff="HP..")
    one.plan(H, "tariff", word)
    one.plan(2 * H, "tariff", "HP..")
    one.until(3 * H)
    assert starts(one) == [(1, True), (2, False)]


@pytest.mark.parametrize(("wanted", "value", "fits"), [
    (True, True, True), (True, 0, False), (False, 0, True), (2.0, 2, True), (2.0, 1, False), ("HC", 1, False),
    (True, "HC", False), (True, None, False), ("HC", None, False),
])  # fmt: skip
def test_what_fits(wanted: Value, value: Value, fits: bool) -> None:
    assert TariffPoint("tariff", wanted).fits(value) is fits


@pytest.mark.parametrize("quality", [Quality.BAD, Quality.STALE])
def test_a_pause_of_the_meter_ends_no_fill_and_a_long_one_is_not_cheap(quality: Quality) -> None:
    one = bench(replace(PLAIN, tariff=LINKY), tariff="HC")
    one.until(H)
    at = one.points["tariff"].at
    one.points["tariff"] = one.points["tariff"]._replace(quality=quality, at=one.now.monotonic)
    one.settle()
    one.until(H + 899)
    assert one.value("well") is True
    one.until(H + 901)
    assert one.value("well") is False and at < one.now.monotonic
    one.restart()
    assert one.value("well") is False
    one.set("level", 34)
    assert one.value("well") is True


def test_below_low_the_price_does_not_matter() -> None:
    one = bench(replace(PLAIN, tariff=NIGHT), level=9)
    one.until(70)
    assert one.value("well") is True


def test_both_pumps_run_below_whatever_the_tariff() -> None:
    pumps = (PumpSpec("p1"), PumpSpec("p2"))
    tank = replace(PLAIN, pumps=pumps, group=Group(Rotation(("p1", "p2")), both_below=15), tariff=NIGHT)
    one = bench(tank, level=14)
    one.until(600)
    assert one.value("p1") and one.value("p2")
    one.set("level", 35)
    assert [one.value("p1"), one.value("p2")].count(True) == 1
    assert tank.tariff_now(one.state) == OTHERWISE


# -- a level that is lost --------------------------------------------------------------------------------------

LOST = LevelLost(2 * H, daily(2, 4.5, FILL), 3 * H, 2.5 * H)
BLIND = replace(PLAIN, level_lost=LOST)


def lose(one: Bench, at: float, quality: Quality = Quality.BAD) -> None:
    one.plan(at, "level", None if quality is Quality.BAD else 55.0, quality)


@pytest.mark.parametrize("quality", [Quality.BAD, Quality.STALE])
def test_it_is_filled_in_its_hours_until_the_level_is_back(quality: Quality) -> None:
    one = bench(BLIND)
    lose(one, 6 * H, quality)
    one.plan(40 * H, "level", 50.0)
    one.until(60 * H)
    assert starts(one) == [(14, True), (16.5, False), (38, True), (40, False)]
    assert one.of("level_lost") == [(8 * H, "alarm"), (40 * H + 300, "cleared")]
    assert one.of("level_fault") == [(6 * H, "alarm"), (40 * H, "cleared")]


def test_no_earlier_than_after() -> None:
    one = bench(BLIND)
    lose(one, 13 * H)
    one.until(24 * H)
    assert starts(one) == [(15, True), (16.5, False)]


def test_at_most_so_long_in_a_night() -> None:
    one = bench(replace(BLIND, level_lost=replace(LOST, at_most=1 * H)))
    lose(one, H)
    one.until(48 * H)
    assert starts(one) == [(14, True), (15, False), (38, True), (39, False)]


@pytest.mark.parametrize("after", [600.0, 1700.0, 2900.0])
def test_a_kill_or_a_power_cut_in_the_middle_gives_no_second_ration(after: float) -> None:
    one = bench(replace(BLIND, level_lost=replace(LOST, at_most=1 * H)))
    lose(one, H)
    one.until(14 * H + after)
    one.restart()
    one.until(14 * H + after + 60)
    one.reboot(120)
    one.until(20 * H)
    ran = sum(at for at, _, value, _ in one.edges if not value) - sum(at for at, _, value, _ in one.edges if value)
    assert H - 1 <= ran <= H + 600 + 120


def test_a_command_does_not_fill_beyond_it() -> None:
    one = bench(BLIND)
    lose(one, H)
    one.until(14 * H)
    one.override("well", True)
    one.until(24 * H)
    assert starts(one) == [(14, True), (16.5, False)] and one.outputs["well"].priority == 5


def test_a_dry_run_stops_it_too() -> None:
    one = bench(replace(BLIND, pumps=(PumpSpec("well", DryRun("flow")),)), flow=0.0)
    lose(one, H)
    one.until(24 * H)
    assert one.state.pumps[0].latched
    assert one.of("dry_run") == [(14 * H + 45, "alarm"), (14 * H + 735, "change")]


def test_a_level_that_comes_and_goes_is_lost_all_the_same() -> None:
    one = bench(BLIND)
    for quarter in range(4, 60):
        one.plan(900.0 * quarter, "level", None, Quality.BAD)
        one.plan(900.0 * quarter + 700, "level", 55.0)
    one.plan(900.0 * 60, "level", None, Quality.BAD)
    one.until(24 * H)
    assert one.of("level_lost")[0] == (H + 2 * H, "alarm") and (15, True) in starts(one)


def test_a_level_that_stands_still_is_lost() -> None:
    one = bench(replace(BLIND, standstill=Standstill(3 * H, None)), level=39)
    one.until(40 * H)
    assert one.of("sensor_stuck") == [(3 * H, "alarm")]
    assert starts(one) == [(0, True), (3, False), (14, True), (16.5, False), (38, True)]
    full = bench(replace(BLIND, standstill=Standstill(3 * H, None), outlet=Outlet("out", 0.1)), level=96, out=3.0)
    full.until(40 * H)
    assert full.of("sensor_stuck") == [(12 * H, "alarm")]
    assert starts(full) == [], "one that says full is believed"


def test_a_tank_that_was_full_when_its_level_was_lost_is_filled() -> None:
    one = bench(BLIND, level=96)
    lose(one, H)
    one.until(24 * H)
    assert starts(one) == [(14, True), (16.5, False)]


def test_a_time_that_is_not_known_fills_once_in_24_hours() -> None:
    one = Bench(BLIND, "2026-07-01T12:00:00", {"well": False})
    one.civil = False
    one.set("level", 55)
    lose(one, H)
    one.until(60 * H)
    assert starts(one) == [(3, True), (5.5, False), (27, True), (29.5, False), (51, True), (53.5, False)]


def test_several_pumps_share_the_ration_and_take_over() -> None:
    pumps = (PumpSpec("p1"), PumpSpec("p2"))
    one = bench(replace(BLIND, pumps=pumps, group=Group(Rotation(("p1", "p2")))))
    one.broken = {"p1"}
    lose(one, H)
    one.until(24 * H)
    ran = [(round(at, 1), name, value) for at, name, value, _ in one.edges]
    assert ran == [(14 * H + 60, "p2", True), (16.5 * H, "p2", False)]


def test_the_hours_are_those_of_the_wall_clock_in_october() -> None:
    one = bench(replace(BLIND, level_lost=replace(LOST, at_most=10 * H)), "2026-10-24T12:00:00")
    lose(one, H)
    one.until(24 * H)
    assert starts(one) == [(14, True), (17.5, False)], "02:00 comes twice"


def test_without_the_key_it_is_off_as_it_always_was() -> None:
    one = bench(PLAIN, level=39)
    lose(one, H)
    one.until(48 * H)
    assert starts(one) == [(0, True), (1, False)] and one.of("level_lost") == []


def test_a_step_is_quick() -> None:
    """The limit of a control's step is 0.1 ms."""
    from timeit import timeit

    pumps = (PumpSpec("p1", DryRun("flow"), "hot1"), PumpSpec("p2", DryRun("flow"), "hot2"))
    group = Group(Rotation(("p1", "p2")), both_below=15)
    tank = replace(PLAIN, pumps=pumps, group=group, tariff=NIGHT, level_lost=LOST)
    one = bench(tank, flow=5.0, hot1=0, hot2=0)
    civil = datetime(2026, 7, 1, 14, tzinfo=PARIS)
    state, view, number = one.state, View(one.points, one.outputs), 2000

    def step() -> None:
        nonlocal civil
        civil += timedelta(seconds=60)
        tank.step(state, view, Now(one.now.monotonic + 60, civil, True))

    assert min(timeit(step, number=number) for _ in range(3)) / number < 1e-3  # a slow machine is no failure
