"""The inputs of a scenario over time. A source knows its value now, and when it changes by itself."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Protocol

from agent.model import Value
from agent.simulate.scenario import ScenarioInput

__all__ = ["GRID", "Polled", "Source", "source"]

GRID = 60.0
"""Seconds between two looks at what changes all the time."""
NEVER = math.inf

RAPID = 0.1
"""Seconds between two looks at pulses that come more often than that."""

Look = Callable[[str], Value]


class Source(Protocol):
    """One input. Times are seconds from the start; they never go back."""

    def value(self, now: float) -> Value:
        """The present value."""

    def next(self, now: float) -> float:
        """When it next changes by a step of its own; what changes all the time does so on the grid."""


class Steps:
    """Holds each value from its time on; before the first, the first."""

    def __init__(self, steps: tuple[tuple[float, Value], ...]) -> None:
        self._times = [at for at, _ in steps]
        self._values = [value for _, value in steps]
        self.is_constant = len(steps) == 1

    def value(self, now: float) -> Value:
        return self._values[max(0, bisect_right(self._times, now) - 1)]

    def next(self, now: float) -> float:
        index = bisect_right(self._times, now)
        return self._times[index] if index < len(self._times) else NEVER


class Smooth:
    """A function of time."""

    def __init__(self, function: Callable[[float], float]) -> None:
        self._function = function

    def value(self, now: float) -> Value:
        return round(self._function(now), 3)

    def next(self, _now: float) -> float:
        return NEVER


class Counter:
    """Whole counts: one each `step` / `rate` seconds."""

    is_constant = False

    def __init__(self, rate: float, step: float, start: float, until: float) -> None:
        self._every = step / rate if rate > 0 else NEVER
        self._start, self._until = start, until

    def _counts(self, now: float) -> int:
        elapsed = min(now, self._until) - self._start
        return max(0, math.floor(elapsed / self._every + 1e-9))

    def value(self, now: float) -> Value:
        return self._counts(now)

    def next(self, now: float) -> float:
        count = self._counts(now) + 1
        if self._every < RAPID:
            count = max(count, math.floor((now + RAPID - self._start) / self._every))
        at = self._start + count * self._every
        if at <= now:  # its last bits: the one that has come is behind us
            at = self._start + (count + 1) * self._every
        return at if at <= self._until else NEVER


class Follows:
    """One value while an actuator is on, another while it is off."""

    def __init__(self, actuator: str, on: Value, off: Value, share: Callable[[str], float]) -> None:
        self._actuator, self._on, self._off, self._share = actuator, on, off, share

    def value(self, _now: float) -> Value:
        share, on, off = self._share(self._actuator), self._on, self._off
        if 0 < share < 1 and isinstance(on, int | float) and isinstance(off, int | float):
            return off + share * (on - off)  # a lamp that is dimmed
        return on if share else off

    def next(self, _now: float) -> float:
        return NEVER


GOLDEN = (math.sqrt(5) - 1) / 2
"""Parts of a circle turned by it lie evenly, and none twice."""


class Rippling:
    """A number that moves by up to `ripple` around another input's, by a step each time the grid comes: two steps that
    follow each other differ by three quarters of `ripple` or more."""

    def __init__(self, inner: Source, ripple: float) -> None:
        self._inner, self._ripple = inner, ripple

    def value(self, now: float) -> Value:
        part = math.floor(now / GRID + 1e-9) * GOLDEN % 1
        return round(float(self._inner.value(now) or 0) + self._ripple * (2 * part - 1), 6)

    def next(self, _now: float) -> float:
        return NEVER


class Warm:
    """dT/dt = (target - T) / tau, exactly; `target` is asked before anything moves, by `settle`."""

    def __init__(self, start: float, tau: float, target: Callable[[], float]) -> None:
        self._temperature, self._tau, self._target = start, tau, target
        self._at = 0.0

    def settle(self, now: float) -> None:
        """Go on to now with what held since the last time."""
        if now > self._at:
            target = self._target()
            self._temperature = target + (self._temperature - target) * math.exp((self._at - now) / self._tau)
            self._at = now

    def value(self, now: float) -> Value:
        self.settle(now)
        return round(self._temperature, 3)

    def next(self, _now: float) -> float:
        return NEVER


class Polled:
    """Another input as a sensor tells it: read each `every` s (0: all the time), rounded to `step` (0: not)."""

    def __init__(self, inner: Source, step: float, every: float) -> None:
        self.inner, self._step, self.every = inner, step, every
        self._read_at = -NEVER
        self._read: Value = None

    def value(self, now: float) -> Value:
        """The last reported value."""
        at = self.poll(now)
        if at != self._read_at or not self.every:
            self._read_at, self._read = at, self._rounded(self.inner.value(now))
        return self._read

    def next(self, now: float) -> float:
        if not self.every:
            return self.inner.next(now)
        at = self.poll(now) + self.every
        return at if at > now else at + self.every

    def poll(self, now: float) -> float:
        """When it was read last."""
        return math.floor(now / self.every + 1e-9) * self.every if self.every else now

    def _rounded(self, value: Value) -> Value:
        if not self._step or isinstance(value, bool) or not isinstance(value, int | float):
            return value
        return round(round(value / self._step) * self._step, 6)


def source(
    one: ScenarioInput,
    step: float,
    share: Callable[[str], float],
    look: Look,
    unit: str = "",
    level: Callable[[str], float] = lambda _name: 0.0,
) -> Source:
    """The source of an input. `step` (in `unit`) is one count, `share` how far (0..1) an actuator really is on,
    `level` the value of one that is a level, `look` another input's value."""
    found = _warm(one, share, look, level) if one.model is not None else _source(one, step, share, unit)
    return Polled(found, one.step or 0.0, one.every or 0.0) if one.step or one.every else found


def _source(one: ScenarioInput, step: float, share: Callable[[str], float], unit: str) -> Source:
    if one.steps is not None:
        return Steps(one.steps)
    if one.ramp is not None:
        return Smooth(_ramp(one.ramp))
    if one.sine is not None:
        wave = one.sine
        return Smooth(lambda now: wave.mean + wave.amplitude * math.sin(2 * math.pi * (now - wave.phase) / wave.period))
    if one.rate is not None:
        return Counter(one.rate.of(unit), step, one.from_, NEVER if one.until is None else one.until)
    if one.follows is not None:
        on = True if one.on is None else one.on
        follows = Follows(one.follows, on, False if one.off is None else one.off, share)
        return follows if one.ripple is None else Rippling(follows, one.ripple)
    return Steps(((0.0, one.constant),))


def _warm(one: ScenarioInput, share: Callable[[str], float], look: Look, level: Callable[[str], float]) -> Warm:
    assert one.tau is not None
    heater = one.heater or ""
    if one.model == "modulating":
        least, most = float(one.off or 0), math.inf if one.on is None else float(one.on)
        return Warm(least if one.start is None else one.start, one.tau, lambda: min(max(level(heater), least), most))
    if one.model == "radiators":
        return _radiators(one, look)
    if one.model == "flow":
        on, off = float(one.on or 0), float(one.off or 0)
        return Warm(off if one.start is None else one.start, one.tau, lambda: off + share(heater) * (on - off))
    gain, outdoor = one.gain or 0.0, one.outdoor or ""
    return Warm(one.start or 0.0, one.tau, lambda: float(look(outdoor) or 0) + gain * share(heater))


def _radiators(one: ScenarioInput, look: Look) -> Warm:
    """dT/dt = (outdoor - T + gain (flow - T)) / tau."""
    gain, flow, outdoor = one.gain or 0.0, one.flow or "", one.outdoor or ""

    def target() -> float:
        return (float(look(outdoor) or 0) + gain * float(look(flow) or 0)) / (1 + gain)

    return Warm(one.start or 0.0, (one.tau or 1.0) / (1 + gain), target)


def _ramp(points: tuple[tuple[float, float], ...]) -> Callable[[float], float]:
    times = [at for at, _ in points]

    def value(now: float) -> float:
        index = bisect_right(times, now)
        if index == 0:
            return points[0][1]
        if index == len(points):
            return points[-1][1]
        (left, low), (right, high) = points[index - 1], points[index]
        return low + (high - low) * (now - left) / (right - left)

    return value
