"""A counter as it is read: which reading is growth, which is a slip of the wire, and which is another meter's.

A reading that no growth explains (a step back, a leap) is only doubted: the count before it is kept. The next reading
that goes on from there ends the doubt; three readings over a minute that go on from the doubted one make it another
meter. The line that was left is remembered for a week: a value that returns to it undoes the change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

__all__ = ["CounterTrail", "Dial", "Doubt", "ReplacedMeter", "Verdict", "follow"]

READINGS, SECONDS = 3, 60.0
"""A step that no growth explains is another meter's once so many readings over so long agree."""
TREMBLE = 2
"""Last digits by which a counter may go back without having been changed (a net totaliser)."""
PRECISION = 1e-6
"""Part of a count that a float of 32 bits cannot show."""
ROLLS = 16
"""A rollover brings at most this part of the range; what goes back by less was set to 0: a reset, a new battery."""
ROLLS_AT_MOST = 4
"""The part of the range that a rollover may bring where the site file states the meter's rate: it can be an hour's
worth."""
WORD = 65536
"""A count of two registers that were read while it turned is out by at least this."""
RETURNS = 7 * 86400.0
"""Seconds in which a value may return to the line that was left."""
NEARER = 10.0
"""The line that was left is the right one if it explains a reading by a growth so many times smaller."""

Verdict = str
"""`""`, `replaced` (another meter's from now on) or `returned` (it was not)."""


@dataclass(frozen=True, slots=True)
class Dial:
    """How a counter counts, in counts of the source.

    It begins again from `modulus` (inf: never); `digit` is its last digit. `rate` is the most in a second (None:
    unknown), `slack` what may come at once besides. `wide`: it is read from several registers. `hourly`: the most in an
    hour, where the site file states it; a rollover may bring that much.
    """

    modulus: float = math.inf
    digit: float = 1.0
    rate: float | None = None
    slack: float = 0.0
    wide: bool = False
    hourly: float = 0.0

    @property
    def rolls(self) -> float:
        """The most that a rollover brings."""
        return max(self.modulus / ROLLS, min(self.hourly, self.modulus / ROLLS_AT_MOST))


@dataclass(frozen=True, slots=True)
class Doubt:
    """Readings that go on from each other and not from what was before: from `first` to `last`, counts and seconds.

    `is_leap`: it may be growth, and one more reading says so.
    """

    first: float
    first_at: float
    last: float
    last_at: float
    readings: int = 1
    is_leap: bool = False


@dataclass(frozen=True, slots=True)
class ReplacedMeter:
    """The last count of the meter that another one replaced, when that was (s), and how much was counted since."""

    count: float
    at: float
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class CounterTrail:
    """The last accepted count, and when (seconds; None: not known, before this start)."""

    count: float
    at: float | None
    doubt: Doubt | None = None
    left: ReplacedMeter | None = None


def follow(dial: Dial, trail: CounterTrail, count: float, at: float) -> tuple[CounterTrail, float, Verdict]:
    """Judge a reading: the trail, by how much the counter grew (0 or more), and whether it is another one."""
    elapsed = None if trail.at is None else at - trail.at
    own, is_leap = _growth(dial, trail.count, elapsed, count)
    doubt, left = trail.doubt, trail.left
    if left is not None and at - left.at > RETURNS:
        left = None
    if left is not None:
        grown = _return(dial, left, count, at)
        elsewhere = math.inf if own is None else own - NEARER * dial.digit
        passes = own is not None and _is_usual(dial, trail, left, own, at)
        if grown is not None and grown * NEARER < elsewhere and not passes:
            return CounterTrail(max(count, left.count), at), max(0.0, grown - left.since), "returned"
    onwards = None
    if doubt is not None:
        onwards, leaps = _growth(dial, doubt.last, at - doubt.last_at, count)
        onwards = None if leaps and not doubt.is_leap else onwards
    if own is not None and not is_leap and (onwards is None or own <= onwards):
        after = trail.count if count < trail.count and own == 0 else count
        return CounterTrail(after, at, None, None if left is None else replace(left, since=left.since + own)), own, ""
    if doubt is None or onwards is None:
        return replace(trail, doubt=Doubt(count, at, count, at, 1, is_leap), left=left), 0.0, ""
    last = max(count, doubt.last) if onwards == 0 else count
    doubt = replace(doubt, last=last, last_at=at, readings=doubt.readings + 1)
    if doubt.is_leap and own is not None:
        return CounterTrail(count, at), own, ""
    if doubt.readings < READINGS or at - doubt.first_at < SECONDS:
        return replace(trail, doubt=doubt, left=left), 0.0, ""
    since = _growth(Dial(dial.modulus, dial.digit), doubt.first, None, count)[0] or 0.0
    replaced = ReplacedMeter(trail.count, at if trail.at is None else trail.at, since)
    return CounterTrail(count, at, None, replaced), since, "replaced"


def _return(dial: Dial, left: ReplacedMeter, count: float, at: float) -> float | None:
    """By how much it grew since the line that was left, if it stands near it: less than a meter passes usually."""
    grown, leaps = _growth(dial, left.count, at - left.at, count)
    if dial.rate is None:
        near = max(100 * dial.digit, abs(left.count) / 100)
    else:
        near = dial.rate / NEARER * (at - left.at) + dial.slack
    return None if grown is None or leaps or grown > near else grown


def _is_usual(dial: Dial, trail: CounterTrail, left: ReplacedMeter, own: float, at: float) -> bool:
    """Whether it grew about as fast ever since: a counter that began at 0 goes past where it was, and does not return.

    No more than may come at once is accepted for that.
    """
    if trail.at is None or trail.at <= left.at or own > dial.slack:
        return False
    return own <= NEARER * left.since / (trail.at - left.at) * (at - trail.at)


def _growth(dial: Dial, before: float, elapsed: float | None, count: float) -> tuple[float | None, bool]:
    """By how much it grew from `before` to `count`; None if that is no growth. And whether it needs a second reading.

    A count that is less by the last digits only did not grow. How long it took may not be known (None). One that
    begins again at 0 itself is more often a poll that failed.
    """
    grown, rolled = count - before, False
    if grown < 0:
        if grown >= -max(TREMBLE * dial.digit * (1 + PRECISION), PRECISION * abs(before)):
            return 0.0, False
        if not math.isfinite(dial.modulus):
            return None, False
        # as a float of 64 bits tells it: count - before would round away a few counts on the other side of the range
        grown, rolled = (count + (dial.modulus - before)) % dial.modulus, True
    if math.isfinite(dial.modulus) and grown > (dial.rolls if rolled else dial.modulus / 2):
        return None, False
    unknown = elapsed is None and dial.rate is not None and grown > dial.slack
    if dial.rate is not None and elapsed is not None and grown > dial.rate * max(elapsed, 0.0) + dial.slack:
        return None, False
    if unknown and rolled:
        return None, False
    return grown, unknown or (rolled and count == 0) or (dial.wide and grown >= WORD * dial.digit * (1 - PRECISION))
