"""Protection of a boiler: the heat curve, the limit of its flow, a flame that gives no heat.

The limit aquastat of the boiler stays hard-wired: nothing here takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import NamedTuple

from agent.control.api import NEVER, Now, Output, View, good

__all__ = ["Burner", "HeatCurve", "guard", "guard_due", "has_no_heat", "see_burner"]

BAND = 3.0
"""The burner is cut this far (K) above the heat curve's target and released as far below it."""
NO_HEAT = 1200.0
"""A burner that is on for so long (s) without the flow rising is locked out."""
RISE = 2.0
"""The flow rises when it gains this much (K)."""
SAG = 5.0
"""A flow that stays within this (K) of what it had risen to is being heated: a boiler at its limit."""
SILENCE = 60.0
"""A flow sensor without a reading since the start is an alarm after this long (s)."""


@dataclass(frozen=True, slots=True)
class HeatCurve:
    """The flow temperature by the outdoor temperature: `points` are (outdoors, flow) in degC, the coldest first."""

    signal: str
    points: tuple[tuple[float, float], ...]
    max_flow: float = 70.0
    heat_off_above: float | None = None

    def target(self, outdoor: float | None) -> float:
        """degC, clamped at both ends: (-10, 65), (15, 30) gives 51.0 at 0. None: as on the coldest day."""
        points = self.points
        if outdoor is None or outdoor <= points[0][0]:
            return points[0][1]
        for (x1, y1), (x2, y2) in pairwise(points):
            if outdoor <= x2:
                return y1 + (y2 - y1) * (outdoor - x1) / (x2 - x1)
        return points[-1][1]


class Burner(NamedTuple):
    """The known state of the burner. Times are monotonic seconds, temperatures those of the flow (degC)."""

    on: float | None = None
    """Since when; None: off."""
    off: float | None = None
    """When it last went off."""
    cut: bool = False
    """By the heat curve."""
    hot: bool = False
    """The flow reached its limit and has not come down yet."""
    locked: bool = False
    lost: float | None = None
    """Since when the flow is not known."""
    failed: bool = False
    """It is known to have failed: an alarm."""
    mark: float | None = None
    """When it last gave heat, else when it was switched on."""
    low: float | None = None
    """The lowest flow since."""
    level: float | None = None
    """The highest flow of this burn; at first, where the last one had brought it to rest: after a short pause it may
    rise no more."""


def see_burner(burner: Burner, output: Output | None, now: Now) -> Burner:
    """Update the burner by its output. An unknown output changes nothing."""
    if output is None or output.value is None or output.value is (burner.on is not None):
        return burner
    on, since = output.value is True, min(output.since, now.monotonic)
    if not isfinite(since):
        since = now.monotonic  # the time of the change is not known: from now
    if on:
        return burner._replace(on=since, off=None, mark=since, low=None)
    rested = burner.mark is not None and since >= burner.mark + NO_HEAT
    return burner._replace(on=None, off=since, mark=None, low=None, level=burner.level if rested else None)


def guard(burner: Burner, curve: HeatCurve, outdoor: float | None, view: View, now: Now) -> Burner:
    """Update the burner by the flow. An unknown flow lets no burner run; a lockout holds until it is reset."""
    flow = good(view, curve.signal)
    if flow is None:
        lost = now.monotonic if burner.lost is None else burner.lost
        found = view.points.get(curve.signal)
        failed = burner.failed or found is not None or now.monotonic >= lost + SILENCE
        return burner._replace(lost=lost, failed=failed)
    target = curve.target(outdoor)
    cut = flow > target - BAND if burner.cut else flow >= target + BAND
    hot = flow > curve.max_flow - BAND if burner.hot else flow >= curve.max_flow
    if (cut, hot, None, False) != (burner.cut, burner.hot, burner.lost, burner.failed):
        burner = burner._replace(cut=cut, hot=hot, lost=None, failed=False)
    burner = _heat(burner, flow, now)
    if not burner.locked and has_no_heat(burner, flow, target, now):
        return burner._replace(locked=True)
    return burner


def _heat(burner: Burner, flow: float, now: Now) -> Burner:
    if burner.on is None:
        return burner
    if burner.low is None or flow < burner.low:
        return burner._replace(low=flow)
    if flow >= burner.low + RISE:
        return burner._replace(mark=now.monotonic, low=flow, level=flow)
    return burner


def has_no_heat(burner: Burner, flow: float, target: float, now: Now) -> bool:
    """Whether it has been on for 20 min without the flow rising, while it is neither hot nor held where it rose to."""
    if burner.mark is None or now.monotonic < burner.mark + NO_HEAT or flow >= target - BAND:
        return False
    return burner.level is None or flow < burner.level - SAG


def guard_due(burner: Burner, now: Now) -> float:
    """When the guard has next something to decide by itself (monotonic s)."""
    times = (
        NEVER if burner.mark is None or burner.locked else burner.mark + NO_HEAT,
        NEVER if burner.lost is None or burner.failed else burner.lost + SILENCE,
    )
    return min([time for time in times if time > now.monotonic], default=NEVER)
