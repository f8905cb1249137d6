"""Fixed rates, deadlines, backoff and counting, without a wire."""

from __future__ import annotations

import pytest

from agent.driver import DeviceSpec
from agent.model import Instant, Quality
from drivers.modbus.schedule import Device, Poll, spread
from drivers.modbus.stats import Load, Tally


def device(*periods: float, watchdog: float | None = None) -> Device:
    made = Device(DeviceSpec("d", {"unit_id": 1}, output_watchdog=watchdog), [], 0.0)
    made.polls = [Poll(made, period, []) for period in periods]
    return made


def test_a_slot_follows_its_phase_and_a_missed_one_is_skipped() -> None:
    one, two = device(10.0), device(10.0)
    polls = [*one.polls, *two.polls]
    spread(polls, 100.0)
    assert [poll.due for poll in polls] == [100.0, 100.0]
    for poll in polls:
        poll.finish(100.5)
    assert [poll.due for poll in polls] == [110.0, 105.0]
    polls[1].finish(105.9)
    assert polls[1].due == 115.0
    polls[1].finish(148.0)
    assert polls[1].due == 155.0


def test_the_earliest_deadline_bounds_the_lag_of_slow_polls() -> None:
    fast, slow = device(1.0, 60.0).polls
    fast.due, slow.due = 10.0, 5.0
    assert fast.deadline < slow.deadline
    fast.due = 64.5
    assert slow.deadline < fast.deadline


def test_backoff_doubles_from_one_second_to_sixty() -> None:
    gone = device(10.0)
    died, delays = [], []
    for _ in range(12):
        died.append(gone.failed(1000.0))
        delays.append(gone.retry_at - 1000.0)
    assert died.index(True) == 2 and died.count(True) == 1
    assert delays == [1, 1, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    gone.polls[0].due = 2000.0
    assert gone.answered(1500.0) and gone.polls[0].ready_at == 1500.0 and not gone.lost


def test_an_output_watchdog_bounds_the_backoff() -> None:
    gone = device(10.0, watchdog=30.0)
    for _ in range(20):
        gone.failed(0.0)
    assert gone.retry_at == 10.0


def test_load_is_the_share_of_the_last_minute() -> None:
    load = Load(0.0)
    load.add(3.0, 6.0)
    assert load.share(6.0) == 0.5
    for second in range(7, 120):
        load.add(0.25, float(second))
    assert load.share(120.0) == pytest.approx(0.25, abs=0.03)
    assert load.share(400.0) == 0.0


def test_response_time_is_bad_until_there_is_one() -> None:
    tally, at = Tally("m"), Instant("boot", 1, None)
    assert {r.point: r.quality for r in tally.readings(at)}["m.modbus.response_ms"] is Quality.BAD
    tally.answered(0.0412)
    assert {r.point: r.value for r in tally.readings(at)}["m.modbus.response_ms"] == 41.2
