"""A sensor that stands still while it must move: under full fire, or while a room cools.

What must not be taken for one: a room that is regulated (its burner comes and goes: short phases do not count, and
none before the law itself paused at the setpoint it fired for), a boiler too small for the frost (it comes to rest
slowly: the last step took its time), a coarse sensor (its step is waited for).

The reading of a dead probe is noisy, because of its converter and its line. A move is more than this noise.

What was counted goes on after a restart, a power cut or a gap in the readings: a phase that one of them interrupted is
awaited, and the time between counts as nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from agent.control.api import NEVER
from agent.control.noise import Noise, follow_noise

__all__ = ["FIRE", "IDLE", "Stillness", "observe", "patience"]

TOLERANCE = 0.01
"""K: a sensor that lives moves by more than this."""
BEYOND = 1.8
"""And by more than so many times its noise."""
PART = 0.5
"""But this part of what the slowest fire brings in the time that is waited is a move, however the reading swings."""
SLOWER = 20.0
"""A reading that comes to rest takes longer for each step, but never this many times as long as for the one before."""
SLOWEST = 0.05 / 3600
"""K/s: what full fire heats more slowly than this cannot be distinguished from no heating."""
HEAVY = 100 * 3600.0
"""Seconds: the time constant of a heavy building. Others follow the outdoor temperature faster."""
DRIFT, STEPS = 3.0, 6.0
"""A heavy building would have followed the outdoors by so much (K), and by so many steps of the sensor."""
LONG = 2 * 3600.0
"""Seconds: phases that are over count if they were this long. A burner that regulates makes shorter ones."""
GRID = 300.0
"""Seconds: what a building would have cooled, and how long it was fired, is reckoned on this grid. An
interruption costs no more of it."""
AWAITED = 3600.0
"""Seconds: a burner that must rest after a restart is on again within this; then its phase is over."""
WORTH = 600.0
"""Seconds: less than this is not worth keeping on flash."""
FIRE, IDLE = "fire", "idle"


class Stillness(NamedTuple):
    """Times are monotonic seconds. `phase`: fire, idle, or None before the first look."""

    phase: str | None = None
    began: float = 0.0
    value: float | None = None
    """The reading that did not move since `moved`, degC."""
    moved: float = 0.0
    pace: float = 0.0
    """How long (s) the last move to a new value took, in one phase; 0: it is not known."""
    fired: float = 0.0
    """Since it moved: seconds of full fire in earlier phases."""
    drifted: float = 0.0
    """Since it moved: by how much (K) a heavy building would have followed the outdoors, in earlier phases."""
    drift: float = 0.0
    """The same of this phase, reckoned until `at`."""
    at: float = 0.0
    """The time up to which the phase counts if it is interrupted."""
    stuck: bool = False
    low: float | None = None
    high: float | None = None
    """The range of this phase's readings, degC. A move within is none towards rest: each power cut cools a room a
    little."""
    reached: float = 0.0
    """When it was first so low, or so high."""
    aim: float | None = None
    """The setpoint (degC) that the law fired for last."""
    noise: Noise = Noise()
    awaited: float | None = None
    """The phase was interrupted: until when it may go on. NEVER: it is not known yet. None: it was not."""

    @property
    def counts(self) -> bool:
        """Whether so much was counted that a restart must not lose it."""
        fired = self.at - max(self.began, self.moved) if self.phase == FIRE else 0.0
        return self.stuck or self.fired + fired >= WORTH

    def dump(self) -> dict[str, Any]:
        kept = self._asdict()
        del kept["awaited"], kept["noise"]
        kept["tremble"] = round(self.noise.size, 2)
        if self.aim is None:
            del kept["aim"]
        return kept

    @classmethod
    def load(cls, kept: Mapping[str, Any] | None) -> Stillness:
        """After a restart in this boot or another one: its times go on from the first look."""
        if kept is None:
            return cls()
        own = {key: value for key, value in kept.items() if key != "tremble"}
        return cls(**own, noise=Noise(kept.get("tremble", 0.0)), awaited=NEVER)


def patience(still: Stillness, after: float, step: float, slowest: float = SLOWEST) -> float:
    """Seconds that a sensor may stand still under full fire: longer where it moved slowly, or moves in coarse steps."""
    return max(after, SLOWER * still.pace, step / slowest)


def observe(
    still: Stillness, phase: str, value: float | None, t: float, after: float, step: float = 0.0,
    outdoor: float | None = None, slowest: float = SLOWEST, aim: float | None = None, called: bool = False,
) -> tuple[Stillness, float]:  # fmt: skip
    """The stillness at this moment, and when it next has something to decide by itself (monotonic s).

    `value` is the reading (degC; None: not known, nothing is counted), `step` the sensor's in K, `slowest` (K/s) how
    fast full fire heats at least. `aim` (degC) is the setpoint of a law, which calls for fire or does not. Once stuck,
    only a reading that moves ends it.
    """
    if value is None:
        return (still if still.awaited == NEVER else still._replace(awaited=NEVER)), NEVER
    if still.awaited is not None:
        still = _taken_up(still, phase, t)
    noise = follow_noise(still.noise, value, t)
    if noise is not still.noise:
        still = still._replace(noise=noise)
    moves = max(TOLERANCE, min(BEYOND * noise.size, PART * after * slowest))
    if still.value is None or abs(value - still.value) > moves:
        still = _moved(still, phase, value, t) if still.awaited is None else _moved_meanwhile(still, value, t)
    if still.stuck:
        return still, NEVER
    if still.awaited is not None:
        return still, still.awaited
    if still.phase != phase:
        still = _turned(still, phase, t, regulated=not called and aim is not None and aim == still.aim)
    if phase == FIRE:
        if called and aim != still.aim:
            still = still._replace(aim=aim)
        return _fired(still, t, max(still.began, still.moved) + patience(still, after, step, slowest) - still.fired)
    if outdoor is not None and t // GRID > still.at // GRID:
        drift = still.drift + (outdoor - value) / HEAVY * (t - still.at)
        stuck = abs(still.drifted + drift) >= max(DRIFT, STEPS * step)
        still = still._replace(drift=drift, at=t, stuck=stuck)
    return still, NEVER


def _fired(still: Stillness, t: float, until: float) -> tuple[Stillness, float]:
    """Under fire: stuck from `until` on (monotonic s). Noted on the grid, so that a restart goes on from there."""
    if t >= until:
        return still._replace(stuck=True, at=t), NEVER
    if t // GRID > still.at // GRID:
        still = still._replace(at=t)
    return still, min(until, (t // GRID + 1) * GRID)


def _taken_up(still: Stillness, phase: str, t: float) -> Stillness:
    """A phase that was interrupted goes on from where it was noted last; it is awaited while another one is seen."""
    until = min(still.awaited or 0.0, t + AWAITED)
    if still.phase not in (None, phase) and not still.stuck and t < until:
        return still._replace(awaited=until)
    return _without_gap(still, t)


def _without_gap(still: Stillness, t: float) -> Stillness:
    by = t - still.at
    began, moved, reached = still.began + by, still.moved + by, still.reached + by
    return still._replace(began=began, moved=moved, reached=reached, at=t, awaited=None)


def _moved_meanwhile(still: Stillness, value: float, t: float) -> Stillness:
    """It moved while its phase is awaited: how long that took is known all the same, for a room that comes to rest."""
    return _moved(_without_gap(still, t), still.phase or IDLE, value, t)._replace(awaited=still.awaited)


def _moved(still: Stillness, phase: str, value: float, t: float) -> Stillness:
    if still.value is None or still.phase != phase:
        return Stillness(
            phase, t, value, t, at=t, low=value, high=value, reached=t, aim=still.aim, noise=still.noise
        )
    low = still.value if still.low is None else still.low
    high = still.value if still.high is None else still.high
    pace, reached = still.pace, still.reached
    if not low <= value <= high:
        pace, low, high, reached = t - max(reached, still.began), min(low, value), max(high, value), t
    return Stillness(
        phase, still.began, value, t, pace, at=t, low=low, high=high, reached=reached, aim=still.aim, noise=still.noise
    )


def _turned(still: Stillness, phase: str, t: float, regulated: bool) -> Stillness:
    """Another phase begins; what the last one showed is kept if it was long.

    A law that pauses at the setpoint it fired for gives what the room loses: its fires say nothing.
    """
    since = max(still.began, still.moved)
    counts = t - since >= LONG
    fired = still.fired + (t - since if counts and still.phase == FIRE else 0.0)
    if still.phase == FIRE and regulated:
        fired = 0.0
    drifted = still.drifted + (still.drift if counts and still.phase == IDLE else 0.0)
    return still._replace(
        phase=phase,
        began=t,
        fired=fired,
        drifted=drifted,
        drift=0.0,
        at=t,
        low=still.value,
        high=still.value,
        reached=t,
    )
