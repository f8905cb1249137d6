"""A photocell: whether it is dark, said slowly, and whether its probe is alive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.control.core import NEVER
from agent.control.lasting import Shift, changed

__all__ = ["Cell", "Glow", "Photocell"]

STUCK_AFTER = 86400.0
"""Seconds in which the light of a living probe changes by more than `STUCK_BAND`."""
STUCK_BAND = 0.05
"""Of the light itself, or of `on_below` where that is more."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What it has seen. `dark` None: it cannot say. Times are monotonic seconds."""

    dark: bool | None = None
    turning: bool | None = None
    """What it will say if the light stays so."""
    since: float = 0.0
    """Since when the light is so."""
    steady: float | None = None
    """The light (lx) that it has not left since `steady_since`."""
    steady_since: float = 0.0

    def stuck(self, now: float) -> bool:
        return self.steady is not None and now - self.steady_since >= STUCK_AFTER

    def verdict(self, now: float) -> bool | None:
        """Dark, light, or None: the sun alone decides."""
        return None if self.stuck(now) else self.dark

    def shifted(self, by: Shift) -> Cell:
        return replace(self, since=by.past(self.since), steady_since=by.past(self.steady_since))

    def dump(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Cell:
        return cls(**kept)


@dataclass(frozen=True, slots=True)
class Glow:
    """What the probe sees of the circuit's own lamps, and what it has decided: it must not turn on its own light."""

    light: float = 0.0
    """lx from the own lamps at 100 %: the least that it saw while they burned in the dark of the last night."""
    learning: bool = False
    turned: float | None = None
    """The event of the sun (Unix s) at which it has had its say: dusk lights once, dawn ends once."""

    def of(self, level: float | None) -> float:
        """lx that are their own, at a level in %; None: they are off."""
        return 0.0 if level is None else self.light * level / 100

    def seen(self, light: float | None, level: float | None) -> Glow:
        """After a look in the dark; `level` None: the lamps do not burn, or have not settled, or it is not dark."""
        if light is None or not level:
            return replace(self, learning=False) if self.learning else self
        own = light * 100 / level
        return changed(self, light=min(self.light, own) if self.learning else own, learning=True)

    def dump(self) -> dict[str, Any]:
        return {"light": round(self.light, 1), "turned": self.turned}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Glow:
        return cls(light=float(kept["light"]), turned=kept["turned"])


@dataclass(frozen=True, slots=True)
class Photocell:
    """Dark below `on_below` lx, light above `off_above` lx, each for `delay` s; between them it stays as it was.

    It is asked within `window` s of the sun's event, before and after. What comes from the circuit's own lamps (`own`)
    is no daylight.
    """

    signal: str
    on_below: float = 10.0
    off_above: float = 20.0
    delay: float = 300.0
    window: float = 1800.0

    def look(self, cell: Cell, light: float | None, now: float, own: float = 0.0) -> Cell:
        """The cell after one look; `light` and `own` in lx, None while the probe says nothing good."""
        if light is None:
            return Cell()
        steady, steady_since = cell.steady, cell.steady_since
        if steady is None or abs(light - steady) > STUCK_BAND * max(abs(steady), self.on_below):
            steady, steady_since = light, now
        dark, turning, since = cell.dark, cell.turning, cell.since
        day = light - own
        seen = True if day < self.on_below else False if day > self.off_above else dark
        if seen is dark:
            turning = None
        elif seen is not turning:
            turning, since = seen, now
        if turning is not None and now - since >= self.delay:
            dark, turning = turning, None
        return changed(
            cell, dark=dark, turning=turning, since=since if turning is not None else 0.0,
            steady=steady, steady_since=steady_since,
        )  # fmt: skip

    def due(self, cell: Cell, now: float) -> float:
        """When it will say something else if the light stays as it is (monotonic s)."""
        turn = NEVER if cell.turning is None else cell.since + self.delay
        end = NEVER if cell.steady is None or cell.stuck(now) else cell.steady_since + STUCK_AFTER
        return min(turn, end)
