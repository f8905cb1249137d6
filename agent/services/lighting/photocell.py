"""A photocell: whether it is dark, with a delay, and whether its probe works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from agent.control.api import NEVER, updated
from agent.control.boot_time import BootShift
from agent.services.lighting.lamps import SETTLE

__all__ = ["Cell", "Glow", "Photocell"]

STUCK_AFTER = 86400.0
"""Seconds in which the light of a living probe changes by more than `STUCK_BAND`."""
STUCK_BAND = 0.05
"""Part of the light itself, or of `on_below` where that is more."""


class Cell(NamedTuple):
    """The state of a photocell. `dark` None: not known. Times are monotonic seconds."""

    dark: bool | None = None
    turning: bool | None = None
    """The next value of `dark` if the light stays as it is."""
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

    def shifted(self, by: BootShift) -> Cell:
        return self._replace(since=by.past(self.since), steady_since=by.past(self.steady_since))

    def dump(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._fields}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Cell:
        return cls(**kept)


class Glow(NamedTuple):
    """Light of the street lamps at the probe, and which event the probe has decided: it must not follow its own lamps.

    What burns is a text, `km1@100|km2@50`: contactors and their level in %; empty: nothing. Times are monotonic s.
    """

    lights: Mapping[str, float] = {}
    """lx from what burns: the least that it saw meanwhile in the dark of the last night, else what it grew by."""
    learning: str = ""
    """The combination whose light is being learned in the dark."""
    turned: float | None = None
    """The event of the sun (Unix s) that the probe has decided: dusk lights once, dawn ends once."""
    burning: str | None = None
    """The combination that burned at the last reading; None: not known."""
    since: float = 0.0
    """Since when."""
    before: float | None = None
    """lx of the sky just before, while what the lamps add to it is not known yet."""
    seen: float | None = None
    """lx at the last look."""

    def own(self) -> float:
        """lx from what burns. For a combination that was never seen: the most of any of its contactors."""
        if not self.burning:
            return 0.0
        names = _names(self.burning)
        alike = (light for key, light in self.lights.items() if names & _names(key))
        return self.lights[self.burning] if self.burning in self.lights else max(alike, default=0.0)

    def look(self, light: float | None, burning: str, now: float, is_dark: bool | None) -> Glow:
        """After a look. `is_dark`: the sun gives no light; None: the time is not known, and what was learned by it may
        be of other lamps."""
        if light is None:
            return updated(self, learning="", burning=None, before=None, seen=None)
        glow = self
        if burning != glow.burning:
            fresh = bool(burning) and (is_dark is None or burning not in glow.lights)
            before = glow.seen - glow.own() if fresh and glow.burning is not None and glow.seen is not None else None
            glow = glow._replace(burning=burning, since=now, before=before, learning="")
        if now - glow.since >= SETTLE and glow.before is not None:
            glow = glow._learnt(max(0.0, light - glow.before))._replace(before=None)
        if is_dark and burning and now - glow.since >= SETTLE:
            least = min(light, glow.lights[burning]) if glow.learning == burning else light
            glow = glow._learnt(least)._replace(learning=burning, before=None)
        return updated(glow, seen=light)

    def _learnt(self, light: float) -> Glow:
        assert self.burning is not None
        return self if self.lights.get(self.burning) == light else self._replace(
            lights={**self.lights, self.burning: light}
        )  # fmt: skip

    def due(self, now: float) -> float:
        """When what burns has settled and can be learned (monotonic s)."""
        return self.since + SETTLE if self.burning and self.since + SETTLE > now else NEVER

    def dump(self) -> dict[str, Any]:
        return {"lights": {key: round(light, 1) for key, light in self.lights.items()}, "turned": self.turned}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Glow:
        return cls({key: float(light) for key, light in kept.get("lights", {}).items()}, turned=kept["turned"])


def _names(burning: str) -> frozenset[str]:
    """The contactors of what burns."""
    return frozenset(one.rpartition("@")[0] for one in burning.split("|"))


@dataclass(frozen=True, slots=True)
class Photocell:
    """Dark below `on_below` lx, light above `off_above` lx, each for `delay` s; between them it stays as it was.

    It is asked within `window` s of the sun's event, before and after. What comes from the lamps is no daylight.
    """

    signal: str
    on_below: float = 10.0
    off_above: float = 20.0
    delay: float = 300.0
    window: float = 1800.0

    def look(self, cell: Cell, light: float | None, now: float, own: float | None = 0.0) -> Cell:
        """The cell after a reading; `light` in lx, None while it is bad or stale. `own`: lx of it that come from the
        lamps; while that is None, darkness counts and light does not."""
        if light is None:
            return Cell()
        steady, steady_since = cell.steady, cell.steady_since
        if steady is None or abs(light - steady) > STUCK_BAND * max(abs(steady), self.on_below):
            steady, steady_since = light, now
        dark, turning, since = cell.dark, cell.turning, cell.since
        day = light - (own or 0.0)
        seen = True if day < self.on_below else False if day > self.off_above and own is not None else dark
        if seen is dark:
            turning = None
        elif seen is not turning:
            turning, since = seen, now
        if turning is not None and now - since >= self.delay:
            dark, turning = turning, None
        found = Cell(dark, turning, since if turning is not None else 0.0, steady, steady_since)
        return cell if found == cell else found

    def due(self, cell: Cell, now: float) -> float:
        """When its verdict changes if the light stays as it is (monotonic s)."""
        turn = NEVER if cell.turning is None else cell.since + self.delay
        end = NEVER if cell.steady is None or cell.stuck(now) else cell.steady_since + STUCK_AFTER
        return min(turn, end)
