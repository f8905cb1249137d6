"""Changes of the wall clock (`agent.clock.Wall`), as events and in the log."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

from agent.model import Event, Instant, Severity

__all__ = ["clock_events"]

log = logging.getLogger("bocage.engine")


class _Kind(NamedTuple):
    kind: str
    code: str
    next: str
    """The consequence, for the log."""
    severity: Severity = Severity.INFO


_KINDS = {
    "alarm": _Kind("alarm", "clock_step", "time goes on as before, the step is followed once it has held for 10 min",
                   Severity.MINOR),
    "clock": _Kind("clock", "clock_step", "schedules are looked at again"),
    "cleared": _Kind("cleared", "clock_step", "our time is the wall clock's"),
    "refused": _Kind("alarm", "clock_refused", "it is before the last time that was known: time goes on from that one",
                     Severity.MAJOR),
    "believed": _Kind("cleared", "clock_refused", "our time is the wall clock's"),
}  # fmt: skip


def clock_events(news: Iterable[tuple[str, float]], at: Instant) -> list[Event]:
    """The events of what happened, each with the seconds it was about; `at` is now."""
    events = []
    for what, seconds in news:
        one = _KINDS[what]
        log.warning("clock kind=%s seconds=%.1f next=%s", what, seconds, one.next)
        detail = None if one.kind == "cleared" else {"seconds": round(seconds, 1)}
        events.append(Event(one.kind, one.code, "gateway", at, one.severity, detail))
    return events
