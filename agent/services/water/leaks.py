"""Leaks of one water point: night flow, continuous flow, burst, and flow through a closed valve.

With the valve shut only `flow_when_closed` is judged, otherwise only the three others; while it is flushed, none. With
a stale or bad meter no alarm is raised and none cleared, and what must last without a gap (burst, night) starts again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from agent.control.api import NEVER, Now, fields, updated
from agent.control.boot_time import BootShift
from agent.control.calendar import DAY, Calendar
from agent.services.water.meter import HOUR, Meter

__all__ = ["BURST", "CLOSED", "CONTINUOUS", "NIGHT", "Leak", "LeakState", "MeterReading", "NightFlow", "step"]

NIGHT, CONTINUOUS, BURST, CLOSED = "leak_night", "leak_continuous", "burst", "flow_when_closed"
LEAST = 50.0
"""L/h: the least continuous flow that is detected. A toilet that is flushed every 20 min draws 30 L/h."""
PAUSE = (60.0, 3600.0)
"""Seconds: the shortest and the longest pause that ends a continuous flow, unless the site file says otherwise."""
LATE = 1.25
"""Intervals of the meter after which a reading that would have shown growth is overdue."""
SLOW = 60.0
"""A meter that is read less often than this (s) may miss a reading without being stale."""
UNHEARD = 4 * 3600.0
"""Seconds without growth of a slow meter after which a pause of the flow cannot be excluded."""
BAND = 0.9
"""A flow that was over its limit is over it until it is below this part of it."""
ON_TIME = 60.0
"""A night is judged if it was watched from at most this long (s) after its beginning."""
TICK = 0.001
"""Seconds: a moment of the wall clock that is nearer than this has come; the two clocks are never quite equal."""
_EXACT = 1 - 1e-6


@dataclass(frozen=True, slots=True)
class NightFlow:
    """From `start` to `end` (minutes after midnight, over 1440: the next day) the least flow is at most `flow` L/h."""

    calendar: Calendar
    start: int
    end: int
    flow: float

    def around(self, now: Now) -> tuple[float, float]:
        """The window that this moment is in, else the next one: monotonic seconds of its beginning and end."""
        assert now.civil is not None and now.reached is not None
        at = self.calendar.instant
        day = now.civil.date() - DAY
        while at(day, self.end) <= now.reached:
            day += DAY
        offset = now.monotonic - now.civil.timestamp()
        return at(day, self.start).timestamp() + offset, at(day, self.end).timestamp() + offset


@dataclass(frozen=True, slots=True)
class Leak:
    """FillLevels in L/h and seconds; None: not judged. `burst` is a flow and how long it lasts, `pulse` in litres."""

    night: NightFlow | None = None
    continuous: float | None = None
    burst: tuple[float, float] | None = None
    closed: float | None = None
    pulse: float = 1.0
    pause: float | None = None
    """The pause (s) that ends a continuous flow; None: the time of one pulse at `LEAST`."""
    interval: float = 0.0
    """Seconds between two readings of the meter; 0: each pulse is read."""

    @property
    def codes(self) -> frozenset[str]:
        """The leaks that are judged."""
        wanted = {NIGHT: self.night, CONTINUOUS: self.continuous, BURST: self.burst, CLOSED: self.closed}
        return frozenset(code for code, limit in wanted.items() if limit is not None)

    @property
    def quiet(self) -> float:
        """Seconds without growth that end a continuous flow: a pause that is shorter than the meter's own interval
        cannot be seen."""
        shortest, longest = PAUSE
        usual = min(longest, max(shortest, self.pulse * HOUR / LEAST))
        return max(usual if self.pause is None else self.pause, LATE * self.interval)


class MeterReading(NamedTuple):
    """Whether the meter is good, when it was last read (monotonic s), and whether the water point is being flushed."""

    is_good: bool
    at: float
    flushing: bool = False


@dataclass(frozen=True, slots=True)
class LeakState:
    """`found` are the present leaks. Times are monotonic seconds."""

    found: frozenset[str] = frozenset()
    shut: bool | None = None
    moved: float = 0.0
    """Since when the valve has been shut, or not."""
    running: float | None = None
    """When the flow began that had no pause since."""
    over: float | None = None
    """Since when the flow is a burst's."""
    watched: float | None = None
    """The end of the night that is watched, while its flow never paused."""
    judged: float = 0.0
    """The end of the last night that was begun."""

    def shifted(self, by: BootShift) -> LeakState:
        return replace(
            self, moved=by.past(self.moved), running=by.optional(self.running), over=None if by.seconds else self.over,
            watched=None if by.seconds else self.watched, judged=self.judged + by.seconds,
        )  # fmt: skip

    def restarted(self) -> LeakState:
        """A flush begins or ends: its water is no leak."""
        return updated(self, running=None, over=None, watched=None)

    def dump(self) -> dict[str, Any]:
        return fields(self) | {"found": sorted(self.found)}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> LeakState:
        def maybe(key: str) -> float | None:
            return None if kept[key] is None else float(kept[key])

        return cls(
            frozenset(map(str, kept["found"])), kept["shut"], float(kept["moved"]), maybe("running"), maybe("over"),
            maybe("watched"), float(kept["judged"]),
        )  # fmt: skip


def step(
    leak: Leak, state: LeakState, before: Meter, meter: Meter, reading: MeterReading | None, shut: bool, now: Now
) -> tuple[LeakState, Meter, float]:
    """Judge the flow since `before`. `reading` is None before the first reading. Last comes the next due time."""
    if reading is None:
        return state, meter, NEVER
    if not reading.is_good:
        return updated(state, over=None, watched=None), meter, NEVER
    if reading.flushing:
        return state, meter, NEVER
    drawn = meter if meter.at != before.at and before.index is not None else None
    if shut is not state.shut:
        meter, drawn = meter.restarted(), None
        state = _found(state, BURST, False)
        state = replace(state, shut=shut, moved=now.monotonic, running=None, over=None, watched=None)
        before = meter
    if shut:
        state, due = _closed(leak, state, meter, drawn, now.monotonic)
    else:
        state, due = _open(leak, state, before, meter, drawn, reading.at, now)
    return state, meter, due


def _open(
    leak: Leak, state: LeakState, before: Meter, meter: Meter, drawn: Meter | None, read_at: float, now: Now
) -> tuple[LeakState, float]:
    state, first = _continuous(leak, state, before, meter, drawn, read_at, now.monotonic)
    state, second = _burst(leak, state, meter, drawn, now.monotonic)
    state, third = _night(leak, state, meter, drawn, now)
    return state, min(first, second, third)


def _closed(leak: Leak, state: LeakState, meter: Meter, drawn: Meter | None, now: float) -> tuple[LeakState, float]:
    if leak.closed is None:
        return state, NEVER
    if drawn is not None and drawn.flow(drawn.at) >= leak.closed * _EXACT:
        state = _found(state, CLOSED, True)
    quiet = max(meter.at, state.moved) + max(leak.pulse, meter.volume) * HOUR / (BAND * leak.closed)
    if CLOSED in state.found and now >= quiet:
        state = _found(state, CLOSED, False)
    return state, quiet if CLOSED in state.found else NEVER


def _continuous(
    leak: Leak, state: LeakState, before: Meter, meter: Meter, drawn: Meter | None, read_at: float, now: float
) -> tuple[LeakState, float]:
    """Flow since `running`, until the meter was read without growth for the time of a pause."""
    if leak.continuous is None:
        return state, NEVER
    if drawn is not None:
        longest = max(leak.quiet, UNHEARD) if leak.interval > SLOW else leak.quiet
        if state.running is None or drawn.at - before.at > longest:
            state = replace(state, running=drawn.at)
        elif drawn.at - state.running >= leak.continuous * _EXACT:
            state = _found(state, CONTINUOUS, True)
    if state.running is None:
        return _found(state, CONTINUOUS, False), NEVER
    since = max(meter.at, state.moved)
    quiet = since + leak.quiet
    silent = leak.interval > SLOW and read_at <= since + leak.interval / 2
    while silent and quiet <= now:  # not read since: it may flow all the same
        quiet += leak.quiet
    if now >= quiet:
        return replace(_found(state, CONTINUOUS, False), running=None), NEVER
    return state, quiet


def _burst(leak: Leak, state: LeakState, meter: Meter, drawn: Meter | None, now: float) -> tuple[LeakState, float]:
    """Over since the pulse that showed it; under as soon as the next pulse is late, or shows less.

    What a growth says of the time before it counts: pulses that came while the agent was away go on with the burst.
    """
    if leak.burst is None:
        return state, NEVER
    flow, lasts = leak.burst
    reached = state.over + lasts if state.over is not None else NEVER
    if drawn is not None and reached > drawn.at and drawn.flow(drawn.at) < BAND * flow:
        state, reached = replace(state, over=None), NEVER
    if drawn is not None and state.over is None and drawn.flow(drawn.at) >= flow * _EXACT:
        state, reached = replace(state, over=drawn.at), drawn.at + lasts
    if state.over is None:
        return _found(state, BURST, False), NEVER
    under = meter.falls_to(BAND * flow)
    if reached <= min(now, under):
        state = _found(state, BURST, True)
    if now >= under:
        return _found(replace(state, over=None), BURST, False), NEVER
    return state, under if reached <= now else min(reached, under)


def _night(leak: Leak, state: LeakState, meter: Meter, drawn: Meter | None, now: Now) -> tuple[LeakState, float]:
    """A leak is a flow that never came down to the limit from the night's beginning to its end."""
    if leak.night is None or now.civil is None:
        return state, NEVER
    limit = max(leak.night.flow, 1e-3)
    watched = state.watched
    if watched is not None:
        paused = drawn is not None and drawn.flow(drawn.at) <= limit
        if paused or meter.falls_to(limit) <= min(now.monotonic, watched):
            state = replace(_found(state, NIGHT, False), watched=None)
        elif now.monotonic >= watched - TICK:
            state = replace(_found(state, NIGHT, True), watched=None)
    start, end = leak.night.around(now)
    if now.monotonic < start - TICK:
        return state, start if state.watched is None else min(start, state.watched)
    if state.judged < end - ON_TIME:  # a new night; its end is the same on every look, but for the clock's slewing
        watched = end if now.monotonic <= start + ON_TIME else None
        state = replace(state, judged=end, watched=watched)
        if meter.falls_to(limit) <= now.monotonic and watched is not None:
            state = replace(_found(state, NIGHT, False), watched=None)
    return state, end if state.watched is None else min(end, meter.falls_to(limit))


def _found(state: LeakState, code: str, found: bool) -> LeakState:
    if found is (code in state.found):
        return state
    return replace(state, found=state.found | {code} if found else state.found - {code})
