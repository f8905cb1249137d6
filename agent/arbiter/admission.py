"""The limits of a command before it is accepted: its rate, its validity, and the length of its override."""

from __future__ import annotations

import logging

from agent.arbiter.ledger import Ledger
from agent.clock import Clock
from agent.errors import Rejected
from agent.lib.rate_limit import Bucket
from agent.lib.throttle import Throttle
from agent.lib.timetext import utc_text
from agent.model import Command, Event, Instant, Origin

__all__ = ["NODE_PATIENCE", "PATIENCE", "RATE", "CommandRate", "Expired", "deadline", "duration", "hold", "iso"]

log = logging.getLogger("bocage.arbiter")

BURST, RATE = 20, 5.0
"""Commands that each origin may send at once, and per second from then on."""
REPORT_EVERY = 60.0
"""Seconds between two events that count the refused commands."""
HOLD = 2 * 3600.0
"""How long the override of a command lasts if the command does not say (s)."""
LONGEST_HOLD = 24 * 3600.0
PATIENCE = 10.0
"""How long a command without a validity may wait for a limit (s)."""
NODE_PATIENCE = HOLD
"""How long a command without a validity may wait for a radio node that listens only after its own uplinks (s)."""


class CommandRate:
    """Limits the commands of each origin. Commands above the rate are refused and counted, not recorded one by one.

    The only write to flash for them is one event a minute. Those that come by MQTT are reported by the uplink, with
    their ids.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._buckets = {origin: Bucket(BURST, RATE) for origin in Origin}
        self._last: Command | None = None
        self._reports = Throttle(clock.monotonic, REPORT_EVERY)

    async def exceeds(self, command: Command) -> bool:
        """Whether the command is to be refused; it is counted then."""
        if self._buckets[command.origin].take(self._clock.monotonic()):
            return False
        if command.origin is Origin.MQTT:
            return True
        self._last = command
        self._reports.count()
        await self.report()
        return True

    def is_unreported(self) -> bool:
        """Whether commands were refused and the last report is a minute ago: `report` is to be called."""
        return self._reports.is_due()

    async def report(self) -> None:
        """Publish how many commands were refused since the last report, at most once a minute."""
        count, last = self._reports.take(), self._last
        if last is None or not count:
            return
        log.warning("too many commands origin=%s refused=%d next=they are refused", last.origin, count)
        detail = {"refused": count, "origin": str(last.origin), "by": last.by}
        await self._ledger.put_event(Event("audit", "commands_refused", "gateway", self._clock.now(), detail=detail))


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
        if command.issued_at is not None and now.wall_ms is not None:  # it may have waited at the broker
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
    """How long the override of the command lasts (s). Rejected if that is not above 0 and at most 24 h."""
    if command.hold_ms is None:
        return HOLD
    if not 0 < command.hold_ms <= LONGEST_HOLD * 1000:
        raise Rejected("an override lasts more than 0 and at most 24 h (hold_ms 86400000)")
    return command.hold_ms / 1000


def duration(seconds: float) -> str:
    """A duration as text ("45 s", "6 min", "2 h 5 min"), rounded up."""
    if seconds < 90:
        return f"{max(1, -int(-seconds // 1))} s"
    minutes = -int(-seconds // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def iso(mono: float | None, now: Instant) -> str | None:
    """A monotonic time as wall time (UTC, ISO 8601); None without a time, or while the wall time is unknown."""
    if mono is None or now.wall_ms is None:
        return None
    return utc_text(now.wall_ms + 1000 * (mono - now.boottime_ns / 1e9), "seconds")
