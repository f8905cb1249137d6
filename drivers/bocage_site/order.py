"""Order and age of what one sender says, by monotonic clocks alone where that is possible. Pure.

Both clocks may be wrong. What counts is the sender's CLOCK_BOOTTIME, which only grows, against our own: the least
difference of the two ever seen is that of a message that was not delayed, and what exceeds it is delay.
"""

from __future__ import annotations

from collections import deque

from drivers.bocage_site.messages import Stamp

__all__ = ["LATE", "Order", "Repeated", "TooOld"]

LATE = 60.0
"""Seconds of delay after which a message is not taken any more."""
_DRIFT = 200e-6
"""The difference of two clocks drifts by less than this: a crystal of 100 ppm on both sides."""
_STEADY = 10.0
"""Seconds by which the delays of two messages in a row may differ that show together that the sender is there."""
_APART = 1.0
"""Seconds between those two at the least."""
_BOOTS = 20
"""Earlier boots of the sender that are remembered."""


class TooOld(ValueError):
    """A message that is not of now, or not known to be, and why."""


class Repeated(TooOld):
    """The last message once more: it came two ways."""


class Order:
    """The messages of one sender. Of a boot that is not known yet, the first message counts if both sides know the
    time and it is of now; else the second one, if as much time has passed between them here as there."""

    def __init__(self) -> None:
        self._boot = ""
        self._last = -1
        """The sender's boottime (ms) of its last message that was taken."""
        self._offset = 0.0
        """Our boottime less the sender's (s) of a message without delay; it was found at `_at`."""
        self._at = 0.0
        self._first: tuple[Stamp, float] | None = None
        """The first message of a boot that is not known, and when it came."""
        self._before: deque[str] = deque(maxlen=_BOOTS)

    def delay(self, stamp: Stamp, now: float, wall_ms: int | None) -> float:
        """The delay (s) of a message that came at `now`, our boottime (s). TooOld if it is not to be taken."""
        if stamp.boot == self._boot:
            return self._same_boot(stamp, now)
        if stamp.boot in self._before:
            raise TooOld("it is from before the sender's restart")
        return self._other_boot(stamp, now, wall_ms)

    def _same_boot(self, stamp: Stamp, now: float) -> float:
        if stamp.boottime_ms == self._last:
            raise Repeated("it came before")
        if stamp.boottime_ms < self._last:
            raise TooOld("it came after a later one")
        self._last = stamp.boottime_ms
        offset = now - stamp.boottime_ms / 1000
        self._offset = min(offset, self._offset + (now - self._at) * _DRIFT)
        self._at = now
        delay = offset - self._offset
        if delay > LATE:
            raise TooOld(f"it was {delay:.0f} s on its way")
        return delay

    def _other_boot(self, stamp: Stamp, now: float, wall_ms: int | None) -> float:
        if wall_ms is not None and stamp.wall_ms is not None:
            late = (wall_ms - stamp.wall_ms) / 1000
            if abs(late) <= LATE:
                self._adopt(stamp, now, now - stamp.boottime_ms / 1000)
                return max(late, 0.0)
        first, self._first = self._first, (stamp, now)
        if first is not None and first[0].boot == stamp.boot and now - first[1] >= _APART:
            before, offset = first[1] - first[0].boottime_ms / 1000, now - stamp.boottime_ms / 1000
            if abs(offset - before) <= _STEADY and stamp.boottime_ms > first[0].boottime_ms:
                self._adopt(stamp, now, min(before, offset))
                return offset - self._offset
        raise TooOld("it is not known yet whether it is of now: the next one tells")

    def _adopt(self, stamp: Stamp, now: float, offset: float) -> None:
        if self._boot:
            self._before.append(self._boot)
        self._boot, self._last, self._first = stamp.boot, stamp.boottime_ms, None
        self._offset, self._at = offset, now
