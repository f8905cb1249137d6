"""Rules and interlocks of the site file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agent.site.language.base import Model, Reference
from agent.site.language.spellings import spell
from agent.site.language.values import Choice, TimeSpan
from agent.site.models.conditions import ConditionConfig

__all__ = ["ENTRY", "Effect", "RuleConfig"]

spell(
    {
        "règles": "rules", "regles": "rules", "règle": "rules", "alors": "then", "verrou": "lock",
        "verrouiller": "lock", "valeur": "value", "actionneur": "actuator",
    },
    {"garder": "keep", "relâcher": "release", "verrouiller": "lock"},
)  # fmt: skip


class Effect(Model):
    """An actuator, and its value while the condition holds."""

    actuator: Reference
    value: Annotated[str | float, Choice("on", "off", level=True)]


class LockEffect(Model):
    """An actuator, and the value that nothing but a hand on the spot may change while the condition holds."""

    actuator: Reference
    value: Annotated[str | float, Choice("on", "off", "hold", level=True)]
    """The actuator's safe_state."""


class RuleConfig(Model):
    """A rule (`then`) or an interlock (`lock`), while a condition holds."""

    about: ClassVar[str] = "Rules and interlocks, bounded."
    misplaced: ClassVar[Mapping[str, str]] = dict.fromkeys(("when", "while"), "write if: {all: [...]} with both")

    if_: ConditionConfig = Field(alias="if")
    then: Effect | None = None
    """A wish at priority 14: over the services, below a remote command."""
    lock: LockEffect | None = None
    """An interlock at priority 2: over remote commands, only towards the safe state."""
    max_on: TimeSpan | None = None
    """After so long on a rule stops, with the alarm rule_max_on, until its condition has ended."""
    on_stale: Annotated[Literal["keep", "release", "lock"] | None, Choice("keep", "release", "lock")] = None
    """While a point of the condition is bad or stale: default release for a rule, keep for an interlock."""


ENTRY = RuleConfig
