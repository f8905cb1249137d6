"""Alarms that are open until they are over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.control.api import Happening
from agent.model import Severity

__all__ = ["alarm_changes"]

Details = Mapping[str, Mapping[str, Any] | None]


def alarm_changes(
    subject: str, raised: frozenset[str], standing: Details, severities: Mapping[str, Severity]
) -> tuple[frozenset[str], list[Happening]]:
    """Compare the alarms that were `raised` with those that are `standing` (code: detail).

    Returns the codes that are raised now, and an event for each alarm that was raised or cleared.
    """
    if standing.keys() == raised:
        return raised, []
    new, over = sorted(standing.keys() - raised), sorted(raised - standing.keys())
    happenings = [Happening("alarm", code, subject, severities[code], standing[code]) for code in new]
    happenings += [Happening("cleared", code, subject, severities[code]) for code in over]
    return frozenset(standing), happenings
