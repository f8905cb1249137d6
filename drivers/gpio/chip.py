"""Pins of a GPIO chip: relays, contacts and pulse counters, through gpiozero (lgpio on the Raspberry Pi).

A device is one pin, and its point bears the same name (`gpio.17`). `DeviceSpec.address` is `{"pin": 17}`, the
Broadcom number and not that of the header. Options:

- `role`: "relay", "input" or "counter";
- `active_high`: whether a high level means on. Default: yes, but no on a pin with a pull-up, where the contact
  closes to ground;
- `pull` (input, counter): "up" (default: a dry contact needs one), "down", or "none" where the board has its own;
- `debounce` (input, counter), seconds: a level counts once it has lasted that long. Default 0;
- `least_between` (counter), seconds: pulses nearer than that are one, because the meter cannot turn so fast: its magnet
  may rest at the edge of the contact and move to and fro. Default 0;
- `initial_value` (relay): True, False, or None to start from the level that is found on the pin.

gpiozero's own library is imported when the chip is opened, not before. drivers/gpio/README.md tells the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from agent.clock import Clock
from agent.errors import DeviceError, WireError
from agent.lib.backoff import Backoff
from agent.lib.timed_event import TimedEvent
from agent.model import BusState, Point, Quality, Reading, Readings, Value
from drivers.api import BusSpec, DeviceSpec, DurableStore
from drivers.gpio.factory import Errors, pin_factory
from drivers.gpio.lines import RETRY, ContactInput, Line, PulseCounter, Relay

__all__ = ["Gpio", "open_gpio"]

log = logging.getLogger("bocage.gpio")

_PULSE_SPACING = 0.2  # seconds between two readings of one counter that pulses make
_GRACE = 10.0  # seconds that a sign of life may be late

_ON: Mapping[Value, bool] = {True: True, "on": True, False: False, "off": False}  # 1 and 0 are True and False here


def open_gpio(spec: BusSpec, clock: Clock, memory: DurableStore) -> Gpio:
    """Make the driver of a GPIO chip; the chip is opened by the first use. ValueError for an unknown role or pull."""
    return Gpio(spec, clock, memory)


class Gpio:
    """One GPIO chip. Wire, Listener, Poller and Writer.

    A relay reads as True (on) or False, a contact as True (closed, active), a counter as its pulses since ever.
    Contacts are reported at each edge, counters at most five times a second, and all at each poll.
    """

    def __init__(self, spec: BusSpec, clock: Clock, memory: DurableStore) -> None:
        self._name, self._clock = spec.name, clock
        self._memory = memory
        self._lines: dict[str, Line] = {device.name: self._line(device) for device in spec.devices}
        self._poll = min((line.poll for line in self._lines.values()), default=10.0)
        self._factory: Any = None
        self._own_factory = False
        self._errors: Errors = ()
        self._error = ""
        self._news: list[Reading] = []
        self._wake = TimedEvent()
        self._due = float("inf")

    def _line(self, spec: DeviceSpec) -> Line:
        match spec.options.get("role"):
            case "relay":
                return Relay(spec)
            case "input":
                return ContactInput(spec, self._contact_changed)
            case "counter":
                return PulseCounter(spec, lambda _line: self._wake.set(), self._clock, self._memory)
            case role:
                raise ValueError(f"{spec.name}: role {role!r} is not relay, input or counter")

    # What it offers

    @property
    def points(self) -> Sequence[Point]:
        return [line.point for line in self._lines.values()]

    def status(self) -> Mapping[str, Any]:
        """`lost` are the pins that cannot be had, while the others go on: all of them without the chip. Before that was
        tried they are `unheard`."""
        is_open = self._factory is not None
        taken = [line for line in self._lines.values() if line.error] if is_open else []
        closed = [] if is_open else list(self._lines)
        return {
            "state": BusState.UP if is_open else BusState.DOWN,
            "load": 0.0,
            "error": self._error or "; ".join(line.error for line in taken),
            "lost": [line.name for line in taken] + (closed if self._error else []),
            "unheard": [] if self._error else closed,
        }

    def due(self) -> float:
        return self._due

    async def readings(self) -> AsyncIterator[Readings]:
        backoff = Backoff(*RETRY)
        while True:
            try:
                self._open()
            except WireError as error:
                self._error, retry = str(error), backoff.next()
                log.warning('gpio not available bus=%s reason="%s" next=retry in %.0f s', self._name, error, retry)
                self._due = self._clock.monotonic() + retry + _GRACE
                yield self._bad()
                await asyncio.sleep(retry)
                continue
            backoff.reset()
            next_poll = self._clock.monotonic()
            while self._factory is not None:
                now = self._clock.monotonic()
                self._try_again(now)
                batch = self._news + self._pulses(now)
                self._news = []
                if now >= next_poll:
                    batch += self._look(self._lines)
                    next_poll = now + self._poll
                    self._due = next_poll + _GRACE
                if batch:
                    yield batch
                again = min((line.retry_at for line in self._lines.values()), default=float("inf"))
                await self._wait(min(next_poll, again, self._next_counter()))

    async def read(self, points: Sequence[str]) -> Readings:
        self._open()
        return self._look(points)

    async def write(self, point: str, value: Value, _until: float | None = None) -> None:
        """Set a relay. `value` is True/False, 1/0 or "on"/"off"; DeviceError for anything else, or another pin."""
        line = self._lines.get(point)
        if not isinstance(line, Relay):
            raise DeviceError(f"{point} is not a relay output")
        if value not in _ON:
            raise DeviceError(f"{point} takes on or off, not {value!r}")
        self._open()
        if line.device is None and not self._open_line(line):
            raise DeviceError(line.error)
        try:
            line.write(_ON[value])
            self._news.append(self._reading(line))
        except self._errors as error:
            raise self._lost(error) from error
        self._wake.set()

    async def write_aside(self, device: DeviceSpec, _point: str, value: Value) -> None:
        """Set a relay on a pin that is no longer ours, and give the pin back.

        A pin that is a contact or a counter now is an input already: nothing is driven against it.
        """
        relay = Relay(device)
        now = next((line for line in self._lines.values() if line.pin == relay.pin), None)
        if isinstance(now, Relay):
            await self.write(now.name, value)
            return
        self._open()
        if now is not None:
            return
        relay.wanted = bool(_ON.get(value, False))
        try:
            relay.open(importlib.import_module("gpiozero"), self._factory)
            relay.close()
        except self._errors as error:
            raise DeviceError(f"pin {relay.pin}: {error}") from error

    async def close(self) -> None:
        """Keep the counters' totals and give the pins back. gpiozero turns a relay's pin into an input."""
        self._release()
        self._due = float("inf")

    async def retire(self, devices: Sequence[DeviceSpec]) -> None:
        """Close all pins but those that are relays of the same polarity among `devices`: the next driver takes them
        over.
        """
        relays = [Relay(device) for device in devices if device.options.get("role") == "relay"]
        staying = {(relay.pin, relay.active_high) for relay in relays}
        self._let_go(
            line for line in self._lines.values()
            if not isinstance(line, Relay) or (line.pin, line.active_high) not in staying
        )  # fmt: skip
        self._due = float("inf")

    def succeed(self, before: Gpio) -> None:
        """Take over the chip of `before`, which has retired, with the relays that it left open."""
        if before._factory is None:
            return
        self._factory, self._own_factory, self._errors = before._factory, before._own_factory, before._errors
        before._factory, before._own_factory = None, False
        held = {line.pin: line for line in before._lines.values() if line.device is not None}
        for line in self._lines.values():
            if isinstance(line, Relay) and isinstance(old := held.get(line.pin), Relay):
                line.device, line.wanted, old.device = old.device, old.wanted, None
        with contextlib.suppress(WireError):  # the next read tries again
            self._open_lines()

    # The chip

    def _open(self) -> None:
        """Open the chip and every pin, if that is not done yet. WireError says what is missing."""
        if self._factory is not None:
            return
        os.environ.setdefault("LG_WD", os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0] or tempfile.gettempdir())
        try:
            gpiozero = importlib.import_module("gpiozero")
        except ImportError as error:
            raise WireError(f"gpiozero is missing: pip install bocage[gpio] ({error})") from error
        self._factory, self._own_factory, self._errors = pin_factory(gpiozero)
        self._open_lines()
        log.info("gpio open bus=%s pins=%d", self._name, len(self._lines))

    def _open_lines(self) -> None:
        """Every pin that can be had. One that another program holds costs itself; if none can, the chip is lost."""
        self._error = ""
        opened = [self._open_line(line) for line in self._lines.values() if line.device is None]
        if opened and not any(line.device is not None for line in self._lines.values()):
            raise self._lost(next(iter(self._lines.values())).error)

    def _open_line(self, line: Line) -> bool:
        """Whether the pin is ours now; if not, its `error` says why, and when it is tried again is settled."""
        try:
            line.open(importlib.import_module("gpiozero"), self._factory)
        except self._errors as error:
            told = line.error
            rest = line.failed(error, self._clock.monotonic())
            with contextlib.suppress(*self._errors):
                line.close()
            if line.error != told:
                log.warning(
                    "pin not available bus=%s %s next=retry in %.0f s, the other pins go on",
                    self._name, line.error, rest,
                )  # fmt: skip
            return False
        line.opened()
        return True

    def _try_again(self, now: float) -> None:
        for line in self._lines.values():
            if line.device is None and now >= line.retry_at and self._open_line(line):
                log.info("pin open bus=%s pin=%d", self._name, line.pin)
                self._news += self._look([line.name])

    def _lost(self, error: BaseException | str) -> WireError:
        self._release()
        self._error = f"GPIO chip: {error}"
        self._wake.set()
        return WireError(self._error)

    def _release(self) -> None:
        self._let_go(self._lines.values())
        if self._own_factory:
            with contextlib.suppress(*self._errors):
                self._factory.close()
        self._factory, self._own_factory = None, False

    def _let_go(self, lines: Iterable[Line]) -> None:
        for line in lines:
            if isinstance(line, PulseCounter):
                line.save()
            with contextlib.suppress(*self._errors):
                line.close()

    # Readings

    def _look(self, points: Sequence[str] | Mapping[str, Line]) -> list[Reading]:
        try:
            for name in points:
                line = self._lines[name]
                if isinstance(line, ContactInput) and line.device is not None:
                    line.refresh()
            return [self._reading(self._lines[name]) for name in points]
        except self._errors as error:
            self._lost(error)
            return [Reading(name, None, self._clock.now(), Quality.BAD) for name in points]

    def _bad(self) -> Readings:
        now = self._clock.now()
        return [Reading(name, None, now, Quality.BAD) for name in self._lines]

    def _reading(self, line: Line) -> Reading:
        if line.device is None:
            return Reading(line.name, None, self._clock.now(), Quality.BAD)
        return Reading(line.name, line.value, self._clock.now())

    def _contact_changed(self, line: ContactInput) -> None:
        self._news.append(self._reading(line))
        self._wake.set()

    def _counters(self) -> list[PulseCounter]:
        return [line for line in self._lines.values() if isinstance(line, PulseCounter)]

    def _pulses(self, now: float) -> list[Reading]:
        """Readings of the counters that moved and may be published again; totals that have waited a minute are kept."""
        batch = []
        for counter in self._counters():
            if now >= counter.save_at():
                counter.save()
            if counter.dirty and now >= counter.next_at:
                counter.dirty, counter.next_at = False, now + _PULSE_SPACING
                batch.append(self._reading(counter))
        return batch

    def _next_counter(self) -> float:
        times = [c.next_at for c in self._counters() if c.dirty] + [c.save_at() for c in self._counters()]
        return min(times, default=float("inf"))

    async def _wait(self, until: float) -> None:
        """Sleep until `until` (clock.monotonic) or until something moved."""
        await self._wake.wait(until - self._clock.monotonic())
        self._wake.clear()
