"""The index of the well's water meter, judged by what was pumped: it neither goes back nor counts what never flowed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

__all__ = ["judge"]

PER_PULSE = 10.0
"""Litres."""
ROLLS = 65_536 - 65_536 // 16
"""A counter that is set to 0 from here on looks as if it went round (the page of water)."""
BEFORE = 25.0
"""Seconds before a reset in which a pulse may be lost: polls."""
HELD, PULSES = 75.0, 9
"""What may be held back until it is on flash and told (`agent.core.hub`): so long (with a poll), so many pulses."""
TREMBLE = 2
"""Pulses by which a counter may go back without being doubted (the page of water)."""
NOTED = 20.0
"""Seconds after a doubt began until a kill no longer begins it anew: the state is written every 10 s."""
AGREED = 60.0 + 2 * BEFORE
"""Seconds after a doubt began until it is over: until then another reset begins it anew."""


def judge(world: Any) -> None:
    """What was broken is added to the world's judge."""
    slave, found = world.village.slaves["w"], world.judge
    told = [(at, shown[1]) for at, shown in slave.told if shown[1] is not None]
    index = sorted(found.index.items())
    if slave.lied or not told or not index:
        return
    tank, end = slave.process, _before(told, told[-1][0] - HELD)[1]
    rolled = sum(65_536 - shown for _, shown in tank.resets if shown >= ROLLS)
    most = PER_PULSE * (tank.shown[1] + rolled)
    shows = max(value for _, value in index)
    found.must(shows <= most, f"the water meter shows {shows:.0f} L, {most:.0f} L were pumped")
    if any(event["code"] == "meter_returned" for event in found.events.values()):
        return  # what came since it was taken for another meter is undone (the page of water)
    for (one, before), (two, value) in pairwise(index):
        found.must(value >= before or one[0] != two[0], f"the water meter went back from {before} to {value} L")
    least = PER_PULSE * (end - told[0][1] - _lost(world, told))
    found.must(shows >= least, f"the water meter shows {shows:.0f} L, {least:.0f} L and more were counted")


def _lost(world: Any, told: list[tuple[float, float]]) -> float:
    """Pulses that nobody can have counted: the counter began again, and who knew them had died, or did not see them."""
    spans: list[tuple[float, float, bool]] = []
    for reset, _ in world.village.slaves["w"].process.resets:
        begin, end, died = _unknown(world, told, reset)
        if spans and begin <= spans[-1][1] + AGREED:
            first = spans.pop()
            begin, died = min(first[0], begin), died or first[2]
        spans.append((begin, end, died))
    return sum(_between(world, told, *span) for span in spans)


def _unknown(world: Any, told: list[tuple[float, float]], reset: float) -> tuple[float, float, bool]:
    """From the last count that is known after a reset to the first that counts again, and whether a process died."""
    seen = _before(told, reset - BEFORE)[0]
    begin, end, dead = reset - BEFORE, _doubted(told, reset), False
    for died in world.died:
        if seen <= died <= _noted(world, end + NOTED):
            begin, dead = min(begin, _durable(world, min(died, reset) - BEFORE)), True
            end = max(end, _doubted(told, min((at for at in world.diary.begun if at >= died), default=died)))
    return begin, end, dead


def _durable(world: Any, moment: float) -> float:
    """Up to when counts are on flash, if they are up to `moment` where that can be written."""
    for begin, end in sorted(world.disk.hurt, reverse=True):
        if begin <= moment + BEFORE and end >= moment:
            moment = min(moment, begin - BEFORE)
    return moment


def _noted(world: Any, moment: float) -> float:
    """When on flash is what is there at `moment` where that can be written."""
    for begin, end in sorted(world.disk.hurt):
        if begin <= moment and end >= moment - NOTED:
            moment = max(moment, end + NOTED)
    return moment


def _between(world: Any, told: list[tuple[float, float]], begin: float, end: float, died: bool) -> float:
    """Pulses of a span; if a process died, with those that were held back at its begin.

    One that began at 0 and comes to where it was before a doubt is over looks as if it never began again.
    """
    at, known = _before(told, begin)
    held = min(PULSES, known - _before(told, begin - HELD)[1]) if died else 0
    stood = known - _ended(world, at)
    later, pulses = _decided(told, end + AGREED)
    unseen = stood if pulses - _ended(world, later) >= stood - held - TREMBLE else 0
    return next((pulses for at, pulses in told if at >= end), told[-1][1]) - known + held + unseen


def _ended(world: Any, moment: float) -> float:
    """Pulses of before the counter began again last."""
    resets: list[tuple[float, int]] = world.village.slaves["w"].process.resets
    return sum(shown for at, shown in resets if at <= moment)


def _before(told: list[tuple[float, float]], moment: float) -> tuple[float, float]:
    """The last reading up to a moment."""
    return next((one for one in reversed(told) if one[0] <= moment), told[0])


def _decided(told: list[tuple[float, float]], moment: float) -> tuple[float, float]:
    """The reading that ends a doubt: the last one up to `moment`, or, where none came lately, the next."""
    last = _before(told, moment)
    return last if last[0] >= moment - BEFORE else next((one for one in told if one[0] > moment), last)


def _doubted(told: list[tuple[float, float]], moment: float) -> float:
    """When a counter that began again is doubted at the latest: of two readings one surely came."""
    later = [at for at, _ in told if at > moment][:2]
    return later[-1] if later else told[-1][0]
