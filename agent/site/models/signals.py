"""Signals: what a technician calls a measurement, made from a point or a pin."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from agent.site.language.base import Model, Reference
from agent.site.language.values import Choice, Duration, RateText, TimeSpan, Written, number, plain

__all__ = ["ENERGIES", "VOLUMES", "Range", "SignalConfig", "pair"]

VOLUMES = {"L": 1.0, "m3": 1000.0}
"""Units of volume, in litres: a flow bounds such a counter."""
ENERGIES = {"Wh": 1.0, "kWh": 1e3, "MWh": 1e6, "varh": 1.0, "kvarh": 1e3, "VAh": 1.0, "kVAh": 1e3}
"""Units of energy, in watt hours: a power bounds such a counter."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def pair(value: Any) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)):
        raise ValueError(f"{plain(value)} is not a range; write its two ends, such as [0, 100]")
    return float(value[0]), float(value[1])


def _valid(value: Any) -> tuple[float, float]:
    low, high = pair(value)
    if low >= high:
        raise ValueError(f"{number(low)} is not below {number(high)}; write the lower end first")
    return low, high


def _scale(value: Any) -> tuple[float, float] | float:
    if _is_number(value):
        if value == 0:
            raise ValueError("0 would make every value 0; write another factor")
        return float(value)
    low, high = pair(value)
    if low == high:
        raise ValueError(f"both ends are {number(low)}; write what 4 mA and what 20 mA mean, such as [0, 100]")
    return low, high


_PAIR = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
Range = Annotated[tuple[float, float], Written(_valid, _PAIR, "two numbers, the lower one first")]
Scale = Annotated[
    tuple[float, float] | float,
    Written(_scale, {"anyOf": [{"type": "number"}, _PAIR]}, "what 4 mA and 20 mA mean, [0, 100]; else a factor"),
]


class SignalConfig(Model):
    """A measurement with a name of its own. It is published like any other point."""

    from_: Reference = Field(alias="from")
    """Its source: device.point, or a pin such as gpio.17."""
    kind: Annotated[
        Literal["telemetry", "state", "counter"] | None, Choice("telemetry", "state", "counter")
    ] = None  # fmt: skip
    """Default: telemetry, and for a pin state."""
    signal: Annotated[Literal["4-20mA"] | None, Choice("4-20mA")] = None
    """The source is a current; NAMUR NE 43 says when it is a fault."""
    scale: Scale | None = None
    """With signal: what 4 mA and 20 mA mean, [0, 100]. Without: a factor."""
    offset: float = 0
    """Added after the factor."""
    unit: str = ""
    """Default: the source's. Another one than the source's needs its factor: scale, or per_pulse of a counter."""
    valid: Range | None = None
    """The valid range; a value outside is bad."""
    max_rate: RateText | None = None
    """A value that changed faster than this is bad. Counter: no growth is faster; default 100 m3/h, 250 kW."""
    stale_after: TimeSpan | None = None
    """Default: its device's. A stale source makes it stale too, so a longer time belongs at the device."""
    per_pulse: Annotated[float, Field(gt=0)] | None = None
    """Counter: how much one count is, in unit. Default 1."""
    initial_index: Annotated[float, Field(ge=0)] | None = None
    """Counter: what the meter's dial shows at the first start."""
    rollover: Annotated[int, Field(ge=2)] | None = None
    """Counter: the source counts modulo this, such as 65536."""
    debounce: Duration | None = None
    """Pin: edges closer than this are one. Default 20 ms for a counter."""
    pull: Annotated[Literal["up", "down", "none"], Choice("up", "down", "none")] = "up"
    """Pin: which resistor is switched on."""
    active: Annotated[Literal["high", "low"] | None, Choice("high", "low")] = None
    """Pin: the level that counts as on. Default: low with pull up, else high."""
