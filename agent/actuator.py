"""One actuator: who wants what of it, what it does, and when it may change. No I/O: the arbiter acts on it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from agent.errors import Rejected
from agent.limits import History, Limits, earliest
from agent.model import Instant, Kind, Point, Severity, Value

__all__ = [
    "AUTO", "DEFAULT", "LIMIT", "REMOTE", "SETTLE", "Actuator", "ActuatorSpec", "Decision", "News", "Sending", "Slot",
    "implicit", "say",
]  # fmt: skip

AUTO = "auto"
"""The mode in which nobody overrides the rules, and the word that brings it back."""
REMOTE = 8
"""Priority of a command, from afar or from the box."""
LIMIT = 6
"""Priority of minimum times, starts an hour and longest run: only a lower number breaks them."""
DEFAULT = 16
"""Priority of what holds when nobody wants anything any more (BACnet's relinquish default)."""

SETTLE = 3.0
"""Seconds that an output may take to show what was written (a contactor: its `travel` comes on top)."""
RETRY = (5.0, 60.0)
"""A write that failed is tried again after 5 s, then 10, 20 … at most 60 s, or as soon as the device is read again."""

Level = Literal["on", "off", "hold", "recompute"] | float


@dataclass(frozen=True, slots=True)
class ActuatorSpec:
    """What the site file says of an actuator. Times in seconds; levels in the unit of the output.

    `kind`: "relay" is on or off, "level" a number from `low` to `high`, "once" a number that is written and holds
    nothing (the index of a meter). The states at boot, at an orderly stop and in failure: "hold" leaves the output as
    it is; "recompute" too, until a rule or a command speaks. `fail` says where a valve stands without current.
    """

    name: str
    output: str
    kind: Literal["relay", "level", "once"] = "relay"
    feedback: str | None = None
    safe_state: Level = "off"
    boot_state: Level = "hold"
    stop_state: Level | None = None
    """None: the safe state."""
    min_on: float | None = None
    min_off: float | None = None
    max_on: float | None = None
    max_starts_per_hour: int | None = None
    travel: float = 0.0
    fail: str | None = None
    low: float | None = None
    high: float | None = None
    output_watchdog: float | None = None
    stagger: float = 0.0
    """Goes on no sooner than this after any other actuator with a stagger: contactors of lamps."""
    refresh: float | None = None
    """Written again this often although nothing changed: a node that hears nothing falls back to its own program."""


def implicit(point: Point) -> ActuatorSpec:
    """A writable point that no actuator owns passes the same door, under its own name and without limits.

    A counter is written once, and so is a command that moves another output; a two-state point is a relay, off when
    nobody wants it; anything else is a level that stays where it was put. At a stop it is left as it is.
    """
    bounded = point.low is not None or point.high is not None
    kind: Literal["relay", "level", "once"] = "level"
    if point.moves or point.kind is Kind.COUNTER:
        kind = "once"
    elif point.kind is Kind.STATE and not bounded:
        kind = "relay"
    return ActuatorSpec(point.id, point.id, kind, safe_state="hold", low=point.low, high=point.high)


@dataclass(frozen=True, slots=True)
class Slot:
    """One entry of the priority array. `until` is monotonic seconds, None: until it is relinquished."""

    value: Value
    cause: str
    by: str = ""
    until: float | None = None
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
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


@dataclass(frozen=True, slots=True)
class News:
    """An alarm raised or cleared."""

    kind: Literal["alarm", "cleared"]
    code: str
    detail: dict[str, Any]
    severity: Severity = Severity.MAJOR


class Actuator:
    """The priority array of one output, its past, and what is known of its present."""

    def __init__(self, spec: ActuatorSpec, *, driven: bool = True, deferred: bool = False) -> None:
        self.spec, self.driven, self.deferred = spec, driven, deferred
        self.limits = Limits(spec.min_on, spec.min_off, spec.max_on, spec.max_starts_per_hour)
        self.slots: dict[int, Slot] = {}
        self.present: Value = None
        """What the output does, as written or read; None while nobody knows."""
        self.feedback: bool | None = None
        self.history = History()
        self.attempt: Slot | None = None
        """A command's entry from before its write until the write is known to have worked."""
        self.before: Slot | None = None
        """The override that holds again if `attempt`, which waits for the node, fails."""
        self.doubtful = False
        """After a crash: whether `attempt` was carried out is for the next reading to say; until then nothing moves."""
        self.awaited: Slot | None = None
        """A command that was accepted and must wait for a limit."""
        self.neighbours: Sequence[Actuator] = ()
        """The actuators that do not go on together with this one (stagger)."""
        self.sending: Sending | None = None
        """What waits for a node that does not listen yet."""
        self.writes = 0
        self.boot = ""
        """The boot in which it was taken up last: in another one its boot state applies."""
        self.mismatch = False
        self.waiting: tuple[float, str] | None = None
        self.error = ""
        self.news: list[News] = []
        self.lock = asyncio.Lock()
        self.changed = asyncio.Event()
        self._starting = float("-inf")
        """When a switching on was begun whose write is under way."""
        self._asserted: Value = None
        self._written_at = float("-inf")
        self._asserted_again = False
        self._feedback_counts = False
        self._tried: Value = None
        self._before_try = History()
        self._retry_at = float("-inf")
        self._failures = 0
        self._overrun: str | None = None
        self._restored: Slot | None = None

    # -- what people say ---------------------------------------------------------------------------------------

    def coerce(self, value: Value) -> Value:
        """`value` as it is written: a relay's as a boolean, a level's within its bounds. Rejected if it is neither."""
        name = self.spec.name
        if self.spec.kind == "relay":
            word = value.strip().lower() if isinstance(value, str) else value
            if word not in ("on", "off", True, False):  # 1 and 0 are equal to True and False
                raise Rejected(f"{name} takes on or off, not {value!r}")
            return word in ("on", True)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise Rejected(f"{name} takes a number, not {value!r}")
        low, high = self.spec.low, self.spec.high
        if (low is not None and value < low) or (high is not None and value > high):
            raise Rejected(f"{value:g} is out of range: {name} takes {_range(low, high)}")
        return value

    def state(self, level: Level) -> Value:
        """A state of the site file as a value; None for hold and recompute."""
        if level in ("hold", "recompute"):
            return None
        if self.spec.kind == "relay":
            return level == "on"
        if level in ("on", "off"):
            top = self.spec.high if self.spec.high is not None else 1.0
            return top if level == "on" else self.off
        return level

    @property
    def off(self) -> Value:
        """What is written to switch it off."""
        return False if self.spec.kind == "relay" else self.spec.low or 0.0

    def is_on(self, value: Value) -> bool:
        return bool(value) if self.spec.kind == "relay" else isinstance(value, int | float) and value > 0

    def same(self, one: Value, other: Value) -> bool:
        """Whether two values are one to this output: a level is allowed 1 % of its range, for the register's steps."""
        if self.spec.kind == "relay" or not isinstance(one, int | float) or not isinstance(other, int | float):
            return one == other
        low, high = self.spec.low, self.spec.high
        step = 0.01 * (high - low) if low is not None and high is not None else 0.0
        return math.isclose(one, other, rel_tol=1e-3, abs_tol=max(step, 1e-9))

    # -- the priority array ------------------------------------------------------------------------------------

    def put(self, priority: int, slot: Slot) -> None:
        """Somebody wants something."""
        self.slots[priority] = slot

    def drop(self, priority: int) -> bool:
        """Somebody wants nothing any more: the next one below holds, in the end the relinquish default."""
        if priority not in self.slots:
            return False
        del self.slots[priority]
        self.rest()
        return True

    def rest(self) -> None:
        """From now on the relinquish default holds below everybody.

        It is the boot state, else the safe state; where both say hold: off for a relay, and a level stays.
        """
        value = self.state(self.spec.boot_state)
        if value is None:
            value = self.state(self.spec.safe_state)
        if value is None and self.spec.kind == "relay":
            value = False
        if value is not None:
            self.slots[DEFAULT] = Slot(value, "nobody wants it")

    def fall_back(self, before: Value) -> None:
        """After a write that failed: it may have moved, and if nobody wants anything nobody would ever put it back."""
        if not self.slots:
            self.rest()
            if before is not None:
                self.put(DEFAULT, Slot(before, "as it was"))

    def winner(self) -> tuple[int, Slot] | None:
        """The lowest number that wants something; None: nobody has spoken yet, the output stays as it is."""
        if not self.slots:
            return None
        priority = min(self.slots)
        return priority, self.slots[priority]

    @property
    def mode(self) -> str:
        """What people made of it: auto (rules hold it), manual or off (an override does)."""
        override = self.slots.get(REMOTE)
        if override is None:
            return AUTO
        return "manual" if self.is_on(override.value) else "off"

    @property
    def forced_off(self) -> bool:
        """Whether max_on keeps it off, whatever the array says."""
        return self._overrun is not None

    def blocked(self) -> str:
        """Why a command would have no effect now: somebody of a lower number holds the output. "" if nobody does."""
        found = self.winner()
        if found is None or found[0] >= REMOTE:
            return ""
        priority, slot = found
        return f"{self.spec.name} is held {say(slot.value)} by {slot.cause} (priority {priority})"

    def may(self, value: Value, priority: int, now: float) -> tuple[float, str]:
        """When `priority` may write `value`, and the limit that makes it wait."""
        if priority < LIMIT:
            return now, ""
        history, on = self.history, self.is_on(value)
        if self._tried is not None and on is self.is_on(self._tried):
            history = self._before_try  # the same write again makes no second edge
        until = earliest(self.limits, history, on, now)
        if on and not self.is_on(self.present):
            until = max(until, (self._turn(), "stagger"))
        return until

    def _turn(self) -> float:
        """When no neighbour has gone on for `stagger` seconds."""
        return max((one.started + self.spec.stagger for one in self.neighbours), default=-math.inf)

    @property
    def started(self) -> float:
        """When it last went on, or is about to (monotonic s); a write that failed gives the turn back."""
        history = self.history if self._tried is None else self._before_try
        return max((self._starting, *history.starts))

    def called_off(self) -> None:
        """What waited for the node was withdrawn: the output did not move."""
        self.sending, self._starting = None, -math.inf

    def begin(self, value: Value, now: float) -> None:
        """`value` is about to be written: from now on the neighbours wait."""
        if self.is_on(value) and not self.is_on(self.present):
            self._starting = now

    def decide(self, now: float) -> Decision:
        """What is to be done at `now`. Ends of entries, the longest run and alarms are worked out on the way."""
        self._end_entries(now)
        self.waiting = None
        found = self._target(now)
        at = self._next_end()
        at = min(at, self._overrun_at(found[0] if found else DEFAULT))
        if found is None or not self.driven or self.doubtful:
            return Decision(at)
        priority, slot = found
        if self.sending is not None:
            waits = self.sending.slot
            wanted = waits.command == slot.command and self.same(waits.value, slot.value)
            return Decision(at, withdraw=not wanted)
        if self.present is not None and self.same(self.present, slot.value) and not self._is_wrong(now):
            self._asserted = slot.value  # it was so already: from now on it is ours to keep
            if self.spec.refresh is None:
                return Decision(at)
            again_at = self._written_at + self.spec.refresh
            return Decision(at, slot, priority) if again_at <= now else Decision(min(at, again_at))
        if self.present is None and slot is self._restored:
            return Decision(at)  # it was written before the restart: the next reading says whether it still stands
        again = self._asserted is not None and self.same(self._asserted, slot.value)
        if again and self._asserted_again:
            self.say_mismatch(slot.value)
            return Decision(at)
        until, why = self.may(slot.value, priority, now)
        if self._retry_at > until:
            until, why = self._retry_at, "the device"
        if until > now:
            self.waiting = (until, why)
            return Decision(min(at, until))
        return Decision(at, slot, priority)

    def _target(self, now: float) -> tuple[int, Slot] | None:
        """The winner, unless it has kept the output on for longer than max_on."""
        found = self.winner()
        key = "nobody" if found is None else found[1].command or f"priority {found[0]}"
        wants_on = self.is_on(found[1].value) if found else self.is_on(self.present)
        if found is not None and (not wants_on or self._overrun not in (None, key)):
            self._forget_overrun()
        if found is not None and found[0] < LIMIT:
            return found
        if self._overrun is None and wants_on and self._overrun_at(LIMIT) <= now:
            self._overrun = key
            self.news.append(News("alarm", "max_on", {"max_on_s": self.limits.max_on, "held_by": key}))
        if self._overrun is None:
            return found
        return LIMIT, Slot(self.off, "max_on")

    def _overrun_at(self, priority: int) -> float:
        history, longest = self.history, self.limits.max_on
        if priority < LIMIT or longest is None or self._overrun or not history.on or history.since is None:
            return math.inf
        return history.since + longest

    def _forget_overrun(self) -> None:
        if self._overrun is not None:
            self._overrun = None
            self.news.append(News("cleared", "max_on", {}))

    def _end_entries(self, now: float) -> None:
        for priority, slot in list(self.slots.items()):
            if slot.until is not None and slot.until <= now:
                self.drop(priority)
        if self.doubtful and self.attempt and self.attempt.until is not None and self.attempt.until <= now:
            self.attempt, self.doubtful = None, False
            self.rest()

    def _next_end(self) -> float:
        entries = [*self.slots.values(), *([self.attempt] if self.doubtful and self.attempt else [])]
        return min((slot.until for slot in entries if slot.until is not None), default=math.inf)

    # -- what happened -----------------------------------------------------------------------------------------

    def written(self, value: Value, now: float) -> None:
        """The device acknowledged `value`."""
        history = self.history
        if self._tried is not None and self.is_on(value) is self.is_on(self._tried):
            history = self._before_try
        self._asserted_again = (
            self._asserted is not None and self.same(self._asserted, value) and not self.agrees()
        )  # written again while all was well is a refresh
        self.history = history.moved(self.is_on(value), now)
        self.present = self._asserted = value
        self._written_at, self._feedback_counts, self._tried = now, False, None
        self.sending, self._starting = None, -math.inf
        self._retry_at, self._failures, self.error = now, 0, ""
        self.writes += 1

    def write_failed(self, value: Value, now: float, reason: str) -> None:
        """The device did not acknowledge `value`: whether the output moved, the next reading will say."""
        on = self.is_on(value)
        if self._tried is None or on is not self.is_on(self._tried):
            self._before_try = self.history
        self.history = self._before_try.perhaps(on, now)
        self._tried, self.present, self._asserted = value, None, None
        self._written_at, self._starting, self.sending = now, -math.inf, None
        first, longest = RETRY
        self._retry_at = now + min(longest, first * 2 ** min(self._failures, 8))
        self._failures += 1
        self.error = reason
        self.writes += 1

    def saw_output(self, value: Value, at: float) -> bool:
        """A good reading of the output, taken at `at`. True if there is something to decide for it."""
        seen = self._seen(value)
        if seen is None or at <= self._written_at:
            return False
        if self._asserted is not None and not self.same(seen, self._asserted) and at < self._written_at + SETTLE:
            return False  # the device may need a moment to show it
        news = seen != self.present or self._tried is not None or self.doubtful
        on = self.is_on(seen)
        if self._tried is not None:
            if on is not self.is_on(self._tried):
                self.history = self._before_try
            self._tried, self._retry_at = None, at
        self.history = self.history.found(on, at)
        self.present = seen
        if self.doubtful and self.attempt is not None:
            self.resolve(self.same(seen, self.attempt.value))
        self._agree()
        return news or bool(self.news) or not self.agrees()

    def saw_feedback(self, value: Value, at: float) -> bool:
        """A good reading of the feedback contact, taken at `at`. True if there is something to decide for it."""
        if not isinstance(value, bool | int | float) or at <= self._written_at:
            return False
        self.feedback = bool(value)
        settled = at >= self._written_at + self.spec.travel + SETTLE
        if settled or self.feedback is self.is_on(self.present):  # before that, a contactor or a valve is on its way
            self._feedback_counts = True
            self._agree()
        return bool(self.news) or not self.agrees()

    def resolve(self, carried_out: bool) -> None:
        """A crash left a command between acceptance and the wire; now it is known whether the wire was written."""
        if carried_out and self.attempt is not None:
            self.put(REMOTE, self.attempt)
            self._restored = self.attempt
        self.attempt, self.doubtful = None, False

    def say_mismatch(self, wanted: Value) -> None:
        """Alarm, once: the output does not do what was written, and was asserted once more already."""
        self._asserted_again = True
        if not self.mismatch:
            self.mismatch = True
            detail = {"wanted": wanted, "output": self.present, "feedback": self.feedback}
            self.news.append(News("alarm", "output_mismatch", detail))

    def agrees(self) -> bool:
        """Whether output and feedback show what was written last."""
        shown = self.present is not None and (self._asserted is None or self.same(self.present, self._asserted))
        return shown and (not self._feedback_counts or self.feedback is self.is_on(self.present))

    def shows(self, point: str, value: Value, wanted: Value) -> bool:
        """Whether `value`, read at the output or at its feedback, is what was wanted."""
        if point == self.spec.feedback:
            return bool(value) is self.is_on(self.coerce(wanted))
        return self.same(self._seen(value), self.coerce(wanted))

    def moving(self, now: float) -> bool:
        """Within `travel` of the last write: the valve is on its way."""
        return now < self._written_at + self.spec.travel

    def _is_wrong(self, now: float) -> bool:
        """Written, and not so: by the output's own reading, or by the feedback after travel and settling."""
        if self._asserted is None or now < self._written_at + self.spec.travel + SETTLE:
            return False
        return not self.agrees()

    def _agree(self) -> None:
        if self.feedback is not None and not self._feedback_counts:
            return  # the contactor is still on its way: its coil alone settles nothing
        if not self.agrees() or (self._asserted is None and self.mismatch and self._wants_other()):
            return
        self._asserted_again = False
        if self.mismatch:
            self.mismatch = False
            self.news.append(News("cleared", "output_mismatch", {"output": self.present, "feedback": self.feedback}))

    def _wants_other(self) -> bool:
        found = self.winner()
        return found is not None and not self.same(found[1].value, self.present)

    def _seen(self, value: Value) -> Value:
        if not isinstance(value, bool | int | float):
            return None
        return bool(value) if self.spec.kind == "relay" else float(value)

    # -- what outlives the process -----------------------------------------------------------------------------

    def record(self, now: Instant) -> dict[str, Any]:
        """What a restart must know, with the moment at which it was so."""
        mono = now.boottime_ns / 1e9
        history, override = self.history, self.slots.get(REMOTE)
        if self.attempt is not None:
            history = history.perhaps(self.is_on(self.attempt.value), mono)
        if override is self.attempt:  # it waits for the node: nothing is applied yet
            override = self.before
        return {
            "boot": now.boot,
            "at": mono,
            "wall_ms": now.wall_ms,
            "on": history.on,
            "since": history.since,
            "starts": list(history.starts),
            "taken_up": self.boot,
            "default": _slot_record(self.slots[DEFAULT]) if self.slots and min(self.slots) == DEFAULT else None,
            "override": _slot_record(override),
            "attempt": _slot_record(self.attempt),
            "mismatch": self.mismatch,
        }

    def recall(self, record: dict[str, Any], now: Instant) -> None:
        """Take up what an earlier process knew.

        What rules wanted is for them to say again; until then the output stays as it is, unless nobody wanted
        anything of it. After another boot the times are carried over by the wall clock, if it was trusted then and
        is now, and has not gone back; if not, minimum times count as over, and an override as ended, for nobody can
        say how long the box was off.
        """
        self.boot, self.mismatch = record["taken_up"], record["mismatch"]
        shift: float | None = 0.0
        if record["boot"] == now.boot:
            default = _slot(record["default"], 0.0)
            if default is not None:
                self.put(DEFAULT, default)
        else:
            shift = None
            if record["wall_ms"] is not None and now.wall_ms is not None:
                elapsed = (now.wall_ms - record["wall_ms"]) / 1000
                if elapsed >= 0:
                    shift = now.boottime_ns / 1e9 - elapsed - record["at"]
        if shift is None:
            if record["override"] or record["attempt"]:
                self.rest()
            return
        self.history = History(record["on"], record["since"], tuple(record["starts"])).shifted(shift)
        override = _slot(record["override"], shift)
        if override is not None:
            self.put(REMOTE, override)
            self._restored = override
        self.attempt = _slot(record["attempt"], shift)


def say(value: Value) -> str:
    """A value as people say it."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _slot_record(slot: Slot | None) -> dict[str, Any] | None:
    if slot is None:
        return None
    return {"value": slot.value, "cause": slot.cause, "by": slot.by, "until": slot.until, "command": slot.command}


def _slot(record: dict[str, Any] | None, shift: float) -> Slot | None:
    if record is None:
        return None
    slot = Slot(**record)
    return slot if slot.until is None else replace(slot, until=slot.until + shift)


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"{low:g} to {high:g}"
