"""How much a peer or an adapter may send before it is no longer listened to."""

from __future__ import annotations

__all__ = ["Flood"]


class Flood:
    """Limit what one sender costs the event loop: `most` bytes a second.

    A piece counts as `least` bytes at the least: bytes that come one by one cost as much as whole frames.
    A serial line gives 12,000 at 115,200 baud, and an answer of Modbus has 260 at the most.
    """

    def __init__(self, most: int, least: int = 1) -> None:
        self._most, self._least = most, least
        self._since, self._bytes = 0.0, 0

    def rises(self, count: int, now: float) -> bool:
        """Whether a piece of `count` more bytes at `now` (seconds) is too much."""
        if now - self._since >= 1:
            self._since, self._bytes = now, 0
        self._bytes += max(count, self._least)
        return self._bytes > self._most

    def was_asked(self, count: int) -> None:
        """Take back that many bytes: they are answers to our own questions, which are no flood."""
        self._bytes = max(0, self._bytes - count)
