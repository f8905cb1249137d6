"""One actuator: its priority array, the state of its output, and when it may change. No I/O."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.arbiter.command_state import CommandState
from agent.arbiter.limits import History, Limits, earliest
from agent.arbiter.output_state import AlarmChange, OutputState
from agent.arbiter.priority_array import DEFAULT, LIMIT, REMOTE, PriorityArray, Slot
from agent.core.actuator_spec import ActuatorSpec
from agent.lib.backoff import Backoff
from agent.model import Event, Value

__all__ = ["Actuator", "Decision", "Saved", "Sending"]

RETRY = (5.0, 60.0)
"""First and longest delay (s) before a failed write is repeated. A new reading of the device ends the delay."""

DEVICE = "the device"
"""The reason to wait of a write that failed before."""


class Decision(NamedTuple):
    """The next action: write `slot` (None: nothing), and decide again at `at` (monotonic seconds)."""

    at: float
    slot: Slot | None = None
    priority: int = DEFAULT
    withdraw: bool = False
    """First call off the write that waits for the node: its value is not wanted any more."""


@dataclass(eq=False, slots=True)
class Sending:
    """A write that waits until its node listens."""

    slot: Slot
    task: asyncio.Task[str] = field(repr=False)
    reason: str = "superseded"
    """Why it was called off."""
    late: bool = False
    """Its time passed before the node listened."""

    def call_off(self, reason: str) -> None:
        """Cancel the write; the driver removes it from its queue."""
        self.reason = reason
        self.task.cancel()

    def expire(self) -> None:
        """Mark that its time passed before the node listened."""
        self.late = True


@dataclass(frozen=True, slots=True)
class Saved:
    """State of an actuator that an earlier process saved. Times are those of the present monotonic clock (s)."""

    boot: str
    history: History
    asserted: Value = None
    readable: bool = False
    """The output was read before."""
    ruled: bool = False
    """Controls held it below the commands."""
    default: Slot | None = None
    override: Slot | None = None
    attempt: Slot | None = None
    ended: bool = False
    """There was an override or an attempt whose remaining time is unknown: it counts as ended."""


class Actuator:
    """One output. Its fields change through its methods only; other modules read them."""

    def __init__(self, spec: ActuatorSpec, *, driven: bool = True, deferred: bool = False) -> None:
        self.spec, self.driven, self.deferred = spec, driven, deferred
        self.limits = Limits(spec.min_on, spec.min_off, spec.max_on, spec.max_starts_per_hour)
        self.alarm_changes: list[AlarmChange] = []
        """Alarms raised or cleared that are not published yet."""
        self.audit: list[Event] = []
        """Changes of the output whose audit record is not on flash yet."""
        self.priority_array, self.output_state = PriorityArray(spec), OutputState(spec, self.alarm_changes)
        self.command = CommandState(spec, self.priority_array, self.output_state, deferred)
        self.neighbours: Sequence[Actuator] = ()
        """The actuators that do not switch on together with this one (stagger)."""
        self.sending: Sending | None = None
        """The write that waits until its node listens."""
        self.writes = 0
        self.repeats = 0
        """Writes of the value that was written before: refreshes, and second attempts after a mismatch."""
        self.boot = ""
        """The boot whose boot state was applied; in another boot it is applied again."""
        self.waiting: tuple[float, str] | None = None
        """Until when a write waits (monotonic s), and for which limit."""
        self.error = ""
        """Why the last write failed."""
        self.overrun: str | None = None
        """The holder that kept it on for longer than max_on, until that holder wants it off."""
        self.lock = asyncio.Lock()
        """Held while the output is written or a command decides, but never while the disk is waited for."""
        self.alarm_lock = asyncio.Lock()
        """Held while alarms are published."""
        self._saved_priorities: frozenset[int] = frozenset()
        self._retry_at = -math.inf
        self._backoff = Backoff(*RETRY)

    def stagger_with(self, actuators: Sequence[Actuator]) -> None:
        """Switch on no sooner than `stagger` seconds after any of these."""
        self.neighbours = [one for one in actuators if one is not self]

    # -- the priority array ------------------------------------------------------------------------------------

    def request(self, priority: int, slot: Slot) -> bool:
        """Enter a wish. False if it is there already."""
        if self.priority_array.get(priority) == slot:
            return False
        self.priority_array[priority] = slot
        return True

    def relinquish(self, priority: int) -> bool:
        """Remove a wish; the next higher number holds, in the end the relinquish default. False if there is none."""
        return self.priority_array.relinquish(priority)

    def release_unruled(self) -> bool:
        """Hold the relinquish default if the wishes of controls are still awaited. False if they are not."""
        awaited = self.priority_array.awaits_rules
        if awaited:
            self.priority_array.hold_relinquish_default()
        return awaited

    def hold(self, value: Value, cause: str) -> None:
        """Make `value` the relinquish default."""
        self.priority_array[DEFAULT] = Slot(value, cause)

    def hold_safe_state(self, cause: str) -> None:
        """Forget every wish and hold the safe state; an output without one stays as it is."""
        safe = self.spec.state(self.spec.safe_state)
        self.priority_array.clear()
        self.command.forget()
        if safe is not None:
            self.hold(safe, cause)

    def apply_boot_state(self, boot: str) -> None:
        """Hold the boot state, once in each boot: see `enter_boot`."""
        value = self.spec.state(self.spec.boot_state)
        if self.boot != boot and value is not None:
            self.hold(value, "boot state")

    def enter_boot(self, boot: str) -> None:
        """From now on a restart in this boot does not apply the boot state again."""
        self.boot = boot

    def holder(self) -> tuple[int, Slot] | None:
        """Priority and entry that hold the output now: the winner, unless max_on keeps it off."""
        return self.priority_array.winner() if self.overrun is None else self._kept_off()

    @property
    def waits(self) -> float:
        """Until when a limit delays what is wanted (monotonic s); -inf if none does."""
        return -math.inf if self.waiting is None or self.waiting[1] == DEVICE else self.waiting[0]

    # -- deciding ----------------------------------------------------------------------------------------------

    def decide(self, now: float) -> Decision:
        """Return what to do at `now`. Also ends entries whose time is over, and raises and clears alarms."""
        ends = min(self.command.expire(now), self.priority_array.end(now))
        self.waiting = None
        found = self._target(now)
        at = min(ends, self._overrun_at(found[0] if found else DEFAULT))
        if found is None or not self.driven or self.command.unresolved:
            return Decision(at)
        priority, slot = found
        spec, state = self.spec, self.output_state
        if self.sending is not None:
            waits = self.sending.slot
            wanted = waits.command == slot.command and spec.same(waits.value, slot.value)
            return Decision(at, withdraw=not wanted)
        crosses = state.crosses(slot.value)
        if self._is_so(slot.value) and not crosses and not state.is_wrong(now):
            state.adopt(slot.value)
            return self._again(at, slot, priority, now)
        if state.present is None and slot is self.command.restored:
            return Decision(at)  # it was written before the restart: the next reading shows whether it still holds
        again = state.asserted is not None and spec.same(state.asserted, slot.value) and not crosses
        if again and state.asserted_again:
            state.raise_mismatch(slot.value)
            return self._again(at, slot, priority, now)
        if again and spec.refresh is not None and state.written_at + spec.refresh > now:
            state.raise_mismatch(slot.value)
            return self._again(at, slot, priority, now)
        until, why = self.may(slot.value, priority, now)
        if self._retry_at > until:
            until, why = self._retry_at, DEVICE
        if until > now:
            self.waiting = (until, why)
            return Decision(min(at, until))
        return Decision(at, slot, priority)

    @property
    def has_news(self) -> bool:
        """Whether an alarm is to be published or the state to be saved, though nothing is to be written."""
        unsaved = self.priority_array.keys() != self._saved_priorities
        return unsaved or bool(self.alarm_changes and not self.alarm_lock.locked())

    def may(self, value: Value, priority: int, now: float) -> tuple[float, str]:
        """When `priority` may write `value` (monotonic s), and the limit that delays it ("" for none)."""
        if priority < LIMIT:
            return now, ""
        on = self.spec.is_on(value)
        until = earliest(self.limits, self.output_state.past(on), on, now)
        if on and not self.spec.is_on(self.output_state.present):
            until = max(until, (self._turn(), "stagger"))
        return until

    def _is_so(self, value: Value) -> bool:
        return self.output_state.present is not None and self.spec.same(self.output_state.present, value)

    def _again(self, at: float, slot: Slot, priority: int, now: float) -> Decision:
        """Repeat a written value when `refresh` is over. Priorities 1 to 5 (a fault, a stop, a hand) do not repeat.

        An output that is on and could not be read may have fallen until then: `min_off` counts from there.
        """
        if self.spec.refresh is None or priority < LIMIT:
            return Decision(at)
        state, on = self.output_state, self.spec.is_on(slot.value)
        fell_by = state.unseen_until + (self.limits.min_off or 0.0) if on else -math.inf
        again_at = max(state.written_at + self.spec.refresh, self.may(slot.value, priority, now)[0], fell_by)
        if again_at > now:
            return Decision(min(at, again_at))
        if state.agrees():
            state.clear_mismatch()
        return Decision(at, slot, priority)

    def _turn(self) -> float:
        """When no other output of its group has switched on for `stagger` seconds."""
        return max((one.output_state.started + self.spec.stagger for one in self.neighbours), default=-math.inf)

    def _target(self, now: float) -> tuple[int, Slot] | None:
        """The winner, unless it has kept the output on for longer than max_on."""
        found = self.priority_array.winner()
        key = "nobody" if found is None else found[1].command or f"priority {found[0]}"
        wants_on = self.spec.is_on(found[1].value if found else self.output_state.present)
        if found is not None and (not wants_on or self.overrun not in (None, key)):
            self._end_overrun()
        if found is not None and found[0] < LIMIT:
            return found
        if self.overrun is None and wants_on and self._overrun_at(LIMIT) <= now:
            self.overrun = key
            self.alarm_changes.append(self._overrun_alarm(key))
        return found if self.overrun is None else self._kept_off()

    def _kept_off(self) -> tuple[int, Slot]:
        return LIMIT, Slot(self.spec.off, "max_on")

    def _overrun_at(self, priority: int) -> float:
        since, longest = self.output_state.history.running, self.limits.max_on
        if priority < LIMIT or longest is None or self.overrun or since is None:
            return math.inf
        return since + longest

    def _overrun_alarm(self, key: str) -> AlarmChange:
        return AlarmChange("alarm", "max_on", {"max_on_s": self.limits.max_on, "held_by": key})

    def _end_overrun(self) -> None:
        if self.overrun is not None:
            self.overrun = None
            self.alarm_changes.append(AlarmChange("cleared", "max_on", {}))

    # -- writes and readings -----------------------------------------------------------------------------------

    def begin_write(self, value: Value, now: float) -> None:
        """`value` is about to be written: the other outputs of its group wait from now on."""
        self.output_state.begin_write(value, now)

    def written(self, value: Value, now: float) -> None:
        """The device acknowledged `value`."""
        if self.output_state.asserted is not None and self.spec.same(self.output_state.asserted, value):
            self.repeats += 1
        self.output_state.written(value, now)
        self.sending = None
        self._retry_at, self.error = now, ""
        self._backoff.reset()
        self.writes += 1

    def write_failed(self, value: Value, now: float, reason: str) -> None:
        """The device did not acknowledge `value`; it is written again after a growing delay."""
        self.output_state.write_failed(value, now)
        self.sending = None
        self._retry_at = now + self._backoff.next()
        self.error = reason
        self.writes += 1

    def begin_sending(self, slot: Slot, task: asyncio.Task[str]) -> Sending:
        """`task` writes `slot` when the node listens."""
        self.sending = Sending(slot, task)
        return self.sending

    def called_off(self, sending: Sending) -> None:
        """`sending` was called off before the node listened. Nothing changes if it was written in the meantime."""
        if self.sending is sending:
            self.sending = None
            self.output_state.called_off()

    def abandon(self, reason: str) -> None:
        """End what waits: a command for a limit, or a write for its node."""
        self.command.abandon()
        if self.sending is not None:
            self.sending.call_off(reason)

    def saw_output(self, value: Value, at: float) -> bool:
        """Take a good reading of the output, made at `at`. True if `decide` is to be called."""
        state = self.output_state
        before, tried = state.present, state.tried
        if not state.saw_output(value, at):
            return False
        news = state.present != before or tried or self.command.unresolved
        if tried:
            self._retry_at = at
        if self.command.unresolved:
            self.command.resolve_by_output(at)
        state.check(self._wanted())
        return news or bool(self.alarm_changes) or not state.agrees()

    def saw_feedback(self, value: Value, at: float) -> bool:
        """Take a good reading of the feedback contact, made at `at`. True if `decide` is to be called."""
        if not self.output_state.saw_feedback(value, at, self._wanted()):
            return False
        return bool(self.alarm_changes) or not self.output_state.agrees()

    def _wanted(self) -> Value:
        found = self.priority_array.winner()
        return found[1].value if found else None

    # -- after a restart ---------------------------------------------------------------------------------------

    def restore(self, saved: Saved, now: float) -> None:
        """Take over the state that an earlier process saved.

        Wishes of controls are not restored: the controls enter them again. Until then the output stays as it is if
        controls held it before, also below an override that ends in the meantime: no lamp goes dark for `min_off`
        because its control has not decided yet.
        """
        self.boot = saved.boot
        self.output_state.restore(saved.history, saved.asserted, saved.readable, now)
        self.priority_array.restore(saved.ruled, saved.default)
        if saved.ended and not saved.ruled:
            self.priority_array.hold_relinquish_default()
        override = saved.override
        over = override is not None and override.until is not None and override.until <= now
        self.command.restore(None if over and saved.ruled else override, saved.attempt)

    def restore_alarms(
        self,
        mismatch: bool,
        overrun: str | None,
        unpublished: Mapping[str, AlarmChange],
        is_open: Callable[[str], bool],
    ) -> None:
        """Take over the alarms of an earlier process; `unpublished` (by code) may not have been published by it.

        Publishes what differs from the alarms that are open (`is_open`, by code). The overrun of a command ends with
        its override, and every overrun with the limit.
        """
        self.output_state.restore_mismatch(mismatch)
        self.overrun = overrun if self.limits.max_on is not None and self._may_still_hold(overrun) else None
        alarms = {"output_mismatch": unpublished.get("output_mismatch") if mismatch else None}
        alarms["max_on"] = None if self.overrun is None else self._overrun_alarm(self.overrun)
        wrong = {"output_mismatch": mismatch, "max_on": self.overrun is not None}
        for code, alarm in alarms.items():
            if wrong[code] and alarm is not None and not is_open(code):
                self.alarm_changes.append(alarm)
            elif is_open(code) and not wrong[code]:
                last = unpublished.get(code)
                cleared = last if last and last.kind == "cleared" else AlarmChange("cleared", code, {})
                self.alarm_changes.append(cleared)

    def _may_still_hold(self, overrun: str | None) -> bool:
        """Whether the holder that overran may want the output on: a control, or a command whose override is active."""
        if overrun is None or overrun == "nobody" or overrun.startswith("priority "):
            return True
        overrides = self.priority_array.get(REMOTE), self.command.attempt
        return any(slot is not None and slot.command == overrun for slot in overrides)

    # -- records -----------------------------------------------------------------------------------------------

    def mark_saved(self) -> None:
        """The priority array as it is now is in the saved record."""
        self._saved_priorities = frozenset(self.priority_array)

    def mark_published(self, change: AlarmChange) -> None:
        """An alarm change is on flash as an event."""
        self.alarm_changes.remove(change)

    def add_audit(self, event: Event) -> None:
        """Queue the audit record of a change of the output."""
        self.audit.append(event)

    def take_audit(self) -> Event | None:
        """Remove and return the oldest audit record that is not on flash; None if there is none."""
        return self.audit.pop(0) if self.audit else None
