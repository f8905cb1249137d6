"""Alarms of the site file: a condition, how grave it is, and its words."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent.site.language.spellings import spell
from agent.site.language.values import Choice, TimeSpan
from agent.site.models.conditions import ConditionConfig

__all__ = ["ENTRY", "SEVERITIES", "AlarmConfig"]

spell(
    {
        "alarmes": "alarms", "alarme": "alarms", "seuil": "above", "au-dessus": "above", "dessus": "above",
        "en dessous": "below", "dessous": "below", "pendant": "for", "durée": "for", "gravité": "severity",
        "gravite": "severity", "texte": "text", "quand": "when", "si": "when",
    },
    {"critique": "critical", "majeure": "major", "mineure": "minor", "majeur": "major", "mineur": "minor"},
)  # fmt: skip

SEVERITIES = ("critical", "major", "minor", "info")


class AlarmConfig(ConditionConfig):
    """An alarm while a condition holds."""

    about: ClassVar[str] = "Alarms on points, by their limits."

    severity: Annotated[
        Literal["critical", "major", "minor", "info"] | None, Choice(*SEVERITIES)
    ] = None  # fmt: skip
    """How grave it is; default: major, and for CO2 below 1500 ppm info."""
    text: str | None = None
    """Words for the region; {value}, {unit}, {limit} and {name} are filled in."""
    when: ConditionConfig | None = None
    """It is looked at only while this holds."""
    while_: ConditionConfig | None = Field(default=None, alias="while")
    """The same as `when`."""
    sensor_fault: TimeSpan = 600.0
    """A point that is bad or stale for this long is an alarm of its own, `sensor_fault`."""


ENTRY = AlarmConfig
