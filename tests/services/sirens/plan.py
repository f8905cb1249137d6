"""What `bocage plan` tells of sirens: the calendar decides nothing, so it names them only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from agent.planning.service import Part, PlanRow
from agent.site.models.site import Site
from tests.services.sirens.config import Sirens

__all__ = ["SirensPlan", "plan"]


def plan(_site: Site, sirens: Sirens) -> SirensPlan:
    return SirensPlan(tuple(sirens.towers))


@dataclass(frozen=True, slots=True)
class SirensPlan:
    names: tuple[str, ...]
    key: str = "sirens"
    asks_school_holidays: bool = False

    def document(self, _first: date, _days: int) -> Part:
        return dict.fromkeys(self.names, "by its level")

    def rows(self, part: Part) -> Iterator[PlanRow]:
        return (PlanRow("sirens", name, mode=mode) for name, mode in part.items())

    def lines(self, part: Part) -> Iterator[str]:
        return (f"{name}  {mode}" for name, mode in part.items())
