"""Heating: zones with their setpoints and weeks, and hot water."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from agent.site.language.base import Many, Model, Name, Reference, Section
from agent.site.language.days import day_words
from agent.site.language.spellings import spell, time_meant, word_meant
from agent.site.language.values import (
    WINDOW,
    Choice,
    Date,
    Duration,
    Kelvin,
    KelvinRate,
    Percent,
    ReheatTime,
    TimeOfDay,
    TimeSpan,
    UpToDay,
    WindowText,
    Written,
    number,
    plain,
)
from agent.site.models.signals import pair

__all__ = ["SECTION", "Heating", "HotWaterConfig", "WeekEntry", "ZoneConfig"]

spell(
    {
        "chauffage": "heating", "confort": "comfort", "réduit": "reduced", "reduit": "reduced", "eco": "reduced",
        "contacteur": "actuator", "gel": "frost", "hors-gel": "frost", "hors gel": "frost",
        "consignes": "setpoints", "consigne": "setpoints", "sonde": "sensor", "capteur": "sensor",
        "occupation": "occupancy", "exception": "exceptions", "derogations": "exceptions", "dérogations": "exceptions",
        "semaine": "week", "brûleurs": "burners", "bruleurs": "burners", "consigne départ": "flow_setpoint",
        "consigne depart": "flow_setpoint", "vacances": "holidays", "brûleur": "burner", "bruleur": "burner",
    },
    {
        "confort": "comfort", "réduit": "reduced", "reduit": "reduced", "hors-gel": "frost", "hors gel": "frost",
    },
)  # fmt: skip

Mode = Annotated[Literal["comfort", "reduced", "frost"], Choice("comfort", "reduced", "frost")]
AnyMode = Annotated[Literal["comfort", "reduced", "frost", "off"], Choice("comfort", "reduced", "frost", "off")]
Temperature = Annotated[float, Field(ge=-30, le=100)]


class TpiConfig(Model):
    """On for a part of each cycle: coef_int x (setpoint - room) + coef_ext x (setpoint - outdoors)."""

    type: Literal["tpi"]
    cycle: TimeSpan | None = None
    """Default: found out, 10min to 4h, so that the room swings by 0.55 K."""
    coef_int: Annotated[float, Field(ge=0)] = 0.6
    coef_ext: Annotated[float, Field(ge=0)] | None = None
    """Default: found out, from 1 / (1.5 x (comfort - the coldest point of the heat curve, else -10)) on."""


class HysteresisConfig(Model):
    """On below the setpoint, off above it."""

    type: Literal["hysteresis"]
    band: Kelvin = 0.3
    """The distance from the setpoint to each end of the band, in K."""


class PidConfig(Model):
    """On for a part of each cycle, by proportion, integral and derivative."""

    type: Literal["pid"]
    kp: float
    ki: float = 0
    kd: float = 0
    cycle: TimeSpan = 900


def _type(value: Any) -> str | None:
    found = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return found if isinstance(found, str) else None


Control = Annotated[
    Annotated[TpiConfig, Tag("tpi")]
    | Annotated[HysteresisConfig, Tag("hysteresis")]
    | Annotated[PidConfig, Tag("pid")],
    Discriminator(_type),
]


def _curve_point(value: Any) -> tuple[float, float]:
    try:
        return pair(value)
    except ValueError:
        raise ValueError(f"{plain(value)} is no point of a curve; write [outdoors, flow], such as [-10, 65]") from None


def _curve(value: Any) -> Any:
    if isinstance(value, list) and value and all(isinstance(one, int | float) for one in value):
        pairs = [f"[{number(one)}, {number(two)}]" for one, two in zip(value[::2], value[1::2], strict=False)]
        text = f"each point has its own brackets; write [{', '.join(pairs) or '[-10, 65], [15, 30]'}]"
        raise PydanticCustomError("written", "{text}", {"text": text})
    wrong = [one for one in value if not _is_pair(one)] if isinstance(value, list) else []
    if len(wrong) > 1:
        text = "these are no points of a curve; write each as [outdoors, flow]: [[-10, 65], [15, 30]]"
        raise PydanticCustomError("written", "{text}", {"text": text})
    return value


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(one, int | float) for one in value)


CurvePoint = Annotated[
    tuple[float, float],
    Written(
        _curve_point,
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        "[outdoors, flow] in degC",
    ),
]


class HeatCurveConfig(Model):
    """The flow temperature by the outdoor temperature."""

    signal: Reference
    """The flow temperature."""
    points: Annotated[Many[CurvePoint], Field(min_length=1), BeforeValidator(_curve)]
    """[outdoors, flow] in degC, the coldest first."""
    max_flow: Temperature = 70
    """The flow temperature at which the burner is switched off, in degC."""
    heat_off_above: Temperature | None = None
    """degC outdoors above which nothing is heated, by a damped temperature and with 1 K of hysteresis."""


class FlowMissed(Model):
    """A plant whose flow stays cold."""

    after: TimeSpan = 3600
    """The time with the flow 5 K or more below its target after which the alarm is raised."""


class ChargingConfig(Model):
    """A store of hot water that the plant heats."""

    store: Reference
    """A store of `hot_water`. While its actuator is on, the pump of the zone stands, for 2 h of 4 at most."""
    flow: Temperature | None = None
    """The least flow temperature meanwhile, in degC. Default: 5 K above the highest temperature of the store."""


class SgHoursConfig(Model):
    """The hours of SG Ready, site time; outside them the heat pump runs as it wants, or more before comfort."""

    lock: Many[WindowText] = ()
    """The heat pump must not run: 2 h at most, three times a day."""
    recommend: Many[WindowText] = ()
    """The heat pump runs more if it can: cheap hours, the sun at noon."""
    force: Many[WindowText] = ()
    """The heat pump is told to run."""


class PlantConfig(Model):
    """The heat source of a zone, with its pump: a burner, burners, or a plant that follows a flow temperature."""

    burner: Reference | None = None
    """An actuator: on and off by the room's law."""
    burners: Many[Reference] | None = None
    """Actuators of a cascade on one flow, the one that leads first at the front."""
    lag_after: TimeSpan = 600
    """Burners: the next one joins after the flow missed its target by 3 K for this long."""
    rotation: Annotated[Literal["week", "hours", "none"], Choice("week", "hours", "none")] = "week"
    """Burners: each Monday the next one leads, or the one with the fewest run hours; none: never."""
    flow_setpoint: Reference | None = None
    """A level in degC, or a point that can be written, such as hp.flow_setpoint: it gets the heat curve's target."""
    refresh: TimeSpan | None = None
    """A point as flow_setpoint: written again this often, where the device gives it up without that. Never for a
    register that is kept in EEPROM or flash."""
    low: Temperature = 20
    """The lowest target, in degC: also that of a room that is warm, and of the summer."""
    high: Temperature | None = None
    """The highest target, in degC. Default: 3 K below max_flow."""
    room_influence: Annotated[float, Field(ge=0, le=20)] = 4
    """K of flow for each K that the room is too cold or too warm; 0: the curve alone."""
    room_shift: Kelvin = 10
    """The room moves the target by this much at most."""
    deadband: Kelvin = 1
    """A target that changed by less is not written."""
    min_interval: TimeSpan = 600
    """The least time between two changes of the target, but for another mode or reason."""
    enable: Reference | None = None
    """An actuator: on while the plant shall heat, with flow_setpoint."""
    hot_water: ChargingConfig | None = None
    """Priority of hot water, with flow_setpoint."""
    flow_missed: FlowMissed = FlowMissed.model_construct()
    sg_ready: Many[Reference] | None = None
    """The actuators of the two contacts of SG Ready: beside another source, or alone."""
    sg_hours: SgHoursConfig | None = None
    pump: Reference | None = None
    pump_overrun: Duration = 600
    """The pump goes on for this long after the burner."""
    pump_forced_below: Temperature = 3
    """The outdoor temperature, in degC, below which the pump always runs."""


class SetpointsConfig(Model):
    """The setpoint of each mode, in degC."""

    comfort: Temperature
    reduced: Temperature = 16
    frost: Temperature = 8


class WeekEntry(NamedTuple):
    """A part of a day (minutes since midnight) and its mode."""

    start: int
    end: int
    mode: str


def _entry(value: Any) -> WeekEntry:
    words = value.split() if isinstance(value, str) else []
    if len(words) != 2 or words[1] not in ("comfort", "reduced", "frost"):
        mode = word_meant(words[-1], ("comfort", "reduced", "frost")) if len(words) > 1 else None
        times = [time_meant(one) for one in re.split(r"\s*[-–]\s*|\s+(?:à|to)\s+", " ".join(words[:-1]))]
        example = f"{times[0]}-{times[1]} {mode}" if mode and len(times) == 2 and all(times) else "07:30-17:00 comfort"
        raise ValueError(f'{plain(value)} is not a time and its setpoint; write "{example}"')
    window = WINDOW.parse(words[0])
    if window.end < window.start:
        raise ValueError(f"{plain(value)} ends before it begins; a day ends at 24:00")
    return WeekEntry(window.start, window.end, words[1])


_ENTRY = Written(
    _entry,
    {"type": "string", "pattern": r"^[0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2} +(comfort|reduced|frost)$"},
    'such as "07:30-17:00 comfort"',
)


def _day(value: Any) -> tuple[WeekEntry, ...]:
    """A list of entries; a word alone holds all day."""
    if value in ("comfort", "reduced", "frost"):
        return (WeekEntry(0, 1440, value),)
    if not isinstance(value, list):
        modes = ("comfort", "reduced", "frost")
        meant = word_meant(value, modes) if isinstance(value, str) and ":" not in value else None
        hint = meant or f'["07:30-17:00 comfort"], or {", ".join(modes)}'
        raise ValueError(f"{plain(value)} is not a day; write {hint}")
    return tuple(_entry(item) for item in value)


Day = Annotated[
    tuple[WeekEntry, ...],
    Written(
        _day,
        {"anyOf": [{"enum": ["comfort", "reduced", "frost"]}, {"type": "array", "items": dict(_ENTRY.schema)}]},
        'a list such as ["07:30-17:00 comfort"], or a setpoint for the whole day',
    ),
]
Week = dict[Annotated[str, day_words("default")], Day]


class Holidays(Model):
    """The setpoint of holidays."""

    school: Mode | None = None
    public: Mode | None = None


class OptimumStartConfig(Model):
    """Begins early enough to be warm in time, and learns how early that is."""

    enabled: bool = True
    initial: ReheatTime = 30
    """The time to heat by 1 K that is assumed until it is learned, in min/K."""
    max: TimeSpan = 4 * 3600
    """The longest time by which heating may begin before the occupied time."""


class OptimumStopConfig(Model):
    """Ends comfort early enough that the room has fallen a little when people leave, and learns how early that is."""

    enabled: bool = True
    max: UpToDay = 3600
    """The longest time by which heating may end before the occupied time does."""
    drop: Kelvin = 0.5
    """How far the room may have fallen below comfort by then, in K."""


class OccupancyConfig(Model):
    """A calendar that says when people are there."""

    calendar: Name
    """A name under calendars."""
    mode: Mode = "comfort"
    """The setpoint while it is on."""


class ZoneException(Model):
    """Days on which one setpoint holds; both dates are included."""

    name: str = ""
    from_: Date = Field(alias="from")
    to: Date
    mode: AnyMode
    """off heats against frost only."""


class WindowOpenConfig(Model):
    """A sudden fall, over 5 min and more than one step of the sensor: the room is aired."""

    drop: KelvinRate = 0.1
    max: TimeSpan = 1800


class SensorLoss(Model):
    """Heating without the room's temperature, at a fixed duty."""

    after: TimeSpan = 2700
    """The time from the last good reading until heating goes on at the fixed duty."""
    duty: Percent = 30


class RoomStuck(Model):
    """A room's sensor that stands still while it must move."""

    after: TimeSpan = 12 * 3600
    """The time at full fire without a move of the reading after which the sensor counts as stuck."""


class ComfortMissed(Model):
    """A room that is too cold for the people in it."""

    after: TimeSpan = 3 * 3600
    """The time at 1 K or more below comfort, within the occupied time, after which the alarm is raised."""


class StoreStuck(Model):
    """A store's sensor that stands still while its heater is on."""

    after: TimeSpan = 2 * 3600
    """The heating time without a move of the reading after which the sensor counts as stuck."""


class ZoneConfig(Model):
    """Rooms with one sensor and one plant."""

    sensor: Reference
    control: Control = TpiConfig.model_construct(type="tpi")
    outdoor: Reference | None = None
    heat_curve: HeatCurveConfig | None = None
    plant: PlantConfig
    setpoints: SetpointsConfig
    week: Annotated[Week, BeforeValidator(lambda value: {} if value is None else value)] = Field(default_factory=dict)
    """Per days of the week; default holds for the rest."""
    holidays: Holidays | None = None
    occupancy: OccupancyConfig | None = None
    """With it the week holds between bookings, without its comfort; all of it does while the calendar is not known."""
    exceptions: Many[ZoneException] = ()
    """The first one that has a day holds on it, whatever week and calendar say."""
    optimum_start: OptimumStartConfig | None = None
    optimum_stop: OptimumStopConfig | None = None
    window_open: WindowOpenConfig | None = None
    on_sensor_loss: SensorLoss = SensorLoss.model_construct()
    sensor_stuck: RoomStuck = RoomStuck.model_construct()
    comfort_missed: ComfortMissed = ComfortMissed.model_construct()


class ThermalCycleConfig(Model):
    """The daily heating-up against legionella (arrêté of 30.11.2005)."""

    at: TimeOfDay
    temperature: Temperature
    """The temperature that the store must reach, in degC."""
    hold: TimeSpan


class HotWaterConfig(Model):
    """A store of hot water."""

    sensor: Reference
    actuator: Reference
    setpoint: Temperature
    """The temperature of the store, in degC."""
    thermal_cycle: ThermalCycleConfig | None = None
    sensor_stuck: StoreStuck = StoreStuck.model_construct()


class Heating(Model):
    about: ClassVar[str] = "Zones and hot water."

    zones: Section[ZoneConfig] = Field(default_factory=dict)
    hot_water: Section[HotWaterConfig] = Field(default_factory=dict)


SECTION = Heating
