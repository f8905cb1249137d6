"""How much of the link the backlog may have: what is live goes first, and must not become slow because of it.

The backlog has at most half of the window under way, and a rate in bytes. Within that it feels its way: one message
more with each acknowledgement, three quarters of them when acknowledgements get slower than they can be (additive
increase, multiplicative decrease, as TCP does: RFC 5681). On a link of 64 kbit/s that ends at one message of 16 kB at
a time, which keeps the link busy and a live message two seconds away; on a fast one at half of the window.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["Lane", "Pace"]

Lane = Literal["live", "backlog"]

WINDOW = 20
"""Messages under way, until the uplink says how many the broker allows."""
RATE = 2_000_000
"""Bytes a second of backlog at the most."""
BURST = 500_000
"""Bytes that may go at once."""
SLACK = {"live": 0.05, "backlog": 0.5}
"""Seconds above twice the quickest acknowledgement that are not yet slow."""
STARVED = 60.0
"""Seconds after which one message of the backlog goes first: on a thin link the live ones would take all of it."""


class Pace:
    """Says when a message of the backlog may go. Times are clock.monotonic, in seconds."""

    def __init__(self, now: float) -> None:
        self.under_way = 0
        self._most = WINDOW // 2
        self._allowed = 1.0
        self._tokens, self._filled = float(BURST), now
        self._went = now
        self._quickest: dict[Lane, float] = {}
        self._slowed_until = now

    def link(self, window: int, now: float) -> None:
        """A new connection, of which nothing is known but its window."""
        self._most, self._allowed, self._went = max(1, window // 2), 1.0, now
        self._quickest.clear()

    def wait(self, now: float) -> float | None:
        """Seconds until the backlog may go: 0 is now, None not before an acknowledgement."""
        if self.under_way >= int(self._allowed):
            return None
        self._tokens = min(float(BURST), self._tokens + (now - self._filled) * RATE)
        self._filled = now
        return max(0.0, -self._tokens / RATE)

    def starved(self, now: float) -> bool:
        return now - self._went > STARVED and self.under_way == 0

    def take(self, size: int, now: float) -> None:
        """So many bytes of backlog go."""
        self.under_way += 1
        self._tokens -= size
        self._went = now

    def back(self) -> None:
        """One that was under way is not any more."""
        self.under_way -= 1

    def acknowledged(self, lane: Lane, seconds: float, now: float) -> None:
        """The broker took a message so many seconds after it was handed out."""
        quickest = self._quickest[lane] = min(seconds, self._quickest.get(lane, seconds))
        if seconds > 2 * quickest + SLACK[lane]:
            if now >= self._slowed_until:  # what was under way by then tells nothing new
                self._allowed = max(1.0, self._allowed * 0.75)
                self._slowed_until = now + seconds
        elif lane == "backlog" and now >= self._slowed_until:
            self._allowed = min(float(self._most), self._allowed + 1.0)
