"""Rules of the calendars of a site."""

from __future__ import annotations

from agent.site.checks.names import Checked
from agent.site.language.document import Keys

__all__ = ["check_calendars"]


def check_calendars(at: Checked) -> None:
    """Report what is wrong between the keys of each calendar."""
    for name, one in at.site.calendars.items():
        keys: Keys = ("calendars", name)
        if not one.days and not one.add and not (at.has_wrong(*keys, "days") or at.has_wrong(*keys, "add")):
            at.error(keys, f"{name} has no day; write days: [sat], or add: [2027-03-25]", at_key=True)
        for index, day in enumerate(one.add):
            if day in one.leave_out:
                at.error((*keys, "add", index), f"{day} is in leave_out as well, which beats it; keep one of them")
