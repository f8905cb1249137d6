"""The section `calendars` of a site file: what check says of it, and what the controls get."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.control.named_calendars import WeeklyTimes, held
from agent.settings import CalendarSource, SettingsReader
from agent.site.build import build_settings
from agent.site.build.weeks import calendar
from agent.site.loader import load, read_copy

HEAD = 'site: {id: a, public_holidays: FR}\nuplink: {url: "mqtt://127.0.0.1"}\ncalendars:\n'
PARIS = ZoneInfo("Europe/Paris")
MARKET = '  market: {days: [sat], times: ["06:00-14:00"], leave_out: [2027-03-26], add: [2027-03-25]}\n'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  market: {}", '4:3: error: market has no day; write days: [sat], add: [2027-03-25], or ics: market.ics'),
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
        ("  hall: {ics: hall.txt}",
         '4:15: error: "hall.txt" is no calendar beside the site file; write its name, such as hall.ics'),
        ("  hall: {ics: ../hall.ics}",
         '4:15: error: "../hall.ics" is no calendar beside the site file; write its name, such as hall.ics'),
        ("  hall: {ics: https://h/a.ics}",
         "4:15: error: this is an address; write ics: {url: https://HOST/NAME.ics}, or keep it like a secret"),
        ("  hall: {ics: {url: http://h/a.ics}}",
         '4:21: error: "http://h/a.ics" is not fetched without TLS; write https://h/a.ics'),
        ("  hall: {ics: {url: webcal://h/a.ics}}",
         '4:21: error: "webcal://h/a.ics" is not fetched without TLS; write https://h/a.ics'),
        ("  hall: {ics: {url: https://me:word@h/a.ics}}",
         "4:21: error: a secret in the file; write {file: NAME}, {credential: NAME} or {env: NAME}"),
        ("  hall: {ics: {url: hall}}",
         '4:21: error: "hall" is not an address; write https://HOST/NAME.ics, or {file: NAME}, {credential: NAME} or '
         "{env: NAME}"),
        ("  hall: {ics: {url: https://h/a.ics, refresh: 1min}}",
         "4:47: error: 1min is too little; write at least 5min"),
        ("  hall: {ics: {refresh: 1h}}", '4:15: error: "url" is missing in ics'),
        ("  hall: {ics: {url: https://h/a.ics}, days: [sat]}",
         "4:39: error: days is for a calendar without ics; leave out one of them"),
        ("  market: {days: [sat], before: 30}", "4:33: error: 30 has no unit; write 30s, 30min or 30h"),
        ("  market: {days: [sat], before: 400d}", "4:33: error: 400d is too much; write at most 7d"),
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


BOOKED = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:Mariage\r\nDTSTART:{at}\r\n"
    "DURATION:PT2H\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
HALL = "  hall: {ics: hall.ics, before: 30min}\n"


def test_a_file_beside_is_read_with_the_site_file(said: Callable[[str], list[str]], tmp_path: Path) -> None:
    tomorrow = (datetime.now(PARIS) + timedelta(days=1)).replace(hour=18, minute=0, second=0, microsecond=0)
    (tmp_path / "hall.ics").write_text(BOOKED.format(at=tomorrow.strftime("%Y%m%dT%H%M%S")))
    assert said(HEAD + HALL) == []
    found = SettingsReader(tmp_path / "site.yaml").found()
    assert found.settings is not None and found.files["hall.ics"].startswith(b"BEGIN:VCALENDAR")
    assert b"Mariage" not in pickle.dumps(found.settings)
    assert found.settings.calendar_sources == (CalendarSource("hall", "hall.ics", before=1800),)
    hall = found.settings.calendars["hall"]
    assert held(hall, tomorrow - timedelta(minutes=31)) == (False, tomorrow - timedelta(minutes=30))
    assert held(hall, tomorrow) == (True, tomorrow + timedelta(hours=2))
    assert [control.name for control in found.settings.controls] == ["calendar.hall"]


def test_a_file_that_is_wrong_is_told_with_its_own_line(said: Callable[[str], list[str]], tmp_path: Path) -> None:
    file = tmp_path / "hall.ics"
    assert said(HEAD + HALL) == [f"4:15: error: {file} cannot be read: No such file or directory"]
    file.write_text(BOOKED.format(at="demain"))
    message = 'DTSTART "demain" is no date and no time; such are 20270326 and 20270326T180000'
    assert said(HEAD + HALL) == [f"{file}:6:1: error: {message}"]
    assert SettingsReader(tmp_path / "site.yaml").found().first is not None
    file.unlink()
    file.symlink_to("/etc/passwd")
    assert said(HEAD + HALL) == [
        '4:15: error: "hall.ics" is a link out of the folder of the site file; put the file itself there'
    ]


def test_an_address_may_be_a_secret(said: Callable[[str], list[str]], tmp_path: Path) -> None:
    assert said(HEAD + "  hall: {ics: {url: {file: hall-url}, refresh: 30min}}\n") == []
    copy = read_copy(tmp_path / "site.yaml")
    (reference,) = copy.secret_references
    assert (reference.line, "hall-url" in str(reference.problem())) == (4, True)
    (source,) = build_settings(load(tmp_path / "site.yaml")).calendar_sources
    (tmp_path / "hall-url").write_text("https://h/private-123.ics\n")
    assert source.url is not None and source.url.reveal() == "https://h/private-123.ics"
    assert (source.refresh, "private" in repr(source)) == (1800, False)


CIRCUIT = (
    'site: {id: a, latitude: 47.3, longitude: 5.0}\nuplink: {url: "mqtt://h"}\n'
    "buses: {p: {type: modbus_tcp, host: h}}\n"
    "devices: {io: {bus: p, unit_id: 1, profile: relay8_di8}}\nactuators: {km: {output: io.relay1}}\n"
    'calendars: {market: {days: [sat], times: ["06:00-14:00"]}}\n'
    "lighting: {circuits: {stars: {actuator: km, kind: %s,\n"
    '  switch_on: {event: sunset}, switch_off: {time: "23:00"},\n  %s}}}\n'
)


@pytest.mark.parametrize(
    ("kind", "key", "expected"),
    [
        ("road", 'season: {from: "12-01", to: "01-06"}', []),
        ("road", "season: {from: 1 December, to: 01-06}",
         ['9:18: error: "1 December" is no day of the year; write month and day, such as "12-01"']),
        ("road", 'season: {from: "02-30", to: "01-06"}',
         ['9:18: error: "02-30" is no day of the year; write month and day, such as "12-01"']),
        ("road", "exceptions: [{calendar: market, part_night_off: none}]", []),
        ("road", "exceptions: [{calendar: markt, part_night_off: none}]",
         ['9:27: error: unknown calendar "markt"; did you mean "market"?']),
        ("road", "exceptions: [{calendar: market, from: 2026-07-13}]",
         ['9:35: error: unknown key "from"']),
        ("road", 'exceptions: [{from: 2026-07-13, to: 2026-07-14, switch_on: {}}]',
         ["9:62: error: write one of event and time"]),
        ("heritage", 'exceptions: [{name: fete, from: 2026-07-13, to: 2026-07-14, switch_off: {time: "02:00"}}]',
         ["9:82: error: stars (heritage), fete: switches off at 02:00, later than the legal 01:00; switch off "
          "earlier, or state legal_reference"]),
        ("heritage", 'exceptions: [{from: 2026-07-13, to: 2026-07-14, switch_on: {event: sunset, offset: -10min}}]',
         ["9:86: error: stars (heritage), 2026-07-13: switches on before sunset; switch on later, or state "
          "legal_reference"]),
    ],
)  # fmt: skip
def test_season_and_exceptions_of_a_circuit(
    said: Callable[[str], list[str]], kind: str, key: str, expected: list[str]
) -> None:
    found = [line for line in said(CIRCUIT % (kind, key)) if "nothing uses market" not in line]
    assert [line.partition("; known here")[0] for line in found] == expected


@pytest.mark.parametrize(
    ("kind", "value", "warned"), [("heritage", "on", True), ("heritage", "off", False), ("road", "on", False)]
)
def test_a_rule_that_lights_a_circuit_with_legal_hours_is_warned_of(
    said: Callable[[str], list[str]], kind: str, value: str, warned: bool
) -> None:
    """A rule knows no hours of the law, which an exception with the same hours would be held to."""
    rule = f'rules: {{x: {{if: {{times: ["02:00-03:00"]}}, then: {{actuator: km, value: {value}}}}}}}\n'
    site = CIRCUIT % (kind, 'season: {from: "12-01", to: "01-06"}') + rule
    found = [line for line in said(site) if "may light" in line]
    assert [line.partition(": ")[2] for line in found] == [
        "warning: x may light stars (heritage) outside the hours that the law gives (arrêté du 27 décembre 2018); "
        "let the circuit's own hours light it, or state its legal_reference"
    ] * warned


UNUSED = (
    "6:13: warning: nothing uses market: no circuit, zone, water point, alarm or rule names it; write calendar: market "
    "there, or leave it out"
)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("", [UNUSED]),
        ("alarms: {busy: {calendar: market, for: 1h}}\n", []),
        ("rules: {a: {if: {all: [{calendar: market}, {times: 06:00-07:00}]}, then: {actuator: km2, value: on}}}\n",
         ['10:85: error: unknown actuator "km2"; did you mean "km"?']),
        ("alarms: {busy: {calendar: markt, for: 1h}}\n",
         ['10:27: error: unknown calendar "markt"; did you mean "market"?']),
        ("alarms: {busy: {calendar: market, for: 10}}\n", ["10:40: error: 10 has no unit; write 10s, 10min or 10h"]),
    ],
)  # fmt: skip
def test_a_calendar_that_nothing_names_is_warned_of(
    said: Callable[[str], list[str]], rest: str, expected: list[str]
) -> None:
    assert said(CIRCUIT % ("road", "") + rest) == expected


TABLES = """
school:
  A: [2027-10-23/2027-11-08, 2027-12-18/2028-01-03]
  B: [2027-10-24/2027-11-08]
public: [2028-01-01, 2028-04-17]
"""
ZONE_A = 'site: {id: a, public_holidays: FR, school_zone: A, holiday_tables: holidays.yaml}\nuplink: {url: "mqtt://h"}\n'


def test_tables_of_its_own_win_and_carry_the_programs_on(said: Callable[[str], list[str]], tmp_path: Path) -> None:
    (tmp_path / "holidays.yaml").write_text(TABLES)
    assert said(ZONE_A) == []
    found = calendar(load(tmp_path / "site.yaml"))
    assert found.is_school_holiday(date(2027, 2, 13)), "the program's table holds before"
    assert [found.is_school_holiday(date(2027, 10, day)) for day in (22, 23, 24)] == [False, True, True]
    assert found.ends() == date(2028, 1, 3)
    assert [found.is_public_holiday(date(2028, *day)) for day in ((1, 1), (4, 17), (5, 1))] == [True, True, False]
    assert found.is_public_holiday(date(2027, 5, 1)), "of a year that the file does not have"
    settings = SettingsReader(tmp_path / "site.yaml").found()
    assert settings.files["holidays.yaml"] == TABLES.encode(), "it is kept with the site file"


def test_a_site_without_a_zone_has_school_holidays_of_its_own(said: Callable[[str], list[str]], tmp_path: Path) -> None:
    (tmp_path / "holidays.yaml").write_text("school: [2027-07-10/2027-08-22]\n")
    site = 'site: {id: a, timezone: Indian/Reunion, holiday_tables: holidays.yaml}\nuplink: {url: "mqtt://h"}\n'
    assert said(site) == []
    found = calendar(load(tmp_path / "site.yaml"))
    assert found.has_school
    assert [found.is_school_holiday(date(2027, *day)) for day in ((8, 22), (8, 23))] == [True, False]


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ("school: {A: [2027-10-23]}",
         '1:14: error: "2027-10-23" are no holidays; write their first and last day, 2027-10-23/2027-11-07'),
        ("school: {A: [2027-11-08/2027-10-23]}",
         "1:14: error: 2027-11-08 is after 2027-10-23; write the first day first"),
        ("school: {A: [2027-02-30/2027-03-02]}", '1:14: error: there is no such day in "2027-02-30/2027-03-02"'),
        ("school: {B: [2027-10-23/2027-11-08]}", "1:1: error: zone A of the site is missing"),
        ("school: {A: [2027-10-23/2027-11-08, 2027-11-08/2027-11-09]}",
         "1:37: error: begins on 2027-11-08, before the ones before it have ended"),
        ("public: [2028-13-01]", '1:10: error: there is no day 2028-13-01'),
        ("ferien: []", '1:1: error: unknown key "ferien"'),
    ],
)  # fmt: skip
def test_a_wrong_table_is_told_with_its_own_line(
    said: Callable[[str], list[str]], tmp_path: Path, tables: str, expected: str
) -> None:
    (tmp_path / "holidays.yaml").write_text(tables + "\n")
    found = said(ZONE_A)
    assert len(found) == 1, found
    (line,) = found
    assert line.removeprefix(f"{tmp_path}/holidays.yaml:").startswith(expected)


def test_a_table_that_is_not_there_is_told_at_the_key(said: Callable[[str], list[str]], tmp_path: Path) -> None:
    assert said(ZONE_A) == [f"1:68: error: {tmp_path}/holidays.yaml is not there"]
