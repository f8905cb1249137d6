"""Order and age of messages by monotonic clocks: what is of now passes, what is old does not, whoever plays it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.bocage_site.messages import Stamp
from drivers.bocage_site.order import LATE, Order, Repeated, TooOld

WALL = 1_764_000_000_000


def stamp(at: float, boot: str = "b1", wall: float | None = 0.0, epoch: float = 0.0) -> Stamp:
    """Sent at second `at` of the common time; the sender's boot was at `epoch`, its wall clock is off by `wall` (s)."""
    return Stamp(boot, round((at - epoch) * 1000), None if wall is None else WALL + round((at + wall) * 1000))


def wall(at: float) -> int:
    return WALL + round(at * 1000)


def known() -> Order:
    """One that knows a sender whose boot was at second 0, by messages without delay."""
    order = Order()
    assert order.delay(stamp(10), 10, wall(10)) == 0
    return order


def test_the_first_message_counts_where_both_know_the_time():
    assert Order().delay(stamp(10, epoch=-5000), 12.5, wall(12.5)) == 2.5


@pytest.mark.parametrize("ours", [None, wall(10)])
@pytest.mark.parametrize("theirs", [None, -86_400.0, 86_400.0])
def test_without_a_common_time_the_second_message_counts(ours, theirs):
    order = Order()
    if ours is not None or theirs is not None:
        with pytest.raises(TooOld):
            order.delay(stamp(10, wall=theirs), 10.5, ours)
        assert order.delay(stamp(15, wall=theirs), 15.2, ours) == 0
        assert order.delay(stamp(20, wall=theirs), 20.7, ours) == pytest.approx(0.5, abs=0.01)


def test_a_burst_of_what_waited_at_a_broker_does_not_count():
    """Minutes of it come at once: there the time passed between them, and here it did not."""
    order = Order()
    for sent in (10, 70, 130):
        with pytest.raises(TooOld, match="not known yet"):
            order.delay(stamp(sent, wall=None), 200, None)


def test_what_was_long_on_its_way_is_too_old():
    order = known()
    assert order.delay(stamp(20), 25, wall(25)) == pytest.approx(5, abs=0.1)
    with pytest.raises(TooOld, match="on its way"):
        order.delay(stamp(30), 30 + LATE + 1, wall(91))


def test_a_message_counts_once_and_none_before_it_counts_any_more():
    order = known()
    with pytest.raises(Repeated):
        order.delay(stamp(10), 11, wall(11))
    order.delay(stamp(20), 20, wall(20))
    with pytest.raises(TooOld):
        order.delay(stamp(15), 21, wall(21))


def test_an_earlier_boot_never_counts_again():
    order = known()
    order.delay(stamp(100, "b2", epoch=90), 100, wall(100))
    for at in (110, 120, 130):
        with pytest.raises(TooOld, match="restart"):
            order.delay(stamp(at, "b1"), at, wall(at))


def test_a_step_of_either_wall_clock_changes_nothing_in_a_boot():
    order = known()
    assert order.delay(stamp(20, wall=86_400), 20, wall(20)) == 0
    assert order.delay(stamp(30), 30, wall(30 - 86_400)) == 0
    assert order.delay(stamp(40, wall=None), 40, None) == 0


def test_clocks_that_drift_are_no_delay():
    """100 ppm for a month."""
    order = Order()
    order.delay(stamp(0), 0, wall(0))
    for day in range(1, 31):
        for minute in range(0, 1440, 60):
            at = (day * 1440 + minute) * 60.0
            assert order.delay(stamp(at), at * (1 + 100e-6), None) < 1


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(1, 60), st.floats(0, 30), st.booleans()), min_size=1, max_size=30),
    st.floats(-1e6, 1e6),
)
def test_whatever_the_network_does_no_message_is_younger_than_it_says(steps, theirs):
    """Messages come late, twice and out of order: those that count do so in order, once, and their delay is at most the
    true one, less that of the fastest message at the worst."""
    arrivals, at = [], 0.0
    for pause, delay, twice in steps:
        at += pause
        arrivals += [(at + delay, at)] * (2 if twice else 1)
    order, counted = Order(), []
    order.delay(stamp(0, wall=0), 0, wall(0))
    for came, sent in sorted(arrivals):
        try:
            found = order.delay(stamp(sent, wall=theirs), came, wall(came))
        except TooOld:
            continue
        assert found <= came - sent + 0.01
        assert found >= came - sent - 0.5, "the first one had no delay"
        counted.append(sent)
    assert counted == sorted(set(counted))
