"""Opening hours by a named calendar: what holds when, what `check` says, what `plan` shows."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.control.api import View
from agent.control.calendar import Calendar
from agent.control.foresight import look_ahead
from agent.control.named_calendars import LASTS, Booking, NamedCalendar, Occurrences, WeeklyTimes
from agent.control.week import Span, Week
from agent.planning.site import site_plan
from agent.services.water.control import WaterPoint
from agent.services.water.hours import OpeningHours
from agent.services.water.valve import Valve
from agent.site.loader import load, read_copy
from tests.services.water.bench import Bench

H = 3600.0
CALENDAR = Calendar("Europe/Paris", "FR", "A")
WEEK = Week(CALENDAR, "closed", ((Span(420, 1260, "open"),),) * 7)
BY_CALENDAR, WITH_WEEK = OpeningHours(None, "market"), OpeningHours(WEEK, "market")
START = "2026-07-01T00:00:00"
MIDNIGHT = int(datetime(2026, 6, 30, 22, tzinfo=UTC).timestamp())
"""The same in Unix s."""


def occurrences(*hours: tuple[float, float], since: float = -24, until: float = 720) -> Occurrences:
    """Bookings and what is known, in hours since the start."""
    pairs = [(int(MIDNIGHT + begin * H), int(MIDNIGHT + end * H)) for begin, end in hours]
    return Occurrences.of(pairs, int(MIDNIGHT + since * H), int(MIDNIGHT + until * H))


def bench(hours: OpeningHours, calendar: NamedCalendar | None) -> Bench:
    one = Bench(WaterPoint("fountain", "ct", CALENDAR, hours=hours, valve=Valve("ev1")), START, {"ev1": False})
    if calendar is not None:
        one.calendars["market"] = calendar
    one.set("ct", 1000)
    return one


def moves(one: Bench) -> list[tuple[float, bool]]:
    return [(at / H, bool(value)) for at, _, value, _ in one.edges]


def causes(one: Bench) -> list[str]:
    return [wish.cause for wish in one.wishes]


@pytest.mark.parametrize("hours", [BY_CALENDAR, WITH_WEEK])
def test_the_calendar_replaces_the_week_as_long_as_it_is_known(hours: OpeningHours) -> None:
    one = bench(hours, occurrences((6, 14), (50, 51.5)))
    assert causes(one) == ["outside the opening hours (market)"]
    one.until(7 * H)
    assert causes(one) == ["opening hours (market)"]
    one.until(96 * H)
    assert moves(one) == [(6, True), (14, False), (50, True), (51.5, False)]


@pytest.mark.parametrize("weekday", range(7))
def test_a_market_of_days_and_times(weekday: int) -> None:
    one = bench(BY_CALENDAR, WeeklyTimes(CALENDAR, frozenset({weekday}), ((360, 840),), leave_out=("07-08",)))
    one.until(14 * 24 * H)
    first = (weekday - 2) % 7 * 24  # 1 July 2026 is a Wednesday; that of the 8th is left out
    days = [first, first + 168] if weekday != 2 else [first]
    assert moves(one) == [(day + at, is_open) for day in days for at, is_open in ((6, True), (14, False))]


def test_a_copy_that_became_too_old_ends_and_the_week_holds() -> None:
    one = bench(WITH_WEEK, occurrences((6, 9), (30, 33), until=36))
    one.until(60 * H)
    assert moves(one) == [(6, True), (9, False), (30, True), (33, False), (36, True), (45, False), (55, True)]
    assert causes(one) == ["opening hours (week)"]


def test_without_a_week_it_is_closed_while_the_calendar_is_not_known() -> None:
    one = bench(BY_CALENDAR, occurrences((6, 40), until=36))
    one.until(48 * H)
    assert moves(one) == [(6, True), (36, False)]
    assert causes(one) == ["calendar market is not known"]
    one.calendars["market"] = occurrences((6, 50))
    one.settle()
    assert one.value("ev1") is True and causes(one) == ["opening hours (market)"]


@pytest.mark.parametrize("hours", [BY_CALENDAR, WITH_WEEK])
def test_one_that_was_never_known(hours: OpeningHours) -> None:
    one = bench(hours, None)
    one.until(30 * H)
    assert moves(one) == ([(7, True), (21, False)] if hours.week is not None else [])


def test_what_begins_to_be_known_later() -> None:
    one = bench(WITH_WEEK, occurrences((0, 24), since=10))
    one.until(24 * H)
    assert moves(one) == [(7, True), (24, False)], "the week from 7, the calendar from 10"


def test_another_content_is_looked_at_at_once() -> None:
    one = bench(BY_CALENDAR, occurrences((6, 14)))
    assert "calendar:market" in one.control.inputs
    one.until(7 * H)
    one.calendars["market"] = occurrences((8, 9))
    one.settle()
    assert one.value("ev1") is False
    one.until(10 * H)
    assert moves(one) == [(6, True), (7, False), (8, True), (9, False)]


def test_the_time_is_not_known() -> None:
    one = Bench(WaterPoint("fountain", "ct", CALENDAR, hours=WITH_WEEK, valve=Valve("ev1")), START, {"ev1": False})
    one.calendars["market"] = occurrences((0, 24))
    one.civil = one.trusted = False
    one.until(2 * H)
    assert one.value("ev1") is False and causes(one) == ["the time is not known"]
    one.civil = True  # the last known time goes on, for a calendar as for a week
    one.settle()
    assert one.value("ev1") is True


def test_a_kill_and_a_power_cut() -> None:
    one = bench(BY_CALENDAR, occurrences((6, 14), (30, 38)))
    one.until(7 * H)
    one.restart()
    assert one.value("ev1") is True
    one.until(13 * H)
    one.reboot(2 * H)
    assert one.value("ev1") is False
    one.until(31 * H)
    assert [is_open for _, is_open in moves(one)] == [True, False, True]


def test_what_comes_next() -> None:
    one = bench(BY_CALENDAR, occurrences((30, 38)))
    view = View(one.points, one.outputs, one.calendars)
    found = [coming for coming in look_ahead(one.control, one.state, view, one.now, "ev1") if coming is not None]
    assert [(round((coming.at - one.now.monotonic) / H, 2), coming.wish and coming.wish.value) for coming in found] == [
        (30, True)
    ]


# -- any calendar, any loss ------------------------------------------------------------------------------------

QUARTERS = st.integers(-40, 400).map(lambda quarter: quarter / 4)
SPANS = st.lists(st.tuples(QUARTERS, st.integers(1, 60)).map(lambda one: (one[0], one[0] + one[1] / 4)), max_size=6)
KNOWN = st.tuples(QUARTERS, QUARTERS).map(sorted)


def expected(at: float, hours: OpeningHours, spans: list[tuple[float, float]], known: list[float] | None) -> bool:
    if known is not None and known[0] <= at < known[1]:
        return any(begin <= at < end for begin, end in spans)
    return hours.week is not None and 7 <= at % 24 < 21


@settings(max_examples=60, deadline=None)
@given(
    hours=st.sampled_from([BY_CALENDAR, WITH_WEEK]),
    contents=st.lists(st.tuples(QUARTERS, SPANS, st.none() | KNOWN), min_size=1, max_size=4),
    restarts=st.lists(QUARTERS, max_size=2),
)
def test_it_is_open_when_the_calendar_says_so_and_else_by_the_week(
    hours: OpeningHours, contents: list[Any], restarts: list[float]
) -> None:
    one, spans, known = bench(hours, None), [], None
    for quarter in range(400):
        at = quarter / 4
        one.until(at * H)
        for _, spans_then, known_then in [found for found in contents if found[0] == at]:
            spans, known = spans_then, known_then
            one.calendars.pop("market", None)
            if known is not None and known[0] < known[1]:
                one.calendars["market"] = occurrences(*spans, since=known[0], until=known[1])
            one.settle()
        if at in restarts:
            one.restart()
        assert one.value("ev1") is expected(at, hours, spans, known), at


@settings(max_examples=60, deadline=None)
@given(hours=st.sampled_from([BY_CALENDAR, WITH_WEEK]), spans=SPANS, known=KNOWN)
def test_a_plan_is_what_the_control_does(
    hours: OpeningHours, spans: list[tuple[float, float]], known: list[float]
) -> None:
    calendar = occurrences(*spans, since=known[0], until=known[1]) if known[0] < known[1] else None
    one = bench(hours, calendar)
    one.until(72 * H)
    start = one.start
    plan = hours.between(start, start + timedelta(hours=72), calendar)
    assert all(first.end < second.start for first, second in pairwise(plan))
    found = [(at, value) for at, value in moves(one) if at < 72]
    edges = [(start + timedelta(hours=at), value) for at, value in found]
    planned = [(edge, value) for span in plan for edge, value in zip(Booking(*span), (True, False), strict=True)]
    assert edges == [one for one in planned if one[0] < start + timedelta(hours=72)]


# -- the site file ---------------------------------------------------------------------------------------------

SITE = """\
version: 1
site: {id: village, timezone: Europe/Paris}
uplink: {url: "mqtts://supervision.example.fr:8883", prefix: bocage/v1}
buses: {plant: {type: modbus_tcp, host: 192.168.1.20}, gpio: {type: gpio}}
devices: {io-1: {bus: plant, unit_id: 1, profile: relay8_di8}}
signals: {fountain-ct: {from: gpio.17, kind: counter, unit: L, per_pulse: 10}}
actuators:
  ev1: {output: io-1.relay1, safe_state: off, boot_state: off%s}
calendars:
  market: {days: [sat], times: ["06:00-14:00"], before: 30min}
  gym: {ics: {url: {env: GYM_URL}}}
water:
  points:
    fountain:
      meter: fountain-ct
      valve: ev1
      opening_hours: %s
"""
ALL_DAY = 'week: {all: ["07:00-21:00"]}'


def said(tmp_path: Path, hours: str, actuator: str = "") -> list[str]:
    path = tmp_path / "site.yaml"
    path.write_text(SITE % (actuator, hours))
    found = [str(one).partition(": ")[2] for one in read_copy(path, path).problems]
    return [one for one in found if "nothing uses" not in one]  # the site has two calendars, each test one of them


@pytest.mark.parametrize(
    ("hours", "message"),
    [
        ("{calendar: market}", None),
        (f"{{calendar: market, {ALL_DAY}}}", None),
        (f"{{calendar: gym, {ALL_DAY}}}", None),
        ('{all: ["07:00-21:00"], wed: ["08:00-09:00"]}', None),
        ("{}", 'warning: there are no hours here: fountain is always open; write {all: ["07:00-21:00"]}, or leave '
               "opening_hours out"),
        ("{calendar: market, week: {}}",
         "warning: there are no hours here: fountain is closed while market is not known; "
         'write {all: ["07:00-21:00"]}, or leave week out'),
        ("{calendar: marche}", 'error: unknown calendar "marche"; did you mean "market"?'),
        ("{calender: market}", 'error: unknown key "calender"; did you mean "calendar"?'),
        ("{calendrier: market}", 'error: unknown key "calendrier"; did you mean "calendar"?'),
        ("market", 'error: expected keys with their values, found "market"; write {calendar: market}'),
        (f"{{{ALL_DAY}}}", 'error: "calendar" is missing in opening_hours'),
        ("{calendar: market, semaine: {}}", 'error: unknown key "semaine"; did you mean "week"?'),
        ('{calendar: market, week: {lundi: ["07:00-21:00"]}}', 'error: "lundi" is no day; write "mon"'),
        (
            "{calendar: gym}",
            "warning: fountain is closed while gym is not known, as when its server gave nothing for 30 days; "
            'give it hours for that time: week: {all: ["07:00-21:00"]}',
        ),
    ],
)  # fmt: skip
def test_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: str, message: str | None) -> None:
    monkeypatch.setenv("GYM_URL", "https://example.fr/gym.ics")
    assert said(tmp_path, hours) == ([] if message is None else [message])


@pytest.mark.parametrize(
    ("hours", "actuator", "message"),
    [
        ("{calendar: market}", "max_on: 8h", "open for 8.5 h, longer than ev1.max_on 8h (line 8): it closes"),
        ("{calendar: market}", "max_on: 9h", ""),
        (
            f"{{calendar: market, {ALL_DAY}}}", "max_on: 9h",
            "open for 14 h, longer than ev1.max_on 9h (line 8): it closes",
        ),
        (
            "{calendar: market}", "max_on: 30h, fail: normally_open",
            "closed for 159.5 h, longer than ev1.max_on 30h (line 8): it opens",
        ),
    ],
)  # fmt: skip
def test_max_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: str, actuator: str, message: str) -> None:
    monkeypatch.setenv("GYM_URL", "https://example.fr/gym.ics")
    found = said(tmp_path, hours, f", {actuator}")
    assert found == ([f"warning: fountain is {message} after that, with an alarm"] if message else [])


def plan(tmp_path: Path, hours: str) -> tuple[list[Any], list[str]]:
    path = tmp_path / "site.yaml"
    path.write_text(SITE % ("", hours))
    found = site_plan(load(path))
    document = json.loads(json.dumps(found.document(date(2026, 7, 2), 4)))
    assert [(row.start, row.end, row.mode) for row in found.rows(document)] == [
        (one["from"], one["to"], "open") for one in document["water"]["fountain"]
    ]
    return document["water"]["fountain"], list(found.lines(document))[1:]


def test_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GYM_URL", "https://example.fr/gym.ics")
    periods, lines = plan(tmp_path, f"{{calendar: market, {ALL_DAY}}}")
    assert periods == [{"from": "2026-07-04T05:30:00+02:00", "to": "2026-07-04T14:00:00+02:00"}]
    assert lines == ["", "fountain  open while market is on", "  Sat 04 Jul 2026 05:30 to Sat 04 Jul 2026 14:00"]
    periods, _ = plan(tmp_path, f"{{calendar: gym, {ALL_DAY}}}")
    assert [one["from"][8:16] for one in periods] == ["02T07:00", "03T07:00", "04T07:00", "05T07:00"]


def test_a_step_stays_cheap() -> None:
    """The hours are looked up at their changes alone, not in each step."""
    one = bench(WITH_WEEK, occurrences((6, 14)))
    one.until(1 * H)
    before = one.state.hours
    one.set("ct", 1010)
    assert one.state.hours is before and before is not None


def test_the_last_copy_lasts_as_long_as_it_says() -> None:
    calendar = replace(occurrences(*((day * 24 + 6, day * 24 + 7) for day in range(60))), until=MIDNIGHT + LASTS)
    one = bench(WITH_WEEK, calendar)
    one.until(32 * 24 * H)
    assert moves(one)[58:62] == [(29 * 24 + 6, True), (29 * 24 + 7, False), (30 * 24 + 7, True), (30 * 24 + 21, False)]
