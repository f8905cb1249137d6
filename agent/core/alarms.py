"""Alarms: those of the gateway itself, and the list of all that are open.

Conditions of the gateway that last are looked at as levels, raised once and cleared once. What is raised is remembered
(state.py), so that a restart neither repeats an alarm nor forgets to clear it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, NamedTuple

from agent.clock import Clock
from agent.errors import Rejected, StorageError
from agent.lib.timetext import utc_text
from agent.model import Event, Instant, Severity
from drivers.api import DurableStore

__all__ = ["Alarms", "GatewayCondition", "OpenAlarms"]

log = logging.getLogger("bocage.alarms")

PERIOD = 10.0
"""Seconds between two looks."""


class GatewayCondition(NamedTuple):
    """A condition of the gateway that may be an alarm: code (docs/alarms.md), subject, and a remedy.

    It becomes an alarm after `lasts` seconds without a pause. `known` is False while it cannot be determined, as for a
    device that was not polled since the start: then no alarm is raised, and an earlier one stays.
    """

    code: str
    subject: str
    severity: Severity
    detail: dict[str, Any]
    lasts: float = 0.0
    known: bool = True


class Alarms:
    """`look` gives all that is wrong now; `tell` makes an event durable (the outbox's)."""

    def __init__(
        self,
        look: Callable[[], Iterable[GatewayCondition]],
        tell: Callable[[Event], Awaitable[None]],
        memory: DurableStore,
        clock: Clock,
    ) -> None:
        self._look, self._tell, self._memory, self._clock = look, tell, memory, clock
        self._raised = {(code, subject) for code, subject in memory.get("raised") or []}
        self._unsure = self._raised & {(code, subject) for code, subject in memory.get("ending") or []}
        """Alarms whose event, or whose end, may or may not have been stored when the process died."""
        self._since: dict[tuple[str, str], float] = {}
        self._looking = asyncio.Lock()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(PERIOD)

    async def check(self) -> None:
        """Raise new alarms and clear those that are over, at once instead of at the next period."""
        async with self._looking:
            await self._check()

    async def _check(self) -> None:
        now, raised = self._clock.monotonic(), set(self._raised)
        looked = {(one.code, one.subject): one for one in self._look()}
        found = {key: one for key, one in looked.items() if one.known}
        self._since = {key: self._since.get(key, now) for key in found}
        new = {key: one for key, one in found.items()
               if (key not in raised or key in self._unsure) and now - self._since[key] >= one.lasts}  # fmt: skip
        over = raised - looked.keys()
        if not new and not over:
            return
        await self._remember(raised | new.keys(), {*self._unsure, *new, *over})
        for key, one in new.items():
            self._raised.add(key)
            log.warning("alarm code=%s subject=%s detail=%s", one.code, one.subject, one.detail)
            await self._say("alarm", key, one.severity, one.detail)
        for key in over:
            self._raised.discard(key)
            log.info("cleared code=%s subject=%s", *key)
            await self._say("cleared", key, Severity.INFO, {})
        self._unsure -= {*new, *over}
        await self._remember(self._raised, self._unsure)

    async def _remember(self, raised: set[tuple[str, str]], unsure: set[tuple[str, str]]) -> None:
        self._memory.put("ending", [list(key) for key in sorted(unsure)])  # with the same write as what follows
        await _remember(self._memory, "raised", [list(key) for key in sorted(raised)])

    async def _say(self, kind: str, key: tuple[str, str], severity: Severity, detail: dict[str, Any]) -> None:
        await self._tell(Event(kind, *key, self._clock.now(), severity, detail))


async def _remember(memory: DurableStore, what: str, value: Any) -> None:
    """On flash at once: what a kill or a power cut forgets here is told twice, or stays open where it was told."""
    with contextlib.suppress(StorageError):  # kept in memory, and written with the next change
        await asyncio.to_thread(memory.put, what, value, True)


class OpenAlarms:
    """The open alarms of all sources: every event passes here on its way to the outbox (`tell`)."""

    def __init__(self, tell: Callable[[Event], Awaitable[None]], memory: DurableStore) -> None:
        self._tell, self._memory = tell, memory
        self._open: dict[str, dict[str, Any]] = memory.get("open") or {}

    async def put_event(self, event: Event) -> None:
        """Make an event durable; an alarm is open from then on, until it is cleared. What happened once is not open."""
        name, changed = f"{event.code}.{event.subject}", False
        if event.kind == "alarm" and event.code not in _MOMENTS and name not in self._open:
            self._open[name] = {
                "code": event.code, "subject": event.subject, "severity": str(event.severity),
                "since": utc_text(event.at.wall_ms), "acked": False,
            }  # fmt: skip
            if text := (event.detail or {}).get("text"):
                self._open[name]["text"] = text
            changed = True
        elif event.kind == "cleared":
            changed = self._open.pop(name, None) is not None
        try:
            await self._tell(event)
        finally:
            if changed:  # the event is stored even if the caller is cancelled here
                self._memory.put("open", {key: dict(one) for key, one in self._open.items()})
        if changed:
            await _remember(self._memory, "open", {key: dict(one) for key, one in self._open.items()})

    def status(
        self, wrong: Iterable[GatewayCondition] = (), latched: Collection[tuple[str, str]] = ()
    ) -> list[dict[str, Any]]:
        """The open alarms, the gravest first: code, subject, severity, since (ISO 8601, UTC, or None), acked.

        Those of the gateway, by what is wrong with it now, have a detail; so has one with a text, and one that is
        `latched` now (code and subject), also if it was raised before that.
        """
        grave = [str(severity) for severity in Severity]
        details = {f"{one.code}.{one.subject}": one.detail for one in wrong}
        found: list[dict[str, Any]] = []
        for name, one in self._open.items():
            own: dict[str, Any] = {"text": one["text"]} if "text" in one else {}
            if (one["code"], one["subject"]) in latched:
                own["latched"] = True
            found.append({key: one[key] for key in one if key != "text"} | {"detail": details.get(name, own)})
        return sorted(found, key=lambda one: grave.index(one["severity"]))

    def raised(self) -> list[tuple[str, str]]:
        """The open alarms: code and subject."""
        return [(one["code"], one["subject"]) for one in self._open.values()]

    def is_open(self, name: str) -> bool:
        """Whether `code.subject` is open."""
        return name in self._open

    async def acknowledge(self, name: str, by: str, at: Instant, origin: str) -> str:
        """Acknowledge an alarm. `by` is the operator's name, `origin` the way the command came.

        Returns the text of the outcome; Rejected if the alarm is not open any more.
        """
        one = self._open.get(name)
        if one is None:
            raise Rejected(f"alarm {name} is not open")
        if one["acked"]:
            return "it was acknowledged already"
        one["acked"] = True
        self._memory.put("open", self._open)
        detail = {"alarm": one["code"], "by": by, "origin": origin}
        await self._tell(Event("audit", "acknowledged", one["subject"], at, detail=detail))
        return "acknowledged"


_MOMENTS = ("store_corrupt", "command_retained", "uplink_set_aside", "meter_replaced", "tamper")
"""Alarms of something that happened and is over: nothing will ever clear them."""
