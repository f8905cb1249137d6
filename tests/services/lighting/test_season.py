"""A season, hours of an exception's own, and a calendar as an exception; what check says of them."""

from dataclasses import replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from agent.control.api import View
from agent.control.calendar import DAY
from agent.control.named_calendars import Occurrences, WeeklyTimes
from agent.services.lighting.night import Exceptional, NightPart, Switch
from tests.services.lighting.test_night import DIJON, PARIS

LONDON = ZoneInfo("Europe/Paris")
STARS = replace(DIJON, cuts=(), season=((12, 1), (1, 6)))
FETE = Exceptional("fete", date(2026, 7, 13), date(2026, 7, 14), on=Switch(minute=20 * 60), off=Switch(minute=120))


def said(night):
    return [f"{PARIS.civil(one.on):%d %H:%M}-{PARIS.civil(one.off):%d %H:%M}" for one in night.segments]


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=LONDON)


def occurrences(*pairs):
    spans = [(int(at(begin).timestamp()), int(at(end).timestamp())) for begin, end in pairs]
    return Occurrences.of(spans, int(at("2026-01-01").timestamp()), int(at("2027-01-01").timestamp()))


@pytest.mark.parametrize(
    ("day", "lit"),
    [("2026-11-30", False), ("2026-12-01", True), ("2026-12-31", True), ("2027-01-06", True), ("2027-01-07", False),
     ("2026-07-14", False)],
)  # fmt: skip
def test_a_season_goes_over_the_new_year_and_both_nights_are_in_it(day, lit):
    night = STARS.night(date.fromisoformat(day))
    assert (bool(night.segments), night.in_season, night.hours is not None) == (lit, lit, lit)
    assert bool(STARS.all_night(night)) is lit, "what it would burn without cuts is of its season too"


@pytest.mark.parametrize(
    "fete",
    [
        Exceptional("fete", date(2026, 7, 13), date(2026, 7, 14)),
        FETE,  # from 20:00, by day
        replace(FETE, on=Switch(minute=14 * 60), off=Switch(minute=18 * 60)),
    ],
)
@pytest.mark.parametrize("season", [STARS.season, None])
def test_no_more_is_saved_than_a_whole_night_would_burn(fete, season):
    stars = replace(STARS, season=season, exceptions=(fete,), cuts=(NightPart(23 * 60, 5 * 60),), start_delay=60.0)
    for number in range(4):
        night = stars.night(date(2026, 7, 12) + number * DAY)
        assert stars.all_night(night) >= night.seconds()
        assert bool(stars.all_night(night)) is (season is None or night.exceptional)


def test_a_season_within_a_year():
    summer = replace(STARS, season=((6, 1), (8, 31)))
    lit = [day for day in range(365) if summer.night(date(2026, 1, 1) + day * DAY).segments]
    assert (len(lit), lit[0]) == (92, 151)


def test_an_exception_lights_at_any_time_of_the_year_and_has_hours_of_its_own():
    stars = replace(STARS, exceptions=(FETE,))
    assert said(stars.night(date(2026, 7, 14))) == ["14 20:00-15 02:00"]
    assert (stars.night(date(2026, 7, 14)).exception, said(stars.night(date(2026, 7, 15)))) == ("fete", [])
    early = replace(DIJON, exceptions=(replace(FETE, on=None, cuts=()),))
    (segment,) = early.night(date(2026, 7, 13)).segments
    assert (segment.on_cause, segment.off_cause, segment.sun_on, segment.sun_off) == (
        "civil_dusk", "02:00", True, False,
    )  # fmt: skip


MARKET = WeeklyTimes(PARIS, frozenset({5}), ((6 * 60, 14 * 60),))
BY_MARKET = replace(DIJON, exceptions=(Exceptional("market", None, None, (), "market"),))


@pytest.mark.parametrize(
    ("day", "exceptional"),
    [("2026-01-16", True), ("2026-01-17", False), ("2026-01-15", False),
     ("2026-06-19", False)],  # it is light at 06:00
)  # fmt: skip
def test_a_market_in_the_dark_of_the_morning_rules_the_night_before(day, exceptional):
    night = BY_MARKET.night(date.fromisoformat(day), {"market": MARKET})
    assert (night.exceptional, len(night.segments)) == (exceptional, 1 if exceptional or day > "2026-06" else 2)


@pytest.mark.parametrize(
    ("bookings", "nights"),
    [
        ([("2026-01-14 00:00", "2026-01-15 00:00")], [14]),  # all day: its evening, and not the night before
        ([("2026-01-14 20:00", "2026-01-15 02:00")], [14]),
        ([("2026-01-15 01:00", "2026-01-15 03:00")], [14]),  # it comes on while the circuit burns
        ([("2026-01-15 09:00", "2026-01-15 12:00")], []),
        ([("2026-01-14 10:00", "2026-01-16 10:00")], [14, 15]),
        ([("2026-01-14 00:00", "2026-01-16 00:00")], [14, 15]),
    ],
)
def test_the_nights_of_a_calendar(bookings, nights):
    programme = replace(DIJON, exceptions=(Exceptional("", None, None, (), "fete"),))
    calendars = {"fete": occurrences(*bookings)}
    assert [day for day in range(11, 19) if programme.night(date(2026, 1, day), calendars).exceptional] == nights
    assert not programme.night(date(2026, 1, 14), {}).exceptional, "it is not known"
    assert not programme.night(date(2027, 1, 14), calendars).exceptional, "nor so far ahead"


def test_the_first_exception_that_holds_rules():
    dated = Exceptional("works", date(2026, 1, 16), date(2026, 1, 16), (NightPart(1320, 300),))
    both = replace(DIJON, exceptions=(dated, *BY_MARKET.exceptions))
    assert both.night(date(2026, 1, 16), {"market": MARKET}).exception == "works"
    assert both.night(date(2026, 1, 23), {"market": MARKET}).exception == "market"


def test_a_circuit_looks_again_when_its_calendar_changes():
    from tests.services.lighting.test_control import STREET

    circuit = replace(STREET, programme=BY_MARKET)
    assert "calendar:market" in circuit.inputs
    moment = at("2026-01-16 23:30")
    known = circuit._tonight(None, moment, View({}, {}, {"market": MARKET}))
    assert known.night.exceptional
    assert circuit._tonight(known, moment, View({}, {}, {"market": MARKET})) is known
    assert not circuit._tonight(known, moment, View({}, {}, {})).night.exceptional
