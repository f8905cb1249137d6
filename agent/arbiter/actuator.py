"""One actuator: who wants what of it, what it does, and when it may change. No I/O: the arbiter acts on it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.arbiter.limits import Limits, earliest
from agent.arbiter.output_state import News, OutputState
from agent.arbiter.priority_array import DEFAULT, LIMIT, REMOTE, PriorityArray, Slot
from agent.core.actuator_spec import ActuatorSpec
from agent.lib.backoff import Backoff
from agent.lib.wake import Wake
from agent.model import Event, Value

__all__ = ["Actuator", "Decision", "Sending"]

RETRY = (5.0, 60.0)
"""A write that failed is tried again after 5 s, then 10, 20 … at most 60 s, or as soon as the device is read again."""


class Decision(NamedTuple):
    """What to do now: write `slot` (None: nothing), and look again at `at` (monotonic seconds)."""

    at: float
    slot: Slot | None = None
    priority: int = DEFAULT
    withdraw: bool = False
    """What waits for the node is not wanted any more: it is to be called off first."""


@dataclass(eq=False, slots=True)
class Sending:
    """A write that waits until the node listens; `reason` says why it was called off, `late` that its time passed."""

    slot: Slot
    task: asyncio.Task[str] = field(repr=False)
    reason: str = "superseded"
    late: bool = False


class Actuator:
    """One output: its priority array (`slots`), what is known of it (`seen`), and what is under way."""

    def __init__(self, spec: ActuatorSpec, *, driven: bool = True, deferred: bool = False) -> None:
        self.spec, self.driven, self.deferred = spec, driven, deferred
        self.limits = Limits(spec.min_on, spec.min_off, spec.max_on, spec.max_starts_per_hour)
        self.news: list[News] = []
        self.changes: list[Event] = []
        """What was written and is not told yet."""
        self.priority_array, self.output_state = PriorityArray(spec), OutputState(spec, self.news)
        self.attempt: Slot | None = None
        """A command's entry from before its write until the write is known to have worked."""
        self.before: Slot | None = None
        """The override that holds again if `attempt`, which waits for the node, fails."""
        self.doubtful = False
        """After a crash: whether `attempt` was carried out is for the next reading to say; until then nothing moves."""
        self.restored: Slot | None = None
        """The override that stood before the restart."""
        self.kept: frozenset[int] = frozenset()
        """Whose wishes its record knows, by priority."""
        self.awaited: Slot | None = None
        """A command that was accepted and must wait for a limit."""
        self.neighbours: Sequence[Actuator] = ()
        """The actuators that do not go on together with this one (stagger)."""
        self.sending: Sending | None = None
        """What waits for a node that does not listen yet."""
        self.writes = 0
        self.repeats = 0
        """Writes of what stood there already: refreshes, and what was asserted once more."""
        self.boot = ""
        """The boot in which it was taken up last: in another one its boot state applies."""
        self.waiting: tuple[float, str] | None = None
        self.error = ""
        self.lock = asyncio.Lock()
        """Held by whoever moves it: as long as the wire takes, and never for the disk."""
        self.telling = asyncio.Lock()
        """Held by whoever tells the news."""
        self.changed = Wake()
        self._retry_at = -math.inf
        self._backoff = Backoff(*RETRY)
        self.overrun: str | None = None
        """Who kept it on for longer than max_on, until he wants it off."""

    # -- deciding ----------------------------------------------------------------------------------------------

    def decide(self, now: float) -> Decision:
        """What is to be done at `now`. Ends of entries, the longest run and alarms are worked out on the way."""
        ends = self._end_entries(now)
        self.waiting = None
        found = self._target(now)
        at = min(ends, self._overrun_at(found[0] if found else DEFAULT))
        if found is None or not self.driven or self.doubtful:
            return Decision(at)
        priority, slot = found
        spec, seen = self.spec, self.output_state
        if self.sending is not None:
            waits = self.sending.slot
            wanted = waits.command == slot.command and spec.same(waits.value, slot.value)
            return Decision(at, withdraw=not wanted)
        crosses = seen.crosses(slot.value)
        if self._is_so(slot.value) and not crosses and not seen.is_wrong(now):
            seen.asserted = slot.value  # it was so already: from now on it is ours to keep
            return self._again(at, slot, priority, now)
        if seen.present is None and slot is self.restored:
            return Decision(at)  # it was written before the restart: the next reading says whether it still stands
        again = seen.asserted is not None and spec.same(seen.asserted, slot.value) and not crosses
        if again and seen.asserted_again:
            seen.say_mismatch(slot.value)
            return self._again(at, slot, priority, now)
        if again and spec.refresh is not None and seen.written_at + spec.refresh > now:
            seen.say_mismatch(slot.value)
            return self._again(at, slot, priority, now)
        until, why = self.may(slot.value, priority, now)
        if self._retry_at > until:
            until, why = self._retry_at, "the device"
        if until > now:
            self.waiting = (until, why)
            return Decision(min(at, until))
        return Decision(at, slot, priority)

    @property
    def has_news(self) -> bool:
        """Whether there is something to tell, or to remember, though nothing is to be written."""
        return self.priority_array.keys() != self.kept or bool(self.news and not self.telling.locked())

    def _is_so(self, value: Value) -> bool:
        return self.output_state.present is not None and self.spec.same(self.output_state.present, value)

    def _again(self, at: float, slot: Slot, priority: int, now: float) -> Decision:
        """Written already: once more when `refresh` is over, unless a fault, a stop or a hand holds it (1 to 5)."""
        if self.spec.refresh is None or priority < LIMIT:
            return Decision(at)
        again_at = max(self.output_state.written_at + self.spec.refresh, self.may(slot.value, priority, now)[0])
        if again_at > now:
            return Decision(min(at, again_at))
        if self.output_state.agrees():
            self.output_state.end_mismatch()
        return Decision(at, slot, priority)

    def may(self, value: Value, priority: int, now: float) -> tuple[float, str]:
        """When `priority` may write `value`, and the limit that makes it wait."""
        if priority < LIMIT:
            return now, ""
        on = self.spec.is_on(value)
        until = earliest(self.limits, self.output_state.past(on), on, now)
        if on and not self.spec.is_on(self.output_state.present):
            until = max(until, (self._turn(), "stagger"))
        return until

    def _turn(self) -> float:
        """When no neighbour has gone on for `stagger` seconds."""
        return max((one.output_state.started + self.spec.stagger for one in self.neighbours), default=-math.inf)

    def holder(self) -> tuple[int, Slot] | None:
        """Who holds the output now: the winner, unless max_on keeps it off."""
        return self.priority_array.winner() if self.overrun is None else self._kept_off()

    def _kept_off(self) -> tuple[int, Slot]:
        return LIMIT, Slot(self.spec.off, "max_on")

    def _target(self, now: float) -> tuple[int, Slot] | None:
        """The winner, unless it has kept the output on for longer than max_on."""
        found = self.priority_array.winner()
        key = "nobody" if found is None else found[1].command or f"priority {found[0]}"
        wants_on = self.spec.is_on(found[1].value if found else self.output_state.present)
        if found is not None and (not wants_on or self.overrun not in (None, key)):
            self._forget_overrun()
        if found is not None and found[0] < LIMIT:
            return found
        if self.overrun is None and wants_on and self._overrun_at(LIMIT) <= now:
            self.overrun = key
            self.news.append(self._overrun_news(key))
        return found if self.overrun is None else self._kept_off()

    def _overrun_at(self, priority: int) -> float:
        since, longest = self.output_state.history.running, self.limits.max_on
        if priority < LIMIT or longest is None or self.overrun or since is None:
            return math.inf
        return since + longest

    def _overrun_news(self, key: str) -> News:
        return News("alarm", "max_on", {"max_on_s": self.limits.max_on, "held_by": key})

    def _forget_overrun(self) -> None:
        if self.overrun is not None:
            self.overrun = None
            self.news.append(News("cleared", "max_on", {}))

    def _end_entries(self, now: float) -> float:
        """Drop the entries whose time is over; return when the next one ends (monotonic s)."""
        until = self.attempt.until if self.doubtful and self.attempt else None
        if until is not None and until <= now:
            self.resolve_by_output(now)
        at = self.priority_array.end(now)
        return at if until is None or until <= now else min(at, until)

    # -- what happened -----------------------------------------------------------------------------------------

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
        """The device did not acknowledge `value`: it is tried again, later and later."""
        self.output_state.write_failed(value, now)
        self.sending = None
        self._retry_at = now + self._backoff.next()
        self.error = reason
        self.writes += 1

    def called_off(self) -> None:
        """What waited for the node was withdrawn."""
        self.sending = None
        self.output_state.called_off()

    def saw_output(self, value: Value, at: float) -> bool:
        """A good reading of the output, taken at `at`. True if there is something to decide for it."""
        before, tried = self.output_state.present, self.output_state.tried
        if not self.output_state.saw_output(value, at):
            return False
        news = self.output_state.present != before or tried or self.doubtful
        if tried:
            self._retry_at = at
        if self.doubtful:
            self.resolve_by_output(at)
        self.output_state.agree(self._wanted())
        return news or bool(self.news) or not self.output_state.agrees()

    def saw_feedback(self, value: Value, at: float) -> bool:
        """A good reading of the feedback contact, taken at `at`. True if there is something to decide for it."""
        if not self.output_state.saw_feedback(value, at, self._wanted()):
            return False
        return bool(self.news) or not self.output_state.agrees()

    def _wanted(self) -> Value:
        found = self.priority_array.winner()
        return found[1].value if found else None

    def recall(
        self, mismatch: bool, overrun: str | None, untold: Mapping[str, News], is_open: Callable[[str], bool]
    ) -> None:
        """What was wrong when an earlier process ended; `untold` (by code) is what it had not told for sure.

        News is whatever differs from the alarms that are open (`is_open`, by code). An overrun of a command is over
        with its override, and every one with the limit.
        """
        self.output_state.mismatch = mismatch
        self.overrun = overrun if self.limits.max_on is not None and self._still_wanted(overrun) else None
        alarms = {"output_mismatch": untold.get("output_mismatch") if mismatch else None}
        alarms["max_on"] = None if self.overrun is None else self._overrun_news(self.overrun)
        wrong = {"output_mismatch": mismatch, "max_on": self.overrun is not None}
        for code, alarm in alarms.items():
            if wrong[code] and alarm is not None and not is_open(code):
                self.news.append(alarm)
            elif is_open(code) and not wrong[code]:
                last = untold.get(code)
                self.news.append(last if last and last.kind == "cleared" else News("cleared", code, {}))

    def _still_wanted(self, overrun: str | None) -> bool:
        """Whether who kept it on may want so still: a rule says so again, an override of a command stands or not."""
        if overrun is None or overrun == "nobody" or overrun.startswith("priority "):
            return True
        overrides = self.priority_array.get(REMOTE), self.attempt
        return any(slot is not None and slot.command == overrun for slot in overrides)

    def resolve_by_output(self, now: float) -> None:
        """Nobody can look up what became of the command that a crash left: the output says it.

        One whose time is over shows no longer. It counts as carried out: the override before it has been replaced, and
        of two commands the earlier is never carried out again after the later. If neither shows, others came after
        them that nobody remembers, and both have ended.
        """
        attempt, before, shown = self.attempt, self.priority_array.get(REMOTE), self.output_state.present
        if attempt is None:
            return
        is_over = attempt.until is not None and attempt.until <= now
        carried_out = is_over or self.spec.same(shown, attempt.value)
        if not carried_out and before is not None and shown is not None and not self.spec.same(shown, before.value):
            self.priority_array.relinquish(REMOTE)
        self.resolve(carried_out)

    def resolve(self, carried_out: bool) -> None:
        """A crash left a command between acceptance and the wire; now it is known whether the wire was written."""
        if carried_out and self.attempt is not None:
            self.priority_array[REMOTE] = self.restored = self.attempt
        self.attempt, self.doubtful = None, False
