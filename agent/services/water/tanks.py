"""A tank that a pump fills between two levels, never without a known level and never dry.

Priorities: 15 fill or not; 5 off, while the level is not known, stands still or does not rise; 2 off, while the pump
runs dry or the tank is full to the brim. A remote command may fill by hand, but not against the last two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from agent.control.alarm_state import alarm_changes
from agent.control.api import NEVER, Now, Step, View, Wish, check_reset, good, updated
from agent.control.boot_time import BootShift, boot_anchor
from agent.control.noise import Noise, follow_noise
from agent.model import Severity, Value
from agent.services.water.level import Level, believe
from agent.services.water.tank_level import Standstill, StandstillState, watch

__all__ = ["DryRun", "Tank", "TankState"]

INTERLOCK, FAULT, SCHEDULE = 2, 5, 15
HOUR = 3600.0
REST = 300.0
"""Seconds that a pump rests after it ran dry, before it tries again: the well fills up."""
PATIENCE = 60.0
"""Seconds that a level may take to be read for the first time since the start."""
DOUBT = 120.0
"""Seconds for which a counter that may belong to another meter shows neither flow nor dry run. The verdict comes after
a minute and the next reading. A counter that is doubted longer, or repeatedly without growth, counts as standing."""
BAND = 2.0
"""Percent by which a level must come back before its alarm is over."""
AWAY = 3600.0
"""Seconds without growth after which a counter at the outlet shows that nothing flows."""

SEVERITIES = {
    "level_low": Severity.MAJOR, "level_high": Severity.MAJOR, "level_fault": Severity.MAJOR,
    "dry_run": Severity.CRITICAL, "sensor_fault": Severity.MINOR, "sensor_stuck": Severity.MAJOR,
    "fill_too_long": Severity.MAJOR,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DryRun:
    """The pump moves nothing if no flow comes for `no_flow` after `grace` from its start. Seconds.

    `flow` is a flow (more than `least`, in its own unit, is one) or, with `counts`, a counter that must grow.
    """

    flow: str
    grace: float = 15.0
    no_flow: float = 30.0
    latch_after: int = 3
    """Times in an hour; then it stays off until the command `<name>.latch` reset."""
    least: float = 0.0
    counts: bool = False


@dataclass(frozen=True, slots=True)
class Outlet:
    """The outlet of the tank: a flow (more than `least`, in its own unit, is one), or with `counts` a counter."""

    flow: str
    least: float = 0.0
    counts: bool = False


@dataclass(frozen=True, slots=True)
class TankState:
    """Times are monotonic seconds. `anchor` is Unix seconds at monotonic 0."""

    filling: bool = False
    known: bool = False
    """There was a level since the start, or the time to wait for it is over."""
    awaited: float | None = None
    """Since when the first level is waited for; not kept."""
    low: bool = False
    high: bool = False
    dry: bool = False
    """The pump ran dry and has moved no water since."""
    latched: bool = False
    trips: tuple[float, ...] = ()
    """When it ran dry, within the last hour."""
    still: float | None = None
    """Since when nothing flows; None: something does, or the flow is not known."""
    count: float | None = None
    """The last count of the flow's counter."""
    doubted: float | None = None
    """Since when it may be another meter's, as long as it has not grown; not kept."""
    standing: StandstillState = field(default_factory=StandstillState)
    outlet_count: float | None = None
    """The last count of the counter at the outlet, and when it last grew."""
    outlet_at: float | None = None
    believed: Level = field(default_factory=Level)
    noise: Noise = field(default_factory=Noise)
    """The ripple of the level, percent: waves, or the noise of a sensor that may be dead."""
    raised: frozenset[str] = frozenset()
    anchor: float | None = None
    restored: bool = False
    """The state comes from flash: its times may be those of another boot."""

    @property
    def rests_until(self) -> float:
        return self.trips[-1] + REST if self.trips else -NEVER


_LOST = frozenset({"known", "awaited", "doubted", "restored"})
"""Fields that are not kept."""
_KEPT = tuple(key for key in TankState.__dataclass_fields__ if key not in _LOST | {"believed", "noise"})
_NEWER = frozenset({"standing", "believed", "outlet_count", "outlet_at"})
"""Fields that an earlier version did not keep."""


@dataclass(frozen=True, slots=True)
class Tank:
    """The control of one tank. Levels in percent: fills from `start` to `stop`, alarms at `low` and `high`."""

    name: str
    level: str
    pump: str
    start: float = 40.0
    stop: float = 85.0
    low: float = 10.0
    high: float = 95.0
    dry_run: DryRun | None = None
    standstill: Standstill = field(default_factory=Standstill)
    outlet: Outlet | None = None
    interval: float = 10.0
    """Seconds between two readings of the level."""
    inputs: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        flows = (one.flow for one in (self.dry_run, self.outlet) if one is not None)
        object.__setattr__(self, "inputs", frozenset((self.level, self.pump, *flows)))

    # -- state -------------------------------------------------------------------------------------------------

    def initial(self) -> TankState:
        return TankState()

    def dump(self, state: TankState) -> dict[str, Any]:
        kept = {key: getattr(state, key) for key in _KEPT} | {
            "trips": list(state.trips), "raised": sorted(state.raised), "standing": state.standing.dump(),
            "tremble": round(state.noise.size, 1),
        }  # fmt: skip
        if state.believed.matters:  # else it is soon read again, and not worth a write to flash
            kept["believed"] = asdict(state.believed)
        return kept

    def load(self, kept: Mapping[str, Any]) -> TankState:
        wanted = TankState.__dataclass_fields__.keys() - _LOST - {"noise"} - (_NEWER - kept.keys())
        own = {key: kept[key] for key in wanted} | {
            "standing": StandstillState.load(kept.get("standing")), "believed": Level(**kept.get("believed", {})),
            "noise": Noise(kept.get("tremble", 0.0)),
        }  # fmt: skip
        trips, raised = tuple(map(float, kept["trips"])), frozenset(kept["raised"]) & SEVERITIES.keys()
        known = "level_fault" in raised
        state = TankState(**own | {"trips": trips, "raised": raised}, known=known, restored=True)
        if self.dry_run is None:  # it left the file: nothing would clear the latch
            state = replace(state, dry=False, latched=False, trips=())
        return state

    @property
    def commands(self) -> Sequence[str]:
        return (f"{self.name}.latch",)

    def command(self, state: TankState, point: str, value: Value, _now: Now) -> TankState:
        """`<name>.latch` takes "reset": the pump may run again."""
        check_reset(point, value)
        return replace(state, latched=False, dry=False, trips=(), standing=StandstillState())

    def mark(self, state: TankState) -> object:
        """The dry runs, which are counted over an hour, and why the pump was stopped."""
        return state.trips, state.standing.stops

    # -- step --------------------------------------------------------------------------------------------------

    def step(self, state: TankState, view: View, now: Now) -> Step[TankState]:
        if state.restored:
            by = BootShift.from_anchor(state.anchor, now)
            trips = tuple(by.past(trip) for trip in state.trips)
            state = replace(
                state, restored=False, trips=trips, still=by.optional(state.still),
                outlet_at=by.optional(state.outlet_at), standing=state.standing.shifted(by),
                believed=state.believed.shifted(by),
            )  # fmt: skip
        state = updated(state, anchor=boot_anchor(state.anchor, now))
        level = good(view, self.level)
        read_at = view.points[self.level].at if level is not None else 0.0
        believed, third = believe(state.believed, level, read_at, self.interval, now.monotonic)
        state = updated(state, believed=believed)
        level = None if level is None else believed.value
        state, first = self._see_level(state, view, level, now.monotonic)
        state, second = self._see_flow(state, view, now.monotonic)
        state, fourth = self._see_standstill(state, view, level, now.monotonic)
        standing = self._standing(state, view, level)
        raised, happenings = alarm_changes(self.name, state.raised, standing, SEVERITIES)
        wishes = self._wishes(state, view, level, now.monotonic)
        return Step(updated(state, raised=raised), wishes, happenings, min(first, second, third, fourth))

    def _see_level(self, state: TankState, view: View, level: float | None, now: float) -> tuple[TankState, float]:
        if level is None and state.believed.doubted is not None:
            return state, NEVER  # a first level that is waited for once more
        if level is None:
            if state.known or (self.level in view.points and good(view, self.level) is None):
                return updated(state, known=True), NEVER
            awaited = now if state.awaited is None else state.awaited
            late = now >= awaited + PATIENCE
            return updated(state, awaited=awaited, known=late), NEVER if late else awaited + PATIENCE
        filling = level <= self.start or (state.filling and level < self.stop)
        low = level <= self.low or (state.low and level < self.low + BAND)
        high = level >= self.high or (state.high and level > self.high - BAND)
        return updated(state, known=True, filling=filling, low=low, high=high), NEVER

    def _see_flow(self, state: TankState, view: View, now: float) -> tuple[TankState, float]:
        """Count the time without flow. An unknown flow stops no pump: the count starts again."""
        dry = self.dry_run
        if dry is None:
            return state, NEVER
        state, flows = _flows(dry, state, view, now)
        since = _running_since(view, self.pump)
        due = NEVER
        if since is not None and flows:
            due = since + dry.grace
            state = updated(state, dry=state.dry and now < due)
        if since is not None and flows is not None and state.still is not None:
            due = max(since + dry.grace, state.still, state.rests_until) + dry.no_flow
            if now >= due:
                trips = (*(trip for trip in state.trips if trip > now - HOUR), now)
                latched = state.latched or len(trips) >= dry.latch_after
                state = updated(state, dry=True, trips=trips, latched=latched)
        decided = NEVER if state.doubted is None else state.doubted + DOUBT
        return state, min((at for at in (due, state.rests_until, decided) if at > now), default=NEVER)

    def _see_standstill(
        self, state: TankState, view: View, level: float | None, now: float
    ) -> tuple[TankState, float]:
        """Whether the level moves while the pump runs, or while something flows out."""
        state, flows, changes = self._see_outlet(state, view, now)
        runs = _running_since(view, self.pump) is not None
        noise = state.noise if level is None else follow_noise(state.noise, level, now)
        standing, due = watch(self.standstill, state.standing, level, self.stop, noise.size, runs, flows, now)
        return updated(state, standing=standing, noise=noise), min(due, changes)

    def _see_outlet(self, state: TankState, view: View, now: float) -> tuple[TankState, bool, float]:
        """Whether something flows out, and until when that is known."""
        outlet = self.outlet
        value = None if outlet is None else good(view, outlet.flow)
        if outlet is None or value is None:
            return state, False, NEVER
        if not outlet.counts:
            return state, value > outlet.least, NEVER
        if value != state.outlet_count:
            grown_at = None if state.outlet_count is None else now
            state = updated(state, outlet_count=value, outlet_at=grown_at)
        if state.outlet_at is None or now >= state.outlet_at + AWAY:
            return state, False, NEVER
        return state, True, state.outlet_at + AWAY

    def _wishes(self, state: TankState, view: View, level: float | None, now: float) -> list[Wish]:
        fills, cause = state.filling, "filling" if state.filling else "full enough"
        if level is None:
            pump = view.outputs.get(self.pump)
            fills = fills and not state.known and pump is not None and bool(pump.value)
            cause = "as it was, the level is awaited" if fills else "no level"
        wishes = [Wish(self.pump, SCHEDULE, fills, cause)]
        if level is None and state.known:
            wishes.append(Wish(self.pump, FAULT, False, "level fault"))
        elif state.standing.stops:
            wishes.append(Wish(self.pump, FAULT, False, state.standing.stops))
        stops = {"dry run, latched": state.latched, "dry run": now < state.rests_until, "level high": state.high}
        held = next((why for why, holds in stops.items() if holds), None)
        return wishes if held is None else [*wishes, Wish(self.pump, INTERLOCK, False, held)]

    def _standing(self, state: TankState, view: View, level: float | None) -> dict[str, dict[str, Any] | None]:
        found: dict[str, dict[str, Any] | None] = {}
        if level is None and state.known:
            found["level_fault"] = None
        if state.low:
            found["level_low"] = {"level": level}
        if state.high:
            found["level_high"] = {"level": level}
        if state.standing.stuck:
            found["sensor_stuck"] = {"signal": self.level, "level": level}
        if state.standing.too_long:
            found["fill_too_long"] = {"level": level}
        if state.dry or state.latched:
            found["dry_run"] = {"latched": state.latched}
        flow = None if self.dry_run is None else self.dry_run.flow
        awaited = flow is not None and flow not in view.points and "sensor_fault" not in state.raised
        if flow is not None and good(view, flow) is None and not awaited:
            found["sensor_fault"] = {"signal": flow, "reason": "the pump runs without protection against a dry run"}
        return found


def _running_since(view: View, pump: str) -> float | None:
    """When the pump started; None: it does not run, as far as is known."""
    output = view.outputs.get(pump)
    return output.since if output is not None and output.value and output.feedback is not False else None


def _flows(dry: DryRun, state: TankState, view: View, now: float) -> tuple[TankState, bool | None]:
    """Whether something flows; None: not known. A sensor without a reading since the start is waited for."""
    value = good(view, dry.flow)
    if value is None:
        return (updated(state, still=None) if dry.flow in view.points else state), None
    if dry.counts:
        grown = value != state.count
        if grown:
            state = updated(state, doubted=None)
        elif view.points[dry.flow].doubted:
            state = updated(state, doubted=now if state.doubted is None else state.doubted)
            if state.doubted is not None and now < state.doubted + DOUBT:
                return updated(state, still=None), None
        return (updated(state, count=value, still=now) if grown or state.still is None else state), grown
    flows = value > dry.least
    still = None if flows else now if state.still is None else state.still
    return updated(state, still=still), flows
