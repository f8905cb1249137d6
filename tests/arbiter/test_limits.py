"""Minimum times and starts an hour as pure functions."""

from __future__ import annotations

import pytest

from agent.arbiter.limits import History, Limits, earliest
from agent.lib.rate_limit import Bucket

LIMITS = Limits(min_on=240, min_off=360, max_starts_per_hour=2)


@pytest.mark.parametrize(
    ("history", "on", "expected"),
    [
        (History(), True, (1000, "")),
        (History(True, 900), True, (1000, "")),
        (History(True, 900), False, (1140, "min_on")),
        (History(False, 900), True, (1260, "min_off")),
        (History(False, 600), True, (1000, "")),
        (History(False, None), True, (1000, "")),
        (History(None, 900), True, (1260, "min_off")),
        (History(None, 900), False, (1140, "min_on")),
        (History(False, 500, (-2000.0, 400.0)), True, (1600, "max_starts_per_hour")),
        (History(False, 500, (-2600.0, 400.0)), True, (1000, "")),
        (History(False, 500, (100.0, 300.0, 400.0)), True, (3900, "max_starts_per_hour")),
    ],
)
def test_earliest(history, on, expected):
    assert earliest(LIMITS, history, on, 1000) == expected


def test_a_start_is_counted_once_and_forgotten_after_an_hour():
    history = History().moved(True, 0).moved(True, 5).moved(False, 10).moved(True, 20)
    assert (history.on, history.since, history.starts) == (True, 20, (0, 20))
    assert history.moved(False, 3605).starts == (20,)


def test_what_goes_on_again_after_it_fell_is_no_start_where_that_does_no_harm():
    fell = History(True, 0, (0.0,)).found(False, 100)
    assert fell.fell and fell.since == 100
    assert fell.moved(True, 160, back=True).starts == (0.0,)
    assert fell.moved(True, 160).starts == (0.0, 160)
    ours = History(True, 0, (0.0,)).moved(False, 100)
    assert not ours.fell and ours.moved(True, 160, back=True).starts == (0.0, 160)
    assert not fell.moved(True, 160, back=True).moved(False, 200).fell


def test_an_attempt_is_a_change_either_way():
    tried = History(False, 0).perhaps(True, 50)
    assert (tried.on, tried.since, tried.starts) == (None, 50, (50,))
    assert tried.found(True, 60) == History(True, 50, (50,), maybe=50)
    again = History(True, 0).perhaps(True, 50)
    assert (again.on, again.since, again.running) == (True, 0, 0)
    assert again.fallen(50).moved(True, 60) == History(True, 60, (60,))


def test_what_was_perhaps_switched_off_may_run_since_it_went_on():
    tried = History(True, 10).perhaps(False, 50)
    assert tried.running is None
    assert tried.found(True, 60).running == 10
    assert tried.found(False, 60).perhaps(True, 70).found(True, 80).running == 70
    assert tried.shifted(5).found(True, 65).running == 15


def test_an_output_not_read_since_a_restart_may_have_moved():
    assert History(False, 10).doubted().moved(False, 50).since == 50
    on = History(True, 10, (10,)).doubted().perhaps(True, 50).found(True, 60)
    assert (on.since, on.starts, on.running) == (50, (10, 50), 10)
    assert History(None, 10, maybe=5).doubted() == History(None, 10, maybe=5)


def test_what_only_reads_as_on_is_not_written_on_once_too_often():
    """A false "on", and what is wanted is on: to write it can be the start that is one too many."""
    seen = History(False, 100, (0, 50)).found(True, 700)
    assert earliest(LIMITS, seen, True, 700) == (3600, "max_starts_per_hour")
    assert earliest(LIMITS, History(False, 100, (0,)).found(True, 700), True, 700) == (700, "")
    assert earliest(LIMITS, seen.moved(True, 700), True, 700) == (700, "")


def test_bucket():
    bucket = Bucket(burst=3, rate=1)
    assert [bucket.take(100) for _ in range(5)] == [True, True, True, False, False]
    assert [bucket.take(101.5), bucket.take(101.5)] == [True, False]
    assert [bucket.take(9999) for _ in range(4)] == [True, True, True, False]
