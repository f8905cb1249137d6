"""The part of a service in the plan, and the format of its times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from agent.planning.picture import Panel, Swatch

__all__ = ["Drawing", "PlanRow", "ServicePlan", "day_text", "period_lines", "time_text"]

Part = Mapping[str, Any]
"""A service's part of the plan, as JSON values, by the names of its circuits, water points or zones."""


class PlanRow(NamedTuple):
    """A line of the CSV. `minutes` and `kwh` are the sums of a night, on its first line."""

    service: str
    name: str
    night: str | None = None
    start: str | None = None
    end: str | None = None
    mode: str | None = None
    setpoint: float | None = None
    minutes: float | None = None
    kwh: float | None = None


class ServicePlan(Protocol):
    """The part of one service, for `days` nights and days from `first`."""

    @property
    def key(self) -> str:
        """Its key in the JSON document."""

    @property
    def asks_school_holidays(self) -> bool:
        """Whether something of it depends on the table of school holidays, which ends."""

    def document(self, first: date, days: int) -> Part:
        """As JSON values. Times are local, with their offset from UTC."""

    def rows(self, part: Part) -> Iterator[PlanRow]:
        """The lines of the CSV, from its part of the document."""

    def lines(self, part: Part) -> Iterator[str]:
        """The text for people, from its part of the document."""


@runtime_checkable
class Drawing(Protocol):
    """A service with panels of its own in the picture of a plan. Those of any other are its periods."""

    def legend(self) -> Sequence[Swatch]:
        """The shades of its panels."""

    def panels(self, first: date, days: int) -> Iterator[Panel]:
        """The panels of `days` nights from `first`."""


def day_text(text: str) -> str:
    """Thu 15 Jan 2026, of an ISO date or time."""
    return f"{datetime.fromisoformat(text):%a %d %b %Y}"


def time_text(text: str) -> str:
    """17:51:21, of an ISO time."""
    return text[11:19]


def period_lines(title: str, part: Part) -> Iterator[str]:
    """Periods for people, under the name that they are of and `title`; with mode, setpoint and the range of the flow
    where they have them."""
    for name, periods in part.items():
        yield ""
        yield f"{name}  {title}"
        for one in periods:
            start, end = one["from"], one["to"]
            mode = f"  {one['mode']}" if "mode" in one else ""
            mode += f" {one['setpoint']:g} degC" if "setpoint" in one else ""
            flow = one.get("flow", ())
            mode += f", flow {flow[0][1]:g} to {flow[-1][1]:g} degC" if flow else ""
            yield f"  {day_text(start)} {time_text(start)[:5]} to {day_text(end)} {time_text(end)[:5]}{mode}"
