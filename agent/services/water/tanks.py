"""A tank that one pump or several fill between two levels, never without a known level and never dry.

Priorities: 15 fill or not; 5 off, while the level is not known, stands still or does not rise; 2 off, while the pump
may not run or the tank is full to the brim. A remote command may fill by hand, but not against the last two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agent.control.alarm_state import alarm_changes
from agent.control.api import NEVER, Happening, Now, Step, View, Wish, check_reset, fields, good, updated
from agent.control.boot_time import BootShift, boot_anchor
from agent.control.calm import Calm
from agent.control.noise import Noise, follow_noise
from agent.model import Point, Severity, Value
from agent.services.water.level import Level, believe
from agent.services.water.level_lost import LevelLost, LostState, see_lost
from agent.services.water.pump import PUMP_SEVERITIES, PumpSpec, PumpState, faults, flow_fault, held
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
    unread_pumps,
)
from agent.services.water.rotation import Rotation, RotationState, rotate, runs
from agent.services.water.tank_level import Standstill, StandstillState, watch
from agent.services.water.tariff import CHEAP, OTHERWISE, FillLevels, Tariff, TariffPoint

__all__ = ["Group", "Outlet", "Tank", "TankState"]

INTERLOCK, FAULT, SCHEDULE = 2, 5, 15
PATIENCE = 60.0
"""Seconds that a level may take to be read for the first time since the start."""
BAND = 2.0
"""Percent by which a level must come back before its alarm is over."""
AWAY = 3600.0
"""Seconds without growth after which a counter at the outlet shows that nothing flows."""

SEVERITIES = {
    "level_low": Severity.MAJOR, "level_high": Severity.MAJOR, "level_fault": Severity.MAJOR,
    "level_lost": Severity.MAJOR, "dry_run": Severity.CRITICAL, "pumps_failed": Severity.CRITICAL,
    "sensor_fault": Severity.MINOR, "sensor_stuck": Severity.MAJOR, "fill_too_long": Severity.MAJOR,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outlet:
    """The outlet of the tank: a flow (more than `least`, in its own unit, is one), or with `counts` a counter."""

    flow: str
    least: float = 0.0
    counts: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Pumps that take turns, each with alarms, a latch and an account of its own. All of them run from `both_below`
    (percent; None: never) up to where a fill begins."""

    rotation: Rotation
    both_below: float | None = None


class TankState(NamedTuple):
    """Times are monotonic seconds. `anchor` is Unix seconds at monotonic 0."""

    pumps: tuple[PumpState, ...]
    rotation: RotationState
    filling: bool = False
    both: bool = False
    """All pumps are wanted."""
    known: bool = False
    """There was a level since the start, or the time to wait for it is over."""
    awaited: float | None = None
    """Since when the first level is waited for; not kept."""
    low: bool = False
    high: bool = False
    is_cheap: bool = False
    """The current is cheap, as far as is known."""
    standing: StandstillState = StandstillState()
    tried: tuple[str, ...] = ()
    """Pumps that ran for too long without a rise: the others are tried before all are stopped."""
    lost: LostState = LostState()
    outlet_count: float | None = None
    """The last count of the counter at the outlet, and when it last grew."""
    outlet_at: float | None = None
    believed: Level = Level()
    noise: Noise = Noise()
    """The ripple of the level, percent: waves, or the noise of a sensor that may be dead."""
    raised: frozenset[str] = frozenset()
    left: tuple[tuple[str, str], ...] = ()
    """Open alarms, code and subject, of pumps that left the site file: the first step clears them; not kept."""
    anchor: float | None = None
    restored: bool = False
    """The state comes from flash: its times may be those of another boot."""
    calm: Calm[list[Wish]] | None = None
    """The last wishes, while they hold whatever the level does between its limits; not kept."""


_PLAIN = ("filling", "low", "high", "anchor", "outlet_count", "outlet_at")
"""Fields that are kept as they are."""
_NEWER = frozenset({"outlet_count", "outlet_at"})
"""Fields that an earlier version did not keep."""
_ONE_PUMP = ("dry", "latched", "trips", "still", "count")
"""Fields of a single pump, which are kept among those of its tank."""


@dataclass(frozen=True, slots=True)
class Tank:
    """The control of one tank. Levels in percent: fills from `start` to `stop`, alarms at `low` and `high`.

    Without a `group` there is one pump, whose alarms and latch are the tank's.
    """

    name: str
    level: str
    pumps: tuple[PumpSpec, ...]
    start: float = 40.0
    stop: float = 85.0
    low: float = 10.0
    high: float = 95.0
    standstill: Standstill = field(default_factory=Standstill)
    outlet: Outlet | None = None
    interval: float = 10.0
    """Seconds between two readings of the level."""
    group: Group | None = None
    tariff: Tariff | None = None
    level_lost: LevelLost | None = None
    inputs: frozenset[str] = field(init=False)
    _rotation: Rotation = field(init=False, repr=False)

    def __post_init__(self) -> None:
        flows = (
            None if self.outlet is None else self.outlet.flow,
            None if self.tariff is None else self.tariff.point,
        )  # fmt: skip
        own = frozenset((self.level, *(one for one in flows if one is not None)))
        object.__setattr__(self, "inputs", own.union(*(pump.inputs for pump in self.pumps)))
        names = tuple(pump.actuator for pump in self.pumps)
        object.__setattr__(self, "_rotation", Rotation(names) if self.group is None else self.group.rotation)

    # -- state -------------------------------------------------------------------------------------------------

    def initial(self) -> TankState:
        return TankState((PumpState(),) * len(self.pumps), RotationState.of(self._rotation))

    def dump(self, state: TankState) -> dict[str, Any]:
        kept = {key: getattr(state, key) for key in _PLAIN} | {
            "raised": sorted(state.raised), "standing": state.standing.dump(), "tremble": round(state.noise.size, 1),
        }  # fmt: skip
        pumps = {pump.actuator: one.dump() for pump, one in zip(self.pumps, state.pumps, strict=True)}
        if self.group is None:
            only = pumps[self.pumps[0].actuator]
            kept |= {key: only[key] for key in _ONE_PUMP}
        else:
            rotation = state.rotation.dump(self._rotation)
            kept |= {"pumps": pumps, "rotation": rotation, "both": state.both, "tried": list(state.tried)}
        if self.tariff is not None:
            kept["is_cheap"] = state.is_cheap
        if self.level_lost is not None:
            kept["lost"] = state.lost.dump()
        if state.believed.matters:  # else it is soon read again, and not worth a write to flash
            kept["believed"] = fields(state.believed)
        return kept

    def kept(self, state: TankState) -> object:
        """Each level changes the state, and seldom what is kept of it."""
        return (
            state.filling, state.low, state.high, state.anchor, state.outlet_count, state.outlet_at, state.raised,
            state.standing, round(state.noise.size, 1), state.pumps, state.rotation, state.both, state.tried,
            state.is_cheap, state.lost, state.believed if state.believed.matters else None,
        )  # fmt: skip

    def load(self, kept: Mapping[str, Any]) -> TankState:
        own = {key: kept[key] for key in _PLAIN if key in kept or key not in _NEWER}
        raised = frozenset(kept["raised"]) & SEVERITIES.keys()
        rotation = RotationState.load(self._rotation, kept.get("rotation"))
        return TankState(
            self._load_pumps(kept), rotation, **own, both=bool(kept.get("both")), known="level_fault" in raised,
            is_cheap=bool(kept.get("is_cheap")), standing=StandstillState.load(kept.get("standing")),
            tried=tuple(kept.get("tried", ())), lost=LostState.load(kept.get("lost") if self.level_lost else None),
            believed=Level(**kept.get("believed", {})), noise=Noise(kept.get("tremble", 0.0)), raised=raised,
            left=self._left(kept.get("pumps", {})), restored=True,
        )  # fmt: skip

    def _load_pumps(self, kept: Mapping[str, Any]) -> tuple[PumpState, ...]:
        """By name; what an earlier site file kept of its only pump is the first one's."""
        known = kept.get("pumps")
        if known is None:
            known = {self.pumps[0].actuator: {key: kept[key] for key in _ONE_PUMP} | {"raised": ()}}
        return tuple(
            PumpState.load(pump, known[pump.actuator]) if pump.actuator in known else PumpState() for pump in self.pumps
        )

    def _left(self, pumps: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
        """The alarms of kept `pumps` that have none of their own any more."""
        own = frozenset(self._rotation.pumps) if self.group is not None else frozenset()
        return tuple((code, name) for name, one in pumps.items() if name not in own for code in one["raised"])

    @property
    def commands(self) -> Sequence[str]:
        own = () if self.group is None else (f"{pump.actuator}.latch" for pump in self.pumps)
        return (f"{self.name}.latch", *own)

    def command(self, state: TankState, point: str, value: Value, _now: Now) -> TankState:
        """`<name>.latch` takes "reset": all pumps may run again; `<pump>.latch` one."""
        check_reset(point, value)
        is_all = point == f"{self.name}.latch"
        chosen = [is_all or point == f"{pump.actuator}.latch" for pump in self.pumps]
        pumps, rotation = reset_pumps(state.pumps, state.rotation, chosen)
        state = state._replace(pumps=pumps, rotation=rotation)
        return state._replace(standing=StandstillState(), tried=()) if is_all else state

    @property
    def _subjects(self) -> Sequence[str]:
        """The names under which the pumps tell their alarms."""
        return (self.name,) if self.group is None else self._rotation.pumps

    def latched(self, state: TankState) -> Sequence[tuple[str, str]]:
        return latched_pumps(self._subjects, state.pumps, state.raised if self.group is None else frozenset())

    def mark(self, state: TankState) -> object:
        """The trips, which are counted over an hour, why the pump was stopped, and what was filled without a level."""
        return tuple(one.trips for one in state.pumps), state.standing.stops, state.tried, state.lost.pumped.seconds

    # -- account -----------------------------------------------------------------------------------------------

    @property
    def points(self) -> Sequence[Point]:
        """The run-hours and starts of each pump of a group."""
        return [] if self.group is None else pump_points(self._rotation.pumps)

    def figures(self, state: TankState) -> Mapping[str, float]:
        return {} if self.group is None else pump_figures(self._rotation.pumps, state.rotation.records)

    # -- tariff ------------------------------------------------------------------------------------------------

    @property
    def powers(self) -> Mapping[str, float]:
        """W of the pumps, where there is a tariff and it is known."""
        known = {pump.actuator: pump.rated_power for pump in self.pumps if pump.rated_power is not None}
        return known if self.tariff is not None else {}

    def tariff_now(self, state: TankState) -> str:
        return CHEAP if state.is_cheap else OTHERWISE

    def fills(self, state: TankState) -> tuple[float, float, str | None]:
        if self.tariff is None:
            return self.start, self.stop, None
        return (*self.tariff.limits(state.is_cheap), self.tariff_now(state))

    @property
    def words(self) -> frozenset[str]:
        """The point of the tariff, where that is a word."""
        by = None if self.tariff is None else self.tariff.by
        return frozenset({by.point}) if isinstance(by, TariffPoint) and isinstance(by.wanted, str) else frozenset()

    # -- step --------------------------------------------------------------------------------------------------

    def step(self, state: TankState, view: View, now: Now) -> Step[TankState]:
        if state.restored:
            state = _shifted(state, now)
        state = updated(state, anchor=boot_anchor(state.anchor, now))
        level = good(view, self.level)
        read_at = view.points[self.level].at if level is not None else 0.0
        believed, doubt_ends = state.believed, NEVER
        if self.level in view.points:  # one that was not heard since the start is not missing: a doubt goes on
            believed, doubt_ends = believe(believed, level, read_at, self.interval, now.monotonic)
            state = updated(state, believed=believed)
        level = None if level is None else believed.value
        dues = [doubt_ends]
        state, limits, due = self._see_tariff(state, view, now)
        dues.append(due)
        state, due = self._see_level(state, view, level, limits, now.monotonic)
        dues.append(due)
        calm = state.calm
        if calm is not None and not calm.holds(self._seen(state, view, level), now.monotonic):
            calm = None
        due_pumps, news = NEVER, list[Happening]()
        if calm is None:
            pumps, due_pumps = see_pumps(self.pumps, state.pumps, view, now.monotonic)
            news = latches(self._subjects, state.pumps, pumps)
            state = updated(state, pumps=pumps)
        state, due = self._see_standstill(state, view, level, limits.stop, now.monotonic)
        dues.append(due)
        if calm is not None and not state.standing.is_wrong:
            return Step(state, calm.result, (), min(calm.due, *dues))
        step = self._decide(state, view, level, now, due_pumps)
        return step._replace(happenings=[*news, *step.happenings], due=min(step.due, *dues))

    def _decide(self, state: TankState, view: View, level: float | None, now: Now, due: float) -> Step[TankState]:
        """The duty of the pumps, the wishes and the alarms, once level and pumps are seen; `due` is that of pumps."""
        state, fills_blind, due_lost = self._see_lost(state, view, level, now)
        state, due_duty = self._put_on_duty(state, view, level, fills_blind, now.monotonic)
        due = min(due, due_lost, due_duty)
        standing = self._standing(state, view, level, now.monotonic)
        raised, happenings = alarm_changes(self.name, state.raised, standing, SEVERITIES)
        state = updated(state, raised=raised)
        if self.group is not None:
            pumps, news = tell_pumps(self.pumps, state.pumps, state.rotation.records, view, now.monotonic)
            state, happenings = updated(state, pumps=pumps), [*happenings, *news]
        happenings += [Happening("cleared", *alarm, PUMP_SEVERITIES[alarm[0]]) for alarm in state.left]
        state = updated(state, left=())
        wishes = self._wishes(state, view, level, fills_blind, now.monotonic)
        is_calm = state.lost.since is None and not state.standing.is_wrong
        if is_calm and are_calm(state.rotation.records, self.pumps, view, now.monotonic):
            state = state._replace(calm=Calm(self._seen(state, view, level), due, wishes))
        else:
            state = updated(state, calm=None)
        return Step(state, wishes, happenings, due)

    def _seen(self, state: TankState, view: View, level: float | None) -> tuple[Any, ...]:
        """All that is decided on, but for a standstill."""
        return (
            level is None, state.filling, state.both, state.known, state.low, state.high, state.pumps, state.rotation,
            state.lost, state.tried, state.raised, state.left, *seen_of(self.pumps, view),
        )  # fmt: skip

    def _see_tariff(self, state: TankState, view: View, now: Now) -> tuple[TankState, FillLevels, float]:
        """The levels between which it is filled now."""
        if self.tariff is None:
            return state, FillLevels(self.start, self.stop), NEVER
        is_cheap, due = self.tariff.is_cheap(state.is_cheap, view, now)
        return updated(state, is_cheap=is_cheap), self.tariff.limits(is_cheap), due

    def _see_level(
        self, state: TankState, view: View, level: float | None, limits: FillLevels, now: float
    ) -> tuple[TankState, float]:
        if level is None and state.believed.doubted is not None:
            return state, NEVER  # a first level that is waited for once more
        if level is None:
            if state.known or (self.level in view.points and good(view, self.level) is None):
                return updated(state, known=True), NEVER
            awaited = now if state.awaited is None else state.awaited
            late = now >= awaited + PATIENCE
            return updated(state, awaited=awaited, known=late), NEVER if late else awaited + PATIENCE
        start, stop = limits
        filling = level <= start or (state.filling and level < stop)
        both_below = None if self.group is None else self.group.both_below
        both = both_below is not None and (level <= both_below or (state.both and level < start))
        low = level <= self.low or (state.low and level < self.low + BAND)
        high = level >= self.high or (state.high and level > self.high - BAND)
        return updated(state, known=True, filling=filling, both=both, low=low, high=high), NEVER

    def _goes(self, view: View) -> bool:
        """Whether a pump runs."""
        return any(runs(view.outputs.get(pump.actuator)) for pump in self.pumps)

    def _see_standstill(
        self, state: TankState, view: View, level: float | None, full: float, now: float
    ) -> tuple[TankState, float]:
        """Whether the level moves while a pump runs, or while something flows out."""
        state, flows, changes = self._see_outlet(state, view, now)
        going = self._goes(view)
        noise = state.noise if level is None else follow_noise(state.noise, level, now)
        standing, due = watch(self.standstill, state.standing, level, full, noise.size, going, flows, now)
        state = updated(state, standing=standing, noise=noise)
        if self.group is not None and (standing.too_long or state.tried):
            state = self._try_another(state, now)
        return state, min(due, changes)

    def _try_another(self, state: TankState, now: float) -> TankState:
        """A pump that does not raise the level may be worn: before all are stopped, each of the others has its time."""
        if not state.standing.too_long:
            return updated(state, tried=())
        if state.standing.held is None:
            return state
        tried = (*state.tried, *(name for name in state.rotation.duty if name not in state.tried))
        held_off = {pump.actuator for pump, one in zip(self.pumps, state.pumps, strict=True) if held(one, now)}
        if not set(self._rotation.pumps) - held_off - set(tried):
            return updated(state, tried=tried)
        standing = state.standing._replace(held=None, fill=state.standing.fill.reset(now))
        return state._replace(standing=standing, tried=tried)

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

    def _see_lost(self, state: TankState, view: View, level: float | None, now: Now) -> tuple[TankState, bool, float]:
        """Whether it is to be filled without a level. One that stands still is none; one that says full is believed."""
        if self.level_lost is None:
            return state, False, NEVER
        if level is None and not state.known:
            return state, False, NEVER
        is_known = level is not None and not state.standing.stuck
        lost, fills, due = see_lost(self.level_lost, state.lost, is_known, self._goes(view), now)
        return updated(state, lost=lost), fills and not (level is not None and state.high), due

    def _put_on_duty(
        self, state: TankState, view: View, level: float | None, fills_blind: bool, now: float
    ) -> tuple[TankState, float]:
        """Which pumps of a group run."""
        if self.group is None:
            return state, NEVER
        out = {pump.actuator for pump, one in zip(self.pumps, state.pumps, strict=True) if held(one, now)}
        if state.tried and not set(self._rotation.pumps) <= out.union(state.tried):
            out |= set(state.tried)
        lost, first = unread_pumps(self.pumps, out, view, self._rotation.standby_after, now)
        wanted = self._wanted(state, view, level, fills_blind)
        rotation, second = rotate(self._rotation, state.rotation, view, wanted, out | lost, now)
        return updated(state, rotation=rotation), min(first, second)

    def _wanted(self, state: TankState, view: View, level: float | None, fills_blind: bool) -> int:
        """The number of pumps that are to run."""
        if fills_blind:
            return 1
        if level is None:  # those that run, while the first level is awaited
            return 0 if state.known else sum(runs(view.outputs.get(pump.actuator)) for pump in self.pumps)
        if state.standing.stops or state.high or not state.filling:
            return 0
        return len(self.pumps) if state.both else 1

    # -- wishes and alarms -------------------------------------------------------------------------------------

    def _wishes(self, state: TankState, view: View, level: float | None, fills_blind: bool, now: float) -> list[Wish]:
        fault = ""
        if not fills_blind:
            fault = "level fault" if level is None and state.known else state.standing.stops
        full = "level high" if state.high and not fills_blind else ""
        wishes = []
        for pump, one in zip(self.pumps, state.pumps, strict=True):
            wishes.append(Wish(pump.actuator, SCHEDULE, *self._wish(state, view, level, pump, fills_blind)))
            if fault:
                wishes.append(Wish(pump.actuator, FAULT, False, fault))
            if why := held(one, now) or full:
                wishes.append(Wish(pump.actuator, INTERLOCK, False, why))
        return wishes

    def _wish(
        self, state: TankState, view: View, level: float | None, pump: PumpSpec, fills_blind: bool
    ) -> tuple[bool, str]:
        """Whether this pump is to fill, and why."""
        fills, cause = state.filling, "filling" if state.filling else "full enough"
        if fills_blind:
            fills, cause = True, "filling without a level"
        elif level is None:
            output = view.outputs.get(pump.actuator)
            fills = fills and not state.known and output is not None and bool(output.value)
            cause = "as it was, the level is awaited" if fills else "no level"
        if self.group is not None and fills and pump.actuator not in state.rotation.duty:
            return False, "another pump fills" if state.rotation.duty else "no pump may run"
        return fills, cause

    def _standing(
        self, state: TankState, view: View, level: float | None, now: float
    ) -> dict[str, dict[str, Any] | None]:
        found: dict[str, dict[str, Any] | None] = {}
        if level is None and state.known:
            found["level_fault"] = None
        if state.lost.blind:
            found["level_lost"] = {"signal": self.level}
        if state.low:
            found["level_low"] = {"level": level}
        if state.high:
            found["level_high"] = {"level": level}
        if state.standing.stuck:
            found["sensor_stuck"] = {"signal": self.level, "level": level}
        if state.standing.too_long:
            found["fill_too_long"] = {"level": level}
        if self.group is None:
            pump, one = self.pumps[0], state.pumps[0]
            return found | faults(pump, one, view, now) | flow_fault(pump, state.raised, view)
        idle = state.rotation.idle_since
        if idle is not None and now >= idle + self._rotation.standby_after:
            found["pumps_failed"] = {"pumps": list(self._rotation.pumps)}
        return found | shared_flow_faults(self.pumps, state.raised, view)


def _shifted(state: TankState, now: Now) -> TankState:
    """The times of an earlier boot in this one."""
    by = BootShift.from_anchor(state.anchor, now)
    return state._replace(
        restored=False, pumps=tuple(one.shifted(by) for one in state.pumps),
        rotation=state.rotation.shifted(by), outlet_at=by.optional(state.outlet_at),
        standing=state.standing.shifted(by), lost=state.lost.shifted(by), believed=state.believed.shifted(by),
    )  # fmt: skip
