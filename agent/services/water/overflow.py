"""The overflows of a lift station, for the self-monitoring of sewers: when each began and ended, and how much it was.

The arrêté du 21 juillet 2015 (art. 17 II) wants the time of overflow of each day and an estimate of what flowed. So a
beginning outlives a kill, a power cut and a clock that is not known, and what was not seen is said.

An overflow lasts from the first moment at which the contact is on to the last one. A pause that is shorter than `gap`
belongs to it: a float that dances on the crest is one overflow. Times are monotonic seconds; those of an earlier boot
may be below 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from agent.control.api import NEVER, Now, View, fields, good, updated
from agent.control.boot_time import BootShift
from agent.control.calendar import DAY, Calendar

__all__ = ["Overflow", "OverflowFlow", "OverflowState", "minutes_of", "record", "see_overflow", "text_of"]

GRID = 60.0
"""Seconds: on this grid an overflow that goes on is brought up to date, and kept."""
UNSEEN = 120.0
"""Seconds without a good reading of the contact during an overflow that are said. A restart of the agent is shorter."""
SECOND = 1.0
"""An end so shortly after midnight is of the day that is over: its time is logged to the second."""
MOST = 600
"""Overflows of two days that are told apart; more are counted together."""


@dataclass(frozen=True, slots=True)
class OverflowFlow:
    """How much overflows: a flow (`litres` a second are one of its units), or with `counts` a counter (litres)."""

    point: str
    litres: float
    counts: bool = False


@dataclass(frozen=True, slots=True)
class Overflow:
    """`signal` is the contact; `gap` the pause (s) that ends an overflow."""

    signal: str
    flow: OverflowFlow | None = None
    gap: float = 300.0


@dataclass(frozen=True, slots=True)
class OverflowState:
    """The present overflow, from `begin` (None: there is none) to `seen`, the last moment at which it was known, and
    those before it."""

    begin: float | None = None
    seen: float = 0.0
    unseen: float = 0.0
    """Seconds of it in which the contact was not known."""
    is_on: bool | None = None
    """The contact at the last look; None: not known."""
    litres: float = 0.0
    """Its volume so far, and how long (s) its flow was not known."""
    unmeasured: float = 0.0
    seen_litres: float = 0.0
    """Both up to `seen`: what flows after the last moment of an overflow is none of it."""
    seen_unmeasured: float = 0.0
    flow: float | None = None
    """The last flow (litres a second) or count (litres), and when that was."""
    flow_at: float = 0.0
    last: tuple[float, float] | None = None
    """The one before it, from and to."""
    last_litres: float = 0.0
    recent: tuple[tuple[float, float], ...] = ()
    """The overflows of today and yesterday that are over."""
    count: int = 0
    """All that ever ended, and what they were together (litres)."""
    total: float = 0.0
    today: str = ""
    """The day that is now; empty: the time is not known."""
    until: tuple[float, float] | None = None
    """By which anchor that is so, and how long; not kept."""
    undated: float | None = None
    """While the time is not known after a reboot: the anchor of the boot before, by which times before `back` go."""
    back: float = 0.0

    @property
    def span(self) -> tuple[float, float] | None:
        """The present overflow, else the last one."""
        return self.last if self.begin is None else (self.begin, self.seen)

    def dump(self) -> dict[str, Any]:
        kept = fields(self) | {"last": self.last and list(self.last), "recent": [list(one) for one in self.recent]}
        del kept["is_on"], kept["until"]
        return kept

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> OverflowState:
        last = kept["last"]
        recent = tuple((float(begin), float(end)) for begin, end in kept["recent"])
        return cls(**{**kept, "last": None if last is None else (float(last[0]), float(last[1])), "recent": recent})

    def restored(self, spec: Overflow, by: BootShift, anchor: float | None, known: bool) -> OverflowState:
        """The state with the times of this boot, of which `anchor` is the anchor.

        How long a power cut lasted is not known before the time is: then the times are put right once more.
        """
        if not by.seconds:
            return self._unmeasured_since(spec.flow) if by.now - max(self.seen, self.flow_at) > UNSEEN else self
        state = self._unmeasured_since(spec.flow)._moved(by.seconds, NEVER, by.now)
        return replace(state, undated=None if known else anchor, back=by.now)

    def _unmeasured_since(self, flow: OverflowFlow | None) -> OverflowState:
        """The flow is not known from the last moment that was kept; a counter goes on where it was."""
        if flow is None or flow.counts or self.begin is None or self.flow is None:
            return self
        until = max(self.seen, self.flow_at)
        return replace(self, flow=None, flow_at=until, litres=self.litres + self.flow * (until - self.flow_at))

    def dated(self, spec: Overflow, anchor: float | None, known: bool) -> OverflowState:
        """Put the times of the boot before right, once the time is known."""
        if self.undated is None or anchor is None or not known:
            return self
        state = replace(self._moved(self.undated - anchor, self.back, self.back), undated=None)
        off = anchor - self.undated
        if self.begin is None or not self.begin <= self.back < self.seen or off <= UNSEEN:
            return state
        state = replace(state, unseen=state.unseen + off)
        if spec.flow is None or spec.flow.counts or self.flow_at <= self.back:
            return state
        return replace(state, unmeasured=state.unmeasured + off, seen_unmeasured=state.seen_unmeasured + off)

    def _moved(self, by: float, until: float, most: float) -> OverflowState:
        """Move the times up to `until`; they are no later than `most` then."""

        def moved(at: float) -> float:
            return min(at + by, most) if at <= until else at

        return replace(
            self, begin=None if self.begin is None else moved(self.begin), seen=moved(self.seen),
            flow_at=moved(self.flow_at), last=None if self.last is None else (moved(self.last[0]), moved(self.last[1])),
            recent=tuple((moved(begin), moved(end)) for begin, end in self.recent),
        )  # fmt: skip


def see_overflow(
    spec: Overflow, state: OverflowState, view: View, calendar: Calendar, anchor: float | None, now: Now
) -> tuple[OverflowState, tuple[float, float] | None, float]:
    """The state after a look at the contact, the overflow that is over (from and to) if one is, and when to look
    again. `anchor` is Unix seconds at monotonic 0, if that is known."""
    state, midnight = _turn_day(state.dated(spec, anchor, now.known), calendar, anchor, now)
    state, over, due = _see_contact(spec, state, view, now.monotonic)
    return state, over, min(midnight, due)


def _see_contact(
    spec: Overflow, state: OverflowState, view: View, at: float
) -> tuple[OverflowState, tuple[float, float] | None, float]:
    value = good(view, spec.signal)
    if value is None:
        return _measured(spec.flow, updated(state, is_on=None), view, at), None, NEVER
    read_at = min(view.points[spec.signal].at, at)
    if value:
        if state.begin is None:
            began = read_at if state.is_on is not None else at
            state = replace(state, begin=began, seen=began, unseen=0.0, litres=0.0, unmeasured=0.0, flow=None)
            state = replace(state, seen_litres=0.0, seen_unmeasured=0.0, flow_at=began)
        before = state.seen
        state = _measured(spec.flow, updated(_goes_on(state, at), is_on=True), view, at)
        return (state if state.seen == before else _settled(spec.flow, state)), None, (at // GRID + 1) * GRID
    if state.begin is not None and state.is_on:
        state = replace(state, seen=max(state.seen, read_at))
        state = _settled(spec.flow, _measured(spec.flow, state, view, max(read_at, state.flow_at)))
    state = updated(state, is_on=False)
    if state.begin is None:
        return state, None, NEVER
    over = (state.begin, state.seen)
    state = _measured(spec.flow, state, view, at)
    if at < state.seen + spec.gap:
        return state, None, state.seen + spec.gap
    if spec.flow is not None and spec.flow.counts:  # read late, it is of this overflow all the same
        state = replace(state, seen_litres=state.litres)
    return _ended(state, over), over, NEVER


def _goes_on(state: OverflowState, at: float) -> OverflowState:
    """It was seen again: what lies between counts, and is said if it was long."""
    if state.is_on is None and at - state.seen > UNSEEN:
        return replace(state, seen=at, unseen=state.unseen + at - state.seen)
    return replace(state, seen=at) if state.is_on is not True or state.seen // GRID != at // GRID else state


def _measured(flow: OverflowFlow | None, state: OverflowState, view: View, at: float) -> OverflowState:
    """Add what flowed since the last look. A counter that was not known for a while counts on all the same."""
    if flow is None or state.begin is None:
        return state
    value, found = good(view, flow.point), view.points.get(flow.point)
    if value is None or found is None or found.doubted:
        if flow.counts or state.flow is None:
            return state
        return replace(state, flow=None, flow_at=at, litres=state.litres + state.flow * (at - state.flow_at))
    now = value * flow.litres
    if state.flow is None:
        return replace(state, flow=now, flow_at=at, unmeasured=state.unmeasured + at - state.flow_at)
    if now == state.flow and (flow.counts or at - state.flow_at < GRID):
        return state
    more = max(0.0, now - state.flow) if flow.counts else state.flow * (at - state.flow_at)
    return replace(state, flow=now, flow_at=at, litres=state.litres + more)


def _settled(flow: OverflowFlow | None, state: OverflowState) -> OverflowState:
    """Note the volume up to `seen`, at which the contact was on."""
    if flow is None:
        return state
    past = max(0.0, state.seen - state.flow_at)
    litres, unmeasured = state.litres, state.unmeasured
    if state.flow is None:
        unmeasured += past
    elif not flow.counts:
        litres += state.flow * past
    return replace(state, seen_litres=litres, seen_unmeasured=unmeasured)


def _ended(state: OverflowState, over: tuple[float, float]) -> OverflowState:
    recent = (*state.recent, over)
    if len(recent) > MOST:
        (one, until), (begin, end), *others = recent
        recent = ((one, until + end - begin), *others)
    return replace(
        state, begin=None, last=over, last_litres=state.seen_litres, recent=recent, count=state.count + 1,
        total=state.total + state.seen_litres, unmeasured=state.seen_unmeasured,
    )  # fmt: skip


def _turn_day(
    state: OverflowState, calendar: Calendar, anchor: float | None, now: Now
) -> tuple[OverflowState, float]:
    """The day that is now, without what ended before yesterday; and when it is over."""
    if anchor is None or now.civil is None or now.reached is None:
        return state, NEVER
    if state.until is not None and state.until[0] == anchor and now.monotonic < state.until[1]:
        return state, state.until[1]
    today = calendar.day(now.reached)
    if state.today != today.isoformat():
        begin = calendar.instant(today - DAY, 0).timestamp() - anchor
        recent = tuple(one for one in state.recent if one[1] >= begin)
        state = replace(state, today=today.isoformat(), recent=recent)
    midnight = now.monotonic + (calendar.instant(today + DAY, 0) - now.civil.astimezone(UTC)).total_seconds()
    return replace(state, until=(anchor, midnight)), midnight


def minutes_of(state: OverflowState, day: date, calendar: Calendar, anchor: float) -> float:
    """The minutes of overflow of a day, for which `recent` must still be known."""
    spans = state.recent if state.begin is None else (*state.recent, (state.begin, state.seen))
    if not spans:
        return 0.0
    begin, end = (calendar.instant(one, 0).timestamp() - anchor for one in (day, day + DAY))
    return round(sum(max(0.0, min(end, to) - max(begin, since)) for since, to in spans) / 60, 2)


def text_of(at: float, calendar: Calendar, anchor: float | None) -> str | None:
    """A moment as ISO 8601 in site time; None: the time is not known."""
    if anchor is None:
        return None
    return datetime.fromtimestamp(anchor + at, UTC).astimezone(calendar.zone).isoformat(timespec="seconds")


def record(
    spec: Overflow, state: OverflowState, over: tuple[float, float], calendar: Calendar, anchor: float | None
) -> dict[str, Any]:
    """The entry of the log for an overflow that has just ended: `state` is that after it."""
    begin, end = over
    entry: dict[str, Any] = {
        "begin": text_of(begin, calendar, anchor), "end": text_of(end, calendar, anchor),
        "seconds": round(end - begin, 1), "day_minutes": None,
    }  # fmt: skip
    if anchor is not None:
        day = calendar.day(datetime.fromtimestamp(anchor + max(begin, end - SECOND), UTC))
        entry["day_minutes"] = minutes_of(state, day, calendar, anchor)
    if state.unseen:
        entry["unseen_s"] = round(state.unseen, 1)
    if spec.flow is not None:
        entry["m3"] = round(state.last_litres / 1000, 3)
        if state.unmeasured >= 1:
            entry["unmeasured_s"] = round(state.unmeasured, 1)
    return entry
