"""A lift station: pumps that empty a wet well in turn, its alarms, and the log of its overflows.

Priorities: 15 pump or not; 2 off, while a pump may not run or the well is at its stop level. A command pumps by hand,
or keeps a pump off for the work on it; the others take over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from agent.control.alarm_state import alarm_changes
from agent.control.api import NEVER, Happening, Now, Step, View, Wish, check_reset, good, updated
from agent.control.boot_time import BootShift, boot_anchor
from agent.control.calendar import DAY, Calendar
from agent.control.calm import Calm, said
from agent.model import Kind, Point, Severity, Value
from agent.services.water.overflow import Overflow, OverflowState, minutes_of, record, see_overflow, text_of
from agent.services.water.pump import PumpSpec, PumpState, held
from agent.services.water.pump_group import (
    are_calm,
    latched_pumps,
    latches,
    pump_figures,
    pump_points,
    reset_pumps,
    see_pumps,
    seen_of,
    shared_flow_faults,
    tell_pumps,
)
from agent.services.water.rotation import Rotation, RotationState, rotate, runs
from agent.services.water.well import Well, WellState, see_well

__all__ = ["LiftState", "LiftStation"]

INTERLOCK, SCHEDULE = 2, 15
REST = 300.0
"""Seconds that a pump rests after it ran for `max_run`."""
EVERY = 24 * 3600.0
"""Seconds after which a pump that did not run is run: it must not seize, and sewage must not turn septic."""
CONFIRM = 60.0
"""Seconds for which the overflow must be seen until a float that is down is told as stuck."""

SEVERITIES = {
    "high_level": Severity.CRITICAL, "level_fault": Severity.MAJOR, "sensor_stuck": Severity.MAJOR,
    "run_too_long": Severity.MAJOR, "pumps_failed": Severity.CRITICAL, "sensor_fault": Severity.MINOR,
    "overflow": Severity.MAJOR,
}  # fmt: skip


class LiftState(NamedTuple):
    """Times are monotonic seconds. `anchor` is Unix seconds at monotonic 0."""

    pumps: tuple[PumpState, ...]
    rotation: RotationState
    well: WellState = WellState()
    rests: tuple[float | None, ...] = ()
    """Since when each pump rests that ran for too long."""
    too_long: str = ""
    """The pump that ran for too long in this cycle; empty: none."""
    watched: float | None = None
    """Since when the pumps are watched: one that never ran since then is run after a day."""
    daily: str = ""
    """The pump that is run for its day; empty: none."""
    overflow: OverflowState = OverflowState()
    raised: frozenset[str] = frozenset()
    anchor: float | None = None
    restored: bool = False
    """The state comes from flash: its times may be those of another boot."""
    calm: Calm[list[Wish]] | None = None
    """The last wishes, while they hold whatever the level does between its limits; not kept."""


@dataclass(frozen=True, slots=True)
class LiftStation:
    """The control of one lift station. `severity` is that of the alarm of an overflow; None: it is only logged."""

    name: str
    calendar: Calendar
    pumps: tuple[PumpSpec, ...]
    well: Well
    rotation: Rotation
    max_run: float | None = 3600.0
    overflow: Overflow | None = None
    severity: Severity | None = Severity.MAJOR
    inputs: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        overflow = self.overflow
        own = set(self.well.inputs)
        if overflow is not None:
            own |= {overflow.signal} | ({overflow.flow.point} if overflow.flow is not None else set())
        object.__setattr__(self, "inputs", frozenset(own).union(*(pump.inputs for pump in self.pumps)))

    # -- state -------------------------------------------------------------------------------------------------

    def initial(self) -> LiftState:
        nothing = (None,) * len(self.pumps)
        return LiftState((PumpState(),) * len(self.pumps), RotationState.of(self.rotation), rests=nothing)

    def dump(self, state: LiftState) -> dict[str, Any]:
        names = self.rotation.pumps
        return {
            "pumps": {name: one.dump() for name, one in zip(names, state.pumps, strict=True)},
            "rotation": state.rotation.dump(self.rotation), "well": state.well.dump(),
            "rests": dict(zip(names, state.rests, strict=True)), "too_long": state.too_long, "watched": state.watched,
            "daily": state.daily, "overflow": state.overflow.dump(), "raised": sorted(state.raised),
            "anchor": state.anchor,
        }  # fmt: skip

    def load(self, kept: Mapping[str, Any]) -> LiftState:
        pumps = tuple(
            PumpState.load(pump, kept["pumps"][pump.actuator]) if pump.actuator in kept["pumps"] else PumpState()
            for pump in self.pumps
        )
        names = self.rotation.pumps
        return LiftState(
            pumps, RotationState.load(self.rotation, kept["rotation"]), WellState.load(kept["well"]),
            tuple(kept["rests"].get(name) for name in names), kept["too_long"] if kept["too_long"] in names else "",
            kept["watched"], kept["daily"] if kept["daily"] in names else "",
            OverflowState() if self.overflow is None else OverflowState.load(kept["overflow"]),
            frozenset(kept["raised"]) & SEVERITIES.keys(), kept["anchor"], restored=True,
        )  # fmt: skip

    def _shifted(self, state: LiftState, now: Now) -> LiftState:
        by = BootShift.from_anchor(state.anchor, now)
        overflow = state.overflow
        if self.overflow is not None:
            overflow = overflow.restored(self.overflow, by, boot_anchor(state.anchor, now), now.known)
        return state._replace(
            restored=False, pumps=tuple(one.shifted(by) for one in state.pumps),
            rotation=state.rotation.shifted(by), well=state.well.shifted(by),
            rests=tuple(by.optional(at) for at in state.rests), watched=by.optional(state.watched),
            overflow=overflow,
        )  # fmt: skip

    @property
    def commands(self) -> Sequence[str]:
        return (f"{self.name}.latch", *(f"{pump.actuator}.latch" for pump in self.pumps))

    def command(self, state: LiftState, point: str, value: Value, _now: Now) -> LiftState:
        """`<pump>.latch` takes "reset": it may run again; `<name>.latch`: all may, and level and float are believed."""
        check_reset(point, value)
        is_all = point == f"{self.name}.latch"
        chosen = [is_all or point == f"{pump.actuator}.latch" for pump in self.pumps]
        pumps, rotation = reset_pumps(state.pumps, state.rotation, chosen)
        rests = tuple(None if meant else at for at, meant in zip(state.rests, chosen, strict=True))
        state = state._replace(pumps=pumps, rests=rests, rotation=rotation)
        if not is_all:
            return state
        return state._replace(too_long="", well=state.well._replace(stuck=False, frozen=False, doubt=None))

    def latched(self, state: LiftState) -> Sequence[tuple[str, str]]:
        return latched_pumps(self.rotation.pumps, state.pumps)

    def mark(self, state: LiftState) -> object:
        """The trips, which are counted over an hour, the rests, and the beginnings and ends of overflows."""
        return tuple(one.trips for one in state.pumps), state.rests, state.overflow.begin, state.overflow.count

    # -- account -----------------------------------------------------------------------------------------------

    @property
    def points(self) -> Sequence[Point]:
        """The hours and starts of each pump, and the present or last overflow with the minutes of its days."""
        found = pump_points(self.rotation.pumps)
        if self.overflow is None:
            return found
        units = {"overflow_duration": "min", "overflow_today": "min", "overflow_yesterday": "min"}
        kinds = dict.fromkeys(("overflow", "overflow_begin", "overflow_end"), Kind.STATE) | {"overflows": Kind.COUNTER}
        if self.overflow.flow is not None:
            units |= {"overflow_volume": "m3", "overflow_total": "m3"}
            kinds |= {"overflow_total": Kind.COUNTER}
        names = dict.fromkeys((*kinds, *units))
        return [*found, *(
            Point(f"{self.name}.{what}", self.name, units.get(what, ""), kinds.get(what, Kind.TELEMETRY))
            for what in names
        )]  # fmt: skip

    def figures(self, state: LiftState) -> Mapping[str, float]:
        """An overflow that goes on counts every minute."""
        found = pump_figures(self.rotation.pumps, state.rotation.records)
        spec, over = self.overflow, state.overflow
        if spec is None:
            return found
        told: dict[str, float] = {"overflows": over.count}
        if over.span is not None:
            told["overflow_duration"] = round((over.span[1] - over.span[0]) / 60, 2)
        if state.anchor is not None and over.today:
            today = date.fromisoformat(over.today)
            told["overflow_today"] = minutes_of(over, today, self.calendar, state.anchor)
            told["overflow_yesterday"] = minutes_of(over, today - DAY, self.calendar, state.anchor)
        if spec.flow is not None:
            going = over.seen_litres if over.begin is not None else 0.0  # what came later may be none of it
            if over.span is not None:
                told["overflow_volume"] = round((over.last_litres if over.begin is None else going) / 1000, 3)
            told["overflow_total"] = round((over.total + going) / 1000, 3)
        return {**found, **{f"{self.name}.{what}": value for what, value in told.items()}}

    def facts(self, state: LiftState) -> Mapping[str, Value]:
        """Whether it overflows, and from when to when it did last."""
        over = state.overflow
        if self.overflow is None:
            return {}
        found: dict[str, Value] = {"overflow": over.is_on}
        if over.span is not None:
            found["overflow_begin"] = text_of(over.span[0], self.calendar, state.anchor)
            found["overflow_end"] = text_of(over.span[1], self.calendar, state.anchor) if over.begin is None else None
        return {f"{self.name}.{what}": value for what, value in found.items() if value is not None}

    # -- step --------------------------------------------------------------------------------------------------

    def step(self, state: LiftState, view: View, now: Now) -> Step[LiftState]:
        if state.restored:
            state = self._shifted(state, now)
        at = now.monotonic
        watched = at if state.watched is None else state.watched
        going = any(runs(view.outputs.get(name)) for name in self.rotation.pumps)
        well, first = see_well(self.well, state.well, view, going, at)
        state = updated(state, anchor=boot_anchor(state.anchor, now), watched=watched, well=well)
        if state.calm is not None and state.calm.holds(self._seen(state, view), at):
            return Step(state, state.calm.result, (), min(first, state.calm.due))
        pumps, second = see_pumps(self.pumps, state.pumps, view, at)
        happenings = latches(self.rotation.pumps, state.pumps, pumps)
        state, third = self._limit_runs(updated(state, pumps=pumps), view, at)
        state, fourth = self._run_daily(state, view, at)
        state, fifth = self._put_on_duty(state, view, at)
        state, sixth = self._see_overflow(state, view, now, happenings)
        raised, alarms = alarm_changes(self.name, state.raised, self._standing(state, view, at), self._severities)
        pumps, news = tell_pumps(self.pumps, state.pumps, state.rotation.records, view, at)
        state = updated(state, raised=raised, pumps=pumps)
        seventh = self._confirmed(state, view)
        due = min(second, third, fourth, fifth, sixth, seventh if seventh > at else NEVER)
        wishes = self._wishes(state, view, at)
        calm = Calm(self._seen(state, view), due, wishes) if self._is_calm(state, view, at) else None
        return Step(state._replace(calm=calm), wishes, [*happenings, *alarms, *news], min(first, due))

    def _seen(self, state: LiftState, view: View) -> tuple[Any, ...]:
        """All that is decided on, once the well is seen."""
        well, signal = state.well, None if self.overflow is None else self.overflow.signal
        return (
            well.pumping, well.more, well.cause, well.known, well.empty, well.high, well.wet, well.frozen, well.stuck,
            good(view, self.well.level) is None, said(view, self.well.high_float), said(view, signal),
            state.pumps, state.rotation, state.rests, state.too_long, state.daily, state.overflow, state.raised,
            state.anchor, *seen_of(self.pumps, view),
        )  # fmt: skip

    def _is_calm(self, state: LiftState, view: View, now: float) -> bool:
        """Whether the level decides on nothing but the well: no overflow goes on, and no pump waits for its day."""
        quiet = state.overflow.begin is None and state.overflow.undated is None
        ran = all(now < self._ran_at(state, place) + EVERY for place in range(len(self.pumps)))
        return quiet and ran and are_calm(state.rotation.records, self.pumps, view, now)

    def _may_run(self, state: LiftState, place: int, now: float) -> bool:
        """Whether a pump can run, as far as is known."""
        rest, one = state.rests[place], state.rotation.records[place]
        return not held(state.pumps[place], now) and (rest is None or now >= rest + REST) and one.failed is None

    def _limit_runs(self, state: LiftState, view: View, now: float) -> tuple[LiftState, float]:
        """A pump that ran for too long hands over, or rests.

        One at a time rests, and none while float and level say that there is water.
        """
        is_wet = state.well.wet and state.well.has_level(good(view, self.well.level))
        if not state.well.pumping:
            state = updated(state, too_long="")
        if self.max_run is None:
            return state, NEVER
        rests, due = [None if at is not None and now >= at + REST else at for at in state.rests], NEVER
        for place, one in enumerate(state.rotation.records):
            going = runs(view.outputs.get(self.rotation.pumps[place]))
            until = NEVER if one.began is None or not going else one.began + self.max_run
            if now < until:
                due = min(due, until)
                continue
            state = updated(state, too_long=state.too_long or self.rotation.pumps[place])
            if not is_wet and all(at is None for at in rests):
                rests[place] = now
        due = min([due, *(at + REST for at in rests if at is not None)])
        return updated(state, rests=tuple(rests)), due

    def _run_daily(self, state: LiftState, view: View, now: float) -> tuple[LiftState, float]:
        """A pump that has not run for a day begins a cycle, as soon as there is water for it."""
        level, well = good(view, self.well.level), self.well
        if not state.well.pumping:
            state = updated(state, daily="")
        records = state.rotation.records
        able = [place for place in range(len(records)) if self._may_run(state, place, now)]
        last = {place: self._ran_at(state, place) for place in able}
        due = min((at + EVERY for at in last.values() if at + EVERY > now), default=NEVER)
        wanted = [place for place in able if now >= last[place] + EVERY]
        if state.daily:
            place = self.rotation.pumps.index(state.daily)
            return (state if place in able else updated(state, daily="")), due
        if not wanted or level is None or not state.well.has_level(level) or level <= well.stop + well.band:
            return state, due
        chosen = self.rotation.pumps[min(wanted, key=lambda place: last[place])]
        return state._replace(daily=chosen, well=state.well.begun()), due

    def _ran_at(self, state: LiftState, place: int) -> float:
        one = state.rotation.records[place]
        if one.began is not None:
            return NEVER
        return max(one.ran_at if one.ran_at is not None else -NEVER, state.watched or 0.0)

    def _put_on_duty(self, state: LiftState, view: View, now: float) -> tuple[LiftState, float]:
        """Which pumps run."""
        names = self.rotation.pumps
        out = {
            name
            for name, one, rest in zip(names, state.pumps, state.rests, strict=True)
            if rest is not None or held(one, now)
        }
        if state.daily and not state.well.more:
            out |= set(names) - {state.daily}
        wanted = 0 if not state.well.pumping else len(names) if state.well.more else 1
        rotation, due = rotate(self.rotation, state.rotation, view, wanted, out, now)
        return updated(state, rotation=rotation), due

    def _see_overflow(
        self, state: LiftState, view: View, now: Now, happenings: list[Happening]
    ) -> tuple[LiftState, float]:
        spec = self.overflow
        if spec is None:
            return state, NEVER
        overflow, over, due = see_overflow(spec, state.overflow, view, self.calendar, state.anchor, now)
        if over is not None:
            detail = record(spec, overflow, over, self.calendar, state.anchor)
            happenings.append(Happening("change", "overflow", self.name, Severity.INFO, detail))
        return updated(state, overflow=overflow), due

    # -- wishes and alarms -------------------------------------------------------------------------------------

    def _wishes(self, state: LiftState, view: View, now: float) -> list[Wish]:
        """At the stop level a pump is held off that another would run; its own duty ends at that level anyway."""
        wishes = []
        for name, one in zip(self.rotation.pumps, state.pumps, strict=True):
            on_duty = name in state.rotation.duty
            cause = "a day without a run" if state.daily == name else state.well.cause
            cause = cause if on_duty or not state.well.pumping else "another pump runs"
            wishes.append(Wish(name, SCHEDULE, on_duty, cause))
            output = view.outputs.get(name)
            is_commanded = output is not None and output.priority < SCHEDULE
            if why := held(one, now) or ("the level is at its stop" if state.well.empty and is_commanded else ""):
                wishes.append(Wish(name, INTERLOCK, False, why))
        return wishes

    @property
    def _severities(self) -> Mapping[str, Severity]:
        return SEVERITIES if self.severity is None else SEVERITIES | {"overflow": self.severity}

    def _standing(self, state: LiftState, view: View, now: float) -> dict[str, dict[str, Any] | None]:
        found: dict[str, dict[str, Any] | None] = {}
        well, spec = state.well, self.well
        level = good(view, spec.level)
        if well.high:
            found["high_level"] = {"level": level} if well.has_level(level) else {"signal": spec.high_float}
        lost_before = not well.known and "level_fault" in state.raised  # after a start, until the first level
        if spec.level is not None and (lost_before or (well.known and not well.has_level(level))):
            found["level_fault"] = {"reason": "it stands still"} if well.frozen and level is not None else None
        if well.stuck or now >= self._confirmed(state, view):
            found["sensor_stuck"] = {"signal": spec.high_float, "level": level}
        if state.too_long:
            found["run_too_long"] = {"pump": state.too_long}
        idle = state.rotation.idle_since
        if idle is not None and now >= idle + self.rotation.standby_after:
            found["pumps_failed"] = {"pumps": list(self.rotation.pumps)}
        if self.overflow is not None and self.severity is not None and state.overflow.begin is not None:
            found["overflow"] = None
        lost = self._lost_inputs(state, view) or shared_flow_faults(self.pumps, state.raised, view)
        return found | lost

    def _confirmed(self, state: LiftState, view: View) -> float:
        """When an overflow beside a float that is down will have lasted long enough to say that it hangs."""
        begin = state.overflow.begin if state.overflow.is_on else None
        float_up = good(view, self.well.high_float)
        return NEVER if begin is None or float_up is None or float_up else begin + CONFIRM

    def _lost_inputs(self, state: LiftState, view: View) -> dict[str, dict[str, Any] | None]:
        """The alarm of a float or an overflow that is not seen. One not heard since the start is waited for."""
        wanted = [(self.well.high_float, "the level has no back-up")]
        if self.overflow is not None:
            wanted.insert(0, (self.overflow.signal, "overflows are not seen"))
        for name, reason in wanted:
            heard = name in view.points or "sensor_fault" in state.raised
            if name is not None and heard and good(view, name) is None:
                return {"sensor_fault": {"signal": name, "reason": reason}}
        return {}
