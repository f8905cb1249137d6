"""Units as the site file and the profiles spell them, and the factors between those of one quantity."""

from __future__ import annotations

from agent.lib.suggestion import nearest, suggested
from agent.site.language.spellings import unit_meant

__all__ = ["canonical", "factor", "is_known", "unknown_unit"]

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
    {"ug/L": 1e-3, "mg/L": 1.0, "g/m3": 1.0, "g/L": 1e3, "kg/m3": 1e3},
    {"uS/cm": 1.0, "mS/cm": 1e3},
    {"ppb": 1e-3, "ppm": 1.0},
    {"lx": 1.0, "klx": 1e3},
)
"""Units of one dimension, each in the same measure: a factor leads from one to another."""
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


_LONG = [unit for units in _QUANTITIES for unit in units if len(unit) > 2]
_OTHERS = frozenset(
    "degC degF K % %RH 1 pH NTU FNU S/m m/s km/h mm/h mm/min mm/d W/m2 Wh/m2 kWh/m2 m3/d L/d "
    "m3/min dB dB(A) dBA dBm deg rad rpm r/min 1/min 1/s 1/h imp pulse pulses count counts mmol/L ohm kohm Mohm "
    "Bq Bq/m3 uSv/h cd lm umol/m2/s mg ppt pcs persons people clients vehicles y week month EUR ct N Nm kN J/s BTU "
    "BTU/h kg/h t/h mWs VAr kVAr VArh kVArh Nm3 Nm3/h L/m3 K/min K/h V/m T mT uT hPa/h ug m2 ha km2 GVA GW "
    "mVA pu PF cosphi state raw lux px steps points ml/m2 psi inHg mmHg ft in mi gal l/s".lower().split()
)
"""Units of quantities that have no other unit here, or are counted."""


def is_known(unit: str) -> bool:
    """Whether a unit is one that people know, however it is spelt; also where nothing is known to convert it."""
    plain = canonical(unit)
    return any(plain in units for units in _QUANTITIES) or plain.lower() in _OTHERS


def unknown_unit(unit: str) -> tuple[str, str]:
    """The message for an unknown unit, and the hint: L is the unit for litres."""
    if unit.replace(".", "").isdigit():
        return f'"{unit}" is a number and no unit', "write a decimal comma in quotes, or a point"
    near = unit_meant(unit) or (nearest(unit, _LONG) if len(unit) > 2 else None)
    return f'unknown unit "{unit}"', suggested(near) if near else "write one such as degC, kWh, m3 or %"
