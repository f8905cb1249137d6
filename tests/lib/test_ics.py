"""iCalendars as their makers write them, read in the child process: when the events are, and nothing else of them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agent.lib import ics
from agent.lib.ics import IcsError, IcsRequest, fetch, read
from tests.fakes.https import Pages, https_server

PARIS = ZoneInfo("Europe/Paris")
HEAD = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Mairie//FR\r\n"
TAIL = "END:VCALENDAR\r\n"


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=PARIS).timestamp())


def event(*lines: str) -> str:
    return "\r\n".join(["BEGIN:VEVENT", "DTSTAMP:20260101T000000Z", *lines, "END:VEVENT", ""])


def found(text: str, since: str = "2026-03-01", until: str = "2026-05-01", timezone: str = "Europe/Paris") -> list[str]:
    """Local begin and end of each occurrence."""
    spans = read(IcsRequest(timezone, moment(since), moment(until), text.encode()))
    return [f"{_text(begin)} {_text(end)}" for begin, end in spans]


def _text(at: int) -> str:
    return datetime.fromtimestamp(at, PARIS).strftime("%m-%d %H:%M")


def wrong(text: str | bytes) -> tuple[int, str]:
    with pytest.raises(IcsError) as caught:
        read(IcsRequest("Europe/Paris", moment("2026-03-01"), moment("2026-05-01"),
                        text if isinstance(text, bytes) else text.encode()))  # fmt: skip
    return caught.value.line, str(caught.value)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["DTSTART;TZID=Europe/Paris:20260310T180000", "DTEND;TZID=Europe/Paris:20260310T200000"],
         ["03-10 18:00 03-10 20:00"]),
        (["DTSTART:20260310T180000", "DURATION:PT90M"], ["03-10 18:00 03-10 19:30"]),
        (["DTSTART:20260310T170000Z", "DTEND:20260310T190000Z"], ["03-10 18:00 03-10 20:00"]),
        (["DTSTART;VALUE=DATE:20260310", "DTEND;VALUE=DATE:20260312"], ["03-10 00:00 03-12 00:00"]),
        (["DTSTART;VALUE=DATE:20260329"], ["03-29 00:00 03-30 00:00"]),  # a day of 23 hours
        (["DTSTART:20260310"], ["03-10 00:00 03-11 00:00"]),  # VALUE=DATE forgotten
        (["DTSTART;TZID=Romance Standard Time:20260310T180000", "DURATION:PT1H"], ["03-10 18:00 03-10 19:00"]),
        (["DTSTART:20260310T180000"], []),  # no end: it has no length
        (["DTSTART:20260310T180000", "DURATION:PT1H", "STATUS:CANCELLED"], []),
        (["DTSTART:20260329T013000", "DURATION:PT2H"], ["03-29 01:30 03-29 04:30"]),
        (["DTSTART;VALUE=DATE:20260329", "DURATION:P1D"], ["03-29 00:00 03-30 00:00"]),
        (["DTSTART:20260310T180000", "DURATION:PT1H", "RDATE;VALUE=PERIOD:20260311T180000/20260311T230000"],
         ["03-10 18:00 03-10 19:00", "03-11 18:00 03-11 23:00"]),
    ],
)  # fmt: skip
def test_one_event(lines: list[str], expected: list[str]) -> None:
    assert found(HEAD + event("UID:1", *lines) + TAIL) == expected


@pytest.mark.parametrize("start", ["20260329T013000", "20261025T013000"])
@pytest.mark.parametrize(
    ("duration", "days", "exact"),
    [("PT2H", 0, 7200), ("PT26H", 0, 93600), ("P1D", 1, 0), ("P1W", 7, 0), ("P1DT2H30M", 1, 9000), ("P2DT1S", 2, 1)],
)
@pytest.mark.parametrize("before", range(3))
def test_hours_of_a_duration_are_exact_and_its_days_are_those_of_the_calendar(
    start: str, duration: str, days: int, exact: int, before: int
) -> None:
    """RFC 5545, 3.3.6, over both changes of the clock; also as the last of a series that begins days `before` it."""
    first = datetime.strptime(start, "%Y%m%dT%H%M%S") - timedelta(days=before)
    series = event("UID:1", f"DTSTART;TZID=Europe/Paris:{first:%Y%m%dT%H%M%S}", f"DURATION:{duration}",
                   f"RRULE:FREQ=DAILY;COUNT={before + 1}")  # fmt: skip
    begins = [(first + timedelta(days=number)).replace(tzinfo=PARIS) for number in range(before + 1)]
    spans = [(int(at.timestamp()), int((at + timedelta(days=days)).timestamp()) + exact) for at in begins]
    request = IcsRequest("Europe/Paris", moment("2026-01-01"), moment("2027-01-01"), (HEAD + series + TAIL).encode())
    assert read(request) == spans


def test_floating_times_are_of_the_sites_zone() -> None:
    text = HEAD + event("UID:1", "DTSTART:20260310T180000", "DURATION:PT1H") + TAIL
    assert found(text, timezone="America/Guadeloupe") == ["03-10 23:00 03-11 00:00"]


def test_a_series_keeps_its_local_hour_and_has_exceptions() -> None:
    text = HEAD + event(
        "UID:choir", "DTSTART;TZID=Europe/Paris:20260303T180000", "DTEND;TZID=Europe/Paris:20260303T200000",
        "RRULE:FREQ=WEEKLY;BYDAY=TU;UNTIL=20260414T160000Z", "EXDATE;TZID=Europe/Paris:20260310T180000",
        "RDATE;TZID=Europe/Paris:20260416T180000",
    ) + event(
        "UID:choir", "RECURRENCE-ID;TZID=Europe/Paris:20260317T180000",
        "DTSTART;TZID=Europe/Paris:20260318T190000", "DTEND;TZID=Europe/Paris:20260318T210000",
    ) + event(
        "UID:choir", "RECURRENCE-ID;TZID=Europe/Paris:20260324T180000", "STATUS:CANCELLED",
        "DTSTART;TZID=Europe/Paris:20260324T180000", "DTEND;TZID=Europe/Paris:20260324T200000",
    ) + TAIL  # fmt: skip
    assert found(text) == [
        "03-03 18:00 03-03 20:00", "03-18 19:00 03-18 21:00", "03-31 18:00 03-31 20:00", "04-07 18:00 04-07 20:00",
        "04-14 18:00 04-14 20:00", "04-16 18:00 04-16 20:00",
    ]  # fmt: skip


def test_a_floating_series_and_its_exception_agree() -> None:
    text = HEAD + event("UID:1", "DTSTART:20260327T180000", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=4",
                        "EXDATE:20260328T180000") + TAIL  # fmt: skip
    assert found(text) == ["03-27 18:00 03-27 19:00", "03-29 18:00 03-29 19:00", "03-30 18:00 03-30 19:00"]


def test_a_zone_of_the_calendars_own() -> None:
    zone = (
        "BEGIN:VTIMEZONE\r\nTZID:Mairie\r\nBEGIN:STANDARD\r\nDTSTART:19701025T030000\r\nTZOFFSETFROM:+0200\r\n"
        "TZOFFSETTO:+0100\r\nRRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\r\nEND:STANDARD\r\nBEGIN:DAYLIGHT\r\n"
        "DTSTART:19700329T020000\r\nTZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\n"
        "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r\nEND:DAYLIGHT\r\nEND:VTIMEZONE\r\n"
    )
    series = event("UID:1", "DTSTART;TZID=Mairie:20260322T180000", "DURATION:PT1H", "RRULE:FREQ=WEEKLY;COUNT=2")
    assert found(HEAD + zone + series + TAIL) == ["03-22 18:00 03-22 19:00", "03-29 18:00 03-29 19:00"]


def test_alarms_tasks_and_what_is_told_of_an_event_are_passed_over() -> None:
    text = HEAD + "BEGIN:VTODO\r\nDTSTART:20260310T180000\r\nEND:VTODO\r\n" + event(
        "UID:1", "SUMMARY:Mariage de Marie Curie\r\n  et Pierre\\, à l'église", "DTSTART:20260310T180000",
        "ATTENDEE;CN=\"Curie, Marie\":mailto:m@example.fr", "DURATION:PT1H",
        "BEGIN:VALARM", "TRIGGER:-PT15M", "DURATION:PT5M", "END:VALARM",
    ) + TAIL  # fmt: skip
    assert found(text) == ["03-10 18:00 03-10 19:00"]
    assert found(text.replace("\r\n", "\n")) == ["03-10 18:00 03-10 19:00"], "unix lines too"
    assert found("\ufeff" + text.replace("BEGIN:VCALENDAR", "begin:vcalendar", 1)) == ["03-10 18:00 03-10 19:00"]


def test_the_answer_of_the_child_has_numbers_only() -> None:
    text = HEAD + event("UID:1", "SUMMARY:Mariage", "DTSTART:20260310T180000", "DURATION:PT1H") + TAIL
    request = IcsRequest("Europe/Paris", moment("2026-03-01"), moment("2026-05-01"), text.encode())
    answer = subprocess.run(ics._command(), input=request.encoded(), capture_output=True, check=True, env={}).stdout
    assert json.loads(answer) == {"spans": [[moment("2026-03-10 18:00"), moment("2026-03-10 19:00")]]}


def test_one_that_begins_before_the_time_asked_for_is_there() -> None:
    text = HEAD + event("UID:1", "DTSTART:20260227T180000", "DTEND:20260302T100000") + TAIL
    assert found(text) == ["02-27 18:00 03-02 10:00"]


def test_a_calendar_that_takes_back_is_empty() -> None:
    assert found(HEAD + "METHOD:CANCEL\r\n" + event("UID:1", "DTSTART:20260310T180000", "DURATION:PT1H") + TAIL) == []
    assert found(HEAD + TAIL) == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "this is no iCalendar: it does not begin with BEGIN:VCALENDAR"),
        ("\n<html>\n", 2, "this is no iCalendar: it does not begin with BEGIN:VCALENDAR"),
        (HEAD, 3, "END:VCALENDAR is missing (it begins on line 1)"),
        (HEAD + "bla bla\r\n" + TAIL, 4, "this is no line of an iCalendar; such a line is NAME:VALUE"),
        (HEAD + TAIL + "X:1\r\n", 5, "this stands after the calendar's END:VCALENDAR"),
        (HEAD + event("UID:1") + TAIL, 4, "this event has no DTSTART"),
        (HEAD + "BEGIN:VEVENT\r\nDTSTART:20260310T180000\r\n" + TAIL, 6,
         "END:VCALENDAR ends what BEGIN:VEVENT begins (line 4)"),
        (HEAD + event("DTSTART:demain") + TAIL, 6,
         'DTSTART "demain" is no date and no time; such are 20270326 and 20270326T180000'),
        (HEAD + event("DTSTART:20260231T180000") + TAIL, 6,
         'DTSTART "20260231T180000" is no date and no time; such are 20270326 and 20270326T180000'),
        (HEAD + event("SUMMARY:a\r\n b\r\n c", "DTSTART:demain") + TAIL, 9,
         'DTSTART "demain" is no date and no time; such are 20270326 and 20270326T180000'),
        (HEAD + event("DTSTART:20260310T180000", "DTEND:20260310T170000") + TAIL, 7,
         "DTEND 20260310T170000 is before DTSTART 20260310T180000 (line 6)"),
        (HEAD + event("DTSTART:20260310T180000", "DURATION:-PT5H") + TAIL, 7,
         "DURATION -PT5H ends the event before its DTSTART (line 6)"),
        (HEAD + event("DTSTART;TZID=Mars/Base:20260310T180000") + TAIL, 6,
         "TZID=Mars/Base is no time zone of this calendar, and none that is known"),
        (HEAD + event("DTSTART:20260310T180000", "RRULE:FREQ=SOMETIMES") + TAIL, 7,
         'RRULE "FREQ=SOMETIMES" is not understood; such is FREQ=WEEKLY;BYDAY=TU'),
        (HEAD + event("DTSTART:20260310T180000", "DURATION:2 heures") + TAIL, 7,
         'DURATION "2 heures" is not understood; such is PT2H'),
        (HEAD + event("DTSTART:20260310T180000", "EXDATE:20260310T180000,20260311") + TAIL, 7,
         "EXDATE has dates and times at once"),
        (HEAD + event("DTSTART:20260301T000000", "DURATION:PT10S", "RRULE:FREQ=MINUTELY") + TAIL, 8,
         "it has more than 10000 occurrences in the time from 2026-02-28 on"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, message: str) -> None:
    assert wrong(text) == (line, message)


def test_a_calendar_is_bounded_in_size() -> None:
    assert wrong((HEAD + "X:" + "y" * 1_000_000).encode()) == (0, "it is larger than 1 MB")


@pytest.mark.slow
def test_a_calendar_is_bounded_in_processor_time() -> None:
    text = HEAD + event("DTSTART:20260301T000000", "DURATION:PT1S", "RRULE:FREQ=SECONDLY") + TAIL
    found = wrong(text)  # a fast processor comes to the other limit first
    assert found in [(8, "it takes more than 10 s of processor time"), (8, "it takes more than 256 MiB of memory")]


def test_without_the_libraries_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.lib.ics._NEEDED", ("icalendar", "not_there_at_all"))
    line, message = wrong(HEAD + TAIL)
    assert (line, message) == (0, "iCalendars need not_there_at_all, which is not installed: pip install bocage again")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1/secret.ics", "the address does not begin with https://"),
        ("https://127.0.0.1:1/secret.ics", "the server cannot be reached: Connection refused"),
        ("https://user@127.0.0.1:x/secret.ics", "it cannot be fetched: InvalidURL"),
    ],
)
async def test_what_cannot_be_fetched_is_said_without_the_address(url: str, message: str) -> None:
    with pytest.raises(IcsError) as caught:
        await fetch(IcsRequest("Europe/Paris", 0, 1, url=url))
    assert str(caught.value) == message


def answers(calendar: str) -> Pages:
    return {
        "/secret.ics": (200, {}, calendar.encode()),
        "/moved.ics": (302, {"Location": "/secret.ics"}, b""),
        "/plain.ics": (302, {"Location": "http://127.0.0.1/secret.ics"}, b""),
        "/round.ics": (302, {"Location": "/round.ics"}, b""),
        "/file.ics": (302, {"Location": "file:///etc/passwd"}, b""),
        "/login": (200, {}, b"<html>login</html>"),
        "/long.ics": (200, {}, calendar.encode() + b"x" * 1_000_000),
        "/gone.ics": (404, {}, b""),
    }


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/secret.ics", None),
        ("/moved.ics", None),
        ("/plain.ics", "the server sends on to an address without https, or in a circle"),
        ("/file.ics", "the server sends on to an address without https, or in a circle"),
        ("/round.ics", "the server sends on to an address without https, or in a circle"),
        ("/login", "this is no iCalendar: it does not begin with BEGIN:VCALENDAR"),
        ("/long.ics", "it is larger than 1 MB"),
        ("/gone.ics", "the server answers 404"),
    ],
)
async def test_a_server_with_a_certificate_is_asked(
    path: str, message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calendar = HEAD + event("UID:1", "DTSTART:20260310T180000", "DURATION:PT1H") + TAIL
    with https_server(tmp_path, answers(calendar)) as (root, authority):
        request = IcsRequest("Europe/Paris", moment("2026-03-01"), moment("2026-05-01"), url=root + path)
        with pytest.raises(IcsError, match=r"^the server cannot be reached: .*certificate"):
            await fetch(request)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        if message is None:
            assert await fetch(request) == [(moment("2026-03-10 18:00"), moment("2026-03-10 19:00"))]
        else:
            with pytest.raises(IcsError) as caught:
                await fetch(request)
            assert str(caught.value) == message


def test_the_agent_does_not_import_the_libraries() -> None:
    code = "import agent.app, sys; print([m for m in sys.modules if m.split('.')[0] in ('icalendar', 'dateutil')])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
