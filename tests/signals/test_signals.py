"""What signals make of their sources: NAMUR currents, indexes with rollover, limits and quality."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Instant, Quality, Reading
from agent.signals import Signal, SignalState, current_to_value, step


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


@pytest.mark.parametrize(
    ("counts", "index", "swaps"),
    [
        ([(0, 65530), (10, 14)], 520, 0),
        ([(0, 30000), (10, 0)], 500, 1),
        ([(0, 30000), (10, 0), (20, 7)], 507, 1),
        ([(0, 40000), (10, 0)], 500, 1),
        ([(0, 40000), (36_000, 0)], 26_036, 0),
        ([(0, 100), (10, 60000)], 500, 1),
        ([(0, 100), (36_000, 20100)], 20500, 0),
    ],
    ids=[
        "rollover", "back by less than half", "it counts on", "more water than goes through", "ten hours unheard",
        "on by more than half", "much drawn",
    ],
)  # fmt: skip
def test_another_meter_adds_nothing_and_is_told_once(counts, index, swaps):
    state = SignalState()
    for seconds, count in counts:
        state, _ = step(METER, state, Reading(METER.source, count, at(seconds + 1)))
    assert (state.index, state.swaps) == (index, swaps)


@given(
    st.sampled_from([1 << 16, 1 << 32, 10_000]),
    st.sampled_from(["L", "m3", "kWh"]),
    st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, (1 << 32) - 1)), min_size=2, max_size=30),
)
def test_an_index_never_goes_back_nor_on_by_more_than_half_the_range(modulus, unit, readings):
    signal, state, seconds = Signal("m", "m.c", unit, per_pulse=1, initial_index=0, modulus=modulus), SignalState(), 1
    for later, count in readings:
        before, seconds = state, seconds + later
        state, _ = step(signal, state, Reading("m.c", count % modulus, at(seconds)))
        grown = state.index - (before.index or 0)
        assert 0 <= grown <= modulus // 2
        assert state.swaps == before.swaps or (grown == 0 and state.swaps == before.swaps + 1)


@given(st.lists(st.integers(0, 1 << 31), max_size=30))
def test_what_grows_by_less_than_half_the_range_is_counted_whole(growths):
    signal, state, total = Signal("m", "m.c", "kWh", per_pulse=1, initial_index=0, modulus=1 << 32), SignalState(), 0
    state, _ = step(signal, state, Reading("m.c", 0, at(1)))
    for growth in growths:
        total += growth
        state, _ = step(signal, state, Reading("m.c", total % (1 << 32), at(2)))
    assert (state.index, state.swaps) == (total, 0)
