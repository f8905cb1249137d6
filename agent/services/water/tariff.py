"""Fill while the current is cheap: other limits of the level in some hours, by the clock or by a point of the meter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from agent.control.api import NEVER, Now, View
from agent.control.week import Week, mode_at
from agent.model import Quality, Value

__all__ = ["CHEAP", "OTHERWISE", "FillLevels", "Tariff", "TariffPoint"]

CHEAP, OTHERWISE = "cheap", "otherwise"
STAYS = 900.0
"""Seconds for which the last known tariff holds when its point is not known: a change of tariff is rarely missed by a
pause of the meter, and a pause must not end a fill."""


class FillLevels(NamedTuple):
    """Fills from `start` to `stop`, percent."""

    start: float
    stop: float


@dataclass(frozen=True, slots=True)
class TariffPoint:
    """The current is cheap while `point` has the value `wanted`: a word, a number, or on or off."""

    point: str
    wanted: Value

    def fits(self, value: Value) -> bool:
        """A word is compared without its dots and spaces (historic TIC: "HC..") and in any case."""
        if isinstance(self.wanted, str):
            return isinstance(value, str) and value.strip(" .").casefold() == self.wanted.strip(" .").casefold()
        if value is None or isinstance(value, str):
            return False
        return bool(value) is self.wanted if isinstance(self.wanted, bool) else float(value) == self.wanted


@dataclass(frozen=True, slots=True)
class Tariff:
    """`by` says when the current is cheap: a week with the mode `CHEAP`, or a point."""

    by: Week | TariffPoint
    cheap: FillLevels
    otherwise: FillLevels

    @property
    def point(self) -> str | None:
        return self.by.point if isinstance(self.by, TariffPoint) else None

    def limits(self, is_cheap: bool) -> FillLevels:
        """An unknown tariff is not cheap: water there is all the same, and no more of it than is needed."""
        return self.cheap if is_cheap else self.otherwise

    def is_cheap(self, before: bool, view: View, now: Now) -> tuple[bool, float]:
        """Whether the current is cheap, as far as is known, and when to look again. `before`: what was known before."""
        if isinstance(self.by, Week):
            if now.civil is None:
                return False, NEVER
            mode, left = mode_at(self.by, now.civil)
            return mode == CHEAP, now.monotonic + left
        one = view.points.get(self.by.point)
        if one is None:
            return False, NEVER
        if one.quality is Quality.GOOD and one.value is not None:
            return self.by.fits(one.value), NEVER
        ends = one.at + STAYS
        return (before, ends) if now.monotonic < ends else (False, NEVER)
