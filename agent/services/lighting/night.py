"""The programme of a lighting circuit, night by night: the sun, the cuts, the exceptions, the levels.

A night belongs to the day on which it starts and goes from noon to noon. All instants are in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from agent.control.calendar import DAY, Calendar
from agent.control.named_calendars import NamedCalendar
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
    """Nights with cuts of their own; `first` and `last` are nights, both included, or those of a named `calendar`.

    `on` and `off` take the place of the circuit's, where they are given.
    """

    name: str
    first: date | None
    last: date | None
    cuts: tuple[NightPart, ...] = ()
    calendar: str = ""
    on: Switch | None = None
    off: Switch | None = None


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
    hours: tuple[datetime, datetime] | None = None
    """From the switching on to the switching off, whatever cuts there are between; None: there are no such hours."""
    in_season: bool = True
    """Whether the circuit burns at this time of the year; where it does not, only an exception lights it."""

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

    A segment shorter than `min_on` is skipped; each start comes `start_delay` later. `season`: first and last night in
    the year, as month and day; it may go over the new year. None: all year.
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
    season: tuple[tuple[int, int], tuple[int, int]] | None = None

    @property
    def calendars(self) -> tuple[str, ...]:
        """The named calendars of its exceptions."""
        return tuple(dict.fromkeys(one.calendar for one in self.exceptions if one.calendar))

    def night(self, day: date, calendars: Mapping[str, NamedCalendar] = MappingProxyType({})) -> Night:
        """The night that starts on `day`. An exception by a calendar that is not known does not hold."""
        exception = next((one for one in self.exceptions if self._holds(one, day, calendars)), None)
        on = exception.on if exception is not None and exception.on is not None else self.on
        off = exception.off if exception is not None and exception.off is not None else self.off
        burns = exception is not None or self._in_season(day)
        hours = self._between(day, on, off) if burns else None
        cuts = self._parts(self.cuts if exception is None else exception.cuts, day)
        levels = tuple(self._parts(self.levels, day))
        return Night(
            day,
            self.calendar.instant(day, NOON),
            self.calendar.instant(day + DAY, NOON),
            tuple(self._segments(hours, on, off, [(start, end) for start, end, _ in cuts])),
            exception is not None,
            exception.name if exception is not None else "",
            levels,
            self._sun(day, "civil_dusk"),
            self._sun(day, "civil_dawn"),
            hours,
            burns,
        )

    def _holds(self, one: Exceptional, day: date, calendars: Mapping[str, NamedCalendar]) -> bool:
        """Whether an exception rules the night of `day`.

        One by a calendar does if that is on when the circuit goes on, or comes on while it burns. A booking that begins
        at midnight is of the day that begins then, whose night is the next one.
        """
        if not one.calendar:
            return one.first is not None and one.last is not None and one.first <= day <= one.last
        named, hours = calendars.get(one.calendar), self._between(day, one.on or self.on, one.off or self.off)
        if named is None or hours is None or not named.knows(hours[0]):
            return False
        midnight = self.calendar.instant(day + DAY, 0)
        return any(found.start != midnight for found in named.between(*hours))

    def _in_season(self, day: date) -> bool:
        if self.season is None:
            return True
        first, last = self.season
        at = day.month, day.day
        return first <= at <= last if first <= last else at >= first or at <= last

    def all_night(self, night: Night) -> float:
        """Seconds that the circuit would burn from its dusk to its dawn, and from its first to its last light where it
        burns by day as well. 0 in a night in which neither its season nor an exception lights it."""
        dark = self.dark_hours(night.day)
        spans = [(one.on, one.off) for one in night.segments]
        if dark is not None and night.in_season:
            spans.append((dark[0] + timedelta(seconds=self.start_delay), dark[1]))
        if not spans:
            return 0.0
        return max(0.0, (max(end for _, end in spans) - min(start for start, _ in spans)).total_seconds())

    def dark_hours(self, day: date) -> tuple[datetime, datetime] | None:
        """From the dusk of the circuit to its dawn."""
        on = self.on if self.on.event in _MORNING else Switch("civil_dusk")
        off = self.off if self.off.event in _MORNING.values() else Switch(_MORNING[on.event or "civil_dusk"])
        return self._between(day, on, off)

    def _between(self, day: date, on: Switch, off: Switch) -> tuple[datetime, datetime] | None:
        start, end = self._switches(day, on), self._switches(day, off)
        return None if start is None or end is None or end <= start else (start, end)

    def _sun(self, day: date, event: SunEvent) -> datetime | None:
        return night_sun(self.latitude, self.longitude, self.calendar, day, event)

    def _segments(
        self, hours: tuple[datetime, datetime] | None, by: Switch, until: Switch,
        cuts: Iterable[tuple[datetime, datetime]],
    ) -> Iterator[Segment]:  # fmt: skip
        if hours is None:
            return
        on, off = hours
        delay, shortest = timedelta(seconds=self.start_delay), timedelta(seconds=self.min_on)
        lit = [Segment(on, off, str(by), str(until), bool(by.event), bool(until.event))]
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
