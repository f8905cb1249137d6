"""Rules of the calendars of a site."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.site.calendar_files import CalendarFiles
from agent.site.checks.names import Checked
from agent.site.language.document import Keys
from agent.site.models.calendars import CalendarConfig

__all__ = ["check_calendars", "check_use_of_calendars"]

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


def check_use_of_calendars(at: Checked) -> None:
    """Warn of a calendar that nothing names. In a file without services none can be yet, and where another calendar is
    unknown that name may mean it."""
    if at.lacks_any("calendar") or not any(at.written(service.name) for service, _ in at.site.services()):
        return
    others = {name: section for name, section in at.document.data.items() if name != "calendars"}
    named = set(_texts(others))
    for name in at.site.calendars:
        if name not in named:
            text = f"nothing uses {name}: no circuit, zone, water point, alarm or rule names it"
            at.warn(("calendars", name), text, f"write calendar: {name} there, or leave it out", at_key=True)


def _texts(value: Any) -> Iterator[str]:
    """All texts of a part of the file, also of a part that is wrong. A name without its quotes is a number."""
    if isinstance(value, str | int):
        yield str(value)
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)
