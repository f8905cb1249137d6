"""A counter that began at 0, and whether what it shows later is its own or that of before."""

from __future__ import annotations

import pytest

from agent.lib.counter import CounterTrail, Dial, follow

DIAL = Dial(65_536, 1.0, 2.8, 100.0)
"""10 L a pulse, at the most 100 m3/h, read each 15 s."""
POLL = 15.0


def told(counts: list[float]) -> tuple[float, list[str]]:
    """How much was counted, and what was told, of counts that are read one after the other."""
    trail, drawn, verdicts = CounterTrail(counts[0], 0.0), 0.0, []
    for turn, count in enumerate(counts[1:], 1):
        trail, grown, verdict = follow(DIAL, trail, count, turn * POLL)
        drawn += grown
        verdicts += [verdict] if verdict else []
    return drawn, verdicts


@pytest.mark.parametrize("pace", [25, 29, 67])
def test_a_counter_that_began_at_0_goes_past_where_it_was(pace: int) -> None:
    """Nothing is lost as it passes, and nobody is told that the other meter is back."""
    after = [float(count) for count in range(0, 1300, pace)]
    assert told([1043.0, 1072.0, *after]) == (29 + after[-1], ["replaced"])


@pytest.mark.parametrize("away", [0.0, 7.0])
def test_one_that_only_slipped_for_a_minute_returns(away: float) -> None:
    """It stood at 0, or at what it had counted since: what it then shows is what it showed before."""
    slipped = [away] * 6
    assert told([20.0, 40.0, *slipped, 41.0, 60.0]) == (20 + 1 + 19, ["replaced", "returned"])
