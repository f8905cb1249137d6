"""How long a command is valid and how long it holds, and times as people say them. Pure functions."""

from __future__ import annotations

from agent.errors import Rejected
from agent.lib.timetext import utc_text
from agent.model import Command, Instant

__all__ = ["NODE_PATIENCE", "PATIENCE", "Expired", "deadline", "duration", "hold", "iso"]

HOLD = 2 * 3600.0
"""How long a command's override lasts if it does not say (s)."""
LONGEST_HOLD = 24 * 3600.0
PATIENCE = 10.0
"""How long a command that states no validity may wait for a limit (s)."""
NODE_PATIENCE = HOLD
"""How long it may wait for a radio node that listens only after its own uplinks (s)."""


class Expired(Rejected):
    """A command that came too late."""


def deadline(command: Command, now: Instant, patience: float = PATIENCE) -> float:
    """Until when (monotonic seconds) the command may start: for `patience` s if it does not say.

    Expired or Rejected if it may not start any more.
    """
    mono = now.boottime_ns / 1e9
    limits = []
    if command.ttl_ms is not None:
        limits.append(command.received.boottime_ns / 1e9 + command.ttl_ms / 1000)
        if command.issued_at is not None and now.wall_ms is not None:  # it may have waited with the broker
            limits.append(mono + (command.issued_at + command.ttl_ms - now.wall_ms) / 1000)
    if command.expires_at is not None and now.wall_ms is not None:
        limits.append(mono + (command.expires_at - now.wall_ms) / 1000)
    elif command.expires_at is not None and command.ttl_ms is None:
        raise Rejected("the gateway does not know the time: send ttl_ms in place of expires_at")
    if not limits:
        return mono + patience
    if min(limits) <= mono:
        raise Expired(f"it came {duration(mono - min(limits))} too late")
    return min(limits)


def hold(command: Command) -> float:
    """How long the override lasts (s). Rejected if it is none that we may keep."""
    if command.hold_ms is None:
        return HOLD
    if not 0 < command.hold_ms <= LONGEST_HOLD * 1000:
        raise Rejected("an override lasts more than 0 and at most 24 h (hold_ms 86400000)")
    return command.hold_ms / 1000


def duration(seconds: float) -> str:
    """A span as people say it, never shorter than it is."""
    if seconds < 90:
        return f"{max(1, -int(-seconds // 1))} s"
    minutes = -int(-seconds // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def iso(mono: float | None, now: Instant) -> str | None:
    """A monotonic time in wall time (UTC); None if there is none, or nobody knows the wall time."""
    if mono is None or now.wall_ms is None:
        return None
    return utc_text(now.wall_ms + 1000 * (mono - now.boottime_ns / 1e9), "seconds")
