"""When one concentrator sends: one packet at a time, and it hears nothing meanwhile."""

from __future__ import annotations

from collections import deque

from drivers.lora.gwmp.packets import TMST_MODULUS

__all__ = ["Schedule"]

GAP = 4_000
"""Microseconds between two packets, by the concentrator's own clock: sx1302_hal's queue wants 2.5 ms (jitqueue.c)."""
LASTING = 30.0
"""Seconds for which a reservation is kept: the latest window opens 16 s after an uplink, and SF12 takes 3 s."""


class Schedule:
    """Reservations by the concentrator's own counter (`tmst`, microseconds modulo 2^32); lengths are milliseconds."""

    def __init__(self) -> None:
        self._taken: deque[tuple[int, int, float]] = deque()
        """Start, microseconds, and when (clock.monotonic) it was made."""

    def free(self, tmst: int, took: float, now: float) -> bool:
        while self._taken and now - self._taken[0][2] > LASTING:
            self._taken.popleft()
        end = round(took * 1000) + GAP
        return all(
            end <= (start - tmst) % TMST_MODULUS and length + GAP <= (tmst - start) % TMST_MODULUS
            for start, length, _ in self._taken
        )

    def take(self, tmst: int, took: float, now: float) -> None:
        self._taken.append((tmst % TMST_MODULUS, round(took * 1000), now))

    def give_back(self, tmst: int) -> None:
        """Free the time of a transmission that is not sent."""
        self._taken = deque(one for one in self._taken if one[0] != tmst % TMST_MODULUS)
