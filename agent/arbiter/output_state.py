"""What is known of one output: what was written, what it and its feedback show, and when it moved."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from agent.arbiter.limits import History
from agent.core.actuator_spec import SETTLE, ActuatorSpec
from agent.model import Severity, Value

__all__ = ["CODES", "News", "OutputState"]

CODES = ("output_mismatch", "max_on")
"""The alarms of an output."""


@dataclass(frozen=True, slots=True)
class News:
    """An alarm raised or cleared."""

    kind: Literal["alarm", "cleared"]
    code: str
    detail: dict[str, Any]
    severity: Severity = Severity.MAJOR


class OutputState:
    """What is known of one output. The alarm `output_mismatch` goes into `news`. All times are monotonic seconds."""

    def __init__(self, spec: ActuatorSpec, news: list[News]) -> None:
        self._spec, self._news = spec, news
        self.present: Value = None
        """What the output does, as written or read; None while nobody knows."""
        self.feedback: bool | None = None
        self.history = History()
        self.mismatch = False
        self.written_at = -math.inf
        """When it was written last, whether or not that worked."""
        self.asserted: Value = None
        """What is ours to keep: written and acknowledged, or wanted and so already."""
        self.earlier: Value = None
        """What an earlier process had asserted when it ended, as long as nothing is asserted since."""
        self.asserted_again = False
        """It was written once more because it read otherwise; a third time would not help."""
        self._tried: Value = None
        """What was written and not acknowledged, until a reading says whether it moved."""
        self._before_try = History()
        self._recalled_at: float | None = None
        """When the history was taken up from an earlier process; None once the output was read, or obeyed."""
        self._starting = -math.inf
        """When a switching on was begun whose write is under way."""
        self._feedback_counts = False
        self._read_at = self._shown_at = -math.inf
        """When its own point, and when its feedback, was read last."""
        self._unread = False
        """Its own point could not be read when it was polled last."""

    def recall(self, history: History, now: float) -> None:
        """What an earlier process knew: the output may have moved since, and it may not have remembered its last."""
        self.history, self._recalled_at = history, now

    # -- writing -----------------------------------------------------------------------------------------------

    def begin(self, value: Value, now: float) -> None:
        """`value` is about to be written: from now on the neighbours wait."""
        if self._spec.is_on(value) and not self._spec.is_on(self.present):
            self._starting = now

    def called_off(self) -> None:
        """What waited for the node was withdrawn: the output did not move."""
        self._starting = -math.inf

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
        self._starting, self._recalled_at = -math.inf, None

    def write_failed(self, value: Value, now: float) -> None:
        """The device did not acknowledge `value`: whether the output moved, the next reading will say."""
        on = self._spec.is_on(value)
        if self._tried is None or on is not self._spec.is_on(self._tried):
            self._before_try = self.history
        perhaps, maybe = self._doubted(self._before_try).perhaps(on, now), self.history.maybe
        self.history = perhaps if maybe is None else replace(perhaps, maybe=maybe)
        self._tried, self.present, self.asserted = value, None, None
        self.written_at, self._starting = now, -math.inf

    def perhaps(self, on: bool, now: float) -> History:
        """Its history if it is being moved to `on`, and nobody knows whether it went."""
        return self._doubted(self.history).perhaps(on, now)

    def _doubted(self, past: History) -> History:
        return past if self._recalled_at is None else past.doubted()

    @property
    def tried(self) -> bool:
        """Whether a write was not acknowledged, and no reading has said since what became of it."""
        return self._tried is not None

    @property
    def started(self) -> float:
        """When it last went on, or is about to; a write that failed gives the turn back."""
        history = self.history if self._tried is None else self._before_try
        went_on = history.since if history.on and history.since is not None else -math.inf
        return max((self._starting, went_on, *history.starts))

    def past(self, on: bool) -> History:
        """What a change to `on` counts from: the same write again makes no second edge.

        What was on before a restart may have fallen since; so may what is written on once more, without an
        acknowledgement, since it was read.
        """
        again = self._tried is not None and on is self._spec.is_on(self._tried)
        past = self._before_try if again else self.history
        if on and self._recalled_at is not None:
            return past.fallen(self._recalled_at)
        is_readable = self._read_at > -math.inf
        return past.fallen(self.written_at) if on and again and is_readable else past

    # -- reading -----------------------------------------------------------------------------------------------

    @property
    def shown(self) -> tuple[Value, float | None, bool | None]:
        """What it does, since when (None: nobody knows), and what its feedback shows."""
        return self.present, self.history.since, self.feedback

    def saw_output(self, value: Value, at: float) -> bool:
        """A good reading of the output, taken at `at`. False if it says nothing; else `agree` is to be called."""
        seen = self._spec.read(value)
        if seen is None or at <= self.written_at:
            return False
        self._read_at, self._unread = at, False
        if self.asserted is not None and not self._spec.same(seen, self.asserted) and at < self.written_at + SETTLE:
            return False  # the device may need a moment to show it
        on = self._spec.is_on(seen)
        if self._tried is not None and on is not self._spec.is_on(self._tried):
            self.history = self._before_try
        self._tried = self._recalled_at = None
        self.history = self.history.found(on, at)
        self.present = seen
        return True

    def missed_output(self) -> None:
        """Its own point was polled, and could not be read."""
        self._unread = True

    def saw_feedback(self, value: Value, at: float, wanted: Value) -> bool:
        """A good reading of the feedback contact, taken at `at`. False if it says nothing.

        Where the output itself cannot be read, or was not since the feedback was on, a feedback that goes off is its
        fall: of a module that lost its power, say. So is one that is off after a restart.
        """
        if not isinstance(value, bool | int | float) or at <= self.written_at:
            return False
        settled = at >= self.written_at + self._spec.travel + SETTLE
        unread = self._unread or (self.feedback is True and self._read_at <= self._shown_at)
        if unread and settled and self.feedback is not False and not value and self.history.on:
            self.history, self.present = self.history.found(False, at), self._spec.off
        self.feedback, self._shown_at = bool(value), at
        if settled or self.feedback is self._spec.is_on(self.present):  # before that it may be on its way
            self._feedback_counts = True
            self.agree(wanted)
        return True

    def agree(self, wanted: Value) -> None:
        """After a reading: if all shows what was written, a mismatch is over. `wanted` is what wins, None: nothing.

        After a restart nothing is written yet: then it is over if it shows what is wanted, or, before anybody has
        spoken, what was written before.
        """
        if self.feedback is not None and not self._feedback_counts:
            return  # the contactor is still on its way: its coil alone settles nothing
        wanted = self.earlier if wanted is None else wanted
        other = wanted is not None and not self._spec.same(wanted, self.present)
        if not self.agrees() or (self.asserted is None and self.mismatch and other):
            return
        self.asserted_again = False
        if self._spec.refresh is None:  # else it must stay so until it is written again
            self.end_mismatch()

    def end_mismatch(self) -> None:
        """It does what was written."""
        if self.mismatch:
            self.mismatch = False
            self._news.append(News("cleared", "output_mismatch", {"output": self.present, "feedback": self.feedback}))

    def agrees(self) -> bool:
        """Whether output and feedback show what was written last."""
        shown = self.present is not None and (self.asserted is None or self._spec.same(self.present, self.asserted))
        return shown and (not self._feedback_counts or self.feedback is self._spec.is_on(self.present))

    def is_wrong(self, now: float) -> bool:
        """Written, and not so: by the output's own reading, or by the feedback after travel and settling."""
        if self.asserted is None or now < self.written_at + self._spec.travel + SETTLE:
            return False
        return not self.agrees()

    def crosses(self, value: Value) -> bool:
        """Whether a level goes from on to off by `value`, or back: never too small a step, be it within the tolerance.

        A reading beside 0 alone is none where 0 was written: the device may show no better.
        """
        spec, on = self._spec, self._spec.is_on(value)
        if spec.kind != "level" or self.present is None or spec.is_on(self.present) is on:
            return False
        return self.asserted is None or spec.is_on(self.asserted) is not on

    def say_mismatch(self, wanted: Value) -> None:
        """Alarm, once: the output does not do what was written, and was asserted once more already."""
        self.asserted_again = True
        if not self.mismatch:
            self.mismatch = True
            detail = {"wanted": wanted, "output": self.present, "feedback": self.feedback}
            self._news.append(News("alarm", "output_mismatch", detail))

    def shows(self, point: str, value: Value, wanted: Value) -> bool:
        """Whether `value`, read at the output or at its feedback, is what was wanted."""
        wanted = self._spec.coerce(wanted)
        if point == self._spec.feedback:
            return bool(value) is self._spec.is_on(wanted)
        return self._spec.same(self._spec.read(value), wanted)

    def moving(self, now: float) -> bool:
        """Within `travel` of the last write: the valve is on its way."""
        return now < self.written_at + self._spec.travel
