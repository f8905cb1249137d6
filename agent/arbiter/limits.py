"""Limits that protect a machine: minimum times, starts per hour, longest run. Pure functions of the output's history.

All times are `clock.monotonic()` in seconds. The limits have priority 6: only priorities 1 to 5 may break them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["NO_LIMITS", "History", "Limits", "earliest"]

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds; None: no such limit."""

    min_on: float | None = None
    min_off: float | None = None
    max_on: float | None = None
    max_starts_per_hour: int | None = None


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class History:
    """When an output last changed. `on` None: its state is unknown. `since` None: unknown, long ago."""

    on: bool | None = None
    since: float | None = None
    starts: tuple[float, ...] = ()
    """The counted starts of the last hour."""
    fell: bool = False
    """It is off because it lost power or its module dropped it, not because off was written."""
    otherwise: float | None = None
    """Where the last change was read, not written: the moment of the change before it. The reading can be wrong, and
    then writing what it shows is a change. None: the state was written, or this is unknown."""
    maybe: float | None = None
    """Since when it may have been on without a pause, where a write since was not acknowledged; counts for the longest
    run. None: since it went on."""

    @property
    def running(self) -> float | None:
        """The earliest moment since which it may be on; None if it is off, or that is unknown."""
        return self.longest if self.on else None

    @property
    def longest(self) -> float | None:
        """The earliest moment since which it may be on, if it is on."""
        return self.since if self.on and self.maybe is None else self.maybe

    def moved(self, on: bool, now: float, back: bool = False) -> History:
        """The history after a change to `on` at `now`; the same if there is none. `back`: switching on after a fall is
        not counted as a start."""
        if on is self.on:
            return self if self.otherwise is None else replace(self, otherwise=None)
        starts = tuple(start for start in self.starts if start > now - HOUR)
        counts = on and not (back and self.fell)
        return History(on, now, (*starts, now) if counts else starts)

    def perhaps(self, on: bool, now: float) -> History:
        """The history after a write of `on` that was not acknowledged: for each limit the worse case is assumed."""
        if on is self.on:
            return replace(self, maybe=self.running)
        maybe = now if on and self.longest is None else self.longest
        return replace(self.moved(on, now), on=None, maybe=maybe)

    def found(self, on: bool, now: float) -> History:
        """The history after a reading of `on` at `now`: an unexpected change, or a state that was unknown before."""
        if self.on is None:  # off may be as young as this look: it may have fallen after the attempt
            since = self.since if on or self.since is None else now
            return replace(self, on=on, since=since, maybe=self.maybe if on else None)
        if on is self.on:
            return self
        return replace(self.moved(on, now), fell=not on, otherwise=self.since)

    def doubted(self) -> History:
        """The same history of an output that may have moved since: any write can be a change."""
        return replace(self, on=None, maybe=self.longest)

    def fallen(self, now: float) -> History:
        """The history if an output that was on has fallen unseen until `now`."""
        return replace(self.moved(False, now), fell=True) if self.on else self

    def shifted(self, seconds: float) -> History:
        """The same history on a monotonic clock that reads `seconds` more."""
        since = None if self.since is None else self.since + seconds
        otherwise = None if self.otherwise is None else self.otherwise + seconds
        maybe = None if self.maybe is None else self.maybe + seconds
        starts = tuple(start + seconds for start in self.starts)
        return replace(self, since=since, starts=starts, otherwise=otherwise, maybe=maybe)


def earliest(limits: Limits, history: History, on: bool, now: float) -> tuple[float, str]:
    """When the output may go to `on`, and the limit that delays it; (`now`, "") if none does.

    A state that was read and not written is delayed too, from the change before it: see `History.otherwise`.
    """
    since = history.otherwise if history.on is on else history.since
    if history.on is on and since is None:
        return now, ""
    waits = [(now, "")]
    shortest = limits.min_off if on else limits.min_on
    if shortest is not None and since is not None:
        waits.append((since + shortest, "min_off" if on else "min_on"))
    most = limits.max_starts_per_hour
    if on and most is not None:
        seen = history.since if history.on is on else None  # what was only seen is no start of ours yet
        recent = sorted(start for start in history.starts if start > now - HOUR and (seen is None or start < seen))
        if len(recent) >= most:
            waits.append((recent[len(recent) - most] + HOUR, "max_starts_per_hour"))
    return max(waits)
