"""One pump of a tank: what keeps it from running. It runs dry, its motor is too hot, or it is in maintenance.

A dry run and a thermal fault count as trips: after each the pump rests, and after some in an hour it stays off until
it is reset. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.control.api import NEVER, View, good, updated
from agent.control.boot_time import BootShift
from agent.model import Severity
from agent.services.water.rotation import runs

__all__ = ["DRY", "PUMP_SEVERITIES", "DryRun", "PumpSpec", "PumpState", "faults", "flow_fault", "held", "see_pump"]

HOUR = 3600.0
REST = 300.0
"""Seconds that a pump rests after it ran dry, or after its thermal fault is over, before it tries again."""
LATCH_AFTER = 3
"""Trips in an hour after which a pump stays off, where its dry run does not say another number."""
DOUBT = 120.0
"""Seconds for which a counter that may belong to another meter shows neither flow nor dry run. The verdict comes after
a minute and the next reading. A counter that is doubted longer, or repeatedly without growth, counts as standing."""

PUMP_SEVERITIES = {
    "dry_run": Severity.CRITICAL, "thermal_fault": Severity.MAJOR, "pump_failed": Severity.MAJOR,
    "sensor_fault": Severity.MINOR, "local_manual": Severity.INFO,
}  # fmt: skip
DRY, HOT = "dry run", "thermal fault"
"""The causes of a trip."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """The pump moves nothing if no flow comes for `no_flow` after `grace` from its start. Seconds.

    `flow` is a flow (more than `least`, in its own unit, is one) or, with `counts`, a counter that must grow.
    """

    flow: str
    grace: float = 15.0
    no_flow: float = 30.0
    latch_after: int = LATCH_AFTER
    """Times in an hour; then it stays off until it is reset."""
    least: float = 0.0
    counts: bool = False


@dataclass(frozen=True, slots=True)
class PumpSpec:
    """`thermal` and `maintenance` are contacts: on is a hot motor, or a switch that takes the pump out of service."""

    actuator: str
    dry_run: DryRun | None = None
    thermal: str | None = None
    maintenance: str | None = None
    rated_power: float | None = None
    """W, while it runs."""

    @property
    def inputs(self) -> tuple[str, ...]:
        flow = None if self.dry_run is None else self.dry_run.flow
        return tuple(one for one in (self.actuator, flow, self.thermal, self.maintenance) if one is not None)


@dataclass(frozen=True, slots=True)
class PumpState:
    dry: bool = False
    """It ran dry and has moved no water since."""
    latched: bool = False
    trips: tuple[float, ...] = ()
    """When it tripped, within the last hour."""
    still: float | None = None
    """Since when nothing flows; None: something does, or the flow is not known."""
    count: float | None = None
    """The last count of the flow's counter."""
    doubted: float | None = None
    """Since when it may be another meter's, as long as it has not grown; not kept."""
    cause: str = DRY
    """The cause of the last trip."""
    hot: bool = False
    """The thermal contact was on when it was last known."""
    cooled: float | None = None
    """When the last thermal fault was over."""
    serviced: bool = False
    """The maintenance contact was on when it was last known."""
    raised: frozenset[str] = frozenset()
    """The alarms of a pump that has a name of its own."""

    @property
    def rests_until(self) -> float:
        tripped = self.trips[-1] + REST if self.trips else -NEVER
        return tripped if self.cooled is None else max(tripped, self.cooled + REST)

    @property
    def reset(self) -> PumpState:
        """It may run again, unless a contact says otherwise once more."""
        return replace(self, latched=False, dry=False, trips=(), hot=False, cooled=None, serviced=False)

    def dump(self) -> dict[str, Any]:
        kept: dict[str, Any] = {name: getattr(self, name) for name in _KEPT}
        return kept | {"trips": list(self.trips), "raised": sorted(self.raised)}

    @classmethod
    def load(cls, pump: PumpSpec, kept: Mapping[str, Any]) -> PumpState:
        """The state from what was kept, without what left the file: nothing would end that."""
        raised, trips = frozenset(kept["raised"]) & PUMP_SEVERITIES.keys(), tuple(map(float, kept["trips"]))
        state = cls(**{**kept, "raised": raised, "trips": trips})
        if pump.thermal is None:
            state = replace(state, hot=False, cooled=None)
        if pump.maintenance is None:
            state = replace(state, serviced=False)
        if pump.dry_run is None and (pump.thermal is None or state.cause == DRY):
            state = replace(state, dry=False, latched=False, trips=())
        return state

    def shifted(self, by: BootShift) -> PumpState:
        trips = tuple(by.past(trip) for trip in self.trips)
        return replace(self, trips=trips, still=by.optional(self.still), cooled=by.optional(self.cooled))


_KEPT = tuple(name for name in PumpState.__dataclass_fields__ if name != "doubted")


def see_pump(pump: PumpSpec, state: PumpState, view: View, alone: bool, now: float) -> tuple[PumpState, float]:
    """The state after a look at the inputs, and when to look again. `alone`: no other pump runs on the same flow."""
    state, due = _see_flow(pump, state, view, alone, now)
    if pump.thermal is not None or pump.maintenance is not None:
        state = _see_contacts(pump, state, view, now)
    return state, min(due, state.rests_until) if state.rests_until > now else due


def held(state: PumpState, now: float) -> str:
    """Why it may not run; empty: it may."""
    if state.latched:
        return f"{state.cause}, latched"
    if state.hot:
        return HOT
    if now < state.rests_until:
        return state.cause
    return "maintenance" if state.serviced else ""


def faults(pump: PumpSpec, state: PumpState, view: View, now: float) -> dict[str, dict[str, Any] | None]:
    """The alarms of a pump that stand, but for that of its flow."""
    found: dict[str, dict[str, Any] | None] = {}
    if state.dry or (state.latched and state.cause == DRY):
        found["dry_run"] = {"latched": state.latched}
    if state.hot or (state.cause == HOT and (state.latched or now < state.rests_until)):
        found["thermal_fault"] = {"latched": state.latched}
    if state.serviced:
        found["local_manual"] = {"signal": pump.maintenance}
    for contact, what in ((pump.thermal, "a thermal fault"), (pump.maintenance, "a switch to maintenance")):
        if contact is not None and _is_lost(contact, state.raised, view):
            found["sensor_fault"] = {"signal": contact, "reason": f"{what} is not seen"}
    return found


def flow_fault(pump: PumpSpec, raised: frozenset[str], view: View) -> dict[str, dict[str, Any] | None]:
    """The alarm of a flow that is not known, of those `raised` before."""
    flow = None if pump.dry_run is None else pump.dry_run.flow
    if not _is_lost(flow, raised, view):
        return {}
    return {"sensor_fault": {"signal": flow, "reason": "the pump runs without protection against a dry run"}}


def _is_lost(name: str | None, raised: frozenset[str], view: View) -> bool:
    """Whether an input is bad or stale; one that was not heard since the start is waited for."""
    if name is None or good(view, name) is not None:
        return False
    return name in view.points or "sensor_fault" in raised


def _see_flow(pump: PumpSpec, state: PumpState, view: View, alone: bool, now: float) -> tuple[PumpState, float]:
    """Count the time without flow. An unknown flow stops no pump: the count starts again."""
    dry = pump.dry_run
    if dry is None:
        return state, NEVER
    state, flows = _flows(dry, state, view, now)
    if flows and not alone:
        flows = None  # it may be the other pump's
    output = view.outputs.get(pump.actuator)
    since = output.since if output is not None and runs(output) else None
    due = NEVER
    if since is not None and flows:
        due = since + dry.grace
        state = updated(state, dry=state.dry and now < due)
    if since is not None and flows is not None and state.still is not None:
        due = max(since + dry.grace, state.still, state.rests_until) + dry.no_flow
        if now >= due:
            state = updated(_tripped(state, DRY, dry.latch_after, now), dry=True)
    decided = NEVER if state.doubted is None else state.doubted + DOUBT
    return state, min((at for at in (due, decided) if at > now), default=NEVER)


def _tripped(state: PumpState, cause: str, latch_after: int, now: float) -> PumpState:
    trips = (*(trip for trip in state.trips if trip > now - HOUR), now)
    return replace(state, trips=trips, latched=state.latched or len(trips) >= latch_after, cause=cause)


def _see_contacts(pump: PumpSpec, state: PumpState, view: View, now: float) -> PumpState:
    """A contact that was on holds until it is known to be off: a lost wire cools no motor and ends no repair."""
    thermal, maintenance = good(view, pump.thermal), good(view, pump.maintenance)
    if thermal is not None and bool(thermal) is not state.hot:
        latch_after = LATCH_AFTER if pump.dry_run is None else pump.dry_run.latch_after
        state = _tripped(state, HOT, latch_after, now) if thermal else replace(state, cooled=now)
        state = replace(state, hot=bool(thermal))
    if maintenance is not None:
        state = updated(state, serviced=bool(maintenance))
    return state


def _flows(dry: DryRun, state: PumpState, view: View, now: float) -> tuple[PumpState, bool | None]:
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
