"""Limits that a service sets for an actuator where the site file is silent."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ActuatorDefaults"]


@dataclass(frozen=True, slots=True)
class ActuatorDefaults:
    """Seconds, and starts per hour. `stagger`: seconds between two switchings on of such actuators."""

    min_on: float | None = None
    min_off: float | None = None
    max_starts_per_hour: int | None = None
    back_is_no_start: bool = False
    """Switching on again after a power failure is not counted as a start."""
    stagger: float = 0.0
