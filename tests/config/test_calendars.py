"""The section `calendars` of a site file: what check says of it, and what the controls get."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.control.named_calendars import WeeklyTimes, held
from agent.settings import SettingsReader
from agent.site.build import build_settings
from agent.site.loader import load

HEAD = 'site: {id: a, public_holidays: FR}\nuplink: {url: "mqtt://127.0.0.1"}\ncalendars:\n'
PARIS = ZoneInfo("Europe/Paris")
MARKET = '  market: {days: [sat], times: ["06:00-14:00"], leave_out: [2027-03-26], add: [2027-03-25]}\n'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  market: {}", '4:3: error: market has no day; write days: [sat], or add: [2027-03-25]'),
        ("  market: {days: [samedi]}", '4:19: error: "samedi" is no day of the week; write sat'),
        ("  market: {days: [weekend]}", '4:19: error: "weekend" is no day of the week; write sat, sun'),
        ("  market: {jours: [sat]}", '4:12: error: unknown key "jours"; did you mean "days"?'),
        ('  market: {days: [sat], times: ["6h-14h"]}',
         '4:33: error: "6h" is not a time of day; write "06:00"'),
        ("  market: {days: [sat], add: [2027-02-30]}",
         '4:31: error: "2027-02-30" is no day; write 2027-06-24, 06-24 for each year, or one of good_friday, '
         "easter_monday, ascension, whit_monday"),
        ("  market: {days: [sat], add: [05-01], leave_out: [05-01]}",
         "4:31: error: 05-01 is in leave_out as well, which beats it; keep one of them"),
        ("  market: {days: [sat], before: 30}", "4:33: error: 30 has no unit; write 30s, 30min or 30h"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_at_its_place(said: Callable[[str], list[str]], line: str, expected: str) -> None:
    assert said(f"{HEAD}{line}\n") == [expected]


def test_the_example_checks_and_becomes_a_timetable(said: Callable[[str], list[str]], tmp_path: Path) -> None:
    assert said(HEAD + MARKET) == []
    settings = build_settings(load(tmp_path / "site.yaml"))
    market = settings.calendars["market"]
    assert isinstance(market, WeeklyTimes)
    assert (market.days, market.times) == (frozenset({5}), ((360, 840),))
    assert not market.is_day(date(2027, 3, 26)) and market.is_day(date(2027, 3, 25))
    assert SettingsReader(tmp_path / "site.yaml").result().calendars == settings.calendars, "the child says the same"


def test_without_times_it_is_all_day_and_a_night_goes_on(said: Callable[[str], list[str]], tmp_path: Path) -> None:
    two = '  fete: {add: [07-14]}\n  ball: {days: [sat], times: ["22:00-02:00"], before: 15min}\n'
    assert said(HEAD + two) == []
    found = build_settings(load(tmp_path / "site.yaml")).calendars
    feast = datetime(2027, 7, 14, tzinfo=PARIS)
    assert held(found["fete"], feast) == (True, datetime(2027, 7, 15, tzinfo=PARIS))
    night = datetime(2027, 7, 17, 21, 45, tzinfo=PARIS)
    assert held(found["ball"], night) == (True, datetime(2027, 7, 18, 2, tzinfo=PARIS))
