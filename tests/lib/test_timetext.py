"""Times as text: in UTC, in the site's zone, to the second or the millisecond."""

import logging
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from agent.lib.timetext import local_text, log_times_in, site_text, utc_text

AT = 1_768_495_881_250
"""2026-01-15, 17:51:21.25 in Paris."""


def test_unix_milliseconds_as_text() -> None:
    assert utc_text(AT) == "2026-01-15T16:51:21.250+00:00"
    assert utc_text(AT, "seconds") == "2026-01-15T16:51:21+00:00"
    assert site_text(AT, "Europe/Paris") == "2026-01-15T17:51:21.250+01:00"


def test_an_unknown_time_has_no_text() -> None:
    assert (utc_text(None), site_text(None, "Europe/Paris"), local_text(None, None)) == (None, None, None)


def test_a_text_in_utc_is_shown_in_another_zone() -> None:
    assert local_text("2026-01-15T16:51:21.250+00:00", ZoneInfo("Europe/Paris")) == "2026-01-15T17:51:21+01:00"
    moment = datetime.fromtimestamp(AT / 1000, UTC)
    assert local_text(moment, ZoneInfo("Europe/Paris")) == "2026-01-15T17:51:21+01:00"


def test_log_lines_have_the_time_of_a_zone() -> None:
    formatter = logging.Formatter("%(asctime)s", "%H:%M:%S")
    log_times_in(formatter, "Pacific/Auckland")
    record = logging.makeLogRecord({"created": AT / 1000})
    assert formatter.format(record) == "05:51:21"
