"""The log of overflows: one entry each, with its true beginning and end, whatever befalls the box."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.control.calendar import Calendar
from agent.model import Quality, Severity
from agent.services.water.lift import LiftStation
from agent.services.water.overflow import Overflow, OverflowFlow
from agent.services.water.pump import PumpSpec
from agent.services.water.rotation import Rotation
from agent.services.water.well import Well
from tests.services.water.bench import Bench

H = 3600.0
STATION = LiftStation(
    "relevage-1", Calendar("Europe/Paris"), (PumpSpec("p1"),), Well("level", 80.0, 30.0, 120.0),
    Rotation(("p1",), "starts"), overflow=Overflow("spill"),
)  # fmt: skip
FLOW = replace(STATION, overflow=Overflow("spill", OverflowFlow("weir", 1000 / 3600)))
COUNTER = replace(STATION, overflow=Overflow("spill", OverflowFlow("weir", 1000.0, counts=True)))


def bench(station: LiftStation = STATION, start: str = "2026-05-20T12:00:00") -> Bench:
    one = Bench(station, start, {"p1": False})
    one.set("level", 50.0)
    one.set("spill", False)
    return one


def told(one: Bench) -> dict[str, object]:
    found = {**one.control.figures(one.state), **one.control.facts(one.state)}
    return {name.removeprefix("relevage-1."): value for name, value in found.items() if name.startswith("relevage-1")}


def log(one: Bench) -> list[dict[str, object]]:
    events = zip(one.events, one.details, strict=True)
    return [detail for (_, kind, code), detail in events if (kind, code) == ("change", "overflow")]


def spill(one: Bench, begin: float, end: float) -> None:
    one.until(begin)
    one.set("spill", True)
    one.until(end)
    one.set("spill", False)


def test_an_overflow_is_logged_once_with_its_times() -> None:
    one = bench()
    spill(one, 1000, 2500)
    assert told(one)["overflow_begin"] == "2026-05-20T12:16:40+02:00" and "overflow_end" not in told(one)
    one.until(3000)
    assert log(one) == [{
        "begin": "2026-05-20T12:16:40+02:00", "end": "2026-05-20T12:41:40+02:00", "seconds": 1500.0,
        "day_minutes": 25.0,
    }]  # fmt: skip
    assert one.of("overflow") == [(1000, "alarm"), (2800, "change"), (2800, "cleared")]
    assert told(one) == {
        "overflow": False, "overflow_begin": "2026-05-20T12:16:40+02:00", "overflow_end": "2026-05-20T12:41:40+02:00",
        "overflow_duration": 25.0, "overflow_today": 25.0, "overflow_yesterday": 0.0, "overflows": 1,
    }  # fmt: skip


def test_a_contact_that_chatters_is_one_overflow() -> None:
    one = bench()
    for at in range(1000, 2200, 30):
        one.plan(at, "spill", at % 60 == 40)  # forty edges in twenty minutes
    one.plan(2400, "spill", True)
    one.plan(2460, "spill", False)
    one.until(2 * H)
    assert [(entry["seconds"], entry["day_minutes"]) for entry in log(one)] == [(1460.0, 24.33)]
    assert [kind for _, kind in one.of("overflow")] == ["alarm", "change", "cleared"]


def test_two_that_are_apart_are_two() -> None:
    one = bench()
    spill(one, 1000, 1100)
    spill(one, 1401, 1500)
    one.until(2 * H)
    assert [entry["seconds"] for entry in log(one)] == [100.0, 99.0] and told(one)["overflow_today"] == 3.32


def test_the_minutes_of_two_days() -> None:
    one = bench(start="2026-10-24T23:00:00")  # the night in which the clock changes
    spill(one, 1800, 1800 + 9000)
    one.until(4 * H)
    assert log(one)[0]["day_minutes"] == 120.0 and log(one)[0]["seconds"] == 9000.0
    assert (told(one)["overflow_yesterday"], told(one)["overflow_today"]) == (30.0, 120.0)
    one.until(27 * H)  # 25 hours later it is the next day
    assert (told(one)["overflow_yesterday"], told(one)["overflow_today"]) == (120.0, 0.0)
    one.until(50.5 * H)
    assert told(one)["overflow_yesterday"] == 0.0


def test_the_minutes_of_today_grow_while_it_lasts() -> None:
    one = bench()
    one.set("spill", True)
    one.until(3000)
    assert told(one)["overflow_today"] == pytest.approx(50, abs=1)
    assert told(one)["overflow"] is True and told(one)["overflows"] == 0


@pytest.mark.parametrize("restart", ["kill", "power cut"])
def test_an_overflow_outlives_a_kill_and_a_power_cut(restart: str) -> None:
    one = bench(start="2026-05-20T23:00:00")
    one.until(1000)
    one.set("spill", True)
    one.until(3000)
    if restart == "kill":
        one.restart(heard=False)
    else:
        one.reboot(1800)
    one.until(6000)
    one.set("spill", False)
    one.until(8000)
    (entry,) = log(one)
    assert (entry["begin"], entry["end"]) == ("2026-05-20T23:16:40+02:00", "2026-05-21T00:40:00+02:00")
    assert entry["seconds"] == pytest.approx(5000, abs=0.2) and entry["day_minutes"] == pytest.approx(40, abs=0.01)
    assert entry.get("unseen_s", 0) == pytest.approx(0 if restart == "kill" else 1800, abs=61)
    assert [kind for _, kind in one.of("overflow")] == ["alarm", "change", "cleared"]


def test_it_ended_while_the_box_was_off() -> None:
    one = bench()
    one.until(1000)
    one.set("spill", True)
    one.until(3000)
    one.points["spill"] = one.points["spill"]._replace(value=False)
    one.reboot(3600)
    (entry,) = log(one)
    assert "T12:49:00" <= str(entry["end"])[10:19] <= "T12:50:00", "the minute in which it was last known to overflow"


def test_after_a_power_cut_without_the_time_the_beginning_is_put_right() -> None:
    """The clock of the box stands still without power: its first time in the new boot is an hour slow."""
    one = bench()
    one.until(1000)
    one.set("spill", True)
    one.until(3000)
    one.trusted = False
    true = one.start
    one.start = true.replace(hour=true.hour - 1)
    one.reboot(3600)
    one.until(7000)
    one.restart()
    one.start, one.trusted = true, True
    one.until(9000)
    one.set("spill", False)
    one.until(10000)
    (entry,) = log(one)
    assert (entry["begin"], entry["end"]) == ("2026-05-20T12:16:40+02:00", "2026-05-20T14:30:00+02:00")
    assert entry["seconds"] == pytest.approx(8000, abs=1)


def test_an_unknown_time_costs_the_dates_only() -> None:
    one = Bench(STATION, "2026-05-20T12:00:00", {"p1": False})
    one.civil = False
    one.set("spill", False)
    spill(one, 1000, 2500)
    one.until(3000)
    assert log(one) == [{"begin": None, "end": None, "seconds": 1500.0, "day_minutes": None}]
    one.civil = True
    one.until(4000)
    one.settle()
    assert told(one)["overflow_begin"] == "2026-05-20T12:16:40+02:00" and told(one)["overflow_today"] == 25.0


@pytest.mark.parametrize("quality", [Quality.STALE, Quality.BAD])
@pytest.mark.parametrize("still", [True, False])
def test_a_contact_that_is_lost_during_an_overflow(quality: Quality, still: bool) -> None:
    one = bench()
    one.until(1000)
    one.set("spill", True)
    one.until(2000)
    one.set("spill", None, quality)
    assert one.of("sensor_fault") == [(2000, "alarm")] and "overflow" not in told(one)
    one.until(9000)
    assert log(one) == [], "nothing says that it is over"
    assert told(one)["overflow_today"] == 16.67, "up to the last minute in which it was seen"
    one.set("spill", still)
    one.until(9500)
    one.set("spill", False)
    one.until(11000)
    (entry,) = log(one)
    assert entry["seconds"] == (8500.0 if still else 1000.0)
    assert entry.get("unseen_s") == (7000.0 if still else None)


def test_the_volume_of_a_flow() -> None:
    one = bench(FLOW)
    one.set("weir", 0.0)
    one.until(1000)
    one.set("weir", 36.0)  # m3/h
    one.set("spill", True)
    one.plan(1500, "weir", 72.0)
    one.until(2000)
    one.set("spill", False)
    one.set("weir", 0.0)
    assert told(one)["overflow_volume"] == pytest.approx(5 + 10, abs=0.01)
    one.until(3000)
    assert log(one)[0]["m3"] == 15.0 and "unmeasured_s" not in log(one)[0]
    assert (told(one)["overflow_volume"], told(one)["overflow_total"]) == (15.0, 15.0)
    one.restart()
    assert (told(one)["overflow_volume"], told(one)["overflow_total"]) == (15.0, 15.0)


def test_the_total_never_goes_back_when_an_overflow_ends() -> None:
    """What flows after its last moment, until the gap is over, is none of it."""
    one = bench(FLOW)
    one.set("weir", 30.0)
    spill(one, 1000, 2800)
    totals = []
    for at in range(1000, 3600, 20):
        one.until(max(float(at), one.t))
        totals.append(told(one)["overflow_total"])
    assert totals == sorted(totals) and totals[-1] == log(one)[0]["m3"] == 15.0


def test_a_flow_that_is_lost_is_said() -> None:
    one = bench(FLOW)
    one.set("weir", 36.0)
    one.until(1000)
    one.set("spill", True)
    one.plan(1500, "weir", None, Quality.BAD)
    one.plan(1700, "weir", 36.0)
    one.until(2000)
    one.set("spill", False)
    one.set("weir", 0.0)
    one.until(3000)
    assert (log(one)[0]["m3"], log(one)[0]["unmeasured_s"]) == (8.0, 200.0)


@pytest.mark.parametrize("end", ["off", "off, and on again", "lost", "power cut", "kill"])
def test_what_flows_after_the_end_of_an_overflow_is_none_of_it(end) -> None:
    """The meter measures a channel that never runs dry: 36 m3/h, half an hour of it is the overflow."""
    one = bench(FLOW)
    one.set("weir", 36.0)
    spill(one, 1800, 3600) if end.startswith("off") else one.until(1800)
    if not end.startswith("off"):
        one.set("spill", True)
        one.until(3600)
    if end == "off, and on again":  # a pause that is shorter than the gap belongs to it
        spill(one, 3700, 3800)
    if end == "lost":
        one.set("spill", True, Quality.BAD)
        one.until(3600 + 10 * H)
        one.set("spill", False)
    if end == "power cut":
        one.points["spill"] = one.points["spill"]._replace(value=False)  # what is read first afterwards
        one.reboot(10 * H)
    if end == "kill":
        one.restart()
        one.set("spill", False)
    one.until(one.t + H)
    lasted = 2000 if end == "off, and on again" else 1800
    assert log(one)[0]["seconds"] == pytest.approx(lasted, abs=60)
    assert log(one)[0]["m3"] == pytest.approx(float(log(one)[0]["seconds"]) / 100, abs=0.01)
    assert told(one)["overflow_total"] == log(one)[0]["m3"] and "unmeasured_s" not in log(one)[0]


def test_the_volume_of_a_counter_counts_on_while_it_is_not_heard() -> None:
    one = bench(COUNTER)
    one.set("weir", 100.0)
    one.until(1000)
    one.set("spill", True)
    one.plan(1200, "weir", None, Quality.STALE)
    one.plan(1900, "weir", 112.5)
    one.until(2000)
    one.set("spill", False)
    one.plan(2100, "weir", 113.0)  # read late
    one.until(3000)
    assert log(one)[0]["m3"] == 13.0 and "unmeasured_s" not in log(one)[0]


@pytest.mark.parametrize("severity", [Severity.CRITICAL, Severity.INFO, None])
def test_the_alarm_is_as_severe_as_the_file_says(severity: Severity | None) -> None:
    one = bench(replace(STATION, severity=severity))
    spill(one, 1000, 1100)
    one.until(2000)
    wanted = ["change"] if severity is None else ["alarm", "change", "cleared"]
    assert [kind for _, kind in one.of("overflow")] == wanted
    assert len(log(one)) == 1


def test_a_crash_at_the_beginning_does_not_reset_it() -> None:
    """The beginning is marked: the engine keeps it before it goes on, also where no alarm is wanted."""
    one = bench(replace(STATION, severity=None))
    before = one.control.mark(one.state)
    one.set("spill", True)
    assert one.control.mark(one.state) != before


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["on", "off", "off", "kill", "cut"]), st.integers(1, 5000)), min_size=1, max_size=40
    )
)
def test_no_second_is_lost_or_counted_twice(moves: list[tuple[str, int]]) -> None:
    """All that is logged, and what goes on, is the time from first to last on, with pauses below the gap."""
    one = bench()
    spans: list[list[float]] = []
    for what, wait in moves:
        is_on = bool(one.points["spill"].value)
        if what == "kill":
            one.restart()
        elif what == "cut":
            one.reboot(60)
        elif (what == "on") is not is_on:
            if what == "on" and (not spans or one.t - spans[-1][1] >= 300):
                spans.append([one.t, one.t])
            one.set("spill", what == "on")
        one.until(one.t + wait)
        if spans and is_on:
            spans[-1][1] = max(spans[-1][1], one.t - wait)
    if spans and one.points["spill"].value:
        spans[-1][1] = one.t // 60 * 60
    wanted = sum(end - begin for begin, end in spans)
    state = one.state.overflow
    present = 0.0 if state.begin is None else state.seen - state.begin
    found = sum(entry["seconds"] for entry in log(one)) + present
    assert found == pytest.approx(wanted, abs=61 * len(spans) + 1)
    assert len(log(one)) + (state.begin is not None) == len(spans)


@pytest.mark.parametrize("knows_the_time", [True, False])
def test_no_flow_is_assumed_for_the_time_without_power(knows_the_time: bool) -> None:
    """Half an hour of 72 m3/h, a cut of ten hours, an hour of 36 m3/h: what flowed meanwhile is not known, and said."""
    one = bench(FLOW)
    one.set("weir", 72.0)
    one.until(1800)
    one.set("spill", True)
    one.until(3600)
    one.points["weir"] = one.points["weir"]._replace(value=36.0)
    true = one.start
    if not knows_the_time:
        one.start, one.trusted = true.replace(hour=true.hour - 9), False
    one.reboot(10 * H)
    one.until(11 * H + 600)
    one.start, one.trusted = true, True
    one.until(12 * H)
    one.set("spill", False)
    one.until(13 * H)
    (entry,) = log(one)
    assert entry["m3"] == pytest.approx(36 + 36, abs=1.3)
    assert entry["unmeasured_s"] == pytest.approx(10 * H, abs=61) == entry["unseen_s"]
    assert told(one)["overflow_total"] == told(one)["overflow_volume"] == entry["m3"]


@pytest.mark.parametrize("stopped", [20.0, 2 * H])
def test_the_flow_goes_on_through_a_short_restart_only(stopped: float) -> None:
    one = bench(FLOW)
    one.set("weir", 36.0)
    one.until(1800)
    one.set("spill", True)
    one.until(3600)
    one.t += stopped
    one.points = {name: point._replace(at=one.now.monotonic) for name, point in one.points.items()}
    one.restart()
    one.until(4 * H)
    one.set("spill", False)
    one.until(5 * H)
    (entry,) = log(one)
    lost = stopped if stopped > 120 else 0.0
    assert entry["m3"] == pytest.approx((4 * H - 1800 - lost) / 100, abs=0.61)
    for what in ("unmeasured_s", "unseen_s"):
        assert entry.get(what, 0.0) == pytest.approx(lost, abs=61) and (what in entry) is bool(lost)


def test_a_counter_goes_on_over_a_power_cut() -> None:
    one = bench(COUNTER)
    one.set("weir", 100.0)
    one.until(1000)
    one.set("spill", True)
    one.until(2000)
    one.points["weir"] = one.points["weir"]._replace(value=150.0)
    one.reboot(2 * H)
    one.until(one.t + 600)
    one.set("spill", False)
    one.until(one.t + 600)
    assert log(one)[0]["m3"] == 50.0 and "unmeasured_s" not in log(one)[0]


@pytest.mark.parametrize(("lasts", "minutes"), [(3600.0, 60.0), (3600.0 + 120, 2.0), (12 * H + 3600, 13 * 60.0)])
def test_an_end_at_midnight_is_of_the_day_that_is_over(lasts: float, minutes: float) -> None:
    late = lasts == 3600.0 + 120
    one = bench(start="2026-05-20T23:00:00" if lasts < 2 * H else "2026-05-20T11:00:00")
    one.set("spill", True)
    one.until(lasts)
    one.set("spill", False)
    one.until(lasts + 600)
    (entry,) = log(one)
    assert str(entry["end"])[11:19] == ("00:02:00" if late else "00:00:00") and entry["day_minutes"] == minutes
