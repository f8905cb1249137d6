"""Sirens in the site file."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from agent.site.language.base import Model, Reference, Section
from agent.site.language.spellings import spell

__all__ = ["SECTION", "SirenConfig", "Sirens"]

spell({"seuil": "above"})


class SirenConfig(Model):
    """A siren and the level that it warns of."""

    actuator: Reference
    level: Reference
    above: float = 80
    """The siren sounds above this level, in the unit of the signal."""


class Sirens(Model):
    about: ClassVar[str] = "Sirens that warn of floods."

    towers: Section[SirenConfig] = Field(default_factory=dict)


SECTION = Sirens
