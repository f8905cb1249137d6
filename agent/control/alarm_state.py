"""What outlasts a moment: alarms that stand until they are over, and times that outlive a boot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from agent.control.api import Happening, Now
from agent.model import Severity

__all__ = ["Shift", "anchored", "changed", "news"]

STEP = 2.0
"""Seconds by which wall and monotonic clock may drift apart before the anchor follows."""

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")
Details = Mapping[str, Mapping[str, Any] | None]


def news(
    subject: str, raised: frozenset[str], standing: Details, severities: Mapping[str, Severity]
) -> tuple[frozenset[str], list[Happening]]:
    """The alarms raised and cleared between what was `raised` before and what is `standing` (code: detail) now."""
    if standing.keys() == raised:
        return raised, []
    new, over = sorted(standing.keys() - raised), sorted(raised - standing.keys())
    happenings = [Happening("alarm", code, subject, severities[code], standing[code]) for code in new]
    happenings += [Happening("cleared", code, subject, severities[code]) for code in over]
    return frozenset(standing), happenings


def anchored(anchor: float | None, now: Now) -> float | None:
    """Unix seconds at monotonic 0, as it is known now: kept beside times that must outlive a boot."""
    if now.civil is None:
        return anchor
    found = now.civil.timestamp() - now.monotonic
    return found if anchor is None or abs(found - anchor) >= STEP else anchor


def changed(state: S, **to: Any) -> S:
    """`state` with other values; the very same if they are its own: most steps change nothing, and cost nothing."""
    for key, value in to.items():
        if getattr(state, key) != value:
            return replace(state, **to)
    return state


class Shift(NamedTuple):
    """Brings monotonic times that were kept to this boot's clock; within one boot it changes nothing.

    A clock that was set while the agent was not running looks like another boot: the times are then those of the wall.
    """

    seconds: float
    now: float

    @classmethod
    def since(cls, anchor: float | None, now: Now) -> Shift:
        """`anchor` was kept with the times."""
        current = anchored(anchor, now)
        return cls(0.0 if anchor is None or current is None else anchor - current, now.monotonic)

    def past(self, at: float) -> float:
        """A time that was; none lies in the future, even if nobody knows how long the box was off."""
        return min(at + self.seconds, self.now)

    def maybe(self, at: float | None) -> float | None:
        return None if at is None else self.past(at)
