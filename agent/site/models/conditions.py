"""Conditions of alarms and rules as the site file writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from agent.site.language.base import Many, Model, Reference
from agent.site.language.days import day_words
from agent.site.language.spellings import ungrouped
from agent.site.language.values import Choice, TimeSpan, WindowText, Written, plain

__all__ = ["COMPARISONS", "MODES", "SUBJECTS", "Amount", "ConditionConfig", "OnOff"]


class Amount(NamedTuple):
    """A number, and the unit that the file wrote after it; "": that of the point."""

    value: float
    unit: str = ""


_LARGEST = 1e300
_AMOUNT = re.compile(r"\s*([-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))\s*(\S.*?)?\s*$")


def _amount(value: Any) -> Amount:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not abs(value) < _LARGEST:
            raise ValueError(f"{plain(value)} is too much")
        return Amount(float(value))
    found = _AMOUNT.match(value) if isinstance(value, str) else None
    if found is None or re.match(r"[0-9,;:_]", found[2] or ""):
        meant = ungrouped(value) if isinstance(value, str) else None
        raise ValueError(f"{plain(value)} is not a number; write {meant or '1.5, or 1.5 bar with its unit'}")
    if not abs(float(found[1])) < _LARGEST:
        raise ValueError(f"{plain(value)} is too much")
    return Amount(float(found[1]), found[2] or "")


AmountText = Annotated[
    Amount,
    Written(
        _amount,
        {"anyOf": [{"type": "number"}, {"type": "string", "pattern": _AMOUNT.pattern}]},
        "a number in the point's unit, or with a unit of its own such as 1 bar",
    ),
]


def _step(value: Any) -> Amount:
    found = _amount(value)
    if found.value <= 0:
        raise ValueError(f"{plain(value)} is too little; write more than 0")
    return found


StepText = Annotated[
    Amount,
    Written(
        _step,
        {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": _AMOUNT.pattern}]},
        "more than 0, in the point's unit, or with a unit of its own such as 1 bar",
    ),
]


def _state(value: Any) -> bool | float | str:
    if value in ("on", "off"):
        return bool(value == "on")
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{plain(value)} is no value; write on, off, a number or a word such as HC")
    return value.strip()


OnOff = Annotated[
    bool | float | str,
    Written(
        _state,
        {"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "string", "minLength": 1}]},
        "on, off, a number or a word such as HC",
    ),
]

MODES = ("comfort", "reduced", "frost", "off")
"""The modes of a heating zone."""
SUBJECTS = ("point", "actuator", "zone", "calendar", "times", "all", "any")
"""One of these keys says what a condition looks at."""
COMPARISONS = ("above", "below", "is", "still", "falls", "rises")
"""One of these keys says how a point or an actuator is compared."""


def _windows(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_BOTH = "it is a key of an alarm; write {all: [...]} around two conditions"


class ConditionConfig(Model):
    """A condition on a point, an actuator, a zone's mode, a calendar, the time, or several of these."""

    misplaced: ClassVar[Mapping[str, str]] = dict.fromkeys(("when", "while"), _BOTH)

    point: Reference | None = None
    """A point, a signal or a pin."""
    actuator: Reference | None = None
    """An actuator, by the value that its output has."""
    above: AmountText | None = None
    """More than this."""
    below: AmountText | None = None
    """Less than this."""
    hysteresis: AmountText | None = None
    """Over when the value is back by so much beyond the limit; default 0."""
    is_: OnOff | None = Field(default=None, alias="is")
    """This value."""
    still: StepText | None = None
    """It has moved by less than this for the time of `for`."""
    falls: StepText | None = None
    """It has fallen by this within the time of `within`; over when half of that has come back."""
    rises: StepText | None = None
    """It has risen by this within the time of `within`; over when half of that is gone."""
    within: TimeSpan | None = None
    """The time of a fall or a rise."""
    zone: Reference | None = None
    """A heating zone, by the mode that holds."""
    mode: Annotated[Literal["comfort", "reduced", "frost", "off"] | None, Choice(*MODES)] = None
    """The zone's mode for which it holds."""
    calendar: Reference | None = None
    """A calendar of the section `calendars`, while it is on."""
    times: Annotated[Many[WindowText] | None, BeforeValidator(_windows)] = None
    """Parts of the day."""
    days: Many[Annotated[str, day_words("public_holiday", "school_holiday")]] | None = None
    """The days on which these begin; default: all."""
    all: Many[ConditionConfig] | None = None
    """Conditions that must all hold."""
    any: Many[ConditionConfig] | None = None
    """Conditions of which one must hold."""
    for_: TimeSpan | None = Field(default=None, alias="for")
    """It holds once it has been so for this long without a break."""

    def has(self, key: str) -> bool:
        """Whether the file has this key."""
        return getattr(self, f"{key}_" if key in ("is", "for") else key) is not None

    @property
    def comparisons(self) -> list[str]:
        """The keys by which it compares a point or an actuator."""
        return [key for key in COMPARISONS if self.has(key)]
