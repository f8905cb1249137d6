"""Water: fountains and other points with their leaks and frost, and tanks with their pumps."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from agent.site.language.base import Many, Model, Reference, Section
from agent.site.language.days import day_words
from agent.site.language.spellings import spell, time_meant
from agent.site.language.values import (
    Choice,
    Duration,
    Flow,
    FlowFor,
    Percent,
    TimeSpan,
    Unbroken,
    UnbrokenText,
    Volume,
    WindowText,
    plain,
)

__all__ = ["SECTION", "TankConfig", "Water", "WaterPointConfig"]

spell(
    {
        "eau": "water", "vanne": "valve", "jour": "daily", "horaires": "opening_hours", "horaire": "opening_hours",
        "gel": "frost", "hors-gel": "frost", "hors gel": "frost", "fuite": "leak", "rinçage": "flush",
        "rincage": "flush", "niveau": "level", "pompe": "pump", "haut": "high", "bas": "low", "débit": "flow",
        "debit": "flow", "vidange": "drain", "fenêtre": "window", "durée": "run",
    },
    {
        "fermer": "close", "fermer et verrouiller": "close_and_latch", "hors-gel": "frost", "hors gel": "frost",
        "férié": "public_holiday", "ferie": "public_holiday",
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


class WaterPointConfig(Model):
    """A fountain, a toilet, a hydrant: a meter, and perhaps a valve."""

    meter: Reference
    valve: Reference | None = None
    drain: Reference | None = None
    """Opens when the valve has closed for frost."""
    opening_hours: Annotated[
        dict[
            Annotated[str, day_words("all", "public_holiday")],
            Annotated[Many[WindowText], BeforeValidator(_hours)],
        ],
        BeforeValidator(lambda value: {} if value is None else value),
    ] = Field(default_factory=dict)  # fmt: skip
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


class TankConfig(Model):
    """A tank that a pump fills."""

    level: Reference
    pump: Reference
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


class Water(Model):
    about: ClassVar[str] = "Water points and tanks."

    points: Section[WaterPointConfig] = Field(default_factory=dict)
    tanks: Section[TankConfig] = Field(default_factory=dict)


SECTION = Water
