"""Wishes of all controls for the outputs: where some share one, the arbiter gets a single wish for each priority."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Protocol

from agent.control.api import Wish
from agent.model import Value

__all__ = ["INTERLOCK", "SharedWishes", "WishTaker"]

INTERLOCK = 2
"""The priority of interlocks."""
Key = tuple[str, int]
"""An actuator and a priority."""


class WishTaker(Protocol):
    """The arbiter, as far as it takes wishes."""

    def wish(self, actuator: str, priority: int, value: Value, cause: str) -> None: ...

    def relinquish(self, actuator: str, priority: int) -> None: ...


class SharedWishes:
    """The wishes of each control, by its name. The arbiter hears what changed."""

    def __init__(self, arbiter: WishTaker) -> None:
        self._arbiter = arbiter
        self._own: dict[str, Mapping[Key, Wish]] = {}
        self._said: dict[str, Sequence[Wish]] = {}
        """As they were put last: mostly they are the same again."""
        self._held: dict[Key, dict[str, Wish]] = {}

    def put(self, control: str, wishes: Sequence[Wish]) -> bool:
        """Take all wishes of a control in the place of those before; whether it wants another value anywhere."""
        if wishes == self._said.get(control):
            return False
        self._said[control] = wishes
        before = self._own.get(control, {})
        wanted = {(wish.actuator, wish.priority): wish for wish in wishes}
        if wanted == before:
            return False
        for key in {**before, **wanted}:
            if before.get(key) == wanted.get(key):
                continue
            holders = self._held.setdefault(key, {})
            holders.pop(control, None)
            if key in wanted:
                holders[control] = wanted[key]
            self._tell(key, holders)
        self._own[control] = wanted
        return {key: wish.value for key, wish in before.items()} != {key: wish.value for key, wish in wanted.items()}

    def of(self, control: str) -> list[Wish]:
        """All wishes of a control, the strongest first."""
        return sorted(self._own.get(control, {}).values(), key=lambda wish: wish.priority)

    def actuators(self) -> set[str]:
        """The actuators that a control has a wish for."""
        return {actuator for wishes in self._own.values() for actuator, _ in wishes}

    def withdraw(self, control: str, actuators: Container[str]) -> None:
        """Forget all wishes of a control; the arbiter hears of those for `actuators`, the ones it has."""
        for key, holders in self._held.items():
            if holders.pop(control, None) is not None and key[0] in actuators:
                self._tell(key, holders)
        self._own.pop(control, None)
        self._said.pop(control, None)

    def _tell(self, key: Key, holders: Mapping[str, Wish]) -> None:
        """Where controls share an output (a pump) at one priority, the one that wants most of it holds. Of interlocks
        the one that wants least does: a latched burst is not opened, a dry pump not started by another one."""
        if not holders:
            self._arbiter.relinquish(*key)
            return
        strongest = min if key[1] == INTERLOCK else max
        wish = strongest(holders.values(), key=lambda held: float(held.value or 0))
        self._arbiter.wish(wish.actuator, wish.priority, wish.value, wish.cause)
