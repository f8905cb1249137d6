"""A calendar beside the site file in a running agent: part of the configuration, used from a reload on."""

import json
from datetime import UTC, datetime, timedelta

HEAD = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\n"


def calendar(begin: datetime) -> str:
    return (
        f"{HEAD}BEGIN:VEVENT\r\nUID:1\r\nSUMMARY:Mariage\r\nDTSTART:{begin:%Y%m%dT%H%M%SZ}\r\nDURATION:PT1H\r\n"
        "END:VEVENT\r\nEND:VCALENDAR\r\n"
    )


def reload(site, code=0):
    return json.loads(site.bocage("reload", "--json", check=code).stdout)


def test_an_edited_calendar_is_applied_by_a_reload_and_a_wrong_one_is_refused(site):
    file = site.path.parent / "hall.ics"
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    file.write_text(calendar(tomorrow))
    site.document["calendars"] = {"hall": {"ics": "hall.ics"}}
    site.write()
    site.start()
    assert reload(site)["changed"] == [], "it says the same, read at another time"
    file.write_text(calendar(tomorrow + timedelta(hours=5)))
    assert reload(site)["changed"] == ["calendars"]
    file.write_text(calendar(tomorrow).replace("DTSTART:", "DTSTART:x"))
    refused = reload(site, code=1)
    assert not refused["applied"]
    assert [one.startswith(f"{file}:6:1: error: DTSTART") for one in refused["problems"]] == [True]
    assert "config_invalid" in site.bocage("alarms").stdout
    file.unlink()
    assert reload(site, code=1)["problems"][0].endswith(f"{file} cannot be read: No such file or directory")
