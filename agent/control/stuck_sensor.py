"""A sensor that stands still while it must move: under full fire, or while a room cools. A dead probe says one thing.

What must not be taken for one: a room that is regulated (its burner comes and goes: short phases do not count), a
boiler too small for the frost (it comes to rest slowly: the last step took its time), a coarse sensor (its step is
waited for).
"""

from __future__ import annotations

from typing import NamedTuple

from agent.control.core import NEVER

__all__ = ["FIRE", "IDLE", "Stillness", "observe", "patience"]

TOLERANCE = 0.01
"""K: a sensor that lives moves by more than this."""
SLOWER = 20.0
"""What comes to rest takes longer for each step; never so many times what the one before took."""
SLOWEST = 0.05 / 3600
"""K/s: what full fire heats more slowly than this cannot be told from what it does not heat."""
HEAVY = 100 * 3600.0
"""Seconds: the time constant of a heavy building. Others follow the outdoor temperature faster."""
DRIFT, STEPS = 3.0, 6.0
"""A heavy building would have followed the outdoors by so much (K), and by so many steps of the sensor."""
LONG = 2 * 3600.0
"""Seconds: phases that are over count if they were this long. A burner that regulates makes shorter ones."""
GRID = 300.0
"""Seconds: what a building would have cooled is reckoned on this grid, whoever asks in between."""
FIRE, IDLE = "fire", "idle"


class Stillness(NamedTuple):
    """Times are monotonic seconds. `phase`: fire, idle, or None before the first look."""

    phase: str | None = None
    began: float = 0.0
    value: float | None = None
    """The reading that did not move since `moved`, degC."""
    moved: float = 0.0
    pace: float = 0.0
    """How long (s) the last move took, in one phase; 0: it is not known."""
    fired: float = 0.0
    """Since it moved: seconds of full fire in earlier phases."""
    drifted: float = 0.0
    """Since it moved: by how much (K) a heavy building would have followed the outdoors, in earlier phases."""
    drift: float = 0.0
    """The same of this phase, reckoned until `at`."""
    at: float = 0.0
    stuck: bool = False

    def in_this_boot(self, t: float) -> Stillness:
        """Times of another boot mean nothing; a sensor that was stuck must still move."""
        return Stillness(None, t, self.value, t, at=t, stuck=True) if self.stuck else Stillness()


def patience(still: Stillness, after: float, step: float) -> float:
    """Seconds that a sensor may stand still under full fire: longer where it moved slowly, or moves in coarse steps."""
    return max(after, SLOWER * still.pace, step / SLOWEST)


def observe(
    still: Stillness, phase: str, value: float | None, t: float, after: float, step: float = 0.0,
    outdoor: float | None = None,
) -> tuple[Stillness, float]:  # fmt: skip
    """The stillness at this moment, and when it next has something to decide by itself (monotonic s).

    `value` is the reading (degC; None: not known, nothing is judged), `step` the sensor's in K. Once stuck, only a
    reading that moves ends it.
    """
    if value is None:
        return (still if still.stuck else Stillness()), NEVER
    if still.value is None or abs(value - still.value) > TOLERANCE:
        still = _moved(still, phase, value, t)
    if still.stuck:
        return still, NEVER
    if still.phase != phase:
        still = _turned(still, phase, t)
    if phase == FIRE:
        until = max(still.began, still.moved) + patience(still, after, step) - still.fired
        return (still._replace(stuck=True), NEVER) if t >= until else (still, until)
    if outdoor is not None and t // GRID > still.at // GRID:
        drift = still.drift + (outdoor - value) / HEAVY * (t - still.at)
        stuck = abs(still.drifted + drift) >= max(DRIFT, STEPS * step)
        still = still._replace(drift=drift, at=t, stuck=stuck)
    return still, NEVER


def _moved(still: Stillness, phase: str, value: float, t: float) -> Stillness:
    known = still.value is not None and still.phase == phase
    began = still.began if known else t
    return Stillness(phase, began, value, t, t - max(still.moved, began) if known else 0.0, at=t)


def _turned(still: Stillness, phase: str, t: float) -> Stillness:
    """Another phase begins; what the last one showed is kept if it was long."""
    since = max(still.began, still.moved)
    counts = t - since >= LONG
    fired = still.fired + (t - since if counts and still.phase == FIRE else 0.0)
    drifted = still.drifted + (still.drift if counts and still.phase == IDLE else 0.0)
    return still._replace(phase=phase, began=t, fired=fired, drifted=drifted, drift=0.0, at=t)
