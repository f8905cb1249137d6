"""Limits of actuators, and points without one, that a service sets where the site file is silent."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ActuatorDefaults", "WrittenPoint"]


@dataclass(frozen=True, slots=True)
class ActuatorDefaults:
    """Seconds, and starts per hour. `stagger`: seconds between two switchings on of actuators of `stagger_group`."""

    min_on: float | None = None
    min_off: float | None = None
    max_starts_per_hour: int | None = None
    back_is_no_start: bool = False
    """Switching on again after a power failure is not counted as a start."""
    stagger: float = 0.0
    stagger_group: str = ""


@dataclass(frozen=True, slots=True)
class WrittenPoint:
    """A level that a service writes as it stands, without an actuator of the site file: its bounds (in the unit of the
    point), and how often it is repeated (s; None: never). It stays as it is where its control is lost."""

    point: str
    low: float
    high: float
    refresh: float | None = None
