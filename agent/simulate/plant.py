"""The simulated plant: relays and contactors, sensors that read them, and their faults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

from agent.control.api import Priced
from agent.core.actuator_spec import ActuatorSpec
from agent.errors import DeviceError
from agent.model import Instant, Kind, Point, Quality, Reading, Readings, Value
from agent.settings import Settings
from agent.simulate.inputs import GRID, RAPID, Counter, Polled, Smooth, Source, Steps, Warm, source
from agent.simulate.loop import VirtualClock
from agent.simulate.scenario import Scenario

__all__ = ["Plant"]

_NEVER_SHOWN = object()
REFRESH = 600.0
"""Seconds after which an input that does not change is handed on once more."""


class Plant:
    """The outputs of a site and the inputs of a scenario. A device that is `dead` answers nothing."""

    def __init__(self, settings: Settings, scenario: Scenario, radio: frozenset[str], clock: VirtualClock) -> None:
        self._clock, self._radio, self._settings = clock, radio, settings
        self._actuators: dict[str, ActuatorSpec] = {one.name: one for one in settings.actuators}
        self._by_output = {one.output: one for one in settings.actuators}
        self._values: dict[str, Value] = {
            one.output: False if one.kind == "relay" else one.low or 0.0 for one in settings.actuators
        }
        self._on_s = dict.fromkeys(self._actuators, 0.0)
        self._starts = dict.fromkeys(self._actuators, 0)
        self._since = dict.fromkeys(self._actuators, 0.0)
        self._powers = {
            name: power
            for control in settings.controls
            if isinstance(control, Priced)
            for name, power in control.powers.items()
        }
        """W of the outputs that take current at one tariff or another."""
        self._tariffs: dict[str, str] = {}
        self._joules: dict[str, dict[str, float]] = {name: {} for name in self._powers}
        self.welded: set[str] = set()
        self.dead: dict[str, float] = {}
        """Devices that do not answer, and since when."""
        self.stale: set[str] = set()
        self.bad: set[str] = set()
        self._stuck: dict[str, Value] = {}
        self._homes = {one.name: one.source for one in settings.signals}
        self._sources = self._make_sources(settings, scenario)
        self._polled = {name: one for name, one in self._sources.items() if isinstance(one, Polled) and one.every}
        self._polled_at: dict[str, float] = {}
        self._stepping = {
            name: one
            for name, one in self._sources.items()
            if name in self._polled or (isinstance(real := _real(one), Steps | Counter) and not real.is_constant)
        }
        """The inputs that change at moments of their own."""
        self._steps_at = dict.fromkeys(self._stepping, -inf)
        """When each of them does next (s)."""
        self._warm = [real for one in self._sources.values() if isinstance(real := _real(one), Warm)]
        self._feedbacks = {
            one.feedback: one.name for one in settings.actuators if one.feedback and one.feedback not in self._sources
        }
        fed_back = {one.feedback for one in settings.actuators}
        self._following = [
            name
            for name, one in self._sources.items()
            if name in fed_back or not isinstance(_real(one), Steps | Smooth | Counter)
        ]
        """The inputs that may follow an output: all but those that time alone moves."""
        self._watchdogs = {
            self._device(one.output): one.output_watchdog
            for one in settings.actuators
            if one.output_watchdog is not None
        }
        self._heard: dict[str, Value] = {}
        self._shown: dict[str, Value] = {}
        self._all_at = 0.0
        self.started = 0.0
        """When the agent began: it has heard nothing before."""

    def _make_sources(self, settings: Settings, scenario: Scenario) -> dict[str, Source]:
        """By the name under which the hub gets them: a counter's pulses come in at its source."""
        counters = {one.name: one for one in settings.signals if one.is_counter}
        by_source = {one.source: one for one in counters.values()}
        found: dict[str, Source] = {}
        for name, one in scenario.inputs.items():
            counter = counters.get(name) or by_source.get(name)
            counts = counter is not None and one.rate is not None
            key = counter.source if counts and counter is not None else name
            step = (counter.per_pulse or 1.0) if counter is not None else 1.0
            unit = counter.unit if counter is not None else ""
            found[key] = source(one, step, self.share, self._look, unit, self.level)
            self._homes.setdefault(name, key)
        return found

    def points(self, settings: Settings) -> list[Point]:
        """Every point that has a part in it. Only what a radio node said goes stale by itself, once it is silent."""
        counters = {one.source for one in settings.signals if one.is_counter}
        signals = {one.name for one in settings.signals}
        found = {}
        for one in settings.actuators:
            kind = Kind.STATE if one.kind == "relay" else Kind.TELEMETRY
            found[one.output] = Point(one.output, self._device(one.output), "", kind, True, one.low, one.high)
            if one.feedback:
                found[one.feedback] = Point(one.feedback, self._device(one.feedback), kind=Kind.STATE)
        for name in (*self._sources, *(one.source for one in settings.signals)):
            if name not in signals:
                kind = Kind.COUNTER if name in counters else Kind.TELEMETRY
                found.setdefault(name, Point(name, self._device(name), kind=kind))
        return list(found.values())

    # -- what the wires do -------------------------------------------------------------------------------------

    async def write(self, point: str, value: Value) -> None:
        """The arbiter writes an output."""
        if self._device(point) in self.dead:
            raise DeviceError(f"{self._device(point)} does not answer")
        self._move(point, value)

    async def read(self, points: Sequence[str]) -> Readings:
        return self.readings(points)

    def readings(self, points: Iterable[str]) -> list[Reading]:
        """The present readings of these points; none for a point that is never received."""
        now = self._clock.now()
        found = [self._reading(name, now) for name in points if self._speaks(name)]
        return [one for one in found if one is not None]

    def _speaks(self, name: str) -> bool:
        """A sensor that is polled now and then says nothing in between, unless something has befallen it."""
        one = self._polled.get(name)
        if one is None or name in self.bad or name in self.stale or self._home(name) in self.dead:
            return True
        at = one.poll(self._clock.elapsed())
        before = self._polled_at.get(name)
        self._polled_at[name] = at
        return at != before

    def everything(self) -> list[Reading]:
        """All outputs, feedbacks and inputs, as after a start."""
        return self.readings([*self._values, *self._feedbacks, *self._sources])

    def inputs(self) -> list[Reading]:
        """The readings of changed inputs, and from time to time of all, because each is polled all the time."""
        now = self._clock.elapsed()
        if now >= self._all_at or self.dead or self.bad or self.stale or self._stuck:
            self._all_at = now + REFRESH
            self._shown.clear()
            return self.readings(self._sources)
        on_grid = now % GRID < RAPID or now % GRID > GRID - RAPID
        shown, at, news = self._shown, self._clock.now(), []
        for name, one in (self._sources if on_grid else self._stepping).items():  # a pulse moves no temperature
            polled = name in self._polled
            if polled and not self._speaks(name):
                continue
            value = one.value(now)
            if polled or shown.get(name, _NEVER_SHOWN) != value:
                shown[name] = value
                news.append(Reading(name, value, at))
        return news

    def around(self, output: str) -> list[Reading]:
        """An output, its feedback, and all that may follow it."""
        return self.readings([output, *self._feedbacks, *self._following])

    def travel(self, output: str) -> float:
        """Seconds that the actuator of an output takes to move."""
        spec = self._by_output.get(output)
        return spec.travel if spec is not None else 0.0

    def next(self, now: float) -> float:
        """When an input next changes by a step."""
        steps_at = self._steps_at
        for name, at in steps_at.items():
            if at <= now:
                steps_at[name] = self._stepping[name].next(now)
        return min(steps_at.values(), default=inf)

    def settle(self) -> None:
        """Bring what warms and cools up to now, before anything moves."""
        now = self._clock.elapsed()
        for one in self._warm:
            one.settle(now)

    def share(self, actuator: str) -> float:
        """The part (0..1) to which it is really on: a welded contactor stays closed."""
        spec = self._actuators[actuator]
        value = self._values[spec.output]
        if actuator in self.welded:
            return 1.0
        if spec.kind == "relay":
            return 1.0 if value else 0.0
        top = spec.high if spec.high is not None else 100.0
        return min(1.0, max(0.0, float(value or 0) / top))

    def level(self, actuator: str) -> float:
        """The value of a level."""
        return float(self._values[self._actuators[actuator].output] or 0)

    # -- what fails --------------------------------------------------------------------------------------------

    def names(self, name: str) -> str:
        """The point that carries an input: a counter's is its pin."""
        return name if name in self._sources or name in self._feedbacks else self._homes.get(name, name)

    def stick(self, name: str) -> None:
        reading = self._reading(self.names(name), self._clock.now())
        self._stuck[self.names(name)] = reading.value if reading is not None else None

    def loosen(self, name: str) -> None:
        self._stuck.pop(self.names(name), None)

    def drop(self, device: str) -> list[Reading]:
        """Its watchdog has run out: its outputs are off."""
        for output in self._values:
            if self._device(output) == device:
                self._move(output, False if self._by_output[output].kind == "relay" else 0.0)
        return []

    def cut(self) -> list[tuple[str, Value, Value]]:
        """Nothing has current: every output drops. Returns the actuators that moved, from where and to where."""
        moved: list[tuple[str, Value, Value]] = []
        for output, spec in self._by_output.items():
            before, after = self._values[output], False if spec.kind == "relay" else 0.0
            self._move(output, after)
            if before != after:
                moved.append((spec.name, before, after))
        return moved

    def watchdog(self, device: str) -> float | None:
        return self._watchdogs.get(device)

    # -- totals ------------------------------------------------------------------------------------------------

    def price(self, tariffs: Mapping[str, str]) -> None:
        """From now on the outputs take their current at these tariffs, by actuator."""
        if tariffs == self._tariffs:
            return
        for name in tariffs:
            self._count(self._actuators[name], self._values[self._actuators[name].output])
        self._tariffs = dict(tariffs)

    def totals(self) -> Mapping[str, Mapping[str, Any]]:
        for spec in self._actuators.values():
            self._count(spec, self._values[spec.output])
        found = self._switchings()
        for name, joules in self._joules.items():
            found[name]["kwh"] = {tariff: round(amount / 3.6e6, 3) for tariff, amount in sorted(joules.items())}
        return found

    def _switchings(self) -> dict[str, dict[str, Any]]:
        return {name: {"on_s": round(self._on_s[name], 3), "starts": self._starts[name]} for name in self._actuators}

    def _move(self, output: str, value: Value) -> None:
        self.settle()
        spec = self._by_output.get(output)
        if spec is not None:
            self._count(spec, value)
        self._values[output] = value

    def _count(self, spec: ActuatorSpec, value: Value) -> None:
        now, before = self._clock.elapsed(), self._values[spec.output]
        if before:
            self._on_s[spec.name] += now - self._since[spec.name]
            if spec.name in self._tariffs:
                joules, tariff = self._joules[spec.name], self._tariffs[spec.name]
                joules[tariff] = joules.get(tariff, 0.0) + self._powers[spec.name] * (now - self._since[spec.name])
        elif value:
            self._starts[spec.name] += 1
        self._since[spec.name] = now

    def _reading(self, name: str, now: Instant) -> Reading | None:
        if self.dead and self._home(name) in self.dead:
            if self._home(name) in self._radio:
                return self._silent(name, now)
            return Reading(name, None, now, Quality.BAD)
        if name in self.bad:
            return Reading(name, None, now, Quality.BAD)
        if name in self.stale:
            return Reading(name, self._heard.get(name), now, Quality.STALE)
        if name in self._stuck:
            return Reading(name, self._stuck[name], now)
        one = self._sources.get(name)
        if one is not None:
            value = one.value(self._clock.elapsed())
            self._heard[name] = value
        elif name in self._feedbacks:
            value = self.share(self._feedbacks[name]) > 0
        elif name in self._values:
            value = self._values[name]
        else:
            return None
        return Reading(name, value, now)

    def _silent(self, name: str, now: Instant) -> Reading | None:
        """The last reading of a radio node, once it is stale."""
        source = self._homes.get(name, name)
        spans = [one.stale_after for one in self._settings.signals if one.name == name]
        known = [span for span in (self._settings.stale_after.get(source), *spans) if span is not None]
        last = self._polled_at.get(name, self.dead[self._device(source)])
        if not known or last < self.started or self._clock.elapsed() <= last + min(known):
            return None
        return Reading(name, self._heard.get(name), now, Quality.STALE)

    def _look(self, name: str) -> Value:
        one = self._sources.get(self.names(name))
        return None if one is None else _real(one).value(self._clock.elapsed())

    def _home(self, name: str) -> str:
        """The device on which an input hangs."""
        return self._device(self._homes.get(name, name))

    @staticmethod
    def _device(point: str) -> str:
        return point.partition(".")[0]


def _real(one: Source) -> Source:
    """The true value at a sensor, whatever it reports."""
    return one.inner if isinstance(one, Polled) else one
