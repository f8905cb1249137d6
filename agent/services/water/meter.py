"""Volume and flow of a water meter, from its index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.control.api import fields

__all__ = ["PLAUSIBLE", "Meter", "most_drawn"]

PLAUSIBLE = 100_000.0
"""L/h: no meter of a fountain passes more (the overload flow Q4 of a DN 100 meter is about that, ISO 4064-1)."""
SLACK = 1000.0
"""Litres, or ten pulses if that is more, by which an index may jump at once."""
HOUR = 3600.0


def most_drawn(seconds: float, pulse: float, most: float = PLAUSIBLE) -> float:
    """The most litres that a meter with `pulse` litres a pulse can pass in `seconds`; more is another meter."""
    return most * max(seconds, 0.0) / HOUR + max(SLACK, 10 * pulse)


@dataclass(frozen=True, slots=True)
class Meter:
    """The last growth of an index. Litres, seconds (monotonic).

    `at` is when it last grew (or was first seen), `volume` by how much and `interval` over how long. A volume of 0:
    the flow is not known yet. While not `counting`, the next growth only starts an interval.
    """

    index: float | None = None
    at: float = 0.0
    volume: float = 0.0
    interval: float = 0.0
    counting: bool = False

    def read(self, litres: float, at: float, pulse: float, most: float = PLAUSIBLE) -> Meter:
        """The index is `litres`, read at `at`. An index that goes back or jumps is another meter: no draw."""
        if self.index is None or self.replaced_by(litres, at, pulse, most):
            return Meter(litres, at if self.index is None else self.at)
        if litres == self.index:
            return self
        if not self.counting:
            return Meter(litres, at, counting=True)
        return Meter(litres, at, litres - self.index, max(at - self.at, 0.001), True)

    def replaced_by(self, litres: float, at: float, pulse: float, most: float = PLAUSIBLE) -> bool:
        """Whether no water makes the index go from where it was to `litres`."""
        if self.index is None:
            return False
        return not 0 <= litres - self.index <= most_drawn(at - self.at, pulse, most)

    def unchanged(self, at: float, pulse: float) -> Meter:
        """It was read again at `at`: what it showed last came at once, and since then less than one pulse."""
        return self if at <= self.at or self.volume <= pulse else replace(self, volume=pulse)

    def restarted(self) -> Meter:
        """After the valve moved: the volume before says nothing about the flow from now on."""
        return replace(self, volume=0.0, interval=0.0, counting=False)

    def flow(self, now: float) -> float:
        """L/h: the last volume over its interval, and less and less while no pulse comes. 0 if not known."""
        return self.volume * HOUR / max(self.interval, now - self.at) if self.volume else 0.0

    def falls_to(self, flow: float) -> float:
        """When the flow is down to `flow` (L/h) if no further pulse comes."""
        longest = self.volume * HOUR / flow
        return self.at if self.interval >= longest * (1 - 1e-9) else self.at + longest

    def dump(self) -> dict[str, Any]:
        return fields(self)

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Meter:
        index = kept["index"]
        return cls(
            None if index is None else float(index),
            float(kept["at"]),
            float(kept["volume"]),
            float(kept["interval"]),
            bool(kept["counting"]),
        )
