"""Conditions on points, actuators and times, for alarms and rules. Pure: what they remember is a `Memory`.

A condition holds, does not hold, or is unknown (None). A bad or stale point has no value: a condition on it is unknown,
and a time that is counted stands still until the point is good again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

from agent.control.api import NEVER, Count, Input, Now, View
from agent.control.boot_time import BootShift
from agent.control.named_calendars import calendar_input, held
from agent.control.spell import Spell, next_fold
from agent.control.week import Week
from agent.model import Quality, Value

__all__ = [
    "ON", "AllOf", "AnyOf", "Compare", "Condition", "During", "InCalendar", "Is", "Lasting", "Memory", "Moves",
    "Operand", "Still", "Times", "Verdict", "began", "counting", "dumped", "fingerprint", "holding", "loaded", "paused",
    "shifted",
]  # fmt: skip

ON = "on"
"""The mode of a `Week` in which a condition on times holds."""
PARTS = 8
"""A value has changed when it is in another of so many parts of an amount: what is remembered of it is bounded. On
flash it is rounded to such a part as well, and a time to such a part of its own: not each reading is worth a write."""
MARKS = 32
"""One mark of a fall is remembered for each of so many parts of its time."""


class _Asked(NamedTuple):
    """From `start` to `end` a calendar of this content is `on`, or not."""

    start: datetime
    end: datetime
    on: bool
    of: object = None


class Memory(NamedTuple):
    """The memory of a condition between steps. Times are monotonic seconds."""

    on: bool = False
    """Its comparison held when it was looked at last with a good value."""
    since: float | None = None
    """Since when it holds."""
    spell: Spell = Spell()
    """The time that is counted."""
    marks: tuple[tuple[float, float], ...] = ()
    """When values ended, the oldest first, and the values: each is above all that came after it. While the condition
    is on: the lowest value since."""
    good: bool = False
    """The value was good when it was looked at last, and so it was that value until now; not kept."""
    levels: tuple[tuple[float, float], ...] = ()
    """Up to where in the counted time a value was seen last, and the value; the last one is seen until now."""
    period: _Asked | None = None
    """When its times or its calendar were asked last; not kept."""
    parts: tuple[Memory, ...] = ()
    """The memories of the conditions in it, in their order."""
    known: bool = False
    """`on` was known once. Interlocks alone ask."""


class Verdict(NamedTuple):
    """`holds` is None where it is unknown. `due` (monotonic s) is when it is to be looked at again."""

    memory: Memory
    holds: bool | None
    due: float = NEVER


class Condition(Protocol):
    """Frozen, made from the site file."""

    @property
    def inputs(self) -> frozenset[str]:
        """The points, signals and actuators that it looks at."""

    @property
    def initial(self) -> Memory: ...

    def judge(self, memory: Memory, view: View, now: Now) -> Verdict: ...

    def same(self, memory: Memory, view: View) -> bool:
        """Whether to judge it again before it is due would leave memory and verdict as they are. Where it is not
        easily told, it is not said."""

    def held(self, memory: Memory) -> bool:
        """The verdict that goes with this memory, where it was known: what `same` asks for."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A point or a signal; with `output`, an actuator."""

    name: str
    output: bool = False

    def value(self, view: View) -> Value:
        """Its value; None if it is not known, bad or stale."""
        if self.output:
            found = view.outputs.get(self.name)
            return None if found is None else found.value
        read: Input | None = view.points.get(self.name)
        return None if read is None or read.quality is not Quality.GOOD else read.value

    def number(self, view: View) -> float | None:
        value = self.value(view)
        return None if value is None or isinstance(value, str) else float(value)

    def good_until(self, view: View, now: float) -> float:
        """When it was read with a good value for the last time (monotonic s), if it has none now."""
        read = None if self.output else view.points.get(self.name)
        return now if read is None else min(read.at, now)


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A condition on one source."""

    source: Operand

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset({self.source.name})

    @property
    def initial(self) -> Memory:
        return Memory()

    def same(self, _memory: Memory, _view: View) -> bool:
        return False

    def held(self, memory: Memory) -> bool:
        return memory.on


@dataclass(frozen=True, slots=True)
class Compare(_Leaf):
    """More than `limit`, or with `below` less. Over when the value is back by `hysteresis` beyond it."""

    limit: float
    below: bool = False
    hysteresis: float = 0.0

    def judge(self, memory: Memory, view: View, _now: Now) -> Verdict:
        value = self.source.number(view)
        if value is None:
            return Verdict(memory, None)
        return _switched(memory, self._is_on(memory, value))

    def same(self, memory: Memory, view: View) -> bool:
        value = self.source.number(view)
        return value is not None and self._is_on(memory, value) is memory.on

    def _is_on(self, memory: Memory, value: float) -> bool:
        over = self.limit - value if self.below else value - self.limit
        return over > 0 or (memory.on and over > -self.hysteresis)


@dataclass(frozen=True, slots=True)
class Is(_Leaf):
    """The source has a value: on or off (any level above 0 is on), a number, or a text in any capitals."""

    wanted: bool | float | str

    def judge(self, memory: Memory, view: View, _now: Now) -> Verdict:
        value, wanted = self.source.value(view), self.wanted
        if value is None or isinstance(value, str) is not isinstance(wanted, str):
            return Verdict(memory, None)
        if isinstance(value, str):
            return _switched(memory, value.strip().casefold() == str(wanted).casefold())
        return _switched(memory, (value > 0) is wanted if isinstance(wanted, bool) else float(value) == wanted)

    def same(self, memory: Memory, view: View) -> bool:
        found = self.judge(memory, view, _ANY_TIME)
        return found.holds is not None and found.memory is memory


@dataclass(frozen=True, slots=True)
class Still(_Leaf):
    """The value has moved by less than `amount` for `seconds`. Only time with a good value counts.

    A movement is missed by less than a part (`PARTS`) of `amount`, and never seen where there was none.
    """

    amount: float
    seconds: float

    def judge(self, memory: Memory, view: View, now: Now) -> Verdict:
        value, t = self.source.number(view), now.monotonic
        if value is None:
            return Verdict(paused(memory, t), None)
        spell = memory.spell.at(t, True)
        age = spell.total(t)
        seen = [(min(at, age), one) for at, one in memory.levels]
        moved = max((at for at, one in seen if abs(one - value) >= self.amount), default=None)
        if moved is not None:
            age -= moved
            spell, seen = Spell(age, t), [(at - moved, one) for at, one in seen if at > moved]
        elif spell.seconds < self.kept <= age + _TICK:
            spell = Spell(age, t)
        part = self.amount / PARTS
        level = value // part
        levels = (*(one for one in seen if one[1] // part != level), (NEVER, value))
        holds = spell.reaches(self.seconds) <= t + _TICK
        since = (memory.since if memory.on else t - self.seconds) if holds else None
        due = NEVER if holds else spell.reaches(self.kept if spell.seconds < self.kept else self.seconds)
        memory = _changed(memory, Memory(holds, since, spell, levels=levels))
        return Verdict(memory, holds, due if holds else min(due, next_fold(t)))

    @property
    def kept(self) -> float:
        """From so many seconds on the time that was counted is kept on flash."""
        return self.seconds / PARTS


@dataclass(frozen=True, slots=True)
class Moves(_Leaf):
    """The value has fallen (with `rises`: risen) by `amount` within `seconds`.

    It is over when half of that has come back from the lowest (highest) value since: a pressure that fell and stays
    low is not well again because time passes. A fall that took all of `seconds` but a part (`MARKS`) may be missed.
    """

    amount: float
    seconds: float
    rises: bool = False

    def judge(self, memory: Memory, view: View, now: Now) -> Verdict:
        read, t = self.source.number(view), now.monotonic
        if read is None:
            return Verdict(_ended(memory, self.source.good_until(view, t)), None)
        value, marks = -read if self.rises else read, memory.marks
        if memory.on:
            since, lowest = marks[0] if marks else (t, value)
            lowest = min(lowest, value)
            if value < lowest + self.amount / 2:
                return Verdict(_changed(memory, memory._replace(marks=((since, lowest),))), True)
            return Verdict(Memory(marks=((t, value),), good=True), False)
        if memory.good:
            marks = _until(marks, t)
        higher = [mark for mark in marks if mark[0] >= t - self.seconds - _TICK and mark[1] > value]
        if higher and higher[0][1] - value >= self.amount - _TICK:
            return Verdict(Memory(True, t, marks=((t, value),)), True)
        part = self.seconds / MARKS
        if len(higher) > 1 and higher[-1][0] // part == higher[-2][0] // part:
            del higher[-1]
        return Verdict(_changed(memory, Memory(marks=(*higher, (t, value)), good=True)), False)


@dataclass(frozen=True, slots=True)
class Times:
    """The hours of `week` in its mode `ON`. Unknown while the time is."""

    week: Week

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset()

    @property
    def initial(self) -> Memory:
        return Memory()

    def judge(self, memory: Memory, _view: View, now: Now) -> Verdict:
        at = now.reached
        if at is None or not now.known:
            return Verdict(memory, None)
        period = memory.period
        if period is None or not period.start <= at < period.end:
            found = self.week.at(at)
            period = _Asked(found.start, found.end, found.mode == ON)
        return _in_period(memory, period, now)

    def same(self, _memory: Memory, _view: View) -> bool:
        return False

    def held(self, memory: Memory) -> bool:
        return memory.period is not None and memory.period.on


@dataclass(frozen=True, slots=True)
class InCalendar:
    """A named calendar is on. Unknown while it, or the time, is."""

    name: str

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset({calendar_input(self.name)})

    @property
    def initial(self) -> Memory:
        return Memory()

    def judge(self, memory: Memory, view: View, now: Now) -> Verdict:
        at, calendar = now.reached, view.calendars.get(self.name)
        if at is None or not now.known or calendar is None:
            return Verdict(memory, None)
        period = memory.period
        if period is None or period.of is not calendar or not period.start <= at < period.end:
            on, until = held(calendar, at)
            if on is None:
                return Verdict(memory, None)
            period = _Asked(at, until, on, calendar)
        return _in_period(memory, period, now)

    def same(self, _memory: Memory, _view: View) -> bool:
        return False

    def held(self, memory: Memory) -> bool:
        return memory.period is not None and memory.period.on


@dataclass(frozen=True, slots=True)
class Lasting:
    """A condition that has held for `seconds` without a break. While it is unknown no time counts, and none is lost."""

    condition: Condition
    seconds: float

    @property
    def inputs(self) -> frozenset[str]:
        return self.condition.inputs

    @property
    def initial(self) -> Memory:
        return Memory(parts=(self.condition.initial,))

    def judge(self, memory: Memory, view: View, now: Now) -> Verdict:
        t = now.monotonic
        part, holds, due = self.condition.judge(memory.parts[0], view, now)
        if holds is None:
            return Verdict(_changed(memory, memory._replace(spell=memory.spell.at(t, False), parts=(part,))), None, due)
        if not holds:
            return Verdict(_changed(memory, Memory(parts=(part,))), False, due)
        since = t if memory.since is None else memory.since
        spell = memory.spell if memory.on else memory.spell.at(t, True)
        long = memory.on or spell.reaches(self.seconds) <= t + _TICK
        if not long:
            due = min(due, spell.reaches(self.seconds), next_fold(t))
        return Verdict(_changed(memory, Memory(long, since, spell, parts=(part,))), long, due)

    def same(self, memory: Memory, view: View) -> bool:
        """Not while its time stands still: it goes on from the next look."""
        counts = memory.since is None or memory.on or memory.spell.since is not None
        return counts and self.condition.same(memory.parts[0], view)

    def held(self, memory: Memory) -> bool:
        return memory.on


@dataclass(frozen=True, slots=True)
class _Several:
    conditions: tuple[Condition, ...]

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset[str]().union(*(one.inputs for one in self.conditions))

    @property
    def initial(self) -> Memory:
        return Memory(parts=tuple(one.initial for one in self.conditions))

    def _judge(self, memory: Memory, view: View, now: Now, decides: bool) -> Verdict:
        """One part that is `decides` is enough for that; without one, a part that is unknown leaves it open."""
        found = [one.judge(part, view, now) for one, part in zip(self.conditions, memory.parts, strict=True)]
        said = [one.holds for one in found]
        holds = decides if decides in said else None if None in said else not decides
        parts = tuple([one.memory for one in found])
        due = min([one.due for one in found])
        return Verdict(memory if parts == memory.parts else memory._replace(parts=parts), holds, due)

    def same(self, memory: Memory, view: View) -> bool:
        return all(one.same(part, view) for one, part in zip(self.conditions, memory.parts, strict=True))

    def _held(self, memory: Memory) -> list[bool]:
        return [one.held(part) for one, part in zip(self.conditions, memory.parts, strict=True)]


@dataclass(frozen=True, slots=True)
class AllOf(_Several):
    """All of them hold."""

    def judge(self, memory: Memory, view: View, now: Now) -> Verdict:
        return self._judge(memory, view, now, False)

    def held(self, memory: Memory) -> bool:
        return all(self._held(memory))


@dataclass(frozen=True, slots=True)
class AnyOf(_Several):
    """One of them holds."""

    def judge(self, memory: Memory, view: View, now: Now) -> Verdict:
        return self._judge(memory, view, now, True)

    def held(self, memory: Memory) -> bool:
        return any(self._held(memory))


@dataclass(frozen=True, slots=True)
class During:
    """A condition that is looked at while `gate` holds. When the gate opens again it begins anew."""

    condition: Condition
    gate: Condition

    @property
    def inputs(self) -> frozenset[str]:
        return self.condition.inputs | self.gate.inputs

    @property
    def initial(self) -> Memory:
        return Memory(parts=(self.condition.initial, self.gate.initial))

    def judge(self, memory: Memory, view: View, now: Now) -> Verdict:
        parts = memory.parts
        part, (gate, is_open, due) = parts[0], self.gate.judge(parts[1], view, now)
        holds: bool | None = is_open and None
        if is_open:
            part, holds, other = self.condition.judge(part, view, now)
            due = min(due, other)
        else:
            part = paused(part, now.monotonic) if is_open is None else self.condition.initial
        return Verdict(memory if (part, gate) == parts else memory._replace(parts=(part, gate)), holds, due)

    def same(self, memory: Memory, view: View) -> bool:
        part, gate = memory.parts
        if not self.gate.same(gate, view):
            return False
        return self.condition.same(part, view) if self.gate.held(gate) else part == self.condition.initial

    def held(self, memory: Memory) -> bool:
        part, gate = memory.parts
        return self.gate.held(gate) and self.condition.held(part)


_TICK = 1e-6
_ANY_TIME = Now(0.0, None, False)


def _changed(memory: Memory, new: Memory) -> Memory:
    """The same object where nothing changed: most steps change nothing."""
    return memory if new == memory else new


def _in_period(memory: Memory, period: _Asked, now: Now) -> Verdict:
    assert now.civil is not None
    due = now.monotonic + (period.end - now.civil).total_seconds()
    return Verdict(_changed(memory, Memory(period=period)), period.on, due)


def _until(marks: tuple[tuple[float, float], ...], at: float) -> tuple[tuple[float, float], ...]:
    """The marks of a fall, the last of which ends at `at`."""
    return (*marks[:-1], (at, marks[-1][1])) if marks else ()


def _ended(memory: Memory, at: float) -> Memory:
    """The memory of a fall whose value was good until `at`, and is not known any more."""
    if not memory.good:
        return memory
    return memory._replace(good=False, marks=_until(memory.marks, max(at, memory.marks[-1][0])))


def _switched(memory: Memory, on: bool) -> Verdict:
    return Verdict(memory if memory.on is on else memory._replace(on=on), on)


# -- memories --------------------------------------------------------------------------------------------------


def began(memory: Memory, condition: Condition) -> float | None:
    """When that began for which `condition` holds, before it had lasted for its time; None: when it began to hold."""
    return began(memory.parts[0], condition.condition) if isinstance(condition, During) else memory.since


def counting(memory: Memory, condition: Condition, now: float) -> Iterator[Count]:
    """The times that `condition` counts at present, those of its parts as well."""
    if isinstance(condition, Still | Lasting) and not memory.on and memory.spell != Spell():
        seconds = memory.spell.total(now)
        yield Count(seconds, condition.seconds, now - seconds if memory.since is None else memory.since)
    for part, one in zip(memory.parts, _parts(condition), strict=True):
        yield from counting(part, one, now)


def holding(condition: Condition) -> Memory:
    """The memory of `condition` as if it held: it does until it is known not to, whatever its times and hysteresis."""
    spell = Spell(condition.seconds) if isinstance(condition, Still | Lasting) else Spell()
    return Memory(on=True, spell=spell, parts=tuple(map(holding, _parts(condition))))


def paused(memory: Memory, now: float) -> Memory:
    """The memory of a condition that is not looked at for now: the times that it counts stand still."""
    parts = tuple(paused(part, now) for part in memory.parts)
    return _changed(memory, memory._replace(spell=memory.spell.at(now, False), good=False, parts=parts))


def shifted(memory: Memory, by: BootShift) -> Memory:
    """The memory with the times of this boot. How long a fall took across a time without power is not known."""
    marks = memory.marks if memory.on or not any(by.is_another(at) for at, _ in memory.marks) else ()
    parts = tuple(shifted(part, by) for part in memory.parts)
    return memory._replace(since=by.optional(memory.since), spell=memory.spell.shifted(by), marks=marks, parts=parts)


def fingerprint(condition: Condition) -> str:
    """Apart for each condition: what was remembered of another one is of no use."""
    return blake2b(repr(condition).encode(), digest_size=8).hexdigest()


def dumped(memory: Memory, condition: Condition) -> dict[str, Any]:
    """The memory of `condition` as JSON values."""
    kept: dict[str, Any] = {"on": memory.on or None, "since": memory.since, "known": memory.known or None}
    match condition:
        case Still():
            kept |= _dumped_still(memory, condition)
        case Moves():
            kept["marks"] = _dumped_marks(memory, condition)
        case _:
            kept["spell"] = None if memory.spell == Spell() else [memory.spell.seconds, memory.spell.since]
    kept["parts"] = [dumped(part, one) for part, one in zip(memory.parts, _parts(condition), strict=True)]
    return {key: value for key, value in kept.items() if value not in (None, [])}


def loaded(kept: Mapping[str, Any], condition: Condition) -> Memory:
    """The memory of `condition` from what was kept; ValueError or KeyError if that is of another one."""
    parts = tuple(loaded(part, one) for part, one in zip(kept.get("parts", ()), _parts(condition), strict=True))
    marks = tuple((float(at), float(value)) for at, value in kept.get("marks", ()))
    levels = tuple((NEVER, float(value)) for value in kept.get("levels", ()))
    spell = kept.get("spell")
    spell = Spell() if spell is None else Spell(float(spell[0]), spell[1])
    on, known = bool(kept.get("on")), bool(kept.get("known"))
    return Memory(on, kept.get("since"), spell, marks, levels=levels, parts=parts, known=known)


def _dumped_still(memory: Memory, of: Still) -> dict[str, Any]:
    """The counted time from a part of it on, and between which values: a value that moves is not worth a write."""
    if memory.spell.seconds < of.kept and not memory.on:
        return {}
    part = of.amount / PARTS
    spell = [of.seconds, None] if memory.on else [memory.spell.seconds, memory.spell.since]
    found = [value // part for _, value in memory.levels]
    if not found:  # it is taken to hold, and no value was seen yet
        return {"spell": spell}
    low, high = (min(found) + 1) * part, max(found) * part
    return {"spell": spell, "levels": [low, high] if low <= high else [high + part / 2]}


def _dumped_marks(memory: Memory, of: Moves) -> list[list[float]]:
    """The highest value, once half of a fall has come; while it is on, the lowest value. Of both a little less."""
    part = of.amount / PARTS
    if memory.on and memory.marks:
        at, lowest = memory.marks[0]
        return [[at, -(-lowest // part) * part]]
    if not memory.marks or memory.marks[0][1] - memory.marks[-1][1] < of.amount / 2:
        return []
    at, highest = memory.marks[0]
    return [[at // (of.seconds / PARTS) * (of.seconds / PARTS), highest // part * part]]


def _parts(condition: Condition) -> tuple[Condition, ...]:
    match condition:
        case Lasting():
            return (condition.condition,)
        case During():
            return condition.condition, condition.gate
        case _Several():
            return condition.conditions
    return ()
