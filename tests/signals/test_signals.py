"""What signals make of their sources: NAMUR currents, indexes with rollover, limits and quality."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.signals import Signal, SignalState, current_to_value, dump, load, step
from agent.model import Instant, Quality, Reading


def at(seconds: float) -> Instant:
    return Instant("boot", int(seconds * 1e9), 1_768_495_881_000 + int(seconds * 1000))


def feed(signal: Signal, *values: tuple[float, object]) -> list[Reading]:
    state, out = SignalState(), []
    for seconds, value in values:
        state, reading = step(signal, state, Reading(signal.source, value, at(seconds)))
        out.append(reading)
    return out


@pytest.mark.parametrize(
    ("milliamperes", "value"),
    [
        (4, 0),
        (12, 100),
        (20, 200),
        (3.7, 0),
        (3.61, 0),
        (20.4, 200),
        (20.99, 200),
        (3.6, None),
        (0, None),
        (21, None),
        (24, None),
    ],
)
def test_a_current_is_clamped_inside_and_a_fault_outside_ne43(milliamperes, value):
    assert current_to_value(milliamperes, 0, 200) == value


def test_a_level_from_microamperes_keeps_the_time_of_its_source():
    level = Signal("tank", "io.ai1", "%", current=0.001, scale=(0, 100))
    (reading,) = feed(level, (7, 12_000))
    assert reading == Reading("tank", 50.0, at(7), Quality.GOOD)


def test_a_broken_loop_is_bad_and_has_no_value():
    level = Signal("tank", "io.ai1", current=0.001, scale=(0, 100))
    (reading,) = feed(level, (0, 0))
    assert (reading.value, reading.quality) == (None, Quality.BAD)


def test_pulses_count_on_from_the_dial():
    fountain = Signal("fountain", "gpio.17", "L", per_pulse=10, initial_index=1_254_300)
    assert [r.value for r in feed(fountain, (0, 0), (1, 3), (2, 3), (3, 14))] == [1254300, 1254330, 1254330, 1254440]


def test_a_register_rolls_over_and_a_replaced_meter_never_gives_negative_water():
    meter = Signal("m", "meter.pulses", "L", per_pulse=1, initial_index=500, modulus=65536)
    assert [r.value for r in feed(meter, (0, 65530), (1, 65535), (2, 4), (3, 2))] == [500, 505, 510, 510]


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=30))
def test_an_index_never_goes_back(counts):
    meter = Signal("m", "meter.pulses", "L", per_pulse=1, initial_index=0, modulus=65536)
    values = [r.value for r in feed(meter, *enumerate(counts))]
    assert values == sorted(values)


def test_out_of_range_and_too_fast_are_bad_and_do_not_move_the_last_good_value():
    room = Signal("room", "r.temperature", "degC", valid=(-5, 45), max_rate=5 / 60)
    qualities = [r.quality for r in feed(room, (0, 20.0), (60, 99.0), (120, 40.0), (180, 21.0))]
    assert qualities == [Quality.GOOD, Quality.BAD, Quality.BAD, Quality.GOOD]


@pytest.mark.parametrize("quality", [Quality.BAD, Quality.STALE])
def test_the_quality_of_the_source_is_carried_through(quality):
    signal = Signal("s", "d.p", scale=(2.0, 1.0))
    state, first = step(signal, SignalState(), Reading("d.p", 4, at(0)))
    assert first.value == 9
    _, after = step(signal, state, Reading("d.p", 4, at(1), quality))
    assert after.quality is quality
    assert after.value == (9 if quality is Quality.STALE else None)


METER = Signal("m", "meter.pulses", "L", per_pulse=1, initial_index=500, modulus=65536)
WIDE = Signal("m", "meter.total", "L", per_pulse=1, initial_index=0, modulus=1 << 32, wide=True)
ENERGY = Signal("e", "meter.energy", "kWh", per_pulse=1, modulus=65536)
FLOAT = Signal("e", "meter.energy", "kWh", per_pulse=1, modulus=math.inf, digit=0.05)
NODE = Signal("n", "node.pulses", "L", per_pulse=10, initial_index=0, modulus=1 << 32)
HUGE = Signal("e", "meter.energy", "Wh", per_pulse=1, initial_index=0, modulus=1 << 64, wide=True)
PLAIN = Signal("p", "meter.units", "", per_pulse=1, initial_index=0, modulus=1 << 32, wide=True)


def count(signal: Signal, *readings: tuple[float, float], restart_after: int = -1, boot: str = "boot") -> SignalState:
    """What a signal knows after these readings (seconds, count); it may be stopped and started in between."""
    state = SignalState()
    for number, (seconds, value) in enumerate(readings):
        moment = at(seconds + 1)
        state, reading = step(signal, state, Reading(signal.source, value, moment))
        assert reading.value == state.index
        if number == restart_after:
            kept, moment = json.loads(json.dumps(dump(state, moment))), moment._replace(boot=boot)
            state = replace(load(kept, moment), swaps=state.swaps, returns=state.returns)
    return state


def every(seconds: float, *counts: float, start: float = 0.0) -> list[tuple[float, float]]:
    return [(start + number * seconds, value) for number, value in enumerate(counts)]


@pytest.mark.parametrize(
    ("signal", "readings", "grown", "swaps"),
    [
        (METER, every(10, 65530, 14), 20, 0),
        (METER, every(10, 30000, 0, 30005), 5, 0),
        (METER, every(10, 30000, 29000, 30005), 5, 0),
        (WIDE, every(10, 300000, 0, 300005), 5, 0),
        (WIDE, every(10, 300000, 0, 0, 0, 0, 300005), 5, 0),
        (WIDE, every(10, 300000, 0, 12000, 300005), 5, 0),
        (ENERGY, every(10, 40483, 0, 40484), 1, 0),
        (ENERGY, every(30, 40483, 0, 0, 0, 1, 1), 1, 1),
        (ENERGY, every(86400, 40483, 0, 0, 0, 3), 3, 1),
        (FLOAT, every(10, 1234.56, 1234.99, 1235.01), 0.45, 0),
        (FLOAT, every(10, 1234.56, 0, 1235.01), 0.45, 0),
        (FLOAT, every(10, *[1000.02, 1000.01] * 20), 0, 0),
        (WIDE, every(10, *[1000, 999] * 20), 0, 0),
        (WIDE, [*every(60, 1000, *[999] * 200), (13000, 1001)], 1, 0),
        (WIDE, every(10, 65535, 131071, 65537), 2, 0),
        (WIDE, every(3600, 65535, 131071, 65537), 2, 0),
        (WIDE, every(10, 65535, 0, 65537), 2, 0),
        (HUGE, every(30, 0.0, 2.0**64, 5.0, 5.0, 5.0, 5.0), 5, 0),
        (HUGE, every(30, 2.0**64 - 2048, 5.0, 5.0, 6.0, 6.0), 2054, 0),
        (PLAIN, every(10, 65535, 131071, 65537), 2, 0),
        (PLAIN, every(10, 300000, 0, 300005), 5, 0),
        (PLAIN, every(10, 0, 70000, 140000, 210000, 280001), 280001, 0),
        (WIDE, every(36_000, 100, 200_100, 400_100), 400_000, 0),
        (NODE, every(6 * 3600, 100_000, 3, 3, 3), 0, 1),
        (NODE, every(6 * 3600, 100_000, 3, 4, 5), 20, 1),
        (NODE, every(12 * 3600, 70_000, 135_000), 650_000, 0),
        (METER, every(6 * 3600, 40_000, 3, 3, 3), 0, 1),
        (METER, every(10, 30000, 0, 7, 7, 8, 8, 8, 8), 8, 1),
        (METER, every(10, 100, 60000, *[60000] * 7), 0, 1),
        (METER, every(36_000, 100, 20100), 20000, 0),
        (WIDE, every(20, 300000, 0, 1, 2, 3, 300005), 5, 1),
        (PLAIN, every(20, 300000, 0, 1, 2, 3, 300005), 5, 1),
    ],
    ids=[
        "rollover", "one poll of 0", "one poll of less", "32 bits", "half a minute of 0", "two other values",
        "a 0 of kWh", "kWh set to 0", "kWh set to 0 after days", "decimals", "decimals and a 0", "float trembles",
        "count trembles", "trembles for hours", "torn words", "torn words, hourly", "torn the other way",
        "all ones once", "64 bits wrap",
        "torn, any unit", "a 0 of any unit", "a fast one", "much drawn", "node reset", "node reset and counts",
        "node unheard", "16 bits reset after a silence", "another meter counts on", "on by more than half",
        "within the time", "swap undone", "swap undone, any unit",
    ],
)  # fmt: skip
def test_only_growth_is_counted(signal, readings, grown, swaps):
    first = count(signal, readings[0])
    state = count(signal, *readings)
    assert (round(state.index - first.index, 6), state.swaps) == (grown, swaps)
    assert state.doubt is None


def test_a_value_that_returns_undoes_the_swap_and_keeps_what_was_counted_meanwhile():
    state = count(WIDE, *every(20, 300000, 0, 1, 2, 3, 300002))
    assert (state.index, state.swaps, state.returns) == (3, 1, 1), "3 L were told already: an index never goes back"
    assert count(WIDE, *every(20, 300000, 0, 1, 2, 3, 300005, 300010)).index == 10


@pytest.mark.parametrize("boot", ["boot", "another"])
def test_a_restart_in_the_middle_of_a_doubt_goes_on_with_it(boot):
    readings = every(30, 300_000, 0, 0, 0)
    for moment in range(4):
        state = count(WIDE, *readings, restart_after=moment, boot="boot")
        assert (state.index, state.swaps) == (0, 1)
    assert count(WIDE, *every(30, 300_000, 0, 300_005), restart_after=1, boot=boot).index == 5


def test_a_doubt_that_began_without_a_known_time_outlives_a_kill():
    """The power came back, nobody knows the time yet, the counter began at 0: a kill does not begin the doubt anew."""
    state = replace(count(WIDE, (0, 300_000)), at_ns=0)
    for seconds, value in ((10, 0), (40, 20), (80, 50)):
        moment = at(seconds)._replace(wall_ms=None)
        state, _ = step(WIDE, state, Reading("meter.total", value, moment))
        state = replace(load(json.loads(json.dumps(dump(state, moment))), moment), swaps=state.swaps)
    assert (state.index, state.swaps) == (50, 1)
    elsewhere = at(5)._replace(boot="another", wall_ms=None)
    doubting, _ = step(WIDE, replace(count(WIDE, (0, 300_000)), at_ns=0), Reading("meter.total", 0, at(10)))
    assert load(dump(doubting, at(20)._replace(wall_ms=None)), elsewhere).doubt is None, "how long ago is not known"


def test_after_a_start_without_a_known_time_growth_wants_a_second_reading():
    def unknown(*counts):
        state = replace(count(WIDE, (0, 300_000)), at_ns=0)
        for seconds, value in enumerate(counts, 1):
            state, _ = step(WIDE, state, Reading("meter.total", value, at(10 * seconds)))
        return state.index

    assert unknown(350_000) == 0 and unknown(350_000, 350_001) == 50_001
    assert unknown(300_700) == 700
    assert unknown(350_000, 300_001) == 1


def test_a_value_that_returns_undoes_the_swap_also_after_a_boot_without_a_known_time():
    """A Pi has no clock of its own: at a start after a power cut the time is not known yet."""
    state = count(WIDE, *every(20, 300_000, 0, 1, 2, 3))
    kept, later = json.loads(json.dumps(dump(state, at(90)))), at(5)._replace(boot="another", wall_ms=None)
    state = load(kept, later)
    for seconds, value in enumerate((300_005, 300_006, 300_010), 1):
        moment = at(10 * seconds)._replace(boot="another", wall_ms=None)
        state, _ = step(WIDE, state, Reading("meter.total", value, moment))
    assert (state.index, state.returns) == (10, 1)


def test_max_rate_bounds_the_growth():
    small = replace(WIDE, max_rate=5 / 3600)
    assert count(replace(small, unit="m3"), *every(3600, 100, 105)).index == 5
    assert count(replace(small, unit="m3"), *every(3600, 100, 120)).index == 0


@given(
    st.sampled_from([1 << 16, 1 << 32, 10_000, math.inf]),
    st.sampled_from(["L", "m3", "kWh", ""]),
    st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, (1 << 32) - 1)), min_size=2, max_size=30),
)
def test_an_index_never_goes_back_nor_on_by_more_than_the_meter_passes(modulus, unit, readings):
    signal, state, seconds = Signal("m", "m.c", unit, per_pulse=1, initial_index=0, modulus=modulus), SignalState(), 1
    for number, (later, count) in enumerate(readings):
        before, seconds = state, seconds + later
        state, _ = step(signal, state, Reading("m.c", count if math.isinf(modulus) else count % modulus, at(seconds)))
        if number == 0:
            first, before = state.index, state
        grown = state.index - before.index
        assert 0 <= grown <= (modulus if math.isinf(modulus) else modulus // 2)
        rate = signal.dial.rate
        assert rate is None or state.index - first <= rate * seconds + signal.dial.slack * number + 1e-6
        assert state.swaps in (before.swaps, before.swaps + 1)


@given(st.lists(st.integers(0, 1 << 31), max_size=30))
def test_what_grows_by_less_than_half_the_range_is_counted_whole(growths):
    signal, state, total = Signal("m", "m.c", "", per_pulse=1, initial_index=0, modulus=1 << 40), SignalState(), 0
    state, _ = step(signal, state, Reading("m.c", 0, at(1)))
    for growth in growths:
        total += growth
        state, _ = step(signal, state, Reading("m.c", total, at(2)))
    assert (state.index, state.swaps) == (total, 0)
