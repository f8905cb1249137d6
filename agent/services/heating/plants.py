"""Zones whose plant is more than one burner: one that modulates, or a cascade of burners.

The room, its week, its setpoint and its alarms are those of every zone; the heat is called for in another way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.control.api import NEVER, Now, View, Wish, good
from agent.model import Kind, Point, Value
from agent.services.heating.boiler import Burner
from agent.services.heating.cascade import (
    Cascade,
    guard_stages,
    order,
    rotate,
    run_hours,
    see_stages,
    stage,
    stages_due,
)
from agent.services.heating.control import FAULT, INTERLOCK, MISSED, RULE, Aim, Zone, is_near_frost
from agent.services.heating.exercise import exercise
from agent.services.heating.modulating import Modulating, Wanted, charge, guard_flow, is_warm, move, turn_ends
from agent.services.heating.sg_ready import LOCKED
from agent.services.heating.stuck_sensor import FIRE, IDLE, observe
from agent.services.heating.zone import ZoneState

__all__ = ["CascadeZone", "ModulatingZone"]

NO_HEAT = "burner_no_heat"
OUTDOOR_HELD = 900.0
"""Seconds for which the last good outdoor temperature makes the target of the flow: it moves by less than 1 K in that
time, and a reading that fails once would move the target by ten."""


@dataclass(frozen=True, slots=True)
class ModulatingZone(Zone):
    """A zone whose plant gets the target of its flow; without `modulating` it has a curve of its own."""

    modulating: Modulating | None = None

    def _watched(self) -> frozenset[str]:
        store = None if self.modulating is None else self.modulating.hot_water
        return Zone._watched(self) | (frozenset() if store is None else {store.actuator})

    def _see_plant(self, state: ZoneState, view: View, _outdoor: float | None, now: Now) -> tuple[ZoneState, float]:
        """Note the flow, the pump and the store of hot water."""
        t, spec, flow, burner = now.monotonic, self.modulating, state.flow, state.burner
        due = NEVER
        winter = now.civil is None or now.civil.month in self.winter
        if winter is not flow.winter:
            flow = flow._replace(winter=winter)
        if self.curve is not None and spec is not None:
            burner = guard_flow(burner, self.curve, view, now)
            output = None if spec.hot_water is None else view.outputs.get(spec.hot_water.actuator)
            flow = charge(flow, output, t)
            held = flow.asked is not None or burner.hot or state.sg.state == LOCKED
            flow = flow._replace(temperature=good(view, self.curve.signal), held=held)
            lost = NEVER if burner.lost is None or burner.failed else burner.lost + 60.0
            due = min(due, lost if lost > t else NEVER, turn_ends(flow, t))
        output = None if self.pump is None else view.outputs.get(self.pump)
        pump, due_pump = exercise(state.pump, self.exercise, output, now)
        if (burner, pump, flow) != (state.burner, state.pump, state.flow):
            state = state._replace(burner=burner, pump=pump, flow=flow)
        return state, min(due, due_pump)

    def _control(self, state: ZoneState, aim: Aim, room: float | None, outdoor: float | None, t: float) -> ZoneState:
        """Move the target; and note since when the plant heats, which its pump follows."""
        last = state.outdoor
        if outdoor is None and last is not None and t < last.at + OUTDOOR_HELD:
            outdoor = last.value
        lost, setpoint = aim.setpoint is None, aim.setpoint
        if setpoint is None:  # the curve alone, and no colder than reduced
            setpoint = max(self.setpoints.reduced, self.setpoints.of(self._mode(state) or "reduced"))
        if lost and not aim.heats:
            lost = False
        wanted = Wanted(setpoint, self.setpoints.comfort, aim.why, aim.heats, room, lost, outdoor)
        if self.curve is not None and self.modulating is not None:
            flow = move(self.modulating, self.curve, state.flow, wanted, t)
        else:
            idle = is_warm(state.flow.idle, wanted)
            flow = state.flow._replace(idle=idle, heats=wanted.heats and not idle)
        burner = state.burner
        if flow.heats is not (burner.on is not None):
            burner = burner._replace(on=t, off=None) if flow.heats else burner._replace(on=None, off=t)
        if flow == state.flow and burner is state.burner:
            return state
        return state._replace(flow=flow, burner=burner)

    @property
    def _source(self) -> str:
        return "heat_pump" if self.modulating is None else "flow_setpoint"

    def _called(self, state: ZoneState, _aim: Aim, _t: float) -> bool:
        return state.flow.heats

    def _see_sensor(
        self, state: ZoneState, aim: Aim, room: float | None, outdoor: float | None, t: float
    ) -> tuple[ZoneState, float]:
        """Check whether the room's sensor stands still. While the room is regulated, that says nothing."""
        setpoint = aim.setpoint
        phase = IDLE if not state.flow.heats else FIRE
        cold = room is not None and setpoint is not None and room <= setpoint - MISSED
        value = room if phase == IDLE or cold or state.still.stuck else None
        still, due = observe(
            state.still, phase, value, t, self.stuck_after, state.trail.step, outdoor, aim=setpoint, called=cold
        )
        return (state if still == state.still else state._replace(still=still)), due

    def _burner_wishes(self, state: ZoneState, _aim: Aim, called: bool) -> list[Wish]:
        wishes, spec, flow = [], self.modulating, state.flow
        if spec is not None and flow.target is not None:
            wishes.append(Wish(spec.actuator, RULE, flow.target, f"{self.name} {flow.cause}"))
            if state.burner.hot:
                wishes.append(Wish(spec.actuator, INTERLOCK, spec.low, f"{self.name} max_flow"))
                if spec.enable is not None:
                    wishes.append(Wish(spec.enable, INTERLOCK, False, f"{self.name} max_flow"))
            if spec.enable is not None:
                wishes.append(Wish(spec.enable, RULE, called or flow.asked is not None, f"{self.name} {flow.cause}"))
        return wishes

    def _pump_wishes(self, state: ZoneState, called: bool, outdoor: float | None, now: Now) -> list[Wish]:
        """The pump stands while a store of hot water is heated, but for a room that is near to frost."""
        if self.pump is not None and state.flow.charging and not is_near_frost(state):
            return [Wish(self.pump, RULE, False, f"{self.name} hot_water")]
        return Zone._pump_wishes(self, state, called, outdoor, now)

    def _look_again(self, state: ZoneState, t: float) -> float:
        over = NEVER if state.burner.off is None else state.burner.off + self.pump_overrun
        late = NEVER if self.modulating is None else (state.flow.late or NEVER) + self.modulating.missed_after
        held = NEVER if state.outdoor is None else state.outdoor.at + OUTDOOR_HELD
        times = [one for one in (over, late, state.flow.due, held) if one > t]
        return min(Zone._look_again(self, state, t), *times, NEVER)

    def _alarms(self, state: ZoneState, aim: Aim, room: float | None, t: float) -> dict[str, dict[str, Any]]:
        found, spec, flow = Zone._alarms(self, state, aim, room, t), self.modulating, state.flow
        if spec is not None and flow.late is not None and t >= flow.late + spec.missed_after:
            found["flow_missed"] = {"target": flow.target}
        return found


@dataclass(frozen=True, slots=True)
class CascadeZone(Zone):
    """A zone with several burners on one flow. `min_on`, `min_off` and `least_cycle` are the longest of them."""

    cascade: Cascade = field(default_factory=lambda: Cascade(()))

    def _watched(self) -> frozenset[str]:
        return Zone._watched(self) | set(self.cascade.burners)

    @property
    def _burners(self) -> tuple[str, ...]:
        return self.cascade.burners

    def _see_plant(self, state: ZoneState, view: View, outdoor: float | None, now: Now) -> tuple[ZoneState, float]:
        """Note the burners, the flow and the pump."""
        assert self.curve is not None
        t, spec, burner = now.monotonic, self.cascade, state.burner
        civil = now.civil if now.trusted else None
        stages = rotate(spec, see_stages(spec, state.stages, view.outputs, now), civil)
        stages, burner = guard_stages(spec, stages, burner, self.curve, self.curve.target(outdoor), view, now)
        burner = _as_one(burner, [unit.on for unit in stages.units if unit.on is not None], t)
        output = None if self.pump is None else view.outputs.get(self.pump)
        pump, due = exercise(state.pump, self.exercise, output, now)
        over = NEVER if burner.off is None else burner.off + self.pump_overrun
        if (burner, pump, stages) != (state.burner, state.pump, state.stages):
            state = state._replace(burner=burner, pump=pump, stages=stages)
        return state, min(due, over if over > t else NEVER)

    def _control(self, state: ZoneState, aim: Aim, room: float | None, outdoor: float | None, t: float) -> ZoneState:
        """Ask the room's law whether heat is called for, and then how many burners are wanted."""
        state = Zone._control(self, state, aim, room, outdoor, t)
        stages = stage(self.cascade, state.stages, self._called(state, aim, t), state.burner, t)
        return state if stages == state.stages else state._replace(stages=stages)

    def _burner_wishes(self, state: ZoneState, aim: Aim, called: bool) -> list[Wish]:
        burner, stages, wishes = state.burner, state.stages, []
        ready = order(stages)
        wanted, last = ready[: stages.wanted], len(ready)
        for index, name in enumerate(self.cascade.burners):
            place = ready.index(index) if index in ready else last
            why = "heat_curve" if called and index not in wanted and burner.cut else aim.why
            role = "lead" if place == 0 else "lag"
            wishes.append(Wish(name, RULE, index in wanted, f"{self.name} {why} ({role})"))
            if stages.units[index].locked:
                wishes.append(Wish(name, FAULT, False, f"{self.name} {NO_HEAT}"))
            elif burner.lost is not None:
                wishes.append(Wish(name, FAULT, False, f"{self.name} flow_sensor_lost"))
            if burner.hot:
                wishes.append(Wish(name, INTERLOCK, False, f"{self.name} max_flow"))
            elif state.pump.until is not None:
                wishes.append(Wish(name, INTERLOCK, False, f"{self.name} exercise"))
        return wishes

    def _look_again(self, state: ZoneState, t: float) -> float:
        return min(Zone._look_again(self, state, t), stages_due(self.cascade, state.stages, state.burner, t))

    def _alarms(self, state: ZoneState, aim: Aim, room: float | None, t: float) -> dict[str, dict[str, Any]]:
        found = Zone._alarms(self, state, aim, room, t)
        found.pop(NO_HEAT, None)  # each burner has its own
        return found

    def command(self, state: ZoneState, point: str, value: Value, now: Now) -> ZoneState:
        """`<zone>.latch` reset: the burners that were locked out get another 20 min."""
        state = Zone.command(self, state, point, value, now)
        units = tuple(unit._replace(locked=False, barren=0.0, outdone=None) for unit in state.stages.units)
        return state._replace(stages=state.stages._replace(units=units, low=None, cold=None, level=None))

    @property
    def points(self) -> Sequence[Point]:
        """`<zone>.<burner>.run_hours`, h, and those of every zone."""
        names = (f"{self.name}.{burner}.run_hours" for burner in self.cascade.burners)
        return [*(Point(name, self.name, "h", Kind.COUNTER) for name in names), *self._facts_points()]

    def figures(self, state: ZoneState) -> Mapping[str, float]:
        found = run_hours(self.cascade, state.stages)
        return {f"{self.name}.{burner}.run_hours": hours for burner, hours in found}

    def mark(self, state: ZoneState) -> object:
        """The lead, and what was counted towards a lockout."""
        stages = state.stages
        return stages.lead, stages.week, [(unit.locked, unit.outdone, unit.barren) for unit in stages.units]


def _as_one(burner: Burner, burning: Sequence[float], t: float) -> Burner:
    """The burners as one, for the pump and the room: on since the first of them is, off when the last one went off."""
    on = min(burning, default=None)
    if on is None:
        return burner if burner.on is None else burner._replace(on=None, off=t)
    return burner if burner.on is not None else burner._replace(on=on, off=None)
