"""The downlink queue of one device: values to be written, one on the air at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["ATTEMPTS", "Mailbox", "PendingDownlink"]

ATTEMPTS = 3
"""Transmissions of one value before it is given up."""
_UNKNOWN = (0, b"")
"""The mark of no value: port 0 is for MAC commands."""


@dataclass(slots=True, eq=False)
class PendingDownlink:
    """One value for one point. `settle` is called once: with nothing when it is done, else with why it is not.
    `until` (clock.monotonic) is when it may be sent at the latest.
    """

    point: str
    port: int
    payload: bytes
    settle: Callable[[str], None]
    until: float | None = None
    confirmed: bool = True
    """Whether the device is asked to say that it heard it; else it is done when a gateway has taken it."""
    attempts: int = 0
    trouble: str = ""
    late: bool = False
    """Its time passed before it was ever sent."""
    over: bool = False

    def end(self, error: str = "") -> None:
        if not self.over:
            self.over = True
            self.settle(error)

    @property
    def content(self) -> tuple[int, bytes]:
        return self.port, self.payload

    def is_late(self, now: float) -> bool:
        return self.until is not None and now > self.until


class Mailbox:
    """One device's downlinks. A newer value of a point takes the place of the one that waits."""

    def __init__(self) -> None:
        self._waiting: dict[str, PendingDownlink] = {}
        self.sent: PendingDownlink | None = None
        """On the air, or heard by the device, which has not said so yet."""
        self._owed: tuple[int, bytes] | None = _UNKNOWN
        """The frame that the next acknowledgement may be for, beside `sent`. One may have been sent before a start."""

    def __len__(self) -> int:
        return len(self._waiting) + (self.sent is not None)

    def add(self, downlink: PendingDownlink) -> None:
        for older in (self._waiting.pop(downlink.point, None), self.sent):
            if older is not None and older.point == downlink.point:
                older.end("replaced by a newer value")
        self._waiting[downlink.point] = downlink

    def withdraw(self, downlink: PendingDownlink) -> None:
        """Withdraw a write. What is on the air already stays there, and is not repeated."""
        downlink.over = True
        if self._waiting.get(downlink.point) is downlink:
            del self._waiting[downlink.point]

    def next(self, now: float) -> PendingDownlink | None:
        """The downlink to send now. Expired ones are ended."""
        for downlink in list(self._waiting.values()):
            if downlink.is_late(now):
                del self._waiting[downlink.point]
                downlink.late = downlink.attempts == 0
                why = f" ({downlink.trouble})" if downlink.trouble else ""
                downlink.end(f"expired before the device listened{why}")
        return next(iter(self._waiting.values()), None)

    def take(self, downlink: PendingDownlink, *, is_first: bool) -> None:
        """It goes on the air, as the first of its session or after others."""
        if is_first:
            self._owed = None
        del self._waiting[downlink.point]
        downlink.attempts += 1
        self.sent = downlink

    def refuse(self, downlink: PendingDownlink, error: str) -> None:
        self._waiting.pop(downlink.point, None)
        downlink.end(error)

    def heard(self, ack: bool, now: float) -> None:
        """An uplink: what was sent is confirmed by it, or goes back to the head of the queue. An acknowledgement does
        not say of what: where it may be that of an earlier value, this one is sent once more.
        """
        owed, self._owed = self._owed, None
        if self.sent is not None and owed not in (None, self.sent.content):
            ack = False
        self._settle(ack, now)

    def unanswered(self, now: float) -> None:
        """A device that always listens said nothing in time. It may have heard what was sent, and say so later."""
        self._owe()
        self._settle(False, now)

    def _owe(self) -> None:
        if self.sent is not None and self.sent.confirmed:
            content = self.sent.content
            self._owed = content if self._owed in (None, content) else _UNKNOWN

    def _settle(self, ack: bool, now: float) -> None:
        sent, self.sent = self.sent, None
        if sent is None:
            return
        if ack or (not sent.confirmed and not sent.trouble):
            sent.end()
        elif sent.attempts >= ATTEMPTS or sent.is_late(now):
            why = f": {sent.trouble}" if sent.trouble else ""
            sent.end(f"not confirmed after {sent.attempts} transmission(s){why}")
        elif not sent.over:
            self._waiting = {sent.point: sent, **self._waiting}

    def give_up(self, reason: str) -> None:
        """End the downlink that was sent: it is unknown whether the device heard it."""
        self._owe()
        sent, self.sent = self.sent, None
        if sent is not None:
            sent.end(f"not confirmed: {reason}")

    def due(self) -> float:
        """When the next one expires (clock.monotonic)."""
        return min((one.until for one in self._waiting.values() if one.until is not None), default=float("inf"))
