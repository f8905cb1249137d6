"""The state of one output: the value written, the values that it and its feedback show, and when it moved."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from agent.arbiter.limits import History
from agent.core.actuator_spec import SETTLE, ActuatorSpec
from agent.model import Severity, Value

__all__ = ["CODES", "AlarmChange", "OutputState"]

CODES = ("output_mismatch", "max_on")
"""The alarms of an output."""
UNREAD = 3600.0
"""Seconds for which readings that fail delay a write of on, at most."""


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """An alarm of an output, raised or cleared."""

    kind: Literal["alarm", "cleared"]
    code: str
    detail: dict[str, Any]
    severity: Severity = Severity.MAJOR


class OutputState:
    """The state of one output. `alarm_changes` gets `output_mismatch`, raised and cleared. Times: monotonic seconds."""

    def __init__(self, spec: ActuatorSpec, alarm_changes: list[AlarmChange]) -> None:
        self._spec, self._alarm_changes = spec, alarm_changes
        self.present: Value = None
        """The value of the output, as written or read last; None while it is unknown."""
        self.feedback: bool | None = None
        self.history = History()
        self.mismatch = False
        self.written_at = -math.inf
        """When it was written last, acknowledged or not."""
        self.asserted: Value = None
        """The value to keep: written and acknowledged, or wanted and read."""
        self.earlier: Value = None
        """The value that an earlier process had asserted, as long as this one has asserted none."""
        self.asserted_again = False
        """The value was written a second time because the output read otherwise; a third time would not help."""
        self._tried: Value = None
        """The value written and not acknowledged, until a reading says whether the output moved."""
        self._before_try = History()
        self._restored_at: float | None = None
        """When the history was restored from an earlier process; None once the output was read, or written."""
        self._starting = -math.inf
        """When a write that switches on began, while it is under way."""
        self._feedback_counts = False
        self._read_at = self._shown_at = -math.inf
        """When the output, and when its feedback, was read last."""
        self._feedback_unread = False
        """The feedback could not be read when it was polled last."""
        self._missed: tuple[float, float] | None = None
        """When the output could not be read, first and last; None once it was read, or written."""
        self._readable = False
        """The output was read before, by this process or by an earlier one."""
        self._off_unacknowledged = False
        """A write of off was not acknowledged, and the feedback has not been read since."""

    def restore(self, history: History, asserted: Value, readable: bool, now: float) -> None:
        """Take over what an earlier process saved. The output may have moved since, or moved just before unsaved."""
        self.history, self.earlier, self._readable, self._restored_at = history, asserted, readable, now

    def restore_mismatch(self, mismatch: bool) -> None:
        """Take over whether the alarm `output_mismatch` was raised."""
        self.mismatch = mismatch

    # -- writing -----------------------------------------------------------------------------------------------

    def begin_write(self, value: Value, now: float) -> None:
        """`value` is about to be written: if it switches on, the others of its group wait from now on."""
        if self._spec.is_on(value) and not self._spec.is_on(self.present):
            self._starting = now

    def called_off(self) -> None:
        """The write that waited for the node was called off: the output did not move."""
        self._starting = -math.inf

    def adopt(self, value: Value) -> None:
        """The output shows `value`, which is wanted and was not written: keep it from now on."""
        self.asserted = value

    def written(self, value: Value, now: float) -> None:
        """The device acknowledged `value`."""
        on = self._spec.is_on(value)
        self.asserted_again = (
            self.asserted is not None and self._spec.same(self.asserted, value) and not self.agrees()
        )  # written again while all was well is a refresh
        moved = self._doubted(self.past(on)).moved(on, now, back=self._spec.back_is_no_start)
        self.history = replace(moved, maybe=self.history.longest if on else None)
        self.present = self.asserted = value
        self.earlier = None
        self.written_at, self._feedback_counts, self._tried = now, False, None
        self._off_unacknowledged = False
        self._starting = -math.inf
        self._restored_at = self._missed = None

    def write_failed(self, value: Value, now: float) -> None:
        """The device did not acknowledge `value`: the next reading tells whether the output moved."""
        on = self._spec.is_on(value)
        if self._tried is None or on is not self._spec.is_on(self._tried):
            self._before_try = self.history
        perhaps, maybe = self._doubted(self._before_try).perhaps(on, now), self.history.maybe
        self.history = perhaps if maybe is None else replace(perhaps, maybe=maybe)
        self._tried, self.present, self.asserted = value, None, None
        self.written_at, self._starting, self._off_unacknowledged = now, -math.inf, not on

    def possible_history(self, on: bool, now: float) -> History:
        """The history if the output may have moved to `on` at `now`."""
        return self._doubted(self.history).perhaps(on, now)

    def _doubted(self, past: History) -> History:
        return past if self._restored_at is None else past.doubted()

    @property
    def tried(self) -> bool:
        """Whether a write was not acknowledged and the output was not read since."""
        return self._tried is not None

    @property
    def readable(self) -> bool:
        """Whether the output was ever read, also by an earlier process."""
        return self._readable

    @property
    def unread_since(self) -> float:
        """Since when the output cannot be read; inf if it was read or written since, or never read at all."""
        return math.inf if self._missed is None or not self._readable else self._missed[0]

    @property
    def unseen_until(self) -> float:
        """Until when the output may have moved unseen, for it could not be read; -inf if it was read or written since.

        An output that was never read gives -inf. One that cannot be read for long is controlled all the same, so what
        comes more than `UNREAD` s after the first failure does not count.
        """
        if self._missed is None or not self._readable:
            return -math.inf
        first, last = self._missed
        return min(last, first + UNREAD)

    @property
    def started(self) -> float:
        """When it last switched on, or is about to. A failed write does not count."""
        history = self.history if self._tried is None else self._before_try
        went_on = history.since if history.on and history.since is not None else -math.inf
        return max((self._starting, went_on, *history.starts))

    def past(self, on: bool) -> History:
        """The history from which a change to `on` counts. A repeated write is no second change.

        An output that was on before a restart, or when a write of on was not acknowledged, may have fallen unseen
        since, up to its last reading that failed: its module may have been without power.
        """
        again = self._tried is not None and on is self._spec.is_on(self._tried)
        past = self._before_try if again else self.history
        unseen = -math.inf if self._restored_at is None else self._restored_at
        if again and self._readable:
            unseen = max(unseen, self.written_at)
        if not on or unseen == -math.inf:
            return past
        return past.fallen(max(unseen, self.unseen_until))

    # -- reading -----------------------------------------------------------------------------------------------

    @property
    def shown(self) -> tuple[Value, float | None, bool | None]:
        """The value of the output, since when (None: unknown), and what its feedback shows (None: unknown).

        A feedback that cannot be read shows nothing: its last reading may be older than the last move of the output.
        """
        return self.present, self.history.since, None if self._feedback_unread else self.feedback

    def saw_output(self, value: Value, at: float) -> bool:
        """Take a good reading of the output, made at `at`. False if it is ignored; else `check` is to be called."""
        seen = self._spec.read(value)
        if seen is None or at <= self.written_at:
            return False
        self._read_at, self._readable, self._missed = at, True, None
        if self.asserted is not None and not self._spec.same(seen, self.asserted) and at < self.written_at + SETTLE:
            return False  # the device may need a moment to show it
        on = self._spec.is_on(seen)
        if self._tried is not None and on is not self._spec.is_on(self._tried):
            self.history = self._before_try
        self._tried = self._restored_at = None
        self.history = self.history.found(on, at)
        self.present = seen
        return True

    def missed_output(self, at: float) -> None:
        """The output was polled and could not be read; this was known at `at`."""
        self._missed = (at if self._missed is None else self._missed[0]), at

    def missed_feedback(self) -> None:
        """The feedback was polled and could not be read, or is stale."""
        self._feedback_unread = True

    def saw_feedback(self, value: Value, at: float, wanted: Value) -> bool:
        """Take a good reading of the feedback contact, made at `at`. False if it is ignored.

        Where the output itself cannot be read, or was not read since the feedback was on, a feedback that goes off
        means that the output fell, as when its module lost power. So does a feedback that is off after a restart.
        After a write of off that was not acknowledged it says more than the output: an answer that is late may be to
        the question before, and on a serial line it looks like the one to this.
        """
        if not isinstance(value, bool | int | float) or at <= self.written_at:
            return False
        settled = at >= self.written_at + self._spec.travel + SETTLE
        unread = self._missed is not None or (self.feedback is True and self._read_at <= self._shown_at)
        off = self._off_unacknowledged or (unread and settled)
        if off and self.feedback is not False and not value and self.history.on:
            self.history, self.present = self.history.found(False, at), self._spec.off
        self.feedback, self._shown_at, self._feedback_unread = bool(value), at, False
        self._off_unacknowledged = False
        if settled or self.feedback is self._spec.is_on(self.present):  # before that it may still be moving
            self._feedback_counts = True
            self.check(wanted)
        return True

    def check(self, wanted: Value) -> None:
        """After a reading: clear the mismatch if output and feedback show the value written.

        `wanted` is the winner's value, None if there is none. After a restart, before the first write, the mismatch
        ends if the output shows `wanted` or, without a winner, the value that the earlier process had written.
        """
        if self.feedback is not None and not self._feedback_counts:
            return  # the contactor still moves: its coil alone tells nothing
        wanted = self.earlier if wanted is None else wanted
        other = wanted is not None and not self._spec.same(wanted, self.present)
        if not self.agrees() or (self.asserted is None and self.mismatch and other):
            return
        self.asserted_again = False
        if self._spec.refresh is None:  # else it must stay so until it is written again
            self.clear_mismatch()

    def clear_mismatch(self) -> None:
        """Clear the alarm: the output does what was written."""
        if self.mismatch:
            self.mismatch = False
            detail = {"output": self.present, "feedback": self.feedback}
            self._alarm_changes.append(AlarmChange("cleared", "output_mismatch", detail))

    def agrees(self) -> bool:
        """Whether output and feedback show the value written last."""
        shown = self.present is not None and (self.asserted is None or self._spec.same(self.present, self.asserted))
        return shown and (not self._feedback_counts or self.feedback is self._spec.is_on(self.present))

    def is_wrong(self, now: float) -> bool:
        """Whether, after travel and settling, the output or its feedback does not show the value written."""
        if self.asserted is None or now < self.written_at + self._spec.travel + SETTLE:
            return False
        return not self.agrees()

    def crosses(self, value: Value) -> bool:
        """Whether `value` switches a level on or off. Such a step is written even if it is within the tolerance.

        A reading near 0 after 0 was written does not count: the device may not be more exact.
        """
        spec, on = self._spec, self._spec.is_on(value)
        if spec.kind != "level" or self.present is None or spec.is_on(self.present) is on:
            return False
        return self.asserted is None or spec.is_on(self.asserted) is not on

    def raise_mismatch(self, wanted: Value) -> None:
        """Raise the alarm `output_mismatch`, once: the output does not do what was written twice."""
        self.asserted_again = True
        if not self.mismatch:
            self.mismatch = True
            detail = {"wanted": wanted, "output": self.present, "feedback": self.feedback}
            self._alarm_changes.append(AlarmChange("alarm", "output_mismatch", detail))

    def shows(self, point: str, value: Value, wanted: Value) -> bool:
        """Whether `value`, read at `point` (the output or its feedback), shows `wanted`."""
        wanted = self._spec.coerce(wanted)
        if point == self._spec.feedback:
            return bool(value) is self._spec.is_on(wanted)
        return self._spec.same(self._spec.read(value), wanted)

    def moving(self, now: float) -> bool:
        """Whether the last write is less than `travel` ago: the valve still moves."""
        return now < self.written_at + self._spec.travel
