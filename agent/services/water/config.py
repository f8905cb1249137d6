"""Water: fountains and other points with their leaks and frost, and tanks with their pumps."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from agent.site.language.base import Many, Model, Name, Reference, Section
from agent.site.language.days import day_words
from agent.site.language.spellings import key_meant, spell, time_meant
from agent.site.language.values import (
    Choice,
    Duration,
    Flow,
    FlowFor,
    Percent,
    Power,
    TimeSpan,
    Unbroken,
    UnbrokenText,
    UpToDay,
    Volume,
    Window,
    WindowText,
    Written,
    number,
    plain,
)

__all__ = [
    "SECTION", "CalendarHoursConfig", "CheapPointConfig", "DistrictConfig", "LiftStationConfig", "LimitOfLevel",
    "OverflowConfig", "PumpConfig", "TankConfig", "Water", "WaterPointConfig",
]  # fmt: skip

spell(
    {
        "eau": "water", "vanne": "valve", "jour": "daily", "horaires": "opening_hours", "horaire": "opening_hours",
        "gel": "frost", "hors-gel": "frost", "hors gel": "frost", "fuite": "leak", "rinçage": "flush",
        "rincage": "flush", "niveau": "level", "pompe": "pump", "haut": "high", "bas": "low", "débit": "flow",
        "debit": "flow", "vidange": "drain", "fenêtre": "window", "durée": "run", "pompes": "pumps",
        "alternance": "alternate", "secours": "standby_after", "tarif": "tariff", "heures creuses": "cheap",
        "thermique": "thermal", "entretien": "maintenance",
        "capacité": "capacity", "capacite": "capacity", "secteurs": "districts", "entrée": "in", "entree": "in",
        "postes": "lift_stations", "relevages": "lift_stations", "poire": "high_float", "poire haute": "high_float",
        "surverse": "overflow", "trop-plein": "overflow", "trop_plein": "overflow", "alarme": "alarm",
        "calendrier": "calendar", "semaine": "week",
        "entrées": "in", "sorties": "out", "nuit": "night", "nuits": "nights", "stockage": "storage",
    },
    {
        "fermer": "close", "fermer et verrouiller": "close_and_latch", "hors-gel": "frost", "hors gel": "frost",
        "férié": "public_holiday", "ferie": "public_holiday", "heures": "hours", "démarrages": "starts",
    },
)  # fmt: skip


class FrostConfig(Model):
    """Closes and drains in the cold."""

    signal: Reference
    close_below: float = 2
    """The temperature, in degC, below which the valve closes."""
    reopen_above: float = 4
    """The temperature, in degC, above which the valve opens again after the time of `hold`."""
    hold: Duration = 6 * 3600


class NightFlowConfig(Model):
    """The least flow of the night, when no water is drawn."""

    window: WindowText
    max_flow: Flow


def _none(value: Any) -> Any:
    return None if value == "none" else value


class LeakConfig(Model):
    """The conditions of a leak alarm."""

    night: NightFlowConfig | None = None
    continuous: UnbrokenText = Unbroken(6 * 3600)
    """Flow without a pause for this long, default 6h; none for a running fountain. A pause is the time of one pulse at
    50 L/h, at most an hour, and no less than the meter's own interval."""
    burst: FlowFor | None = None
    flow_when_closed: Flow | None = None


class FlushConfig(Model):
    """A run after days without a draw."""

    idle: TimeSpan = 72 * 3600
    run: TimeSpan = 180


def _hours(value: Any) -> Any:
    """Hours without their list, or with both ends apart, are one slip."""
    ends = value if isinstance(value, list) else re.split(r"\s*[-–—]\s*|\s+(?:à|to)\s+", str(value))
    times = [time_meant(str(one)) for one in ends]
    if len(times) == 2 and all(times) and isinstance(value, list | str):
        said = f"expected a list, found {plain(value)}" if isinstance(value, str) else "both ends are in one text"
        text = f'{said}; write ["{times[0]}-{times[1]}"]'
        raise PydanticCustomError("written", "{text}", {"text": text})
    return value


class QuotaConfig(Model):
    daily: Volume
    action: Annotated[Literal["alarm", "close"], Choice("alarm", "close")] = "alarm"


WeekHours = Annotated[
    dict[
        Annotated[str, day_words("all", "public_holiday")],
        Annotated[Many[WindowText], BeforeValidator(_hours)],
    ],
    BeforeValidator(lambda value: {} if value is None else value),
]  # fmt: skip
"""Hours by day: those of a day that is not named are those of `all`, or none."""


class CalendarHoursConfig(Model):
    """Opening hours by a calendar, in place of a week."""

    calendar: Name
    """A name under calendars: the point is open while it is on, and closed while it is not."""
    week: WeekHours = Field(default_factory=dict)
    """The hours while the calendar is not known. Without it the valve is closed then."""


def _by_calendar(value: Any) -> str:
    """A misspelt calendar is one too, so that the message knows the keys."""
    if isinstance(value, dict):
        named = any(key == "week" or key_meant(str(key), ("calendar",)) for key in value)
        return "by calendar" if named else "by day"
    return "by calendar" if isinstance(value, CalendarHoursConfig) else "by day"


def _no_name(value: Any) -> Any:
    """A name alone is a calendar's."""
    if isinstance(value, str) and re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", value):
        text = f"expected keys with their values, found {plain(value)}; write {{calendar: {value}}}"
        raise PydanticCustomError("written", "{text}", {"text": text})
    return value


class WaterPointConfig(Model):
    """A fountain, a toilet, a hydrant: a meter, and perhaps a valve."""

    meter: Reference
    valve: Reference | None = None
    drain: Reference | None = None
    """Opens when the valve has closed for frost."""
    opening_hours: Annotated[
        Annotated[WeekHours, Tag("by day")] | Annotated[CalendarHoursConfig, Tag("by calendar")],
        Discriminator(_by_calendar),
        BeforeValidator(_no_name),
    ] = Field(default_factory=dict)  # fmt: skip
    """By day, such as {all: ["07:00-21:00"]}, or by a calendar: {calendar: market}. Without it, it is always open."""
    frost: FrostConfig | None = None
    leak: LeakConfig | None = None
    on_burst: Annotated[Literal["close_and_latch", "alarm"], Choice("close_and_latch", "alarm")] = "close_and_latch"
    flush: FlushConfig | None = None
    tamper: Reference | None = None
    """A door or tamper contact: an event, never an actuation."""
    quota: QuotaConfig | None = None


LimitText = Annotated[
    TimeSpan | None, BeforeValidator(_none, json_schema_input_type=TimeSpan | Literal["none"])
]  # fmt: skip
"""Seconds; none: no limit."""


class DryRunConfig(Model):
    """Stops a pump that moves nothing."""

    flow: Reference
    grace: Duration = 15
    """The time after the pump's start during which a missing flow is ignored."""
    no_flow: TimeSpan = 30
    latch_after: Annotated[int, Field(ge=1)] = 3
    """Dry runs in an hour; then the pump stays off until a `reset`."""


class PumpConfig(Model):
    """One of several pumps: its name alone, or with inputs of its own."""

    actuator: Reference
    thermal: Reference | None = None
    """A contact that is on while the motor is too hot: the pump stops, and another takes over."""
    maintenance: Reference | None = None
    """A contact that is on while the pump is out of service: a switch at 0. A command `off` does the same."""
    dry_run: DryRunConfig | None = None
    """Its own flow; without it that of the tank's `dry_run`."""
    rated_power: Power | None = None
    """Its power while it runs; `bocage simulate` tells the energy by tariff."""


def _pump(value: Any) -> Any:
    return {"actuator": value} if isinstance(value, str) else value


PumpEntry = Annotated[PumpConfig, BeforeValidator(_pump, json_schema_input_type=Reference | PumpConfig)]


class FillConfig(Model):
    """The levels between which a tank is filled."""

    start: Percent
    stop: Percent


def _tariff_value(value: Any) -> Any:
    if value in ("on", "off"):
        return value == "on"
    if isinstance(value, bool | int | float) or (isinstance(value, str) and value.strip()):
        return value
    raise ValueError(f"{plain(value)} is no state; write a word such as HC, a number, on or off")


class CheapPointConfig(Model):
    """The point that says which tariff holds, and its value while the current is cheap."""

    point: Reference
    is_: Annotated[
        str | float | bool, Written(_tariff_value, {"type": ["string", "number", "boolean"]}, "HC, a number, on or off")
    ] = Field(alias="is")  # fmt: skip
    """A word is compared in any case, without dots and spaces at its ends."""


class TariffConfig(Model):
    """Other levels while the current is cheap. Below `low` the price does not matter."""

    cheap: Annotated[
        Annotated[Many[WindowText], BeforeValidator(_hours), Field(min_length=1), Tag("in hours")]
        | Annotated[CheapPointConfig, Tag("by a point")],
        Discriminator(lambda value: "by a point" if isinstance(value, dict | CheapPointConfig) else "in hours"),
    ]  # fmt: skip
    """The hours in which the current is cheap, or a point: {point: linky.tariff, is: HC}."""
    start: Percent
    stop: Percent
    otherwise: FillConfig | None = None
    """At other hours, and while it is not known which tariff holds; without it the tank's own `start` and `stop`."""


class LevelLostConfig(Model):
    """Fills by the clock when the level is not known."""

    after: Duration = 2 * 3600
    """The time for which the level must have been lost."""
    fill: Annotated[Many[WindowText], BeforeValidator(_hours), Field(min_length=1)]
    at_most: UpToDay
    """The longest run of the pumps without a level, from noon to noon."""


class TankConfig(Model):
    """A tank that pumps fill."""

    level: Reference
    pump: Reference | None = None
    """Its only pump."""
    pumps: Annotated[Many[PumpEntry], Field(min_length=1)] | None = None
    """Its pumps: each has its turn, and takes over when another cannot run."""
    alternate: Annotated[Literal["hours", "starts"], Choice("hours", "starts")] = "hours"
    """Several pumps: the one with the fewest hours, or starts, has its turn."""
    standby_after: TimeSpan = 60
    """Several pumps: another takes over when the one on duty has not run for this long."""
    both_below: Percent | None = None
    """Several pumps: all of them run from this level up to `start`."""
    start: Percent = 40
    stop: Percent = 85
    low: Percent = 10
    high: Percent = 95
    dry_run: DryRunConfig | None = None
    outlet: Reference | None = None
    """The flow or the counter at the outlet. While water flows out, the level must move."""
    stuck_after: LimitText = 3 * 3600
    """A pump that ran for so long, without a move of the level by half a percent, stops; none: it never does."""
    max_fill: LimitText = 8 * 3600
    """A pump that ran for so long, without a rise of the level by 2 % net of its ripple, stops; none: it never does."""
    tariff: TariffConfig | None = None
    level_lost: LevelLostConfig | None = None
    capacity: Volume | None = None
    """Its volume at 100 %; the balance of a district needs it."""


class LimitOfLevel(NamedTuple):
    """A level as it is written: in `unit`, or (empty) in that of the level's signal."""

    amount: float
    unit: str

    def __str__(self) -> str:
        return f"{number(self.amount)} {self.unit}".rstrip()


_LEVEL = re.compile(r"\s*([-+]?[0-9]+(?:\.[0-9]*)?)\s*(%|mm|cm|dm|m)\s*")


def _limit_of_level(value: Any) -> LimitOfLevel:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return LimitOfLevel(float(value), "")
    found = _LEVEL.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        said = "write 80 cm, 0.8 m or 60 %, or a number in the unit of its signal"
        raise ValueError(f"{plain(value)} is no level; {said}")
    return LimitOfLevel(float(found[1]), found[2])


LevelText = Annotated[
    LimitOfLevel,
    Written(
        _limit_of_level,
        {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^\s*[-+]?[0-9.]+\s*(%|mm|cm|dm|m)\s*$"}]},
        "a level such as 80 cm or 60 %, or a number in the unit of the level's signal",
    ),
]


def _alarm(value: Any) -> Any:
    return {True: "major", "on": "major", None: "major", False: "none", "off": "none"}.get(value, value)


class OverflowConfig(Model):
    """The overflow of a lift station, which is logged."""

    signal: Reference
    """A contact that is on while it overflows."""
    alarm: Annotated[
        Literal["critical", "major", "minor", "info", "none"],
        Choice("critical", "major", "minor", "info", "none"),
        BeforeValidator(_alarm),
    ] = "major"  # fmt: skip
    """How severe the alarm of an overflow is; none: it is only logged."""
    flow: Reference | None = None
    """The flow at the overflow, or a counter of it: then its volume is logged too."""
    gap: TimeSpan = 300
    """A pause that is shorter belongs to the overflow: a float that dances on the crest is one, not forty."""


class TimedPumpingConfig(Model):
    """Pumping by time."""

    run: TimeSpan
    every: TimeSpan


class LiftStationConfig(Model):
    """A wet well that pumps empty."""

    level: Reference | None = None
    """The level in the well, in any unit. Without it the float alone decides."""
    high_float: Reference | None = None
    """A contact that is on while its float is up: it starts all pumps, and is the back-up of the level."""
    pumps: Annotated[Many[PumpEntry], Field(min_length=1)]
    """Actuators, which take turns: [p1, p2]."""
    alternate: Annotated[Literal["hours", "starts"], Choice("hours", "starts")] = "starts"
    """The pump with the fewest starts, or hours, has its turn."""
    standby_after: TimeSpan = 60
    """A pump that does not run for so long is replaced by another."""
    start: LevelText | None = None
    """The level from which one pump runs, in the unit of the level: 80 cm, 60 %."""
    stop: LevelText | None = None
    """The level down to which it runs."""
    high: LevelText | None = None
    """The level of the alarm `high_level`, from which all pumps run."""
    float_run: TimeSpan = 120
    """How long a pump runs on after the float has fallen, while the level is lost."""
    level_lost: TimedPumpingConfig | None = None
    """Pumping by one pump while neither level nor float is known: {run: 2min, every: 30min}. Default: none."""
    max_run: LimitText = 3600
    """A run that is longer is told, and the pump hands over or rests for 5 min; none: no limit."""
    overflow: OverflowConfig | None = None


class DistrictAlarmConfig(Model):
    """A night whose flow is above those before it."""

    above_median: Flow
    """A night is a leak's if its flow is this much above the median of the last nights."""
    nights: Annotated[int, Field(ge=3, le=60)] = 14
    """How many nights the median is of."""


class DistrictConfig(Model):
    """A part of the network with a meter at each of its ends."""

    in_: Many[Reference] = Field(alias="in")
    """The meters of what comes in."""
    out: Many[Reference] = ()
    """The meters of what goes out, or is delivered. Without one there is no yield."""
    storage: Reference | None = None
    """A tank of this file, with its capacity: what it gains is no loss."""
    night: WindowText = Window(120, 240)
    """When next to nothing is drawn. Default "02:00-04:00"."""
    alarm: DistrictAlarmConfig | None = None


class Water(Model):
    about: ClassVar[str] = "Water points, tanks, lift stations and districts."

    points: Section[WaterPointConfig] = Field(default_factory=dict)
    tanks: Section[TankConfig] = Field(default_factory=dict)
    lift_stations: Section[LiftStationConfig] = Field(default_factory=dict)
    districts: Section[DistrictConfig] = Field(default_factory=dict)


SECTION = Water
