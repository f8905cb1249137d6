"""One rule or interlock: a wish while a condition holds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agent.control.alarm_state import alarm_changes
from agent.control.api import NEVER, Count, Now, Step, View, Wish, fields, lost_points, updated
from agent.control.boot_time import BootShift, boot_anchor
from agent.control.conditions import Condition, Memory, counting, dumped, fingerprint, holding, loaded, shifted
from agent.control.spell import Spell, next_fold
from agent.control.wishes import INTERLOCK
from agent.model import Severity, Value
from agent.services.rules.last_known import counting_last_known, is_all_known, last_known, with_known

__all__ = ["INTERLOCK", "RULE", "Rule", "RuleState"]

RULE, REST = 14, 15
"""Priorities: of a rule, and of the value that an actuator of rules alone has while none holds."""
PATIENCE = 600.0
"""Seconds for which a point may be without a good value before that is the alarm sensor_fault."""
AWAITED = 3600.0
"""Seconds after a start for which a point that was not read yet leaves a rule as it was: radio nodes send seldom."""
_TICK = 1e-6
SEVERITIES = {
    "interlock": Severity.INFO, "interlock_overruled": Severity.MAJOR, "rule_max_on": Severity.MAJOR,
    "sensor_fault": Severity.MINOR,
}  # fmt: skip
_LOCK = "lock "
"""The beginning of the cause of each interlock of the site file."""


class RuleState(NamedTuple):
    """Times are monotonic seconds. `anchor` is Unix seconds at monotonic 0."""

    memory: Memory = Memory()
    active: bool = False
    """The condition holds, or is taken to hold while it is unknown."""
    known: bool = False
    """The condition, as it is today, was known once; of an interlock with keep or lock: each part of it."""
    held: Spell = Spell()
    """The time for which it was active since its condition last ended."""
    spent: bool = False
    """It held its actuator on for `max_on`: it rests until its condition has ended."""
    bad: float | None = None
    """Since when one of its points has no good value."""
    started: float | None = None
    """When this process looked first; not kept."""
    raised: frozenset[str] = frozenset()
    anchor: float | None = None
    restored: bool = False
    """The state comes from flash: its times may be those of another boot."""
    unsure: bool = False
    """Whether the condition held was not known at the last step."""


@dataclass(frozen=True, slots=True)
class Rule:
    """While `condition` holds, `actuator` is to have `value`: an interlock (`locks`) or a rule.

    `on_stale` is keep, release or lock. `otherwise` is the value of an actuator that no service moves, while no rule
    does; None: a service moves it.
    """

    subject: str
    condition: Condition
    actuator: str
    value: Value
    locks: bool = False
    on_stale: str = "release"
    max_on: float | None = None
    otherwise: Value = None
    points: tuple[str, ...] = ()
    key: str = field(init=False)
    judged: Condition = field(init=False)
    """The condition; of an interlock with keep or lock with the last that is known of each part."""
    inputs: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        moved = {self.actuator} if self.locks and self.value else set()
        object.__setattr__(self, "inputs", self.condition.inputs | moved)
        object.__setattr__(self, "key", fingerprint(self.condition))
        object.__setattr__(self, "judged", counting_last_known(self.condition) if self._cautious else self.condition)

    @property
    def _cautious(self) -> bool:
        """It acts while what it looks at was never known."""
        return self.locks and self.on_stale != "release"

    @property
    def name(self) -> str:
        """Apart from the names of other controls, by which their states are kept."""
        return f"rules.{self.subject}"

    # -- state -------------------------------------------------------------------------------------------------

    def initial(self) -> RuleState:
        return RuleState(self.condition.initial)

    def dump(self, state: RuleState) -> dict[str, Any]:
        return {
            "of": self.key, "memory": dumped(state.memory, self.condition), "active": state.active,
            "known": state.known, "held": fields(state.held), "spent": state.spent, "bad": state.bad,
            "raised": sorted(state.raised), "anchor": state.anchor,
        }  # fmt: skip

    def load(self, kept: Mapping[str, Any]) -> RuleState:
        """The state from what was kept. Where the condition is another one now, the open alarms are kept, and an
        interlock that acts, until the new condition is known not to hold."""
        raised = frozenset(kept["raised"]) & SEVERITIES.keys()
        if kept["of"] != self.key:
            acts = self.locks and bool(kept["active"])
            memory = holding(self.condition) if acts else self.condition.initial
            return RuleState(memory, acts, raised=raised, anchor=kept["anchor"], restored=True)
        memory, active, known = loaded(kept["memory"], self.condition), kept["active"], kept["known"]
        if self._cautious and known:
            memory = with_known(memory, active)
        return RuleState(
            memory, active, known, Spell.load(kept["held"]), kept["spent"], kept["bad"],
            raised=raised, anchor=kept["anchor"], restored=True,
        )  # fmt: skip

    def mark(self, state: RuleState) -> object:
        """Whether it is active, and spent: a crash must not give it its `max_on` again. Nor must an interlock take a
        contact for closed that opened while another part decided."""
        return state.active, state.known, state.spent, last_known(state.memory) if self._cautious else ()

    # -- step --------------------------------------------------------------------------------------------------

    def step(self, state: RuleState, view: View, now: Now) -> Step[RuleState]:
        state, t = self._here(state, now), now.monotonic
        memory, holds, due = self.judged.judge(state.memory, view, now)
        unsure = holds is None
        bad = lost_points(view, self.points)
        if self._cautious and not holds and self.on_stale == "lock":
            holds = self._is_locked(state, view, now, bad)
        active = holds if holds is not None else self._is_kept(state, view, t)
        known = is_all_known(memory) if self._cautious else holds is not None
        held = Spell() if holds is False else state.held
        over = self.max_on is not None and held.total(t) >= self.max_on - _TICK
        spent = holds is not False and (state.spent or over)
        held = held.at(t, active and not spent)
        state = updated(
            state, memory=memory, active=active, known=state.known or known, held=held, spent=spent,
            bad=None if not bad else t if state.bad is None else state.bad, unsure=unsure,
        )  # fmt: skip
        standing, due = self._standing(state, view, bad, due, t)
        raised, happenings = alarm_changes(self.subject, state.raised, standing, SEVERITIES)
        return Step(updated(state, raised=raised), self._wishes(state), happenings, due)

    def alike(self, state: RuleState, view: View) -> bool:
        """While it rests, and its condition is known: an active one counts its time."""
        rests = state.known and state.bad is None and not (state.active or state.memory.on or state.spent)
        if not rests or state.unsure or state.raised or state.held != Spell():
            return False
        return not lost_points(view, self.points) and self.judged.same(state.memory, view)

    def counting(self, state: RuleState, view: View, now: Now) -> Sequence[Count]:
        """The times that it counts before it acts."""
        if state.active:
            return ()
        memory = self.judged.judge(self._here(state, now).memory, view, now).memory
        return list(counting(memory, self.condition, now.monotonic))

    def _here(self, state: RuleState, now: Now) -> RuleState:
        """The state with the times of this boot."""
        if state.restored:
            by = BootShift.from_anchor(state.anchor, now)
            memory, held = shifted(state.memory, by), state.held.shifted(by)
            bad = None if by.is_another(state.bad) else state.bad
            state = state._replace(restored=False, memory=memory, held=held, bad=bad)
        if state.started is None:
            state = state._replace(started=now.monotonic)
        return updated(state, anchor=boot_anchor(state.anchor, now))

    def _is_kept(self, state: RuleState, view: View, now: float) -> bool:
        """Whether one whose condition is unknown is active."""
        awaited = self._awaits(state, now) and any(name not in view.points for name in self.points)
        return state.active and (awaited or self.on_stale == "keep")

    def _is_locked(self, state: RuleState, view: View, now: Now, bad: list[str]) -> bool:
        """Whether one that locks while its condition is unknown does, though by what was known last it need not. The
        points that were not read since the start may be radio nodes, which send seldom."""
        if bad and self._awaits(state, now.monotonic) and all(name not in view.points for name in bad):
            return False
        return self.condition.judge(state.memory, view, now).holds is None

    def _awaits(self, state: RuleState, now: float) -> bool:
        return now < (state.started or 0.0) + AWAITED

    def _standing(
        self, state: RuleState, view: View, bad: list[str], due: float, now: float
    ) -> tuple[dict[str, Mapping[str, Any] | None], float]:
        """The alarms that stand, and when one may come."""
        found: dict[str, Mapping[str, Any] | None] = {}
        dues = [due]
        if self.locks and state.active:
            found["interlock"] = {"actuator": self.actuator, "value": self.value}
            by = self._overruled(view)
            if by or (by is None and "interlock_overruled" in state.raised):
                found["interlock_overruled"] = {"actuator": self.actuator, "value": self.value, "by": by}
        if state.spent:
            found["rule_max_on"] = {"actuator": self.actuator, "max_on_s": self.max_on}
        elif self.max_on is not None and state.held.since is not None:
            dues += [state.held.reaches(self.max_on), next_fold(now)]
        if state.bad is not None and ("sensor_fault" in state.raised or now >= state.bad + PATIENCE):
            found["sensor_fault"] = {"points": bad}
        elif state.bad is not None:
            dues.append(state.bad + PATIENCE)
        if bad and self._awaits(state, now):
            dues.append((state.started or 0.0) + AWAITED)
        return found, min(dues, default=NEVER)

    def _overruled(self, view: View) -> str | None:
        """The cause of a service's interlock that holds the actuator elsewhere; empty: there is none. None: that cannot
        be told, as at a start, before the first wishes hold."""
        if not self.value:
            return ""  # off wins
        output = view.outputs.get(self.actuator)
        if output is None or output.priority != INTERLOCK or output.value is None:
            return None
        return "" if output.cause.startswith(_LOCK) or output.value == self.value else output.cause

    def _wishes(self, state: RuleState) -> list[Wish]:
        wishes = [] if self.otherwise is None else [Wish(self.actuator, REST, self.otherwise, "no rule holds")]
        if state.active and not state.spent:
            priority, what = (INTERLOCK, _LOCK) if self.locks else (RULE, "rule ")
            wishes.append(Wish(self.actuator, priority, self.value, f"{what}{self.subject}"))
        return wishes
