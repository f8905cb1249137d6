"""Monotonic times that outlive a boot: they are kept with an anchor, and shifted to the clock of the new boot."""

from __future__ import annotations

from typing import NamedTuple

from agent.control.api import Now

__all__ = ["BootShift", "boot_anchor"]

STEP = 2.0
"""Seconds by which wall and monotonic clock may drift apart before the anchor follows."""


def boot_anchor(anchor: float | None, now: Now) -> float | None:
    """Unix seconds at monotonic 0, as it is known now; `anchor` is what was known before."""
    unix = now.unix
    if unix is None:
        return anchor
    found = unix - now.monotonic
    return found if anchor is None or abs(found - anchor) >= STEP else anchor


class BootShift(NamedTuple):
    """Converts monotonic times that were kept into times of this boot; within one boot it changes nothing.

    A clock that was set while the agent was not running looks like another boot: the times are then shifted too.
    """

    seconds: float
    now: float

    @classmethod
    def from_anchor(cls, anchor: float | None, now: Now) -> BootShift:
        """`anchor` is the one that was kept with the times."""
        current = boot_anchor(anchor, now)
        return cls(0.0 if anchor is None or current is None else anchor - current, now.monotonic)

    def is_another(self, at: float | None) -> bool:
        """Whether `at` (None: no time) was counted in another boot, as far as can be told."""
        return at is not None and (self.seconds != 0 or at > self.now)

    def past(self, at: float) -> float:
        """A time in the past. It never lies in the future, even where the time without power is not known."""
        return min(at + self.seconds, self.now)

    def optional(self, at: float | None) -> float | None:
        """The same; None stays None."""
        return None if at is None else self.past(at)
