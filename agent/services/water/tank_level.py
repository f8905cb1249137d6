"""A level that stands still while water moves, and one that a pump does not raise.

Times are monotonic seconds. What is counted is the time in which the pump runs, or the outlet flows, since the level
last moved: it goes on over a pause, because a level that only the pause held still moves when water does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from agent.control.api import NEVER, fields, updated
from agent.control.boot_time import BootShift
from agent.control.spell import Spell, next_fold

__all__ = ["Standstill", "StandstillState", "watch"]

MOVES = 0.5
"""Percent by which a level must move to be alive: less is noise of the sensor."""
RISES = 2.0
"""Percent that a fill must bring, and that a level must fall before the pump tries again."""
OUTLET = 4.0
"""An outlet that flows moves a level more slowly than the pump: it is given so many times as long."""


@dataclass(frozen=True, slots=True)
class Standstill:
    """FillLevels (s) of a pump run during which the level does not move, or the tank does not fill. None: no limit."""

    stuck_after: float | None = 3 * 3600.0
    max_fill: float | None = 8 * 3600.0


class StandstillState(NamedTuple):
    """`mark` is the level from which it must move, `base` the lowest one since it last rose. Percent."""

    mark: float | None = None
    pump: Spell = Spell()
    outlet: Spell = Spell()
    stuck: bool = False
    base: float | None = None
    fill: Spell = Spell()
    too_long: bool = False
    held: float | None = None
    """The level, at the foot of its ripple, at which a pump that filled for too long was stopped; None: it may run."""

    @property
    def stops(self) -> str:
        """Why the pump may not run; empty: it may."""
        return "the level stands still" if self.stuck else "filling for too long" if self.held is not None else ""

    @property
    def is_wrong(self) -> bool:
        return self.stuck or self.too_long or self.held is not None

    def shifted(self, by: BootShift) -> StandstillState:
        return updated(self, pump=self.pump.shifted(by), outlet=self.outlet.shifted(by), fill=self.fill.shifted(by))

    def dump(self) -> dict[str, Any]:
        return fields(self)

    @classmethod
    def load(cls, kept: Mapping[str, Any] | None) -> StandstillState:
        if kept is None:
            return cls()
        spells = {key: Spell.load(kept[key]) for key in ("pump", "outlet", "fill")}
        return cls(**{**kept, **spells})


def watch(
    limits: Standstill, state: StandstillState, level: float | None, full: float, noise: float, runs: bool, flows: bool,
    now: float,
) -> tuple[StandstillState, float]:  # fmt: skip
    """Judge a level (percent; None: not known) while the pump `runs` or the outlet `flows`; and when to look again.
    From `full` on a fill is over. `noise` is that of the level (percent)."""
    if not runs and not flows and level is not None and _rests(limits, state, level, full, noise):
        return state, NEVER
    runs, flows = runs and level is not None, flows and level is not None
    pump, outlet, fill = state.pump.at(now, runs), state.outlet.at(now, flows), state.fill.at(now, runs)
    state = updated(state, pump=pump, outlet=outlet, fill=fill)
    if level is None:
        return state, NEVER
    state, first = _moves(limits, state, level, now)
    state, second = _rises(limits, state, level, full, noise, now)
    goes_on = any(spell.since is not None for spell in (state.pump, state.outlet, state.fill))
    return state, min(first, second, next_fold(now) if goes_on else NEVER)


def _rests(limits: Standstill, state: StandstillState, level: float, full: float, noise: float) -> bool:
    """Whether nothing was counted that decides, and the level is about where it was: there is nothing to judge."""
    pump, outlet, fill = state.pump, state.outlet, state.fill
    if state.mark is None or state.base is None or state.is_wrong or abs(level - state.mark) >= MOVES:
        return False
    if not (pump.since is outlet.since is fill.since is None):
        return False
    stuck_after = NEVER if limits.stuck_after is None else limits.stuck_after
    max_fill = NEVER if limits.max_fill is None else limits.max_fill
    counted = pump.seconds >= stuck_after - 1e-6 or outlet.seconds >= OUTLET * stuck_after - 1e-6
    if counted or fill.seconds >= max_fill - 1e-6:
        return False
    return state.base - MOVES < level < min(full, state.base + noise + RISES)


def _moves(limits: Standstill, state: StandstillState, level: float, now: float) -> tuple[StandstillState, float]:
    if limits.stuck_after is None:
        return updated(state, stuck=False), NEVER
    if state.mark is None or abs(level - state.mark) >= MOVES:
        state = updated(state, mark=level, stuck=False, pump=state.pump.reset(now), outlet=state.outlet.reset(now))
    spells = (state.pump, limits.stuck_after), (state.outlet, OUTLET * limits.stuck_after)
    if state.stuck or any(spell.total(now) >= limit - 1e-6 for spell, limit in spells):
        return updated(state, stuck=True), NEVER
    return state, min(spell.reaches(limit) for spell, limit in spells)


def _rises(
    limits: Standstill, state: StandstillState, level: float, full: float, noise: float, now: float
) -> tuple[StandstillState, float]:
    """A rise counts without the noise; a fall counts from the lower end of the noise."""
    if limits.max_fill is None:
        return updated(state, too_long=False, held=None), NEVER
    if state.base is None or level <= state.base - MOVES:
        state = updated(state, base=level)
    elif level >= state.base + noise + RISES or level >= full:
        state = updated(state, base=level, fill=state.fill.reset(now), too_long=False, held=None)
    if state.held is not None and level <= state.held - RISES:
        state = updated(state, held=None, fill=state.fill.reset(now))
    if state.held is None and state.fill.total(now) >= limits.max_fill - 1e-6:
        foot = max(level if state.base is None else state.base, level - 2 * noise)
        state = updated(state, too_long=True, held=min(level, foot))
    return state, NEVER if state.held is not None else state.fill.reaches(limits.max_fill)
