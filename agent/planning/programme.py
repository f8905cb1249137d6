"""What a site will do on given days: burning hours, opening hours, heating modes. Pure; `bocage plan` prints it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from agent.control.calendar import DAY, Calendar
from agent.control.week import Week
from agent.services.lighting.night import Night, Programme

__all__ = ["CircuitPlan", "SitePlan", "ZonePlan"]


@dataclass(frozen=True, slots=True)
class CircuitPlan:
    """A circuit's programme and what it takes while it burns (W; None: nobody said)."""

    programme: Programme
    rated_power: float | None = None

    def nights(self, first: date, days: int) -> Iterator[Night]:
        return (self.programme.night(first + number * DAY) for number in range(days))

    def energy(self, full_seconds: float) -> float | None:
        """kWh, of seconds at full level."""
        return None if self.rated_power is None else self.rated_power * full_seconds / 3.6e6


@dataclass(frozen=True, slots=True)
class ZonePlan:
    """A zone's week and the setpoint of each of its modes, degC."""

    week: Week
    setpoints: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SitePlan:
    """Everything of a site that the calendar alone decides."""

    site: str
    calendar: Calendar
    circuits: Mapping[str, CircuitPlan] = field(default_factory=dict)
    water: Mapping[str, Week] = field(default_factory=dict)
    """Opening hours; the mode "open" is open."""
    heating: Mapping[str, ZonePlan] = field(default_factory=dict)

    def document(self, first: date, days: int) -> dict[str, Any]:
        """The plan of `days` nights and days from `first`, as JSON values. Times have their offset."""
        since, until = self.calendar.instant(first, 0), self.calendar.instant(first + timedelta(days), 0)
        return {
            "site": self.site,
            "from": first.isoformat(),
            "days": days,
            "circuits": {name: self._circuit(one, first, days) for name, one in self.circuits.items()},
            "water": {
                name: [
                    {"from": self._text(one.start), "to": self._text(one.end)}
                    for one in week.periods(since, until)
                    if one.mode == "open"
                ]
                for name, week in self.water.items()
            },
            "heating": {
                name: [
                    {
                        "from": self._text(one.start),
                        "to": self._text(one.end),
                        "mode": one.mode,
                        "setpoint": zone.setpoints[one.mode],
                    }
                    for one in zone.week.periods(since, until)
                ]
                for name, zone in self.heating.items()
            },
        }

    def ends(self, first: date, days: int) -> date | None:
        """The last day that the table of school holidays knows, if these days go on after it and a zone needs it."""
        last = self.calendar.ends()
        needed = any(zone.week.school is not None for zone in self.heating.values())
        return last if needed and last is not None and first + timedelta(days - 1) > last else None

    def _circuit(self, circuit: CircuitPlan, first: date, days: int) -> dict[str, Any]:
        nights = list(circuit.nights(first, days))
        burnt, full = sum(night.seconds() for night in nights), sum(night.full_seconds() for night in nights)
        whole = sum(circuit.programme.all_night(night.day) for night in nights)
        return {
            "nights": [self._night(circuit, night) for night in nights],
            **_amounts(burnt, circuit.energy(full)),
            "all_night": _amounts(whole, circuit.energy(whole)),
        }

    def _night(self, circuit: CircuitPlan, night: Night) -> dict[str, Any]:
        return {
            "night": night.day.isoformat(),
            "segments": [{"on": self._text(one.on), "off": self._text(one.off)} for one in night.segments],
            **_amounts(night.seconds(), circuit.energy(night.full_seconds())),
        }

    def _text(self, at: datetime) -> str:
        return self.calendar.civil(at).isoformat(timespec="seconds")


def _amounts(seconds: float, energy: float | None) -> dict[str, float | None]:
    return {"minutes": round(seconds / 60, 1), "kwh": None if energy is None else round(energy, 2)}
