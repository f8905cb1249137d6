"""One report of each kind in a period, with the number of what happened since the one before."""

from agent.lib.throttle import Throttle


def test_the_first_is_reported_at_once_and_the_next_with_its_number() -> None:
    now = [1000.0]
    throttle = Throttle(lambda: now[0])
    assert [throttle("a"), throttle("a"), throttle("a"), throttle("b")] == [1, 0, 0, 1]
    now[0] += 59.9
    assert throttle("a") == 0
    now[0] += 0.1
    assert throttle("a") == 4


def test_what_was_counted_can_be_reported_later() -> None:
    now = [0.0]
    throttle = Throttle(lambda: now[0], period=10)
    assert not throttle.is_due() and throttle.take() == 0
    assert throttle() == 1
    throttle.count()
    throttle.count()
    assert not throttle.is_due() and throttle.take() == 0
    now[0] = 10.0
    assert throttle.is_due() and throttle.take() == 2
    now[0] = 30.0
    assert not throttle.is_due()


def test_it_remembers_a_bounded_number_of_kinds() -> None:
    throttle = Throttle(lambda: 0.0, kinds=256)
    assert [throttle("a", number) for number in range(5000)] == [1] * 5000
    assert len(throttle._reported) <= 256 and not throttle._counts
    assert throttle("a", 4999) == 0
