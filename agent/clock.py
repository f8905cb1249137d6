"""Wall time, monotonic time, and whether the wall can be trusted.

A Pi up to model 4 has no real-time clock: after a power cut its wall clock is wrong until the network sets it.
So every moment is kept as boot id + CLOCK_BOOTTIME, and carries a wall time only while that is trusted.
"""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import Literal, Protocol

from agent.model import Instant

__all__ = ["Clock", "SystemClock", "Trust", "synchronised"]

Trust = Literal["auto", "always", "never"]

_TIMESYNC = Path("/run/systemd/timesync")
_STA_UNSYNC = 0x40  # linux/timex.h


class Clock(Protocol):
    """What everybody asks for the time. Tests give a clock of their own."""

    @property
    def boot(self) -> str:
        """The kernel's boot id (a UUID in text)."""

    @property
    def trusted(self) -> bool:
        """Whether wall time may be believed now."""

    def now(self) -> Instant:
        """This moment; its wall time is None while the clock is not trusted."""

    def monotonic(self) -> float:
        """Seconds that never step back (CLOCK_BOOTTIME: they count through a suspend)."""


class SystemClock:
    """The clock of the machine.

    `trust`: "always" and "never" speak for themselves; "auto" asks systemd-timesyncd, else the kernel.
    The environment variable BOCAGE_CLOCK=trusted|untrusted overrides it, for tests and the demo.
    The answer of "auto" is looked up at most once a second.
    """

    def __init__(self, trust: Trust = "auto") -> None:
        override = os.environ.get("BOCAGE_CLOCK", "")
        self._fixed = {"trusted": True, "untrusted": False}.get(override, {"always": True, "never": False}.get(trust))
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._asked_at = float("-inf")
        self._answer = False

    @property
    def boot(self) -> str:
        return self._boot

    @property
    def trusted(self) -> bool:
        if self._fixed is not None:
            return self._fixed
        now = self.monotonic()
        if now - self._asked_at >= 1:
            self._asked_at, self._answer = now, synchronised()
        return self._answer

    def now(self) -> Instant:
        wall = time.time_ns() // 1_000_000 if self.trusted else None
        return Instant(self._boot, time.clock_gettime_ns(time.CLOCK_BOOTTIME), wall)

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


def synchronised() -> bool:
    """Whether something keeps the wall clock right.

    systemd-timesyncd says so with a file. Elsewhere the kernel's STA_UNSYNC flag does; it is not asked inside
    the systemd unit, where the system call filter forbids adjtimex even for reading.
    """
    if (_TIMESYNC / "synchronized").exists():
        return True
    if "INVOCATION_ID" in os.environ or _TIMESYNC.exists():
        return False
    return _kernel_synchronised()


def _kernel_synchronised() -> bool:
    """Read the kernel's clock state with adjtimex(2), modes 0: it changes nothing."""
    buffer = (ctypes.c_long * 64)()  # struct timex: modes (int, padded), offset, freq, maxerror, esterror, status
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(ctypes.byref(buffer)) < 0:
        return False
    status = ctypes.cast(ctypes.byref(buffer, 5 * ctypes.sizeof(ctypes.c_long)), ctypes.POINTER(ctypes.c_int))[0]
    return not status & _STA_UNSYNC
