"""The programme of a lighting circuit, night by night: the sun, the cuts, the exceptions, the levels.

A night belongs to the day on which it starts and goes from noon to noon. All instants are in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from agent.control.calendar import DAY, Calendar
from agent.services.lighting.sun import SunEvent, night_sun

__all__ = ["FULL", "NOON", "Exceptional", "Night", "NightPart", "Programme", "Segment", "Switch"]

NOON = 720
"""Minutes: a time before it belongs to the day after the one on which the night starts."""
FULL = 100.0
"""%: the level of lamps that are not dimmed."""
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MORNING: dict[SunEvent, SunEvent] = {"civil_dusk": "civil_dawn", "sunset": "sunrise"}


@dataclass(frozen=True, slots=True)
class Switch:
    """An event of the sun and an offset (s), or `minute` after midnight."""

    event: SunEvent | None = None
    offset: float = 0.0
    minute: int | None = None

    def __str__(self) -> str:
        return self.event or clock(self.minute or 0)


@dataclass(frozen=True, slots=True)
class NightPart:
    """A part of the night (minutes after midnight) without light, or at `level` %.

    `days`: those on which the night starts, mon to sun, public_holiday, eve_of_public_holiday; empty: every night.
    """

    start: int
    end: int
    days: tuple[str, ...] = ()
    level: float = 0.0


@dataclass(frozen=True, slots=True)
class Exceptional:
    """Nights with cuts of their own; `first` and `last` are nights, both included."""

    name: str
    first: date
    last: date
    cuts: tuple[NightPart, ...] = ()


class Segment(NamedTuple):
    """Light from `on` to `off`, and what causes the two. `sun_on`, `sun_off`: that edge is the sun's."""

    on: datetime
    off: datetime
    on_cause: str
    off_cause: str
    sun_on: bool = False
    sun_off: bool = False


class Night(NamedTuple):
    """One night of one circuit. `exception` is the name of the dated exception that rules it ("" if none)."""

    day: date
    start: datetime
    end: datetime
    segments: tuple[Segment, ...]
    exceptional: bool
    exception: str
    levels: tuple[tuple[datetime, datetime, float], ...]
    dusk: datetime | None
    dawn: datetime | None
    """Civil; None: the sun stays above it."""

    def is_lit(self, at: datetime) -> tuple[bool, str]:
        """Whether the lamps burn by the programme, and what caused that."""
        cause = "day"
        for one in self.segments:
            if at < one.on:
                break
            if at < one.off:
                return True, one.on_cause
            cause = one.off_cause
        return False, cause

    def level(self, at: datetime) -> float:
        """%: how bright the lamps are while they burn."""
        found = self.step(at)
        return FULL if found is None else found

    def step(self, at: datetime) -> float | None:
        """%: the level of the dimming step that holds; None: none does."""
        return next((level for start, end, level in self.levels if start <= at < end), None)

    def seconds(self) -> float:
        """How long the lamps burn."""
        return sum((one.off - one.on).total_seconds() for one in self.segments)

    def full_seconds(self) -> float:
        """The same at full level: what counts for energy, which is taken to be proportional to the level."""
        saved = 0.0
        for one in self.segments:
            for start, end, level in self.levels:
                overlap = (min(one.off, end) - max(one.on, start)).total_seconds()
                saved += max(0.0, overlap) * (FULL - level) / FULL
        return self.seconds() - saved


@dataclass(frozen=True, slots=True)
class Programme:
    """The hours of a circuit. `min_on` and `start_delay` in seconds.

    A segment shorter than `min_on` is skipped; each start comes `start_delay` later.
    """

    calendar: Calendar
    latitude: float
    longitude: float
    on: Switch
    off: Switch
    cuts: tuple[NightPart, ...] = ()
    exceptions: tuple[Exceptional, ...] = ()
    levels: tuple[NightPart, ...] = ()
    min_on: float = 900.0
    start_delay: float = 0.0

    def night(self, day: date) -> Night:
        """The night that starts on `day`."""
        exception = next((one for one in self.exceptions if one.first <= day <= one.last), None)
        cuts = self._parts(self.cuts if exception is None else exception.cuts, day)
        levels = tuple(self._parts(self.levels, day))
        return Night(
            day,
            self.calendar.instant(day, NOON),
            self.calendar.instant(day + DAY, NOON),
            tuple(self._segments(day, [(start, end) for start, end, _ in cuts])),
            exception is not None,
            exception.name if exception is not None else "",
            levels,
            self._sun(day, "civil_dusk"),
            self._sun(day, "civil_dawn"),
        )

    def all_night(self, day: date) -> float:
        """Seconds that the same circuit would burn from its dusk to its dawn."""
        found = self.dark_hours(day)
        return 0.0 if found is None else max(0.0, (found[1] - found[0]).total_seconds() - self.start_delay)

    def dark_hours(self, day: date) -> tuple[datetime, datetime] | None:
        """From the dusk of the circuit to its dawn."""
        on = self.on if self.on.event in _MORNING else Switch("civil_dusk")
        off = self.off if self.off.event in _MORNING.values() else Switch(_MORNING[on.event or "civil_dusk"])
        return self._between(day, on, off)

    def hours(self, day: date) -> tuple[datetime, datetime] | None:
        """From the circuit's switching on to its switching off, whatever cuts there are between."""
        return self._between(day, self.on, self.off)

    def _between(self, day: date, on: Switch, off: Switch) -> tuple[datetime, datetime] | None:
        start, end = self._switches(day, on), self._switches(day, off)
        return None if start is None or end is None or end <= start else (start, end)

    def _sun(self, day: date, event: SunEvent) -> datetime | None:
        return night_sun(self.latitude, self.longitude, self.calendar, day, event)

    def _segments(self, day: date, cuts: Iterable[tuple[datetime, datetime]]) -> Iterator[Segment]:
        found = self.hours(day)
        if found is None:
            return
        on, off = found
        delay, shortest = timedelta(seconds=self.start_delay), timedelta(seconds=self.min_on)
        lit = [Segment(on, off, str(self.on), str(self.off), bool(self.on.event), bool(self.off.event))]
        for cut in cuts:
            lit = [piece for segment in lit for piece in _without(segment, *cut)]
        for segment in lit:
            if segment.off - segment.on - delay >= shortest:
                yield segment._replace(on=segment.on + delay)

    def _switches(self, day: date, switch: Switch) -> datetime | None:
        if switch.event is None:
            return self._time(day, switch.minute or 0)
        found = self._sun(day, switch.event)
        return None if found is None else found + timedelta(seconds=switch.offset)

    def _time(self, day: date, minute: int) -> datetime:
        return self.calendar.instant(day if minute >= NOON else day + DAY, minute)

    def _parts(self, parts: Sequence[NightPart], day: date) -> Iterator[tuple[datetime, datetime, float]]:
        """The parts that hold in this night: those of the most particular of its days."""
        for part in _chosen(parts, self._words(day)):
            yield self._time(day, part.start), self._time(day, part.end), part.level

    def _words(self, day: date) -> Iterator[str]:
        """The names of this night in a rule, the most particular first."""
        if self.calendar.is_eve(day):
            yield "eve_of_public_holiday"
        if self.calendar.is_public_holiday(day):
            yield "public_holiday"
        yield _WEEKDAYS[day.weekday()]


def _chosen(parts: Sequence[NightPart], words: Iterable[str]) -> list[NightPart]:
    for word in words:
        found = [part for part in parts if word in part.days]
        if found:
            return found
    return [part for part in parts if not part.days]


def _without(segment: Segment, start: datetime, end: datetime) -> Iterator[Segment]:
    """The parts of a segment that a cut leaves."""
    if end <= segment.on or start >= segment.off or end <= start:
        yield segment
        return
    if segment.on < start:
        yield segment._replace(off=start, off_cause="part_night_off", sun_off=False)
    if end < segment.off:
        yield segment._replace(on=end, on_cause="end of part_night_off", sun_on=False)


def clock(minute: int) -> str:
    """23:00, of minutes after midnight."""
    return f"{minute // 60:02}:{minute % 60:02}"
