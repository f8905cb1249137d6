"""The control of a heating zone: its week, its room and its boiler, and the fallbacks without a sensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from operator import is_not
from typing import Any, NamedTuple

from agent.control.alarm_state import alarm_changes
from agent.control.api import NEVER, Happening, Issued, Now, Output, Step, View, Wish
from agent.control.calendar import DAY, WINTER
from agent.control.named_calendars import NamedCalendar, calendar_input
from agent.control.week import Week
from agent.model import Kind, Point, Severity, Value
from agent.services.heating.boiler import HeatCurve, guard, guard_due, see_burner
from agent.services.heating.cascade import alarms as stage_alarms
from agent.services.heating.exercise import Exercise, exercise
from agent.services.heating.loops import Law, Situation, Tpi, advance, begins, calls, cycle_of, until
from agent.services.heating.override import LEGAL
from agent.services.heating.programme import ModeException, Occupancy, ZoneProgramme
from agent.services.heating.room import (
    Airing,
    OptimumStart,
    OptimumStop,
    Start,
    Stop,
    WindowOpen,
    air,
    let_cool,
    prepare,
    start_at,
    stop_at,
)
from agent.services.heating.season import Season, weigh
from agent.services.heating.sg_ready import CONTACTS, SgReady, sg_ready
from agent.services.heating.stuck_sensor import FIRE, IDLE, Stillness, observe
from agent.services.heating.trail import Trail, follow
from agent.services.heating.tuning import OUTDOORS, OVERSIZED, concrete, is_learned, learn, look_at
from agent.services.heating.zone import LOOK, STUCK, Said, Seen, ZoneState, dumped, in_this_boot, loaded, look

__all__ = ["SEVERITY", "Aim", "Setpoints", "Zone", "ZoneState", "is_near_frost"]

SEVERITY = {
    "room_sensor_lost": Severity.MINOR,
    "flow_sensor_lost": Severity.MAJOR,
    "overheat": Severity.CRITICAL,
    "burner_no_heat": Severity.CRITICAL,
    "comfort_missed": Severity.MINOR,
    "flow_missed": Severity.MAJOR,
    STUCK: Severity.MAJOR,
    "frost_risk": Severity.CRITICAL,
    "window_open": Severity.INFO,
    "calendar_ending": Severity.MINOR,
}
"""The alarms of a zone (docs/alarms.md)."""
FROST, FROST_OVER = 5.0, 6.0
"""degC in the room: the alarm comes below the one and goes from the other on."""
MISSED = 1.0
"""K below comfort from which comfort is missed: when the occupied time begins, and while it lasts."""
PAUSE = 12
"""Looks (of 5 min) after which a burner that stays off is no longer held back, but off."""
COLDEST = -10.0
"""degC: the day that a boiler is for, without a heat curve."""
OUTDOOR_KEPT = 3600.0
"""After a restart the last good outdoor temperature counts for so long (s), until the next one comes."""
ENDING = timedelta(days=60)
"""The alarm `calendar_ending` comes this long before the table of school holidays ends."""
LOOKED = timedelta(days=2)
"""The programme is looked up for so long: a period of that length may go on."""
OFF = 6.0
"""degC: what a zone that is off is heated to in frost, below which `frost_risk` does not clear."""
INTERLOCK, FAULT, RULE = 2, 5, 15


@dataclass(frozen=True, slots=True)
class Setpoints:
    """degC."""

    comfort: float = 19.0
    reduced: float = 16.0
    frost: float = 8.0

    def of(self, mode: str) -> float:
        if mode == "off":
            return min(OFF, self.frost)
        return {"comfort": self.comfort, "reduced": self.reduced, "frost": self.frost}[mode]


class Aim(NamedTuple):
    """The setpoint (degC) and its cause; None while nothing is heated, or the room is not known."""

    setpoint: float | None
    why: str
    heats: bool = True


@dataclass(frozen=True, slots=True)
class Zone:
    """Rooms with one sensor and one boiler. Times in seconds, temperatures in degC, `loss_duty` 0..1.

    `min_on` and `min_off` are those of the burner's actuator, `least_cycle` the shortest cycle that it can follow.
    After `stuck_after` of full fire a reading that never moved is a fault; `missed_after` of cold is comfort missed.
    """

    name: str
    sensor: str
    burner: str
    week: Week
    setpoints: Setpoints
    law: Law = field(default_factory=Tpi)
    outdoor: str | None = None
    curve: HeatCurve | None = None
    pump: str | None = None
    pump_overrun: float = 600.0
    pump_forced_below: float = 3.0
    exercise: Exercise | None = None
    optimum_start: OptimumStart | None = None
    window_open: WindowOpen | None = None
    loss_after: float = 2700.0
    loss_duty: float = 0.3
    min_on: float = 0.0
    min_off: float = 0.0
    least_cycle: float = 0.0
    stuck_after: float = 43200.0
    missed_after: float = 10800.0
    winter: frozenset[int] = WINTER
    occupancy: Occupancy | None = None
    exceptions: tuple[ModeException, ...] = ()
    optimum_stop: OptimumStop | None = None
    sg: SgReady | None = None

    @property
    def inputs(self) -> frozenset[str]:
        return self._watched()

    def _watched(self) -> frozenset[str]:
        flow = None if self.curve is None else self.curve.signal
        booked = None if self.occupancy is None else calendar_input(self.occupancy.calendar)
        return frozenset(name for name in (self.sensor, self.outdoor, flow, self.burner, self.pump, booked) if name)

    @property
    def programme(self) -> ZoneProgramme:
        """Its modes by the calendar."""
        return ZoneProgramme(self.week, self.occupancy, self.exceptions)

    def initial(self) -> ZoneState:
        return ZoneState()

    def step(self, state: ZoneState, view: View, now: Now) -> Step[ZoneState]:
        t = now.monotonic
        state = self._overridden(in_this_boot(state, t), now)
        room, seen = look(view, self.sensor, state.room, t, self.loss_after)
        outdoor, seen_outdoor = look(view, self.outdoor, state.outdoor, t, OUTDOOR_KEPT)
        trail, season = self._see_temperatures(state, room, seen, outdoor, t)
        before = state.room, state.outdoor, state.trail, state.season
        if state.begun is None or any(map(is_not, (seen, seen_outdoor, trail, season), before)):
            begun = t if state.begun is None else state.begun
            state = state._replace(begun=begun, room=seen, outdoor=seen_outdoor, trail=trail, season=season)
        calendar = None if self.occupancy is None else view.calendars.get(self.occupancy.calendar)
        state, due = self._prepare(state, room, now, calendar)
        state, due_contacts = self._see_contacts(state, now)
        state, due_plant = self._see_plant(state, view, outdoor, now)
        aim, believed = self._aim(state, room, outdoor, t), not state.still.stuck
        state = self._control(state, aim, room, outdoor, t)
        state, due_still = self._see_sensor(state, aim, room, outdoor, t)
        if state.still.stuck is believed:  # the verdict changed: control by the new one
            aim = self._aim(state, room, outdoor, t)
            state = self._control(state, aim, room, outdoor, t)
        called = self._called(state, aim, t)
        wishes = [*self._burner_wishes(state, aim, called), *self._pump_wishes(state, called, outdoor, now)]
        wishes += self._contact_wishes(state)
        state, due_cold = self._see_comfort(state, aim, room, t)
        alarms, happened = alarm_changes(self.name, state.alarms, self._alarms(state, aim, room, t), SEVERITY)
        state, more = self._burner_alarms(state)
        mode = state.mode if state.said is None else state.said.mode
        due = min(due, state.override.due, due_contacts, due_plant, due_still, due_cold, self._look_again(state, t))
        if state.loop.begun is not None:
            due = min(due, until(self._law(state), state.loop, t, self.least_cycle))
        if mode != state.mode or alarms is not state.alarms or aim.setpoint != state.aim:
            state = state._replace(mode=mode, alarms=alarms, aim=aim.setpoint)
        return Step(state, wishes, happened + more, due)

    def _overridden(self, state: ZoneState, now: Now) -> ZoneState:
        """The state with the commands that still hold."""
        override = state.override.here(now)
        return state if override is state.override else state._replace(override=override)

    def _see_temperatures(
        self, state: ZoneState, room: float | None, seen: Seen | None, outdoor: float | None, t: float
    ) -> tuple[Trail, Season]:
        """Note the recent temperatures."""
        trail, season = state.trail, state.season
        if room is not None and seen is not None:
            trail = follow(trail, room, seen.at)
        if self.curve is not None and self.curve.heat_off_above is not None:
            season = weigh(season, self.curve.heat_off_above, outdoor, t)
        return trail, season

    # -- setpoint ----------------------------------------------------------------------------------------------

    def _prepare(
        self, state: ZoneState, room: float | None, now: Now, calendar: NamedCalendar | None
    ) -> tuple[ZoneState, float]:
        """Look up the programme, the optimum start and stop, and an open window; and when that is due again."""
        t, due = now.monotonic, NEVER
        unix = now.unix or 0.0
        said, start, airing = self._said(state.said, now, unix, calendar), state.start, state.airing
        stop = state.stop
        if said is not None:
            due = t + said.until - unix
        if self.window_open is not None:
            read_at = t if room is None or state.room is None else state.room.at
            airing, end = air(self.window_open, airing, state.trail, room, read_at, t)
            due = min(due, end)
        programmed = said if state.override.mode is None and state.override.setpoint is None else None
        if self.optimum_start is not None:
            occupied, comfort = None if programmed is None else programmed.occupied, self.setpoints.comfort
            start = prepare(self.optimum_start, start, comfort, room, occupied, unix, t)
            if airing.open() and start.goal is not None:
                start = start._replace(learned=True)  # an aired room teaches nothing
            if occupied is not None and start.goal is None and room is not None:
                at = start_at(self.optimum_start, start, comfort, room, occupied)
                due = min(due, t + at - unix if at > unix else NEVER)
        if self.optimum_stop is not None:
            ends = None if programmed is None else programmed.ends
            stop = let_cool(self.optimum_stop, stop, room, ends, unix, t)
            if airing.open() and stop.goal is not None:
                stop = stop._replace(learned=True)
            if ends is not None and stop.goal is None and (at := stop_at(self.optimum_stop, stop, ends)) > unix:
                due = min(due, t + at - unix)
        if (said, start, airing, stop) != (state.said, state.start, state.airing, state.stop):
            state = state._replace(said=said, start=start, airing=airing, stop=stop)
        return state, due

    def _aim(self, state: ZoneState, room: float | None, outdoor: float | None, t: float) -> Aim:
        if state.season.warm and outdoor is not None:
            return Aim(None, "heat_off_above", heats=False)
        if t >= self._lost_at(state) or (room is None and "room_sensor_lost" in state.alarms):
            return Aim(None, "room_sensor_lost")
        if state.still.stuck:  # its reading is used only below the frost setpoint
            frost = room is not None and room < self.setpoints.frost
            return Aim(self.setpoints.frost if frost else None, STUCK)
        if state.airing.open():
            wanted = self._wanted(state).setpoint
            return Aim(self.setpoints.frost if wanted is None else min(self.setpoints.frost, wanted), "window_open")
        return self._wanted(state)

    def _wanted(self, state: ZoneState) -> Aim:
        """The setpoint of a sound zone with closed windows: by command, else by the programme."""
        override = state.override
        if override.setpoint is not None:
            return Aim(override.setpoint.value, "command setpoint")
        if override.mode is not None:
            return Aim(self.setpoints.of(override.mode.value), f"command {override.mode.value}")
        if state.said is None:
            return Aim(self.setpoints.reduced, "clock_untrusted")
        if state.start.goal is not None:
            return Aim(self.setpoints.comfort, "optimum_start")
        if state.stop.goal is not None:
            return Aim(self._comfort(state), "optimum_stop")
        return Aim(self.setpoints.of(state.said.mode), state.said.mode)

    def _comfort(self, state: ZoneState) -> float:
        """The temperature (degC) that people may expect while they are there."""
        if state.override.setpoint is not None:
            return float(state.override.setpoint.value)
        cooling = self.optimum_stop is not None and state.stop.goal is not None
        return self.setpoints.comfort - (self.optimum_stop.drop if self.optimum_stop is not None and cooling else 0.0)

    def _mode(self, state: ZoneState) -> str | None:
        """The mode that holds: by command, else by the programme, or by what it was while the time was known."""
        if state.override.mode is not None:
            return str(state.override.mode.value)
        return state.mode if state.said is None else state.said.mode

    def _said(
        self, known: Said | None, now: Now, unix: float, calendar: NamedCalendar | None
    ) -> Said | None:  # fmt: skip
        """The mode of the programme; None while the clock is not trusted: the reduced setpoint holds then."""
        if now.civil is None or not now.trusted:
            return None
        if known is not None and known.since <= unix < known.until and known.calendar is calendar:
            return known
        programme = self.programme
        period = programme.at(now.civil, calendar)
        ahead = 0.0 if self.optimum_start is None else self.optimum_start.most
        within = period.end - period.start + timedelta(seconds=ahead)
        occupied = None if period.mode == "comfort" else programme.next("comfort", now.civil, within, calendar)
        until, warned = period.end.timestamp(), self._warned()
        return Said(
            unix,
            min(until, warned) if unix < warned else until,
            period.mode,
            None if occupied is None else occupied.timestamp(),
            unix >= warned,
            until if period.mode == "comfort" and period.end - period.start < LOOKED else None,
            calendar,
        )

    def _warned(self) -> float:
        """When the end of the table of school holidays comes near (Unix s); NEVER without school holidays."""
        calendar = self.week.calendar
        last = None if self.week.school is None else calendar.ends()
        return NEVER if last is None else calendar.instant(last - ENDING + DAY, 0).timestamp()

    def _lost_at(self, state: ZoneState) -> float:
        """When the room is lost, counted from its last good reading."""
        last = state.begun if state.room is None else state.room.at
        return (0.0 if last is None else last) + self.loss_after

    def _look_again(self, state: ZoneState, t: float) -> float:
        lost_at = self._lost_at(state)
        return min((t // LOOK + 1) * LOOK, lost_at if lost_at > t else NEVER)

    # -- contacts of SG Ready ----------------------------------------------------------------------------------

    def _see_contacts(self, state: ZoneState, now: Now) -> tuple[ZoneState, float]:
        """Update the state of SG Ready; and when it has something to decide by itself."""
        if self.sg is None:
            return state, NEVER
        sg, due = sg_ready(self.sg, state.sg, state.start.goal is not None, is_near_frost(state), now)
        return (state if sg == state.sg else state._replace(sg=sg)), due

    def _contact_wishes(self, state: ZoneState) -> list[Wish]:
        if self.sg is None:
            return []
        contacts = zip(self.sg.relays, CONTACTS[state.sg.state], strict=True)
        return [Wish(relay, RULE, on, f"{self.name} sg_ready {state.sg.state}") for relay, on in contacts]

    # -- burner and pump ---------------------------------------------------------------------------------------

    def _control(self, state: ZoneState, aim: Aim, room: float | None, outdoor: float | None, t: float) -> ZoneState:
        if not aim.heats:
            return state._replace(loop=state.loop._replace(begun=None, on=0.0, carry=0.0, calling=False))
        fixed = max(self.loss_duty, self._frost_duty(outdoor) if aim.why == STUCK else 0.0)
        at = Situation(t, aim.setpoint, room, outdoor, fixed, self.min_on, self.min_off, self.least_cycle)
        law, begun, tuning = self._law(state), None, state.tuning
        if isinstance(self.law, Tpi) and is_learned(self.law):
            tuning, begun = look_at(tuning, room), begins(law, state.loop, at)
            if begun is not None:
                coef = self._coef_ext
                tuning = learn(self.law, tuning, state.loop, aim.setpoint, room, outdoor, coef, self.least_cycle)
                law = concrete(self.law, tuning, coef)
                at = at._replace(outdoor=OUTDOORS if outdoor is None and self.law.coef_ext is None else outdoor)
        loop = advance(law, state.loop, at, begun)
        if (state.burner.cut or state.burner.hot) and not loop.held and calls(loop, t):
            loop = loop._replace(held=True)
        if loop is state.loop and tuning is state.tuning:
            return state
        return state._replace(loop=loop, tuning=tuning)

    def _law(self, state: ZoneState) -> Law:
        """The law in numbers, as it runs now."""
        return concrete(self.law, state.tuning, self._coef_ext) if isinstance(self.law, Tpi) else self.law

    @property
    def _coef_ext(self) -> float:
        """1/K: what holds a kelvin above outdoors, before it is learned: by the coldest day that the boiler is for."""
        coldest = COLDEST if self.curve is None else min(self.curve.points[0][0], 0.0)
        return 1 / (OVERSIZED * (self.setpoints.comfort - coldest))

    def _frost_duty(self, outdoor: float | None) -> float:
        """The duty that keeps frost out, by the outdoor temperature alone: for a room whose sensor is stuck."""
        if self.outdoor is None:
            return 0.0
        cold = COLDEST if outdoor is None else outdoor
        return min(max((self.setpoints.frost - cold) * self._coef_ext, 0.0), 1.0)

    def _see_sensor(
        self, state: ZoneState, aim: Aim, room: float | None, outdoor: float | None, t: float
    ) -> tuple[ZoneState, float]:
        """Check whether the room's sensor stands still while it must move; and when that is due again.

        A boiler that the heat curve holds back (and its least pause after that) is full fire only for a room that is
        much too cold: else it may give just what the room loses. A pause that the law makes does not count.
        """
        burner, setpoint = state.burner, aim.setpoint
        cold = room is not None and setpoint is not None and room <= setpoint - MISSED
        full = state.loop.calling or state.loop.on >= cycle_of(self._law(state), self.least_cycle)
        rests = full and burner.off is not None and t // LOOK - burner.off // LOOK < PAUSE
        held = cold and (burner.cut or burner.hot or rests) and not burner.locked and burner.lost is None
        phase = FIRE if burner.on is not None or held else IDLE
        still, due = observe(
            state.still, phase, room, t, self.stuck_after, state.trail.step, outdoor,
            aim=setpoint, called=calls(state.loop, t),
        )  # fmt: skip
        return (state if still == state.still else state._replace(still=still)), due

    def _see_comfort(self, state: ZoneState, aim: Aim, room: float | None, t: float) -> tuple[ZoneState, float]:
        """Note since when the occupied room is too cold; and when that has lasted too long.

        After a boot, until the time is known, nothing of it begins and nothing is over.
        """
        occupied = self._mode(state) == "comfort"
        cold = state.cold
        if not aim.heats or not occupied or (room is not None and room > self._comfort(state) - MISSED):
            cold = None
        elif cold is None and room is not None and (state.said is not None or state.override.mode is not None):
            cold = t
        late = NEVER if cold is None else cold + self.missed_after
        return (state if cold == state.cold else state._replace(cold=cold)), late if late > t else NEVER

    def _see_plant(self, state: ZoneState, view: View, outdoor: float | None, now: Now) -> tuple[ZoneState, float]:
        """Note the burner, the flow and the pump; and when they have something to decide by themselves."""
        burner = see_burner(state.burner, view.outputs.get(self.burner), now)
        if self.curve is not None:
            burner = guard(burner, self.curve, outdoor, view, now)
        output: Output | None = None if self.pump is None else view.outputs.get(self.pump)
        pump, due = exercise(state.pump, self.exercise, output, now)
        over = NEVER if burner.off is None else burner.off + self.pump_overrun
        due = min(due, guard_due(burner, now), over if over > now.monotonic else NEVER)
        if burner is not state.burner or pump is not state.pump:
            state = state._replace(burner=burner, pump=pump)
        return state, due

    @property
    def _source(self) -> str:
        """The cause of a pump that runs with the heat source."""
        return "burner"

    def _called(self, state: ZoneState, aim: Aim, t: float) -> bool:
        """Whether the room calls for heat."""
        return aim.heats and calls(state.loop, t)

    def _burner_wishes(self, state: ZoneState, aim: Aim, called: bool) -> list[Wish]:
        burner = state.burner
        why = "heat_curve" if called and burner.cut else aim.why
        wishes = [Wish(self.burner, RULE, called and not burner.cut, f"{self.name} {why}")]
        if burner.locked:
            wishes.append(Wish(self.burner, FAULT, False, f"{self.name} burner_no_heat"))
        elif burner.lost is not None:
            wishes.append(Wish(self.burner, FAULT, False, f"{self.name} flow_sensor_lost"))
        if burner.hot:
            wishes.append(Wish(self.burner, INTERLOCK, False, f"{self.name} max_flow"))
        elif state.pump.until is not None:
            wishes.append(Wish(self.burner, INTERLOCK, False, f"{self.name} exercise"))
        return wishes

    def _pump_wishes(self, state: ZoneState, called: bool, outdoor: float | None, now: Now) -> list[Wish]:
        """The pump runs with the burner and for a while after it, in the cold, and for its exercise."""
        if self.pump is None:
            return []
        burner, why = state.burner, "idle"
        if burner.on is not None or (called and not burner.cut and not burner.locked and burner.lost is None):
            why = self._source
        elif burner.off is not None and now.monotonic < burner.off + self.pump_overrun:
            why = "pump_overrun"
        elif state.pump.until is not None:
            why = "exercise"
        wishes = [Wish(self.pump, RULE, why != "idle", f"{self.name} {why}")]
        if self._is_cold(outdoor, now):
            wishes.append(Wish(self.pump, INTERLOCK, True, f"{self.name} pump_forced_below"))
        return wishes

    def _is_cold(self, outdoor: float | None, now: Now) -> bool:
        """An outdoor sensor that fails in winter counts as frost."""
        if self.outdoor is None:
            return False
        if outdoor is not None:
            return outdoor < self.pump_forced_below
        return now.civil is None or now.civil.month in self.winter

    # -- alarms ------------------------------------------------------------------------------------------------

    def _alarms(self, state: ZoneState, aim: Aim, room: float | None, t: float) -> dict[str, dict[str, Any]]:
        """The open alarms, each with its detail. An alarm about the room or the calendar stays while that is not
        known."""
        burner, was = state.burner, state.alarms
        standing = {
            "room_sensor_lost": aim.why == "room_sensor_lost",
            "flow_sensor_lost": burner.failed,
            "overheat": burner.hot,
            "burner_no_heat": burner.locked,
            "comfort_missed": self._is_missed(state, room, t),
            STUCK: state.still.stuck,
            "frost_risk": "frost_risk" in was
            if room is None
            else room < (FROST_OVER if "frost_risk" in was else FROST),
            "window_open": state.airing.open(),
            "calendar_ending": "calendar_ending" in was if state.said is None else state.said.ending,
        }
        setpoint = self._wanted(state).setpoint if aim.setpoint is None and aim.heats else aim.setpoint
        detail = {"room": room, "setpoint": setpoint}
        return {code: detail for code, stands in standing.items() if stands}

    @property
    def _burners(self) -> tuple[str, ...]:
        """The burners of a cascade, which have alarms of their own."""
        return ()

    def _burner_alarms(self, state: ZoneState) -> tuple[ZoneState, list[Happening]]:
        """The alarm `burner_no_heat` of each burner of a cascade, under the name of its actuator."""
        stages, found = stage_alarms(state.stages, self._burners)
        if stages is not state.stages:
            state = state._replace(stages=stages)
        code, detail = "burner_no_heat", {"zone": self.name}
        happened = [Happening(kind, code, burner, SEVERITY[code], detail) for kind, burner in found]
        return state, happened

    def _is_missed(self, state: ZoneState, room: float | None, t: float) -> bool:
        """Whether comfort is missed, found out when the occupied time begins or `missed_after` later.

        It is over when that time ends or the room is warm.
        """
        already = "comfort_missed" in state.alarms
        warm = room is not None and room > self._comfort(state) - MISSED
        commanded = state.override.mode is not None
        if state.said is None and not commanded:
            return already and not warm
        if self._mode(state) != "comfort":
            return False
        if room is None:
            return already
        begins = not commanded and state.mode not in (None, "comfort")
        lasts = state.cold is not None and t >= state.cold + self.missed_after
        return (already or begins or lasts) and not warm

    # -- persistence and commands ------------------------------------------------------------------------------

    def dump(self, state: ZoneState) -> dict[str, Any]:
        return dumped(state)

    def load(self, kept: Mapping[str, Any]) -> ZoneState:
        return self._without_what_left(loaded(kept))

    def _without_what_left(self, state: ZoneState) -> ZoneState:
        """Drop what belongs to settings that left the file: nothing would clear it."""
        if self.curve is None:
            state = state._replace(burner=state.burner._replace(cut=False, hot=False, lost=None, failed=False))
        if self.curve is None or self.curve.heat_off_above is None:
            state = state._replace(season=Season())
        if self.window_open is None:
            state = state._replace(airing=Airing())
        if self.optimum_start is None:
            state = state._replace(start=Start(state.start.rate))
        if self.optimum_stop is None:
            state = state._replace(stop=Stop(state.stop.rate))
        return state

    @property
    def points(self) -> Sequence[Point]:
        return self._facts_points()

    def _facts_points(self) -> tuple[Point, ...]:
        """`<zone>.mode` and `<zone>.setpoint`."""
        return (
            Point(f"{self.name}.mode", self.name, kind=Kind.STATE),
            Point(f"{self.name}.setpoint", self.name, "degC"),
        )

    def facts(self, state: ZoneState) -> Mapping[str, Value]:
        """The mode that holds, and the setpoint while there is one."""
        if state.begun is None:
            return {}
        untrusted = state.said is None and state.override.mode is None
        mode = {f"{self.name}.mode": "reduced" if untrusted else self._mode(state)}
        return mode if state.aim is None else {**mode, f"{self.name}.setpoint": state.aim}

    @property
    def commands(self) -> Sequence[str]:
        return (f"{self.name}.latch", f"{self.name}.mode", f"{self.name}.setpoint")

    def holding(self, state: ZoneState) -> Sequence[tuple[str, Value, float]]:
        found = {"mode": state.override.mode, "setpoint": state.override.setpoint}
        return [(f"{self.name}.{key}", one.value, one.until) for key, one in found.items() if one is not None]

    def timed_command(self, state: ZoneState, point: str, value: Value, now: Now, given: Issued) -> ZoneState:
        """`<zone>.mode` and `<zone>.setpoint` hold for a time, also over a restart; null or auto ends them."""
        override, points = state.override.here(now), self.setpoints
        if point == f"{self.name}.mode":
            return state._replace(override=override.set_mode(value, now, given.hold))
        if point == f"{self.name}.setpoint":
            high = max(points.comfort, LEGAL)
            return state._replace(override=override.set_setpoint(value, now, given.hold, points.frost, high))
        return self.command(state, point, value, now)

    def command(self, state: ZoneState, point: str, value: Value, now: Now) -> ZoneState:
        """`<zone>.latch` reset ends the lockout of the burner: it gets another 20 min. A stuck sensor is used again."""
        if value != "reset":  # `check_reset` has another wording, and a reason stays as it is
            raise ValueError(f"{point} takes reset, not {value!r}")
        burner = state.burner
        if burner.locked:
            mark = None if burner.on is None else now.monotonic
            burner = burner._replace(locked=False, mark=mark, low=None, level=None)
        return state._replace(burner=burner, still=Stillness())


def is_near_frost(state: ZoneState) -> bool:
    """Whether the room is near to frost, by its last good reading: as the alarm `frost_risk`."""
    return state.room is not None and state.room.value < (FROST_OVER if "frost_risk" in state.alarms else FROST)
