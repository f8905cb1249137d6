"""Days: local times through the changes of the clock, public holidays and their eves, French school holidays.

All instants are aware datetimes in UTC: two of them may be compared and subtracted on any night of the year, which
two civil times of one timezone may not.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

__all__ = ["DAY", "MOVABLE", "SCHOOL_TABLE_ENDS", "WINTER", "Calendar", "GivenHolidays", "winter"]

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
WINTER = frozenset({11, 12, 1, 2, 3})
"""The months of winter in the north: an outdoor sensor that fails in them counts as frost."""
_SOUTHERN_WINTER = frozenset({5, 6, 7, 8, 9})
MOVABLE = {"good_friday": -2, "easter_monday": 1, "ascension": 39, "whit_monday": 50}
"""Days after Easter Sunday."""
PREPARED = range(2024, 2050)
"""The years of which a calendar may hold the public holidays itself."""


def winter(latitude: float | None) -> frozenset[int]:
    """The months of winter at that latitude (degrees, below 0 in the south; None: not known, the north)."""
    return _SOUTHERN_WINTER if latitude is not None and latitude < 0 else WINTER


@dataclass(frozen=True, slots=True)
class GivenHolidays:
    """Tables of a site's own, which win over the package's.

    `school` are the first and last days of school holidays, in order: they hold from the first of them on. `public`
    are the public holidays of the `years` in it.
    """

    school: tuple[tuple[date, date], ...] = ()
    public: frozenset[date] = frozenset()

    @property
    def years(self) -> frozenset[int]:
        return frozenset(day.year for day in self.public)


@dataclass(frozen=True, slots=True)
class Calendar:
    """The calendar of a site. `public`: FR, FR-57, FR-6AE …; `school`: zone A, B or C. None: there are none.

    `added` and `left_out` are public holidays beside those, as `names` has them: 2027-06-24, 06-24, good_friday.
    `days` are the public holidays of `PREPARED`, if they were prepared: then the library is not needed. `given` are
    tables of the site's own.
    """

    timezone: str = "Europe/Paris"
    public: str | None = None
    school: str | None = None
    added: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    days: frozenset[date] = field(default=frozenset(), compare=False, repr=False)
    given: GivenHolidays | None = None

    def prepared(self) -> Calendar:
        """The same with its public holidays; ValueError for an unknown country or subdivision."""
        if self.public is None:
            return self
        return replace(self, days=frozenset().union(*(_public_holidays(self.public, year) for year in PREPARED)))

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def instant(self, day: date, minute: float) -> datetime:
        """When it is `minute` minutes after midnight on `day` (1440 and more: the days after), in UTC.

        A time that does not exist (a clock put forward) is the next valid instant; one that comes twice, its first
        occurrence.
        """
        return _instant(self.timezone, day, minute)

    def civil(self, at: datetime) -> datetime:
        """The same instant in local time."""
        return at.astimezone(self.zone)

    def day(self, at: datetime) -> date:
        """The local day."""
        return at.astimezone(self.zone).date()

    def night(self, at: datetime) -> date:
        """The day on which the night of `at` starts: nights go from noon to noon."""
        return (at.astimezone(self.zone).replace(tzinfo=None) - timedelta(hours=12)).date()

    def is_public_holiday(self, day: date) -> bool:
        if self.added or self.left_out:
            known = names(day)
            if not known.isdisjoint(self.left_out):
                return False
            if not known.isdisjoint(self.added):
                return True
        if self.given is not None and day.year in self.given.years:
            return day in self.given.public
        if self.public is None:
            return False
        prepared = self.days and day.year in PREPARED
        return day in (self.days if prepared else _public_holidays(self.public, day.year))

    def is_eve(self, day: date) -> bool:
        """Whether the next day is a public holiday."""
        return self.is_public_holiday(day + DAY)

    def is_school_holiday(self, day: date) -> bool:
        given = self.given.school if self.given is not None else ()
        if given and day >= given[0][0]:
            return any(first <= day <= last for first, last in given)
        return self.school is not None and any(first <= day <= last for first, last in _SCHOOL[self.school])

    @property
    def has_school(self) -> bool:
        """Whether school holidays are known at all."""
        return self.school is not None or (self.given is not None and bool(self.given.school))

    def ends(self) -> date | None:
        """The last day of the table of school holidays; None without one."""
        if self.given is not None and self.given.school:
            return max(last for _, last in self.given.school)
        return SCHOOL_TABLE_ENDS if self.school is not None else None


@lru_cache(maxsize=1024)
def names(day: date) -> frozenset[str]:
    """The names of a day in a site file: 2027-03-26, 03-26, good_friday."""
    movable = (name for name, after in MOVABLE.items() if easter(day.year) + after * DAY == day)
    return frozenset((day.isoformat(), day.isoformat()[5:], *movable))


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (Meeus, Astronomical Algorithms, chapter 8)."""
    golden, (century, rest) = year % 19, divmod(year, 100)
    leap, odd = divmod(century, 4)
    moon = (19 * golden + century - leap - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    sunday = (32 + 2 * odd + 2 * (rest // 4) - moon - rest % 4) % 7
    late = (golden + 11 * moon + 22 * sunday) // 451
    month, day = divmod(moon + sunday - 7 * late + 114, 31)
    return date(year, month, day + 1)


@lru_cache(maxsize=4096)
def _instant(timezone: str, day: date, minute: float) -> datetime:
    zone = ZoneInfo(timezone)
    wall = datetime.combine(day, time()) + timedelta(minutes=minute)
    found = wall.replace(tzinfo=zone).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wall:
        return found
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)  # in a gap, fold 1 reads it with the offset after it
    offset = before.astimezone(zone).utcoffset()
    while found - before > SECOND:
        middle = before + (found - before) // (2 * SECOND) * SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            found = middle
    return found


@lru_cache(maxsize=32)
def _public_holidays(code: str, year: int) -> frozenset[date]:
    """Public holidays of a country or its subdivision (`holidays`); ValueError for one that it does not know."""
    import holidays  # 16 MB that the running agent does without

    country, _, subdivision = code.partition("-")
    try:
        return frozenset(holidays.country_holidays(country, subdiv=subdivision or None, years=year))
    except NotImplementedError as error:
        raise ValueError(f"no public holidays are known for {code}") from error


def _days(*texts: str) -> tuple[tuple[date, date], ...]:
    """ "2026-02-07/2026-02-22": first and last day without school."""
    pairs = (text.split("/") for text in texts)
    return tuple((date.fromisoformat(first), date.fromisoformat(last)) for first, last in pairs)


_COMMON = _days(
    "2026-01-01/2026-01-04", "2026-05-14/2026-05-17", "2026-07-04/2026-08-31", "2026-10-17/2026-11-01",
    "2026-12-19/2027-01-03", "2027-05-06/2027-05-09",
)  # fmt: skip
_SCHOOL = {
    "A": _COMMON
    + _days("2026-02-07/2026-02-22", "2026-04-04/2026-04-19", "2027-02-13/2027-02-28", "2027-04-10/2027-04-25"),
    "B": _COMMON
    + _days("2026-02-14/2026-03-01", "2026-04-11/2026-04-26", "2027-02-20/2027-03-07", "2027-04-17/2027-05-02"),
    "C": _COMMON
    + _days("2026-02-21/2026-03-08", "2026-04-18/2026-05-03", "2027-02-06/2027-02-21", "2027-04-03/2027-04-18"),
}
"""School holidays of mainland France, first and last day: until summer 2026 by the arrêté du 7 décembre 2022 (JO of
8 December 2022: years 2023-2024 to 2025-2026), then by the ministry's calendar of 2026-2027. Corsica and overseas have
calendars of their own."""

SCHOOL_TABLE_ENDS = max(last for days in _SCHOOL.values() for _, last in days)
"""The last day that the table knows."""
