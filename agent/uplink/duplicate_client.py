"""Whether a second client uses our client id: a broker then throws out each of them when the other one comes.

One takeover is nothing (an old connection of ours that was still open); the pattern is. With MQTT 5 a broker should
name it (DISCONNECT 0x8E). Mosquitto 2.0.11 does not, and with 3.1.1 it cannot: a connection is closed without a reason,
in the middle of nothing. And another run of an agent that retains its claim (identity_check.py) after ours is one, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["DuplicateClient"]

WITHIN = 600.0
"""Seconds in which it must be seen again, and after which it is over."""
SURE = 2
"""Takeovers that the broker named, or claims of another run."""
LIKELY = 5
"""Connections that were closed within a minute of their begin, without a reason and with nothing under way."""
SOON = 60.0


class DuplicateClient:
    """Counts signs. Times are clock.monotonic, in seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic, self._since = monotonic, monotonic()
        self._signs: deque[tuple[float, float]] = deque(maxlen=2 * LIKELY)  # so many are more than enough

    def taken_over(self) -> None:
        """The broker says so, or a second agent uses the site's identity."""
        self._signs.append((self._monotonic(), 1 / SURE))

    def closed(self, lasted: float) -> None:
        """The broker closed a connection of so many seconds without a reason, and nothing was under way."""
        if lasted < SOON:
            self._signs.append((self._monotonic(), 1 / LIKELY))

    def explained(self) -> None:
        """The broker closes connections at a message that is too long for it: their ends were no sign."""
        self._signs = deque((one for one in self._signs if one[1] != 1 / LIKELY), self._signs.maxlen)

    @property
    def is_likely(self) -> bool:
        """Whether what was seen of late is the pattern of two clients with one id."""
        while self._signs and self._signs[0][0] < self._monotonic() - WITHIN:
            self._signs.popleft()
        return sum(weight for _, weight in self._signs) > 0.999

    @property
    def is_known(self) -> bool:
        """Whether it was looked at for so long that an earlier process has seen nothing that still counts."""
        return self._monotonic() >= self._since + WITHIN

    @property
    def reason(self) -> str:
        """The evidence, for a person."""
        if any(weight == 1 / SURE for _, weight in self._signs):
            return "a second client uses this client id, or a second gateway speaks for this site"
        return "the broker closes connections soon after they begin, as when a second client uses this client id"
