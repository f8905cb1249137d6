"""Warnings that the air can cause: each kind is told once a minute, however often it happens."""

from __future__ import annotations

import math
from collections.abc import Hashable

from agent.clock import Clock

__all__ = ["Seldom"]

_EVERY = 60.0  # s
_MOST = 256


class Seldom:
    """Whether a kind of thing is to be told now."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[Hashable, float] = {}

    def __call__(self, *kind: Hashable) -> bool:
        now = self._clock.monotonic()
        if now - self._told.get(kind, -math.inf) < _EVERY:
            return False
        self._told.pop(kind, None)
        self._told[kind] = now
        if len(self._told) > _MOST:
            del self._told[next(iter(self._told))]
        return True
