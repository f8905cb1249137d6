"""A plant that modulates: the target of its flow by the heat curve, and how the room moves it.

The curve is that of comfort. A room of another setpoint loses what it would lose at comfort on a warmer day, so its
target is that of the warmer day, less what the room itself is cooler. A target is changed rarely: many makers keep it
in a memory that wears out (README.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from agent.control.api import NEVER, Now, Output, View, good
from agent.services.heating.boiler import BAND, SILENCE, Burner, HeatCurve

__all__ = ["Charging", "Flow", "Modulating", "Wanted", "base", "charge", "guard_flow", "is_warm", "move", "turn_ends"]

IDLE, AGAIN = 1.0, 0.5
"""K above the setpoint: from the one on the room gets no heat, from the other down it does."""
MILD = 5.0
"""degC outdoors, out of winter, while the outdoor temperature is not known: the mean of a heating season."""
GRID = 300.0
"""Seconds: the correction of the curve is learned on this grid."""
LEARNS = 8 * 3600.0
"""Seconds after which a lasting error of the room is corrected as much again as it is at once."""
NEAR = 1.0
"""K: only a room this near to its setpoint corrects the curve; one that heats up or cools down does not."""
TURN = 2 * 3600.0
"""Seconds: hot water has priority for so long, then the rooms as long, and so on: a store that never gets warm must not
let a building freeze."""
ROUNDED = 0.5
"""K: targets are multiples of it."""
MISSED = 5.0
"""K: the flow misses a target that it is this much below."""


@dataclass(frozen=True, slots=True)
class Charging:
    """A store of hot water that the plant heats: while `actuator` is on, the flow is at least `flow` degC."""

    actuator: str
    flow: float


@dataclass(frozen=True, slots=True)
class Modulating:
    """A plant that is given its flow temperature. degC, K and seconds; `influence` is K of flow per K of the room.

    `actuator` is the name of the level, which is the point itself where it has no other. `shift` is by how much the
    room may move the target, `deadband` and `every` are the least change of it and the least time between two.
    """

    actuator: str
    low: float = 20.0
    high: float = 67.0
    influence: float = 4.0
    shift: float = 10.0
    deadband: float = 1.0
    every: float = 600.0
    enable: str | None = None
    hot_water: Charging | None = None
    missed_after: float = 3600.0


class Wanted(NamedTuple):
    """The wants of a zone: the `setpoint` of its room and that of `comfort` (degC), and why.

    `heats`: not the summer. `room` None: it is not known; `lost`: for so long that it counts no more.
    """

    setpoint: float
    comfort: float
    why: str
    heats: bool
    room: float | None
    lost: bool
    outdoor: float | None


class Flow(NamedTuple):
    """The target as it is, and what it is made of. Times are monotonic seconds."""

    target: float | None = None
    """degC; None before the first step."""
    cause: str = ""
    since: float = 0.0
    """When the target changed last."""
    shift: float = 0.0
    """By how much the room moves it, K."""
    learned: float = 0.0
    """The part of that which corrects the curve, K."""
    at: float | None = None
    """Up to when that was learned."""
    heats: bool = False
    idle: bool = False
    """The room is warm: it gets no heat until it has cooled."""
    charging: bool = False
    """Hot water has priority now."""
    asked: float | None = None
    """Since when the store is to be heated."""
    winter: bool = True
    late: float | None = None
    """Since when the flow misses the target."""
    temperature: float | None = None
    """The flow as it was read last, degC."""
    held: bool = False
    """Something holds the plant back, so that the flow may miss its target."""
    due: float = NEVER

    def in_this_boot(self) -> Flow:
        return Flow(shift=self.shift, learned=self.learned, idle=self.idle)

    def dump(self) -> dict[str, Any]:
        kept = self._asdict()
        del kept["due"], kept["temperature"], kept["held"]
        return kept

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Flow:
        return cls(**kept)


def guard_flow(burner: Burner, curve: HeatCurve, view: View, now: Now) -> Burner:
    """Update the limit of the flow, and whether the flow is known. A plant that modulates measures its own flow, so
    it is neither stopped without ours nor locked out."""
    flow = good(view, curve.signal)
    if flow is None:
        lost = now.monotonic if burner.lost is None else burner.lost
        failed = burner.failed or view.points.get(curve.signal) is not None or now.monotonic >= lost + SILENCE
        return burner._replace(lost=lost, failed=failed, hot=False, cut=False, locked=False)
    hot = flow > curve.max_flow - BAND if burner.hot else flow >= curve.max_flow
    if hot is burner.hot and burner.lost is None and not (burner.failed or burner.cut or burner.locked):
        return burner
    return burner._replace(lost=None, failed=False, hot=hot, cut=False, locked=False)


def charge(flow: Flow, output: Output | None, t: float) -> Flow:
    """Note whether hot water has priority, by the actuator of its store."""
    asked = None
    if output is not None and output.value is True:
        asked = t if flow.asked is None else flow.asked
    charging = asked is not None and (t - asked) // TURN % 2 == 0
    return flow if (asked, charging) == (flow.asked, flow.charging) else flow._replace(asked=asked, charging=charging)


def turn_ends(flow: Flow, t: float) -> float:
    """When the turn of hot water, or of the rooms beside it, is over (monotonic s)."""
    return NEVER if flow.asked is None else flow.asked + ((t - flow.asked) // TURN + 1) * TURN


def move(spec: Modulating, curve: HeatCurve, flow: Flow, wanted: Wanted, t: float) -> Flow:
    """The target at this moment."""
    error = None if wanted.room is None or wanted.lost else wanted.setpoint - wanted.room
    idle = is_warm(flow.idle, wanted)
    outdoor = wanted.outdoor
    if outdoor is None:
        outdoor = curve.points[0][0] if flow.winter else MILD
    plain = base(curve, wanted.setpoint, wanted.comfort, outdoor)
    flow = _learn(spec, flow, wanted, error, plain, idle, t)
    shift = flow.shift
    if error is not None:
        shift = min(max(spec.influence * error + flow.learned, -spec.shift), spec.shift)
    elif wanted.lost:
        shift = flow.learned
    heats = wanted.heats and not idle
    raw, cause = (plain + shift, wanted.why) if heats else (spec.low, "room_warm" if wanted.heats else wanted.why)
    if flow.charging and spec.hot_water is not None and spec.hot_water.flow > raw:
        raw, cause = spec.hot_water.flow, "hot_water"
    target, cause, since, due = _adopt(spec, flow, raw, cause, t)
    return _watched(
        flow._replace(shift=shift, idle=idle, heats=heats, target=target, cause=cause, since=since, due=due), t
    )


def is_warm(idle: bool, wanted: Wanted) -> bool:
    """Whether the room is so warm that it gets no heat. `idle`: it gets none so far."""
    if wanted.room is None or wanted.lost:
        return idle and not wanted.lost
    above = wanted.room - wanted.setpoint
    return above > AGAIN if idle else above >= IDLE


def base(curve: HeatCurve, setpoint: float, comfort: float, outdoor: float) -> float:
    """The curve's target (degC) for a setpoint of the room; the curve is that of `comfort`."""
    cooler = comfort - setpoint
    return curve.target(outdoor + cooler) - cooler


def _learn(
    spec: Modulating, flow: Flow, wanted: Wanted, error: float | None, plain: float, idle: bool, t: float
) -> Flow:
    """Correct the curve by an error that lasts, on the grid. Not at the bounds, where more would change nothing."""
    regulates = error is not None and abs(error) <= NEAR and wanted.heats and not idle and not flow.charging
    if error is None or not regulates:
        return flow if flow.at is None else flow._replace(at=None)
    if flow.at is None or flow.at > t:
        return flow._replace(at=t)
    if t // GRID <= flow.at // GRID:
        return flow
    raw = plain + flow.shift
    bound = (error > 0 and (raw >= spec.high or flow.shift >= spec.shift)) or (
        error < 0 and (raw <= spec.low or flow.shift <= -spec.shift)
    )
    found = flow.learned if bound else flow.learned + spec.influence * error * (t - flow.at) / LEARNS
    return flow._replace(learned=round(min(max(found, -spec.shift), spec.shift), 4), at=t)


def _adopt(spec: Modulating, flow: Flow, raw: float, cause: str, t: float) -> tuple[float, str, float, float]:
    """The target, its cause, since when, and when it is looked at again: at once for another reason, else by `deadband`
    and not before `every` is over."""
    target = min(max(round(raw / ROUNDED) * ROUNDED, spec.low), spec.high)
    now, due = flow.target, NEVER
    if now is None:
        return target, cause, t, due
    if abs(target - now) < spec.deadband:
        target = now
    elif target != now and cause == flow.cause and t < flow.since + spec.every:
        target, due = now, flow.since + spec.every
    return target, cause, flow.since if target == now else t, due


def _watched(flow: Flow, t: float) -> Flow:
    """Note since when the flow misses its target."""
    wanted = flow.target is not None and flow.heats and not flow.held
    misses = wanted and flow.temperature is not None and flow.temperature < (flow.target or 0.0) - MISSED
    late = (t if flow.late is None else flow.late) if misses else None
    return flow if late == flow.late else flow._replace(late=late)
