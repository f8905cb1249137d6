"""Pumps of a tank or a lift station: their faults, alarms, latches and accounts. Pure.

The states are `PumpState`, and the records those of the rotation, both in the order of the pumps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from agent.control.alarm_state import alarm_changes
from agent.control.api import NEVER, Happening, View, good, updated
from agent.control.calm import said
from agent.model import Kind, Point
from agent.services.water.pump import DRY, PUMP_SEVERITIES, PumpSpec, PumpState, faults, flow_fault, see_pump
from agent.services.water.rotation import TURN, PumpRecord, RotationState, runs

__all__ = [
    "are_calm", "latched_pumps", "latches", "pump_figures", "pump_points", "reset_pumps", "see_pumps", "seen_of",
    "shared_flow_faults", "tell_pumps", "unread_pumps",
]  # fmt: skip


def see_pumps(
    pumps: Sequence[PumpSpec], states: Sequence[PumpState], view: View, now: float
) -> tuple[tuple[PumpState, ...], float]:
    """Look at the inputs of each pump; also returns when to look again. The flow of two pumps that run on one meter is
    not known of either."""
    going = [pump for pump in pumps if runs(view.outputs.get(pump.actuator))] if len(pumps) > 1 else []
    found, dues = [], [NEVER]
    for pump, before in zip(pumps, states, strict=True):
        alone = not any(_shares(pump, other) for other in going if other is not pump)
        one, due = see_pump(pump, before, view, alone, now)
        found.append(one)
        dues.append(due)
    return tuple(found), min(dues)


def seen_of(pumps: Sequence[PumpSpec], view: View) -> list[Any]:
    """The inputs and outputs of pumps: of a flow whether there is one, of a counter its count."""
    found: list[Any] = []
    for pump in pumps:
        found += (view.outputs.get(pump.actuator), said(view, pump.thermal), said(view, pump.maintenance))
        if pump.dry_run is not None:
            flow = said(view, pump.dry_run.flow)
            if flow and not pump.dry_run.counts and flow[0] is not None and not isinstance(flow[0], str):
                flow = (flow[0] > pump.dry_run.least, *flow[1:])
            found.append(flow)
    return found


def are_calm(records: Sequence[PumpRecord], pumps: Sequence[PumpSpec], view: View, now: float) -> bool:
    """Whether time alone changes nothing of the duty before it is due: no limit holds a pump, and none has run for so
    long that the hours decide on another."""
    outputs = [view.outputs.get(pump.actuator) for pump in pumps]
    held_back = any(one is not None and (one.waits > now or one.unread <= now) for one in outputs)
    return not held_back and all(one.began is None or now < one.began + TURN for one in records)


def unread_pumps(
    pumps: Sequence[PumpSpec], out: Set[str], view: View, after: float, now: float
) -> tuple[frozenset[str], float]:
    """The pumps whose output has not been read for `after` seconds, and when to look again: their module is lost, and
    they may stand still. A flow that is known says more, and where no other pump is left (`out` may not run) they stay
    as they are."""
    lost, due = set(), NEVER
    for pump in pumps:
        output = view.outputs.get(pump.actuator)
        since = NEVER if output is None else output.unread
        if since == NEVER or (pump.dry_run is not None and good(view, pump.dry_run.flow) is not None):
            continue
        if now >= since + after:
            lost.add(pump.actuator)
        else:
            due = min(due, since + after)
    others = any(pump.actuator not in lost and pump.actuator not in out for pump in pumps)
    return frozenset(lost) if others else frozenset(), due


def tell_pumps(
    pumps: Sequence[PumpSpec], states: Sequence[PumpState], records: Sequence[PumpRecord], view: View, now: float
) -> tuple[tuple[PumpState, ...], list[Happening]]:
    """The alarms of each pump, under its own name."""
    found, happenings = [], []
    for pump, one, record in zip(pumps, states, records, strict=True):
        standing = faults(pump, one, view, now)
        if not _is_shared(pump, pumps):
            standing |= flow_fault(pump, one.raised, view)
        if record.failed is not None:
            standing["pump_failed"] = {"reason": "it does not run"}
        raised, news = alarm_changes(pump.actuator, one.raised, standing, PUMP_SEVERITIES)
        happenings += news
        found.append(updated(one, raised=raised))
    return tuple(found), happenings


def latches(names: Sequence[str], before: Sequence[PumpState], after: Sequence[PumpState]) -> list[Happening]:
    """The pumps that are latched from now on, each under its name. Its alarm may have been open since an earlier trip,
    and is raised only once."""
    found = []
    for name, old, new in zip(names, before, after, strict=True):
        if new.latched and not old.latched:
            code = _code(new)
            found.append(Happening("change", code, name, PUMP_SEVERITIES[code], {"latched": True}))
    return found


def latched_pumps(
    names: Sequence[str], states: Sequence[PumpState], raised: frozenset[str] = frozenset()
) -> list[tuple[str, str]]:  # fmt: skip
    """The alarms of the pumps that are latched, code and subject, each under its name: that of the cause, and another
    one that was `raised` before and ends with the same reset."""
    latched = [(name, one) for name, one in zip(names, states, strict=True) if one.latched]
    return [
        (code, name)
        for name, one in latched
        for code in ("dry_run", "thermal_fault")
        if code == _code(one) or code in one.raised | raised
    ]


def _code(latched: PumpState) -> str:
    return "dry_run" if latched.cause == DRY else "thermal_fault"


def shared_flow_faults(
    pumps: Sequence[PumpSpec], raised: frozenset[str], view: View
) -> dict[str, dict[str, Any] | None]:  # fmt: skip
    """The alarm of a flow that several pumps have, of those that were `raised` before: the group tells it once."""
    found: dict[str, dict[str, Any] | None] = {}
    for pump in pumps:
        if _is_shared(pump, pumps):
            found |= flow_fault(pump, raised, view)
    return found


def reset_pumps(
    states: Sequence[PumpState], rotation: RotationState, chosen: Sequence[bool]
) -> tuple[tuple[PumpState, ...], RotationState]:
    """The chosen pumps may run again, and count as well."""
    pumps = tuple(one.reset if meant else one for one, meant in zip(states, chosen, strict=True))
    records = tuple(
        one._replace(failed=None) if meant else one for one, meant in zip(rotation.records, chosen, strict=True)
    )
    return pumps, rotation._replace(records=records)


def pump_points(names: Sequence[str]) -> list[Point]:
    """`<pump>.run_hours` (h) and `<pump>.starts` of each pump."""
    units = {"run_hours": "h", "starts": ""}
    return [Point(f"{name}.{what}", name, unit, Kind.COUNTER) for name in names for what, unit in units.items()]


def pump_figures(names: Sequence[str], records: Sequence[PumpRecord]) -> Mapping[str, float]:
    """To 0.01 h; the run that goes on counts every ten minutes."""
    found: dict[str, float] = {}
    for name, record in zip(names, records, strict=True):
        found[f"{name}.run_hours"] = round(record.kept_seconds / 3600, 2)
        found[f"{name}.starts"] = record.starts
    return found


def _is_shared(pump: PumpSpec, pumps: Sequence[PumpSpec]) -> bool:
    """Whether another pump has the same flow."""
    return any(_shares(pump, other) for other in pumps if other is not pump)


def _shares(pump: PumpSpec, other: PumpSpec) -> bool:
    """Whether two pumps have one flow."""
    return pump.dry_run is not None and other.dry_run is not None and pump.dry_run.flow == other.dry_run.flow
