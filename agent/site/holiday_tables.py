"""Read the holiday tables beside a site file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from agent.control.calendar import GivenHolidays
from agent.site.language.document import Document, read
from agent.site.language.validation import validate
from agent.site.models.holidays import HolidayTables
from agent.site.models.site import Site

__all__ = ["read_tables"]


def read_tables(site: Site, folder: Path) -> tuple[GivenHolidays | None, Document | None, str | None]:
    """The tables that a site names in a folder, the document with what is wrong in it, and why it cannot be read."""
    name = site.site.holiday_tables
    if name is None:
        return None, None, None
    path = folder / name
    try:
        if not path.is_file():
            return None, None, f"{path} is not there"
        if not path.resolve().is_relative_to(folder.resolve()):
            return None, None, f'"{name}" is a link out of the folder of the site file; put the file itself there'
    except (OSError, RuntimeError) as error:
        return None, None, f"{path} cannot be read: {error}"
    document = read(path)
    tables = validate(document, HolidayTables, folder)[0] if document.data is not None else None
    if tables is None:
        return None, document, None
    zone = site.site.school_zone
    school = tables.school
    if isinstance(school, dict):
        if zone is not None and zone not in school and not document.problems:
            document.report(("school",), f"zone {zone} of the site is missing", at_key=True)
        school = school.get(zone, ()) if zone is not None else ()
    keys = ("school", zone) if isinstance(tables.school, dict) and zone is not None else ("school",)
    for index, (one, two) in enumerate(pairwise(school)):
        if two[0] <= one[1]:
            document.report((*keys, index + 1), f"begins on {two[0]}, before the ones before it have ended")
    return GivenHolidays(tuple(sorted(school)), frozenset(tables.public)), document, None
