"""So many at once, and so many a second from then on."""

from __future__ import annotations

__all__ = ["Bucket"]


class Bucket:
    """A token bucket: `burst` at once, `rate` a second from then on."""

    def __init__(self, burst: float, rate: float) -> None:
        self._burst, self._rate = burst, rate
        self._tokens, self._at = burst, float("-inf")

    def take(self, now: float) -> bool:
        """One token, if there is one at `now` (monotonic seconds)."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
