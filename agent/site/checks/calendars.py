"""Rules of the calendars of a site."""

from __future__ import annotations

from pathlib import Path

from agent.site.calendar_files import CalendarFiles
from agent.site.checks.names import Checked
from agent.site.language.document import Keys
from agent.site.models.calendars import CalendarConfig

__all__ = ["check_calendars"]

_WEEKLY = ("days", "times", "leave_out", "add")


def check_calendars(at: Checked, files: CalendarFiles) -> None:
    """Report what is wrong between the keys of each calendar, and read its file."""
    for name, one in at.site.calendars.items():
        keys: Keys = ("calendars", name)
        if one.ics is None:
            if not at.wrong(*keys, "ics"):
                _check_days(at, keys, name, one)
            continue
        for key in _WEEKLY:
            if getattr(one, key):
                at.error((*keys, key), f"{key} is for a calendar without ics; leave out one of them", at_key=True)
        if isinstance(one.ics, Path):
            why = files.read(name, one.ics, at.site.site.timezone, one.before)
            if why is not None:
                at.lacking((*keys, "ics"), why)


def _check_days(at: Checked, keys: Keys, name: str, one: CalendarConfig) -> None:
    if not one.days and not one.add and not (at.has_wrong(*keys, "days") or at.has_wrong(*keys, "add")):
        at.error(keys, f"{name} has no day; write days: [sat], add: [2027-03-25], or ics: {name}.ics", at_key=True)
    for index, day in enumerate(one.add):
        if day in one.leave_out:
            at.error((*keys, "add", index), f"{day} is in leave_out as well, which beats it; keep one of them")
