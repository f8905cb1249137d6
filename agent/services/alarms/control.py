"""An alarm on a point, raised while a condition holds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from typing import Any, NamedTuple

from agent.control.alarm_state import alarm_changes
from agent.control.api import Count, Happening, Now, Step, View, lost_points, updated
from agent.control.boot_time import BootShift, boot_anchor
from agent.control.conditions import Condition, Memory, Operand, began, counting, dumped, fingerprint, loaded, shifted
from agent.model import Severity, Value

__all__ = ["ALARM", "FAULT", "AlarmState", "PointAlarm"]

ALARM, FAULT = "point_alarm", "sensor_fault"


class AlarmState(NamedTuple):
    """Times are monotonic seconds. `anchor` is Unix seconds at monotonic 0."""

    memory: Memory = Memory()
    bad: float | None = None
    """Since when one of its points has no good value."""
    raised: frozenset[str] = frozenset()
    anchor: float | None = None
    restored: bool = False
    """The state comes from flash: its times may be those of another boot."""
    unsure: bool = False
    """Whether the condition held was not known at the last step."""


@dataclass(frozen=True, slots=True)
class PointAlarm:
    """One alarm of the site file.

    `value` is the point whose value it tells; `text` may have {value}, {unit}, {limit} and {name}. `patience` is how
    long (s) one of `points` may be without a good value before that is an alarm of its own.
    """

    subject: str
    condition: Condition
    severity: Severity = Severity.MAJOR
    value: Operand | None = None
    unit: str = ""
    limit: float | None = None
    text: str = ""
    points: tuple[str, ...] = ()
    patience: float = 600.0
    key: str = field(init=False)
    """Apart for each condition: what was remembered of another one is of no use."""
    inputs: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", self.condition.inputs.union(self.points))
        object.__setattr__(self, "key", fingerprint(self.condition))

    @property
    def name(self) -> str:
        """Apart from the names of other controls, by which their states are kept."""
        return f"alarms.{self.subject}"

    @property
    def told(self) -> frozenset[str]:
        return frozenset() if self.value is None else frozenset({self.value.name})

    # -- state -------------------------------------------------------------------------------------------------

    def initial(self) -> AlarmState:
        return AlarmState(self.condition.initial)

    def dump(self, state: AlarmState) -> dict[str, Any]:
        return {
            "of": self.key, "memory": dumped(state.memory, self.condition), "bad": state.bad,
            "raised": sorted(state.raised), "anchor": state.anchor,
        }  # fmt: skip

    def load(self, kept: Mapping[str, Any]) -> AlarmState:
        """The state from what was kept. Of another condition than today's, what is open is kept alone."""
        raised = frozenset(kept["raised"]) & {ALARM, FAULT}
        if kept["of"] != self.key:
            return AlarmState(self.condition.initial, raised=raised)
        return AlarmState(loaded(kept["memory"], self.condition), kept["bad"], raised, kept["anchor"], restored=True)

    # -- step --------------------------------------------------------------------------------------------------

    def step(self, state: AlarmState, view: View, now: Now) -> Step[AlarmState]:
        if state.restored:
            by = BootShift.from_anchor(state.anchor, now)
            bad = None if by.is_another(state.bad) else state.bad
            state = state._replace(restored=False, memory=shifted(state.memory, by), bad=bad)
        memory, holds, due = self.condition.judge(state.memory, view, now)
        t, lost = now.monotonic, lost_points(view, self.points)
        bad = None if not lost else t if state.bad is None else state.bad
        standing: dict[str, Mapping[str, Any] | None] = {}
        if holds or (holds is None and ALARM in state.raised):
            standing[ALARM] = None if ALARM in state.raised else self._detail(view, now, memory)
        if bad is not None and (FAULT in state.raised or t >= bad + self.patience):
            standing[FAULT] = {"points": lost}
        elif bad is not None:
            due = min(due, bad + self.patience)
        raised, happenings = state.raised, list[Happening]()
        if standing.keys() != raised:
            severities = {ALARM: self.severity, FAULT: Severity.MINOR}
            raised, happenings = alarm_changes(self.subject, raised, standing, severities)
        anchor = boot_anchor(state.anchor, now)
        unsure = holds is None
        state = updated(state, memory=memory, bad=bad, raised=raised, anchor=anchor, unsure=unsure)
        return Step(state, (), happenings, due)

    def alike(self, state: AlarmState, view: View) -> bool:
        """While nothing is raised: what is may be older than the condition, and ends once that is known."""
        if state.raised or state.unsure or state.bad is not None or lost_points(view, self.points):
            return False
        return self.condition.same(state.memory, view)

    def counting(self, state: AlarmState, view: View, now: Now) -> Sequence[Count]:
        memory = self.condition.judge(state.memory, view, now).memory
        return list(counting(memory, self.condition, now.monotonic))

    def _detail(self, view: View, now: Now, memory: Memory) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if now.civil is not None and now.known:
            at = began(memory, self.condition)
            ago = 0.0 if at is None else now.monotonic - at
            since = now.civil.astimezone(UTC) - timedelta(seconds=ago)
            found["since"] = since.isoformat(timespec="seconds").replace("+00:00", "Z")
        value = None if self.value is None else self.value.value(view)
        if self.value is not None:
            found["point"] = self.value.name
        if value is not None:
            found |= {"value": value, "unit": self.unit} if self.unit else {"value": value}
        if self.text:
            words = {"value": _said(value), "unit": self.unit, "limit": _said(self.limit), "name": self.subject}
            found["text"] = self.text.format(**words).strip()
        return found


def _said(value: Value) -> str:
    """A value for people: 1.5, on, HC; an ellipsis where there is none."""
    if value is None:
        return "…"
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else f"{round(value, 3):.12g}"
