"""Optimum start and stop of a room, and the detection of an open window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from agent.control.api import NEVER
from agent.services.heating.trail import APART, JUDGED, Trail

__all__ = [
    "Airing", "OptimumStart", "OptimumStop", "Start", "Stop", "WindowOpen", "air", "let_cool", "prepare", "start_at",
    "stop_at",
]  # fmt: skip

REACHED = 0.5
"""A room this near (K) to comfort is warm: how long it took is learned."""
GAIN = 0.5
"""Less than this (K) teaches nothing."""
WEIGHT = 0.3
"""The weight of one morning in what is learned."""
STEPS = 1.5
"""A fall is more than this many steps of the sensor: one step is no fall."""


@dataclass(frozen=True, slots=True)
class OptimumStart:
    """`initial` in min/K, until it has learned; `most` s before the occupied time at the earliest."""

    initial: float = 30.0
    most: float = 14400.0


class Start(NamedTuple):
    """`rate` is what was learned (min/K; None: nothing yet). The others are of the reheating that goes on."""

    rate: float | None = None
    goal: float | None = None
    """The occupied time that it is for (Unix s); None: there is none."""
    begun: float = 0.0
    """Monotonic s."""
    first: float = 0.0
    """The room then (degC)."""
    learned: bool = False


def start_at(spec: OptimumStart, start: Start, comfort: float, room: float, occupied: float) -> float:
    """When the reheating begins for the time `occupied` (both Unix s), to the second."""
    rate = spec.initial if start.rate is None else start.rate
    return occupied - min(round(max(comfort - room, 0.0) * rate * 60), spec.most)


def prepare(
    spec: OptimumStart, start: Start, comfort: float, room: float | None, occupied: float | None,
    unix: float, monotonic: float,
) -> Start:  # fmt: skip
    """The reheating at this moment; `occupied` is the next occupied time, None while it is one.

    Once begun it goes on until then. It is learned from when the room is warm, or from where it got in time.
    """
    if start.goal is not None:
        over = unix >= start.goal or start.goal != occupied
        if room is not None and not start.learned and (unix >= start.goal or room >= comfort - REACHED):
            start = _learn(spec, start, room, monotonic)
        return Start(start.rate) if over else start
    if room is None or occupied is None or room >= comfort or unix < start_at(spec, start, comfort, room, occupied):
        return start
    return Start(start.rate, occupied, monotonic, room)


def _learn(spec: OptimumStart, start: Start, room: float, monotonic: float) -> Start:
    gain = room - start.first
    if gain < GAIN:
        return start._replace(learned=True)
    rate = spec.initial if start.rate is None else start.rate
    taught = min(max((monotonic - start.begun) / 60 / gain, rate / 2), rate * 2)
    return start._replace(rate=round(rate + WEIGHT * (taught - rate), 2), learned=True)


SLOWEST, FASTEST = 0.02, 5.0
"""K an hour: what a room may lose without heating, of stone and of tin."""


@dataclass(frozen=True, slots=True)
class OptimumStop:
    """Comfort ends up to `most` s early, so that the room has fallen by `drop` K when the occupied time ends."""

    most: float = 3600.0
    drop: float = 0.5


class Stop(NamedTuple):
    """`rate` is what was learned (K an hour; None: nothing yet). The others are of the cooling that goes on."""

    rate: float | None = None
    goal: float | None = None
    """The end of the occupied time (Unix s); None: nothing cools for it."""
    begun: float = 0.0
    """Monotonic s."""
    first: float = 0.0
    """The room then (degC)."""
    learned: bool = False


def stop_at(spec: OptimumStop, stop: Stop, end: float) -> float:
    """When the heating for an occupied time that ends at `end` is over (both Unix s)."""
    return end - (spec.most if stop.rate is None else min(spec.drop / stop.rate * 3600, spec.most))


def let_cool(
    spec: OptimumStop, stop: Stop, room: float | None, end: float | None, unix: float, monotonic: float
) -> Stop:  # fmt: skip
    """The cooling at this moment; `end` is that of the occupied time, None while there is none.

    Until something is learned it begins `most` before: the room is heated again when it has fallen by `drop`.
    """
    if stop.goal is not None:
        over = unix >= stop.goal or stop.goal != end
        if room is not None and not stop.learned and (unix >= stop.goal or room <= stop.first - spec.drop):
            stop = stop._replace(rate=_cooling(stop, room, monotonic), learned=True)
        return Stop(stop.rate) if over else stop
    if room is None or end is None or not stop_at(spec, stop, end) <= unix < end:
        return stop
    return Stop(stop.rate, end, monotonic, room)


def _cooling(stop: Stop, room: float, monotonic: float) -> float | None:
    hours = (monotonic - stop.begun) / 3600
    if hours <= 0:
        return stop.rate
    seen = min(max((stop.first - room) / hours, SLOWEST), FASTEST)
    return round(seen if stop.rate is None else stop.rate + WEIGHT * (seen - stop.rate), 3)


@dataclass(frozen=True, slots=True)
class WindowOpen:
    """A fall of `drop` K/min, over at least 5 min and more than one step of the sensor; `most` s at the longest."""

    drop: float = 0.1
    most: float = 1800.0


class Airing(NamedTuple):
    """The reading that was judged last (degC, monotonic s), and since when a window is open."""

    room: float | None = None
    at: float = 0.0
    since: float | None = None
    spent: bool = False
    """It was open for as long as that counts; the room must stop falling so fast before another one does."""

    def open(self) -> bool:
        return self.since is not None and not self.spent


def air(
    spec: WindowOpen, airing: Airing, trail: Trail, room: float | None, at: float, now: float
) -> tuple[Airing, float]:
    """The window at this moment, by the last good reading (`at`, monotonic s); and when that ends by itself.

    The reading is in the `trail` already. The window closes with a reading that does not fall.
    """
    if room is not None and (airing.room is None or at - airing.at >= APART):
        then = trail.before(at - JUDGED)
        airing = airing._replace(room=room, at=at)
        if then is not None:
            airing = _judge(spec, airing, then[0] - room, (at - then[1]) / 60, trail.step, now)
    if airing.since is None or airing.spent:
        return airing, NEVER
    end = airing.since + spec.most
    return (airing._replace(spent=True), NEVER) if now >= end else (airing, end)


def _judge(spec: WindowOpen, airing: Airing, fall: float, minutes: float, step: float, now: float) -> Airing:
    """The window after a fall (K) in so many minutes."""
    falls = fall >= spec.drop * minutes - 1e-9 and fall > STEPS * step
    since = airing.since
    if since is None or fall <= 0 or (airing.spent and not falls):
        since = now if falls else None
    return airing._replace(since=since, spent=airing.spent and falls)
