"""The index of the well's water meter, judged by what was pumped: it neither goes back nor counts what never flowed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

__all__ = ["judge"]

PER_PULSE = 10.0
"""Litres."""
ROLLS = 65_536 - 65_536 // 16
"""A counter that is set to 0 from here on looks as if it went round (docs/water.md)."""
BEFORE, AFTER = 25.0, 45.0
"""Seconds around a reset in which a pulse may be lost: polls, and the first of three readings that agree."""


def judge(world: Any) -> None:
    """What was broken is added to the world's judge."""
    slave, found = world.village.slaves["w"], world.judge
    told = [(at, shown[1]) for at, shown in slave.told if shown[1] is not None]
    index = sorted(found.index.items())
    if slave.lied or not told or not index:
        return
    tank, end = slave.process, told[-1][1]
    rolled = sum(65_536 - shown for _, shown in tank.resets if shown >= ROLLS)
    most = PER_PULSE * (tank.shown[1] + rolled)
    shows = max(value for _, value in index)
    found.must(shows <= most, f"the water meter shows {shows:.0f} L, {most:.0f} L were pumped")
    returned = any(event["code"] == "meter_returned" for event in found.events.values())
    if _is_forgotten(world) or returned:  # what came since it was taken for another meter is undone (docs/water.md)
        return
    for (one, before), (two, value) in pairwise(index):
        found.must(value >= before or one[0] != two[0], f"the water meter went back from {before} to {value} L")
    lost = sum(_around(told, at) for at, _ in tank.resets)
    least = PER_PULSE * (end - told[0][1] - lost)
    found.must(shows >= least, f"the water meter shows {shows:.0f} L, {least:.0f} L and more were counted")


def _is_forgotten(world: Any) -> bool:
    """Whether a power cut came while the flash could not be written: then the index of before may be gone."""
    return any(begin - BEFORE <= died and at <= end + 90.0 for begin, end in world.disk.hurt for died, at in world.cuts)


def _around(told: list[tuple[float, float]], reset: float) -> float:
    """Pulses that nobody can have seen, for the counter began again."""
    before = [pulses for at, pulses in told if at <= reset - BEFORE]
    after = [pulses for at, pulses in told if at >= reset + AFTER]
    return (after[0] if after else told[-1][1]) - (before[-1] if before else 0)
