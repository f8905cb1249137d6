"""Calendars: when the hall is booked, when the market is held."""

from __future__ import annotations

from agent.site.language.base import Many, Model
from agent.site.language.days import DayNumber, Feast
from agent.site.language.spellings import spell
from agent.site.language.values import Duration, WindowText

__all__ = ["CalendarConfig"]

spell({"calendriers": "calendars", "calendrier": "calendars", "jours": "days", "horaires": "times", "heures": "times",
       "sauf": "leave_out", "avant": "before"}, {})  # fmt: skip


class CalendarConfig(Model):
    """Days of the week with their times."""

    days: Many[DayNumber] = ()
    """The days of the week on which it is on."""
    times: Many[WindowText] = ()
    """The times of these days; default: all day. One that ends in the night belongs to the day on which it begins."""
    leave_out: Many[Feast] = ()
    """Days on which it is not on, whatever day of the week they are."""
    add: Many[Feast] = ()
    """Days on which it is on as well."""
    before: Duration = 0
    """How much earlier it counts as on, so that it is warm or lit in time."""
