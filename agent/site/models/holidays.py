"""Holiday tables of a site's own: a file beside the site file that wins over the package's tables."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from agent.site.language.base import Many, Model
from agent.site.language.values import Choice, Date, Written, plain

__all__ = ["HolidayFile", "HolidayTables"]


def _holidays(value: Any) -> tuple[date, date]:
    found = re.fullmatch(r"\s*(\d{4}-\d\d-\d\d)\s*/\s*(\d{4}-\d\d-\d\d)\s*", value if isinstance(value, str) else "")
    try:
        first, last = (date.fromisoformat(day) for day in found.groups()) if found else (None, None)
    except ValueError:
        raise ValueError(f"there is no such day in {plain(value)}") from None
    if first is None or last is None:
        raise ValueError(f"{plain(value)} are no holidays; write their first and last day, 2027-10-23/2027-11-07")
    if first > last:
        raise ValueError(f"{first} is after {last}; write the first day first")
    return first, last


HolidaysText = Annotated[
    tuple[date, date],
    Written(
        _holidays,
        {"type": "string", "pattern": r"^\s*\d{4}-\d\d-\d\d\s*/\s*\d{4}-\d\d-\d\d\s*$"},
        "first and last day, such as 2027-10-23/2027-11-07",
    ),
]
Zone = Annotated[Literal["A", "B", "C"], Choice("A", "B", "C")]
School = Annotated[
    Annotated[Many[HolidaysText], Tag("one")] | Annotated[dict[Zone, Many[HolidaysText]], Tag("zones")],
    Discriminator(lambda value: "zones" if isinstance(value, dict) else "one"),
]


class HolidayTables(Model):
    """School and public holidays."""

    school: School = ()
    """For each zone, or of this site alone, which may have no zone: overseas, say."""
    public: Many[Date] = ()


def _file(value: Any) -> Path:
    path = Path(value) if isinstance(value, str) else Path()
    wrong = path.suffix.lower() not in (".yaml", ".yml") or path.is_absolute() or ".." in path.parts
    if wrong or path == Path("site.yaml") or "\0" in str(path):
        raise ValueError(f"{plain(value)} is no table beside the site file; write its name, such as holidays.yaml")
    return path


HolidayFile = Annotated[
    Path,
    Written(_file, {"type": "string", "pattern": "[.]ya?ml$"}, "a file beside the site file, such as holidays.yaml"),
]
