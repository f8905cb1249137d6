"""When a named calendar is on: weekly times through nights, holidays and the changes of the clock; occurrences."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.control.api import Now, View
from agent.control.calendar import DAY, Calendar
from agent.control.named_calendars import AHEAD, Booking, Occurrences, WeeklyTimes, calendar_input, held, is_on

PARIS = ZoneInfo("Europe/Paris")
HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=PARIS)


def market(**more) -> WeeklyTimes:
    given_ = {"days": frozenset({5}), "times": ((360, 840),), **more}
    return WeeklyTimes(Calendar(), **given_)


@pytest.mark.parametrize(
    ("moment", "on", "until"),
    [
        ("2027-03-20 05:59:59", False, "2027-03-20 06:00"),
        ("2027-03-20 06:00", True, "2027-03-20 14:00"),
        ("2027-03-20 14:00", False, None),
        ("2027-03-25 08:00", True, "2027-03-25 14:00"),  # added, a Thursday
        ("2027-03-27 08:00", False, None),  # left out
    ],
)
def test_the_market_is_on_at_its_times_but_for_days_left_out_and_added(moment, on, until):
    weekly = market(leave_out=("2027-03-27",), add=("2027-03-25",))
    assert held(weekly, at(moment)) == (on, at(until) if until else at(moment).astimezone(UTC) + AHEAD)


def test_leave_out_beats_add_and_takes_movable_feasts():
    assert not market(leave_out=("good_friday",), add=("2027-03-26",)).is_day(date(2027, 3, 26))
    assert market(add=("07-14",)).is_day(date(2027, 7, 14)) and market(add=("07-14",)).is_day(date(2028, 7, 14))


def test_a_night_belongs_to_the_day_on_which_it_begins():
    ball = WeeklyTimes(Calendar(), frozenset({5}), ((22 * 60, 26 * 60),), leave_out=("2027-03-21",))
    assert held(ball, at("2027-03-21 01:30")) == (True, at("2027-03-21 02:00"))
    assert ball.between(at("2027-03-20 12:00"), at("2027-03-23 12:00")) == [
        Booking(at("2027-03-20 22:00"), at("2027-03-21 02:00"))
    ]


def test_a_night_of_the_clock_change_has_its_real_length():
    """2027-03-28: 02:00 becomes 03:00. 2026-10-25: 03:00 becomes 02:00."""
    ball = WeeklyTimes(Calendar(), frozenset({5}), ((22 * 60, 28 * 60),))
    (short,) = ball.between(at("2027-03-27 12:00"), at("2027-03-28 12:00"))
    (long,) = ball.between(at("2026-10-24 12:00"), at("2026-10-25 12:00"))
    assert (short.end - short.start, long.end - long.start) == (5 * HOUR, 7 * HOUR)


def test_times_that_touch_are_one_booking_and_before_begins_earlier():
    weekly = market(times=((360, 600), (600, 840)), before=1800.0)
    assert weekly.between(at("2027-03-20 00:00"), at("2027-03-21 00:00")) == [
        Booking(at("2027-03-20 05:30"), at("2027-03-20 14:00"))
    ]
    early = WeeklyTimes(Calendar(), frozenset({0}), ((10, 60),), before=3600.0)
    assert held(early, at("2027-03-21 23:30"))[0] is True, "it begins the evening before"


SPAN = st.tuples(st.integers(0, 1439), st.integers(1, 1440)).map(lambda one: (one[0], one[0] + one[1]))


@given(st.lists(SPAN, min_size=1, max_size=4), st.sets(st.integers(0, 6), min_size=1), st.sampled_from([0.0, 5400.0]))
def test_times_may_be_given_in_any_order(times, days, before):
    found = WeeklyTimes(Calendar(), frozenset(days), tuple(times), before=before)
    week = at("2027-06-07 00:00"), at("2027-06-14 00:00")
    bookings = found.between(*week)
    assert bookings == WeeklyTimes(Calendar(), frozenset(days), tuple(sorted(times)), before=before).between(*week)
    assert all(one.end < two.start for one, two in pairwise(bookings))
    for hour in range(7 * 24):
        moment = week[0].astimezone(UTC) + hour * HOUR + timedelta(minutes=7)
        wanted = any(
            start - before / 60 <= (moment - at(f"2027-06-{day:02}")).total_seconds() / 60 < end
            for day in range(4, 16) if date(2027, 6, day).weekday() in days for start, end in times
        )
        assert held(found, moment)[0] is wanted


def test_occurrences_are_a_union_and_are_known_for_their_time_only():
    found = Occurrences.of([(3000, 4000), (1000, 2000), (1500, 3000), (9000, 9500)], 0, 10_000, before=100)
    assert found.spans == ((900, 4000), (8900, 9500))
    moment = datetime.fromtimestamp
    assert held(found, moment(899, UTC)) == (False, moment(900, UTC))
    assert held(found, moment(900, UTC)) == (True, moment(4000, UTC))
    assert held(found, moment(4000, UTC)) == (False, moment(8900, UTC))
    assert held(found, moment(10_000, UTC))[0] is None
    assert held(found, moment(-1, UTC))[0] is None


@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 300)), max_size=12),
    st.integers(0, 1200),
    st.integers(0, 300),
)
def test_occurrences_are_on_where_any_of_them_is(pairs, second, before):
    found = Occurrences.of([(begin, begin + length) for begin, length in pairs], 0, 2000, before)
    on, until = held(found, datetime.fromtimestamp(second, UTC))

    def said(moment: int) -> bool:
        return any(begin - before <= moment < begin + length for begin, length in pairs)

    assert on is said(second)
    change = int(until.timestamp())
    assert all(said(moment) is on for moment in range(second, min(change, 2000)))
    if change < 2000:
        assert said(change) is not on


@given(
    st.frozensets(st.integers(0, 6)), st.integers(0, 1439), st.integers(1, 1440), st.integers(0, 400 * 24),
)  # fmt: skip
def test_a_weekly_calendar_changes_when_it_says_so(days, start, length, hour):
    weekly = WeeklyTimes(Calendar(), days, ((start, start + length),))
    moment = datetime(2026, 6, 1, tzinfo=UTC) + hour * HOUR
    on, until = held(weekly, moment)
    assert moment < until <= moment + AHEAD
    assert held(weekly, until - timedelta(seconds=1))[0] is on
    if until < moment + AHEAD:
        assert held(weekly, until)[0] is not on
    whole = weekly.between(moment, moment + 8 * DAY)
    assert all(one.end < other.start for one, other in pairwise(whole))


def test_a_control_asks_by_the_time_that_is_known():
    view = View({}, {}, {"market": market()})
    noon = at("2027-03-20 12:00")
    assert is_on(view, "market", Now(0.0, noon, True)) is True
    assert is_on(view, "market", Now(0.0, noon, False, sure=True)) is True
    assert is_on(view, "market", Now(0.0, noon, False)) is None, "nothing goes by a time that is not known"
    assert is_on(view, "market", Now(0.0, None, False)) is None
    assert is_on(view, "hall", Now(0.0, noon, True)) is None
    assert View({}, {}).calendars == {}
    assert calendar_input("market") == "calendar:market"
