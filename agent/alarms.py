"""Alarms of the gateway itself: conditions that last are looked at as levels, raised once and cleared once.

What is raised is remembered (state.py), so that a restart neither repeats an alarm nor forgets to clear it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from agent.clock import Clock
from agent.driver import Memory
from agent.model import Event, Severity

__all__ = ["Alarms", "Condition"]

log = logging.getLogger("bocage.alarms")

PERIOD = 5.0
"""Seconds between two looks."""


class Condition(NamedTuple):
    """What is wrong now: the code (docs/alarms.md), the bare name of what it is about, and what helps to mend it.

    It is an alarm once it was seen for `lasts` seconds without a pause.
    """

    code: str
    subject: str
    severity: Severity
    detail: dict[str, Any]
    lasts: float = 0.0


class Alarms:
    """`look` gives all that is wrong now; `tell` makes an event durable (the outbox's)."""

    def __init__(
        self,
        look: Callable[[], Iterable[Condition]],
        tell: Callable[[Event], Awaitable[None]],
        memory: Memory,
        clock: Clock,
    ) -> None:
        self._look, self._tell, self._memory, self._clock = look, tell, memory, clock
        self._raised = {(code, subject) for code, subject in memory.get("raised") or []}
        self._since: dict[tuple[str, str], float] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(PERIOD)

    async def check(self) -> None:
        """One look: raise what is new, clear what is over."""
        now, raised = self._clock.monotonic(), set(self._raised)
        found = {(one.code, one.subject): one for one in self._look()}
        self._since = {key: self._since.get(key, now) for key in found}
        for key, one in found.items():
            if key not in raised and now - self._since[key] >= one.lasts:
                self._raised.add(key)
                log.warning("alarm code=%s subject=%s detail=%s", one.code, one.subject, one.detail)
                await self._say("alarm", key, one.severity, one.detail)
        for key in raised - found.keys():
            self._raised.discard(key)
            log.info("cleared code=%s subject=%s", *key)
            await self._say("cleared", key, Severity.INFO, {})
        if self._raised != raised:
            self._memory.put("raised", [list(key) for key in sorted(self._raised)])

    async def _say(self, kind: str, key: tuple[str, str], severity: Severity, detail: dict[str, Any]) -> None:
        await self._tell(Event(kind, *key, self._clock.now(), severity, detail))
