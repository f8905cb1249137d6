"""Weeks and calendars: local times on every night of the clock, holidays, opening hours past midnight."""

import pickle
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from agent.control.calendar import SCHOOL_TABLE_ENDS, Calendar
from agent.control.week import Span, Week, mode_at

PARIS = Calendar("Europe/Paris", "FR", "A")
CHANGES = ["2026-03-29", "2026-10-25", "2027-03-28", "2027-10-31", "2028-03-26", "2028-10-29", "2029-03-25",
           "2029-10-28", "2030-03-31", "2030-10-27"]  # fmt: skip
WORK = (Span(450, 1020, "comfort"),)
FROST = (Span(0, 1440, "frost"),)
SCHOOL = Week(PARIS, "reduced", (WORK,) * 5 + (FROST,) * 2, public=(Span(0, 1440, "reduced"),), school=FROST)


def modes(week: Week, first: str, days: int) -> list[str]:
    start = week.calendar.instant(date.fromisoformat(first), 0)
    end = week.calendar.instant(date.fromisoformat(first) + timedelta(days), 0)
    return [
        f"{week.calendar.civil(one.start):%d %H:%M}-{week.calendar.civil(one.end):%d %H:%M} {one.mode}"
        for one in week.periods(start, end)
    ]


@pytest.mark.parametrize("text", CHANGES)
def test_times_of_the_nights_on_which_the_clock_changes(text: str) -> None:
    day = date.fromisoformat(text)
    found = PARIS.civil(PARIS.instant(day, 150)).isoformat()
    expected = "T03:00:00+02:00" if day.month == 3 else "T02:30:00+02:00"  # does not exist; the first of two
    assert found == text + expected
    assert PARIS.instant(day, 60) < PARIS.instant(day, 150) < PARIS.instant(day, 240)


@pytest.mark.parametrize(
    ("timezone", "day", "minute", "expected"),
    [
        ("Europe/Paris", "2026-03-29", 120, "2026-03-29T01:00:00+00:00"),
        ("Europe/Paris", "2026-03-29", 179, "2026-03-29T01:00:00+00:00"),
        ("Europe/Paris", "2026-03-29", 180, "2026-03-29T01:00:00+00:00"),
        ("Europe/Paris", "2026-10-24", 1440 + 120, "2026-10-25T00:00:00+00:00"),
        ("Indian/Reunion", "2026-03-29", 150, "2026-03-28T22:30:00+00:00"),
        ("Australia/Lord_Howe", "2026-10-04", 135, "2026-10-03T15:30:00+00:00"),  # half an hour is missing
    ],
)
def test_local_times(timezone: str, day: str, minute: int, expected: str) -> None:
    assert Calendar(timezone).instant(date.fromisoformat(day), minute).isoformat() == expected


def test_a_night_belongs_to_the_day_on_which_it_starts() -> None:
    at = datetime(2026, 1, 16, 10, 59, 59, tzinfo=UTC)
    assert PARIS.night(at) == date(2026, 1, 15)
    assert PARIS.night(at + timedelta(seconds=1)) == date(2026, 1, 16)


def test_public_holidays_and_their_eves() -> None:
    assert PARIS.is_public_holiday(date(2026, 7, 14)) and PARIS.is_eve(date(2026, 7, 13))
    assert PARIS.is_eve(date(2026, 12, 31))  # the next year's
    for code in ("FR-57", "FR-6AE"):
        east = Calendar(public=code)
        days = [date(2026, 4, 3), date(2026, 12, 26)]
        assert all(east.is_public_holiday(day) and not PARIS.is_public_holiday(day) for day in days)
    assert not Calendar().is_public_holiday(date(2026, 7, 14))
    ready = PARIS.prepared()
    assert ready.is_public_holiday(date(2049, 7, 14)) and ready.is_public_holiday(date(2060, 7, 14))
    assert ready == PARIS and len(ready.days) >= 11 * 25
    with pytest.raises(ValueError, match="FR-99"):
        Calendar(public="FR-99").is_public_holiday(date(2026, 7, 14))


@pytest.mark.parametrize(
    ("zone", "first", "last"),
    [
        ("A", "2026-02-07", "2026-02-22"), ("B", "2026-02-14", "2026-03-01"), ("C", "2026-02-21", "2026-03-08"),
        ("A", "2027-04-10", "2027-04-25"), ("B", "2027-04-17", "2027-05-02"), ("C", "2027-04-03", "2027-04-18"),
        ("B", "2026-07-04", "2026-08-31"), ("C", "2026-12-19", "2027-01-03"),
    ],
)  # fmt: skip
def test_school_holidays_first_and_last_day(zone: str, first: str, last: str) -> None:
    calendar, day = Calendar(school=zone), timedelta(1)
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    assert [calendar.is_school_holiday(one) for one in (start - day, start, end, end + day)] == [0, 1, 1, 0]


def test_prepared_holidays_are_asked_without_the_library() -> None:
    code = (
        "import pickle, sys; from datetime import date\n"
        "found = pickle.load(sys.stdin.buffer)\n"
        "assert found.is_public_holiday(date(2026, 7, 14)) and not found.is_public_holiday(date(2026, 7, 15))\n"
        "assert 'holidays' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], input=pickle.dumps(PARIS.prepared()), check=True)


def test_the_table_of_school_holidays_says_where_it_ends() -> None:
    assert Calendar(school="B").ends() == SCHOOL_TABLE_ENDS == date(2027, 5, 9)
    assert Calendar().ends() is None


def test_a_school_week_into_the_holidays() -> None:
    assert modes(SCHOOL, "2026-02-05", 5) == [
        "05 00:00-05 07:30 reduced",
        "05 07:30-05 17:00 comfort",
        "05 17:00-06 07:30 reduced",
        "06 07:30-06 17:00 comfort",
        "06 17:00-07 00:00 reduced",
        "07 00:00-10 00:00 frost",
    ]


def test_a_public_holiday_and_one_within_the_school_holidays() -> None:
    assert modes(SCHOOL, "2026-11-11", 1) == ["11 00:00-12 00:00 reduced"]
    assert modes(SCHOOL, "2026-12-25", 1) == ["25 00:00-26 00:00 frost"]


def test_the_next_comfort_is_found_within_reach_only() -> None:
    now = PARIS.instant(date(2026, 1, 12), 4 * 60)
    assert SCHOOL.at(now).mode == "reduced"
    assert SCHOOL.at(now).end == SCHOOL.next("comfort", now, timedelta(hours=6)) == now + timedelta(hours=3.5)
    assert SCHOOL.next("comfort", now, timedelta(hours=3)) is None


def test_windows_past_midnight_belong_to_the_day_on_which_they_start() -> None:
    week = Week(PARIS, "closed", ((Span(1080, 1560, "open"),),) * 7, public=())
    assert modes(week, "2026-07-12", 4) == [
        "12 00:00-12 02:00 open",
        "12 02:00-12 18:00 closed",
        "12 18:00-13 02:00 open",
        "13 02:00-13 18:00 closed",
        "13 18:00-14 02:00 open",
        "14 02:00-15 18:00 closed",
        "15 18:00-16 00:00 open",
    ]


def test_a_span_in_the_hour_that_comes_twice() -> None:
    week = Week(PARIS, "closed", ((Span(120, 180, "open"),),) * 7)
    day = date(2026, 10, 25)
    one = next(one for one in week.periods(PARIS.instant(day, 0), PARIS.instant(day, 1440)) if one.mode == "open")
    assert one.end - one.start == timedelta(hours=2)  # from the first 02:00 to 03:00


@pytest.mark.parametrize("text", CHANGES)
def test_every_instant_has_one_mode(text: str) -> None:
    """`at` agrees with `periods` through the nights on which the clock changes."""
    start = PARIS.instant(date.fromisoformat(text) - timedelta(1), 0)
    periods = SCHOOL.periods(start, start + timedelta(days=3))
    assert all(one.end == two.start and one.mode != two.mode for one, two in pairwise(periods))
    for hours in range(72):
        now = start + timedelta(hours=hours)
        assert SCHOOL.at(PARIS.civil(now)).mode == next(one.mode for one in periods if one.start <= now < one.end)


@pytest.mark.parametrize("text", [*CHANGES, "2026-07-14", "2026-12-19"])
def test_the_mode_that_is_asked_again_and_again_is_that_of_the_week(text: str) -> None:
    start = PARIS.instant(date.fromisoformat(text), -60)
    for minute in range(0, 2000, 7):
        now = PARIS.civil(start + timedelta(minutes=minute, seconds=minute % 60))
        mode, left = mode_at(SCHOOL, now)
        period = SCHOOL.at(now)
        assert mode == period.mode
        ends = now.astimezone(UTC) + timedelta(seconds=left)
        assert ends == period.end or min(ends, period.end) >= now.astimezone(UTC) + timedelta(days=2)
