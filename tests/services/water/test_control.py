"""Water points: what their meters, valves and drains do in the course of days. Hours are seconds / 3600."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.control.api import View
from agent.control.calendar import Calendar
from agent.control.week import Span, Week
from agent.lib.counter import Dial
from agent.model import Quality
from agent.services.water import build
from agent.services.water.control import Flush, Quota, WaterPoint
from agent.services.water.frost import Frost
from agent.services.water.hours import OpeningHours
from agent.services.water.leaks import Leak, NightFlow
from agent.services.water.meter import Meter
from agent.services.water.valve import Valve
from agent.site.loader import load
from tests.services.water.bench import Bench

H = 3600.0
CALENDAR = Calendar("Europe/Paris", "FR", "A")
SITE = Path(__file__).parents[2] / "cases" / "saint-seine.yaml"
FOUNTAIN = WaterPoint("fountain", "ct", CALENDAR, pulse=10.0)
VALVED = replace(FOUNTAIN, valve=Valve("ev1", travel=20.0))
DRAINED = replace(VALVED, drain=Valve("ev2", normally_open=True, travel=20.0), frost=Frost("air", CALENDAR))
NIGHT = Leak(
    night=NightFlow(CALENDAR, 120, 240, 10.0), continuous=6 * H, burst=(1500.0, 180.0), closed=20.0, pulse=10.0
)
DAY = (Span(420, 1260, "open"),)
HOURS = OpeningHours(Week(CALENDAR, "closed", (DAY,) * 7))


def controls(site):
    return build.controls(site, site.water)



def bench(point: WaterPoint, start: str = "2026-07-01T00:00:00", **points: Any) -> Bench:
    """Stands with an index of 1000 L and 10 degrees outside."""
    found = Bench(point, start, {"ev1": False, "ev2": False})
    for name, value in {"ct": 1000, "air": 10.0, **points}.items():
        found.set(name, value)
    return found


# -- the meter -------------------------------------------------------------------------------------------------


def test_flow_is_the_volume_of_a_pulse_over_the_interval_and_decays_while_none_comes() -> None:
    meter = Meter().read(0, 0.0, 10).read(10, 100.0, 10)
    assert meter.flow(100.0) == 0  # one pulse is no interval
    meter = meter.read(20, 124.0, 10)
    assert meter.flow(124.0) == meter.flow(140.0) == pytest.approx(1500)
    assert meter.flow(124.0 + 48) == pytest.approx(750)
    assert meter.falls_to(750) == pytest.approx(124.0 + 48)


@pytest.mark.parametrize(("litres", "drawn"), [(990, False), (0, False), (50_000, False), (1100, True)])
def test_an_implausible_jump_is_another_meter_and_never_a_volume(litres: float, drawn: bool) -> None:
    one = bench(replace(FOUNTAIN, quota=Quota(2000.0)))
    one.until(60)
    one.set("ct", litres)
    assert one.of("meter_replaced") == ([] if drawn else [(60.0, "change")])
    assert one.state.meter.index - one.state.day_index == (100 if drawn else 0)


# -- leaks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flow", "found"), [(30.0, True), (11.0, True), (10.0, False), (5.0, False)])
def test_night_minimum(flow: float, found: bool) -> None:
    one = bench(replace(FOUNTAIN, leak=replace(NIGHT, continuous=None)))
    one.pulses("ct", flow, 0, 6 * H, 1000)
    one.until(6 * H)
    assert one.of("leak_night") == ([(4 * H, "alarm")] if found else [])


def test_a_draw_at_night_is_no_leak_and_the_next_quiet_night_clears_one() -> None:
    one = bench(replace(FOUNTAIN, leak=replace(NIGHT, continuous=None)))
    index = one.pulses("ct", 30, 0, 5 * H, 1000)
    one.pulses("ct", 600, 27 * H, 27.2 * H, index)
    one.until(40 * H)
    assert one.of("leak_night") == [(4 * H, "alarm"), (26 * H, "cleared")]


def test_a_night_that_was_not_watched_from_its_beginning_says_nothing() -> None:
    one = bench(replace(FOUNTAIN, leak=NIGHT), "2026-07-01T02:30:00")
    one.pulses("ct", 30, 0, 5 * H, 1000)
    one.until(5 * H)
    assert one.of("leak_night") == []


def test_a_meter_that_is_lost_at_night_says_nothing_of_it() -> None:
    one = bench(replace(FOUNTAIN, leak=NIGHT))
    index = one.pulses("ct", 30, 0, 3 * H, 1000)
    one.plan(3 * H + 1, "ct", index, Quality.STALE)
    one.pulses("ct", 30, 3.2 * H, 5 * H, index)
    one.until(5 * H)
    assert one.of("leak_night") == []


@pytest.mark.parametrize(
    ("start", "end"), [("2026-03-29T00:00:00", 3 * H), ("2026-10-25T00:00:00", 5 * H)], ids=["spring", "autumn"]
)
def test_night_when_the_clocks_change(start: str, end: float) -> None:
    one = bench(replace(FOUNTAIN, leak=NIGHT), start)
    one.pulses("ct", 30, 0, 6 * H, 1000)
    one.until(5.5 * H)
    assert one.of("leak_night") == [(end, "alarm")]


def test_continuous_flow_of_six_hours_and_a_pause_that_ends_it() -> None:
    one = bench(replace(FOUNTAIN, leak=replace(NIGHT, night=None)))
    index = one.pulses("ct", 60, 0, 8 * H, 1000)
    one.pulses("ct", 60, 12 * H, 13 * H, index)
    one.until(20 * H)
    assert one.of("leak_continuous") == [(600 + 6 * H, "alarm"), (8 * H + 720, "cleared")]


def test_a_pause_starts_the_six_hours_anew() -> None:
    one = bench(replace(FOUNTAIN, leak=replace(NIGHT, night=None)))
    index = one.pulses("ct", 60, 0, 5 * H, 1000)
    one.pulses("ct", 60, 5.1 * H, 11 * H, index)
    one.until(13 * H)
    assert one.of("leak_continuous") == []


@pytest.mark.parametrize(
    ("pulse", "pause", "interval", "quiet"),
    [(10, None, 0, 720), (1, None, 10, 72), (0.1, None, 0, 60), (100, None, 0, H), (1000, None, 0, H),
     (10, 300.0, 0, 300), (1, None, H, 1.25 * H), (10, None, 600, 750), (10, 1800.0, 600, 1800)],
)  # fmt: skip
def test_a_pause_follows_from_the_pulse_and_the_interval_of_the_meter(pulse, pause, interval, quiet) -> None:
    assert Leak(pulse=pulse, pause=pause, interval=interval).quiet == quiet


@pytest.mark.parametrize("pulse", [1.0, 10.0, 100.0])
def test_a_public_toilet_is_no_leak(pulse: float) -> None:
    """9 L in a minute, every 20 min from 8 to 20."""
    one = bench(replace(FOUNTAIN, pulse=pulse, leak=replace(NIGHT, night=None, pulse=pulse)))
    drawn, shown = 1000.0, 1000.0
    for flush in range(36):
        for second in range(0, 60, 6):
            drawn += 0.9
            if drawn - shown >= pulse:
                shown += pulse * ((drawn - shown) // pulse)
                one.plan(8 * H + flush * 1200 + second, "ct", shown)
    one.until(24 * H, every=10.0)
    assert one.of("leak_continuous") == []


@pytest.mark.parametrize(
    ("growth", "lost", "found"),
    [([12] * 9, (), True), ([12] * 9, (4,), True), ([12, 12, 12, 12, 0, 12, 12, 12], (), False), ([0] * 9, (), False)],
    ids=["each hour", "one reading lost", "a dry hour", "nothing"],
)
def test_an_hourly_meter_is_judged_by_its_own_interval(growth: list[int], lost: tuple[int, ...], found: bool) -> None:
    """1 L a pulse, read once an hour and some seconds."""
    one = bench(replace(FOUNTAIN, pulse=1.0, leak=Leak(continuous=6 * H, pulse=1.0, interval=H)))
    index = 1000
    for hour, litres in enumerate(growth, 1):
        index += litres
        if hour not in lost:
            one.plan(hour * 3607.0, "ct", index)
    one.until(9 * 3607.0, every=60.0)
    assert bool(one.of("leak_continuous")) is found


def test_an_hourly_meter_that_read_a_draw_of_the_evening_has_no_leak_at_night() -> None:
    one = bench(replace(FOUNTAIN, pulse=1.0, leak=replace(NIGHT, pulse=1.0, interval=H)))
    for hour, index in [(0.5, 1000), (1.5, 1050), (2.5, 1150), (3.5, 1150), (4.5, 1150)]:
        one.plan(hour * H, "ct", index)
    one.until(5 * H)
    assert one.of("leak_night") == []


def test_a_flush_is_neither_burst_nor_leak_and_the_burst_after_it_is() -> None:
    point = replace(VALVED, leak=replace(NIGHT, continuous=200.0), flush=Flush(1 * H, 300.0))
    one = bench(point)
    index = one.pulses("ct", 2000, 1 * H, 1 * H + 295, 1000)
    one.until(1.5 * H)
    assert one.of("flushed") == [(1 * H + 300, "change")]
    assert one.events == [(1 * H + 300, "change", "flushed")] and one.value("ev1") is True
    again = one.state.flushed - one.boot + 1 * H
    one.pulses("ct", 2000, again, again + 900, index)
    one.until(again + 900)
    assert [at > again + 300 + 180 for at, _ in one.of("burst")] == [True] and one.value("ev1") is False


def test_a_running_fountain_has_no_continuous_leak() -> None:
    one = bench(replace(FOUNTAIN, leak=replace(NIGHT, continuous=None, night=None)))
    one.pulses("ct", 30, 0, 20 * H, 1000)
    one.until(20 * H)
    assert one.events == []


@pytest.mark.parametrize(
    ("flow", "lasts", "found"), [(1500.0, 400.0, True), (1490.0, 400.0, False), (3000.0, 170.0, False)]
)
def test_burst(flow: float, lasts: float, found: bool) -> None:
    one = bench(replace(VALVED, leak=NIGHT), "2026-07-01T10:00:00")
    one.until(100)
    one.pulses("ct", flow, 100, 100 + lasts, 1000)
    one.until(1000)
    second_pulse = 100 + 2 * 36000 / flow
    assert one.of("burst") == ([(round(second_pulse + 180, 3), "alarm")] if found else [])
    assert one.value("ev1") is not found


def test_pulses_that_came_while_the_agent_was_away_go_on_with_a_burst() -> None:
    one = bench(replace(VALVED, leak=NIGHT), "2026-07-01T10:00:00")
    one.pulses("ct", 2000, 0, 60, 1000)
    one.until(60)
    for at in (126, 144, 162, 180, 198, 216):  # nothing was heard for four pulses, then it goes on
        one.plan(at, "ct", 1000 + at / 18 * 10)
    one.t, one.points = 120, {}
    one.restart()
    one.until(400)
    assert one.of("burst") == [(216.0, "alarm")]


def burst() -> Bench:
    one = bench(replace(VALVED, leak=NIGHT), "2026-07-01T10:00:00")
    one.pulses("ct", 3600, 100, 400, 1000)
    one.until(1000)
    assert one.edges[-1] == (300.0, "ev1", False, 2)
    return one


def test_a_latched_burst_outlives_a_restart_and_a_command_from_afar_until_it_is_reset() -> None:
    one = burst()
    one.restart()
    one.reboot(3 * H)
    one.override("ev1", True)
    assert one.value("ev1") is False
    with pytest.raises(ValueError, match=r'fountain\.latch takes "reset", not "?'):
        one.command("fountain.latch", "on")
    assert one.control.commands == ("fountain.latch",)
    one.command("fountain.latch", "reset")
    assert one.value("ev1") is True
    assert one.of("burst") == [(300.0, "alarm"), (one.t, "cleared")]


@pytest.mark.parametrize("without", [{"leak": replace(NIGHT, burst=None)}, {"latches": False}], ids=["burst", "latch"])
def test_a_burst_that_left_the_file_latches_no_valve(without: dict[str, Any]) -> None:
    """No command could reset it any more: none is taken."""
    one = burst()
    one.control = replace(one.control, **without)  # type: ignore[type-var]
    one.restart()
    one.until(one.t + H)
    assert one.value("ev1") is True
    assert [kind for _, kind in one.of("burst")] == ["alarm", "cleared"]


def test_frost_a_flush_and_a_door_that_left_the_file_hold_nothing() -> None:
    whole = replace(DRAINED, tamper="door", flush=Flush(), leak=NIGHT)
    one = bench(whole, "2026-01-15T10:00:00", air=1.0, door=True)
    assert one.value("ev1") is False
    one.control = replace(whole, frost=None, tamper=None)
    one.restart()
    one.until(one.t + 60)
    assert one.value("ev1") is True
    for code in ("frost_closed", "tamper"):
        assert [kind for _, kind in one.of(code)] == ["alarm", "cleared"]
    one.until(one.t + 72 * H + 60)
    assert one.outputs["ev1"].priority == 13, "it is flushed"
    one.control = replace(whole, frost=None, tamper=None, flush=None)
    one.restart()
    assert one.outputs["ev1"].priority == 15


def test_burst_that_only_alarms_is_over_with_its_flow() -> None:
    one = bench(replace(VALVED, leak=NIGHT, latches=False), "2026-07-01T10:00:00")
    one.pulses("ct", 3600, 100, 400, 1000)
    one.until(1000)
    assert one.value("ev1") is True
    assert [kind for _, kind in one.of("burst")] == ["alarm", "cleared"]
    assert one.control.commands == ()


def test_stale_and_bad_meters_start_a_burst_anew() -> None:
    one = bench(replace(VALVED, leak=NIGHT), "2026-07-01T10:00:00")
    index = one.pulses("ct", 3600, 0, 120, 1000)
    one.plan(121, "ct", index, Quality.BAD)
    one.pulses("ct", 3600, 122, 290, index)
    one.until(600)
    assert one.of("burst") == [] and one.value("ev1") is True


def test_with_the_valve_closed_only_the_flow_through_it_speaks() -> None:
    one = bench(replace(VALVED, leak=NIGHT, hours=HOURS), "2026-07-01T20:00:00")
    one.pulses("ct", 30, 0, 12 * H, 1000)
    one.until(12 * H)
    first = next(at for at, _ in one.of("flow_when_closed"))
    assert 1 * H + 20 < first <= 1 * H + 20 + 2 * 1200  # two pulses after the valve's travel
    assert one.of("leak_night") == one.of("leak_continuous") == []


def test_the_last_pulses_of_an_open_valve_are_no_flow_through_a_closed_one() -> None:
    one = bench(replace(VALVED, leak=NIGHT, hours=HOURS), "2026-07-01T20:00:00")
    index = one.pulses("ct", 600, 0, 1 * H, 1000)
    one.plan(1 * H + 25, "ct", index + 10)
    one.until(10 * H)
    assert one.events == []


def test_flow_when_closed_is_over_when_no_pulse_came_for_long_enough() -> None:
    one = bench(replace(VALVED, leak=NIGHT, hours=HOURS), "2026-07-01T22:00:00")
    one.pulses("ct", 60, 0, 2 * H, 1000)
    one.until(8 * H)
    assert [kind for _, kind in one.of("flow_when_closed")] == ["alarm", "cleared"]
    assert one.of("flow_when_closed")[1][0] == pytest.approx(2 * H + 10 * 3600 / 18)


@pytest.mark.parametrize("closed", [20.0, None])
def test_a_valve_that_leaks_for_hours_does_not_write_each_pulse_to_flash(closed: float | None) -> None:
    one = bench(replace(VALVED, leak=replace(NIGHT, closed=closed), hours=HOURS), "2026-07-01T22:00:00")
    one.pulses("ct", 3600, 60, 2 * H, 1000)
    marks = [one.control.mark(one.state)]
    for at in range(0, 7200, 5):
        one.until(at)
        marks.append(one.control.mark(one.state))
    writes = sum(before != after for before, after in itertools.pairwise(marks))
    assert writes <= 6  # the first pulses, the alarm, a night that begins; not 714 pulses


# -- hours, quota, flush, tamper -------------------------------------------------------------------------------


def test_opening_hours() -> None:
    one = bench(replace(VALVED, hours=HOURS))
    one.until(36 * H)
    assert one.edges == [(7 * H, "ev1", True, 15), (21 * H, "ev1", False, 15), (31 * H, "ev1", True, 15)]


@pytest.mark.parametrize(("start", "opens", "closes"), [("2026-03-29T00:00:00", 6, 20), ("2026-10-25T00:00:00", 8, 22)])
def test_opening_hours_on_the_days_when_the_clocks_change(start: str, opens: float, closes: float) -> None:
    one = bench(replace(VALVED, hours=HOURS), start)
    one.until(23 * H)
    assert [at / H for at, *_ in one.edges] == [opens, closes]


def test_without_a_known_time_the_valve_stays_closed_if_it_has_hours() -> None:
    one = Bench(replace(VALVED, hours=HOURS), "2026-07-01T10:00:00", {"ev1": False})
    one.civil = one.trusted = False
    one.until(2 * H)
    assert one.value("ev1") is False
    one.civil = True
    one.settle()
    assert one.value("ev1") is True


def test_a_normally_open_valve_is_closed_by_its_coil() -> None:
    one = bench(replace(FOUNTAIN, valve=Valve("ev1", normally_open=True), hours=HOURS))
    assert one.value("ev1") is True
    one.until(8 * H)
    assert one.value("ev1") is False


@pytest.mark.parametrize("close", [False, True])
def test_quota_of_a_day(close: bool) -> None:
    one = bench(replace(VALVED, quota=Quota(3000.0, close)))
    one.pulses("ct", 600, 6 * H, 12 * H, 1000)
    one.until(30 * H)
    passed = 6 * H + 301 * 60
    assert one.of("quota_exceeded") == [(passed, "alarm"), (24 * H, "cleared")]
    edges = [(passed, "ev1", False, 13), (24 * H, "ev1", True, 15)] if close else []
    assert one.edges == [(0.0, "ev1", True, 15), *edges]


def test_quota_counts_what_was_drawn_before_a_restart() -> None:
    one = bench(replace(VALVED, quota=Quota(100.0)))
    one.set("ct", 1080)
    one.restart(heard=False)
    one.set("ct", 1110)
    assert one.of("quota_exceeded") == [(0.0, "alarm")]


def test_flush_after_three_days_without_a_draw_with_its_volume() -> None:
    closed = OpeningHours(Week(CALENDAR, "closed", ((),) * 7))
    one = bench(replace(VALVED, hours=closed, flush=Flush()))
    one.pulses("ct", 600, 72 * H, 72 * H + 180, 1000)
    one.until(100 * H)
    assert one.edges == [(72 * H, "ev1", True, 13), (72 * H + 180, "ev1", False, 15)]
    assert one.events == [(72 * H + 180, "change", "flushed")]
    assert one.details == [{"litres": 30, "seconds": 180.0}]


def test_a_draw_puts_the_flush_off() -> None:
    one = bench(replace(VALVED, flush=Flush()))
    one.plan(50 * H, "ct", 1010)
    one.until(121 * H)
    assert one.of("flushed") == []
    one.until(123 * H)
    assert one.of("flushed") == [(122 * H + 180, "change")]


def test_frost_cuts_a_flush_short_and_it_is_made_again() -> None:
    one = bench(replace(DRAINED, hours=OpeningHours(Week(CALENDAR, "closed", ((),) * 7)), flush=Flush()))
    one.plan(72 * H + 60, "air", -1.0)
    one.plan(73 * H, "air", 5.0)
    one.until(90 * H)
    assert one.of("flushed") == [(72 * H + 60, "change"), (79 * H + 180, "change")]


def test_tamper_is_told_and_moves_nothing() -> None:
    one = bench(replace(VALVED, tamper="door"), "2026-07-01T10:00:00")
    before = list(one.edges)
    for value, quality in [(True, Quality.GOOD), (True, Quality.STALE), (None, Quality.BAD), (False, Quality.GOOD)]:
        one.set("door", value, quality)
    assert [kind for _, kind in one.of("tamper")] == ["alarm", "cleared"]
    assert one.edges == before


# -- frost -----------------------------------------------------------------------------------------------------


def test_frost_closes_drains_after_the_travel_and_opens_after_six_warm_hours() -> None:
    one = bench(DRAINED, "2026-01-15T12:00:00")
    one.until(100)
    assert one.edges == [(0.0, "ev2", True, 2), (20.0, "ev1", True, 15)]  # the drain is closed first
    for at, degrees in [(200, 2.0), (300, 1.9), (400, 3.0), (500, 4.1), (3 * H, 4.0), (4 * H, 4.5)]:
        one.plan(at, "air", degrees)
    one.until(11 * H)
    assert one.edges[2:] == [
        (300.0, "ev1", False, 2), (320.0, "ev2", False, 2), (10 * H, "ev2", True, 2), (10 * H + 20, "ev1", True, 15),
    ]  # fmt: skip
    assert one.of("frost_closed") == [(300.0, "alarm"), (10 * H, "cleared")]


@pytest.mark.parametrize(
    ("start", "cold"),
    [("2026-11-01T00", True), ("2026-03-31T23", True), ("2026-04-01T00", False), ("2026-10-31T12", False)],
)
@pytest.mark.parametrize("quality", [Quality.STALE, Quality.BAD])
def test_a_lost_sensor_is_frost_from_november_to_march(start: str, cold: bool, quality: Quality) -> None:
    one = bench(DRAINED, start)
    one.until(60)
    one.set("air", 15.0, quality)
    assert one.value("ev1") is not cold


def test_a_sensor_lost_in_winter_lets_go_six_hours_after_the_first_of_april() -> None:
    one = bench(DRAINED, "2026-03-31T12:00:00")
    one.set("air", None, Quality.BAD)
    one.until(20 * H)
    assert one.of("frost_closed") == [(0.0, "alarm"), (18 * H, "cleared")]


def test_a_sensor_lost_in_october_is_frost_at_the_first_of_november() -> None:
    one = bench(DRAINED, "2026-10-31T12:00:00")
    one.set("air", None, Quality.BAD)
    one.until(20 * H)
    assert one.of("frost_closed") == [(12 * H, "alarm")]


def test_a_sensor_that_was_not_heard_yet_is_waited_for_an_hour() -> None:
    one = Bench(DRAINED, "2026-01-15T12:00:00", {"ev1": False, "ev2": False})
    one.until(2 * H)
    assert one.of("frost_closed") == [(1 * H, "alarm")]


def test_a_command_opens_neither_supply_nor_drain_against_the_interlock() -> None:
    one = bench(DRAINED, "2026-07-01T12:00:00")
    one.until(60)
    one.override("ev2", False)
    assert one.value("ev2") is True
    one.set("air", 0.0)
    one.override("ev1", True)
    assert one.value("ev1") is False


def test_a_drain_that_does_not_show_closed_keeps_the_supply_closed() -> None:
    one = bench(DRAINED, "2026-07-01T12:00:00")
    one.outputs["ev2"] = one.outputs["ev2"]._replace(feedback=False)
    assert DRAINED.drain is not None
    assert DRAINED.drain.shut_at(View({}, one.outputs)) == float("inf")


# -- from the site file ----------------------------------------------------------------------------------------


def test_the_site_file_says_it_all() -> None:
    fountain, tank = controls(load(SITE))
    assert isinstance(fountain, WaterPoint)
    assert fountain.valve == Valve("ev1", False, 20.0) and fountain.drain == Valve("ev2", True, 20.0)
    assert fountain.leak == NIGHT_OF_SITE and fountain.pulse == 10
    assert fountain.quota == Quota(3000.0) and fountain.flush == Flush(72 * H, 180.0)
    assert fountain.inputs == {"fountain-ct", "ev1", "ev2", "air-temp", "io-1.di7"}
    assert tank.inputs == {"tank-level", "well", "pump-flow"}


NIGHT_OF_SITE = replace(NIGHT, night=NightFlow(CALENDAR, 120, 240, 10.0))


def test_controls_travel_to_the_agent_without_the_models_of_the_site_file() -> None:
    code = (
        "import pickle, sys; pickle.load(sys.stdin.buffer); "
        "sys.exit(any(name.startswith('agent.site') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], input=pickle.dumps(controls(load(SITE)))).returncode == 0


def test_a_meter_without_a_signal_is_judged_as_a_counter_is() -> None:
    """One reading of 0 is a slip; three over a minute are another meter, once; the value that returns undoes it."""
    point = replace(FOUNTAIN, dial=Dial(1 << 32, 1.0, 100_000 / H, 1000.0), quota=Quota(2000.0))
    one = bench(point, ct=300_000)

    def drawn(one: Bench) -> float:
        return one.control.figures(one.state)["fountain.today"]

    for at, litres in [(10, 0), (20, 300_005), (30, 300_004), (40, 300_006)]:
        one.plan(at, "ct", litres)
    one.until(50)
    assert one.of("meter_replaced") == [] and drawn(one) == 6
    for at, litres in [(60, 0), (90, 0), (125, 2), (200, 7), (300, 300_016)]:
        one.plan(at, "ct", litres)
    one.until(250)
    assert one.of("meter_replaced") == [(125.0, "change")] and drawn(one) == 13
    one.restart()
    one.until(400)
    assert one.of("quota_exceeded") == [] and one.of("meter_replaced") == [(125.0, "change")]
