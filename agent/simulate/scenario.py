"""The scenario file: inputs, faults and commands. Times are seconds from the start."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import Field

from agent.control.api import Commanded, Worded
from agent.lib.suggestion import did_you_mean
from agent.model import Value
from agent.site.build import controls, written_points
from agent.site.checks.names import Checked
from agent.site.language.base import Many, Model
from agent.site.language.document import Document, Keys, read
from agent.site.language.problems import Problem, listed
from agent.site.language.validation import validate
from agent.site.language.values import DURATION, Choice, Duration, FileName, Quantity, TimeSpan, Written, plain
from agent.site.models.calendars import IcsUrlConfig
from agent.site.models.conditions import MODES
from agent.site.models.peers import requests_of
from agent.site.models.site import Site
from agent.site.profiles.model import Library

__all__ = ["Scenario", "ScenarioCommand", "ScenarioFault", "ScenarioInput", "read_scenario"]

KINDS = ("constant", "steps", "ramp", "sine", "rate", "follows", "model")
"""The kinds of inputs, each with its keys."""
_KEYS: dict[str, tuple[set[str], set[str]]] = {
    "constant": (set(), set()),
    "steps": (set(), set()),
    "ramp": (set(), set()),
    "sine": (set(), set()),
    "rate": (set(), {"from_", "until"}),
    "follows": (set(), {"on", "off", "ripple"}),
    "flow": ({"tau", "on", "off", "heater"}, {"start"}),
    "room": ({"tau", "gain", "start", "heater", "outdoor"}, set()),
    "modulating": ({"tau", "off", "heater"}, {"on", "start"}),
    "radiators": ({"tau", "gain", "start", "flow", "outdoor"}, set()),
}


_OF_ANY = ("step", "every")
"""Keys of all kinds: how a sensor reports."""


def _value(value: Any) -> Value:
    if value in ("on", "off"):
        return bool(value == "on")
    if isinstance(value, bool | int | float):
        return value
    raise ValueError(f"{plain(value)} is no value; write a number, on or off")


def _state(value: Any) -> Value:
    """A value of an input: a word as well, such as HC. Which input takes words, the site says."""
    if isinstance(value, str) and value not in ("on", "off") and _WORD.fullmatch(value):
        return value
    return _value(value)


_WORD = re.compile(r"[^\W\d][\w .-]{0,31}")


def _moment(value: Any) -> float:
    if value == 0 and not isinstance(value, bool):
        return 0.0
    return float(DURATION.parse(value))


def _pairs(value: Any) -> tuple[tuple[float, Value], ...]:
    if value == []:
        raise ValueError("there is no step; write [[0, -3], [6h, -5]]")
    if not isinstance(value, list):
        raise ValueError(f"{plain(value)} is no list of times and values; write [[0, -3], [6h, -5]]")
    found: list[tuple[float, Value]] = []
    for item in value:
        if not isinstance(item, list) or len(item) != 2:
            raise ValueError(f"{plain(item)} is no time and its value; write [6h, -5]")
        at = _moment(item[0])
        if found and at <= found[-1][0]:
            raise ValueError("the times must grow; write the earlier one first")
        found.append((at, _state(item[1])))
    return tuple(found)


def _numbers(value: Any) -> tuple[tuple[float, float], ...]:
    found = _pairs(value)
    if any(isinstance(one, bool | str) for _, one in found):
        raise ValueError("a ramp goes through numbers; on and off are steps")
    return tuple((at, float(one or 0)) for at, one in found)


class PerSecond(NamedTuple):
    """How fast something counts: `amount` of `unit` a second. Without a unit: in the counter's own."""

    amount: float
    unit: str

    def of(self, unit: str) -> float:
        """The same in a counter's unit."""
        return self.amount * {("m3", "L"): 1000.0, ("L", "m3"): 0.001}.get((self.unit, unit), 1.0)


_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(|L|m3|Wh|kWh)\s*/\s*(h|min|s)\s*")


def _rate(value: Any) -> PerSecond:
    found = _RATE.fullmatch(value if isinstance(value, str) else "")
    if found is None:
        raise ValueError(f"{plain(value)} is no rate; write 30 L/h, or 2 /min in the counter's unit")
    return PerSecond(float(found[1]) / {"h": 3600, "min": 60, "s": 1}[found[3]], found[2])


def _word(value: Any) -> Value:
    if value is None or value == "release":
        return None
    if value in ("ack", "reset", "auto", *MODES) and value != "off":
        return str(value)
    if isinstance(value, str) and value not in ("on", "off"):
        modes = f"for the mode of a zone {listed((*MODES, 'auto'))}"
        raise ValueError(f"{plain(value)} is no value; write a number, on, off, ack, reset or release, or {modes}")
    return _value(value)


def _start(value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f'{plain(value)} is no time; write "2026-01-15T12:00:00+01:00"') from None
    return found


_PAIRS = {"type": "array"}
Level = Annotated[float | int | bool, Written(_value, {}, "a number, on or off")]
State = Annotated[float | int | bool | str, Written(_state, {}, "a number, on, off, or a word such as HC")]
Moment = Annotated[float, Written(_moment, {}, "a time from the start, such as 6h")]
Steps = Annotated[tuple[tuple[float, Value], ...], Written(_pairs, _PAIRS, "[[0, -3], [6h, -5]]")]
Ramp = Annotated[tuple[tuple[float, float], ...], Written(_numbers, _PAIRS, "[[0, 60], [24h, 30]]")]
Rate = Annotated[PerSecond, Written(_rate, {"type": "string"}, "a rate, such as 30 L/h")]
Start = Annotated[datetime, Written(_start, {"type": "string"}, "a time in ISO 8601")]
Word = Annotated[Value, Written(_word, {}, "on, off, a number, ack, reset, release or a mode")]


class Sine(Model):
    """mean + amplitude x sin(2 pi (t - phase) / period)."""

    mean: float = 0
    amplitude: float
    period: TimeSpan = 86400
    phase: Moment = 0


class ScenarioInput(Model):
    """One input: exactly one of the kinds, with the keys that belong to it."""

    constant: State | None = None
    steps: Steps | None = None
    ramp: Ramp | None = None
    sine: Sine | None = None
    rate: Rate | None = None
    """The growth of a counter, in its unit."""
    from_: Moment = Field(default=0.0, alias="from")
    until: Moment | None = None
    follows: str | None = None
    """An actuator, whose real state (a welded contactor's too) says which value it has."""
    model: Annotated[
        Literal["room", "flow", "modulating", "radiators"] | None, Choice("room", "flow", "modulating", "radiators")
    ] = None  # fmt: skip
    tau: TimeSpan | None = None
    on: Level | None = None
    off: Level | None = None
    ripple: Annotated[float, Field(gt=0)] | None = None
    """By how much the value moves around `on` and `off` at most, in the unit of the input: another one each minute."""
    start: float | None = None
    gain: float | None = None
    """K above outdoors in the end, with the heater on for good; radiators: K of the room for each K of their flow."""
    heater: str | None = None
    flow: str | None = None
    """The input that is the flow of a room's radiators."""
    outdoor: str | None = None
    step: Annotated[float, Field(gt=0)] | None = None
    """The sensor tells multiples of it."""
    every: TimeSpan | None = None
    """It tells its value that often, and nothing in between."""

    @property
    def kinds(self) -> list[str]:
        return [kind for kind in KINDS if getattr(self, kind) is not None]


class ScenarioFault(Model):
    """A fault, with its time and its duration (without one: for good)."""

    at: Moment
    for_: Duration | None = Field(default=None, alias="for")
    kill: Annotated[Literal["agent"] | None, Choice("agent")] = None
    power_cut: TimeSpan | None = None
    """How long the box has no current."""
    link: Annotated[Literal["down"] | None, Choice("down")] = None
    clock: str | None = None
    """+2h: the wall clock steps."""
    untrusted: Literal["clock"] | Literal[True] | None = None
    stale: str | None = None
    bad: str | None = None
    stuck: str | None = None
    device: str | None = None
    weld: str | None = None
    calendar: str | None = None
    """A calendar on a server that does not answer any more."""

    @property
    def kinds(self) -> list[str]:
        return [kind for kind in FAULTS if getattr(self, kind) is not None]

    @property
    def step(self) -> float:
        """By how many seconds the clock steps."""
        text = self.clock or ""
        return (-1 if text.startswith("-") else 1) * float(_STEP.parse(text.lstrip("+-")))


_STEP = Quantity("a step", DURATION.units, DURATION.show, high=100 * 365 * 86400.0)
"""Clocks wake in 1970 or 1980, and receivers of GPS go back by 1,024 weeks."""
FAULTS = ("kill", "power_cut", "link", "clock", "untrusted", "stale", "bad", "stuck", "device", "weld", "calendar")


class ScenarioCommand(Model):
    """A command: by MQTT, held back while the link is down, unless it is given on the box."""

    at: Moment
    id: str
    point: str
    value: Word
    ttl: Duration | None = None
    """How long it may wait for its start."""
    for_: Duration | None = Field(default=None, alias="for")
    """How long the override lasts."""
    origin: Annotated[Literal["mqtt", "local"], Choice("mqtt", "local")] = "mqtt"


class Scenario(Model):
    start: Start
    """In site time."""
    duration: TimeSpan
    clock: Annotated[Literal["trusted", "untrusted"], Choice("trusted", "untrusted")] = "trusted"
    inputs: dict[str, ScenarioInput] = Field(default_factory=dict)
    faults: Many[ScenarioFault] = ()
    commands: Many[ScenarioCommand] = ()
    calendars: dict[str, FileName] = Field(default_factory=dict)
    """The iCalendar that a server gives, by the name of the calendar: a file beside the scenario."""


def read_scenario(path: Path, site: Site, file: str | None = None) -> tuple[Scenario | None, list[Problem]]:
    """A scenario for a site, None where there is an error, and all problems by line. Never raises."""
    document = read(path, file)
    scenario = None
    if document.data is not None:
        scenario, left_out = validate(document, Scenario, path.parent)
        if scenario is not None:
            _Check(document, site, scenario, left_out).run()
    if document.data is None:
        document.problems[:] = [_of_a_scenario(problem) for problem in document.problems]
    problems = sorted(document.problems, key=lambda found: (found.line, found.column))
    return (None if any(found.severity == "error" for found in problems) else scenario), problems


def _of_a_scenario(problem: Problem) -> Problem:
    """`bocage init` writes no scenarios."""
    if not problem.message.startswith("the file is empty"):
        return problem
    message = 'the file is empty; begin with start: "2026-01-15T12:00:00+01:00" and duration: 24h'
    return replace(problem, message=message)


class _Check:
    """Check what the models by themselves cannot see: names of the site, keys that do not go together."""

    def __init__(self, document: Document, site: Site, scenario: Scenario, left_out: set[Keys]) -> None:
        self._site, self._scenario = site, scenario
        self._at = Checked(document, site, left_out, Library(site.path.parent))
        self._actuators = {*site.actuators, *(one.point for one in written_points(site))}
        self._requests = {requests_of(name): peer.allow for name, peer in site.peers.items()}
        """The outputs that other sites may ask for, by the device whose points are their requests."""
        pins = {name for name, bus in site.buses.items() if bus.has_pins}
        self._devices = set(site.devices) | pins | self._requests.keys()

    def run(self) -> None:
        scenario, at = self._scenario, self._at
        zone = ZoneInfo(self._site.site.timezone)
        if scenario.start.tzinfo is not None and not at.wrong("start"):
            own = scenario.start.astimezone(zone)
            if own.utcoffset() != scenario.start.utcoffset():
                at.warn(("start",), f"{self._site.site.timezone} is at {own.isoformat()} then")
        for name, one in scenario.inputs.items():
            self._input(name, one)
        for name in scenario.calendars:
            if name not in self._served():
                self._unknown(("calendars", name), "calendar on a server", name, self._served(), at_key=True)
        for index, fault in enumerate(scenario.faults):
            self._fault(("faults", index), fault)
        seen: set[str] = set()
        for index, command in enumerate(scenario.commands):
            if command.id in seen:
                at.warn(("commands", index, "id"), f"{command.id} is used already: it will not be carried out again")
            seen.add(command.id)
            self._point(("commands", index, "point"), command.point)
        at.report_unknown()

    def _source(self, keys: Keys, name: str, at_key: bool = False) -> None:
        """A signal, a point or a pin of the site."""
        if "." not in name:
            if name not in self._site.signals:
                self._unknown(keys, "input", name, {*self._site.signals, *self._devices}, at_key)
            return
        owner, _, rest = name.partition(".")
        if owner not in self._devices:
            self._unknown(keys, "device", owner, self._devices, at_key)
        elif owner in self._site.devices:
            points = (self._site.devices[owner].profile_data or {}).get("points", {})
            if rest not in points:
                self._unknown(keys, f"point of {owner}", rest, points, at_key)
        elif owner in self._requests and rest not in self._requests[owner]:
            self._unknown(keys, f"point of {owner}", rest, self._requests[owner], at_key)

    def _unknown(self, keys: Keys, what: str, name: str, known: Any, at_key: bool = False) -> None:
        hint = did_you_mean(name, known) or (f"known here: {', '.join(sorted(known))}" if known else "")
        text = f'unknown {what} "{name}"' + (f"; {hint}" if hint else "")
        self._at.error(keys, text, at_key=at_key)

    def _input(self, name: str, one: ScenarioInput) -> None:
        keys: Keys = ("inputs", name)
        self._source(keys, name, at_key=True)
        kinds = one.kinds
        if self._is_wrong(keys, KINDS):
            return
        if len(kinds) != 1:
            found = "nothing" if not kinds else " and ".join(kinds)
            self._at.error(keys, f"{name} says {found}; write one of {', '.join(KINDS)}", at_key=True)
            return
        kind = one.model or kinds[0]
        needed, more = _KEYS[kind]
        given = one.model_fields_set - {kinds[0], *_OF_ANY}
        for key in sorted(given - needed - more):
            written = key.rstrip("_")
            self._at.error((*keys, written), f'"{written}" does not belong to {kind}', at_key=True)
        for key in sorted(needed - given):
            if not self._at.wrong(*keys, key):
                self._at.error(keys, f'"{key}" is missing in {name} ({kind})', at_key=True)
        self._sources_of(keys, name, one)
        if one.outdoor in self._site.signals and one.outdoor not in self._scenario.inputs:
            self._at.error((*keys, "outdoor"), f"{one.outdoor} is not among the inputs; say there what it does")
        elif one.outdoor is not None and self._at.known(
            (*keys, "outdoor"), "input", one.outdoor, self._scenario.inputs
        ):
            self._outdoors((*keys, "outdoor"), name, one.outdoor)
        self._words(keys, name, one)
        if one.follows is not None and one.ripple is not None:
            self._ripple(keys, name, one)
        if one.rate is not None:
            self._rate((*keys, "rate"), name, one.rate)
        if one.until is not None and one.until <= one.from_:
            self._at.error((*keys, "until"), "it ends before it begins; until is a time from the start, as from is")

    def _sources_of(self, keys: Keys, name: str, one: ScenarioInput) -> None:
        """The actuator and the flow that an input depends on."""
        for key in ("follows", "heater"):
            actuator = getattr(one, key)
            if actuator is not None:
                self._at.known((*keys, key), "actuator", actuator, self._actuators)
        if one.flow is not None and self._at.known((*keys, "flow"), "input", one.flow, self._scenario.inputs):
            self._outdoors((*keys, "flow"), name, one.flow)

    def _ripple(self, keys: Keys, name: str, one: ScenarioInput) -> None:
        """On and off do not move."""
        if any(value is None or isinstance(value, bool) for value in (one.on, one.off)):
            text = f"a ripple moves numbers; write what {name} reads then, such as on: 1800, off: 2"
            self._at.error((*keys, "ripple"), text)

    def _words(self, keys: Keys, name: str, one: ScenarioInput) -> None:
        """A word is for an input that a control reads as one."""
        values = [one.constant] if isinstance(one.constant, str) else [value for _, value in one.steps or ()]
        found = next((value for value in values if isinstance(value, str)), None)
        if found is None:
            return
        read = frozenset[str]().union(*(one.words for one in controls(self._site) if isinstance(one, Worded)))
        if name not in read | {self._site.signals[word].from_ for word in read & self._site.signals.keys()}:
            self._at.error((*keys, one.kinds[0]), f"{plain(found)} is no value; write a number, on or off")

    def _is_wrong(self, keys: Keys, kinds: Iterable[str]) -> bool:
        """Whether it was said already what is wrong with it."""
        return any(self._at.wrong(*keys, kind) for kind in kinds)

    def _outdoors(self, keys: Keys, name: str, outdoor: str) -> None:
        """A room may lie beside another one, but not in the end beside itself."""
        seen = {name}
        while outdoor in self._scenario.inputs:
            if outdoor in seen:
                self._at.error(keys, f"what is outdoors of {name} leads back to {outdoor} itself")
                return
            seen.add(outdoor)
            outdoor = self._scenario.inputs[outdoor].outdoor or ""

    def _rate(self, keys: Keys, name: str, rate: PerSecond) -> None:
        signals = self._site.signals.items()
        units = [one.unit for key, one in signals if one.kind == "counter" and name in (key, one.from_)]
        if not units:
            self._at.error(keys, f"{name} is no counter; a rate is for one with kind: counter")
        elif rate.unit and rate.unit != units[0] and {rate.unit, units[0]} != {"L", "m3"}:
            self._at.error(keys, f"{name} counts {units[0] or 'without a unit'}, not {rate.unit}")

    def _point(self, keys: Keys, name: str) -> None:
        """A command on what is not there is rejected: worth a word, not the end."""
        site = self._site
        owner, _, _ = name.partition(".")
        if name in site.actuators or owner in self._devices or owner == "alarm":
            return
        known = {point for one in controls(site) if isinstance(one, Commanded) for point in one.commands}
        known |= {f"{signal}.index" for signal in site.signals}
        if name in known:
            return
        near = did_you_mean(name, known | site.actuators.keys())
        self._at.warn(keys, f'unknown point "{name}": it will be rejected' + (f"; {near}" if near else ""))

    def _served(self) -> set[str]:
        """The calendars on a server."""
        return {name for name, one in self._site.calendars.items() if isinstance(one.ics, IcsUrlConfig)}

    def _fault(self, keys: Keys, fault: ScenarioFault) -> None:
        kinds = fault.kinds
        if self._is_wrong(keys, FAULTS):
            return
        if len(kinds) != 1:
            found = "nothing" if not kinds else " and ".join(kinds)
            self._at.error(keys, f"a fault that says {found}; write one of {', '.join(FAULTS)}")
            return
        if fault.power_cut is not None and fault.for_ is not None:
            self._at.error((*keys, "for"), "power_cut says itself how long it lasts; leave out for", at_key=True)
        if fault.clock is not None and fault.clock != "untrusted":
            try:
                fault.step  # noqa: B018
            except ValueError as error:
                self._at.error((*keys, "clock"), f'{error} with its sign ("+2h"), or untrusted')
        for kind in ("stale", "bad", "stuck"):
            name = getattr(fault, kind)
            feedbacks = {one.feedback for one in self._site.actuators.values()}
            if name is not None and name not in self._scenario.inputs and name not in feedbacks:
                self._unknown((*keys, kind), "input", name, self._scenario.inputs)
        if fault.device is not None:
            self._at.known((*keys, "device"), "device", fault.device, self._devices)
        if fault.calendar is not None:
            self._at.known((*keys, "calendar"), "calendar", fault.calendar, self._served())
        if fault.weld is not None:
            self._at.known((*keys, "weld"), "actuator", fault.weld, self._site.actuators)
