"""Delays between attempts: doubled to a limit, spread, begun again, or grown with an outage."""

import pytest

from agent.lib.backoff import Backoff, doubled, outage_delay


def test_a_delay_doubles_up_to_the_longest() -> None:
    backoff = Backoff()
    assert [backoff.next() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    backoff.reset()
    assert [backoff.next(), backoff.next()] == [1, 2]


def test_the_next_delay_can_be_looked_at() -> None:
    backoff = Backoff(5.0, 60.0)
    assert (backoff.delay, backoff.delay) == (5, 5)
    backoff.next()
    assert backoff.delay == 10


@pytest.mark.parametrize(("dice", "delays"), [(0.0, [0.5, 1, 2]), (1.0, [1.5, 3, 6])])
def test_the_spread_does_not_add_up(dice: float, delays: list[float]) -> None:
    backoff = Backoff(spread=(0.5, 1.5), dice=lambda: dice)
    assert [backoff.next() for _ in range(3)] == delays


def test_it_stays_at_the_longest_for_ever() -> None:
    backoff = Backoff(spread=(0.8, 1.0), dice=lambda: 0.5)
    for _ in range(5000):
        backoff.next()
    assert backoff.next() == pytest.approx(54)


def test_limits_may_change_from_one_delay_to_the_next() -> None:
    assert [doubled(0, 1, 60), doubled(4, 60, 900), doubled(60, 60, 900), doubled(900, 1, 60)] == [1, 60, 120, 60]


@pytest.mark.parametrize(("outage", "delay"), [(0, 1), (30, 1), (300, 10), (3600, 60), (1e6, 60)])
def test_the_delay_grows_with_the_outage(outage: float, delay: float) -> None:
    assert outage_delay(outage) == delay
