"""A store of hot water: kept warm, and heated up once a day against legionella."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from agent.control.alarm_state import alarm_changes
from agent.control.api import NEVER, Now, Step, View, Wish, fields, good
from agent.control.calendar import Calendar
from agent.model import Severity
from agent.services.heating.stuck_sensor import FIRE, IDLE, Stillness, observe

__all__ = ["ABOVE", "HotWater", "HotWaterState", "ThermalCycle"]

SEVERITY = {
    "sensor_fault": Severity.MINOR,
    "sensor_stuck": Severity.MAJOR,
    "thermal_cycle_missed": Severity.MAJOR,
}
ABOVE = 3.0
"""Heated from the setpoint to this much (K) above it: the store never falls below its setpoint for long."""
LATE = 4 * 3600.0
"""A thermal cycle that is not done so long (s) after its time is missed; it goes on all the same."""
DAY = 86400.0
SILENCE = 60.0
"""A sensor without a reading since the start is an alarm after this long (s)."""
FAULT, RULE = 5, 15
STILL = Stillness()
SLOWEST = 0.25 / 3600
"""K/s: no heater that keeps a store warm heats it more slowly, but near its rest, which `observe` knows."""
FINE, COARSEST = 0.05, 5.0
"""K: a smaller change is noise, a larger one several steps of the sensor at once (hot water is drawn)."""


@dataclass(frozen=True, slots=True)
class ThermalCycle:
    """Every day at `minute` after midnight, site time: `temperature` degC for `hold` s without a break.

    70 degC for 2 min, 65 for 4 or 60 for 60 (arrêté du 30 novembre 2005, article 36).
    """

    minute: int
    temperature: float
    hold: float
    calendar: Calendar


@dataclass(frozen=True, slots=True)
class HotWaterState:
    """Times are monotonic seconds, `done` Unix seconds."""

    heating: bool = False
    lost: float | None = None
    failed: bool = False
    done: float | None = None
    """When the last thermal cycle was done; at first, when the control started."""
    counted: float | None = None
    """The same, monotonic: it counts while the time is not known."""
    wanted: float | None = None
    """Since when a thermal cycle is under way; None: it is not."""
    held: float | None = None
    """Since when its temperature is reached."""
    alarms: frozenset[str] = frozenset()
    still: Stillness = STILL
    """Whether the sensor moves while the heater is on."""
    grain: float = 0.0
    """The smallest change (K) that was seen of the sensor; 0: none yet."""


@dataclass(frozen=True, slots=True)
class HotWater:
    """`setpoint` in degC. Off without its sensor, and with one that did not move in `stuck_after` s of heating.

    A sensor of coarse steps is waited for: as long as the slowest heater takes for one of them.
    """

    name: str
    sensor: str
    actuator: str
    setpoint: float
    cycle: ThermalCycle | None = None
    stuck_after: float = 7200.0

    @property
    def inputs(self) -> frozenset[str]:
        return frozenset((self.sensor, self.actuator))

    def initial(self) -> HotWaterState:
        return HotWaterState()

    def step(self, state: HotWaterState, view: View, now: Now) -> Step[HotWaterState]:
        t, water, due = now.monotonic, good(view, self.sensor), NEVER
        state = _in_this_boot(state, t)
        done = state.counted
        if self.cycle is not None:
            state, due = _follow(self.cycle, state, water, now)
        missed = "thermal_cycle_missed" in state.alarms and self.cycle is not None and state.counted == done
        hot = self.cycle is not None and state.wanted is not None
        target = self.cycle.temperature if self.cycle is not None and hot else self.setpoint
        why = "thermal_cycle" if hot else "setpoint"
        output = view.outputs.get(self.actuator)
        phase = FIRE if output is not None and output.value is True else IDLE
        grain = _grain(state.grain, state.still.value, water)
        still, due_still = observe(state.still, phase, water, t, self.stuck_after, grain, slowest=SLOWEST)
        due = min(due, due_still)
        if still != state.still or grain != state.grain:
            state = replace(state, still=still, grain=grain)
        if water is None:
            lost = t if state.lost is None else state.lost
            failed = state.failed or self.sensor in view.points or t >= lost + SILENCE
            state = replace(state, lost=lost, failed=failed, heating=False)
            wishes = [Wish(self.actuator, FAULT, False, f"{self.name} sensor_fault")]
            due = min(due, NEVER if failed else lost + SILENCE)
        elif still.stuck:
            state = replace(state, lost=None, failed=False, heating=False)
            wishes = [Wish(self.actuator, FAULT, False, f"{self.name} sensor_stuck")]
        else:
            heating = water < target + ABOVE if state.heating else water <= target
            state = replace(state, lost=None, failed=False, heating=heating)
            wishes = [Wish(self.actuator, RULE, heating, f"{self.name} {why}")]
        late = missed or (state.wanted is not None and t >= state.wanted + LATE)
        detail = {"water": water, "setpoint": target}
        stands = {"sensor_fault": state.failed, "sensor_stuck": still.stuck, "thermal_cycle_missed": late}
        alarms, happened = alarm_changes(
            self.name, state.alarms, {code: detail for code, there in stands.items() if there}, SEVERITY
        )
        return Step(replace(state, alarms=alarms), wishes, happened, due)

    def dump(self, state: HotWaterState) -> dict[str, Any]:
        """`still` and `grain` are kept only where they matter: the first version does not know them, and would start
        again."""
        kept = {**fields(replace(state, still=STILL)), "alarms": sorted(state.alarms)}
        del kept["still"], kept["grain"]
        if state.still.counts:
            kept["still"] = state.still.dump()
        if state.grain / SLOWEST > self.stuck_after:
            kept["grain"] = state.grain
        return kept

    def load(self, kept: Mapping[str, Any]) -> HotWaterState:
        still = Stillness.load(kept.get("still"))
        return HotWaterState(**{**kept, "alarms": frozenset(kept["alarms"]), "still": still})


def _grain(grain: float, before: float | None, water: float | None) -> float:
    """The sensor's step as far as it is known after a reading (K)."""
    change = 0.0 if before is None or water is None else abs(water - before)
    if change < FINE:
        return grain
    return min(change, grain or COARSEST)


def _follow(cycle: ThermalCycle, state: HotWaterState, water: float | None, now: Now) -> tuple[HotWaterState, float]:
    """The thermal cycle at this moment, and when it has something to decide by itself."""
    t, civil = now.monotonic, now.civil if now.trusted else None
    unix = None if civil is None else civil.timestamp()
    if state.counted is None:
        state = replace(state, counted=t)
    if state.done is None and unix is not None:
        state = replace(state, done=unix)
    last, coming = _times(cycle, state, civil, t)
    if state.wanted is None and last:
        state = replace(state, wanted=t, held=None)
    if state.wanted is None:
        return state, coming
    reached = water is not None and water >= cycle.temperature
    held = (t if state.held is None else state.held) if reached else None
    if held is not None and t >= held + cycle.hold:
        return replace(state, done=unix, counted=t, wanted=None, held=None), _times(cycle, state, civil, t)[1]
    late = state.wanted + LATE
    due = min(NEVER if held is None else held + cycle.hold, late if late > t else NEVER)
    return replace(state, held=held), due


def _times(cycle: ThermalCycle, state: HotWaterState, civil: datetime | None, t: float) -> tuple[bool, float]:
    """Whether a cycle is to be done, and when the next one is (monotonic s).

    By the time of day while that is known, else a day after the last one.
    """
    if civil is None:
        at = DAY + (t if state.counted is None else state.counted)
        return t >= at, at if at > t else NEVER
    unix = civil.timestamp()
    days = [cycle.calendar.instant(civil.date() + timedelta(days=day), cycle.minute) for day in (-1, 0, 1)]
    times = [day.timestamp() for day in days]
    last = max(at for at in times if at <= unix)
    coming = min(at for at in times if at > unix)
    return state.done is not None and state.done < last, t + coming - unix


def _in_this_boot(state: HotWaterState, t: float) -> HotWaterState:
    """Monotonic times of another boot mean nothing: a thermal cycle that was under way starts again."""
    times = (state.lost, state.counted, state.wanted, state.held)
    if all(at is None or at <= t for at in times):
        return state
    return replace(state, lost=None, counted=t, wanted=None, held=None)
