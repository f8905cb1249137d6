"""What a box that does not know the time made of it: the dates of its readings, and how wrong its guess may be."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any

__all__ = ["judge", "lag", "off"]

ANCHOR = 620.0
"""Seconds between two times that are remembered over a boot, and until they are on flash."""
CLOSE = 6.0
"""Seconds from a question to its answer, which is dated, at the most."""
SOON = 60.0
"""Seconds of a life that knows the time until it has told so."""


def lag(world: Any, at: float) -> float:
    """By how many seconds the time that it goes on from may lie behind: 0 when it knows it, infinite when it has none.

    It is the last one that was known in an earlier boot, and for so long as the box was off nobody counted.
    """
    behind = 0.0
    for n, doubt in enumerate(world.doubts):
        if doubt.begin > at:
            break
        if doubt.begin == 0.0:
            behind = math.inf
        else:
            ends, begins = [die for die, cut in world.cuts if cut == doubt.begin], world.diary.begun
            first = begins[min(bisect_left(begins, doubt.begin), len(begins) - 1)]
            behind += ANCHOR + max(0.0, first - min(ends, default=doubt.begin))
        following = world.doubts[n + 1].begin if n + 1 < len(world.doubts) else math.inf
        if doubt.end < min(at, following):
            behind = 0.0
    return behind


def off(world: Any, at: float) -> float:
    """By how many seconds what was remembered at the beginning of this boot may have seemed too near."""
    return lag(world, max((doubt.begin for doubt in world.doubts if doubt.begin <= at), default=0.0))


def judge(world: Any) -> None:
    """A reading has its true date, or gets it by the event of its boot, or bounds that hold it."""
    if "clock_step" in world.mixture.pauses:
        return
    judged, moments = world.judge, {count: [*at] for count, at in world.slave.lies.items()}
    for one in world.slave.answers:  # what noise made up was perhaps given hours before, or comes hours later
        moments.setdefault(one.count, []).append(one.at)
    offsets = {
        event["detail"]["boot"]: event["detail"]["offset_ms"]
        for event in judged.events.values()
        if event["code"] == "dated"
    }
    waits = set()
    for count, date in judged.dates.items():
        judged.must(count in moments, f"poll {count}: a reading that no slave answered, of {date}")
        if count not in moments:
            continue
        true = [round(world.village.start_ms + at * 1000) for at in moments[count]]
        poll = f"poll {count}, answered at {' s or at '.join(f'{at:.3f}' for at in moments[count])} s ({true} ms),"
        if "t" in date:
            judged.must(_holds(date["t"], date["t"], true), f"{poll} is dated {date['t']}")
        elif date["clock"] == "bounded":
            judged.must(_holds(date["t_min"], date["t_max"], true), f"{poll} is not within {date}")
        elif date["boot"] in offsets:
            at = offsets[date["boot"]] + date["boottime_ms"]
            judged.must(_holds(at, at, true), f"{poll} is dated {at} later")
        else:
            waits.add(int(date["boot"][:8], 16))
    for boot in waits:
        judged.must(not _was_known(world, boot), f"boot {boot} knew the time, and did not tell")


def _holds(low: float | None, high: float | None, true: list[int]) -> bool:
    """Whether one of these moments (Unix ms) is within the bounds. None: nothing is known on this side."""
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    return any(low - CLOSE * 1000 <= at <= high + CLOSE * 1000 for at in true)


def _was_known(world: Any, boot: int) -> bool:
    """Whether a life of this boot knew the time for long enough to tell.

    While the flash fails the word of it is in memory; so the broker need only refuse it until the power is cut.
    """
    doubt = world.doubts[boot - 1]
    end = world.doubts[boot].begin if boot < len(world.doubts) else world.loop.time()
    in_memory = any(begin <= doubt.end and over >= end for begin, over in world.disk.hurt)
    if doubt.end >= end or in_memory:
        return False
    ends = [at for at in sorted({*world.died, end}) if at > doubt.end]
    begun = [at for at in world.diary.begun if doubt.begin <= at <= end]
    lives = [(max(at, doubt.end), min((x for x in ends if x > at), default=end)) for at in begun]
    return any(until - since > SOON for since, until in lives)
