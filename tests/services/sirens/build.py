"""Sirens of the site file as their controls."""

from __future__ import annotations

from agent.site.build.defaults import ActuatorDefaults
from agent.site.models.site import Site
from tests.services.sirens.config import Sirens
from tests.services.sirens.control import Siren

__all__ = ["actuator_defaults", "controls"]


def controls(_site: Site, sirens: Sirens) -> list[Siren]:
    return [Siren(name, one.actuator, one.level, one.above) for name, one in sirens.towers.items()]


def actuator_defaults(sirens: Sirens) -> dict[str, ActuatorDefaults]:
    return {one.actuator: ActuatorDefaults(min_off=5.0) for one in sirens.towers.values()}
