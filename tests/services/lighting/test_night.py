"""The programme of a night: the reference nights of Dijon, cuts, exceptions, the changes of the clock, the poles."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from astral import Observer, sun

from agent.control.calendar import Calendar
from agent.services.lighting.night import Exceptional, Night, NightPart, Programme, Switch
from agent.services.lighting.sun import night_sun

PARIS = Calendar("Europe/Paris", "FR", "A")
CUT = (NightPart(23 * 60, 5 * 60),)
DIJON = Programme(PARIS, 47.32, 5.04, Switch("civil_dusk"), Switch("civil_dawn"), cuts=CUT)
STREET = replace(
    DIJON,
    cuts=(
        NightPart(23 * 60, 5 * 60, ("sun", "mon", "tue", "wed", "thu")),
        NightPart(60, 5 * 60, ("fri", "sat", "eve_of_public_holiday")),
    ),
    exceptions=(Exceptional("fete", date(2026, 7, 13), date(2026, 7, 14)),),
)


TWO = [
    "15 17:51:21-15 23:00:00 civil_dusk|part_night_off",
    "16 05:00:00-16 07:46:56 end of part_night_off|civil_dawn",
]


def said(night: Night) -> list[str]:
    return [
        f"{PARIS.civil(one.on):%d %H:%M:%S}-{PARIS.civil(one.off):%d %H:%M:%S} {one.on_cause}|{one.off_cause}"
        for one in night.segments
    ]


@pytest.mark.parametrize(
    ("day", "segments", "minutes"),
    [
        ("2026-01-15", ["15 17:51:21-15 23:00:00", "16 05:00:00-16 07:46:56"], 475.6),
        ("2026-06-21", ["21 22:20:49-21 23:00:00"], 39.2),  # the 2.7 min of the morning are skipped
        ("2026-10-24", ["24 19:07:53-24 23:00:00", "25 05:00:00-25 06:40:45"], 332.9),  # the clock changes
    ],
)
def test_reference_nights_of_dijon(day: str, segments: list[str], minutes: float) -> None:
    night = DIJON.night(date.fromisoformat(day))
    assert [" ".join(text.split(" ")[:3]) for text in said(night)] == segments
    assert round(night.seconds() / 60, 1) == minutes


@pytest.mark.parametrize(
    ("day", "dusk", "dawn"),
    [
        ("2026-01-15", "15 17:51:21", "16 07:46:56"),
        ("2026-06-21", "21 22:20:49", "22 05:02:43"),
        ("2026-10-24", "24 19:07:53", "25 06:40:45"),
    ],
)
def test_reference_dusk_and_dawn(day: str, dusk: str, dawn: str) -> None:
    night = DIJON.night(date.fromisoformat(day))
    assert night.dusk is not None and night.dawn is not None
    assert [f"{PARIS.civil(at):%d %H:%M:%S}" for at in (night.dusk, night.dawn)] == [dusk, dawn]


def test_an_all_night_circuit_counts_elapsed_time_when_the_clock_changes() -> None:
    whole = replace(DIJON, cuts=())
    autumn, spring = whole.night(date(2026, 10, 24)), whole.night(date(2026, 3, 28))
    assert autumn.seconds() == DIJON.all_night(autumn) == 12 * 3600 + 32 * 60 + 52
    assert spring.seconds() == (spring.segments[0].off - spring.segments[0].on).total_seconds()
    assert spring.end - spring.start == timedelta(hours=23) and autumn.end - autumn.start == timedelta(hours=25)


@pytest.mark.parametrize(
    ("day", "cut"),
    [
        ("2026-01-15", "15 23:00"),  # Thursday
        ("2026-01-16", "17 01:00"),  # Friday
        ("2026-11-10", "11 01:00"),  # Tuesday, the eve of 11 November
        ("2026-11-11", "11 23:00"),  # the holiday itself is a Wednesday like others
        ("2026-12-31", "01 01:00"),
        ("2026-07-12", "12 23:00"),
        ("2026-07-15", "15 23:00"),
    ],
)
def test_the_most_particular_day_decides_the_cut(day: str, cut: str) -> None:
    first = STREET.night(date.fromisoformat(day)).segments[0]
    assert f"{PARIS.civil(first.off):%d %H:%M}" == cut and first.off_cause == "part_night_off"


@pytest.mark.parametrize("day", ["2026-07-13", "2026-07-14"])
def test_an_exception_holds_for_both_its_nights_before_the_eve(day: str) -> None:
    night = STREET.night(date.fromisoformat(day))
    assert night.exceptional and night.exception == "fete"
    assert [(one.on_cause, one.off_cause) for one in night.segments] == [("civil_dusk", "civil_dawn")]


def test_an_exception_with_cuts_of_its_own() -> None:
    market = Exceptional("market", date(2026, 1, 15), date(2026, 1, 15), (NightPart(22 * 60, 3 * 60),))
    night = replace(STREET, exceptions=(market,)).night(date(2026, 1, 15))
    assert said(night) == [
        "15 17:51:21-15 22:00:00 civil_dusk|part_night_off",
        "16 03:00:00-16 07:46:56 end of part_night_off|civil_dawn",
    ]


def test_a_rule_without_days_gives_way_to_one_that_names_the_day() -> None:
    cuts = (*CUT, NightPart(60, 300, ("fri",)), NightPart(120, 300, ("public_holiday",)))
    ends = [
        f"{PARIS.civil(replace(DIJON, cuts=cuts).night(date(2026, 5, day)).segments[0].off):%d %H}"
        for day in (6, 7, 8, 15)
    ]
    assert ends == ["06 23", "07 23", "09 02", "16 01"]  # 8 May is a holiday and a Friday


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"off": Switch(minute=23 * 60), "cuts": ()}, ["15 17:51:21-15 23:00:00 civil_dusk|23:00"]),
        ({"off": Switch(minute=30), "cuts": ()}, ["15 17:51:21-16 00:30:00 civil_dusk|00:30"]),
        ({"on": Switch("sunset", -1800.0), "off": Switch(minute=1260)}, ["15 16:46:10-15 21:00:00 sunset|21:00"]),
        ({"on": Switch(minute=360), "cuts": ()}, ["16 06:00:00-16 07:46:56 06:00|civil_dawn"]),
        ({"on": Switch(minute=540), "cuts": ()}, []),  # after dawn
        ({"start_delay": 10.0, "cuts": (NightPart(1380, 300),)},
         ["15 17:51:31-15 23:00:00 civil_dusk|part_night_off",
          "16 05:00:10-16 07:46:56 end of part_night_off|civil_dawn"]),
        ({"cuts": (*CUT, NightPart(16 * 60, 17 * 60))}, TWO),  # before the night, or after it
        ({"cuts": (*CUT, NightPart(9 * 60, 10 * 60))}, TWO),
        ({"cuts": (NightPart(1020, 540),)}, []),  # the cut is longer than the night
        ({"cuts": (NightPart(1380, 120), NightPart(60, 300))},
         TWO),
        ({"cuts": (NightPart(1380, 1390), NightPart(1400, 300))},  # ten minutes between two cuts
         TWO),
    ],
)  # fmt: skip
def test_switches_and_cuts(change: dict[str, Any], expected: list[str]) -> None:
    assert said(replace(DIJON, **change).night(date(2026, 1, 15))) == expected


@pytest.mark.parametrize(("min_on", "number"), [(2.6 * 60, 2), (163, 2), (164, 1)])
def test_a_segment_shorter_than_min_on_is_skipped(min_on: float, number: int) -> None:
    assert len(replace(DIJON, min_on=min_on).night(date(2026, 6, 21)).segments) == number


def test_levels_and_their_energy() -> None:
    parts = NightPart(22 * 60, 6 * 60, level=50.0), NightPart(0, 60, ("sat",), level=20.0)
    dimmed = replace(DIJON, cuts=(), levels=parts)
    night = dimmed.night(date(2026, 1, 15))
    levels = [night.level(PARIS.instant(date(2026, 1, 15), minute)) for minute in (1319, 1320, 1440, 1799, 1800)]
    assert levels == [100, 50, 50, 50, 100]
    assert night.full_seconds() == night.seconds() - 4 * 3600
    assert [level for _, _, level in dimmed.night(date(2026, 1, 17)).levels] == [20]


@pytest.mark.parametrize("year", range(2026, 2031))
def test_every_night_until_2030(year: int) -> None:
    """In order, within their night, and the sun's to a minute of astral's own finding, also when the clock changes."""
    observer, zone = Observer(47.32, 5.04, 0), PARIS.zone
    for number in range(365):
        day = date(year, 1, 1) + timedelta(number)
        night, whole = STREET.night(day), replace(STREET, cuts=()).night(day)
        edges = [at for one in night.segments for at in (one.on, one.off)]
        assert edges == sorted(edges) and all(night.start <= at <= night.end for at in edges)
        assert all(two.on - one.off >= timedelta(minutes=1) for one, two in pairwise(night.segments))
        assert all((one.off - one.on).total_seconds() >= 900 for one in night.segments)
        if number % 7 == 0 or day.month in (3, 10):
            dusk, dawn = sun.dusk(observer, day, tzinfo=zone), sun.dawn(observer, day + timedelta(1), tzinfo=zone)
            assert abs(whole.segments[0].on - dusk) < timedelta(minutes=1)
            assert abs(whole.segments[-1].off - dawn) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("latitude", "day", "hours"),
    [(69.65, "2026-06-21", 0), (69.65, "2026-12-21", 20), (82.0, "2026-12-21", 24), (90.0, "2026-06-21", 0)],
)
def test_where_the_sun_does_not_rise_or_set(latitude: float, day: str, hours: float) -> None:
    programme = Programme(Calendar("Europe/Oslo"), latitude, 18.96, Switch("civil_dusk"), Switch("civil_dawn"))
    assert round(programme.night(date.fromisoformat(day)).seconds() / 3600) == hours


def test_a_dusk_after_midnight_belongs_to_the_evening_before() -> None:
    calendar = Calendar("Europe/Oslo")
    day = date(2026, 6, 21)
    dusk = night_sun(60.0, 10.39, calendar, day, "civil_dusk")
    dawn = night_sun(60.0, 10.39, calendar, day, "civil_dawn")
    assert dusk is not None and dawn is not None
    assert calendar.civil(dusk).date() == date(2026, 6, 22) and dusk < dawn


@pytest.mark.parametrize(
    ("timezone", "longitude"), [("Pacific/Tahiti", -149.57), ("Pacific/Noumea", 166.45), ("Indian/Reunion", 55.45)]
)
def test_far_from_greenwich(timezone: str, longitude: float) -> None:
    calendar = Calendar(timezone)
    for number in range(0, 365, 11):
        day = date(2026, 1, 1) + timedelta(number)
        dusk = night_sun(-20.0, longitude, calendar, day, "sunset")
        dawn = night_sun(-20.0, longitude, calendar, day, "sunrise")
        assert dusk is not None and dawn is not None
        assert calendar.civil(dusk).date() == day and 17 <= calendar.civil(dusk).hour <= 19
        assert calendar.civil(dawn).date() == day + timedelta(1)
        assert timedelta(hours=10) < dawn - dusk < timedelta(hours=14)


def test_what_the_programme_says_at_a_moment() -> None:
    night = DIJON.night(date(2026, 1, 15))
    at = [datetime(2026, 1, 15, 16, 51, 20, tzinfo=UTC), datetime(2026, 1, 15, 16, 51, 21, tzinfo=UTC),
          datetime(2026, 1, 15, 22, tzinfo=UTC), datetime(2026, 1, 16, 4, tzinfo=UTC),
          datetime(2026, 1, 16, 6, 46, 56, tzinfo=UTC)]  # fmt: skip
    assert [night.is_lit(one) for one in at] == [
        (False, "day"), (True, "civil_dusk"), (False, "part_night_off"), (True, "end of part_night_off"),
        (False, "civil_dawn"),
    ]  # fmt: skip
