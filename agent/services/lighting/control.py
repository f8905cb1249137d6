"""One lighting circuit: the state of its contactor and its dimmer, its run-hours, and its faults.

At any moment it wishes a state, never an edge: after a restart it wishes the same. Priorities: the local switch (1,
reported), light on request (12), a dated exception (13), the programme of the week (15). Within `window` of the sun's
events the photocell moves them. A time that was trusted in this boot counts as known. Without a known time the
photocell alone decides; without a photocell the last known time; with neither there is no wish, and the output stays
as it is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import is_
from typing import Any, NamedTuple

from agent.control.alarm_state import alarm_changes
from agent.control.api import NEVER, Happening, Issued, Now, Output, Step, View, Wish, check_reset, good
from agent.control.boot_time import BootShift, boot_anchor
from agent.control.named_calendars import calendar_input
from agent.control.spell import SAME_RUN, next_fold
from agent.model import Kind, Point, Value
from agent.services.lighting.faults import LAMP_FAULTS, SEVERITY, Watch
from agent.services.lighting.lamps import SETTLE, Baseline, Lamps, Neighbour, Observation
from agent.services.lighting.light_on_request import LightOnRequest, ProgrammeNow, RequestedLight
from agent.services.lighting.night import FULL, Night, Programme
from agent.services.lighting.photocell import Cell, Glow, Photocell
from agent.services.lighting.state import Burning, CircuitState, Tonight, dumped, kept, loaded

__all__ = ["Circuit", "CircuitState"]

LOCAL, EXCEPTION, SCHEDULE = 1, 13, 15
"""Priorities of the wishes."""
RELAMPED = frozenset({"lamp_lost", "power_drop"})
"""Faults that new lamps end."""
TWILIGHT = timedelta(minutes=30)
"""After dawn and before dusk: between them lamps that burn are a fault."""
LOOK = 10.0
"""Seconds until a meter that was not read since the output changed is looked at again."""
_EARLY = 0.001
"""Seconds by which a moment counts as reached: two clocks differ by their rounding."""
_NO_TIME = timedelta()


class Shared(NamedTuple):
    """Another circuit behind the same meter: its contactor, its dimmer, its rated W, whether its lamps are HID."""

    actuator: str
    dimmer: str | None
    rated: float | None
    hid: bool


@dataclass(frozen=True, slots=True)
class Circuit:
    """The control of one circuit: names of points, and its parts."""

    name: str
    actuator: str
    programme: Programme
    lamps: Lamps = field(default_factory=Lamps)
    power: str | None = None
    voltages: tuple[str, ...] = ()
    photocell: Photocell | None = None
    manual_on: str | None = None
    manual_off: str | None = None
    proportional: bool = False
    """The actuator is a level: on is 100 %."""
    dimmer: str | None = None
    shared: tuple[Shared, ...] = ()
    """The other circuits behind the same meter."""
    near: tuple[tuple[str, str | None], ...] = ()
    """Contactors and dimmers of the other circuits: their lamps may light the probe too."""
    never_early: bool = False
    """The law lets it go on at the sun's event and no earlier: the photocell may only make it later."""
    on_request: LightOnRequest | None = None
    least_hold: float = 0.0
    """Seconds that a fault must last at least, where meter and contact are slow to follow (the demo)."""

    @property
    def inputs(self) -> frozenset[str]:
        cell = self.photocell.signal if self.photocell is not None else None
        names = [self.actuator, self.dimmer, self.power, cell, self.manual_on, self.manual_off, *self.voltages]
        names += [name for one in self.shared for name in (one.actuator, one.dimmer)]
        if cell is not None:
            names += [name for one in self.near for name in one]
        names += self.private
        names += map(calendar_input, self.programme.calendars)
        return frozenset(name for name in names if name is not None)

    @property
    def private(self) -> frozenset[str]:
        """The inputs that tell when people come by."""
        return frozenset(() if self.on_request is None else self.on_request.inputs)

    @property
    def pressed(self) -> frozenset[str]:
        """Inputs of which each press counts, also where nothing tells its end."""
        return self.private

    def initial(self) -> CircuitState:
        return CircuitState()

    def step(self, state: CircuitState, view: View, now: Now) -> Step[CircuitState]:
        if state.recalled:
            burning = self._resumed(state, view, now)
            requested = state.requested if burning is not None else state.requested._replace(share=0.0)
            state = state._replace(burning=burning, requested=requested)
        watch, baseline = self._watch(state), state.baseline
        at = now.reached
        tonight = self._tonight(state.tonight, at, view)
        cell, glow = self._look(state, view, now, tonight, at)
        manual, switch_known = self._switch(view)
        wanted, glow = self._wanted(cell, glow, tonight, now, at)
        if wanted is None and state.lit is not None:  # wanting nothing any more would switch it off
            wanted = (SCHEDULE, state.lit, "as it was, neither time nor light is known")
        wishes = self._wishes(wanted, tonight, manual, now, at)
        anchor = boot_anchor(state.anchor, now)
        requested, told = self._requested(state, view, now, tonight, at, wanted, anchor)
        level = self._level(view, float(wishes[-1].value or 0.0) if self.dimmer is not None else FULL)
        since = state.level_since if level == state.level or state.level is None else now.monotonic
        observation = self._seen(view, now, manual, level, since, tonight)
        seconds, energy, baseline = self._counted(state, now)
        if tonight is not None:
            baseline = baseline.turned(tonight.night.day)
        verdicts = self.lamps.judge(observation, baseline)
        if self.on_request is not None:
            verdicts |= self.on_request.verdicts(requested, view)
        verdicts["local_manual"] = manual is not None if switch_known else None
        verdicts["photocell_stuck"] = cell.stuck(now.monotonic) if cell.steady is not None else None
        watch = watch.look(verdicts, now.monotonic, self.least_hold)
        if state.relamped:
            watch = Watch(watch.open - RELAMPED, watch.turning)
        standing = {code: self._detail(code, observation, baseline, cell, requested, view) for code in watch.open}
        _, happenings = alarm_changes(self.name, state.watch.open, standing, SEVERITY)
        burning = self._burning(observation, watch, now)
        starts = state.starts + (state.burning is not None and burning.closed > state.burning.closed)
        state = CircuitState(
            cell, watch, baseline, seconds, energy, starts, anchor, tonight, burning, level, since, glow=glow,
            lit=None if wanted is None else wanted[1], requested=requested,
        )  # fmt: skip
        return Step(state, [*wishes, *requested.wishes], [*told, *happenings], self._due(state, view, now))

    def _requested(
        self, state: CircuitState, view: View, now: Now, tonight: Tonight | None, at: datetime | None,
        wanted: tuple[int, bool, str] | None, anchor: float | None,
    ) -> tuple[RequestedLight, Sequence[Happening]]:  # fmt: skip
        """The wishes beside the programme, after the light since the last step was counted."""
        requested, was = state.requested, state.burning
        if self.on_request is None:
            return requested, ()
        if state.recalled:
            requested = requested.shifted(BootShift.from_anchor(state.anchor, now))
        if was is not None and was.closed and now.monotonic > was.at:
            requested = self.on_request.burnt(requested, now.monotonic - was.at, was.power)
        night = None if tonight is None else tonight.night
        step = night.step(at) if night is not None and at is not None and now.known else None
        programme = ProgrammeNow(
            None if wanted is None else wanted[1], FULL if step is None else step, step is not None,
            () if tonight is None else tonight.windows, night, at, anchor,
        )  # fmt: skip
        return self.on_request.step(requested, view, now, programme)

    def _watch(self, state: CircuitState) -> Watch:
        """The open faults; after a start without those whose settings left the file: nothing would clear them."""
        if not state.recalled:
            return state.watch
        gone = {"photocell_stuck"} if self.photocell is None else set()
        if self.manual_on is None and self.manual_off is None:
            gone.add("local_manual")
        if not self.voltages:
            gone.add("undervoltage")
        if self.power is None:
            gone |= {*LAMP_FAULTS, "day_burning"}
        if self.on_request is None:
            gone |= {"trigger_stuck", "sensor_fault"}
        return Watch(state.watch.open - gone, state.watch.turning)

    # -- wishes ------------------------------------------------------------------------------------------------

    def _tonight(self, known: Tonight | None, at: datetime | None, view: View) -> Tonight | None:
        if at is None:
            return None
        calendars = tuple(map(view.calendars.get, self.programme.calendars)) if self.programme.exceptions else ()
        same = known is not None and all(map(is_, calendars, known.calendars))
        if known is not None and same and known.night.start <= at < known.night.end:
            return known
        night = self.programme.night(self.programme.calendar.night(at), view.calendars)
        early = night.dusk.timestamp() - TWILIGHT.total_seconds() if night.dusk is not None else NEVER
        late = night.dawn.timestamp() + TWILIGHT.total_seconds() if night.dawn is not None else NEVER
        windows = () if self.on_request is None else self.on_request.windows(self.programme, night)
        edges = (edge for one in windows for edge in (one.start, one.end))
        marks = {at.timestamp() for at in (*self._marks(night), *edges)} | ({early, late} - {NEVER})
        return Tonight(night, tuple(sorted(marks)), (early, late), windows, calendars)

    def _marks(self, night: Night) -> Iterator[datetime]:
        yield night.end
        for start, end, _ in night.levels:
            yield from (start, end)
        around = timedelta(seconds=self.photocell.window) if self.photocell is not None else None
        if around is not None and night.dusk is not None:
            yield night.dusk + around  # from now on it is so dark that what burns can be learned
        for one in night.segments:
            yield from (one.on, one.off)
            if around is not None:
                yield from (one.on - around, one.on + around, one.off - around, one.off + around)

    def _look(
        self, state: CircuitState, view: View, now: Now, tonight: Tonight | None, at: datetime | None
    ) -> tuple[Cell, Glow]:
        """The photocell after this reading, and the light of the lamps at its probe."""
        cell, glow = state.cell, state.glow
        if self.photocell is None:
            return cell, glow
        if state.recalled:
            cell = cell.shifted(BootShift.from_anchor(state.anchor, now))
        light = good(view, self.photocell.signal)
        is_dark = self._is_deep_night(tonight, at) if now.known else None
        glow = glow.look(light, self._burning_now(view), now.monotonic, is_dark)
        own = glow.own() if glow.before is None else None
        return self.photocell.look(cell, light, now.monotonic, own), glow

    def _burning_now(self, view: View) -> str:
        """All lamps that the probe may see, as `Glow` has them."""
        found = []
        for actuator, dimmer in ((self.actuator, self.dimmer), *self.near):
            output = view.outputs.get(actuator)
            if output is not None and (output.value if output.feedback is None else output.feedback):
                level = FULL if dimmer is None else _shown(view, dimmer, FULL)
                found.append(f"{actuator}@{level:.0f}")
        return "|".join(sorted(found))

    def _is_deep_night(self, tonight: Tonight | None, at: datetime | None) -> bool:
        """Whether the sun gives no light: `window` after its dusk and before its dawn."""
        if self.photocell is None or tonight is None or at is None:
            return False
        dusk, dawn, around = tonight.night.dusk, tonight.night.dawn, timedelta(seconds=self.photocell.window)
        return dusk is not None and dawn is not None and dusk + around <= at < dawn - around

    def _wishes(
        self, wanted: tuple[int, bool, str] | None, tonight: Tonight | None, manual: bool | None, now: Now,
        at: datetime | None,
    ) -> list[Wish]:  # fmt: skip
        wishes = []
        if manual is not None:
            wishes.append(self._wish(LOCAL, manual, "local switch"))
        if wanted is not None:
            wishes.append(self._wish(*wanted))
        if self.dimmer is not None:
            level = FULL
            if tonight is not None and at is not None and now.known:
                level = tonight.night.level(at)
            priority = wanted[0] if wanted is not None else SCHEDULE
            wishes.append(Wish(self.dimmer, priority, level, f"{self.name} level"))
        return wishes

    def _wish(self, priority: int, lit: bool, cause: str) -> Wish:
        value = (FULL if lit else 0.0) if self.proportional else lit
        return Wish(self.actuator, priority, value, f"{self.name} {cause}")

    def _wanted(
        self, cell: Cell, glow: Glow, tonight: Tonight | None, now: Now, at: datetime | None
    ) -> tuple[tuple[int, bool, str] | None, Glow]:
        """Priority, state and cause by the calendar and the photocell."""
        dark = cell.verdict(now.monotonic) if self.photocell is not None else None
        if not now.known and dark is not None:
            return (SCHEDULE, dark, "photocell, the time is not known"), glow
        if tonight is None or at is None:
            return None, glow
        night = tonight.night
        lit, cause = night.is_lit(at)
        asked = None if dark is None else self._asks_photocell(night, at)
        if dark is not None and asked is not None:
            lit, glow = self._said(dark, glow, *asked)
            cause = "photocell"
        if not now.trusted:
            cause += " by the last known time"
        if night.exceptional:
            return (EXCEPTION, lit, f"{night.exception or 'exception'}: {cause}"), glow
        return (SCHEDULE, lit, cause), glow

    def _asks_photocell(self, night: Night, at: datetime) -> tuple[datetime, bool] | None:
        """The event of the sun that is near, with no cut before or after it, and whether it is the evening's."""
        assert self.photocell is not None
        around = timedelta(seconds=self.photocell.window)
        for one in night.segments:
            early = _NO_TIME if self.never_early else around
            if one.sun_on and one.on - early <= at < min(one.on + around, one.off):
                return one.on, True
            if one.sun_off and max(one.off - around, one.on) <= at < one.off + around:
                return one.off, False
        return None

    @staticmethod
    def _said(dark: bool, glow: Glow, event: datetime, evening: bool) -> tuple[bool, Glow]:
        """The photocell's decision near an event of the sun. Once lit in the evening or ended in the morning, it stays
        so: otherwise the photocell would follow its own lamps."""
        mark = event.timestamp()
        lit = evening if glow.turned == mark else dark
        return lit, glow._replace(turned=mark) if lit is evening else glow

    def _switch(self, view: View) -> tuple[bool | None, bool]:
        """The state that the local switch forces (None: it is on AUTO), and whether it can be read at all."""
        on, off = good(view, self.manual_on), good(view, self.manual_off)
        manual = True if on else False if off else None
        return manual, on is not None or off is not None

    def _level(self, view: View, wished: float) -> float:
        """% at which the lamps are, as far as is known."""
        if self.proportional:
            return _shown(view, self.actuator, FULL) or FULL
        return FULL if self.dimmer is None else _shown(view, self.dimmer, wished)

    # -- measurements and faults -------------------------------------------------------------------------------

    def _seen(
        self, view: View, now: Now, manual: bool | None, level: float, level_since: float, tonight: Tonight | None
    ) -> Observation:
        output, beside = view.outputs.get(self.actuator), self._beside(view)
        moved = (level_since, *self._moved(view))
        voltages = [volts for name in self.voltages if (volts := good(view, name)) is not None]
        return Observation(
            bool(output.value) if output is not None and output.value is not None else None,
            output.feedback if output is not None else None,
            output is not None and now.monotonic - max(moved) >= SETTLE,
            level,
            None if beside is None else self._power(view, output),
            min(voltages, default=None),
            manual,
            self._daylight(tonight, now),
            beside or (),
            sum(one.rated or 0.0 for one in self.shared),
        )

    def _beside(self, view: View) -> tuple[Neighbour, ...] | None:
        """The circuits behind the same meter that are on; None while one of them is not known to be on or off."""
        found = []
        for one in self.shared:
            output = view.outputs.get(one.actuator)
            value = None if output is None else output.value if output.feedback is None else output.feedback
            if value is None:
                return None
            if value:
                level = FULL if one.dimmer is None else _shown(view, one.dimmer, FULL)
                found.append(Neighbour(one.actuator, level, one.rated, one.hid))
        return tuple(found)

    def _power(self, view: View, output: Output | None) -> float | None:
        """W; None too while the meter has not been read since an output behind it last changed."""
        power = good(view, self.power)
        if power is None or self.power is None or output is None:
            return power
        return power if view.points[self.power].at >= max(self._moved(view)) else None

    def _moved(self, view: View) -> list[float]:
        """When the contactors behind the meter last changed (monotonic s)."""
        names = (self.actuator, *(one.actuator for one in self.shared))
        return [view.outputs[name].since for name in names if name in view.outputs]

    def _daylight(self, tonight: Tonight | None, now: Now) -> bool | None:
        if tonight is None or now.civil is None or not now.known:
            return None
        at = (now.unix or 0.0) + _EARLY
        return at < tonight.daylight[0] or at >= tonight.daylight[1]

    def _resumed(self, state: CircuitState, view: View, now: Now) -> Burning | None:
        """The burn that was kept, if it has gone on without a break: after a kill, not after a power cut, whose length
        is not known."""
        was, output = state.burning, view.outputs.get(self.actuator)
        if was is None or output is None or not output.value or output.feedback is False:
            return None
        if BootShift.from_anchor(state.anchor, now).is_another(was.at) or output.since > was.at + SAME_RUN:
            return None
        return was

    def _counted(self, state: CircuitState, now: Now) -> tuple[float, float, Baseline]:
        """Seconds, energy and what is learned, with the time since the last step."""
        was = state.burning
        if was is None or now.monotonic <= was.at:
            return state.seconds, state.energy, state.baseline
        past = now.monotonic - was.at
        baseline = state.baseline if was.normal is None else state.baseline.counted(*was.normal, past)
        return state.seconds + (past if was.closed else 0.0), state.energy + was.power * past / 3600, baseline

    def _burning(self, observation: Observation, watch: Watch, now: Now) -> Burning:
        closed = bool(observation.closed)
        power = self.lamps.share(observation)
        if power is None:
            power = (self.lamps.rated or 0.0) * observation.level / 100 if closed else 0.0
        normal = None
        if observation.burning and observation.power is not None and watch.lamps_are_fine:
            normal = (observation.key, observation.power, observation.voltage)
        return Burning(now.monotonic, closed, power, normal)

    def _detail(
        self, code: str, observation: Observation, baseline: Baseline, cell: Cell, requested: RequestedLight, view: View
    ) -> Mapping[str, Any]:
        if self.on_request is not None and code in ("trigger_stuck", "sensor_fault"):
            stuck = code == "trigger_stuck"
            return {"trigger": ", ".join(self.on_request.stuck(requested) if stuck else self.on_request.lost(view))}
        if code == "local_manual":
            return {"switch": "on" if observation.manual else "off"}
        if code == "photocell_stuck":
            return {"light": cell.steady}
        if code == "undervoltage":
            return {"voltage": observation.voltage}
        expected = self.lamps.expected(observation, baseline)
        detail: dict[str, Any] = {"power": observation.power, "feedback": observation.feedback}
        if code in ("lamp_lost", "power_drop", "circuit_dead") and expected:
            detail = {"power": observation.power, "expected": round(expected, 1)}
            normal = baseline.normal(observation.key)
            power = observation.power if normal is None else self.lamps.corrected(observation, normal)
            if self.lamps.count is not None and power is not None and not observation.beside:
                detail["lamps"] = round((expected - power) * self.lamps.count / expected)
        return detail

    def _due(self, state: CircuitState, view: View, now: Now) -> float:
        found = [state.watch.due(self.least_hold)]
        if self.on_request is not None:
            found.append(self.on_request.due(state.requested, now))
        if state.burning is not None and state.burning.closed:
            found.append(next_fold(now.monotonic))
        if self.photocell is not None:
            found += [self.photocell.due(state.cell, now.monotonic), state.glow.due(now.monotonic)]
        output = view.outputs.get(self.actuator)
        if good(view, self.power) is not None and self._power(view, output) is None:
            found.append(now.monotonic + LOOK)
        if output is not None and output.value:
            settled = max(state.level_since, *self._moved(view)) + SETTLE
            found.append(settled if settled > now.monotonic else NEVER)
        if state.tonight is not None and (at := now.unix) is not None:
            marks = state.tonight.marks
            place = bisect_right(marks, at + _EARLY)
            if place < len(marks):
                found.append(now.monotonic + marks[place] - at)
        return min(found)

    # -- account -----------------------------------------------------------------------------------------------

    @property
    def points(self) -> Sequence[Point]:
        """`<circuit>.run_hours` (h), `.starts`, and `.energy` (kWh) with a meter or the rated power."""
        units = {"run_hours": "h", "starts": ""}
        if self._tells_energy:
            units["energy"] = "kWh"
        own = [Point(f"{self.name}.{what}", self.name, unit, Kind.COUNTER) for what, unit in units.items()]
        return own if self.on_request is None else [*own, *self.on_request.points]

    @property
    def _tells_energy(self) -> bool:
        return self.power is not None or self.lamps.rated is not None

    def figures(self, state: CircuitState) -> Mapping[str, float]:
        """To 0.01 h and 0.01 kWh."""
        found = {f"{self.name}.run_hours": round(state.kept_seconds / 3600, 2), f"{self.name}.starts": state.starts}
        if self._tells_energy:
            found[f"{self.name}.energy"] = round(state.kept_energy / 1000, 2)
        return found if self.on_request is None else {**found, **self.on_request.figures(state.requested.account.told)}

    def figures_now(self, state: CircuitState) -> Mapping[str, float]:
        """The cost of light on request, up to now."""
        return {} if self.on_request is None else self.on_request.figures(state.requested.account.cost)

    def mark(self, state: CircuitState) -> object:
        """The requests of this night: a crash gives no more of them."""
        return None if self.on_request is None else self.on_request.mark(state.requested)

    # -- persistence and commands ------------------------------------------------------------------------------

    def dump(self, state: CircuitState) -> dict[str, Any]:
        found = dumped(state)
        return found if self.on_request is None else found | {"requested": self.on_request.dump(state.requested)}

    def kept(self, state: CircuitState) -> object:
        """By day each reading of the meter changes the state, and seldom what is kept of it."""
        return state.requested, kept(state)

    def load(self, kept: Mapping[str, Any]) -> CircuitState:
        state = loaded(kept)
        if self.on_request is None or "requested" not in kept:
            return state
        return state._replace(requested=self.on_request.load(kept["requested"]))

    @property
    def commands(self) -> Sequence[str]:
        return (f"{self.name}.baseline", *(() if self.on_request is None else self.on_request.commands))

    def command(self, state: CircuitState, point: str, value: Value, now: Now) -> CircuitState:
        return self.timed_command(state, point, value, now, Issued())

    def timed_command(
        self, state: CircuitState, point: str, value: Value, now: Now, given: Issued
    ) -> CircuitState:
        """`<circuit>.baseline` takes "reset": after relamping the baseline is learned again. `<circuit>.on_demand`
        takes on and off."""
        if self.on_request is not None and point in self.on_request.commands:
            requested = self.on_request.command(state.requested, point, value, now.monotonic, given)
            return state._replace(requested=requested)
        check_reset(point, value)
        return state._replace(baseline=Baseline(), relamped=True)


def _shown(view: View, dimmer: str, otherwise: float) -> float:
    """% that a dimmer shows; `otherwise` while it is not known."""
    output = view.outputs.get(dimmer)
    value = None if output is None else output.value
    return float(value) if isinstance(value, int | float) else otherwise
