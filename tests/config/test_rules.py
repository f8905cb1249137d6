"""What services ask of the file, where one change of the example does not show it."""

from datetime import date

import pytest

from agent.control import calendar

BOTH = "71:14: warning: supply and drain are both open"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "air-temp:    {from: out-1.temperature, unit: degC}",
            "air-temp:    {from: out-1.temperature, unit: degC, stale_after: 90min}",
            "30:67: warning: 90min has no effect: air-temp is stale with out-1, after 1h (line 24); write the longer "
            "time there",
        ),
        (
            "well:   {output: io-3.relay1, safe_state: off,",
            "well:   {output: io-3.relay1, safe_state: off, refresh: 500ms,",
            "40:59: error: 500ms is too often: refresh must be at least 1 s",
        ),
        (
            "well:   {output: io-3.relay1, safe_state: off,",
            "well:   {output: io-3.relay1, safe_state: off, refresh: 60s, fallback_after: 10min,",
            "40:59: error: fallback_after (line 40) says already when it is written again; write one of the two",
        ),
        (
            "well:   {output: io-3.relay1, safe_state: off,",
            "well:   {output: gpio.22, safe_state: off, refresh: 60s,",
            "40:55: error: gpio.22 is a pin: it stays as it is written; leave out refresh",
        ),
        (
            "ev1:    {output: io-2.relay1, safe_state: off, boot_state: off, fail: normally_closed",
            "ev1:    {output: io-2.relay1, safe_state: off, boot_state: off, fail: normally_open",
            f"{BOTH} after a crash: ev1 (safe_state off, normally_open) and ev2 (safe_state off, normally_open)",
        ),
        (
            "ev1:    {output: io-2.relay1, safe_state: off,",
            "ev1:    {output: io-2.relay1, safe_state: off, stop_state: on,",
            f"{BOTH} when the agent stops: ev1 (stop_state on, normally_closed) "
            "and ev2 (stop_state off, normally_open)",
        ),
        (
            'week: {default: reduced, "mon,tue,thu,fri": ["07:30-17:00 comfort"], "sat,sun": ["00:00-24:00 frost"]}',
            'week: {default: ["07:30-17:00 comfort"], "sat,sun": reduced}',
            "90:59: warning: 62.5 h without comfort never go below 16 degC, the law wants 8 degC from 48 h "
            "(code de l'énergie R.241-27)",
        ),
        (
            "burner: {output: io-2.relay2, safe_state: off, boot_state: off, min_on: 4min, min_off: 6min",
            "burner: {output: io-2.relay2, safe_state: off, boot_state: off, min_on: 30min, min_off: 15min",
            "85:35: warning: cycle 15min is shorter than min_on and min_off of burner allow (45min, line 39); "
            "it is lengthened to 45min",
        ),
        (
            "min_on: 4min, min_off: 6min, max_starts_per_hour: 6}",
            "min_on: 4min, min_off: 6min, max_starts_per_hour: 2}",
            "85:35: warning: cycle 15min is shorter than max_starts_per_hour of burner allows (30min, line 39); "
            "it is lengthened to 30min",
        ),
    ],
)  # fmt: skip
def test_what_check_says_after_a_change(said, saint_seine, before, after, message):
    assert before in saint_seine
    assert said(saint_seine.replace(before, after)) == [message]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("no_holidays: [good_friday]", "warning: good_friday is no public holiday of FR anyway"),
        ("no_holidays: [easter_monday, 12-25, 2027-05-01]", None),
        ("more_holidays: [02-30]", 'error: "02-30" is no day; write 2027-06-24, 06-24 for each year, or'),
        ("more_holidays: [06-24, 2027-06-25, good_friday]", None),
    ],
)
def test_public_holidays_of_the_commune(said, saint_seine, key: str, message: str | None) -> None:
    found = said(saint_seine.replace("public_holidays: FR", f"public_holidays: FR, {key}"))
    assert len(found) == (message is not None)
    assert all(str(message) in line for line in found)


def test_the_end_of_the_table_of_school_holidays_is_told_60_days_before(said, saint_seine, monkeypatch):
    assert said(saint_seine) == []
    monkeypatch.setattr(calendar, "SCHOOL_TABLE_ENDS", date.today())
    found = said(saint_seine)
    assert len(found) == 1
    assert f"91:26: warning: the table of school holidays ends on {date.today()}" in found[0]


@pytest.mark.parametrize(
    ("hours", "fail", "words"),
    [
        ('{all: ["06:00-23:00"]}', "normally_closed", "open for 17 h"),
        ('{all: ["08:00-20:00", "20:00-24:00"]}', "normally_closed", "open for 16 h"),
        ('{all: ["22:00-02:00", "02:00-14:00"]}', "normally_closed", "open for 16 h"),
        ('{all: ["07:00-21:00"], sat: ["07:00-24:00"], sun: ["00:00-12:00"]}', "normally_closed", "open for 29 h"),
        ('{all: ["07:00-21:00"], public_holiday: ["00:00-24:00"]}', "normally_closed", "open for 24 h"),
        ('{all: ["00:00-24:00"]}', "normally_closed", "open always"),
        ("{}", "normally_closed", "open always"),
        ('{all: ["07:00-21:00"], mon: ["07:00-22:00"]}', "normally_closed", None),
        ('{all: ["07:00-21:00"]}', "normally_open", None),
        ('{all: ["08:00-16:00"]}', "normally_open", "closed for 16 h"),
        ('{"mon,tue,wed,thu,fri": ["07:00-21:00"]}', "normally_open", "closed for 58 h"),
        ("{}", "normally_open", None),
    ],
)
def test_hours_beyond_max_on(said, saint_seine, hours: str, fail: str, words: str | None) -> None:
    """Of the coil: on while a normally closed valve is open, and while a normally open one is closed."""
    text = saint_seine.replace('opening_hours: {all: ["07:00-21:00"]}', f"opening_hours: {hours}")
    text = text.replace("fail: normally_closed, travel", f"fail: {fail}, travel")
    found = [line for line in said(text) if "max_on" in line]
    assert len(found) == (words is not None)
    assert all(f"fountain is {words}, longer than ev1.max_on 15h (line 37)" in line for line in found)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{for: 6h, pause: 15min}", None),
        ("{for: 6h}", None),
        ("none", None),
        ("6", "6 has no unit; write 6s, 6min or 6h"),
        ("{pause: 15min}", '"for" is missing; write {for: 6h, pause: 15min}, or 6h alone'),
        ("{for: 6h, paus: 15min}", 'unknown key "paus"; write {for: 6h, pause: 15min}, or 6h alone'),
        ("{for: 6h, pause: 15}", "15 has no unit; write 15s, 15min or 15h"),
    ],
)
def test_how_a_continuous_leak_is_written(said, saint_seine, written: str, message: str | None) -> None:
    found = said(saint_seine.replace("continuous: 6h", f"continuous: {written}"))
    assert [line.partition("error: ")[2] for line in found] == ([message] if message else [])


def test_a_cycle_that_is_found_out_is_lengthened_too(said, saint_seine):
    text = saint_seine.replace("{type: tpi, cycle: 15min, coef_int: 0.6, coef_ext: 0.01}", "{type: tpi}")
    assert said(text) == []
    assert said(text.replace("min_on: 4min, min_off: 6min", "min_on: 30min, min_off: 15min")) == [
        "88:23: warning: min_on and min_off of burner allow no cycle under 45min (line 39); "
        "it is lengthened to that"
    ]


def test_a_step_for_what_is_personal_is_refused(said, saint_seine):
    text = saint_seine.replace("personal: []", "personal: [meter-a]")
    assert text != saint_seine
    assert said(text) == [
        "95:46: error: what is personal (meter-a) stays on the gateway, at every step; leave publish_step out"
    ]
    assert said(text.replace("publish_step: 1h, ", "")) == []
