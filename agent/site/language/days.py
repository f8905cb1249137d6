"""Days in a site file: keys and lists of days of the week, dates and feasts."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any

from agent.control.calendar import MOVABLE
from agent.site.language.problems import listed
from agent.site.language.spellings import days_meant
from agent.site.language.values import DAYS, Written, plain

__all__ = ["DayNumber", "Feast", "MonthDay", "day_words"]


def day_words(*others: str) -> Written:
    """Keys such as "mon,tue": days of the week, or one of the other words."""

    def parse(value: Any) -> str:
        words = [word.strip() for word in value.split(",")] if isinstance(value, str) else [""]
        if not (len(words) == 1 and words[0] in others) and not set(words) <= set(DAYS):
            meant = days_meant(value) if isinstance(value, str) else None
            hint = f'write "{meant}"' if meant else f'write {", ".join(others)}, or days such as "mon,tue"'
            raise ValueError(f"{plain(value)} is no day; {hint}")
        return ",".join(words)

    day = "|".join(map(re.escape, DAYS))
    pattern = rf"^({'|'.join(others)}|({day})( *, *({day}))*)$"
    return Written(parse, {"type": "string", "pattern": pattern}, f'{", ".join(others)}, or days such as "mon,tue"')


def _day_number(value: Any) -> int:
    if isinstance(value, str) and value in DAYS:
        return DAYS.index(value)
    meant = days_meant(value) if isinstance(value, str) else None
    hint = f"write {meant.replace(',', ', ')}" if meant else f"write {listed(DAYS)}"
    raise ValueError(f"{plain(value)} is no day of the week; {hint}")


DayNumber = Annotated[int, Written(_day_number, {"enum": list(DAYS)}, "a day of the week, such as sat")]
"""A day of the week: 0 is Monday."""


def _feast(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    try:
        if text not in MOVABLE:
            date.fromisoformat(text if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else f"2024-{text}")
    except ValueError:
        known = ", ".join(MOVABLE)
        raise ValueError(
            f"{plain(value)} is no day; write 2027-06-24, 06-24 for each year, or one of {known}"
        ) from None
    return text


Feast = Annotated[
    str, Written(_feast, {"type": "string"}, "a day: 2027-06-24, 06-24 for each year, or " + ", ".join(MOVABLE))
]


def _month_day(value: Any) -> tuple[int, int]:
    text = value if isinstance(value, str) else ""
    try:
        if not re.fullmatch(r"\d\d-\d\d", text):
            raise ValueError
        found = date.fromisoformat(f"2024-{text}")
    except ValueError:
        raise ValueError(f'{plain(value)} is no day of the year; write month and day, such as "12-01"') from None
    return found.month, found.day


MonthDay = Annotated[
    tuple[int, int],
    Written(_month_day, {"type": "string", "pattern": r"^\d\d-\d\d$"}, 'month and day, such as "12-01"'),
]
"""A day of each year: month and day."""
