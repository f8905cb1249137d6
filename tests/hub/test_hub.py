"""The hub: last values, report by exception, staleness, and indexes that are durable before they are published."""

from dataclasses import replace

import pytest

from agent.core.hub import Hub, Policy
from agent.core.signals import Signal
from agent.errors import StorageError
from agent.model import Kind, Point, Quality, Reading
from tests.fakes.clock import FakeClock
from tests.fakes.store import FakeStore


@pytest.fixture
def bench():
    return Bench()


class Bench:
    def __init__(self):
        self.clock, self.memory, self.out = FakeClock(0.0, boot="boot", epoch=1e9), FakeStore(), []

    def hub(self, points, signals=(), policies=None):
        put = lambda batch, outbox_class: self.out.append((outbox_class, list(batch)))  # noqa: E731
        return Hub(points, signals, policies or {}, put, self.memory, self.clock)

    def read(self, hub, seconds, point, value, quality=Quality.GOOD):
        self.clock.at = seconds
        hub.publish([Reading(point, value, self.clock.now(), quality)])

    def sent(self, point):
        return [r.value for _, batch in self.out for r in batch if r.point == point]


def test_one_batch_in_is_one_batch_out_and_kinds_decide_the_class(bench):
    hub = bench.hub([Point("m.power", "m"), Point("m.relay", "m", kind=Kind.STATE), Point("m.volts", "m")])
    now = bench.clock.now()
    hub.publish([Reading("m.power", 1.0, now), Reading("m.volts", 2.0, now), Reading("m.relay", True, now)])
    assert [(cls, len(batch)) for cls, batch in bench.out] == [(2, 2), (1, 1)]


def test_a_signal_is_a_point_like_any_other(bench):
    hub = bench.hub([Point("io.ai1", "io", "uA")], [Signal("level", "io.ai1", "%", current=0.001, scale=(0, 100))])
    bench.read(hub, 0, "io.ai1", 20_000)
    assert hub.last["level"].value == 100
    assert bench.sent("level") == [100]
    assert hub.points["level"].unit == "%"


def test_a_deadband_holds_back_upstream_but_not_on_the_box(bench):
    hub = bench.hub([Point("m.p", "m")], policies={"m": Policy(deadband_percent=1.0, max_silence=100)})
    for seconds, value in [(0, 100.0), (1, 100.5), (2, 102.0), (3, 101.5), (50, 101.0), (103, 101.0)]:
        bench.read(hub, seconds, "m.p", value)
    assert bench.sent("m.p") == [100.0, 102.0, 101.0]
    assert hub.last["m.p"].value == 101.0


def test_every_thins_numbers_but_never_a_change_of_state_or_quality(bench):
    points = [Point("m.p", "m"), Point("m.door", "m", kind=Kind.STATE)]
    hub = bench.hub(points, policies={"m": Policy(every=60.0)})
    for seconds in range(0, 121, 10):
        bench.read(hub, seconds, "m.p", float(seconds))
        bench.read(hub, seconds, "m.door", seconds == 30)
    bench.read(hub, 125, "m.p", None, Quality.BAD)
    assert bench.sent("m.p") == [0.0, 60.0, 120.0, None]
    assert bench.sent("m.door") == [False, True, False]


@pytest.mark.parametrize(("every", "sent"), [(10.0, 25), (60.0, 5)])
@pytest.mark.parametrize("late", [(0.0, 1.7, -0.9, 0.4), (0.0, 0.1, 5.6, 0.2), (9.0, 1.0, 9.4, 0.3, 9.9)])
def test_every_of_one_poll_sends_each_poll_however_unsteady_the_line_is(bench, every, sent, late):
    """A bus with many devices reads one of them late by up to a poll, and the next time at its time."""
    hub = bench.hub([Point("m.p", "m")], policies={"m": Policy(every=every, poll=10.0, is_polled=True)})
    for number in range(25):
        bench.read(hub, number * 10 + late[number % len(late)], "m.p", float(number))
    assert len(bench.sent("m.p")) == sent


def test_personal_readings_stay_on_the_box(bench):
    hub = bench.hub([Point("m.p", "m")], policies={"m": Policy(local=True)})
    bench.read(hub, 0, "m.p", 3.0)
    assert hub.last["m.p"].value == 3.0
    assert bench.out == []


async def test_silence_turns_a_value_stale_once(bench):
    hub = bench.hub([Point("m.p", "m", stale_after=30)], [Signal("s", "m.p")])
    bench.read(hub, 0, "m.p", 7.0)
    bench.clock.at = 29
    hub.publish(hub._gone_stale())
    assert hub.last["m.p"].quality is Quality.GOOD
    for bench.clock.at in (31, 32):
        hub.publish(hub._gone_stale())
    assert hub.last["m.p"].quality is hub.last["s"].quality is Quality.STALE
    assert bench.sent("m.p") == [7.0, 7.0]


async def test_each_value_goes_stale_in_its_own_time_whenever_it_came(bench):
    hub = bench.hub([Point("m.slow", "m", stale_after=300), Point("m.fast", "m", stale_after=10)], [])
    stale = {}
    for second in range(420):
        bench.clock.at = second
        if second in (0, 100):
            bench.read(hub, second, "m.slow", 1.0)
        if second in (50, 55, 200):
            bench.read(hub, second, "m.fast", 1.0)
        went = hub._gone_stale()
        hub.publish(went)
        stale |= {(second, reading.point): reading.quality for reading in went}
    assert sorted(stale) == [(66, "m.fast"), (211, "m.fast"), (401, "m.slow")]


async def test_nobody_looks_while_nothing_can_go_stale(bench):
    hub = bench.hub([Point("m.slow", "m", stale_after=300), Point("m.fast", "m", stale_after=10)], [])
    bench.read(hub, 0, "m.slow", 1.0)
    at, looks, stale, coming = 0.5, 0, [], [60, 64, 200]
    while at < 420:
        bench.clock.at, looks = at, looks + 1
        went = hub._gone_stale()
        hub.publish(went)
        stale += [(one.point, at) for one in went]
        at += hub.pause()
        while coming and coming[0] < at:
            bench.read(hub, coming.pop(0), "m.fast", 1.0)
    assert [point for point, _ in stale] == ["m.fast", "m.fast", "m.slow"]
    assert all(0 < at - due <= 1 for (_, at), due in zip(stale, (74, 210, 300), strict=True))
    assert looks < 100


def test_an_index_is_durable_before_it_is_published(bench):
    pulses = Point("gpio.17", "gpio", kind=Kind.COUNTER)
    fountain = Signal("fountain", "gpio.17", "L", per_pulse=10)
    hub = bench.hub([pulses], [fountain], {"gpio": Policy(local=True)})
    for count in range(25):
        bench.read(hub, count * 0.1, "gpio.17", count)
        assert hub.last["fountain"].value == count * 10
        for index in bench.sent("fountain"):
            assert bench.memory.durable["index.fountain"]["index"] >= index
    assert bench.sent("fountain") == [0, 100, 200]
    bench.read(hub, 80, "gpio.17", 24)
    assert bench.sent("fountain")[-1] == 240, "after a minute it goes out, however few pulses there were"

    again = bench.hub([pulses], [fountain], {"gpio": Policy(local=True)})
    bench.read(again, 90, "gpio.17", 20)
    assert again.last["fountain"].value == 240, "a driver that lost pulses does not turn the index back"
    bench.read(again, 91, "gpio.17", 21)
    assert again.last["fountain"].value == 250


@pytest.mark.parametrize("meanwhile", ["nothing flows", "stale", "reload", "stop", "stale and reload"])
def test_an_index_that_the_flash_refused_is_not_published_however_long_it_stands(bench, meanwhile):
    """The state keeps in memory what it could not write: that it is there does not make it durable."""
    points, meter = [Point("m.pulses", "m", stale_after=30)], Signal("wc", "m.pulses", "L", per_pulse=1, modulus=65536)
    meter = replace(meter, stale_after=30)
    hub = bench.hub(points, [meter])
    bench.read(hub, 0, "m.pulses", 100)
    bench.memory.refuses = True
    for seconds in (10, 20, 90):
        bench.read(hub, seconds, "m.pulses", 150)
    if "stale" in meanwhile:
        bench.read(hub, 95, "m.pulses", 150, Quality.STALE)
        bench.clock.at = 130
        hub.publish(hub._gone_stale())
    if meanwhile == "stop":
        hub.flush()
    if "reload" in meanwhile:
        hub.flush()
        hub.configure(points, [meter], {})
    bench.read(hub, 135, "m.pulses", 150)
    assert {value for value in bench.sent("wc") if value is not None} == {100}
    assert bench.memory.durable["index.wc"]["index"] == 100
    bench.memory.refuses = False
    bench.read(hub, 200, "m.pulses", 150)
    assert (bench.sent("wc")[-1], bench.memory.durable["index.wc"]["index"]) == (150, 150)


@pytest.mark.parametrize("read_again", [True, False])
def test_an_index_that_is_set_goes_out_once_it_is_durable(bench, read_again):
    points, meter = [Point("m.total", "m")], Signal("wc", "m.total", "L", per_pulse=1, modulus=65536)
    hub = bench.hub(points, [meter])
    bench.read(hub, 0, "m.total", 100)
    bench.memory.refuses = True
    with pytest.raises(StorageError):
        hub.set_index("wc", 7.0)
    if read_again:
        bench.read(hub, 5, "m.total", 100)
    assert bench.sent("wc") == [100]
    bench.memory.refuses = False
    hub.flush()
    assert bench.sent("wc") == [100, 7]
    assert bench.memory.durable["index.wc"]["index"] == 7


def test_an_orderly_stop_publishes_what_was_held_back(bench):
    hub = bench.hub(
        [Point("gpio.17", "gpio")], [Signal("fountain", "gpio.17", per_pulse=1)], {"gpio": Policy(local=True)}
    )
    bench.read(hub, 0, "gpio.17", 0)
    bench.read(hub, 1, "gpio.17", 3)
    hub.flush()
    assert bench.sent("fountain") == [0, 3]
    assert bench.memory.durable["index.fountain"]["index"] == 3


def test_another_meter_is_told_once_and_not_again_after_a_crash(bench):
    """Three readings over a minute confirm it; a kill in between only begins the minute anew."""
    points, meter = [Point("m.pulses", "m")], Signal("wc", "m.pulses", "L", per_pulse=1, modulus=65536)
    told = []

    def start():
        kept, bench.memory = bench.memory.durable, FakeStore()
        bench.memory.update(kept)
        bench.memory.durable.update(kept)
        hub = bench.hub(points, [meter])
        hub.replaced = lambda *news: told.append(news)
        return hub

    hub = start()
    for seconds, count in [(0, 30_000), (1, 30_002), (61, 30_002), (62, 3), (92, 3)]:
        bench.read(hub, seconds, "m.pulses", count)
    hub = start()
    assert told == []
    for seconds, count in [(102, 3), (112, 3), (172, 4)]:
        bench.read(hub, seconds, "m.pulses", count)
    assert told == [("wc", {"meter": "wc", "index": 30_003, "count": 4, "count_before": 30_002})]
    assert bench.memory.durable["index.wc"]["index"] == 30_003
    hub = start()
    bench.read(hub, 182, "m.pulses", 5)
    assert len(told) == 1
    assert hub.last["wc"].value == 30_004


def test_a_doubt_outlives_an_orderly_restart_and_ends_with_the_value_that_returns(bench):
    points, meter = [Point("m.total", "m")], Signal("wc", "m.total", "L", per_pulse=1, modulus=1 << 32)
    hub = bench.hub(points, [meter])
    bench.read(hub, 0, "m.total", 300_000)
    bench.read(hub, 10, "m.total", 0)
    assert bench.memory["index.wc"]["doubt"]["readings"] == 1
    hub = bench.hub(points, [meter])
    bench.read(hub, 20, "m.total", 300_005)
    assert hub.last["wc"].value == 300_005
    assert "doubt" not in bench.memory["index.wc"]


def test_a_doubt_outlives_a_restart_also_where_some_counts_were_held_back(bench):
    """A counter that fell to 0 goes on from the first reading that said so, however often the process is killed."""
    points, meter = [Point("m.total", "m")], Signal("wc", "m.total", "L", per_pulse=1, modulus=65536)
    hub = bench.hub(points, [meter])
    for seconds, total in [(0, 5000), (10, 5005), (20, 0), (30, 200)]:
        bench.read(hub, seconds, "m.total", total)
    hub = bench.hub(points, [meter])
    for seconds, total in [(60, 700), (90, 900)]:
        bench.read(hub, seconds, "m.total", total)
    assert bench.sent("wc")[-1] == bench.memory.durable["index.wc"]["index"] == 5905


def test_an_index_that_is_set_while_the_new_meter_is_doubted_is_that_of_the_new_meter(bench):
    points, meter = [Point("m.total", "m")], Signal("wc", "m.total", "L", per_pulse=1, modulus=1 << 32)
    hub, told = bench.hub(points, [meter]), []
    hub.replaced = lambda *news: told.append(news)
    bench.read(hub, 0, "m.total", 300_000)
    bench.read(hub, 10, "m.total", 12)
    hub.set_index("wc", 12.0)
    for seconds, total in [(20, 13), (90, 14), (200, 15)]:
        bench.read(hub, seconds, "m.total", total)
    assert (hub.last["wc"].value, told) == (15, [])


def test_a_personal_index_stays_on_the_box_and_is_durable_there(bench):
    meter = Signal("wc", "m.pulses", "L", per_pulse=1, modulus=65536, initial_index=0)
    hub = bench.hub([Point("m.pulses", "m")], [meter], dict.fromkeys(("m.pulses", "wc"), Policy(local=True)))
    bench.read(hub, 0, "m.pulses", 0)
    bench.read(hub, 1, "m.pulses", 50)
    bench.read(hub, 2, "m.pulses", 53)
    hub.flush()
    assert hub.last["wc"].value == 53
    assert bench.memory.durable["index.wc"]["index"] == 53
    assert bench.out == []
