"""The state of a water point, and its persistence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent.control.api import Now
from agent.control.boot_time import BootShift
from agent.control.calm import Calm
from agent.lib.counter import CounterTrail
from agent.services.water.frost import FrostState
from agent.services.water.hours import HoursNow
from agent.services.water.leaks import LeakState
from agent.services.water.meter import Meter

__all__ = ["WaterState", "dumped", "loaded", "shifted"]


@dataclass(frozen=True, slots=True)
class WaterState:
    """Times are monotonic seconds, volumes litres. `anchor` is Unix seconds at monotonic 0."""

    meter: Meter = field(default_factory=Meter)
    leaks: LeakState = field(default_factory=LeakState)
    frost: FrostState = field(default_factory=FrostState)
    latched: bool = False
    """Closed by a burst until the command `<name>.latch` reset."""
    tampered: bool = False
    day: str = ""
    """The day that is counted, and the index when it began."""
    day_index: float = 0.0
    yesterday: float | None = None
    """Litres of the day before; None: that day was not counted completely."""
    flushing: float | None = None
    """Since when it flushes, and the index when it began."""
    flush_index: float = 0.0
    flushed: float | None = None
    """When the last whole flush was over."""
    flushed_litres: float = 0.0
    """All that flushes ever drew."""
    raised: frozenset[str] = frozenset()
    anchor: float | None = None
    trail: CounterTrail | None = None
    """The count of a meter without a signal of its own; not kept: after a start its first reading is taken as it is."""
    hours: HoursNow | None = None
    """The opening hours now; not kept."""
    calm: Calm[None] | None = None
    """All that the last step went by, if it changed nothing; not kept."""
    restored: bool = False
    """The state comes from flash: its times may be those of another boot."""


_FORGOTTEN = frozenset({"calm", "hours", "restored", "trail"})
_NEWER = frozenset({"yesterday", "flushed_litres"})
"""Fields that an earlier version did not keep."""


def dumped(state: WaterState) -> dict[str, Any]:
    """The part of the state that outlives the process, as JSON values."""
    kept = {key: getattr(state, key) for key in WaterState.__dataclass_fields__ if key not in _FORGOTTEN}
    return kept | {
        "meter": state.meter.dump(), "leaks": state.leaks.dump(), "raised": sorted(state.raised),
        "frost": {"cold": state.frost.cold, "warm": state.frost.warm, "lost": state.frost.lost},
    }  # fmt: skip


def loaded(kept: Mapping[str, Any]) -> WaterState:
    """The state from what was kept. Its times may be those of another boot: see `shifted`."""
    wanted = WaterState.__dataclass_fields__.keys() - _FORGOTTEN - (_NEWER - kept.keys())
    own = {key: kept[key] for key in wanted} | {
        "meter": Meter.load(kept["meter"]), "leaks": LeakState.load(kept["leaks"]),
        "frost": FrostState(**kept["frost"]), "raised": frozenset(kept["raised"]),
    }  # fmt: skip
    return WaterState(**own, restored=True)


def shifted(state: WaterState, now: Now) -> WaterState:
    """The state with the times of this boot."""
    by = BootShift.from_anchor(state.anchor, now)
    return replace(
        state, restored=False, meter=replace(state.meter, at=by.past(state.meter.at)), leaks=state.leaks.shifted(by),
        frost=state.frost.shifted(by), flushing=by.optional(state.flushing), flushed=by.optional(state.flushed),
    )  # fmt: skip
