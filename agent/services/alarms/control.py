"""An alarm on a point, raised while a condition holds. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta
from typing import Any

from agent.control.alarm_state import alarm_changes
from agent.control.api import Now, Step, View, updated
from agent.control.boot_time import BootShift, boot_anchor
from agent.control.conditions import Condition, Memory, Source, dumped, loaded, shifted
from agent.model import Quality, Severity, Value

__all__ = ["ALARM", "FAULT", "AlarmState", "PointAlarm"]

ALARM, FAULT = "point_alarm", "sensor_fault"


@dataclass(frozen=True, slots=True)
class AlarmState:
    """Times are monotonic seconds. `anchor` is Unix seconds at monotonic 0."""

    memory: Memory = field(default_factory=Memory)
    since: float | None = None
    """Since when the condition holds; None: it does not."""
    bad: float | None = None
    """Since when one of its points has no good value."""
    raised: frozenset[str] = frozenset()
    anchor: float | None = None
    restored: bool = False
    """The state comes from flash: its times may be those of another boot."""


@dataclass(frozen=True, slots=True)
class PointAlarm:
    """One alarm of the site file.

    `value` is the point whose value it tells; `text` may have {value}, {unit}, {limit} and {name}. `patience` is how
    long (s) a point may be without a good value before that is an alarm of its own.
    """

    subject: str
    condition: Condition
    severity: Severity = Severity.MAJOR
    value: Source | None = None
    unit: str = ""
    limit: str = ""
    text: str = ""
    points: tuple[str, ...] = ()
    patience: float = 600.0
    key: str = field(init=False)
    inputs: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", self.condition.inputs)
        object.__setattr__(self, "key", repr(self.condition))

    @property
    def name(self) -> str:
        """Apart from the names of other controls: an alarm may be called like the zone that it is about."""
        return f"alarms.{self.subject}"

    @property
    def told(self) -> frozenset[str]:
        return frozenset() if self.value is None else frozenset({self.value.name})

    # -- state -------------------------------------------------------------------------------------------------

    def initial(self) -> AlarmState:
        return AlarmState(self.condition.initial)

    def dump(self, state: AlarmState) -> dict[str, Any]:
        return {
            "of": self.key, "memory": dumped(state.memory, self.condition), "since": state.since, "bad": state.bad,
            "raised": sorted(state.raised), "anchor": state.anchor,
        }  # fmt: skip

    def load(self, kept: Mapping[str, Any]) -> AlarmState:
        """The state from what was kept. Where the condition is another one now, what is open is kept alone."""
        same = kept["of"] == self.key
        memory = loaded(kept["memory"], self.condition) if same else self.condition.initial
        raised = frozenset(kept["raised"]) & {ALARM, FAULT}
        since = kept["since"] if same else None
        return AlarmState(memory, since, kept["bad"] if same else None, raised, kept["anchor"], restored=True)

    # -- step --------------------------------------------------------------------------------------------------

    def step(self, state: AlarmState, view: View, now: Now) -> Step[AlarmState]:
        if state.restored:
            by = BootShift.from_anchor(state.anchor, now)
            memory, since, bad = shifted(state.memory, by), by.optional(state.since), by.optional(state.bad)
            state = replace(state, restored=False, memory=memory, since=since, bad=bad)
        state = updated(state, anchor=boot_anchor(state.anchor, now))
        memory, holds, due = self.condition.judge(state.memory, view, now)
        t = now.monotonic
        since = state.since if holds is None else None if not holds else t if state.since is None else state.since
        bad = None if self._is_good(view) else t if state.bad is None else state.bad
        state = updated(state, memory=memory, since=since, bad=bad)
        standing: dict[str, Mapping[str, Any] | None] = {}
        if holds or (holds is None and ALARM in state.raised):
            standing[ALARM] = None if ALARM in state.raised else self._detail(view, now, since, memory)
        if bad is not None and (FAULT in state.raised or t >= bad + self.patience):
            standing[FAULT] = {"points": self._bad(view)}
        elif bad is not None:
            due = min(due, bad + self.patience)
        severities = {ALARM: self.severity, FAULT: Severity.MINOR}
        raised, happenings = alarm_changes(self.subject, state.raised, standing, severities)
        return Step(updated(state, raised=raised), (), happenings, due)

    def _bad(self, view: View) -> list[str]:
        found = {name: view.points.get(name) for name in self.points}
        return [name for name, one in found.items() if one is None or one.quality is not Quality.GOOD]

    def _is_good(self, view: View) -> bool:
        points = view.points
        return all(name in points and points[name].quality is Quality.GOOD for name in self.points)

    def _detail(self, view: View, now: Now, since: float | None, memory: Memory) -> dict[str, Any]:
        found: dict[str, Any] = {}
        began = _began(memory, since)
        if now.civil is not None and began is not None:
            at = now.civil.astimezone(UTC) - timedelta(seconds=now.monotonic - began)
            found["since"] = at.isoformat(timespec="seconds").replace("+00:00", "Z")
        value = None if self.value is None else self.value.value(view)
        if self.value is not None:
            found["point"] = self.value.name
        if value is not None:
            found |= {"value": value, "unit": self.unit} if self.unit else {"value": value}
        if self.text:
            found["text"] = self.text.format(
                value=said(value), unit=self.unit, limit=self.limit, name=self.subject
            ).strip()  # fmt: skip
        return found


def said(value: Value) -> str:
    """A value for people: 1.5, on, HC; an ellipsis where it is not told."""
    if value is None:
        return "…"
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else f"{value:.6g}"


def _began(memory: Memory, since: float | None) -> float | None:
    """When what is told began: before the time that it had to last."""
    found = [one for one in (memory.since, *(part.since for part in memory.parts)) if one is not None]
    return min(found, default=since)
