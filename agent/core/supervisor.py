"""Restart failed drivers, and feed the watchdog.

A driver that fails is restarted with capped, jittered backoff and never disturbs its siblings. A core task (hub,
outbox, arbiter, uplink) is not supervised: its failure ends the root TaskGroup, the process exits with 70 and systemd
starts it anew.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agent.clock import Clock
from agent.lib.backoff import Backoff
from agent.lib.notify import Notifier

__all__ = ["Watchdog", "isolated", "supervise"]

log = logging.getLogger("bocage.supervise")

HEALTHY = 60.0
"""A run of this many seconds wipes out earlier failures."""

T = TypeVar("T")


async def supervise(
    name: str, run: Callable[[], Awaitable[None]], clock: Clock, backoff: Backoff | None = None
) -> None:
    """Keep the driver of a bus running until cancelled; start it again after 1, 2, 4 … 60 s, spread by ±50 %.

    A return without an error counts as a failure too, because a bus never ends by itself.
    """
    backoff = backoff or Backoff(spread=(0.5, 1.5))
    failures = 0
    while True:
        started = clock.monotonic()
        try:
            await run()
            reason = "it ended by itself"
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            log.exception("driver failed bus=%s", name)
        if clock.monotonic() - started > HEALTHY:
            failures = 0
            backoff.reset()
        failures += 1
        pause = backoff.next()
        log.error('driver restarts bus=%s reason="%s" failures=%d next_in_s=%.1f', name, reason, failures, pause)
        await asyncio.sleep(pause)


def isolated(what: str, call: Callable[[], T]) -> tuple[T | None, str]:
    """Return the result of `call` and "", or None and its error: a rule with a bug must not stop the others."""
    try:
        return call(), ""
    except Exception as error:
        log.exception("rule failed rule=%s next=the others go on", what)
        return None, f"{type(error).__name__}: {error}"


class Watchdog:
    """Feed systemd's watchdog from progress: only while every task keeps its deadline.

    Each owner of a loop gives a function that returns the time (clock.monotonic) at which its next sign of life is due
    at the latest. An attempt that failed is a sign of life too, so a dead bus in backoff never starves the watchdog.
    """

    GRACE = 5.0
    """Seconds by which an owner may be late: a busy processor is not a hang."""
    PERIOD = 5.0
    """Seconds between two looks; WatchdogSec is 20."""
    LINE = 60.0
    """Seconds between two lines for the service manager, once it has run for a while."""

    def __init__(self, clock: Clock, notifier: Notifier) -> None:
        self._clock, self._notifier = clock, notifier
        self._owners: dict[str, Callable[[], float]] = {}
        self.lag = 0.0
        """Seconds by which the event loop was last late: the loop lag of `health`."""

    def add(self, name: str, due: Callable[[], float]) -> None:
        self._owners[name] = due

    def remove(self, name: str) -> None:
        self._owners.pop(name, None)

    def late(self) -> list[str]:
        """The owners that should have shown a sign of life and have not."""
        now = self._clock.monotonic()
        return [name for name, due in self._owners.items() if due() + self.GRACE < now]

    async def run(self, status: Callable[[], str]) -> None:
        """Look every few seconds and feed; at times tell systemd one useful line (`systemctl status bocage`).

        Much happens in the seconds after a start: the lines come thick at first.
        """
        line_at, rest = -math.inf, Backoff(self.PERIOD, self.LINE)
        while True:
            late, now = self.late(), self._clock.monotonic()
            if late:
                log.error("no progress owners=%s next=watchdog is not fed", ",".join(late))
            elif now < line_at:
                self._notifier.watchdog()
            else:
                line_at = now + rest.next()
                self._notifier.watchdog(status())
            asked = self._clock.monotonic() + self.PERIOD
            await asyncio.sleep(self.PERIOD)
            self.lag = max(0.0, self._clock.monotonic() - asked)
