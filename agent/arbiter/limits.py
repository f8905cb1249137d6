"""What protects a machine from its rules: minimum times, starts an hour, longest run. Pure functions of the past.

All times are `clock.monotonic()` in seconds. These limits stand at priority 6: only priorities 1 to 5 may break them.
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
    """When an output last changed. `on` None: nobody knows which way. `since` None: nobody remembers, long ago."""

    on: bool | None = None
    since: float | None = None
    starts: tuple[float, ...] = ()
    """Every start of the last hour that counts."""
    fell: bool = False
    """It is off because the mains or its module dropped it, not because anybody wrote so."""
    otherwise: float | None = None
    """Since when it stood otherwise before, where it was only seen to change: a reading can be wrong, and to write what
    it shows can be the change. None: as it is it was written, or nobody remembers."""
    maybe: float | None = None
    """Since when it may be on without a pause, where a write in between was not acknowledged: it counts for its longest
    run. None: since it went on."""

    @property
    def running(self) -> float | None:
        """Since when it is on at the longest; None if it is not, or nobody remembers."""
        return self.longest if self.on else None

    @property
    def longest(self) -> float | None:
        """Since when it has been on at the longest, should it be on."""
        return self.since if self.on and self.maybe is None else self.maybe

    def moved(self, on: bool, now: float, back: bool = False) -> History:
        """The output went to `on` now; nothing new if it was there already. `back`: to go on again after it fell is no
        start."""
        if on is self.on:
            return self if self.otherwise is None else replace(self, otherwise=None)
        starts = tuple(start for start in self.starts if start > now - HOUR)
        counts = on and not (back and self.fell)
        return History(on, now, (*starts, now) if counts else starts)

    def perhaps(self, on: bool, now: float) -> History:
        """Somebody tried to move it to `on`, and nobody knows whether it went: the worse is assumed of both."""
        if on is self.on:
            return replace(self, maybe=self.running)
        maybe = now if on and self.longest is None else self.longest
        return replace(self.moved(on, now), on=None, maybe=maybe)

    def found(self, on: bool, now: float) -> History:
        """It was seen to be `on` at `now`: a change that nobody asked for, or what nobody knew before."""
        if self.on is None:  # off may be as young as this look: it may have fallen after the attempt
            since = self.since if on or self.since is None else now
            return replace(self, on=on, since=since, maybe=self.maybe if on else None)
        if on is self.on:
            return self
        return replace(self.moved(on, now), fell=not on, otherwise=self.since)

    def doubted(self) -> History:
        """The same past of an output that may stand otherwise by now: any write can be a change."""
        return replace(self, on=None, maybe=self.longest)

    def fallen(self, now: float) -> History:
        """If it was on, it may have fallen unseen until `now`."""
        return replace(self.moved(False, now), fell=True) if self.on else self

    def shifted(self, seconds: float) -> History:
        """The same past on a monotonic clock that reads `seconds` more."""
        since = None if self.since is None else self.since + seconds
        otherwise = None if self.otherwise is None else self.otherwise + seconds
        maybe = None if self.maybe is None else self.maybe + seconds
        starts = tuple(start + seconds for start in self.starts)
        return replace(self, since=since, starts=starts, otherwise=otherwise, maybe=maybe)


def earliest(limits: Limits, history: History, on: bool, now: float) -> tuple[float, str]:
    """When the output may go to `on`, and which limit says so; (`now`, "") if nothing stands against it.

    What was seen to be so without a write waits too, from before it was seen: see `History.otherwise`.
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
