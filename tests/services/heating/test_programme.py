"""A zone by its calendar: bookings, exceptions, commands with an end, and the end of comfort."""

import dataclasses
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.control.api import Issued
from agent.control.calendar import DAY, Calendar
from agent.control.named_calendars import Occurrences
from agent.control.week import Span, Week
from agent.services.heating.control import Setpoints
from agent.services.heating.loops import Hysteresis
from agent.services.heating.programme import ModeException, Occupancy, ZoneProgramme
from agent.services.heating.room import OptimumStart, OptimumStop
from tests.services.heating.test_control import PARIS, ZONE, Rig

WORKDAYS = Week(Calendar(), "reduced", ((Span(480, 1200, "comfort"),),) * 5 + ((Span(0, 1440, "frost"),),) * 2)
HALL = dataclasses.replace(
    ZONE, name="hall", week=WORKDAYS, law=Hysteresis(0.1), curve=None, pump=None, exercise=None,
    occupancy=Occupancy("hall"),
)  # fmt: skip


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=PARIS)


def booked(*pairs: str, since="2026-01-01", until="2026-03-01", before=0.0) -> Occurrences:
    """ "2026-01-15 18:00/20:00" """
    spans = []
    for pair in pairs:
        begin, _, end = pair.partition("/")
        start = at(begin)
        hour, minute = map(int, end.split(":"))
        spans.append((int(start.timestamp()), int(start.replace(hour=hour, minute=minute).timestamp())))
    return Occurrences.of(spans, int(at(since).timestamp()), int(at(until).timestamp()), before)


def shown(periods) -> list[str]:
    return [f"{one.start.astimezone(PARIS):%d %H:%M} {one.mode}" for one in periods]


def test_with_a_calendar_people_are_there_when_it_is_booked_and_the_week_says_the_rest():
    """Thursday 15 January to Saturday."""
    programme = ZoneProgramme(WORKDAYS, Occupancy("hall"))
    found = programme.periods(at("2026-01-15"), at("2026-01-18"), booked("2026-01-15 18:00/20:00"))
    assert shown(found) == ["15 00:00 reduced", "15 18:00 comfort", "15 20:00 reduced", "17 00:00 frost"]
    week = programme.periods(at("2026-01-15"), at("2026-01-18"), None)
    assert week == WORKDAYS.periods(at("2026-01-15"), at("2026-01-18")), "it is not known: the week holds"


def test_where_the_knowledge_ends_the_week_goes_on():
    programme = ZoneProgramme(WORKDAYS, Occupancy("hall"))
    calendar = booked("2026-01-15 18:00/20:00", until="2026-01-16 12:00")
    found = programme.periods(at("2026-01-15"), at("2026-01-17"), calendar)
    assert shown(found) == [
        "15 00:00 reduced", "15 18:00 comfort", "15 20:00 reduced", "16 12:00 comfort", "16 20:00 reduced",
    ]  # fmt: skip


def test_a_booking_may_have_another_mode_and_a_week_of_comfort_is_reduced_between():
    week = Week(Calendar(), "comfort", ((),) * 7)
    programme = ZoneProgramme(week, Occupancy("hall", "reduced"))
    assert shown(programme.periods(at("2026-01-15"), at("2026-01-16"), booked())) == ["15 00:00 reduced"]
    found = ZoneProgramme(WORKDAYS, Occupancy("hall", "frost")).periods(
        at("2026-01-15"), at("2026-01-16"), booked("2026-01-15 18:00/20:00")
    )
    assert shown(found) == ["15 00:00 reduced", "15 18:00 frost", "15 20:00 reduced"]


def test_exceptions_hold_over_all_and_the_first_of_two():
    exceptions = (
        ModeException("works", date(2026, 1, 16), date(2026, 1, 16), "off"),
        ModeException("closed", date(2026, 1, 15), date(2026, 1, 17), "frost"),
    )
    programme = ZoneProgramme(WORKDAYS, Occupancy("hall"), exceptions)
    calendar = booked("2026-01-15 18:00/20:00", "2026-01-18 10:00/12:00")
    found = programme.periods(at("2026-01-14 20:00"), at("2026-01-19"), calendar)
    assert shown(found) == [
        "14 20:00 reduced", "15 00:00 frost", "16 00:00 off", "17 00:00 frost", "18 10:00 comfort", "18 12:00 frost",
    ]  # fmt: skip


@given(
    st.lists(st.tuples(st.integers(0, 96), st.integers(1, 30)), max_size=6),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.sampled_from(["off", "comfort", "frost"])), max_size=3),
    st.integers(0, 120),
)
def test_the_mode_at_a_moment_is_that_of_the_highest_that_speaks(bookings, exceptions, known):
    """Any bookings (hours from Thursday on), exceptions (days) and knowledge: asked at each half hour."""
    start = at("2026-01-15").astimezone(UTC)
    hours = [(start + timedelta(hours=begin), start + timedelta(hours=begin + length)) for begin, length in bookings]
    spans = [(int(begin.timestamp()), int(end.timestamp())) for begin, end in hours]
    until = start + timedelta(hours=known)
    calendar = Occurrences.of(spans, int(start.timestamp()), int(until.timestamp()))
    first = date(2026, 1, 15)
    days = tuple(
        ModeException("", first + one * DAY, first + (one + more) * DAY, mode) for one, more, mode in exceptions
    )
    programme = ZoneProgramme(WORKDAYS, Occupancy("hall"), days)
    periods = programme.periods(start, start + 5 * DAY, calendar)
    assert periods[0].start == start and periods[-1].end == start + 5 * DAY
    assert all(one.end == two.start and one.mode != two.mode for one, two in pairwise(periods))
    for half in range(0, 240, 3):
        moment = start + timedelta(minutes=30 * half)
        day = moment.astimezone(PARIS).date()
        week = WORKDAYS.at(moment).mode
        expected = next((one.mode for one in days if one.first <= day <= one.last), None)
        if expected is None and moment < until:
            is_booked = any(begin <= moment < end for begin, end in hours)
            expected = "comfort" if is_booked else "reduced" if week == "comfort" else week
        (found,) = [one.mode for one in periods if one.start <= moment < one.end]
        assert found == (expected or week)


def test_a_booking_is_heated_for_in_time_and_the_calendar_may_change():
    zone = dataclasses.replace(HALL, optimum_start=OptimumStart(30, 4 * 3600))
    rig = Rig(zone, start=at("2026-01-15 12:00"), room=16.0)
    rig.calendars = {"hall": booked("2026-01-15 18:00/20:00")}
    rig.settle().until(16, 29)
    assert rig.causes["burner"] == "15 hall reduced"
    rig.until(16, 30)
    assert rig.causes["burner"] == "15 hall optimum_start", "3 K at 30 min/K"
    rig.calendars = {"hall": booked()}
    rig.settle()
    assert rig.causes["burner"] == "15 hall reduced", "it was cancelled"
    rig.calendars = {"hall": booked("2026-01-15 16:00/20:00")}
    rig.settle()
    assert (rig.causes["burner"], rig.zone.facts(rig.state)["hall.mode"]) == ("15 hall comfort", "comfort")
    rig.calendars = {}
    rig.settle().until(20)
    assert rig.causes["burner"] == "15 hall reduced"
    rig.until(23).set(room=16.4).until(8, days=1)
    assert rig.causes["burner"] == "15 hall comfort", "the week holds"


def test_a_mode_by_command_holds_for_its_time_and_over_a_kill():
    rig = Rig(HALL, start=at("2026-01-15 12:00"), room=15.0)
    rig.calendars = {"hall": booked()}
    rig.settle()
    command = rig.zone.timed_command
    rig.state = command(rig.state, "hall.mode", "comfort", rig.now(), Issued(0, 3600))
    rig.settle()
    facts = {"hall.mode": "comfort", "hall.setpoint": 19.0}
    assert (rig.causes["burner"], rig.zone.facts(rig.state)) == ("15 hall command comfort", facts)
    rig.run(1800).restart().settle()
    assert rig.causes["burner"] == "15 hall command comfort"
    rig.run(1799)
    assert rig.causes["burner"] == "15 hall command comfort"
    rig.run(1)
    assert rig.causes["burner"] == "15 hall reduced"
    rig.state = command(rig.state, "hall.mode", "comfort", rig.now(), Issued())
    rig.run(7199)
    assert rig.causes["burner"] == "15 hall command comfort", "two hours, where nothing is said"
    rig.state = command(rig.state, "hall.mode", "auto", rig.now(), Issued())
    rig.settle()
    assert rig.causes["burner"] == "15 hall reduced"


@pytest.mark.parametrize(("trusted", "left"), [(True, 3000), (False, 5400)])
def test_a_command_goes_on_after_a_power_cut_for_no_longer_than_it_was_given(trusted, left):
    """600 s of it passed, then 1,800 s without power. While the time is not known, that does not count."""
    rig = Rig(HALL, start=at("2026-01-15 12:00"), t=100_000.0, room=15.0)
    rig.settle()
    rig.state = rig.zone.timed_command(rig.state, "hall.mode", "frost", rig.now(), Issued(0, 5400))
    rig.run(600).restart()
    after = Rig(HALL, start=at("2026-01-15 12:40"), t=20.0, room=15.0, trusted=trusted)
    if not trusted:
        after.now = lambda: Rig.now(after)._replace(civil=None)
    after.state = rig.state
    after.settle().run(left - 1)
    assert after.causes["burner"] == "15 hall command frost"
    after.run(1)
    assert "command" not in after.causes["burner"]


@pytest.mark.parametrize(
    ("point", "value", "hold", "message"),
    [
        ("hall.mode", "warm", None, "a mode is comfort, reduced, frost, off or auto, not warm"),
        ("hall.mode", True, None, "a mode is comfort, reduced, frost, off or auto, not on"),
        ("hall.mode", 19, None, "a mode is comfort, reduced, frost, off or auto, not 19"),
        ("hall.setpoint", 19.5, None, "19.5 degC is above 19 degC (code de l'énergie R.241-26)"),
        ("hall.setpoint", 7, None, "7 degC is below the frost setpoint 8 degC"),
        ("hall.setpoint", "comfort", None, "a setpoint is a number in degC, not 'comfort'"),
        ("hall.setpoint", True, None, "a setpoint is a number in degC, not True"),
        ("hall.setpoint", 18, 86401, "an override lasts more than 0 and at most 24 h (hold_ms 86400000)"),
        ("hall.mode", "off", 0, "an override lasts more than 0 and at most 24 h (hold_ms 86400000)"),
        ("hall.latch", "frost", None, "hall.latch takes reset, not 'frost'"),
    ],
)
def test_a_wrong_command_is_refused_with_its_reason(point, value, hold, message):
    rig = Rig(HALL)
    with pytest.raises(ValueError) as caught:
        rig.zone.timed_command(rig.state, point, value, rig.now(), Issued(0, hold))
    assert str(caught.value) == message


def test_a_building_with_another_limit_takes_its_own_comfort():
    """A nursery may be warmer (R.241-29): what its file says is its limit."""
    zone = dataclasses.replace(HALL, setpoints=Setpoints(22, 16, 8))
    rig = Rig(zone)
    assert rig.zone.timed_command(rig.state, "hall.setpoint", 22, rig.now(), Issued()).override.setpoint.value == 22.0
    with pytest.raises(ValueError, match=r"22\.5 degC is above 22 degC"):
        rig.zone.timed_command(rig.state, "hall.setpoint", 22.5, rig.now(), Issued())


def test_a_setpoint_by_command_beats_the_mode_and_ends():
    rig = Rig(HALL, start=at("2026-01-15 12:00"), room=15.0)
    rig.settle()
    rig.state = rig.zone.timed_command(rig.state, "hall.setpoint", 17.5, rig.now(), Issued(0, 1800))
    rig.state = rig.zone.timed_command(rig.state, "hall.mode", False, rig.now(), Issued(0, 3600))
    rig.settle()
    facts = {"hall.mode": "off", "hall.setpoint": 17.5}
    assert (rig.causes["burner"], rig.zone.facts(rig.state)) == ("15 hall command setpoint", facts)
    rig.run(1800)
    assert rig.causes["burner"] == "15 hall command off"
    rig.state = rig.zone.timed_command(rig.state, "hall.mode", None, rig.now(), Issued())
    rig.settle()
    assert rig.causes["burner"] == "15 hall comfort"


def test_off_heats_against_frost_only():
    rig = Rig(HALL, start=at("2026-01-15 12:00"), room=12.0, out=-5.0)
    rig.state = rig.zone.timed_command(rig.state, "hall.mode", "off", rig.now(), Issued(0, 86400))
    rig.settle().run(7200)
    assert not rig.on()
    rig.set(room=4.5).run(3600)
    assert rig.on() and rig.raised() == ["frost_risk"]
    assert rig.zone.facts(rig.state)["hall.setpoint"] == 6.0


def test_commands_work_while_the_time_is_not_known():
    rig = Rig(HALL, room=15.0, trusted=False)
    rig.settle()
    assert rig.zone.facts(rig.state)["hall.mode"] == "reduced"
    rig.state = rig.zone.timed_command(rig.state, "hall.mode", "comfort", rig.now(), Issued(0, 3600))
    rig.settle()
    assert rig.causes["burner"] == "15 hall command comfort"
    rig.run(3600)
    assert rig.causes["burner"] == "15 hall clock_untrusted"


def test_comfort_by_command_is_not_missed_at_once():
    zone = dataclasses.replace(HALL, missed_after=3 * 3600.0)
    rig = Rig(zone, start=at("2026-01-15 21:00"), room=14.0)
    rig.settle()
    rig.state = rig.zone.timed_command(rig.state, "hall.mode", "comfort", rig.now(), Issued(0, 4 * 3600))
    rig.settle().run(3 * 3600 - 1)
    assert rig.raised() == []
    rig.run(1)
    assert rig.raised() == ["comfort_missed"]
    rig.run(3600)
    assert rig.raised() == []


COOLING = dataclasses.replace(HALL, optimum_stop=OptimumStop(3600, 0.5))


def test_comfort_ends_early_and_learns_how_early():
    """The room falls by 1 K an hour: half an hour is enough for 0.5 K."""
    rig = Rig(COOLING, start=at("2026-01-15 18:00"), room=19.0)
    rig.settle().until(18, 59)
    assert rig.causes["burner"] == "15 hall comfort"
    rig.until(19)
    assert (rig.causes["burner"], rig.zone.facts(rig.state)["hall.setpoint"]) == ("15 hall optimum_stop", 18.5)
    assert rig.zone.facts(rig.state)["hall.mode"] == "comfort"
    for minute in range(60):
        rig.run(60).set(room=19.0 - (minute + 1) / 60)
    assert rig.state.stop.rate == pytest.approx(1.0, abs=0.05)
    assert (rig.causes["burner"], rig.raised()) == ("15 hall reduced", [])
    rig.set(room=19.0).restart().settle().until(19, 0, days=1)
    assert rig.causes["burner"] == "15 hall comfort"
    rig.until(19, 31)
    assert rig.causes["burner"] == "15 hall optimum_stop"


def test_a_room_that_falls_too_fast_is_heated_again():
    rig = Rig(COOLING, start=at("2026-01-15 18:00"), room=19.0)
    rig.settle().until(19, 1)
    assert not rig.on()
    rig.set(room=18.0).run(1)
    assert rig.on() and rig.causes["burner"] == "15 hall optimum_stop"


def test_a_command_ends_the_cooling():
    rig = Rig(COOLING, start=at("2026-01-15 18:00"), room=19.0)
    rig.settle().until(19, 1)
    rig.state = rig.zone.timed_command(rig.state, "hall.mode", "comfort", rig.now(), Issued())
    rig.settle()
    assert (rig.causes["burner"], rig.state.stop.goal) == ("15 hall command comfort", None)


def test_two_bookings_that_touch_are_one_for_the_end_of_comfort():
    rig = Rig(COOLING, start=at("2026-01-15 17:30"), room=19.0)
    rig.calendars = {"hall": booked("2026-01-15 17:00/19:00", "2026-01-15 19:00/21:00")}
    rig.settle().until(18, 30)
    assert rig.causes["burner"] == "15 hall comfort"
    rig.until(20, 1)
    assert rig.causes["burner"] == "15 hall optimum_stop"
