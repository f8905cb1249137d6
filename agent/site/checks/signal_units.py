"""Whether the unit of a signal fits the unit of its source.

A signal's `unit` is a name: nothing is converted by it. `scale`, or the `per_pulse` of a counter, says how much of it
one of the source's is. Where the units differ and neither is said, MWh would be called kWh. It is refused and not
converted: an index that has run for a year would leap.
"""

from __future__ import annotations

from agent.site.checks.names import Checked, PointRef
from agent.site.language.document import Keys
from agent.site.language.spellings import unit_meant
from agent.site.language.units import canonical, factor, is_known, unknown_unit
from agent.site.language.values import number
from agent.site.models.signals import ENERGIES, VOLUMES, SignalConfig

__all__ = ["check_units"]

_TEMPERATURES = {
    ("K", "degC"): "offset: -273.15", ("degC", "K"): "offset: 273.15",
    ("degF", "degC"): "scale: 0.555556 and offset: -17.777778", ("degC", "degF"): "scale: 1.8 and offset: 32",
    ("degF", "K"): "scale: 0.555556 and offset: 255.372222", ("K", "degF"): "scale: 1.8 and offset: -459.67",
}  # fmt: skip


def check_units(at: Checked, name: str, source: PointRef) -> None:
    """Another unit than the source's needs the factor that makes it."""
    signal = at.site.signals[name]
    keys: Keys = ("signals", name)
    theirs, ours = canonical(source.data.get("unit") or ""), canonical(signal.unit)
    if not theirs or not ours or theirs.lower() == ours.lower() or signal.signal is not None or _refused(theirs, ours):
        return
    key = "per_pulse" if signal.kind == "counter" else "scale"
    given, wanted = _given(signal, key), factor(theirs, ours)
    if any(at.wrong(*keys, one) for one in (key, "kind", "signal")):
        return
    text = f"{signal.from_} is in {source.data['unit']}, and {name} in {signal.unit}"
    if wanted is not None:
        if given is None or given in (1, float(f"{1 / wanted:.6g}")):
            at.error((*keys, "unit" if given is None else key), f"{text}: write {key}: {number(wanted)}")
    elif given is None and not is_known(ours) and unit_meant(signal.unit) is not None:
        at.error((*keys, "unit"), *unknown_unit(signal.unit))
    elif given is None and not at.written(*keys, "offset"):
        how = _TEMPERATURES.get((theirs, ours)) or f"{key}, how many {signal.unit} one {source.data['unit']} is"
        at.error((*keys, "unit"), f"{text}: write {how}; or the unit {source.data['unit']}")


def _given(signal: SignalConfig, key: str) -> float | None:
    value = signal.per_pulse if key == "per_pulse" else signal.scale
    return None if isinstance(value, tuple) else value


def _refused(theirs: str, ours: str) -> bool:
    """No factor makes a volume of an energy: that is said elsewhere."""
    return theirs in ENERGIES and ours in VOLUMES
