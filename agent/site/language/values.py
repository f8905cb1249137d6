"""Values as people write them: `10s`, `1500 L/h for 3min`, `30 %`, `wed 03:10`, and the types of the models' keys.

Every type is a `Written`: how the text becomes a value, and what an editor is told about it. A message of `parse`
says what is wrong and what was expected.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from agent.lib.suggestion import suggested
from agent.site.language.problems import listed
from agent.site.language.spellings import (
    DAYS,
    date_meant,
    days_meant,
    duration_meant,
    time_meant,
    ungrouped,
    unit_meant,
    word_meant,
)

__all__ = [
    "DAYS", "DURATION", "FLOW", "PERCENT", "VOLUME", "WINDOW", "Choice", "Date", "Deadband", "DeadbandText", "Decibel",
    "Duration", "FetchTime", "FileName", "Flow", "FlowFor", "Frequency", "Kelvin", "KelvinRate", "LongDuration",
    "MessageSize", "Offset", "Percent",
    "Power", "Quantity", "Rate", "RateText", "ReheatTime", "Size", "Surge", "TimeOfDay", "TimeSpan", "Unbroken",
    "UnbrokenText", "UpToDay", "UpToWeek", "Volume",
    "WeekTime", "WeekTimeText", "Window", "WindowText", "Written", "number", "plain",
]  # fmt: skip

_NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_QUANTITY = re.compile(rf"\s*({_NUMBER})\s*(.*?)\s*$", re.DOTALL)


class Written:
    """A type that is read from what people write.

    `parse` takes the value in the file and raises ValueError with the words of the message. `schema` is its JSON
    schema; `words` says in the reference what is expected.
    """

    def __init__(self, parse: Callable[[Any], Any], schema: Mapping[str, Any], words: str) -> None:
        self.parse = parse
        self.schema = schema
        self.words = words

    def _validate(self, value: Any) -> Any:
        try:
            return self.parse(value)
        except ValueError as error:
            raise PydanticCustomError("written", "{text}", {"text": str(error)}) from error

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**self.schema, "description": self.words}


_LOGIN = re.compile(r"(?s)^([a-z]*://)?.*:.*@")
"""The user and password of an address, as far as the last @; either may hold any character by a slip."""


def plain(value: Any) -> str:
    """Return a value of the file for a message, which goes to the journal and to the broker, without passwords."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, str):
        value = _LOGIN.sub(r"\1…@", value)
        return f'"{value if len(value) <= 60 else value[:57] + "…"}"'
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else str(value)


def number(value: float) -> str:
    """A number without a useless fraction."""
    return f"{value:.10g}"


class Quantity(Written):
    """A number with its unit. `units` gives the factor of each unit to the one that the models hold.

    `show` are the units of the messages, `low` and `high` the bounds (in the models' unit), `above` excludes `low`.
    """

    def __init__(
        self, noun: str, units: Mapping[str, float], show: Sequence[str],
        low: float | None = 0, high: float | None = None, above: bool = False,
        whole: bool = False,
    ) -> None:  # fmt: skip
        self.noun, self.units, self.show = noun, units, show
        self.low, self.high, self.above, self.whole = low, high, above, whole
        pattern = rf"^\s*{_NUMBER}\s*({'|'.join(re.escape(unit) for unit in units)})\s*$"
        words = f"{noun}, such as {self.write('10' if len(show) > 2 else '5', show[0])}"
        super().__init__(self._parse, {"type": "string", "pattern": pattern}, words)

    def write(self, amount: str, unit: str) -> str:
        """`10s`, but `10 L/h`: times are written close to their number."""
        close = unit.startswith("/") or unit in {"ms", "s", "min", "h", "d"}
        return f"{amount}{unit}" if close else f"{amount} {unit}"

    def format(self, value: float) -> str:
        """The value as a person writes it, in the largest unit that keeps it whole."""
        for unit, factor in sorted(self.units.items(), key=lambda item: -item[1]):
            amount = value / factor
            if (abs(amount) >= 1 and abs(amount - round(amount)) < 1e-9) or (value == 0 and factor == 1):
                return self.write(number(round(amount)), unit)
        base = min(self.units, key=lambda unit: abs(self.units[unit] - 1))
        return self.write(number(value / self.units[base]), base)

    def spelt(self, unit: str) -> str | None:
        """The unit that was meant by one in other capitals or with raised figures; None where that is not one."""
        plainly = {one: one.lower() for one in self.units}
        near = [one for one, low in plainly.items() if low == unit.replace("³", "3").replace(" ", "").lower()]
        if len(near) == 1:
            return near[0]
        found = unit_meant(unit)
        return found if found in self.units else None

    def _examples(self, amount: str) -> str:
        return "write " + listed(self.write(amount, unit) for unit in self.show)

    def _parse(self, value: Any) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise ValueError(f"{plain(value)} has no unit; {self._examples(plain(value))}")
        if not isinstance(value, str):
            raise ValueError(f"{plain(value)} is not {self.noun}; {self._examples('10')}")
        match = _QUANTITY.match(value)
        meant = ungrouped(value) or (duration_meant(value) if "min" in self.units else None)
        if meant and (not match or match[2] not in self.units):
            wrong = f"{plain(value)} is not {self.noun}"
            if match and self.spelt(match[2]):
                wrong = f'unknown unit "{match[2]}" in {plain(value)}'
            raise ValueError(f"{wrong}; write {meant}")
        if not match:
            raise ValueError(f"{plain(value)} is not {self.noun}; {self._examples('10')}")
        amount, unit = match.groups()
        if re.match("[:/][0-9]", unit):
            raise ValueError(f"{plain(value)} is not {self.noun}; {self._examples('10')}")
        if re.match(r",\s*[0-9]", unit):
            raise ValueError(f"{plain(value)} has a comma; write the decimals after a point")
        if not unit:
            raise ValueError(f"{value.strip()} has no unit; {self._examples(amount)}")
        if unit not in self.units:
            near = self.spelt(unit)
            write = self._examples(amount) if near is None else f"write {self.write(amount, near)}"
            raise ValueError(f'unknown unit "{unit}" in {plain(value)}; {write}')
        return self._bounded(float(amount) * self.units[unit], value)

    def _bounded(self, result: float, text: str) -> float:
        result = round(result, 9)
        if self.low is not None and (result < self.low or (self.above and result == self.low)):
            least = "more than" if self.above else "at least"
            raise ValueError(f"{text} is too little; write {least} {self.format(self.low)}")
        if result == float("inf") or (self.high is not None and result > self.high):
            limit = f"; write at most {self.format(self.high)}" if self.high is not None else ""
            raise ValueError(f"{text} is too much{limit}")
        return round(result) if self.whole else result


_TIME = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_TEN_YEARS = 3650 * 86400.0
DURATION = Quantity("a duration", _TIME, ("s", "min", "h"), high=_TEN_YEARS)
_FLOW = {"L/h": 1.0, "L/min": 60.0, "L/s": 3600.0, "m3/h": 1000.0}
_MOST = 1e9
"""Litres, litres an hour, watts: more of them is a slip."""
FLOW = Quantity("a flow", _FLOW, ("L/h", "m3/h"), high=_MOST)
VOLUME = Quantity("a volume", {"L": 1.0, "m3": 1000.0}, ("L", "m3"), high=_MOST, above=True)
PERCENT = Quantity("a percentage", {"%": 1.0}, ("%",), high=100)

Duration = Annotated[float, DURATION]
"""Seconds, 0 or more."""
TimeSpan = Annotated[float, Quantity("a duration", _TIME, ("s", "min", "h"), high=_TEN_YEARS, above=True)]
"""Seconds, more than 0."""
UpToDay = Annotated[float, Quantity("a duration", _TIME, ("s", "min", "h"), high=86400, above=True)]
"""Seconds, more than 0, at most a day."""
UpToWeek = Annotated[float, Quantity("a duration", _TIME, ("s", "min", "h"), high=7 * 86400)]
"""Seconds, 0 to a week."""
LongDuration = Annotated[float, Quantity("a duration", _TIME, ("h", "d"), high=_TEN_YEARS, above=True)]
"""Seconds, more than 0; the messages name hours and days."""
FetchTime = Annotated[float, Quantity("a duration", _TIME, ("min", "h"), low=300, high=7 * 86400)]
"""Seconds, 5 min to a week."""
Offset = Annotated[float, Quantity("an offset", _TIME, ("min", "h"), low=-7200, high=7200)]
"""Seconds, -2 h to 2 h."""
Flow = Annotated[float, FLOW]
"""Litres an hour."""
Volume = Annotated[float, VOLUME]
"""Litres."""
Power = Annotated[float, Quantity("a power", {"W": 1.0, "kW": 1000.0}, ("W", "kW"), high=_MOST, above=True)]
"""Watts."""
Percent = Annotated[float, PERCENT]
"""0 to 100."""
Size = Annotated[
    int, Quantity("a size", {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}, ("MB", "GB"), low=1_000_000, whole=True)
]
"""Bytes; at least 1 MB."""
MessageSize = Annotated[
    int, Quantity("a size", {"B": 1, "kB": 1e3}, ("kB", "B"), low=1_000, high=16_000, whole=True)
]
"""Bytes of one message, 1 kB to 16 kB."""
Frequency = Annotated[
    float, Quantity("a frequency", {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9}, ("MHz", "kHz"), above=True)
]
"""Hertz."""
Decibel = Annotated[float, Quantity("a power", {"dBm": 1.0}, ("dBm",), low=-20, high=30)]
"""dBm."""
Kelvin = Annotated[float, Quantity("a difference of temperature", {"K": 1.0}, ("K",), above=True, high=20)]
"""Kelvins."""
KelvinRate = Annotated[
    float, Quantity("a fall of temperature", {"K/min": 1.0, "K/h": 1 / 60}, ("K/min", "K/h"), above=True)
]
"""Kelvins a minute."""
ReheatTime = Annotated[
    float, Quantity("a time to reheat", {"min/K": 1.0, "h/K": 60.0}, ("min/K", "h/K"), above=True)
]
"""Minutes a kelvin."""


class Rate(NamedTuple):
    """How fast a counter counts at most: in `L/h`, or in `W`."""

    amount: float
    of: str


_RATES = (
    (Quantity("a rate of change", {"/s": 1.0, "/min": 1 / 60, "/h": 1 / 3600}, ("/min", "/h"), above=True), ""),
    (Quantity("a flow", _FLOW, ("L/h", "m3/h"), above=True), "L/h"),
    (Quantity("a power", {"W": 1.0, "kW": 1000.0}, ("W", "kW"), above=True), "W"),
)


def _rate(value: Any) -> float | Rate:
    unit = value.strip().lstrip("+-.0123456789").strip() if isinstance(value, str) else ""
    quantity, of = next((one for one in _RATES if unit in one[0].units or one[0].spelt(unit)), _RATES[0])
    amount = quantity.parse(value)
    return Rate(amount, of) if of else amount


RateText = Annotated[
    float | Rate,
    Written(
        _rate,
        {"anyOf": [dict(quantity.schema) for quantity, _ in _RATES]},
        "a rate of change such as 5/min; of a counter a flow or a power, such as 5 m3/h or 40 kW",
    ),
]
"""A float: in the signal's own unit, a second."""


class Choice(Written):
    """One of a few words; with `level`, a number or a percentage from 0 to 100 as well."""

    def __init__(self, *words: str, level: bool = False) -> None:
        self.options = words
        self.level = level
        expected = listed(words) + (", or a level such as 40 %" if level else "")
        schema: dict[str, Any] = {"enum": list(words)}
        if level:
            schema = {"anyOf": [schema, {"type": "number", "minimum": 0, "maximum": 100}, dict(PERCENT.schema)]}
        super().__init__(self._parse, schema, expected)

    def _parse(self, value: Any) -> str | float:
        if isinstance(value, str) and value in self.options:
            return value
        if self.level and isinstance(value, str) and "%" in value:
            return float(PERCENT.parse(value))
        if self.level and isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100:
            return float(value)
        if isinstance(value, bool) and {"on", "off"} <= set(self.options):
            raise ValueError(f"{plain(value)} is not a word of this key; write {'on' if value else 'off'}")
        near = word_meant(value, self.options) if isinstance(value, str) else None
        hint = f"; {suggested(near)}" if near else ""
        raise ValueError(f"{plain(value)} is none of {self.words}{hint}")


class Deadband(NamedTuple):
    """How far a value must move to be published: of the last published value (`relative`, percent), or in its unit."""

    amount: float
    relative: bool


def _deadband(value: Any) -> Deadband:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < 0:
            raise ValueError(f"{plain(value)} is too little; write 0 or more")
        return Deadband(float(value), False)
    if isinstance(value, str) and "%" in value:
        return Deadband(PERCENT.parse(value), True)
    raise ValueError(f"{plain(value)} is not a deadband; write 1 %, or a number in the point's unit")


DeadbandText = Annotated[
    Deadband,
    Written(
        _deadband,
        {"anyOf": [{"type": "number", "minimum": 0}, dict(PERCENT.schema)]},
        "a percentage such as 1 %, or a number in the point's unit",
    ),
]


class Surge(NamedTuple):
    """A flow (L/h) that lasts (s)."""

    flow: float
    duration: float


def _surge(value: Any) -> Surge:
    flow, found, duration = value.partition(" for ") if isinstance(value, str) else ("", "", "")
    if not found:
        raise ValueError(f"{plain(value)} is not a flow and its time; write 1500 L/h for 3min")
    return Surge(FLOW.parse(flow.strip()), DURATION.parse(duration.strip()))


FlowFor = Annotated[
    Surge,
    Written(
        _surge,
        {"type": "string", "pattern": r"^\s*[0-9.]+\s*(L/h|L/min|L/s|m3/h) for [0-9.]+\s*(ms|s|min|h|d)\s*$"},
        "a flow and how long it lasts, such as 1500 L/h for 3min",
    ),
]


class Unbroken(NamedTuple):
    """How long something goes on (s), and how long a pause (s) ends it; None: what is usual."""

    duration: float
    pause: float | None = None


def _unbroken(value: Any) -> Unbroken | None:
    if value == "none":
        return None
    if not isinstance(value, Mapping):
        return Unbroken(_SPAN.parse(value))
    unknown = sorted(map(str, value.keys() - {"for", "pause"}))
    if unknown or "for" not in value:
        wrong = f'unknown key "{unknown[0]}"' if unknown else '"for" is missing'
        raise ValueError(f"{wrong}; write {{for: 6h, pause: 15min}}, or 6h alone")
    return Unbroken(_SPAN.parse(value["for"]), None if "pause" not in value else _SPAN.parse(value["pause"]))


_SPAN = Quantity("a duration", _TIME, ("s", "min", "h"), high=_TEN_YEARS, above=True)
UnbrokenText = Annotated[
    Unbroken | None,
    Written(
        _unbroken,
        {
            "anyOf": [
                dict(_SPAN.schema),
                {"enum": ["none"]},
                {
                    "type": "object",
                    "properties": {"for": dict(_SPAN.schema), "pause": dict(_SPAN.schema)},
                    "required": ["for"],
                    "additionalProperties": False,
                },
            ]
        },
        "a duration such as 6h, with a pause {for: 6h, pause: 15min}; or none",
    ),
]

_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"


def minutes(value: Any, end: bool = False) -> int:
    """Minutes since midnight of "HH:MM"; `end` allows 24:00."""
    text = value.strip() if isinstance(value, str) else ""
    if end and text == "24:00":
        return 1440
    if not re.fullmatch(_CLOCK, text):
        meant = time_meant(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
        hint = f'write "{meant}"' if meant else 'write hours and minutes, such as "05:30"'
        raise ValueError(f"{plain(value)} is not a time of day; {hint}")
    return int(text[:2]) * 60 + int(text[3:])


TimeOfDay = Annotated[
    int, Written(minutes, {"type": "string", "pattern": f"^{_CLOCK}$"}, 'a time of day, such as "23:00"')
]
"""A time of day: minutes since midnight."""


class Window(NamedTuple):
    """A part of a day, in minutes since midnight; where `end` is not after `start` it goes on into the next day."""

    start: int
    end: int


def _window(value: Any) -> Window:
    start, found, end = value.partition("-") if isinstance(value, str) else ("", "", "")
    if not found:
        ends = [time_meant(one) for one in re.split(r"\s*[–—]\s*|\s+(?:à|to)\s+", str(value))]
        example = f"{ends[0]}-{ends[1]}" if len(ends) == 2 and all(ends) else "07:00-21:00"
        raise ValueError(f'{plain(value)} is not a part of a day; write "{example}"')
    window = Window(minutes(start), minutes(end, end=True))
    if window.start == window.end:
        raise ValueError(f"{plain(value)} begins and ends at once; a whole day is 00:00-24:00")
    return window


WINDOW = Written(
    _window, {"type": "string", "pattern": rf"^{_CLOCK}-({_CLOCK}|24:00)$"}, 'a part of a day, such as "07:00-21:00"'
)
WindowText = Annotated[Window, WINDOW]


class WeekTime(NamedTuple):
    """A time of day (minutes since midnight), on one day of the week (0 is Monday) or on all (None)."""

    day: int | None
    minute: int


def _week_time(value: Any) -> WeekTime:
    words = value.split() if isinstance(value, str) else []
    if len(words) == 1:
        return WeekTime(None, minutes(words[0]))
    if len(words) != 2 or words[0] not in DAYS:
        day, time = (days_meant(words[0]), time_meant(words[1])) if len(words) == 2 else (None, None)
        example = f"{day} {time}" if day in DAYS and time else "wed 03:10"
        raise ValueError(f'{plain(value)} is not a day and a time; write "{example}" (days: {listed(DAYS)})')
    return WeekTime(DAYS.index(words[0]), minutes(words[1]))


WeekTimeText = Annotated[
    WeekTime,
    Written(
        _week_time,
        {"type": "string", "pattern": rf"^(({'|'.join(DAYS)}) +)?{_CLOCK}$"},
        'a time, on one day of the week or on all, such as "wed 03:10"',
    ),
]


def _date(value: Any) -> datetime.date:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"there is no day {value}") from None
    meant = date_meant(value) if isinstance(value, str) else None
    raise ValueError(f"{plain(value)} is not a date; write {meant or 'year-month-day, such as 2026-07-14'}")


Date = Annotated[
    datetime.date,
    Written(_date, {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}, "a date, such as 2026-07-14"),
]


def _file(value: Any) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{plain(value)} is not the name of a file")
    return Path(value)


FileName = Annotated[Path, Written(_file, {"type": "string"}, "a file; not absolute: beside the site file")]
