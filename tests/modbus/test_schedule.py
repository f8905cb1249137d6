"""Fixed rates, turns, backoff and counting, without a wire."""

from __future__ import annotations

import asyncio
import math
from itertools import pairwise
from typing import Any

import pytest

from agent.clock import SystemClock
from agent.model import Instant, Quality
from drivers.api import BusSpec, DeviceSpec
from drivers.modbus.device import build
from drivers.modbus.open import open_tcp
from drivers.modbus.schedule import Poll, PolledDevice, Turns, spread
from drivers.modbus.serial_link import SerialLink
from drivers.modbus.stats import DeviceStats, LineLoad


def slave(*periods: float, watchdog: float | None = None) -> PolledDevice:
    made = PolledDevice(DeviceSpec("d", {"unit_id": 1}, output_watchdog=watchdog), [], 0.0)
    made.polls = [Poll(made, period, []) for period in periods]
    return made


def test_a_slot_follows_its_phase_and_a_missed_one_is_skipped() -> None:
    one, two = slave(10.0), slave(10.0)
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


def test_the_next_slot_is_never_the_present_moment() -> None:
    """The division of a whole number of periods may come out a last bit too low: it was due again at once."""
    (poll,) = slave(0.1).polls
    poll.start(0.0, 134.364244)
    for slots in range(1, 200):
        now = 134.364244 + slots * 0.1
        poll.finish(now)
        assert now < poll.due < now + 0.11


async def test_a_rest_too_short_for_the_clock_is_lengthened() -> None:
    """By the last bit of a sum a poll is not due yet: without a rest that passes, the line would turn in a circle."""
    line = open_tcp(BusSpec("plant", "modbus_tcp", {"host": "127.0.0.1"}, []), SystemClock("always"), None)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await line._rest(1e-13)
    assert 0.0009 < loop.time() - began < 1


def test_fast_polls_go_first_and_slow_ones_are_not_left_behind() -> None:
    one = slave(1.0, 60.0)
    fast, slow = one.polls
    turns = Turns([one])
    fast.due, slow.due = 10.0, 5.0
    assert turns.next(11.0) == (fast, math.inf)
    fast.due, slow.due = 500.0, 10.0
    assert [turns.next(495.0)[0], turns.next(500.0)[0], turns.next(500.0)[0]] == [slow, fast, slow]


class Wire2400:
    """A line at 2400 baud in a time of its own: each question takes its characters, a dead slave its timeout."""

    CHARACTER, TIMEOUT = 11 / 2400, 0.5

    def __init__(self, devices: list[PolledDevice], dead: set[str]) -> None:
        self.now, self.devices, self.dead = 0.0, devices, dead
        self.reads: dict[Poll, list[float]] = {poll: [] for one in devices for poll in one.polls}
        self.turns = Turns(devices)
        spread(list(self.reads), self.now)

    def run(self, until: float) -> None:
        while self.now < until:
            poll, rest = self.turns.next(self.now)
            if poll is None:
                self.now = rest
                continue
            block = poll.block(self.now)
            assert block is not None
            self.now += (len(block.question.frame) + 3.5) * self.CHARACTER
            if poll.device.name in self.dead:
                self.now += self.TIMEOUT
                poll.abort()
                poll.device.failed(self.now)
                continue
            self.now += (block.question.size + 3 + 3.5) * self.CHARACTER
            poll.answered([])
            if poll.done:
                poll.finish(self.now)
                self.reads[poll].append(self.now)

    def longest(self, period: float) -> float:
        """Seconds between two reads of a poll of that period, at the worst, from the third minute on."""
        rows = [
            times for poll, times in self.reads.items() if poll.period == period and poll.device.name not in self.dead
        ]
        return max(after - before for times in rows for before, after in pairwise([120.0, *times, self.now])
                   if after > 120.0)  # fmt: skip


def line_2400(make: Any, point: Any, relays: int, meters: int) -> list[PolledDevice]:
    """Relay modules with eight coils and eight inputs, each second, and meters of 120 registers, every 10 s."""
    link = SerialLink("/dev/none", 2400, "N", 1, 8, 0.5)
    bits = {f"{table}{n}": point(table, n) for table in ("coil", "discrete") for n in range(8)}
    words = {f"w{n}": point("input", n + n // 60 * 1000) for n in range(120)}
    specs = [make(f"io{n}", n + 1, bits, poll=1.0) for n in range(relays)]
    specs += [make(f"m{n}", n + 21, words, poll=10.0) for n in range(meters)]
    return [build(spec, link) for spec in specs]


@pytest.mark.parametrize("dead", [set(), {"io0"}, {"m0", "m1"}])
def test_a_line_that_is_asked_too_much_keeps_its_fast_points(device: Any, point: Any, dead: set[str]) -> None:
    wire = Wire2400(line_2400(device, point, relays=4, meters=8), dead)
    wire.run(900.0)
    assert wire.longest(1.0) < 3.0, "an output's point is stale after three polls"
    assert wire.longest(10.0) < 100.0
    assert wire.turns.stretch <= 10.0
    assert wire.longest(10.0) > 20.0
    assert wire.turns.overloaded and wire.turns.stretch >= 2.0


def test_a_line_that_can_carry_it_stretches_nothing(device: Any, point: Any) -> None:
    wire = Wire2400(line_2400(device, point, relays=3, meters=2), set())
    wire.run(900.0)
    assert wire.longest(1.0) < 2.0
    assert wire.longest(10.0) < 20.0
    assert wire.turns.overloaded is False and wire.turns.stretch < 1.5


def test_whether_a_line_is_asked_too_much_is_not_known_before_its_polls_were_measured(device: Any, point: Any) -> None:
    """What was an alarm before a start is none that is over: in the first minute every poll is read at its first slot.
    """
    wire = Wire2400(line_2400(device, point, relays=4, meters=8), set())
    wire.run(30.0)
    assert wire.turns.overloaded is None
    fine = Wire2400(line_2400(device, point, relays=3, meters=2), set())
    fine.run(30.0)
    assert fine.turns.overloaded is None
    fine.run(90.0)
    assert fine.turns.overloaded is False


def test_backoff_doubles_from_one_second_to_sixty() -> None:
    gone = slave(10.0)
    died, delays = [], []
    for _ in range(12):
        died.append(gone.failed(1000.0))
        delays.append(gone.retry_at - 1000.0)
    assert died.index(True) == 2 and died.count(True) == 1
    assert delays == [1, 1, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    gone.polls[0].due = 2000.0
    assert gone.answered(1500.0) and gone.polls[0].ready_at == 1500.0 and not gone.lost


def test_an_output_watchdog_bounds_the_backoff() -> None:
    gone = slave(10.0, watchdog=30.0)
    for _ in range(20):
        gone.failed(0.0)
    assert gone.retry_at == 10.0


def test_load_is_the_share_of_the_last_minute() -> None:
    load = LineLoad(0.0)
    load.add(3.0, 6.0)
    assert load.share(6.0) == 0.5
    for second in range(7, 120):
        load.add(0.25, float(second))
    assert load.share(120.0) == pytest.approx(0.25, abs=0.03)
    assert load.share(400.0) == 0.0


def test_response_time_is_bad_until_there_is_one() -> None:
    stats, at = DeviceStats("m"), Instant("boot", 1, None)
    assert {r.point: r.quality for r in stats.readings(at)}["m.modbus.response_ms"] is Quality.BAD
    stats.answered(0.0412)
    assert {r.point: r.value for r in stats.readings(at)}["m.modbus.response_ms"] == 41.2
