"""The summer limit: whether to heat, by a damped outdoor temperature."""

from __future__ import annotations

from math import exp
from typing import NamedTuple

__all__ = ["Season", "weigh"]

DAMPING = 3 * 3600.0
"""Seconds: the time constant with which the damped temperature follows. Walls do not feel a cloud."""
HYSTERESIS = 1.0
"""K: heating is allowed again this far below the limit."""
GRID = 300.0
"""Seconds: the damped temperature is updated on this grid."""


class Season(NamedTuple):
    """`damped` is the damped outdoor temperature (degC) at `at` (monotonic s); None: it was not known yet."""

    damped: float | None = None
    at: float = 0.0
    warm: bool = False
    """Nothing is heated."""


def weigh(season: Season, limit: float, outdoor: float | None, t: float) -> Season:
    """The season at this moment; `limit` and `outdoor` in degC. Without an outdoor temperature it stays as it was.

    Heating ends above the limit, when the last hours were warm too (not 1 K below it). It begins again when the damped
    temperature is 1 K below it.
    """
    if outdoor is None:
        return season
    if season.damped is None:
        return Season(outdoor, t, outdoor > limit)
    damped, at, warm = season.damped, season.at, season.warm
    if t // GRID > at // GRID:
        damped, at = outdoor + (damped - outdoor) * exp((at - t) / DAMPING), t
    floor = limit - HYSTERESIS
    warm = damped >= floor if warm else outdoor > limit and damped > floor
    return season if (damped, at, warm) == tuple(season) else Season(damped, at, warm)
