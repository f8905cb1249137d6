"""Turns of a loop in virtual time: asyncio's own order, at a fraction of its cost.

The base of `SimLoop`. What asyncio does for debugging, for threads and for real files is left out; the order in which
calls are made is that of asyncio.base_events, tick by tick.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import selectors
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from typing import Any

__all__ = ["WIRES", "Call", "Poll", "Timer", "Turns"]

FAR = 1e10
SPINS = 200
"""Turns at one moment after which a microsecond passes all the same: somebody waits for less than a float can tell."""
LOOKS = 1000
"""Looks at the clock within one turn after which a microsecond passes: somebody waits for it to go on."""
FEW = 50
"""Cancelled timers that stay among the others, wherever they are."""
LONGEST = 86_400.0
"""Seconds that pass in one turn at the most, as in asyncio."""
_copy_context = contextvars.copy_context

WIRES: dict[int, Any] = {}
"""Simulated files by descriptor: numbers that no real one has."""


class Call:
    """In the place of asyncio.Handle. Whoever makes one fills it: a frame more for each would be dear."""

    __slots__ = ("_args", "_callback", "_cancelled", "_context")

    _args: Any
    _callback: Any
    _cancelled: bool
    _context: contextvars.Context

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = self._args = None

    def cancelled(self) -> bool:
        return self._cancelled

    def get_context(self) -> contextvars.Context:
        return self._context


class Timer(float):
    """In the place of asyncio.TimerHandle: the moment itself (virtual s), so that a heap compares numbers."""

    __slots__ = ("_args", "_callback", "_cancelled", "_context", "_loop", "_scheduled")

    _args: Any
    _callback: Any
    _cancelled: bool
    _context: contextvars.Context
    _loop: Turns
    _scheduled: bool

    def when(self) -> float:
        return self + 0.0

    def cancel(self) -> None:
        if self._scheduled and not self._cancelled:
            self._loop._timer_cancelled_count += 1
        self._cancelled = True
        self._callback = self._args = None

    cancelled = Call.cancelled
    get_context = Call.get_context


class Poll(selectors.BaseSelector):
    """Simulated files (`Wire`): they tell when there may be something; and time that goes on where there is nothing."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looks = 0
        """At the time, in this turn."""
        self._keys: dict[int, selectors.SelectorKey] = {}
        self.active: dict[int, Any] = {}
        """Wires that may be ready, by descriptor, in the order in which they became so."""

    def look(self) -> float:
        """The time, for somebody who may look until it goes on."""
        if self.looks >= LOOKS:
            self.looks = 0
            self.now = round(self.now + 1e-6, 6)
        return self.now

    def select(self, timeout: float | None = None) -> list[Any]:
        """What is ready of the wires that may be; it never waits."""
        found = []
        for fd, wire in list(self.active.items()):
            key = self._keys.get(fd)
            events = 0 if key is None else key.events & wire.readiness()
            if events:
                found.append((key, events))
            elif key is None or not key.events & selectors.EVENT_WRITE:
                del self.active[fd]
        return found

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._keys[fd] = key = selectors.SelectorKey(fileobj, fd, events, data)
        if (wire := WIRES.get(fd)) is not None:
            self.active[fd] = wire
        return key

    def unregister(self, fileobj: Any) -> Any:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self.active.pop(fd, None)
        return self._keys.pop(fd)

    def get_key(self, fileobj: Any) -> Any:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        return self._keys[fd]

    def get_map(self) -> Mapping[Any, Any]:
        return self._keys


class Turns(asyncio.SelectorEventLoop):
    """The loop. `poll.now` is its time (s), in whole microseconds."""

    _ready: Any
    _scheduled: list[Any]
    _stopping: bool
    _timer_cancelled_count: int

    def __init__(self) -> None:
        self.poll = Poll()
        super().__init__(self.poll)

    def time(self) -> float:
        return self.poll.now

    get_debug = staticmethod(bool)  # False: asyncio asks at each future

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        call = Call()
        call._callback, call._args, call._cancelled = callback, args, False
        call._context = _copy_context() if context is None else context
        self._ready.append(call)
        return call

    call_soon_threadsafe = call_soon

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        """At the whole microsecond at which `when` has come."""
        if when >= FAR:
            when = FAR
        else:
            micro = when * 1e6 // 1
            whole = micro / 1e6
            when = whole if whole >= when else (micro + 1) / 1e6
        timer = Timer(when)
        timer._callback, timer._args, timer._cancelled = callback, args, False
        timer._loop, timer._scheduled = self, True
        timer._context = _copy_context() if context is None else context
        heappush(self._scheduled, timer)
        return timer

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        return self.call_at(self.poll.now + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        """Turns, until it is to stop. Timers and the time are whole microseconds: what is due is so to the letter."""
        poll, ready, active = self.poll, self._ready, self.poll.active
        pop, push = ready.popleft, ready.append
        spins = 0
        while not self._stopping:
            scheduled = self._scheduled
            if scheduled and (scheduled[0]._cancelled or self._timer_cancelled_count > FEW):
                scheduled = self._without_cancelled()
            found = poll.select() if active else ()
            if found:
                self._process_events(found)  # type: ignore[attr-defined]
            now, poll.looks = poll.now, 0
            if ready or found or (scheduled and scheduled[0] <= now):
                spins += 1
                if spins == SPINS:
                    spins, now = 0, round(now + 1e-6, 6)
                    poll.now = now
            elif not scheduled:
                raise RuntimeError("nothing will ever happen any more")
            else:
                spins, latest = 0, now + LONGEST
                now = scheduled[0] + 0.0
                if now > latest:
                    now = latest
                poll.now = now
            while scheduled and scheduled[0] <= now:
                timer = heappop(scheduled)
                timer._scheduled = False
                push(timer)
            for _ in range(len(ready)):
                call = pop()
                if call._cancelled:
                    continue
                try:
                    call._context.run(call._callback, *call._args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001  as asyncio.Handle
                    self.call_exception_handler({"message": f"Exception in {call._callback}", "exception": error})
            call = timer = None

    def _without_cancelled(self) -> list[Any]:
        """The timers, without those at their head that were cancelled; without all, if they are most."""
        scheduled = self._scheduled
        if len(scheduled) > 2 * FEW and self._timer_cancelled_count > len(scheduled) / 2:
            for timer in scheduled:
                timer._scheduled = not timer._cancelled
            self._scheduled = scheduled = [timer for timer in scheduled if timer._scheduled]
            heapq.heapify(scheduled)
            self._timer_cancelled_count = 0
            return scheduled
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heappop(scheduled)._scheduled = False
        return scheduled
