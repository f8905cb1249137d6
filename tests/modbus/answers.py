"""What slaves of several tests answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["LATE", "Frames", "Late", "registers"]

Frames = list[tuple[float, bytes]]
"""Delay (s) and frame of each answer."""

LATE: dict[str, Callable[[list[bytes], Any], Frames]] = {
    "after 1.5 timeouts": lambda held, request: [(0.15, request.frame)],
    "with the next question": lambda held, request: [(0.0, held[-2])] if len(held) > 1 else [],
    "with the next but one": lambda held, request: [(0.0, held[-3])] if len(held) > 2 else [],
    "after three timeouts": lambda held, request: [(0.3, request.frame)],
}
"""How an answer can be late, at a timeout of 0.1 s."""


def registers(count: int = 300, step: int = 1) -> dict[int, int]:
    return {n: n * step for n in range(count)}


class Late:
    """The behaviour of a slave whose answers are late in that way until `over`."""

    def __init__(self, how: str) -> None:
        self._answer, self._held, self.over = LATE[how], list[bytes](), False

    def __call__(self, request: Any) -> Frames:
        self._held.append(request.frame)
        return [(0, request.frame)] if self.over else self._answer(self._held, request)
