"""Calm: while nothing of what a decision depends on has changed and nothing is due, it is the same again.

Most readings of a level or a temperature decide nothing. A control notes what its last decision was made on, and takes
it over as long as that holds, instead of working it out anew at each reading.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from agent.control.api import Input, View

__all__ = ["Calm", "said"]

R = TypeVar("R")


class Calm(Generic[R]):
    """A decision (`result`), what it was made on (`seen`), and until when it holds (monotonic s).

    It is no part of what a state says, and is not kept: states that differ by it alone are equal.
    """

    __slots__ = ("due", "result", "seen")

    def __init__(self, seen: tuple[Any, ...], due: float, result: R) -> None:
        self.seen, self.due, self.result = seen, due, result

    def holds(self, seen: tuple[Any, ...], now: float) -> bool:
        """Whether the decision would be the same now."""
        return now < self.due and seen == self.seen

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, Calm)

    def __hash__(self) -> int:
        return 0


def said(view: View, name: str | None) -> tuple[Any, ...]:
    """The value of a point, its quality and its doubt, whenever it was read."""
    found: Input | None = None if name is None else view.points.get(name)
    return () if found is None else (found.value, found.quality, found.doubted)
