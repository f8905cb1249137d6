"""Unknown parts of an interlock's condition: each counts as it was known last. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.control.api import Now, View
from agent.control.conditions import AllOf, AnyOf, Condition, During, Lasting, Memory, Verdict

__all__ = ["counting_last_known", "is_all_known", "last_known", "with_known"]


@dataclass(frozen=True, slots=True)
class _LastKnown:
    """A condition on one source: while that is unknown it counts as it was known last, and holds if it never was."""

    leaf: Condition

    @property
    def inputs(self) -> frozenset[str]:
        return self.leaf.inputs

    @property
    def initial(self) -> Memory:
        return self.leaf.initial

    def judge(self, memory: Memory, view: View, now: Now) -> Verdict:
        found, holds, due = self.leaf.judge(memory, view, now)
        if holds is None:
            return Verdict(found, found.on or not found.known, due)
        found = found._replace(on=holds, known=True)
        return Verdict(memory if found == memory else found, holds, due)

    def same(self, memory: Memory, view: View) -> bool:
        return memory.known and self.leaf.same(memory, view)

    def held(self, memory: Memory) -> bool:
        return memory.on


@dataclass(frozen=True, slots=True)
class _LastingOrNeverKnown(Lasting):
    """It does not wait for its time while it holds and a part of it was never known."""

    def judge(self, memory: Memory, view: View, now: Now) -> Verdict:
        found = Lasting.judge(self, memory, view, now)
        begun = found.memory.since is not None
        return found._replace(holds=True) if begun and not is_all_known(found.memory) else found


def counting_last_known(condition: Condition) -> Condition:
    """Make the same condition that is never unknown, with the same memory."""
    match condition:
        case AllOf() | AnyOf():
            return replace(condition, conditions=tuple(map(counting_last_known, condition.conditions)))
        case During():
            return During(counting_last_known(condition.condition), counting_last_known(condition.gate))
        case Lasting():
            return _LastingOrNeverKnown(counting_last_known(condition.condition), condition.seconds)
    return _LastKnown(condition)


def is_all_known(memory: Memory) -> bool:
    """Tell whether each part was known once."""
    return all(map(is_all_known, memory.parts)) if memory.parts else memory.known


def last_known(memory: Memory) -> tuple[object, ...]:
    """Tell what was known last of each part."""
    return tuple(map(last_known, memory.parts)) or (memory.on, memory.known)


def with_known(memory: Memory, active: bool) -> Memory:
    """Complete the memory of an earlier release, whose condition was known: its source, where it has one, was."""
    if len(memory.parts) == 1:
        return memory._replace(parts=(with_known(memory.parts[0], active),))
    return memory if memory.parts or memory.known else memory._replace(on=memory.on or active, known=True)
