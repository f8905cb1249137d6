"""Lighting: circuits that follow the sun, the clock and the mayor's decision."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from agent.site.language.base import Many, Model, Name, Reference, Section
from agent.site.language.days import MonthDay
from agent.site.language.problems import listed
from agent.site.language.spellings import days_meant, spell, word_meant
from agent.site.language.values import (
    DAYS,
    Choice,
    Date,
    Duration,
    Offset,
    Percent,
    Power,
    TimeOfDay,
    TimeSpan,
    UpToDay,
    Written,
    plain,
)

__all__ = [
    "AFTER_END", "BY_ONE", "LEGAL_OFF", "SECTION", "CircuitConfig", "LightCalendar", "LightException", "Lighting",
]  # fmt: skip

spell(
    {
        "on": "switch_on", "off": "switch_off", "éclairage": "lighting", "eclairage": "lighting",
        "contacteur": "actuator", "puissance": "rated_power", "nombre": "count", "nb": "count",
        "allumage": "switch_on", "extinction": "switch_off", "cellule": "photocell", "à": "to", "au": "to",
        "heure": "time", "évènement": "event", "événement": "event", "evenement": "event",
        "à la demande": "on_demand", "a la demande": "on_demand", "sur demande": "on_demand", "on demand": "on_demand",
        "déclencheurs": "triggers", "declencheurs": "triggers", "présence": "presence", "sinon": "otherwise",
        "maintien": "hold", "seulement": "only",
    },
    {
        "dusk": "civil_dusk", "crépuscule": "civil_dusk", "crepuscule": "civil_dusk", "dawn": "civil_dawn",
        "aube": "civil_dawn", "coucher": "sunset", "lever": "sunrise", "coucher du soleil": "sunset",
        "lever du soleil": "sunrise", "amont": "upstream", "aval": "downstream",
        "veille de fête": "eve_of_public_holiday", "veille de férié": "eve_of_public_holiday",
        "veille de fete": "eve_of_public_holiday", "veille de ferie": "eve_of_public_holiday", "shp": "hid",
        "sodium": "hid", "férié": "public_holiday", "ferie": "public_holiday",
    },
)  # fmt: skip

LEGAL_OFF = 60
"""Minutes: heritage, façades and parks are dark by 01:00 (arrêté du 27 décembre 2018, article 2)."""
BY_ONE = ("heritage", "park", "facade")
AFTER_END = {"park": 60, "site": 60, "car_park": 120}
"""Minutes that a kind may burn after its activity ended, or it closed (the same)."""

NIGHT_DAYS = (*DAYS, "public_holiday", "eve_of_public_holiday")


def _night_days(value: Any) -> Any:
    """Several days in other words are one slip, and so is a text in place of a list."""
    words = re.split(r"[,;\s]+", value.strip()) if isinstance(value, str) else value
    wrong = [word for word in words if word not in NIGHT_DAYS] if isinstance(words, list) else []
    meant = [_night_day(word) for word in words] if wrong or isinstance(value, str) else []
    if not isinstance(value, str) and len(wrong) < 2 and not any(", " in (day or "") for day in meant):
        return value
    example = ", ".join(day for day in meant if day) if all(meant) else "mon, tue"
    said = f"expected a list, found {plain(value)}"
    if not isinstance(value, str):
        said = f"{listed(map(plain, wrong), 'and')} {'is' if len(wrong) == 1 else 'are'} none of {listed(NIGHT_DAYS)}"
    raise PydanticCustomError("written", "{text}", {"text": f"{said}; write [{example}]"})


def _night_day(word: Any) -> str | None:
    if isinstance(word, int) and not isinstance(word, bool) and 1 <= word <= 7:
        return DAYS[word - 1]  # as calendars in French count them, and ISO 8601
    if not isinstance(word, str):
        return None
    days = days_meant(word)
    return word_meant(word, NIGHT_DAYS) if days is None else days.replace(",", ", ")


NightDay = Annotated[str, Choice(*NIGHT_DAYS)]
NightDays = Annotated[Many[NightDay], BeforeValidator(_night_days)]
SunEvent = Annotated[
    Literal["civil_dusk", "civil_dawn", "sunset", "sunrise"] | None,
    Choice("civil_dusk", "civil_dawn", "sunset", "sunrise"),
]  # fmt: skip


class LocalSwitch(Model):
    """The MAN/0/AUTO switch of the cabinet, read back: it is reported and never fought."""

    manual_on: Reference | None = None
    manual_off: Reference | None = None


class Lamp(Model):
    """The lamps of the circuit."""

    type: Annotated[Literal["led", "hid"], Choice("led", "hid")] = "led"
    count: Annotated[int, Field(ge=1)] | None = None
    """How many lamps: with it one that is lost is seen."""
    restrike: Duration | None = None
    """HID: how long a lamp must cool before it lights again."""


class SwitchConfig(Model):
    """An event of the sun with an offset, or a time of day."""

    event: SunEvent = None
    """civil_dusk, civil_dawn, sunset or sunrise."""
    offset: Offset = 0
    """Later, or with - earlier, than the event; up to 2 h."""
    time: TimeOfDay | None = None
    """A time of day, in place of an event."""


class PhotocellConfig(Model):
    """Switches within a window around the event, by the light."""

    signal: Reference
    on_below: Annotated[float, Field(ge=0)] = 10
    """The light, in lx (0 or more), below which the lamps are switched on."""
    off_above: Annotated[float, Field(ge=0)] = 20
    """The light, in lx (0 or more), above which the lamps are switched off."""
    delay: Duration = 300
    window: Duration = 1800


class NightCut(Model):
    """A part of the night without light. A time before noon belongs to the next day."""

    days: NightDays = ()
    """The days on which the night starts; without, every night."""
    from_: TimeOfDay = Field(alias="from")
    to: TimeOfDay


class DimStep(Model):
    """A part of the night at a level."""

    days: NightDays = ()
    from_: TimeOfDay = Field(alias="from")
    to: TimeOfDay
    level: Percent


class Dimming(Model):
    actuator: Reference
    levels: Many[DimStep] = ()


def _no_cut(value: Any) -> Any:
    return [] if value == "none" else value


_Cuts = Many[NightCut] | Literal["none"]


def _a_night(value: Any) -> int:
    found = re.fullmatch(r"\s*([0-9]{1,3})\s*/\s*night\s*", value) if isinstance(value, str) else None
    if found is None or int(found[1]) == 0:
        amount = re.match(r"\s*([1-9][0-9]{0,2})\b", str(value))
        raise ValueError(f"{plain(value)} is no number of requests a night; write {amount[1] if amount else 6}/night")
    return int(found[1])


ANight = Annotated[
    int,
    Written(_a_night, {"type": "string", "pattern": r"^\s*[0-9]{1,3}\s*/\s*night\s*$"}, "a number, such as 6/night"),
]


class OnDemandConfig(Model):
    """Light on request: a button, a motion sensor, or a command on `<circuit>.on_demand`."""

    triggers: Many[Reference] = ()
    """Points or signals that ask for light while they are on. Their readings stay on the gateway."""
    for_: UpToDay = Field(alias="for")
    """How long the lamps burn after the last request. What is older lights nothing."""
    level: Percent = 100
    at_most: ANight | None = None
    """Requests a night, from noon to noon. Each `for` of light counts as one."""
    only: Annotated[Literal["part_night_off"] | None, Choice("part_night_off")] = None
    """part_night_off: only in the hours that the circuit cuts out. Without, whenever it is dark and the law allows."""
    stuck_after: TimeSpan | None = None
    """A trigger that was on for so long, without a pause of `for`, is stuck: it asks for nothing more. Without, 1 h, or
    four times `for` if that is longer."""


class PresenceConfig(Model):
    """The level of a dimmed circuit by presence. Within its dimming steps if it has some, else while it burns."""

    signal: Reference
    """A point or signal that is on while something moves. Its readings stay on the gateway."""
    level: Percent = 100
    otherwise: Percent
    hold: Duration = 300
    """How long the lamps stay at `level` after the signal was on."""
    stuck_after: TimeSpan | None = None
    """A signal that was on for so long without a pause, while presence decides about the level, is stuck: the
    programme's level holds. Without, 4 h, or four times `hold` if that is longer."""


class ExceptionalHours(Model):
    """The hours of an exception."""

    name: str = ""
    switch_on: SwitchConfig | None = None
    """As for the circuit, which holds without it."""
    switch_off: SwitchConfig | None = None
    part_night_off: Annotated[Many[NightCut], BeforeValidator(_no_cut, json_schema_input_type=_Cuts)] = ()
    """none, or a list as for the circuit."""


class LightException(ExceptionalHours):
    """Nights on which something else holds; both dates are included."""

    from_: Date = Field(alias="from")
    to: Date


class LightCalendar(ExceptionalHours):
    """Nights of a calendar on which something else holds."""

    calendar: Name
    """A name under calendars: the nights in which it is on when the circuit goes on, or comes on while it burns."""


def _exception(value: Any) -> str:
    by_calendar = "calendar" in value if isinstance(value, dict) else isinstance(value, LightCalendar)
    return "by_calendar" if by_calendar else "by_date"


AnyException = Annotated[
    Annotated[LightException, Tag("by_date")] | Annotated[LightCalendar, Tag("by_calendar")], Discriminator(_exception)
]


class SeasonConfig(Model):
    """Nights of each year, both included; it may go over the new year."""

    from_: MonthDay = Field(alias="from")
    to: MonthDay


class CircuitConfig(Model):
    """One circuit behind one contactor."""

    actuator: Reference
    meter: Reference | None = None
    """The energy meter of the circuit."""
    meter_position: Annotated[Literal["upstream", "downstream"], Choice("upstream", "downstream")] = "upstream"
    """The side of the contactor on which the meter is: upstream (supply) or downstream (lamps)."""
    kind: Annotated[
        Literal["road", "heritage", "park", "facade", "site", "car_park"],
        Choice("road", "heritage", "park", "facade", "site", "car_park"),
    ] = "road"  # fmt: skip
    """The category by law (arrêté of 27.12.2018): each but a road has its own hours."""
    activity_ends: TimeOfDay | None = None
    """A park closes then, the activity of a site or around a car park ends: off 1 h later, a car park 2 h."""
    rated_power: Power | None = None
    lamp: Lamp | None = None
    switch_on: SwitchConfig
    switch_off: SwitchConfig
    photocell: PhotocellConfig | None = None
    part_night_off: Many[NightCut] = ()
    season: SeasonConfig | None = None
    """The part of the year in which it burns; without, all year. In an exception it burns at any time of the year."""
    exceptions: Many[AnyException] = ()
    start_delay: Duration = 0
    """How much later than the others it switches on, so that not all lamps start at once."""
    dimming: Dimming | None = None
    on_demand: OnDemandConfig | None = None
    presence: PresenceConfig | None = None
    legal_reference: str | None = None
    """The rule that permits other hours than the law's, such as a prefect's order."""


class Lighting(Model):
    about: ClassVar[str] = "Circuits that follow the sun."

    local_switch: LocalSwitch | None = None
    circuits: Section[CircuitConfig] = Field(default_factory=dict)


SECTION = Lighting
