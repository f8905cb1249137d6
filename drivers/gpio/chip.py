"""Pins of a GPIO chip: relays, contacts and pulse counters, through gpiozero (lgpio on the Raspberry Pi).

A device is one pin, and its point bears the same name (`gpio.17`). `DeviceSpec.address` is `{"pin": 17}`, the
Broadcom number and not that of the header. Options:

- `role`: "relay", "input" or "counter";
- `active_high`: whether a high level means on. Default: yes, but no on a pin with a pull-up, where the contact
  closes to ground;
- `pull` (input, counter): "up" (default: a dry contact needs one), "down", or "none" where the board has its own;
- `debounce` (input, counter), seconds: a level counts once it has stood that long. Default 0;
- `least_between` (counter), seconds: pulses nearer than that are one, because the meter cannot turn so fast: its magnet
  stands at the edge of the contact and rocks. Default 0;
- `initial_value` (relay): True, False, or None to start from the level that is found on the pin.

gpiozero's own library is imported when the chip is opened, not before. docs/gpio.md tells the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from agent.clock import Clock
from agent.errors import DeviceError, StorageError, WireError
from agent.lib.backoff import Backoff
from agent.lib.throttle import Throttle
from agent.lib.wake import Wake
from agent.model import BusState, Kind, Point, Quality, Reading, Readings, Value
from drivers.api import BusSpec, DeviceSpec, DurableStore

__all__ = ["Gpio", "open_gpio"]

log = logging.getLogger("bocage.gpio")

_SAVE_PULSES = 10
_SAVE_SECONDS = 60.0
_PULSE_SPACING = 0.2  # seconds between two readings of one counter that pulses make
_ROCKING_TOLD = 3600.0  # seconds between two log lines about pulses that come too fast
_OVERLOAD = 0.8  # of the least time: nearer pulses are one; a meter may pass a quarter more than its nominal flow
_GRACE = 10.0  # seconds that a sign of life may be late
_RETRY = (5.0, 60.0)  # seconds between attempts to open the chip, or one pin of it: first, longest

_Errors = tuple[type[BaseException], ...]
_PULLS = {"up": True, "down": False, "none": None}
_ON: Mapping[Value, bool] = {True: True, "on": True, False: False, "off": False}  # 1 and 0 are True and False here


def open_gpio(spec: BusSpec, clock: Clock, memory: DurableStore) -> Gpio:
    """Make the driver of a GPIO chip; the chip is opened by the first use. ValueError for an unknown role or pull."""
    return Gpio(spec, clock, memory)


class _Line:
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
        self.retry_at, self._backoff = float("inf"), Backoff(*_RETRY)

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


class _Relay(_Line):
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


class _Input(_Line):
    """A contact. Its level is believed once it has stood for `debounce` seconds, by the edges' own time stamps."""

    def __init__(self, spec: DeviceSpec, changed: Callable[[_Input], None]) -> None:
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


class _Counter(_Input):
    """Counts how often its contact closed, for ever: the total is kept in `memory`."""

    kind = Kind.COUNTER

    def __init__(self, spec: DeviceSpec, changed: Callable[[_Input], None], clock: Clock, memory: DurableStore) -> None:
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
            with contextlib.suppress(StorageError):  # kept in memory, and tried again by whoever writes it
                self._memory.put(self._key, self.total, now=True)
        self._saved, self._saved_at = self.total, self._clock.monotonic()

    def _pulse(self, line: _Input) -> None:
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


class Gpio:
    """One GPIO chip. Wire, Listener, Poller and Writer.

    A relay reads as True (on) or False, a contact as True (closed, active), a counter as its pulses since ever.
    Contacts are reported at each edge, counters at most five times a second, and all at each poll.
    """

    def __init__(self, spec: BusSpec, clock: Clock, memory: DurableStore) -> None:
        self._name, self._clock = spec.name, clock
        self._memory = memory
        self._lines: dict[str, _Line] = {device.name: self._line(device) for device in spec.devices}
        self._poll = min((line.poll for line in self._lines.values()), default=10.0)
        self._factory: Any = None
        self._own_factory = False
        self._errors: _Errors = ()
        self._error = ""
        self._news: list[Reading] = []
        self._wake = Wake()
        self._due = float("inf")

    def _line(self, spec: DeviceSpec) -> _Line:
        match spec.options.get("role"):
            case "relay":
                return _Relay(spec)
            case "input":
                return _Input(spec, self._contact_changed)
            case "counter":
                return _Counter(spec, lambda line: self._wake.set(), self._clock, self._memory)
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
        backoff = Backoff(*_RETRY)
        while True:
            try:
                self._open()
            except WireError as error:
                self._error, retry = str(error), backoff.next()
                log.warning("gpio not available bus=%s reason=%s next=retry in %.0f s", self._name, error, retry)
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

    async def write(self, point: str, value: Value, until: float | None = None) -> None:
        """Set a relay. `value` is True/False, 1/0 or "on"/"off"; DeviceError for anything else, or another pin."""
        line = self._lines.get(point)
        if not isinstance(line, _Relay):
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

    async def write_aside(self, device: DeviceSpec, point: str, value: Value) -> None:
        """Set a relay on a pin that is none of ours any more, and give the pin back.

        A pin that is a contact or a counter now is an input already: nothing is driven against it.
        """
        relay = _Relay(device)
        now = next((line for line in self._lines.values() if line.pin == relay.pin), None)
        if isinstance(now, _Relay):
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
        relays = [_Relay(device) for device in devices if device.options.get("role") == "relay"]
        staying = {(relay.pin, relay.active_high) for relay in relays}
        self._let_go(
            line for line in self._lines.values()
            if not isinstance(line, _Relay) or (line.pin, line.active_high) not in staying
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
            if isinstance(line, _Relay) and isinstance(old := held.get(line.pin), _Relay):
                line.device, line.wanted, old.device = old.device, old.wanted, None
        with contextlib.suppress(WireError):  # whoever reads tries again
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
        self._factory, self._own_factory, self._errors = _pin_factory(gpiozero)
        self._open_lines()
        log.info("gpio open bus=%s pins=%d", self._name, len(self._lines))

    def _open_lines(self) -> None:
        """Every pin that can be had. One that another program holds costs itself; if none can, the chip is lost."""
        self._error = ""
        opened = [self._open_line(line) for line in self._lines.values() if line.device is None]
        if opened and not any(line.device is not None for line in self._lines.values()):
            raise self._lost(next(iter(self._lines.values())).error)

    def _open_line(self, line: _Line) -> bool:
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

    def _let_go(self, lines: Iterable[_Line]) -> None:
        for line in lines:
            if isinstance(line, _Counter):
                line.save()
            with contextlib.suppress(*self._errors):
                line.close()

    # Readings

    def _look(self, points: Sequence[str] | Mapping[str, _Line]) -> list[Reading]:
        try:
            for name in points:
                line = self._lines[name]
                if isinstance(line, _Input) and line.device is not None:
                    line.refresh()
            return [self._reading(self._lines[name]) for name in points]
        except self._errors as error:
            self._lost(error)
            return [Reading(name, None, self._clock.now(), Quality.BAD) for name in points]

    def _bad(self) -> Readings:
        now = self._clock.now()
        return [Reading(name, None, now, Quality.BAD) for name in self._lines]

    def _reading(self, line: _Line) -> Reading:
        if line.device is None:
            return Reading(line.name, None, self._clock.now(), Quality.BAD)
        return Reading(line.name, line.value, self._clock.now())

    def _contact_changed(self, line: _Input) -> None:
        self._news.append(self._reading(line))
        self._wake.set()

    def _counters(self) -> list[_Counter]:
        return [line for line in self._lines.values() if isinstance(line, _Counter)]

    def _pulses(self, now: float) -> list[Reading]:
        """Readings of the counters that moved and may speak again; totals that have waited a minute are kept."""
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


def _pin_factory(gpiozero: Any) -> tuple[Any, bool, _Errors]:
    """gpiozero's pin factory, whether we close it, and the errors that it raises. WireError if there is none.

    A factory that is already installed (tests, the demo) or that GPIOZERO_PIN_FACTORY names is taken as it is. Else it
    is lgpio or nothing: gpiozero's own fallbacks write registers directly, or need a daemon.
    """
    errors: _Errors = (gpiozero.GPIOZeroError, ImportError, OSError, RuntimeError, ValueError)
    if gpiozero.Device.pin_factory is not None or "GPIOZERO_PIN_FACTORY" in os.environ:
        try:
            gpiozero.Device.ensure_pin_factory()
        except errors as error:
            raise WireError(f"GPIOZERO_PIN_FACTORY does not work: {error}") from error
        return gpiozero.Device.pin_factory, False, errors
    try:
        errors = _with_lgpio(errors)
        factory = importlib.import_module("gpiozero.pins.lgpio").LGPIOFactory()
    except (ImportError, AttributeError) as error:  # lgpio 0.0.0.2 on PyPI is an empty stub
        remedy = "sudo apt install python3-lgpio, then sudo make install; plain Debian has none: docs/install.md, GPIO"
        raise WireError(f"the GPIO library lgpio is missing: {remedy} ({error})") from error
    except errors as error:
        raise WireError(f"no GPIO chip on this machine, or no right to it (group gpio): {error}") from error
    return factory, True, errors


def _with_lgpio(errors: _Errors) -> _Errors:
    """lgpio's own exception derives from nothing but Exception."""
    lgpio_error: type[Exception] = importlib.import_module("lgpio").error
    return (*errors, lgpio_error)
