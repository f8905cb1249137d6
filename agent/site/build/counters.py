"""How the counters of a site count: their width, their last digit, and the most that they pass."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from agent.core.signals import MOST, Signal
from agent.lib.counter import Dial
from agent.site.language.values import Rate
from agent.site.models import signals as config
from agent.site.models.site import Site
from agent.site.profiles.kinds import kind_of

__all__ = ["digit", "is_wide", "least_between", "max_rate", "modulus", "point_dial", "profile_point"]

HOUR = 3600.0
_WIDTH = re.compile(r"[ui]([0-9]{1,2})(be|le)?")
_DECIMAL = {"bcd16": 1e4, "bcd32": 1e8}
_FLOAT_DIGIT = 0.05
"""The last digit of a counter that is a float: a profile does not say it; meters show one to three decimals."""


def max_rate(settings: config.SignalConfig, unit: str) -> float | None:
    """In the signal's own unit a second."""
    rate = settings.max_rate
    if not isinstance(rate, Rate):
        return rate
    return rate.amount / HOUR / (config.VOLUMES | config.ENERGIES).get(unit, 1.0)


def least_between(settings: config.SignalConfig) -> float:
    """Seconds between two pulses of a counter at the most that its meter passes."""
    most = max_rate(settings, settings.unit)
    most = MOST.get(settings.unit) if most is None else most
    return 0.0 if not most else (settings.per_pulse or 1.0) / most


def modulus(rollover: int | None, source: Mapping[str, Any]) -> float:
    """The modulus of a meter: as the file says, else the width of its register or of its place in the payload.

    A float and a codec's number have no width: they are not known to begin again.
    """
    if rollover is not None:
        return rollover
    kind = source.get("type", "u16") if "register" in source else source.get("type", "")
    width = _WIDTH.fullmatch(kind)
    counts = _DECIMAL.get(kind, math.inf) if width is None else 2.0 ** int(width[1])
    found: float = counts * abs(float(source.get("scale") or 1))
    return int(found) if found.is_integer() else found


def digit(source: Mapping[str, Any]) -> float:
    """The last digit of what a meter counts."""
    floats = str(source.get("type", "")).startswith("f")
    return (_FLOAT_DIGIT if floats else 1.0) * abs(float(source.get("scale") or 1))


def profile_point(site: Site, reference: str) -> Mapping[str, Any]:
    """The profile's keys of `device.point`; nothing for a pin or a signal."""
    device, _, point = reference.partition(".")
    found = site.devices.get(device)
    profile = found.profile_data if found is not None else None
    if profile is None:
        return {}
    kind = kind_of(profile)
    return (profile["points"].get(point) or {}) if kind is None else kind.place(profile, point)


def is_wide(source: Mapping[str, Any]) -> bool:
    """Whether it is read from several registers, of which one may be older than the other."""
    return "register" in source and source.get("type") in ("u32", "i32", "u64", "i64")


def point_dial(site: Site, reference: str, litres: float) -> Dial | None:
    """How a water meter counts that is a point of a device and no signal, in litres (`litres` of one unit of it)."""
    source = profile_point(site, reference)
    unit = str(source.get("unit") or "")
    if not source:
        return None
    signal = Signal("", reference, unit or "L", per_pulse=1.0, modulus=modulus(None, source), digit=digit(source))
    dial = signal.dial
    most = None if dial.rate is None else dial.rate * litres
    return Dial(dial.modulus * litres, dial.digit * litres, most, dial.slack * litres, is_wide(source))
