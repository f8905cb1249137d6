"""What services ask of the file, where one change of the example does not show it."""

from datetime import date

import pytest

from agent.control import calendar

BOTH = "71:14: warning: supply and drain are both open"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
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


def test_the_end_of_the_table_of_school_holidays_is_told_60_days_before(said, saint_seine, monkeypatch):
    assert said(saint_seine) == []
    monkeypatch.setattr(calendar, "SCHOOL_TABLE_ENDS", date.today())
    found = said(saint_seine)
    assert len(found) == 1
    assert f"91:26: warning: the table of school holidays ends on {date.today()}" in found[0]
