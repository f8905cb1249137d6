"""Calendars: when the hall is booked, when the market is held."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from agent.site.language.base import Many, Model
from agent.site.language.days import DayNumber, Feast
from agent.site.language.secret import SecretUrl
from agent.site.language.spellings import spell
from agent.site.language.values import FetchTime, UpToWeek, WindowText, Written, plain

__all__ = ["CalendarConfig", "IcsUrlConfig"]

spell({"calendriers": "calendars", "calendrier": "calendars", "jours": "days", "horaires": "times", "heures": "times",
       "sauf": "leave_out", "avant": "before", "ical": "ics", "fichier": "ics"}, {})  # fmt: skip


def _ics_file(value: Any) -> Path:
    if isinstance(value, str) and "://" in value:
        raise ValueError("this is an address; write ics: {url: https://HOST/NAME.ics}, or keep it like a secret")
    path = Path(value) if isinstance(value, str) else Path()
    if path.suffix.lower() != ".ics" or path.is_absolute() or ".." in path.parts or "\0" in str(path):
        raise ValueError(f"{plain(value)} is no calendar beside the site file; write its name, such as hall.ics")
    return path


IcsFile = Annotated[
    Path,
    Written(_ics_file, {"type": "string", "pattern": "[.]ics$"}, "an iCalendar beside the site file, such as hall.ics"),
]


class IcsUrlConfig(Model):
    """An iCalendar on a server."""

    url: SecretUrl
    """Its address. One that lets anyone read the calendar is a secret, to be kept in a file of its own."""
    refresh: FetchTime = 3600
    """How often it is fetched, at least every 7d, at most every 5min."""


def _kind(value: Any) -> str:
    return "address" if isinstance(value, dict | IcsUrlConfig) else "file"


Ics = Annotated[Annotated[IcsFile, Tag("file")] | Annotated[IcsUrlConfig, Tag("address")], Discriminator(_kind)]


class CalendarConfig(Model):
    """An iCalendar, or days of the week with their times."""

    ics: Ics | None = None
    """Its events: it is on from the begin to the end of each. What they are called is not kept."""
    days: Many[DayNumber] = ()
    """The days of the week on which it is on."""
    times: Many[WindowText] = ()
    """The times of these days; default: all day. One that ends in the night belongs to the day on which it begins."""
    leave_out: Many[Feast] = ()
    """Days on which it is not on, whatever day of the week they are."""
    add: Many[Feast] = ()
    """Days on which it is on as well."""
    before: UpToWeek = 0
    """How much earlier it counts as on, so that it is warm or lit in time; at most 7d."""
