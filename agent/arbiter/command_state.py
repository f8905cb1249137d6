"""The command of one actuator: waiting for a limit, being written, or left open by a crash."""

from __future__ import annotations

import math
from dataclasses import replace

from agent.arbiter.output_state import OutputState
from agent.arbiter.priority_array import REMOTE, PriorityArray, Slot
from agent.core.actuator_spec import ActuatorSpec
from agent.lib.timed_event import TimedEvent
from agent.model import Value

__all__ = ["CommandState"]


class CommandState:
    """The commands of one actuator, as far as they are under way. Their overrides are in its priority array."""

    def __init__(
        self, spec: ActuatorSpec, priority_array: PriorityArray, output_state: OutputState, deferred: bool
    ) -> None:
        self._spec, self._deferred = spec, deferred
        self._priority_array, self._output_state = priority_array, output_state
        self.pending: Slot | None = None
        """An accepted command that waits for a limit."""
        self.pending_changed = TimedEvent()
        """Set when another command takes the place of `pending`, or none does."""
        self.attempt: Slot | None = None
        """The entry of a command, from before its write until the write is known to have worked."""
        self.override_before: Slot | None = None
        """The override that holds again if `attempt`, which waits for its node, fails."""
        self.unresolved = False
        """After a crash: only the next reading tells whether `attempt` was carried out. Nothing is written before."""
        self.restored: Slot | None = None
        """The override that was in force before the restart."""

    def set_pending(self, slot: Slot | None) -> None:
        """Let an accepted command wait for its turn, or none. A command that waited before is superseded."""
        self.pending = slot
        self.pending_changed.set()
        self.pending_changed = TimedEvent()

    def end_pending(self, slot: Slot) -> None:
        """The command of `slot` does not wait any more."""
        if self.pending is slot:
            self.pending = None

    def abandon(self) -> None:
        """End the command that waits for a limit."""
        self.pending = None
        self.pending_changed.set()

    def begin_attempt(self, slot: Slot) -> None:
        """The command of `slot` is about to be written; a restart must know."""
        if self._spec.kind != "once":
            self.attempt = slot

    def cancel_attempt(self, slot: Slot) -> None:
        """The command of `slot` is not written, or not yet."""
        if self.attempt is not None and self.attempt.command == slot.command:
            self.attempt = None

    def end_attempt(self, slot: Slot, error: str, before: Value) -> None:
        """The write of a command has ended. Its override holds if there was no `error`; `before` was the output."""
        self.attempt = None
        if error:
            self._priority_array.fall_back(before)
        elif self._spec.kind != "once":
            self._priority_array[REMOTE] = slot

    def begin_delivery(self, slot: Slot) -> None:
        """The command of `slot` is handed to a node that listens later. Its override holds meanwhile."""
        if self.attempt is None:
            self.override_before = self._priority_array.get(REMOTE)
        self.attempt = self._priority_array[REMOTE] = slot

    def end_delivery(self, slot: Slot, error: str, now: float, lasts: float) -> None:
        """The node has the command of `slot`, or `error` says why not: then the override before it holds again."""
        before = self.override_before
        if self.attempt is slot:
            self.attempt = self.override_before = None
        if self._priority_array.get(REMOTE) is not slot:
            return
        if not error:
            self._priority_array[REMOTE] = replace(slot, until=now + lasts)
        elif before is not None and (before.until or math.inf) > now:
            self._priority_array[REMOTE] = before
        else:
            del self._priority_array[REMOTE]
            self._priority_array.fall_back(self._output_state.present)

    def release(self) -> bool:
        """End the override and the command that waits; False if there was neither."""
        held = self._priority_array.relinquish(REMOTE) or self.pending is not None
        self.set_pending(None)
        self.override_before = None
        return held

    def resolve(self, on_record: bool, now: float) -> None:
        """Decide whether the attempt that a crash left was carried out: `on_record`, or by what the output shows.

        A write that waited for a node ended with the process. Where the output is not known, the next reading decides.
        """
        if self.attempt is None:
            return
        if on_record:
            self._end_doubt(True)
        elif self._output_state.present is not None or self._deferred:
            self.resolve_by_output(now)
        else:
            self.unresolved = True

    def resolve_by_output(self, now: float) -> None:
        """Decide by the output whether the attempt that a crash left was carried out.

        An attempt whose time is over counts as carried out: the override before it was replaced, and of two commands
        the earlier is never carried out after the later. If the output shows neither, an unknown write came after both,
        and both have ended.
        """
        attempt, before, shown = self.attempt, self._priority_array.get(REMOTE), self._output_state.present
        if attempt is None:
            return
        is_over = attempt.until is not None and attempt.until <= now
        carried_out = is_over or self._spec.same(shown, attempt.value)
        if not carried_out and before is not None and shown is not None and not self._spec.same(shown, before.value):
            self._priority_array.relinquish(REMOTE)
        self._end_doubt(carried_out)

    def _end_doubt(self, carried_out: bool) -> None:
        if carried_out and self.attempt is not None:
            self._priority_array[REMOTE] = self.restored = self.attempt
        self.attempt, self.unresolved = None, False

    def restore(self, override: Slot | None, attempt: Slot | None) -> None:
        """Take over the override and the attempt that an earlier process saved."""
        if override is not None:
            self._priority_array[REMOTE] = self.restored = override
        self.attempt = attempt

    def forget(self) -> None:
        """Forget the attempt and the override of an earlier process."""
        self.attempt = self.restored = None

    def expire(self, now: float) -> float:
        """Resolve an unresolved attempt whose time is over; return when one ends (monotonic s, infinite if none)."""
        until = self.attempt.until if self.unresolved and self.attempt else None
        if until is None:
            return math.inf
        if until <= now:
            self.resolve_by_output(now)
            return math.inf
        return until
