"""Districts: balance of the day, yield, and the flow of the night against the nights before."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.control.calendar import Calendar
from agent.lib.counter import Dial
from agent.model import Quality
from agent.services.water.cuts import DistrictMeter, Storage
from agent.services.water.districts import District, NightAlarm
from tests.services.water.bench import Bench

H, DAY = 3600.0, 86400.0
PARIS = Calendar("Europe/Paris")
NORTH = District("north", PARIS, (DistrictMeter("in"),), (DistrictMeter("out", 1000.0),))
STORED = replace(NORTH, storage=Storage("level", 120_000.0))
WATCHED = replace(NORTH, outflows=(), alarm=NightAlarm(500.0, 6))


def bench(district: District, start: str = "2026-05-20T00:00:00") -> Bench:
    return Bench(district, start, {})


def told(one: Bench) -> dict[str, object]:
    found = {**one.control.figures(one.state), **one.control.facts(one.state)}
    return {name.removeprefix("north."): value for name, value in found.items()}


def flow(one: Bench, meter: str, litres_an_hour: float, begin: float, end: float, every: float, index: float) -> float:
    """Readings of an index on a grid; the last one."""
    steps = round((end - begin) / every)
    for step in range(1, steps + 1):
        one.plan(begin + step * every, meter, round(index + litres_an_hour * step * every / H, 3))
    return round(index + litres_an_hour * (end - begin) / H, 3)


def test_the_balance_and_the_yield_of_a_day() -> None:
    one = bench(NORTH)
    one.set("in", 5000)
    one.set("out", 7.0)
    flow(one, "in", 1000, 0, 49 * H, 600, 5000)
    flow(one, "out", 0.8, 0, 49 * H, 3600, 7.0)  # m3
    one.until(25 * H)
    assert "balance" not in told(one), "the first day was not watched from its midnight"
    one.until(49 * H)
    assert told(one) == {
        "in": 24.0, "out": 19.2, "balance": 4.8, "yield": 80.0, "night_flow": 0.2, "day": "2026-05-21",
    }  # fmt: skip


@pytest.mark.parametrize(("offset", "every"), [(0, 3600), (1799, 3600), (0, 3500), (700, 4100)])
def test_meters_that_are_read_at_other_times_are_compared_at_one(offset: float, every: float) -> None:
    """Readings of one flow, about each hour and each ten minutes, whatever their phase: nothing is lost."""
    one = bench(replace(NORTH, outflows=(DistrictMeter("out"),)))
    one.set("in", 0)
    one.set("out", 0)
    flow(one, "in", 1000, 0, 50 * H, 600, 0)
    flow(one, "out", 1000, offset, offset + 60 * every, every, 0)
    one.until(52 * H)
    assert told(one)["balance"] == pytest.approx(0, abs=0.002)
    assert told(one)["yield"] == pytest.approx(100, abs=0.01) and told(one)["night_flow"] == pytest.approx(0, abs=0.002)


def test_what_the_storage_gains_is_no_loss_though_its_level_ripples() -> None:
    noise = random.Random(3)
    one = bench(STORED)
    one.set("in", 0)
    one.set("out", 0.0)
    one.set("level", 40.0)
    flow(one, "in", 2000, 0, 50 * H, 60, 0)
    flow(one, "out", 1.0, 0, 50 * H, 60, 0)
    for minute in range(1, 50 * 60):
        true = 40 + minute / 60 / 1.2 if minute <= 24 * 60 else 60 + (minute - 1440) / 60 / 1.2
        one.plan(minute * 60.0, "level", round(true + noise.uniform(-0.5, 0.5), 2))
    one.until(49 * H)
    assert told(one)["growth"] == pytest.approx(24, abs=0.4)
    assert told(one)["balance"] == pytest.approx(0, abs=0.4) and told(one)["yield"] == pytest.approx(100, abs=2)


def test_kills_around_midnight_count_no_minute_of_the_level_twice() -> None:
    one = bench(replace(STORED, outflows=()))
    one.set("in", 0)
    one.set("level", 20.0)
    flow(one, "in", 2400, 0, 50 * H, 60, 0)
    for minute in range(1, 50 * 60):
        one.plan(minute * 60.0, "level", round(20 + minute / 60, 3))  # 1 % is 1.2 m3
    for seconds in range(-270, 300, 45):
        one.until(48 * H + seconds)
        one.restart()
    one.until(49 * H)
    assert told(one)["growth"] == pytest.approx(28.8, abs=0.002)
    assert told(one)["balance"] == pytest.approx(28.8, abs=0.002)


@pytest.mark.parametrize("quality", [Quality.STALE, Quality.BAD])
def test_a_meter_that_is_silent_over_midnight_makes_the_balance_unknown_and_not_wrong(quality: Quality) -> None:
    one = bench(NORTH)
    one.set("in", 0)
    one.set("out", 0.0)
    flow(one, "in", 1000, 0, 100 * H, 600, 0)
    flow(one, "out", 0.9, 0, 47 * H, 600, 0)
    one.plan(47 * H + 60, "out", None, quality)
    one.until(49 * H)
    flow(one, "out", 0.9, 54 * H, 100 * H, 600, 54 * 0.9)
    one.until(53 * H)
    assert "balance" not in told(one), "it may still come"
    one.until(60 * H)
    assert "balance" not in told(one) and "yield" not in told(one) and "day" not in told(one)
    assert one.of("sensor_fault")[0][1] == "alarm"
    assert {"signal": "out", "reason": "the balance is not known"} in one.details
    one.until(75 * H)
    assert one.of("sensor_fault")[-1][1] == "cleared"
    assert "balance" not in told(one), "the day that began with the midnight that is not known"
    one.until(99 * H)
    assert told(one)["day"] == "2026-05-23" and told(one)["balance"] == 2.4


def test_a_reading_that_is_hours_late_is_waited_for() -> None:
    one = bench(NORTH)
    one.set("in", 0)
    one.set("out", 0.0)
    flow(one, "in", 1000, 0, 60 * H, 600, 0)
    flow(one, "out", 1.0, 0, 47 * H, 3600, 0)
    flow(one, "out", 1.0, 51 * H, 60 * H, 3600, 51.0)  # from 47 h to 52 h nothing
    one.until(51.5 * H)
    assert "balance" not in told(one)
    one.until(53 * H)
    assert told(one)["balance"] == 0.0 and told(one)["day"] == "2026-05-21"
    one.until(60 * H)
    assert "night_flow" not in told(one), "five hours say nothing of a night of two"


def test_a_swapped_meter_adds_nothing() -> None:
    one = bench(NORTH)
    one.set("in", 0)
    one.set("out", 0.0)
    end = flow(one, "in", 1000, 0, 30 * H, 600, 0)
    flow(one, "out", 1.0, 0, 50 * H, 600, 0)
    one.until(30 * H + 1)
    assert one.control.swapped(one.state, "other", 5.0) is None and end == 30_000
    one.state = one.control.swapped(one.state, "in", 5.0)
    flow(one, "in", 1000, 30 * H, 50 * H, 600, 5)
    one.until(49 * H)
    assert told(one)["balance"] == pytest.approx(0, abs=0.001)


def test_a_swapped_meter_counts_up_to_where_it_stood() -> None:
    one = bench(replace(NORTH, outflows=()))
    one.set("in", 0)
    flow(one, "in", 1000, 0, 30 * H, 600, 0)
    one.until(30 * H + 1)
    one.points["in"] = one.points["in"]._replace(value=30_150, at=one.now.monotonic)  # not looked at: no cut is near
    one.state = one.control.swapped(one.state, "in", 5.0, 30_150.0)
    one.set("in", 5.0)
    flow(one, "in", 1000, 30 * H, 50 * H, 600, 5)
    one.until(49 * H)
    assert told(one)["in"] == pytest.approx(24.15, abs=0.001)


def test_a_meter_without_a_signal_that_is_replaced_is_told_and_adds_nothing() -> None:
    dial = Dial(digit=1.0, rate=5.0, slack=1000.0)
    one = bench(replace(NORTH, inflows=(DistrictMeter("in", dial=dial),), outflows=()))
    one.set("in", 50_000)
    flow(one, "in", 1000, 0, 30 * H, 60, 50_000)
    flow(one, "in", 1000, 30 * H, 50 * H, 60, 20)  # another meter
    one.until(49 * H)
    assert one.of("meter_replaced") == [(30 * H + 180, "change")]
    assert told(one)["in"] == pytest.approx(24, abs=0.05)


def test_a_doubted_count_is_no_reading() -> None:
    one = bench(replace(NORTH, outflows=()))
    one.set("in", 0)
    flow(one, "in", 1000, 0, 50 * H, 600, 0)
    one.until(23 * H)
    one.points["in"] = one.points["in"]._replace(value=9_999_999, doubted=True)
    one.settle()
    assert one.state.meters[0].total == 23_000


# -- nights ----------------------------------------------------------------------------------------------------


def nights(one: Bench, flows: list[float], first: int = 0, restart: bool = False) -> list[tuple[float, str]]:
    """Days with this flow (L/h) around the clock; the alarms with their day."""
    index = 0.0 if first == 0 else float(one.points["in"].value)
    if first == 0:
        one.set("in", 0)
    for day, litres in enumerate(flows, first):
        index = flow(one, "in", litres, day * DAY, (day + 1) * DAY, 1800, index)
        one.until((day + 1) * DAY)
        if restart:
            one.restart()
    return [(at // DAY, kind) for at, kind in one.of("leak_night")]


def test_a_night_is_compared_with_the_median_of_those_before_it() -> None:
    one = bench(WATCHED)
    assert nights(one, [300, 500, 400, 901, 900, 300, 300]) == [(3, "alarm"), (4, "cleared")]
    assert one.details[0] == {"flow": 0.901, "median": 0.4}
    assert told(one)["night_median"] == 0.35 and told(one)["night_flow"] == 0.3


def test_before_there_are_nights_enough_there_is_no_median() -> None:
    one = bench(WATCHED)
    assert nights(one, [300, 300, 5000]) == []
    assert one.state.nights == (300, 300, 5000)
    fortnight = bench(replace(WATCHED, alarm=NightAlarm(500.0)))
    assert nights(fortnight, [300] * 6 + [5000]) == [], "seven nights of fourteen"
    fortnight = bench(replace(WATCHED, alarm=NightAlarm(500.0)))
    assert nights(fortnight, [300] * 7 + [5000]) == [(7, "alarm")]


def test_a_leak_never_becomes_usual_and_a_reset_learns_anew() -> None:
    one = bench(WATCHED)
    assert nights(one, [300] * 4 + [1000] * 10) == [(4, "alarm")]
    with pytest.raises(ValueError, match="reset"):
        one.command("north.baseline", "off")
    one.command("north.baseline", "reset")
    assert one.of("leak_night")[-1] == (14 * DAY, "cleared") and "night_median" not in told(one)
    assert nights(one, [1000] * 4, 14)[-1] == (14, "cleared")
    assert told(one)["night_median"] == 1.0


@pytest.mark.parametrize(("start", "hours"), [("2026-03-27T12:00:00", 1), ("2026-10-23T12:00:00", 3)])
def test_a_night_in_which_the_clock_changes(start: str, hours: int) -> None:
    """From 02:00 to 04:00 there is one hour in spring, and there are three in autumn."""
    one = bench(WATCHED, start)
    one.set("in", 0)
    flow(one, "in", 1200, 0, 60 * H, 60, 0)
    one.until(30 * H)
    seen = one.state.cuts
    one.until(42 * H)
    assert told(one)["night_flow"] == pytest.approx(1.2, abs=0.002)
    lasted = next(cut for cut in seen if cut.kind == "end").at - next(cut for cut in seen if cut.kind == "begin").at
    assert lasted == hours * H


def test_a_night_that_does_not_exist_is_not_judged() -> None:
    one = bench(replace(WATCHED, night=(120, 180)), "2026-03-28T12:00:00")
    one.set("in", 0)
    flow(one, "in", 1200, 0, 40 * H, 60, 0)
    one.until(24 * H)
    assert "night_flow" not in told(one)
    one.until(40 * H)
    assert told(one)["night_flow"] == pytest.approx(1.2, abs=0.002)


# -- restarts and clocks ---------------------------------------------------------------------------------------


def test_restarts_change_nothing() -> None:
    one = bench(WATCHED)
    assert nights(one, [300, 500, 400, 901, 900, 300, 300], restart=True) == [(3, "alarm"), (4, "cleared")]


@pytest.mark.parametrize("off", [60.0, 4 * H])
def test_a_power_cut_over_midnight(off: float) -> None:
    """The meters count on by themselves: what they show at midnight lies between the readings before and after."""
    one = bench(NORTH)
    one.set("in", 0)
    one.set("out", 0.0)
    flow(one, "in", 1000, 0, 47.9 * H, 360, 0)
    flow(one, "out", 1.0, 0, 47.9 * H, 360, 0)
    one.until(47.99 * H)
    back = one.t + off
    one.points["in"] = one.points["in"]._replace(value=back / 3.6)
    one.points["out"] = one.points["out"]._replace(value=back / H)
    one.reboot(off)
    flow(one, "in", 1000, one.t, one.t + 2 * H, 360, one.t / 3.6)
    flow(one, "out", 1.0, one.t, one.t + 2 * H, 360, one.t / H)
    one.until(one.t + 2 * H)
    assert told(one)["in"] == pytest.approx(24, abs=0.001) and told(one)["balance"] == pytest.approx(0, abs=0.001)


def test_a_box_that_was_off_for_a_day_has_no_balance_of_it() -> None:
    one = bench(NORTH)
    one.set("in", 0)
    one.set("out", 0.0)
    flow(one, "in", 1000, 0, 30 * H, 360, 0)
    flow(one, "out", 1.0, 0, 30 * H, 360, 0)
    one.until(30 * H)
    one.reboot(30 * H)
    one.set("in", 60_000)
    one.set("out", 60.0)
    flow(one, "in", 1000, one.t, 100 * H, 360, 60_000)
    flow(one, "out", 1.0, one.t, 100 * H, 360, 60.0)
    one.until(75 * H)
    assert "balance" not in told(one)
    one.until(97 * H)
    assert told(one)["balance"] == pytest.approx(0, abs=0.001) and told(one)["day"] == "2026-05-23"


def test_without_the_time_nothing_is_cut_and_a_leap_of_the_clock_blames_no_meter() -> None:
    one = bench(NORTH)
    one.set("in", 0)
    one.set("out", 0.0)
    flow(one, "in", 0, 0, 20 * H, 360, 0)
    flow(one, "out", 0, 0, 20 * H, 360, 0)
    one.until(20 * H)
    one.start = one.start.replace(day=one.start.day + 1)  # the clock was a day slow
    flow(one, "in", 1000, 20 * H, 60 * H, 360, 0)
    flow(one, "out", 1.0, 20 * H, 60 * H, 360, 0)
    one.until(59 * H)
    assert told(one)["balance"] == pytest.approx(0, abs=0.001) and told(one)["day"] == "2026-05-22"
    assert not one.of("sensor_fault")
    unknown = bench(NORTH)
    unknown.civil = False
    unknown.set("in", 0)
    unknown.until(100 * H)
    assert told(unknown) == {} and unknown.events == []


def test_other_meters_in_the_file_begin_anew() -> None:
    one = bench(WATCHED)
    nights(one, [300] * 4)
    kept = one.control.dump(one.state)
    assert WATCHED.load(kept).nights == (300,) * 4
    assert replace(WATCHED, inflows=(DistrictMeter("in"), DistrictMeter("new"))).load(kept).nights == ()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(10, 3000), st.integers(60, 3500)), min_size=60, max_size=120),
    st.lists(st.integers(0, 40), max_size=3),
)
def test_all_that_came_in_went_somewhere(draws: list[tuple[float, int]], kills: list[int]) -> None:
    """The same water through both meters, read at any times, over restarts: every balance is that of rounding."""
    one = bench(replace(NORTH, outflows=(DistrictMeter("out"),)))
    one.set("in", 0)
    one.set("out", 0)
    index = 0.0
    for place, (litres, wait) in enumerate(draws):
        one.until(one.t + wait)
        index = round(index + litres * wait / H, 3)
        one.set("in", index)
        one.set("out", index)
        if place in kills:
            one.restart()
        found = told(one)
        assert abs(found.get("balance", 0.0)) <= 0.002 and abs(found.get("night_flow", 0.0)) <= 0.002


def test_a_step_is_short() -> None:
    one = bench(replace(STORED, alarm=NightAlarm(500.0)))
    for name, value in (("in", 0), ("out", 0.0), ("level", 50.0)):
        one.set(name, value)
    begun, steps = time.process_time(), 2000
    for step in range(steps):
        one.t += 10
        one.points["level"] = one.points["level"]._replace(value=50 + step % 7, at=one.now.monotonic)
        found = one.control.step(one.state, _view(one), one.now)
        one.state = found.state
    assert (time.process_time() - begun) / steps < 2e-4, "0.1 ms, with a margin for a busy machine"


def _view(one: Bench):
    from agent.control.api import View

    return View(one.points, one.outputs)
