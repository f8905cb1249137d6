"""A water point: a meter, perhaps a valve and a drain. Hours, frost, leaks, quota, flushing, tampering.

The valve is commanded at three priorities: 15 the opening hours, 13 what holds for a day or some minutes (the quota is
used up, a flush), 2 the interlocks (burst, frost, an open drain).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agent.control.alarm_state import alarm_changes
from agent.control.api import NEVER, Happening, Now, Step, View, Wish, check_reset, good, updated
from agent.control.boot_time import boot_anchor
from agent.control.calendar import DAY, Calendar
from agent.control.calm import Calm, said
from agent.control.named_calendars import calendar_input
from agent.lib.counter import SECONDS, CounterTrail, Dial, follow
from agent.model import Kind, Point, Severity, Value
from agent.services.water import frost as cold
from agent.services.water import leaks
from agent.services.water.frost import Frost, FrostState
from agent.services.water.hours import OpeningHours
from agent.services.water.leaks import Leak, MeterReading
from agent.services.water.meter import PLAUSIBLE, Meter
from agent.services.water.state import WaterState, dumped, loaded, shifted
from agent.services.water.valve import Valve

__all__ = ["Flush", "Quota", "WaterPoint"]

INTERLOCK, TODAY, SCHEDULE = 2, 13, 15

SEVERITIES = {
    leaks.NIGHT: Severity.MAJOR, leaks.CONTINUOUS: Severity.MAJOR, leaks.BURST: Severity.CRITICAL,
    leaks.CLOSED: Severity.MAJOR, "quota_exceeded": Severity.MINOR, "frost_closed": Severity.INFO,
    "tamper": Severity.MAJOR,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quota:
    """Litres from midnight to midnight; `close`: then the valve closes until the next day."""

    litres: float
    close: bool = False


@dataclass(frozen=True, slots=True)
class Flush:
    """Seconds without a draw, and of the run that follows."""

    idle: float = 72 * 3600.0
    run: float = 180.0


@dataclass(frozen=True, slots=True)
class WaterPoint:
    """The control of one water point. `litres` is how many one unit of the meter is, `pulse` the litres of a pulse."""

    name: str
    meter: str
    calendar: Calendar
    litres: float = 1.0
    pulse: float = 1.0
    dial: Dial | None = None
    """How the meter counts, where it is a point of a device; an index of a signal is right as it is (None)."""
    most: float = PLAUSIBLE
    """L/h that the meter passes at most."""
    valve: Valve | None = None
    drain: Valve | None = None
    hours: OpeningHours | None = None
    """When the valve is open; None: always."""
    frost: Frost | None = None
    leak: Leak = field(default_factory=Leak)
    latches: bool = True
    """A burst closes the valve, and it stays closed until the command `<name>.latch` reset."""
    quota: Quota | None = None
    flush: Flush | None = None
    tamper: str | None = None
    inputs: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        names = {self.meter, self.tamper, self.frost and self.frost.signal}
        names |= {valve.actuator for valve in (self.valve, self.drain) if valve is not None}
        names |= {calendar_input(self.hours.by)} if self.hours is not None and self.hours.by else set()
        object.__setattr__(self, "inputs", frozenset(name for name in names if name is not None))

    # -- state -------------------------------------------------------------------------------------------------

    def initial(self) -> WaterState:
        return WaterState()

    def dump(self, state: WaterState) -> dict[str, Any]:
        return dumped(state)

    def load(self, kept: Mapping[str, Any]) -> WaterState:
        return self._without_what_left(loaded(kept))

    def _without_what_left(self, state: WaterState) -> WaterState:
        """Drop what belongs to settings that left the file: nothing would clear it."""
        flushing = None if self.flush is None or self.valve is None else state.flushing
        return replace(
            state, leaks=replace(state.leaks, found=state.leaks.found & self.leak.codes), flushing=flushing,
            raised=state.raised & SEVERITIES.keys(),
            frost=FrostState() if self.frost is None else state.frost,
            latched=state.latched and self._may_latch, tampered=state.tampered and self.tamper is not None,
        )  # fmt: skip

    @property
    def commands(self) -> Sequence[str]:
        return (f"{self.name}.latch",) if self._may_latch else ()

    def command(self, state: WaterState, point: str, value: Value, _now: Now) -> WaterState:
        """`<name>.latch` takes "reset": the burst is over, the valve may open."""
        check_reset(point, value)
        over = replace(state.leaks, found=state.leaks.found - {leaks.BURST}, over=None)
        return replace(state, latched=False, leaks=over, calm=None)

    def latched(self, state: WaterState) -> Sequence[tuple[str, str]]:
        return [(leaks.BURST, self.name)] if state.latched else []

    @property
    def meters(self) -> Sequence[str]:
        return (self.meter,)

    def swapped(
        self, state: WaterState, meter: str, index: float, _before: float | None = None
    ) -> WaterState | None:
        """The day's volume and a flush go on from the new meter's index."""
        if meter != self.meter:
            return None
        before, litres = state.meter.index, round(index * self.litres, 3)
        if before is None:
            return state
        jump = litres - before
        return replace(
            state, meter=replace(state.meter, index=litres),
            day_index=state.day_index + jump, flush_index=state.flush_index + jump, calm=None,
        )  # fmt: skip

    def mark(self, state: WaterState) -> object:
        """The beginnings of a burst and of a watched night, and pulses through a closed valve until the alarm."""
        found = state.leaks
        looked_for = self.leak.closed is not None and found.shut and leaks.CLOSED not in found.found
        return found.over, found.judged, state.meter.index if looked_for else None

    @property
    def _may_latch(self) -> bool:
        return self.latches and self.valve is not None and self.leak.burst is not None

    # -- account -----------------------------------------------------------------------------------------------

    @property
    def points(self) -> Sequence[Point]:
        """`<name>.today` and `.yesterday` from midnight to midnight, `.flushed` by all flushes; litres."""
        kinds = {"today": Kind.TELEMETRY, "yesterday": Kind.TELEMETRY}
        if self.flush is not None and self.valve is not None:
            kinds["flushed"] = Kind.COUNTER
        return [Point(f"{self.name}.{what}", self.name, "L", kind) for what, kind in kinds.items()]

    def figures(self, state: WaterState) -> Mapping[str, float]:
        """The figures that are known."""
        found = {}
        if state.day:
            found[f"{self.name}.today"] = _tidy(self._drawn_today(state))
        if state.yesterday is not None:
            found[f"{self.name}.yesterday"] = _tidy(state.yesterday)
        if self.flush is not None and self.valve is not None:
            found[f"{self.name}.flushed"] = _tidy(state.flushed_litres)
        return found

    # -- step --------------------------------------------------------------------------------------------------

    def step(self, state: WaterState, view: View, now: Now) -> Step[WaterState]:
        step = self._step(state, view, now)
        seen = self._seen(state, view) if step.state is state else None
        known = step.state.calm
        if seen == (None if known is None else known.seen):
            return step
        return step._replace(state=replace(step.state, calm=None if seen is None else Calm(seen, NEVER, None)))

    def alike(self, state: WaterState, view: View) -> bool:
        """While all that the last step went by is the same, and that step changed nothing."""
        return state.calm is not None and state.calm.seen == self._seen(state, view)

    def _step(self, state: WaterState, view: View, now: Now) -> Step[WaterState]:
        if state.restored:
            state = shifted(state, now)
        happenings: list[Happening] = []
        state = updated(state, anchor=boot_anchor(state.anchor, now))
        before = state.meter
        state, first = self._measure(state, view, now, happenings)
        if self.frost is not None:
            frost, second = cold.step(self.frost, state.frost, view, now)
            state = updated(state, frost=frost)
        else:
            second = NEVER
        flushing = state.flushing
        state, third = self._flush(state, view, now, happenings)
        before = before if state.flushing == flushing else state.meter
        state, fifth = self._leaks(state, before, view, now)
        state = self._look_up_hours(state, view, now)
        tampered = good(view, self.tamper)
        if tampered is not None:
            state = updated(state, tampered=bool(tampered))
        wishes, fourth = self._wishes(state, view, now)
        raised, alarms = alarm_changes(self.name, state.raised, self._standing(state, view), SEVERITIES)
        due = min(first, second, third, fourth, fifth)
        return Step(updated(state, raised=raised), wishes, [*happenings, *alarms], due)

    def _seen(self, state: WaterState, view: View) -> tuple[Any, ...] | None:
        """Its inputs while the meter stands still: the index, the valves, and the sides of the limits of frost.

        Not where the time of a reading counts: after a growth of several pulses, and for a meter that is read seldom.
        """
        reads_seldom = self.dial is not None or self.leak.interval > leaks.SLOW
        if reads_seldom or state.meter.volume > self.pulse:
            return None
        valves = [view.outputs.get(valve.actuator) for valve in (self.valve, self.drain) if valve is not None]
        hours = None if self.hours is None or not self.hours.by else view.calendars.get(self.hours.by)
        frost = None if self.frost is None else self.frost.side(view)
        return said(view, self.meter), said(view, self.tamper), valves, hours, frost

    def _measure(
        self, state: WaterState, view: View, now: Now, happenings: list[Happening]
    ) -> tuple[WaterState, float]:
        """The index and the day's volume."""
        before, meter, index = state.meter, state.meter, good(view, self.meter)
        doubted = NEVER
        if index is not None:
            litres, at = round(index * self.litres, 3), view.points[self.meter].at
            if self.dial is not None and before.index is None:
                state = replace(state, trail=CounterTrail(litres, at))
            elif self.dial is not None:
                state, litres = self._judged(state, self.dial, litres, at, happenings)
                before, doubted = state.meter, _doubted_until(state, now)
            elif before.index is not None and before.replaced_by(litres, at, self.pulse, self.most):
                state = self._jumped(state, "meter_replaced", litres, litres - before.index, happenings)
            meter = before.read(litres, at, self.pulse, self.most).unchanged(at, self.pulse)
        state, midnight = self._day(state, before, meter, now)
        return updated(state, meter=meter), min(midnight, doubted)

    def _leaks(self, state: WaterState, before: Meter, view: View, now: Now) -> tuple[WaterState, float]:
        """Look for leaks in the flow since `before`. The water of a flush is no leak."""
        reading = None
        if self.meter in view.points:
            at, is_good = view.points[self.meter].at, good(view, self.meter) is not None
            reading = MeterReading(is_good, at, state.flushing is not None)
        shut_at = NEVER if self.valve is None else self.valve.shut_at(view)
        found, meter, due = leaks.step(
            self.leak, state.leaks, before, state.meter, reading, shut_at <= now.monotonic, now
        )  # fmt: skip
        latched = state.latched or (self._may_latch and leaks.BURST in found.found)
        state = updated(state, meter=meter, leaks=found, latched=latched)
        return state, min(due, shut_at if shut_at > now.monotonic else NEVER)

    def _judged(
        self, state: WaterState, dial: Dial, litres: float, at: float, happenings: list[Happening]
    ) -> tuple[WaterState, float]:
        """The count of a meter without an index of its own, after the check for a replaced or reset meter."""
        meter, trail = state.meter, state.trail
        assert meter.index is not None
        if trail is None or trail.count != meter.index:
            trail = CounterTrail(meter.index, meter.at)
        elif at <= (trail.doubt.last_at if trail.doubt is not None else trail.at or 0.0):
            return state, trail.count  # this reading was judged before
        trail, grown, verdict = follow(dial, trail, litres, at)
        state = replace(state, trail=trail)
        if verdict:
            begins = trail.count - grown
            state = self._jumped(state, f"meter_{verdict}", trail.count, begins - meter.index, happenings)
            state = replace(state, meter=replace(meter, index=begins))
        return state, trail.count

    def _jumped(
        self, state: WaterState, code: str, litres: float, jump: float, happenings: list[Happening]
    ) -> WaterState:
        """The index continues from another value. The jump is no consumption."""
        before = 0.0 if state.meter.index is None else state.meter.index
        detail = {"index": _tidy(litres), "before": _tidy(before)}
        happenings.append(Happening("change", code, self.name, Severity.INFO, detail))
        return updated(state, day_index=state.day_index + jump, flush_index=state.flush_index + jump)

    def _day(self, state: WaterState, before: Meter, meter: Meter, now: Now) -> tuple[WaterState, float]:
        """The day's volume counts from midnight, from the last index before it."""
        if now.civil is None or now.reached is None or meter.index is None:
            return state, NEVER
        today = self.calendar.day(now.reached)
        if state.day != today.isoformat():
            index = meter.index if before.index is None or not state.day else before.index
            over = index - state.day_index if state.day == (today - DAY).isoformat() else None
            state = updated(state, day=today.isoformat(), day_index=index, yesterday=over)
        midnight = self.calendar.instant(today + DAY, 0)
        return state, now.monotonic + (midnight - now.civil).total_seconds()

    def _drawn_today(self, state: WaterState) -> float:
        return 0.0 if state.meter.index is None else state.meter.index - state.day_index

    def _used_up(self, state: WaterState) -> bool:
        return self.quota is not None and self._drawn_today(state) > self.quota.litres

    def _quota_closes(self, state: WaterState) -> bool:
        return self.quota is not None and self.quota.close and self._used_up(state)

    def _flush(self, state: WaterState, view: View, now: Now, happenings: list[Happening]) -> tuple[WaterState, float]:
        """Start and end a flush. A flush that an interlock cut short does not count and is repeated."""
        flush, index = self.flush, state.meter.index
        if flush is None or self.valve is None or index is None:
            return state, NEVER
        stopped = state.latched or state.frost.cold or self._quota_closes(state)
        if state.flushing is not None:
            end = state.flushing + flush.run
            if not stopped and now.monotonic < end:
                return state, end
            drawn = index - state.flush_index
            detail = {"litres": _tidy(drawn), "seconds": round(now.monotonic - state.flushing, 1)}
            happenings.append(Happening("change", "flushed", self.name, Severity.INFO, detail))
            flushed = state.flushed if stopped else now.monotonic
            litres = state.flushed_litres + drawn
            state = updated(_own_water(state), flushing=None, flushed=flushed, flushed_litres=litres)
        idle_until = max(state.meter.at, state.flushed or state.meter.at) + flush.idle
        if stopped or good(view, self.meter) is None:
            return state, NEVER
        if now.monotonic < idle_until:
            return state, idle_until
        state = _own_water(state)
        return updated(state, flushing=now.monotonic, flush_index=index), now.monotonic + flush.run

    def _look_up_hours(self, state: WaterState, view: View, now: Now) -> WaterState:
        moment = now.reached
        if self.hours is None or moment is None:
            return state
        known, calendar = state.hours, view.calendars.get(self.hours.by)
        if known is not None and known.start <= moment < known.end and known.calendar is calendar:
            return state
        return replace(state, hours=self.hours.at(moment, calendar))

    # -- wishes and alarms -------------------------------------------------------------------------------------

    def _wishes(self, state: WaterState, view: View, now: Now) -> tuple[list[Wish], float]:
        valve = self.valve
        if valve is None:
            return [], NEVER
        wishes, due = [], NEVER
        if self.hours is None:
            wishes.append(valve.wish(SCHEDULE, True, "no closing hours"))
        elif now.civil is None or state.hours is None:
            wishes.append(valve.wish(SCHEDULE, False, "the time is not known"))
        else:
            wishes.append(valve.wish(SCHEDULE, state.hours.is_open, state.hours.cause))
            due = now.monotonic + (state.hours.end - now.civil).total_seconds()
        if self._quota_closes(state):
            wishes.append(valve.wish(TODAY, False, "quota"))
        elif state.flushing is not None:
            wishes.append(valve.wish(TODAY, True, "flush"))
        held = "burst" if state.latched else "frost" if state.frost.cold else ""
        if self.drain is not None:
            draining, free, interlock_due = self._interlock(self.drain, valve, state, view, now.monotonic)
            held = held or ("" if free else "drain not shut")
            cause = "frost" if draining else "supply not shut" if state.frost.cold else "supply may open"
            wishes.append(self.drain.wish(INTERLOCK, draining, cause))
            due = min(due, interlock_due)
        if held:
            wishes.append(valve.wish(INTERLOCK, False, held))
        return wishes, due

    @staticmethod
    def _interlock(drain: Valve, valve: Valve, state: WaterState, view: View, now: float) -> tuple[bool, bool, float]:
        """Whether the drain may open, whether the supply may, and when to look again.

        One of them is always held closed at priority 2: the drain until the supply is closed for frost and has had
        its travel, the supply until the drain has had its own. So no remote command opens both.
        """
        supply_at, drain_at = valve.shut_at(view), drain.shut_at(view)
        due = min((at for at in (supply_at, drain_at) if at > now), default=NEVER)
        return state.frost.cold and supply_at <= now, drain_at <= now, due

    def _standing(self, state: WaterState, view: View) -> dict[str, dict[str, Any] | None]:
        found: dict[str, dict[str, Any] | None] = dict.fromkeys(state.leaks.found)
        if state.latched:
            found[leaks.BURST] = {"latched": True}
        if self._used_up(state):
            found["quota_exceeded"] = {"litres": _tidy(self._drawn_today(state))}
        if state.frost.cold and self.frost is not None:
            degrees = good(view, self.frost.signal)
            found["frost_closed"] = {"reason": "sensor lost"} if state.frost.lost else {"temperature": degrees}
        if state.tampered:
            found["tamper"] = None
        return found


def _own_water(state: WaterState) -> WaterState:
    """A flush begins or ends: the flow before it says nothing about the flow after it."""
    return updated(state, meter=state.meter.restarted(), leaks=state.leaks.restarted())


def _doubted_until(state: WaterState, now: Now) -> float:
    """When to look at the meter again: a repeated reading does not wake the control."""
    return NEVER if state.trail is None or state.trail.doubt is None else now.monotonic + SECONDS / 4


def _tidy(litres: float) -> float:
    """Litres are integers, where the meter counts whole ones."""
    return int(litres) if litres == int(litres) else round(litres, 3)
