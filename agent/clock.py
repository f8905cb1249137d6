"""Wall time, monotonic time, and whether the wall can be trusted.

A Pi up to model 4 has no real-time clock: after a power cut its wall clock is wrong until the network sets it, and a
network that is wrong may set it wrong. So every moment is kept as boot id + CLOCK_BOOTTIME, carries a wall time only
while that is trusted, and the wall clock is followed by one rule (`Wall`): dates of readings, the end of a command's
validity and calendars all come from it.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from agent import BUILT
from agent.model import Instant

__all__ = ["Clock", "SystemClock", "Trust", "Wall", "synchronised"]

Trust = Literal["auto", "always", "never"]

DRIFT = 0.02
"""Seconds of difference that do not count: on a busy box as much passes between reading the two clocks."""
STEP = 2.0
"""Seconds from which on a correction is news: calendars are looked at again."""
DOUBTFUL = 60.0
"""Seconds; a step of this size or more is followed only after it was `HELD`."""
HELD = 600.0
"""Seconds for which the synchronisation must hold after such a step."""
EARLY = 60.0
"""Seconds by which a time may be before the earliest accepted one: a kept anchor was corrected by less."""
KEEP = 600.0
"""Seconds between two anchors that are kept."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIMESYNC = Path("/run/systemd/timesync")
_STA_UNSYNC = 0x40  # linux/timex.h
_S = 1_000_000_000
_MS = 1_000_000
_BUILT_MS = round(datetime.fromisoformat(BUILT).replace(tzinfo=UTC).timestamp() * 1000)
_LONG_AGO = -(2**63)


class AnchorStore(Protocol):
    """Store of the last anchor, which outlives the process; `drivers.api.DurableStore` satisfies it."""

    def get(self, key: str) -> Any: ...

    def put(self, key: str, value: Any) -> None: ...


class Clock(Protocol):
    """The time source of all parts. Tests pass a fake one."""

    wall: Wall
    """How the wall clock is followed."""

    @property
    def boot(self) -> str:
        """The kernel's boot id (a UUID in text)."""

    @property
    def trusted(self) -> bool:
        """Whether wall time is trusted now."""

    def now(self) -> Instant:
        """This moment; its wall time is None while the clock is not trusted."""

    def monotonic(self) -> float:
        """Seconds that never step back (CLOCK_BOOTTIME: they count through a suspend)."""


class _Doubt(NamedTuple):
    """A step that is not followed yet: the wall clock's time (Unix ns at CLOCK_BOOTTIME 0), and since when."""

    offset: int
    since: int


class Wall:
    """Wall time: the last trusted anchor plus CLOCK_BOOTTIME. It follows the machine's clock while that is trusted.

    Corrections up to a minute are followed at once, and so is the first time that is known in a boot: there is nothing
    to hold it against. A greater step is an alarm (`clock_step`), and is followed only once it has held for ten minutes
    without the trust being lost. The anchor outlives the process; one of an earlier boot only tells calendars what
    time it may be.

    A time before `not_before_ms` (Unix ms), or before the last sure anchor of an earlier boot, is never followed: GPS
    and network servers that are off by 1,024 weeks, or begin in 1980, hold for longer than ten minutes. It is an
    alarm (`clock_refused`), and time goes on from the anchor, or is not known in a boot that has none. Where the
    anchor itself was wrong, `reset` clears it.
    """

    def __init__(
        self, boot: str, boottime_ns: int = 0, memory: AnchorStore | None = None, not_before_ms: int = 0
    ) -> None:
        self.offset_ns: int | None = None
        """Unix ns when CLOCK_BOOTTIME was 0, as far as anybody knows."""
        self.told: Callable[[], None] = lambda: None
        """Called when there is news, and when the time becomes known or unknown."""
        self._boot, self._memory = boot, memory
        self.sure = False
        """Whether the anchor is of this boot: then our time is good to seconds, trusted or not."""
        self._known = False
        self._doubt: _Doubt | None = None
        self._alarmed = False
        self._refused = False
        self._earliest_ms = self._not_before_ms = not_before_ms
        self._news: list[tuple[str, float]] = []
        self._kept_at = boottime_ns
        if memory is not None:
            self._recall(memory.get("anchor"), boottime_ns)

    def at(self, boottime_ns: int, machine_ns: int | None) -> int | None:
        """Wall time (Unix ms) at a moment when the machine's clock says `machine_ns`; None if that is not trusted."""
        known = False
        if machine_ns is not None:
            self._judge(machine_ns, boottime_ns)
            known = self.believes
        if machine_ns is None or self._refused:
            self._doubt = None
        else:
            self._look(machine_ns - boottime_ns, boottime_ns)
        if known is not self._known:
            self._known = known
            self.told()
        if self.offset_ns is None:
            return None
        if boottime_ns - self._kept_at >= KEEP * _S:
            self.keep(boottime_ns)
        return (boottime_ns + self.offset_ns) // _MS if known else None

    @property
    def believes(self) -> bool:
        """Whether our time is known when the machine's clock is trusted: not by one that is refused alone."""
        return not self._refused or self.sure

    def reset(self) -> None:
        """The kept anchor was wrong: follow the machine's clock at the next look, whatever was kept."""
        self._earliest_ms, self.sure, self._doubt = self._not_before_ms, False, None
        self._kept_at = _LONG_AGO

    def due(self) -> float:
        """When (monotonic s) a step is followed that is in doubt now."""
        return float("inf") if self._doubt is None else self._doubt.since / _S + HELD

    def take_news(self) -> list[tuple[str, float]]:
        """The change since the last call, and by how many seconds: alarm, clock (a step was followed) or cleared;
        refused (a time before the earliest one) or believed (no longer refused)."""
        news, self._news = self._news, []
        return news

    def keep(self, boottime_ns: int) -> None:
        """Remember the anchor (with the next coalesced write)."""
        self._kept_at = boottime_ns
        if self._memory is not None and self.offset_ns is not None:
            wall_ms = (boottime_ns + self.offset_ns) // _MS
            self._memory.put("anchor", {
                "boot": self._boot, "boottime_ms": boottime_ns // _MS, "wall_ms": wall_ms, "sure": self.sure,
                "alarmed": self._alarmed, "earliest_ms": self._earliest_ms, "refused": self._refused,
            })  # fmt: skip

    def _judge(self, machine: int, now: int) -> None:
        """Whether the machine's clock is refused (ns)."""
        refused = machine // _MS < self._earliest_ms - EARLY * 1000
        if refused is not self._refused:
            self._refused = refused
            ours = (self._earliest_ms * _MS) if self.offset_ns is None else self.offset_ns + now
            self._say("refused" if refused else "believed", machine - ours)

    def _look(self, offset: int, now: int) -> None:
        """The machine's clock is trusted, and is at `offset` (Unix ns at CLOCK_BOOTTIME 0)."""
        moved = 0 if self.offset_ns is None else offset - self.offset_ns
        if self.sure and abs(moved) > DOUBTFUL * _S and not self._held(offset, moved, now):
            return
        self._doubt = None
        if self.offset_ns is None or abs(moved) > DRIFT * _S:
            self.offset_ns = offset
        if abs(moved) >= STEP * _S:
            self._say("clock", moved)
        if self._alarmed:
            self._alarmed = False
            self._say("cleared", 0)
        if not self.sure:
            self.sure, self._kept_at = True, _LONG_AGO

    def _held(self, offset: int, moved: int, now: int) -> bool:
        """Whether a step that is doubtful has held for long enough."""
        if self._doubt is None or abs(offset - self._doubt.offset) >= STEP * _S:
            self._doubt = _Doubt(offset, now)
            if not self._alarmed:
                self._alarmed = True
                self._say("alarm", moved)
        return now - self._doubt.since >= HELD * _S

    def _say(self, what: str, moved: int) -> None:
        self._news.append((what, moved / _S))
        self._kept_at = _LONG_AGO
        self.told()

    def _recall(self, kept: Any, boottime_ns: int) -> None:
        if not isinstance(kept, dict) or not {"boot", "boottime_ms", "wall_ms", "sure", "alarmed"} <= kept.keys():
            return
        same = kept["boot"] == self._boot
        since = kept["boottime_ms"] * _MS if same else boottime_ns
        self.offset_ns = kept["wall_ms"] * _MS - since
        self.sure, self._alarmed = same and kept["sure"], kept["alarmed"]
        if not same:
            self._kept_at = _LONG_AGO  # the next process of this boot goes on from here, not once more from there
        self._refused = bool(kept.get("refused"))
        anchor = 0 if same or not kept["sure"] else kept["wall_ms"]
        self._earliest_ms = max(self._earliest_ms, kept.get("earliest_ms", 0), anchor)


class SystemClock:
    """The clock of the machine.

    `trust`: "always" or "never"; "auto" asks systemd-timesyncd, else the kernel.
    The environment variable BOCAGE_CLOCK=trusted|untrusted overrides it, for tests and the demo.
    The answer of "auto" is looked up at most once a second.
    """

    def __init__(self, trust: Trust = "auto") -> None:
        self.believe(trust)
        self._boot = _BOOT_ID.read_text().strip()
        self._asked_at, self._answer = _LONG_AGO, False
        self.wall = Wall(self._boot, not_before_ms=_BUILT_MS)

    def believe(self, trust: Trust) -> None:
        """When it is trusted from now on."""
        override = os.environ.get("BOCAGE_CLOCK", "")
        self._fixed = {"trusted": True, "untrusted": False}.get(override, {"always": True, "never": False}.get(trust))

    def remember(self, memory: AnchorStore) -> None:
        """Go on from the anchor that an earlier process left in `memory`, and keep it there."""
        self.wall = Wall(self._boot, time.clock_gettime_ns(time.CLOCK_BOOTTIME), memory, _BUILT_MS)

    def keep(self) -> None:
        """At an orderly stop: the anchor is kept, with the last write of the state."""
        self.wall.keep(self.now().boottime_ns)

    @property
    def boot(self) -> str:
        return self._boot

    @property
    def trusted(self) -> bool:
        return self._is_set() and self.wall.believes

    def _is_set(self) -> bool:
        if self._fixed is not None:
            return self._fixed
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if now - self._asked_at >= _S:
            self._asked_at, self._answer = now, synchronised()
        return self._answer

    def now(self) -> Instant:
        machine = time.time_ns() if self._is_set() else None  # asked first: it may be set in between
        boottime = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return Instant(self._boot, boottime, self.wall.at(boottime, machine))

    monotonic = staticmethod(partial(time.clock_gettime, time.CLOCK_BOOTTIME))


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
