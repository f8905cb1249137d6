"""Whether the unit of a signal fits the unit of its source.

A signal's `unit` is a name: nothing is converted by it. `scale`, or the `per_pulse` of a counter, says how much of it
one of the source's is. Where the units differ and neither is said, MWh would be called kWh. It is refused and not
converted: an index that has run for a year would leap.
"""

from __future__ import annotations

from agent.config.document import Keys
from agent.config.names import Checked, PointRef
from agent.config.signals import ENERGIES, VOLUMES, Signal
from agent.config.values import number

__all__ = ["canonical", "check_units", "factor"]

_QUANTITIES: tuple[dict[str, float], ...] = (
    {"mL": 1e-3, "cL": 1e-2, "dL": 0.1, "L": 1.0, "hL": 100.0, "m3": 1000.0},
    {"L/h": 1.0, "L/min": 60.0, "L/s": 3600.0, "m3/h": 1000.0, "m3/s": 3.6e6},
    {"Wh": 1.0, "kWh": 1e3, "MWh": 1e6, "GWh": 1e9, "J": 1 / 3600, "kJ": 1 / 3.6, "MJ": 1e3 / 3.6, "GJ": 1e6 / 3.6},
    {"varh": 1.0, "kvarh": 1e3, "Mvarh": 1e6},
    {"VAh": 1.0, "kVAh": 1e3, "MVAh": 1e6},
    {"W": 1.0, "kW": 1e3, "MW": 1e6},
    {"var": 1.0, "kvar": 1e3, "Mvar": 1e6},
    {"VA": 1.0, "kVA": 1e3, "MVA": 1e6},
    {"uV": 1e-6, "mV": 1e-3, "V": 1.0, "kV": 1e3},
    {"uA": 1e-6, "mA": 1e-3, "A": 1.0, "kA": 1e3},
    {"mAh": 1e-3, "Ah": 1.0},
    {"Hz": 1.0, "kHz": 1e3},
    {"Pa": 1.0, "hPa": 100.0, "mbar": 100.0, "kPa": 1e3, "bar": 1e5, "MPa": 1e6},
    {"mm": 1.0, "cm": 10.0, "dm": 100.0, "m": 1000.0, "km": 1e6},
    {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0},
    {"mg": 1e-3, "g": 1.0, "kg": 1e3, "t": 1e6},
    {"ug/m3": 1.0, "mg/m3": 1e3},
    {"ppb": 1e-3, "ppm": 1.0},
    {"lx": 1.0, "klx": 1e3},
)
"""What has one dimension, each unit in the same measure: a factor leads from one to another."""
_TEMPERATURES = {
    ("K", "degC"): "offset: -273.15", ("degC", "K"): "offset: 273.15",
    ("degF", "degC"): "scale: 0.555556 and offset: -17.777778", ("degC", "degF"): "scale: 1.8 and offset: 32",
    ("degF", "K"): "scale: 0.555556 and offset: 255.372222", ("K", "degF"): "scale: 1.8 and offset: -459.67",
}  # fmt: skip
_NAMES = {unit.lower(): unit for units in _QUANTITIES for unit in units} | {
    "degc": "degC", "c": "degC", "k": "K", "degf": "degF", "f": "degF", "lux": "lx",
}  # fmt: skip
_SIGNS = str.maketrans({"³": "3", "µ": "u", "μ": "u", "°": "deg", "℃": "degC", "℉": "degF"})


def canonical(unit: str) -> str:
    """A unit as it is spelt here: °C is degC, m³ is m3, KWH is kWh. One that is not known stays as it is."""
    plain = unit.strip().translate(_SIGNS)
    return plain if any(plain in units for units in _QUANTITIES) else _NAMES.get(plain.lower(), plain)


def factor(source: str, target: str) -> float | None:
    """How much of `target` one of `source` is; None where they are no units of one quantity. Canonical units."""
    for units in _QUANTITIES:
        if source in units and target in units:
            return float(f"{units[source] / units[target]:.6g}")
    return None


def check_units(at: Checked, name: str, source: PointRef) -> None:
    """Another unit than the source's needs the factor that makes it."""
    signal = at.site.signals[name]
    keys: Keys = ("signals", name)
    theirs, ours = canonical(source.data.get("unit") or ""), canonical(signal.unit)
    if not theirs or not ours or theirs.lower() == ours.lower() or signal.signal is not None or _refused(theirs, ours):
        return
    key = "per_pulse" if signal.kind == "counter" else "scale"
    given, wanted = _given(signal, key), factor(theirs, ours)
    if at.wrong(*keys, key) or at.wrong(*keys, "kind"):
        return
    text = f"{signal.from_} is in {source.data['unit']}, and {name} in {signal.unit}"
    if wanted is not None:
        if given is None or given in (1, float(f"{1 / wanted:.6g}")):
            at.error((*keys, "unit" if given is None else key), f"{text}: write {key}: {number(wanted)}")
    elif given is None and not at.written(*keys, "offset"):
        how = _TEMPERATURES.get((theirs, ours)) or f"{key}, how many {signal.unit} one {source.data['unit']} is"
        at.error((*keys, "unit"), f"{text}: write {how}; or the unit {source.data['unit']}")


def _given(signal: Signal, key: str) -> float | None:
    value = signal.per_pulse if key == "per_pulse" else signal.scale
    return None if isinstance(value, tuple) else value


def _refused(theirs: str, ours: str) -> bool:
    """No factor makes a volume of an energy: that is said elsewhere."""
    return theirs in ENERGIES and ours in VOLUMES
