"""The wet well of a lift station: what its level and its high float say of the pumps. Pure.

The level decides while it is known; the float starts the pumps beside it, and alone when the level is lost. A float has
no lower end: after it has fallen the pump runs on for a time. Where the two contradict each other, the level that moves
is believed. Times are monotonic seconds, levels in the unit of the level's signal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from agent.control.api import NEVER, View, good, updated
from agent.control.boot_time import BootShift

__all__ = ["ByTime", "Well", "WellState", "see_well"]

PATIENCE = 60.0
"""Seconds that a level may take to be read for the first time since the start."""
CONTRADICTS = 60.0
"""Seconds for which level and float must contradict each other: two devices are polled at different times."""
PAUSE = 900.0
"""Seconds without pumping in which a level that lives rises, while the float says that the well is full."""
STILL = 1800.0
"""Seconds for which a pump may run while the level stands still. One that is right is believed again as soon as the
pump has stopped, because it rises then."""
FALLS = 2
"""A float that goes up and down so often beside a level that stands still is alive, and the level is not."""
CALM = 60.0
"""Seconds for which the well must be below `high` until its alarm is over: a float dances on the waves."""
PUMPING = "pumping down"
SOON = 0.001
"""Seconds: a moment that is nearer has come."""
BAND, MOVES = 0.1, 0.04
"""Parts of the way from `stop` to `start`: by which a level must come back, and must move to be alive."""


@dataclass(frozen=True, slots=True)
class ByTime:
    """Pumping while neither level nor float is known: for `run` seconds in each `every` seconds."""

    run: float
    every: float


@dataclass(frozen=True, slots=True)
class Well:
    """Pumps from `start` down to `stop`; at `high` (None: never) with all pumps. Without a `level` the float alone."""

    level: str | None = None
    start: float = 0.0
    stop: float = 0.0
    high: float | None = None
    high_float: str | None = None
    float_run: float = 120.0
    """Seconds that a pump runs on after the float has fallen."""
    timed: ByTime | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(one for one in (self.level, self.high_float) if one is not None)

    @property
    def band(self) -> float:
        return BAND * (self.start - self.stop)

    def moves(self, level: float, mark: float | None) -> bool:
        """Whether a level has moved from where it was."""
        return mark is None or abs(level - mark) >= MOVES * (self.start - self.stop)


class WellState(NamedTuple):
    pumping: bool = False
    more: bool = False
    """All pumps are wanted."""
    cause: str = "the level is awaited"
    known: bool = False
    """There was a level since the start, or the time to wait for it is over."""
    awaited: float | None = None
    """Since when the first level is waited for; not kept."""
    empty: bool = False
    """The level is at `stop`: no pump may run."""
    high: bool = False
    calm: float | None = None
    """Since when it is no longer as high as that."""
    wet: bool | None = None
    """The float is up; None: not known, or not believed."""
    fell: float | None = None
    """When the float fell, while the level is lost: the pump runs on."""
    doubt: float | None = None
    """Since when level and float contradict each other."""
    mark: float | None = None
    """The level from which it must move to be alive."""
    moved: bool = False
    """It has moved by so much since."""
    falls: int = 0
    """How often the float was up and fell while the level stood there."""
    still: float | None = None
    """Since when a pump runs and the level stands at `base`."""
    base: float | None = None
    frozen: bool = False
    """The level stands still and is not believed."""
    stuck: bool = False
    """The float is up while the level, which moves, says otherwise. It is not believed until it falls."""
    blind: float | None = None
    """Since when neither is known."""

    def has_level(self, level: float | None) -> bool:
        """Whether the level decides."""
        return level is not None and not self.frozen

    def begun(self) -> WellState:
        """A cycle begins below `start`."""
        return self if self.pumping else self._replace(pumping=True, cause=PUMPING)

    def dump(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in _KEPT}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> WellState:
        return cls(**{key: kept[key] for key in _KEPT})

    def shifted(self, by: BootShift) -> WellState:
        return self._replace(
            calm=by.optional(self.calm), fell=by.optional(self.fell), doubt=by.optional(self.doubt),
            blind=by.optional(self.blind), still=by.optional(self.still),
        )  # fmt: skip


_KEPT = (
    "pumping", "more", "cause", "high", "calm", "fell", "doubt", "mark", "moved", "falls", "still", "base", "frozen",
    "stuck", "blind",
)  # fmt: skip


def see_well(well: Well, state: WellState, view: View, runs: bool, now: float) -> tuple[WellState, float]:
    """The state after a look at level and float, and when to look again. `runs`: a pump does."""
    level, wet = good(view, well.level), good(view, well.high_float)
    up = None if wet is None else bool(wet)
    state = _watch(well, _judge(well, state, level, up, now), level, runs and not up, now)
    state = updated(state, wet=None if state.stuck else up)
    state, first = _await(well, state, view, level, now)
    if state.has_level(level):
        assert level is not None
        state, second = _by_level(well, updated(state, fell=None, blind=None), level, now)
    elif not state.known:
        return state, first
    elif state.wet is not None:
        state, second = _by_float(well, updated(state, blind=None, empty=False), now)
    else:
        state, second = _by_time(well, updated(state, fell=None, empty=False), now)
    state, third = _see_high(well, state, level, now)
    return state, max(min(first, second, third, _resolves(well, state)), now + SOON)


def _judge(well: Well, state: WellState, level: float | None, up: bool | None, now: float) -> WellState:
    """Whether level and float contradict each other, and which of them is believed."""
    if up is False:
        state = updated(state, stuck=False)
    if level is None:
        return updated(state, doubt=None, moved=False)
    if state.frozen or state.doubt is not None:
        state = updated(state, moved=state.moved or well.moves(level, state.mark))
    contradicts = bool(up) and level < well.start
    if state.frozen:
        return state._replace(frozen=False, doubt=None, moved=False, stuck=contradicts) if state.moved else state
    if state.doubt is not None and up is False and not state.moved:  # the float has moved, and the level has not
        if state.falls + 1 >= FALLS:
            return state._replace(doubt=None, falls=0, frozen=True)
        return state._replace(doubt=None, falls=state.falls + 1)
    if not contradicts or state.stuck:
        return updated(state, doubt=None, moved=False)
    if state.doubt is None:
        falls = 0 if well.moves(level, state.mark) else state.falls
        return state._replace(doubt=now, mark=level, moved=False, falls=falls)
    if state.moved and now >= state.doubt + CONTRADICTS:
        return state._replace(doubt=None, moved=False, stuck=True)
    if not state.moved and now >= state.doubt + well.float_run + PAUSE:
        return state._replace(doubt=None, frozen=True)
    return state


def _watch(well: Well, state: WellState, level: float | None, runs: bool, now: float) -> WellState:
    """Whether the level stands still although a pump `runs`, and no float is up. At the bottom of the well it may."""
    if level is None or not runs or state.frozen or level <= well.stop:
        return updated(state, still=None, base=None)
    if state.still is None or well.moves(level, state.base):
        return state._replace(still=now, base=level)
    if now >= state.still + STILL:
        return state._replace(still=None, base=None, doubt=None, moved=False, mark=level, frozen=True)
    return state


def _resolves(well: Well, state: WellState) -> float:
    still = NEVER if state.still is None else state.still + STILL
    if state.doubt is None:
        return still
    return min(still, state.doubt + (CONTRADICTS if state.moved else well.float_run + PAUSE))


def _await(well: Well, state: WellState, view: View, level: float | None, now: float) -> tuple[WellState, float]:
    """The first level, or float, since the start is waited for: until then all stays as it is."""
    heard = [view.points[name] for name in well.inputs if name in view.points]
    if level is not None or state.known or len(heard) == len(well.inputs):
        return updated(state, known=True, awaited=None), NEVER
    awaited = now if state.awaited is None else state.awaited
    late = now >= awaited + PATIENCE
    return updated(state, awaited=None if late else awaited, known=late), NEVER if late else awaited + PATIENCE


def _by_level(well: Well, state: WellState, level: float, now: float) -> tuple[WellState, float]:
    """The float starts the pumps as well. Where the level says that there is next to nothing, not for long."""
    up, due = state.wet is True, NEVER
    if up and state.doubt is not None:
        due = state.doubt + well.float_run
        up, due = now < due, due if now < due else NEVER
    pumping = up or level >= well.start or (state.pumping and level > well.stop)
    is_high = up or (well.high is not None and level >= well.high)
    more = pumping and (is_high or (state.more and level > well.stop))
    cause = "high float" if up else "high level" if more else PUMPING if pumping else "low enough"
    empty = not up and (level <= well.stop or (state.empty and level <= well.stop + well.band))
    return updated(state, pumping=pumping, more=more, cause=cause, empty=empty), due


def _by_float(well: Well, state: WellState, now: float) -> tuple[WellState, float]:
    if state.wet:
        return updated(state, pumping=True, more=True, cause="high float, no level", fell=None), NEVER
    fell = now if state.fell is None and state.pumping else state.fell
    until = -NEVER if fell is None else fell + well.float_run
    runs_on = now < until
    cause = "the float has just fallen" if runs_on else "no level, the float is down"
    fell = fell if runs_on else None
    return updated(state, pumping=runs_on, more=False, cause=cause, fell=fell), until if runs_on else NEVER


def _by_time(well: Well, state: WellState, now: float) -> tuple[WellState, float]:
    """Neither level nor float is known."""
    timed = well.timed
    if timed is None:
        return updated(state, pumping=False, more=False, cause="no level and no float", blind=None), NEVER
    since = now if state.blind is None else state.blind
    begin = since + (now - since) // timed.every * timed.every
    pumping = now < begin + timed.run
    due = begin + (timed.run if pumping else timed.every)
    cause = "no level and no float: by time" if pumping else "no level and no float: pause"
    return updated(state, pumping=pumping, more=False, cause=cause, blind=since), due


def _see_high(well: Well, state: WellState, level: float | None, now: float) -> tuple[WellState, float]:
    """Raised at once, over after a calm. While nothing is known it stays as it is."""
    limit = well.high if state.has_level(level) else None
    if state.wet or (limit is not None and level is not None and level >= limit - (well.band if state.high else 0.0)):
        return updated(state, high=True, calm=None), NEVER
    if not state.high or (state.wet is None and limit is None):
        return state, NEVER
    calm = now if state.calm is None else state.calm
    is_over = now >= calm + CALM
    return updated(state, high=not is_over, calm=None if is_over else calm), NEVER if is_over else calm + CALM
