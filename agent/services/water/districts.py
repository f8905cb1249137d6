"""A district of the network: what goes in, what goes out, what its storage keeps, and how much flows at night. Pure.

It moves nothing. Each midnight gives the balance of the day, each night its flow, which is compared with the median of
the nights before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date
from operator import is_not
from statistics import median
from typing import Any, NamedTuple

from agent.control.alarm_state import alarm_changes
from agent.control.api import NEVER, Happening, Now, Step, View, check_reset, fields, lost_points, updated
from agent.control.boot_time import BootShift, boot_anchor
from agent.control.calendar import DAY, Calendar
from agent.control.spell import FOLD, next_fold
from agent.model import Kind, Point, Severity, Value
from agent.services.water.cuts import AROUND, Amounts, Cut, DistrictMeter, MeterTotal, Storage, StoredVolume

__all__ = ["District", "DistrictState", "NightAlarm"]

MIDNIGHT, BEGIN, END = "midnight", "begin", "end"
LATE = 6 * 3600.0
"""Seconds between the readings around a midnight at the most. A night has less: its own length."""
LOOK = 30.0
"""Seconds between two looks at inputs around a cut: one that does not change wakes no control."""
LEAST = 3
"""Nights without which there is no median to compare with, or half of `nights`, if that is more."""
SLEWED = 5.0
"""Seconds by which a cut may move with the clock and stay the same."""
CLOCK = "the clock"
"""Why a cut is lost that a step of the clock passed over: no input is to blame."""
CUBIC = 1000.0

SEVERITIES = {"leak_night": Severity.MAJOR, "sensor_fault": Severity.MINOR}


@dataclass(frozen=True, slots=True)
class NightAlarm:
    """A night is a leak's whose flow is more than `above` (L/h) over the median of the last `nights` nights."""

    above: float
    nights: int = 14

    @property
    def least(self) -> int:
        """How many nights must be known before one is judged."""
        return max(LEAST, self.nights // 2)


@dataclass(frozen=True, slots=True)
class DayBalance:
    """The volumes of one day, in litres."""

    day: str
    inflow: float
    outflow: float
    growth: float

    @property
    def balance(self) -> float:
        return self.inflow - self.outflow - self.growth

    @property
    def share(self) -> float | None:
        """The yield: what went out, as a percentage of what was there to go out."""
        distributed = self.inflow - self.growth
        return 100 * self.outflow / distributed if distributed > 0 else None


class DistrictState(NamedTuple):
    """Times are monotonic seconds, volumes litres. `anchor` is Unix seconds at monotonic 0."""

    meters: tuple[MeterTotal, ...]
    stored: StoredVolume = StoredVolume()
    cuts: tuple[Cut, ...] = ()
    """The next ones, and those that not all readings have come for."""
    midnight: Amounts | None = None
    """The last midnight, where the day that is now began."""
    balance: DayBalance | None = None
    """The volumes of the last whole day; None: they are not known."""
    dusk: Amounts | None = None
    """The beginning of the last night."""
    flow: float | None = None
    """The flow of the last night (L/h); None: it is not known."""
    nights: tuple[float, ...] = ()
    """The flows of the last nights without a leak."""
    leak: float | None = None
    """The median that the last night was above; None: it was not."""
    lost: str = ""
    """The input that the last cut lacked; empty: none."""
    raised: frozenset[str] = frozenset()
    anchor: float | None = None
    planned: tuple[float | None, float] = (None, 0.0)
    """The anchor by which the cuts were planned, and until when that is right; not kept."""
    kept: tuple[tuple[MeterTotal, ...], StoredVolume] | None = None
    """Meters and storage as they go to flash."""
    counts_each: bool = True
    """Each reading counts, for a cut is near, or not all was read well at the last look; not kept."""
    restored: bool = False
    """The state comes from flash: its times may be those of another boot."""


@dataclass(frozen=True, slots=True)
class District:
    """The control of one district. `night` is from and to, in minutes after midnight (over 1440: the next day)."""

    name: str
    calendar: Calendar
    inflows: tuple[DistrictMeter, ...]
    outflows: tuple[DistrictMeter, ...] = ()
    storage: Storage | None = None
    night: tuple[int, int] = (120, 240)
    alarm: NightAlarm | None = None
    inputs: frozenset[str] = field(init=False)
    _read: tuple[str, ...] = field(init=False, repr=False)
    meters: tuple[str, ...] = field(init=False)
    """The signals or points of all its meters. They are looked at on a grid (`FOLD`), and around a cut at each of their
    readings; what they show is kept as often."""

    def __post_init__(self) -> None:
        level = () if self.storage is None else (self.storage.level,)
        object.__setattr__(self, "meters", tuple(meter.name for meter in (*self.inflows, *self.outflows)))
        object.__setattr__(self, "_read", (*self.meters, *level))
        object.__setattr__(self, "inputs", frozenset(self._read))

    # -- state -------------------------------------------------------------------------------------------------

    def initial(self) -> DistrictState:
        return DistrictState((MeterTotal(),) * len(self.meters))

    @property
    def _parts(self) -> list[Any]:
        """The settings that the volumes depend on: after a change of them they are counted anew."""
        storage = None if self.storage is None else [self.storage.level, self.storage.capacity]
        return [[one.name for one in self.inflows], [one.name for one in self.outflows], storage, list(self.night)]

    def dump(self, state: DistrictState) -> dict[str, Any]:
        meters, stored = state.kept or (state.meters, state.stored)
        return {
            "parts": self._parts, "meters": [meter.dump() for meter in meters], "stored": fields(stored),
            "cuts": [cut.dump() for cut in state.cuts],
            "midnight": _dumped(state.midnight), "balance": _dumped(state.balance), "dusk": _dumped(state.dusk),
            "flow": state.flow, "nights": list(state.nights), "leak": state.leak, "lost": state.lost,
            "raised": sorted(state.raised), "anchor": state.anchor,
        }  # fmt: skip

    def kept(self, state: DistrictState) -> object:
        """Each pulse changes the state, and what is kept of it changes on a grid."""
        return (
            state.kept or (state.meters, state.stored), state.cuts, state.midnight, state.balance, state.dusk,
            state.flow, state.nights, state.leak, state.lost, state.raised, state.anchor,
        )  # fmt: skip

    def load(self, kept: Mapping[str, Any]) -> DistrictState:
        if kept["parts"] != self._parts:
            return self.initial()._replace(raised=frozenset(kept["raised"]) & SEVERITIES.keys())
        amounts = {key: None if kept[key] is None else Amounts(**kept[key]) for key in ("midnight", "dusk")}
        state = DistrictState(
            tuple(map(MeterTotal.load, kept["meters"])), StoredVolume(**kept["stored"]),
            tuple(map(Cut.load, kept["cuts"])), amounts["midnight"],
            None if kept["balance"] is None else DayBalance(**kept["balance"]), amounts["dusk"], kept["flow"],
            tuple(map(float, kept["nights"])), kept["leak"], kept["lost"], frozenset(kept["raised"]), kept["anchor"],
            restored=True,
        )  # fmt: skip
        return state if self.alarm is not None else state._replace(leak=None)

    def _shifted(self, state: DistrictState, now: Now) -> DistrictState:
        by = BootShift.from_anchor(state.anchor, now)
        if not by.seconds:
            return state._replace(restored=False)
        cuts = tuple(cut.shifted(by) for cut in state.cuts)
        return state._replace(
            restored=False, meters=tuple(replace(one, at=by.past(one.at)) for one in state.meters),
            stored=state.stored._replace(at=by.past(state.stored.at)), cuts=cuts,
            midnight=None if state.midnight is None else state.midnight.shifted(by),
            dusk=None if state.dusk is None else state.dusk.shifted(by),
        )  # fmt: skip

    def swapped(
        self, state: DistrictState, meter: str, index: float, before: float | None = None
    ) -> DistrictState | None:
        """The totals go on from the new meter's index, after what the old one counted up to `before`."""
        if meter not in self.meters:
            return None
        place = self.meters.index(meter)
        spec, known = (*self.inflows, *self.outflows)[place], state.meters[place]
        if known.count is None:
            return state
        grown = 0.0 if before is None else max(0.0, round(before * spec.litres, 3) - known.count)
        swapped = replace(known, count=round(index * spec.litres, 3), total=known.total + grown, trail=None)
        return state._replace(meters=(*state.meters[:place], swapped, *state.meters[place + 1 :]), kept=None)

    @property
    def commands(self) -> Sequence[str]:
        return () if self.alarm is None else (f"{self.name}.baseline",)

    def command(self, state: DistrictState, point: str, value: Value, _now: Now) -> DistrictState:
        """`<name>.baseline` takes "reset": the flow of the nights is learnt anew."""
        check_reset(point, value)
        return state._replace(nights=(), leak=None)

    # -- account -----------------------------------------------------------------------------------------------

    @property
    def points(self) -> Sequence[Point]:
        """The last whole day (m3; its date is `<name>.day`), the last night, and the median of the nights (m3/h)."""
        units = {"day": "", "in": "m3", "balance": "m3", "night_flow": "m3/h"}
        units |= {"out": "m3", "yield": "%"} if self.outflows else {}
        units |= {"growth": "m3"} if self.storage is not None else {}
        units |= {"night_median": "m3/h"} if self.alarm is not None else {}
        return [Point(f"{self.name}.{what}", self.name, unit, Kind.TELEMETRY) for what, unit in units.items()]

    def figures(self, state: DistrictState) -> Mapping[str, float]:
        found: dict[str, float | None] = {"night_flow": _cubic(state.flow), "night_median": _cubic(self._median(state))}
        day = state.balance
        if day is not None:
            found |= {"in": _cubic(day.inflow), "balance": _cubic(day.balance)}
        if day is not None and self.storage is not None:
            found["growth"] = _cubic(day.growth)
        if day is not None and self.outflows:
            share = day.share
            found |= {"out": _cubic(day.outflow), "yield": None if share is None else round(share, 2)}
        return {f"{self.name}.{what}": value for what, value in found.items() if value is not None}

    def facts(self, state: DistrictState) -> Mapping[str, Value]:
        return {} if state.balance is None else {f"{self.name}.day": state.balance.day}

    def _median(self, state: DistrictState) -> float | None:
        """The usual flow of a night (L/h); None: too few nights are known."""
        if self.alarm is None or len(state.nights) < self.alarm.least:
            return None
        return median(state.nights)

    # -- step --------------------------------------------------------------------------------------------------

    def step(self, state: DistrictState, view: View, now: Now) -> Step[DistrictState]:
        if state.restored:
            state = self._shifted(state, now)
        state = updated(state, anchor=boot_anchor(state.anchor, now))
        state = self._plan(state, now)
        state, happenings = self._see(state, view, now.monotonic)
        state, due = self._settle(state, now.monotonic)
        raised, alarms = alarm_changes(self.name, state.raised, self._standing(state), SEVERITIES)
        is_near = any(now.monotonic >= cut.at - AROUND for cut in state.cuts)
        counts_each = is_near or self._has_dials or bool(lost_points(view, self._read))
        if not counts_each:
            due = min(due, next_fold(now.monotonic))
        return Step(updated(state, raised=raised, counts_each=counts_each), (), [*happenings, *alarms], due)

    def alike(self, state: DistrictState, _view: View) -> bool:
        """Between the cuts: there an index counts by what it is at the next look."""
        return not state.counts_each

    @property
    def _has_dials(self) -> bool:
        """Whether a meter is a point of a device: of another meter in its place each reading tells."""
        return any(meter.dial is not None for meter in (*self.inflows, *self.outflows))

    def _plan(self, state: DistrictState, now: Now) -> DistrictState:
        """The next cut of each kind, and all of them at their times as the clock says them now."""
        if now.civil is None or now.reached is None:
            return state
        if state.planned[0] == state.anchor and now.monotonic < state.planned[1]:
            return state
        days = {kind: self._next(now, minute) for kind, minute in self._minutes.items()}
        known = {(cut.kind, cut.day): cut for cut in state.cuts}
        for kind, day in days.items():
            nothing = (None,) * len(state.meters)
            known.setdefault((kind, day.isoformat()), Cut(kind, day.isoformat(), NEVER, nothing))
        cuts = [self._timed(cut, now) for cut in known.values()]
        ahead = min(cut.at for cut in cuts if days[cut.kind].isoformat() == cut.day)
        return state._replace(cuts=tuple(sorted(cuts, key=lambda cut: cut.at)), planned=(state.anchor, ahead))

    @property
    def _minutes(self) -> dict[str, int]:
        """When the cuts of each kind are, in minutes after midnight."""
        return {MIDNIGHT: 0, BEGIN: self.night[0], END: self.night[1]}

    def _timed(self, cut: Cut, now: Now) -> Cut:
        """A cut at its time. One that a step of the clock moved begins anew, or was passed over."""
        assert now.civil is not None
        instant = self.calendar.instant(date.fromisoformat(cut.day), self._minutes[cut.kind])
        at = now.monotonic + (instant - now.civil.astimezone(UTC)).total_seconds()
        if abs(at - cut.at) <= SLEWED:
            return cut._replace(at=at)
        passed = CLOCK if at < now.monotonic < cut.at < NEVER else ""
        return Cut(cut.kind, cut.day, at, (None,) * len(cut.totals), lost=passed)

    def _next(self, now: Now, minute: int) -> date:
        """The first day of which this minute is still to come."""
        assert now.reached is not None
        day = self.calendar.day(now.reached) - 2 * DAY
        while self.calendar.instant(day, minute) <= now.reached:
            day += DAY
        return day

    def _limit(self, cut: Cut) -> float:
        """Seconds between two readings around this cut at the most."""
        return LATE if cut.kind == MIDNIGHT else min(LATE, 60.0 * (self.night[1] - self.night[0]))

    def _see(self, state: DistrictState, view: View, now: float) -> tuple[DistrictState, list[Happening]]:
        """Read all inputs, and note what they show at the cuts."""
        happenings, meters, is_near = [], [], False
        for meter, before in zip((*self.inflows, *self.outflows), state.meters, strict=True):
            after, verdict = before.read(meter, view)
            meters.append(after)
            if verdict:
                detail = {"meter": meter.name, "index": after.count, "before": before.count}
                happenings.append(Happening("change", f"meter_{verdict}", self.name, Severity.INFO, detail))
        stored = state.stored.read(self.storage, view)
        cuts = state.cuts
        for place, cut in enumerate(cuts):
            if now >= cut.at - AROUND:
                is_near, limit = True, self._limit(cut) + FOLD  # the last one before an outage is known to `FOLD`
                cut = cut.meters_seen(self.meters, state.meters, meters, limit)
                if self.storage is not None:
                    cut = cut.level_seen(self.storage.level, state.stored, stored, limit)
                cuts = (*cuts[:place], cut, *cuts[place + 1 :])
        if is_near or stored is not state.stored or any(map(is_not, meters, state.meters)):
            state = updated(state, meters=tuple(meters), stored=stored, cuts=cuts)
        if state.kept is None or is_near or _is_old(state.kept[0], meters, now):
            state = updated(state, kept=(state.meters, state.stored))
        return state, happenings

    def _settle(self, state: DistrictState, now: float) -> tuple[DistrictState, float]:
        """Take what is complete or lost; and when to look again."""
        due = NEVER
        for cut in state.cuts:
            if now < cut.at - AROUND and not cut.lost:
                due = min(due, cut.at - AROUND)
                continue
            missing = cut.missing(self.meters, self.storage)
            late = cut.at + self._limit(cut) + 2 * AROUND
            if not missing and not cut.lost:
                state = self._finish(state._replace(lost=""), cut, cut.amounts(len(self.inflows)))
            elif cut.lost or now >= late:
                lost = cut.lost or missing
                state = self._finish(state._replace(lost="" if lost == CLOCK else lost), cut, None)
            else:
                due = min(due, now + LOOK, late)
                continue
            state = state._replace(cuts=tuple(one for one in state.cuts if one is not cut))
        return state, min(due, state.planned[1]) if state.planned[1] > now else due

    def _finish(self, state: DistrictState, cut: Cut, amounts: Amounts | None) -> DistrictState:
        if cut.kind == MIDNIGHT:
            before = state.midnight
            is_whole = before is not None and date.fromisoformat(before.day) + DAY == date.fromisoformat(cut.day)
            balance = None
            if before is not None and amounts is not None and is_whole:
                balance = DayBalance(
                    before.day, amounts.inflow - before.inflow, amounts.outflow - before.outflow,
                    amounts.stored - before.stored,
                )  # fmt: skip
            return state._replace(midnight=amounts, balance=balance)
        if cut.kind == BEGIN:
            return state._replace(dusk=amounts)
        begin = state.dusk
        if begin is None or amounts is None or begin.day != cut.day or amounts.at <= begin.at:
            return state._replace(flow=None)
        litres = (amounts.inflow - begin.inflow) - (amounts.outflow - begin.outflow) - (amounts.stored - begin.stored)
        return self._judge(state, litres * 3600 / (amounts.at - begin.at))

    def _judge(self, state: DistrictState, flow: float) -> DistrictState:
        """A night is compared with those before it, and is one of them if it is no leak's."""
        state, usual = state._replace(flow=flow), self._median(state)
        if self.alarm is None:
            return state
        if usual is not None and flow > usual + self.alarm.above:
            return state._replace(leak=usual)
        return state._replace(leak=None, nights=(*state.nights, flow)[-self.alarm.nights :])

    def _standing(self, state: DistrictState) -> dict[str, dict[str, Any] | None]:
        found: dict[str, dict[str, Any] | None] = {}
        if state.leak is not None:
            found["leak_night"] = {"flow": _cubic(state.flow), "median": _cubic(state.leak)}
        if state.lost:
            found["sensor_fault"] = {"signal": state.lost, "reason": "the balance is not known"}
        return found


def _is_old(kept: Sequence[MeterTotal], meters: Sequence[MeterTotal], now: float) -> bool:
    """Whether a meter was read since it was kept, and that was not on the present part of the grid."""
    return any(one.at != two.at and one.at // FOLD != now // FOLD for one, two in zip(kept, meters, strict=True))


def _dumped(one: Amounts | DayBalance | None) -> dict[str, Any] | None:
    return None if one is None else fields(one)


def _cubic(litres: float | None) -> float | None:
    """Cubic metres of litres."""
    return None if litres is None else round(litres / CUBIC, 3) + 0.0  # no -0
