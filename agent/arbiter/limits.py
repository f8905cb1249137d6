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

    def moved(self, on: bool, now: float, back: bool = False) -> History:
        """The output went to `on` now; nothing if it was there already. `back`: to go on again after it fell is no
        start."""
        if on is self.on:
            return self
        starts = tuple(start for start in self.starts if start > now - HOUR)
        counts = on and not (back and self.fell)
        return History(on, now, (*starts, now) if counts else starts)

    def perhaps(self, on: bool, now: float) -> History:
        """Somebody tried to move it to `on`, and nobody knows whether it went: the worse is assumed of both."""
        if on is self.on:
            return self
        return replace(self.moved(on, now), on=None)

    def found(self, on: bool, now: float) -> History:
        """It was seen to be `on` at `now`: a change that nobody asked for, or what nobody knew before."""
        if self.on is None:  # off may be as young as this look: it may have fallen after the attempt
            return replace(self, on=on, since=self.since if on or self.since is None else now)
        return replace(self.moved(on, now), fell=not on) if on is not self.on else self

    def shifted(self, seconds: float) -> History:
        """The same past on a monotonic clock that reads `seconds` more."""
        since = None if self.since is None else self.since + seconds
        return replace(self, since=since, starts=tuple(start + seconds for start in self.starts))


def earliest(limits: Limits, history: History, on: bool, now: float) -> tuple[float, str]:
    """When the output may go to `on`, and which limit says so; (`now`, "") if nothing stands against it."""
    if history.on is on:
        return now, ""
    waits = [(now, "")]
    shortest = limits.min_off if on else limits.min_on
    if shortest is not None and history.since is not None:
        waits.append((history.since + shortest, "min_off" if on else "min_on"))
    most = limits.max_starts_per_hour
    if on and most is not None:
        recent = sorted(start for start in history.starts if start > now - HOUR)
        if len(recent) >= most:
            waits.append((recent[len(recent) - most] + HOUR, "max_starts_per_hour"))
    return max(waits)
