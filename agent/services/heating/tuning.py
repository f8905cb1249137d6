"""Self-tuning of a TPI whose cycle or `coef_ext` is not in the file: how fast its room warms, and how much it loses.

Two rooms of one setpoint need cycles of half an hour and of two hours. So the cycle is made as long as the room may
swing, and the duty that holds the setpoint is learned. docs/decisions/0017-tpi-by-physics.md.
"""

from __future__ import annotations

from typing import NamedTuple

from agent.services.heating.loops import CYCLE, Loop, Tpi, tpi_duty

__all__ = ["OUTDOORS", "OVERSIZED", "Tuning", "concrete", "is_learned", "learn", "look_at"]

SWING = 0.55
"""K, from bottom to top: by so much the room may swing in a cycle. The hysteresis of +-0.3 K swings by 0.6 K."""
RATE = 1.5 / 3600
"""K/s: by so much faster than without it a room warms up under full fire, until it is known: cycles of 90 min."""
BALANCE = 0.2
"""The least of duty x (1 - duty) that the cycle is reckoned with: near 0 and 1 it would have no end."""
SHORTEST, LONGEST = 600.0, 4 * 3600.0
"""Bounds of the cycle (s)."""
STABLE = 1.0
"""So much of a kelvin does a cycle answer to a kelvin at most: from 2 on the room would swing up by itself."""
OVERSIZED = 1.5
"""A boiler gives so many times what the room loses on the coldest day, until it is known."""
COEF = (1 / 200, 1 / 10)
"""Bounds of `coef_ext` in 1/K: full fire holds the room 10 to 200 K above outdoors."""
GAIN = 0.1
"""1/K: what a cycle that was too cold on the average adds to the duty."""
NEAR, MOST = 2.5, 1.0
"""K: only a room this near to its setpoint teaches what holds it there; what lacks counts as so much at most."""
WEIGHT = 0.3
"""The weight of one cycle in what is learned."""
TEACHES = (0.15, 0.85)
"""Duties between which a cycle shows how steep the room is."""
MILD = 5.0
"""K: the least difference to outdoors that `coef_ext` is reckoned with."""
OUTDOORS = 5.0
"""degC: the mean of a heating season, where the outdoor temperature is not known."""


class Tuning(NamedTuple):
    """`coef` in 1/K, `rate` in K/s; None: nothing was learned yet. The others are of the cycle that runs."""

    coef: float | None = None
    rate: float | None = None
    cycle: float = CYCLE
    """Its length, s."""
    first: float | None = None
    """The room at its start, degC."""
    low: float | None = None
    high: float | None = None

    def in_this_boot(self) -> Tuning:
        return Tuning(self.coef, self.rate)


def is_learned(law: object) -> bool:
    """Whether something of a law is learned because it is not in the file."""
    return isinstance(law, Tpi) and (law.cycle is None or law.coef_ext is None)


def concrete(law: Tpi, tuning: Tuning, coef: float) -> Tpi:
    """The law in numbers. `coef` is the value of `coef_ext` before anything was learned."""
    coef = law.coef_ext if law.coef_ext is not None else coef if tuning.coef is None else tuning.coef
    if law.cycle is not None:
        return Tpi(law.cycle, law.coef_int, coef)
    rate = RATE if tuning.rate is None else tuning.rate
    return Tpi(tuning.cycle, min(law.coef_int, STABLE / (rate * tuning.cycle)), coef)


def look_at(tuning: Tuning, room: float | None) -> Tuning:
    """Note the room in the current cycle. A cycle with an unknown room is not learned from."""
    if room is None or tuning.first is None or tuning.low is None or tuning.high is None:
        return tuning if tuning.first is None else tuning._replace(first=None, low=None, high=None)
    low, high = min(tuning.low, room), max(tuning.high, room)
    return tuning if (low, high) == (tuning.low, tuning.high) else tuning._replace(low=low, high=high)


def learn(
    law: Tpi, tuning: Tuning, loop: Loop, setpoint: float | None, room: float | None, outdoor: float | None,
    coef: float, least: float,
) -> Tuning:  # fmt: skip
    """The tuning for the cycle that begins now, by the one that has run (`loop`). `least`: s, the burner's own."""
    if outdoor is None:
        outdoor = OUTDOORS
    if loop.begun is not None and setpoint is not None and setpoint == loop.goal and room is not None:
        tuning = _taught(law, tuning, loop, setpoint, room, outdoor, coef)
    duty = 0.3
    if setpoint is not None and room is not None:
        duty = tpi_duty(concrete(law, tuning, coef), setpoint, room, outdoor)
    return Tuning(tuning.coef, tuning.rate, max(_cycle(tuning, duty), least), room, room, room)


def _cycle(tuning: Tuning, duty: float) -> float:
    """Seconds. Fully on or off starts nothing: it is looked at again soon."""
    if duty <= 0 or duty >= 1:
        return CYCLE
    rate = RATE if tuning.rate is None else tuning.rate
    return min(max(round(SWING / (rate * max(duty * (1 - duty), BALANCE))), SHORTEST), LONGEST)


def _taught(law: Tpi, tuning: Tuning, loop: Loop, setpoint: float, room: float, outdoor: float, coef: float) -> Tuning:
    if tuning.first is None or tuning.low is None or tuning.high is None:
        return tuning
    first, low, high = tuning.first, tuning.low, tuning.high
    cycle = tuning.cycle if law.cycle is None else law.cycle
    if TEACHES[0] <= loop.on / cycle <= TEACHES[1]:
        rate = RATE if tuning.rate is None else tuning.rate
        steep = (high - first) / loop.on + (high - room) / (cycle - loop.on)
        seen = min(max(steep, rate / 2), rate * 2)
        tuning = tuning._replace(rate=rate + WEIGHT * (seen - rate))
    lacks = setpoint - (low + high) / 2
    full = (lacks > 0 and loop.on >= cycle) or (lacks < 0 and loop.on <= 0)
    if 0 < loop.duty < 1 and abs(lacks) < NEAR and not full:
        known = coef if tuning.coef is None else tuning.coef
        found = known + GAIN * min(max(lacks, -MOST), MOST) / max(setpoint - outdoor, MILD)
        tuning = tuning._replace(coef=min(max(found, COEF[0]), COEF[1]))
    return tuning
