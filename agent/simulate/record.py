"""The record of a simulation: each change of an output, each event and each outcome, with its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from agent.lib.timetext import local_text
from agent.model import Event, Outcome, Value
from agent.simulate.scenario import ScenarioCommand

__all__ = ["SimulationRecord"]


class SimulationRecord:
    """`edges`, `dropped` and `events` as `bocage simulate --json` prints them.

    `start` is when the scenario begins, `zone` the site's timezone; `elapsed` tells the seconds since the start.
    """

    def __init__(self, start: datetime, zone: ZoneInfo, elapsed: Callable[[], float]) -> None:
        self._start, self._zone = start.astimezone(UTC), zone  # sums of local times skip no changes of the clock
        self._elapsed = elapsed
        self.edges: list[dict[str, Any]] = []
        self.dropped: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []

    def when(self) -> dict[str, Any]:
        """This moment: `at` (ISO 8601, local) and `t` (s)."""
        now = self._elapsed()
        moment = self._start + timedelta(seconds=now)
        return {
            "at": local_text(moment, self._zone, "milliseconds" if now % 1 else "seconds"),
            "t": round(now, 3),
        }

    def note(self, what: Event | Outcome) -> None:
        """Add an event or an outcome; the audit of a write is an edge."""
        if isinstance(what, Outcome):
            self.events.append({
                **self.when(), "kind": "outcome", "code": str(what.state), "subject": what.point,
                "id": what.command, "value": what.value, "state": str(what.state), "reason": what.reason,
            })  # fmt: skip
            return
        detail = what.detail or {}
        if (what.kind, what.code) == ("audit", "output"):
            self.edges.append({
                **self.when(), "actuator": what.subject,
                **{key: detail[key] for key in ("from", "to", "priority", "cause", "by")},
            })  # fmt: skip
            return
        self.events.append({
            **self.when(), "kind": what.kind, "code": what.code, "subject": what.subject,
            "severity": str(what.severity), "detail": detail,
        })  # fmt: skip

    def note_dropped(self, moved: Iterable[tuple[str, Value, Value]]) -> None:
        """Add the outputs that a power cut moved: no edges, which are what the agent wrote."""
        for actuator, before, after in moved:
            self.dropped.append({**self.when(), "actuator": actuator, "from": before, "to": after})

    def note_unheard(self, command: ScenarioCommand) -> None:
        """Add a command that no agent heard."""
        self.events.append({
            **self.when(), "kind": "outcome", "code": "failed", "subject": command.point, "id": command.id,
            "value": command.value, "reason": "no agent is running",
        })  # fmt: skip

    def has(self, outcome: Outcome) -> bool:
        """Whether this is the last that was noted of its command."""
        last = next((one for one in reversed(self.events) if one.get("id") == outcome.command), None)
        return last is not None and (last["code"], last["reason"]) == (str(outcome.state), outcome.reason)
