"""The control laws of a room: hysteresis, PID and TPI. They decide whether heat is called for.

TPI and PID work in cycles: the duty is worked out once, at the cycle's start, and the heat is on for that part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import NamedTuple

from agent.control.api import NEVER

__all__ = [
    "CYCLE", "Hysteresis", "Law", "Loop", "Pid", "Situation", "Tpi", "advance", "begins", "calls", "cycle_of",
    "least_cycle", "on_time", "tpi_duty", "until",
]  # fmt: skip

CYCLE = 900.0
"""Seconds: the cycle of a fixed duty where the law itself has none."""


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """On at `band` kelvins below the setpoint, off at `band` above it."""

    band: float = 0.3


@dataclass(frozen=True, slots=True)
class Tpi:
    """Time proportional and integral: duty = coef_int (setpoint - room) + coef_ext (setpoint - outdoors), in 1/K.

    A `cycle` (s) or `coef_ext` of None is found out: see tuning.py.
    """

    cycle: float | None = None
    coef_int: float = 0.6
    coef_ext: float | None = None


@dataclass(frozen=True, slots=True)
class Pid:
    """`kp` in 1/K, `ki` in 1/(K s), `kd` in s/K; the duty is clamped to 0..1, and the integral with it.

    Nothing is integrated while the burner is fully on and the room too cold, or off and the room too warm.
    """

    kp: float
    ki: float = 0.0
    kd: float = 0.0
    cycle: float = CYCLE


Law = Hysteresis | Tpi | Pid


class Situation(NamedTuple):
    """The inputs at the start of a cycle: degC and seconds (monotonic). `room` and `outdoor` are None while not known.

    `setpoint` None: the room is not known, heat by `fixed` (a duty, 0..1).
    `min_on` and `min_off` are those of the burner, `least` the shortest cycle that it can follow.
    """

    now: float
    setpoint: float | None
    room: float | None
    outdoor: float | None
    fixed: float = 0.3
    min_on: float = 0.0
    min_off: float = 0.0
    least: float = 0.0


class Loop(NamedTuple):
    """The state of a loop. `begun` is the cycle's start (monotonic s), `on` its on-time, `carry` what it owes (s)."""

    goal: float | None = None
    begun: float | None = None
    duty: float = 0.0
    on: float = 0.0
    carry: float = 0.0
    calling: bool = False
    """Hysteresis only."""
    integral: float = 0.0
    last: float | None = None
    """The room at the last step of the PID, degC."""
    held: bool = False
    """The flow held the burner back in this cycle: it did not burn for as long as was reckoned."""


def advance(law: Law, loop: Loop, at: Situation, begun: float | None = None) -> Loop:
    """The loop at this moment. `begun`: when a new cycle began; None: it is worked out here."""
    if isinstance(law, Hysteresis) and at.setpoint is not None:
        return Loop(goal=at.setpoint, calling=_calling(law, loop, at, at.setpoint))
    begun = begins(law, loop, at) if begun is None else begun
    if begun is None:
        return loop
    cycle = cycle_of(law, at.least)
    loop = _duty(law, loop, at, begun, cycle)
    owed = max(loop.carry, 0.0) if loop.held else loop.carry
    on, carry = on_time(loop.duty, cycle, owed, at.min_on, at.min_off, repays=at.least >= cycle)
    return loop._replace(goal=at.setpoint, begun=begun, on=on, carry=carry, calling=False, held=False)


def begins(law: Law, loop: Loop, at: Situation) -> float | None:
    """When a new cycle has begun: when the last one ended, or now if the setpoint is another. None: it still runs."""
    if loop.begun is None or loop.goal != at.setpoint:
        return at.now
    passed = floor((at.now - loop.begun) / cycle_of(law, at.least))
    return None if passed < 1 else loop.begun + passed * cycle_of(law, at.least)


def calls(loop: Loop, now: float) -> bool:
    """Whether heat is called for."""
    return loop.calling or (loop.begun is not None and now < loop.begun + loop.on)


def until(law: Law, loop: Loop, now: float, least: float = 0.0) -> float:
    """When the loop has next something to decide by itself."""
    if loop.begun is None:
        return NEVER
    off = loop.begun + loop.on
    return off if now < off else loop.begun + cycle_of(law, least)


def least_cycle(min_on: float | None, min_off: float | None, starts_per_hour: int | None) -> float:
    """Seconds: the shortest cycle that a burner with these limits can follow. In a shorter one it would never burn."""
    return max((min_on or 0.0) + (min_off or 0.0), 3600 / starts_per_hour if starts_per_hour else 0.0)


def cycle_of(law: Law, least: float = 0.0) -> float:
    """Seconds: the cycle of a law; one that the burner cannot follow is lengthened to `least`."""
    return max(CYCLE if isinstance(law, Hysteresis) or law.cycle is None else law.cycle, least)


def tpi_duty(law: Tpi, setpoint: float, room: float, outdoor: float | None) -> float:
    """0..1. Without an outdoor temperature that part is left out: (19, 18.5, 0) gives 0.49, 441 s of 900."""
    outer = 0.0 if outdoor is None or law.coef_ext is None else law.coef_ext * (setpoint - outdoor)
    return min(max(law.coef_int * (setpoint - room) + outer, 0.0), 1.0)


def on_time(
    duty: float, cycle: float, carry: float, min_on: float, min_off: float, repays: bool = False
) -> tuple[float, float]:
    """The on-time of a cycle, and what is carried over to the next one, to the second.

    Too short to burn is carried over; too short a pause is left out: fully on. What that burns too long is made up
    for later only where the cycle `repays`: one as short as the burner allows rounds much.
    """
    if duty <= 0:
        return 0.0, 0.0
    if repays and duty >= 1:
        return cycle, 0.0
    wanted = float(round(duty * cycle + carry))
    on = min(max(wanted, 0.0), cycle)
    if on < min_on:
        return 0.0, wanted if repays else on
    burns = cycle if cycle - on < min_off else on
    return burns, wanted - burns if repays else 0.0


def _calling(law: Hysteresis, loop: Loop, at: Situation, setpoint: float) -> bool:
    if at.room is None:
        return loop.calling and loop.goal is not None and setpoint >= loop.goal
    if loop.calling:
        return at.room < setpoint + law.band
    return at.room <= setpoint - law.band


def _duty(law: Law, loop: Loop, at: Situation, begun: float, cycle: float) -> Loop:
    """The duty of a new cycle. Without a room the last one holds, but for a setpoint that went down: no heat."""
    if at.setpoint is None or isinstance(law, Hysteresis):
        return loop._replace(duty=at.fixed, last=None)
    if at.room is None:
        lowered = loop.goal is not None and at.setpoint < loop.goal
        return loop._replace(duty=0.0 if lowered else loop.duty, last=None)
    if isinstance(law, Tpi):
        return loop._replace(duty=tpi_duty(law, at.setpoint, at.room, at.outdoor))
    return _pid(law, loop, at.setpoint, at.room, begun, cycle, repays=at.least >= cycle)


def _pid(law: Pid, loop: Loop, setpoint: float, room: float, begun: float, cycle: float, repays: bool) -> Loop:
    """simple-pid hides its state and reads a clock: each cycle builds it again from the state, and gives it the time.

    It clamps the integral, but goes on integrating while the burner gives all it has: that is held here.
    """
    from simple_pid import PID

    passed = cycle if loop.begun is None else min(begun - loop.begun, cycle)
    if passed <= 0:
        return loop
    pid = PID(law.kp, 0.0, law.kd, setpoint, sample_time=None, output_limits=(0.0, 1.0), starting_output=loop.integral)
    if loop.last is not None:
        pid(loop.last, dt=passed)  # without ki this only sets the last room, for the derivative
    held = _is_saturated(law, loop, setpoint - room, cycle, repays)
    pid.tunings = (law.kp, 0.0 if held else law.ki, law.kd)
    duty = pid(room, dt=passed)
    return loop._replace(duty=float(duty or 0.0), integral=float(pid.components[1]), last=room)


def _is_saturated(law: Pid, loop: Loop, error: float, cycle: float, repays: bool) -> bool:
    """Whether more of the integral could change nothing: fully on and too cold, or off and too warm.

    A pause under the burner's min_off is left out, so it may be fully on below a duty of 1. Where that is made up for
    later the duty still decides what burns on the average: such a cycle is not saturated.
    """
    duty = law.kp * error + loop.integral
    if error > 0:
        return duty >= 1 or (not repays and loop.begun is not None and loop.on >= cycle)
    return duty <= 0
