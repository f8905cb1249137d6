"""How the agent's lives ended: one that was no orderly stop is a crash, be it a kill, an error or a power cut.

After three crashes in ten minutes something that we do may be what kills us (a relay whose inrush resets the box, a
command whose answer needs too much memory): overrides are then not taken up again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

from agent.clock import Clock
from agent.core.alarms import GatewayCondition
from agent.errors import StorageError
from agent.model import Instant, Severity
from drivers.api import DurableStore

__all__ = ["CrashCounter"]

log = logging.getLogger("bocage.crash_counter")

CRASHES, WITHIN = 3, 600.0
"""Number of crashes, and the seconds in which they are a crash loop; as long without a crash ends it."""


class CrashCounter:
    """This life and the ends of those before it. `memory` keeps them, on flash from the start on."""

    def __init__(self, memory: DurableStore, clock: Clock) -> None:
        self._memory, self._clock = memory, clock
        self._ages: list[float] = []
        """The ages of the crashes of the last ten minutes, in seconds before the start."""
        self._begun = clock.now()
        self._over = False

    def begin(self) -> None:
        """Count the life before this one, if it ended badly, and note that this one has begun."""
        now, kept = self._begun, self._memory.get("now")
        if isinstance(kept, dict) and {"boot", "at", "wall_ms", "alive", "ages"} <= kept.keys():
            passed = _passed(kept, now)
            self._ages = [age + passed for age in kept["ages"]] + [0.0] * bool(kept["alive"])
            self._ages = [age for age in self._ages if age < WITHIN]
        self._keep(alive=True)
        if self.looping:
            log.error("crash loop crashes=%d within_s=%g next=overrides are not restored", len(self._ages), WITHIN)

    @property
    def looping(self) -> bool:
        """Whether this life began after three crashes in ten minutes, and is not ten minutes old yet."""
        return len(self._ages) >= CRASHES and not self._over

    def conditions(self) -> Iterator[GatewayCondition]:
        """The alarm, while it lasts."""
        if self.looping:
            detail = {"crashes": len(self._ages), "within_s": int(WITHIN), "overrides": "not restored"}
            yield GatewayCondition("crash_loop", "gateway", Severity.MAJOR, detail)

    async def run(self) -> None:
        """Ten minutes of life are a recovery."""
        await asyncio.sleep(WITHIN)
        self._ages, self._over = [], True
        await asyncio.to_thread(self._keep, True)

    def end(self) -> None:
        """An orderly stop; it is on flash with the next write that is."""
        self._memory.put("now", self._record(alive=False))

    def _keep(self, alive: bool) -> None:
        try:
            self._memory.put("now", self._record(alive), True)
        except StorageError as error:
            log.error('start not durable reason="%s" next=a crash may go uncounted', error)

    def _record(self, alive: bool) -> dict[str, Any]:
        now = self._clock.now()
        lived = (now.boottime_ns - self._begun.boottime_ns) / 1e9
        return {
            "boot": now.boot, "at": now.boottime_ns / 1e9, "wall_ms": now.wall_ms, "alive": alive,
            "ages": [age + lived for age in self._ages],
        }  # fmt: skip


def _passed(kept: dict[str, Any], now: Instant) -> float:
    """Seconds since a record was kept.

    For another boot: by the wall clock where that is known, and at least the age of this boot. So power cuts in a row
    count as near to each other while the time is unknown.
    """
    uptime = now.boottime_ns / 1e9
    if kept["boot"] == now.boot:
        return float(uptime - kept["at"])
    by_wall = 0.0
    if kept["wall_ms"] is not None and now.wall_ms is not None:
        by_wall = (now.wall_ms - kept["wall_ms"]) / 1000
    return float(max(by_wall, uptime))
