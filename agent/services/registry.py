"""The services, one line each. Nothing else lists them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["SERVICES", "Service"]


@dataclass(frozen=True, slots=True)
class Service:
    """A municipal service: a section `name` of the site file, and the package `folder` that holds all of it.

    The package has these modules. They are imported when they are asked for: the running agent needs `control` alone.

    - `config`: `SECTION`, the model of the section; or `ENTRY`, that of each entry in a section of names. Its `about`
      is the section's line in the reference. Other spellings of its keys, for hints, are told to
      `agent.site.language.spellings.spell`.
    - `rules`: `check(at, section)` reports what is wrong in the section.
    - `build`: `controls(site, section)` translates the section into controls; optionally `actuator_defaults(section)`,
      what an actuator's limits are where the file is silent, and `written_points(site, section)`, the points that
      it writes as they stand.
    - `control`: the controls. Pure: values in, values out.
    - `plan`, where the calendar decides something: `plan(site, section)`, the service's part of `bocage plan`.
    """

    name: str
    folder: str
    page: str = "README.md"
    """Its page of documentation, a file of the folder."""

    @property
    def config(self) -> Any:
        return import_module(f"{self.folder}.config")

    @property
    def model(self) -> Any:
        """The model of the section, or of each of its entries."""
        return self.config.ENTRY if self.is_named else self.config.SECTION

    @property
    def is_named(self) -> bool:
        """Whether the section is one of names, each with an entry."""
        return hasattr(self.config, "ENTRY")

    @property
    def rules(self) -> Any:
        return import_module(f"{self.folder}.rules")

    @property
    def build(self) -> Any:
        return import_module(f"{self.folder}.build")

    @property
    def plan(self) -> Any | None:
        name = f"{self.folder}.plan"
        return import_module(name) if find_spec(name) is not None else None


SERVICES = (
    Service("lighting", "agent.services.lighting"),
    Service("water", "agent.services.water"),
    Service("heating", "agent.services.heating"),
    Service("alarms", "agent.services.alarms"),
    Service("rules", "agent.services.rules"),
)
"""In the order of the site file's sections."""
