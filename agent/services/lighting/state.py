"""The state of a lighting circuit, and its persistence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from agent.control.api import NEVER
from agent.control.named_calendars import NamedCalendar
from agent.services.lighting.faults import HOLD, Watch
from agent.services.lighting.lamps import Baseline
from agent.services.lighting.light_on_request import RequestedLight
from agent.services.lighting.night import Night
from agent.services.lighting.on_demand import RequestWindow
from agent.services.lighting.photocell import Cell, Glow

__all__ = ["Burning", "CircuitState", "Tonight", "dumped", "kept", "loaded"]


class Tonight(NamedTuple):
    """The night of now, and the moments at which something may change by itself (Unix seconds, in order)."""

    night: Night
    marks: tuple[float, ...]
    daylight: tuple[float, float]
    """Lamps that burn before the one or after the other are a fault (Unix seconds)."""
    windows: tuple[RequestWindow, ...] = ()
    """When light can be requested."""
    calendars: tuple[NamedCalendar | None, ...] = ()
    """The named calendars of that night."""


class Burning(NamedTuple):
    """The state from `at` (monotonic s) on; the next step counts it."""

    at: float
    closed: bool = False
    power: float = 0.0
    normal: tuple[str, float, float | None] | None = None
    """The combination that is on (`Observation.key`), and its W and V for the baseline."""


class CircuitState(NamedTuple):
    """The state of a circuit. `seconds` and `energy` (Wh) are totals; times are monotonic seconds."""

    cell: Cell = Cell()
    watch: Watch = Watch()
    baseline: Baseline = Baseline()
    seconds: float = 0.0
    energy: float = 0.0
    starts: int = 0
    anchor: float | None = None
    tonight: Tonight | None = None
    burning: Burning | None = None
    level: float | None = None
    level_since: float = -NEVER
    relamped: bool = False
    recalled: bool = False
    glow: Glow = Glow()
    lit: bool | None = None
    """The last wish of the programme since the start; None: none yet."""
    requested: RequestedLight = RequestedLight()

    @property
    def kept_seconds(self) -> int:
        """The total as it is kept, and told: what was told never goes back after a restart."""
        return round(self.seconds)

    @property
    def kept_energy(self) -> float:
        return round(self.energy, 1)


def dumped(state: CircuitState) -> dict[str, Any]:
    """The part of the state that outlives the process, as JSON values."""
    was = state.burning
    return {
        "cell": state.cell.dump(),
        "open": sorted(state.watch.open),
        "learnt": state.baseline.dump(),
        "seconds": state.kept_seconds,
        "energy": state.kept_energy,
        "burning": [was.at, was.power] if was is not None and was.closed else None,
        "starts": state.starts,
        "anchor": state.anchor,
        "glow": state.glow.dump(),
    }


def kept(state: CircuitState) -> tuple[Any, ...]:
    """All that `dumped` is made of."""
    was = state.burning
    return (
        state.cell, state.watch.open, state.baseline, state.kept_seconds, state.kept_energy,
        (was.at, was.power) if was is not None and was.closed else None, state.starts, state.anchor,
        state.glow.lights, state.glow.turned,
    )  # fmt: skip


def loaded(kept: Mapping[str, Any]) -> CircuitState:
    """The state from what was kept."""
    burning = kept.get("burning")
    return CircuitState(
        cell=Cell.load(kept["cell"]),
        watch=Watch(frozenset(kept["open"]) & HOLD.keys()),
        baseline=Baseline.load(kept["learnt"]),
        seconds=float(kept["seconds"]),
        energy=float(kept["energy"]),
        starts=int(kept.get("starts", 0)),
        burning=None if burning is None else Burning(float(burning[0]), True, float(burning[1])),
        anchor=kept["anchor"],
        recalled=True,
        glow=Glow.load(kept["glow"]) if "glow" in kept else Glow(),
    )
