"""The pins of a chip as its driver uses them: relays, contacts and pulse counters."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from agent.clock import Clock
from agent.errors import StorageError
from agent.lib.backoff import Backoff
from agent.lib.throttle import Throttle
from agent.model import Kind, Point, Value
from drivers.api import DeviceSpec, DurableStore

__all__ = ["RETRY", "ContactInput", "Line", "PulseCounter", "Relay"]

log = logging.getLogger("bocage.gpio")

RETRY = (5.0, 60.0)
"""Seconds between attempts to open the chip, or one pin of it: first, longest."""
_SAVE_PULSES = 10
_SAVE_SECONDS = 60.0
_ROCKING_TOLD = 3600.0  # seconds between two log lines about pulses that come too fast
_OVERLOAD = 0.8  # of the least time: nearer pulses are one; a meter may pass a quarter more than its nominal flow
_PULLS = {"up": True, "down": False, "none": None}


class Line:
    """One pin: what it is called and which level means on."""

    kind = Kind.STATE
    writable = False

    def __init__(self, spec: DeviceSpec) -> None:
        options = spec.options
        self.name = spec.name
        self.pin = int(spec.address["pin"])
        self.poll = spec.poll
        self.pull = _PULLS[options.get("pull") or "up"]
        active_high = options.get("active_high")
        self.active_high = bool(active_high) if active_high is not None else self._usual_level()
        self.device: Any = None
        self.error = ""
        """Why the pin cannot be had; it is tried again at `retry_at` (clock.monotonic)."""
        self.retry_at, self._backoff = float("inf"), Backoff(*RETRY)

    def failed(self, error: BaseException, now: float) -> float:
        """Note why it cannot be had; the seconds until it is tried again."""
        self.error = f"pin {self.pin}: {error}"
        rest = self._backoff.next()
        self.retry_at = now + rest
        return rest

    def opened(self) -> None:
        self.error, self.retry_at = "", float("inf")
        self._backoff.reset()

    def _usual_level(self) -> bool:
        return self.pull is not True

    @property
    def point(self) -> Point:
        return Point(self.name, self.name, kind=self.kind, writable=self.writable, stale_after=3 * self.poll)

    @property
    def active(self) -> bool:
        """Whether the level on the pin means on."""
        return bool(self.device.pin.state) == self.active_high

    @property
    def value(self) -> Value:
        return self.active

    def open(self, gpiozero: Any, factory: Any) -> None:
        raise NotImplementedError

    def close(self) -> None:
        if self.device is not None:
            self.device.close()
            self.device = None


class Relay(Line):
    """An output. gpiozero gives the pin back as an input when it is closed."""

    writable = True

    def __init__(self, spec: DeviceSpec) -> None:
        super().__init__(spec)
        self.wanted: bool | None = spec.options.get("initial_value", False)

    def _usual_level(self) -> bool:
        return True

    def open(self, gpiozero: Any, factory: Any) -> None:
        start = self.wanted
        if start is None:  # lgpio claims an output at level 0: look first, or "leave" would mean "low"
            start = bool(factory.pin(self.pin).state) == self.active_high
        self.device = gpiozero.DigitalOutputDevice(
            self.pin, active_high=self.active_high, initial_value=start, pin_factory=factory
        )

    def write(self, on: bool) -> None:
        self.device.value = on
        self.wanted = on  # a chip that is lost and found again resumes here


class ContactInput(Line):
    """A contact. Its level counts once it has lasted `debounce` seconds, by the edges' own time stamps."""

    def __init__(self, spec: DeviceSpec, changed: Callable[[ContactInput], None]) -> None:
        super().__init__(spec)
        self.debounce = float(spec.options.get("debounce") or 0)
        self.settled: bool | None = None
        self._changed = changed
        self._level = False
        self._since: Any = None  # time stamp (ticks) of an edge that is not settled yet
        self._settled_at: Any = None  # time stamp of the edge that settled last
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def value(self) -> Value:
        return self.settled

    def open(self, gpiozero: Any, factory: Any) -> None:
        self._loop = asyncio.get_running_loop()
        polarity = {} if self.pull is not None else {"active_state": True}
        self.device = gpiozero.InputDevice(self.pin, pull_up=self.pull, pin_factory=factory, **polarity)
        pin = self.device.pin
        pin.bounce = self.debounce or None  # lgpio filters in C, so that noise does not reach Python
        pin.edges = "both"
        self.settled = self._level = self.active
        pin.when_changed = self._edge_in_thread

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._since = None
        super().close()

    def refresh(self) -> None:
        """Look at the pin, in case an edge was missed."""
        if self._since is None and self.active != self.settled:
            self._level = self.active
            self._settle()

    def _edge_in_thread(self, ticks: float, state: bool) -> None:
        with contextlib.suppress(RuntimeError):  # the loop closed while an edge was on its way
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._edge, ticks, bool(state) == self.active_high)

    def _edge(self, ticks: float, active: bool) -> None:
        if self.device is None:
            return
        if self._since is not None and self.device.pin_factory.ticks_diff(ticks, self._since) >= self.debounce:
            self._settle()
        self._level, self._since = active, ticks
        if self._timer is not None:
            self._timer.cancel()
        if not self.debounce:
            self._settle()
            return
        self._timer = asyncio.get_running_loop().call_later(self.debounce, self._settle)

    def _settle(self) -> None:
        self._settled_at = self.device.pin_factory.ticks() if self._since is None else self._since
        self._since = None
        if self._level != self.settled:
            self.settled = self._level
            self._changed(self)


class PulseCounter(ContactInput):
    """Counts how often its contact closed, for ever: the total is kept in `memory`."""

    kind = Kind.COUNTER

    def __init__(
        self, spec: DeviceSpec, changed: Callable[[ContactInput], None], clock: Clock, memory: DurableStore
    ) -> None:
        super().__init__(spec, self._pulse)
        self._told = changed
        self._clock, self._memory, self._key = clock, memory, f"{spec.name}.pulses"
        kept = memory.get(self._key)
        self.total = kept if isinstance(kept, int) else 0
        self._saved = self.total
        self._saved_at = clock.monotonic()
        self.dirty = False
        self._least_between = float(spec.options.get("least_between") or 0)
        self._closed_at: Any = None  # time stamp (ticks) of the last closure, counted or not
        self._counted_at: Any = None  # and of the last one that was counted
        self._rocked, self._reports = 0, Throttle(clock.monotonic, _ROCKING_TOLD)
        self.next_at = 0.0  # clock.monotonic(): not before, so that fast pulses share a reading

    @property
    def value(self) -> Value:
        return self.total

    def save_at(self) -> float:
        """When the total must be kept next (clock.monotonic)."""
        return self._saved_at + _SAVE_SECONDS if self.total != self._saved else float("inf")

    def save(self) -> None:
        if self.total != self._saved:
            with contextlib.suppress(StorageError):  # kept in memory, and tried again with the next write
                self._memory.put(self._key, self.total, now=True)
        self._saved, self._saved_at = self.total, self._clock.monotonic()

    def _pulse(self, _line: ContactInput) -> None:
        if not self.settled or self._rocks():
            return
        if self.total == self._saved:
            self._saved_at = self._clock.monotonic()  # the minute runs from the first pulse that is not kept
        self.total += 1
        self.dirty = True
        if self.total - self._saved >= _SAVE_PULSES:
            self.save()
        self._told(self)

    def _rocks(self) -> bool:
        """Whether this closure is the one before it, come again: the meter cannot have turned in between."""
        since, at = self.device.pin_factory.ticks_diff, self._settled_at
        before, self._closed_at = self._closed_at, at
        near = before is not None and since(at, before) < _OVERLOAD * self._least_between
        if not near and (before is None or since(at, self._counted_at) >= self._least_between):
            self._counted_at = at
            return False
        self._rocked += 1
        if self._reports():
            log.warning(
                "pulses too fast pin=%s least_s=%.2f left_out=%d next=they are one; a larger max_rate counts them",
                self.name, self._least_between, self._rocked,
            )  # fmt: skip
        return True
