"""The unit of a signal beside the unit of its source: another one needs its factor."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.site.loader import check

SITE = """\
site: {id: a, latitude: 47, longitude: 5, timezone: Europe/Paris}
uplink: {url: "mqtt://h"}
buses: {r: {type: modbus_tcp, host: h}}
devices: {own: {bus: r, unit_id: 1, profile: own}}
"""


def said(folder: Path, unit: str, lines: str) -> list[str]:
    """What `check` says of `lines` beside a point own.x in this unit."""
    (folder / "profiles").mkdir()
    point = f'{{register: input, address: 8, type: f32, unit: "{unit}"}}'
    (folder / "profiles" / "own.yaml").write_text(
        f"name: own\npoints:\n  x: {point}\n  active_power: {point}\n"
        "  out: {register: coil, address: 0, writable: true}\n",
        encoding="utf-8",
    )
    site = folder / "site.yaml"
    site.write_text(SITE + lines, encoding="utf-8")
    return [re.sub(r":\d+: ", ": ", str(problem).removeprefix(f"{site}:"), count=1) for problem in check(site)]


WANTED = [
    ("MWh", "kind: counter, unit: kWh", "own.x is in MWh, and s in kWh: write per_pulse: 1000"),
    ("Wh", "kind: counter, unit: kWh", "own.x is in Wh, and s in kWh: write per_pulse: 0.001"),
    ("MWh", "kind: counter, unit: kWh, per_pulse: 0.001", "own.x is in MWh, and s in kWh: write per_pulse: 1000"),
    ("MWh", "kind: counter, unit: kWh, per_pulse: 1", "own.x is in MWh, and s in kWh: write per_pulse: 1000"),
    ("GJ", "kind: counter, unit: kWh", "own.x is in GJ, and s in kWh: write per_pulse: 277.778"),
    ("m3", "kind: counter, unit: L", "own.x is in m3, and s in L: write per_pulse: 1000"),
    ("L", "kind: counter, unit: m³", "own.x is in L, and s in m³: write per_pulse: 0.001"),
    ("W", "unit: kW", "own.x is in W, and s in kW: write scale: 0.001"),
    ("W", "unit: kW, scale: 1000", "own.x is in W, and s in kW: write scale: 0.001"),
    ("MWh", "unit: kWh", "own.x is in MWh, and s in kWh: write scale: 1000"),
    ("mA", "unit: A", "own.x is in mA, and s in A: write scale: 0.001"),
    ("hPa", "unit: bar", "own.x is in hPa, and s in bar: write scale: 0.001"),
    ("L/s", "unit: m3/h", "own.x is in L/s, and s in m3/h: write scale: 3.6"),
    ("mm", "unit: m", "own.x is in mm, and s in m: write scale: 0.001"),
    ("K", "unit: degC", "own.x is in K, and s in degC: write offset: -273.15; or the unit K"),
    ("degF", "unit: °C",
     "own.x is in degF, and s in °C: write scale: 0.555556 and offset: -17.777778; or the unit degF"),
    ("V", "unit: degC", "own.x is in V, and s in degC: write scale, how many degC one V is; or the unit V"),
    ("kWh", "unit: kvarh", "own.x is in kWh, and s in kvarh: write scale, how many kvarh one kWh is; or the unit kWh"),
    ("imp", "kind: counter, unit: L",
     "own.x is in imp, and s in L: write per_pulse, how many L one imp is; or the unit imp"),
    ("kWh", "unit: L, scale: 10", "own.x is an energy, in kWh: no factor makes L of it"),
    ("MWh", "kind: counter, unit: kWh, scale: 1000, per_pulse: 1000",
     "a counter has no scale; per_pulse says how much one count is"),
    ("m3", "kind: counter, scale: 0.1", "a counter has no scale; per_pulse says how much one count is"),
    ("m3", "kind: counter, offset: 3", "a counter has no offset; initial_index says what its dial shows"),
]  # fmt: skip


@pytest.mark.parametrize(("unit", "keys", "message"), WANTED)
def test_another_unit_without_its_factor_is_refused(tmp_path: Path, unit: str, keys: str, message: str) -> None:
    assert said(tmp_path, unit, f"signals: {{s: {{from: own.x, {keys}}}}}\n") == [f"5: error: {message}"]


@pytest.mark.parametrize(
    ("unit", "keys"),
    [
        ("MWh", "kind: counter, unit: kWh, per_pulse: 1000"),
        ("MWh", "kind: counter, max_rate: 40 kW"),
        ("kWh", "kind: counter, unit: kWh, per_pulse: 40"),  # a current transformer
        ("W", "unit: kW, scale: 0.04"),
        ("W", "unit: kW, scale: 0.001"),
        ("imp", "kind: counter, unit: L, per_pulse: 1"),
        ("V", "unit: degC, scale: 10, offset: -30"),
        ("K", "unit: degC, offset: -273.15"),
        ("°C", "unit: degC"),
        ("KWH", "kind: counter, unit: kWh"),
        ("m³", "kind: counter, unit: m3"),
        ("", "unit: degC"),
        ("uA", "signal: 4-20mA, scale: [0, 100], unit: '%'"),
    ],
)
def test_a_unit_with_its_factor_is_fine(tmp_path: Path, unit: str, keys: str) -> None:
    assert said(tmp_path, unit, f"signals: {{s: {{from: own.x, {keys}}}}}\n") == []


def test_a_water_meter_is_in_litres_or_cubic_metres(tmp_path: Path) -> None:
    lines = "signals: {s: {from: own.x, kind: counter}}\nwater: {points: {f: {meter: s}, g: {meter: own.x}}}\n"
    assert said(tmp_path, "hL", lines) == [
        "6: error: s is in hL; a water meter is in L or m3",
        "6: error: own.x is in hL; a water meter is in L or m3",
    ]


def test_lamps_are_judged_in_watts(tmp_path: Path) -> None:
    lines = (
        "actuators: {k: {output: own.out}}\n"
        "lighting: {circuits: {c: {actuator: k, meter: own, "
        "switch_on: {event: sunset}, switch_off: {event: sunrise}}}}\n"
    )
    found = [line for line in said(tmp_path, "kW", lines) if "error" in line]
    assert found == ["6: error: own.active_power is in kW; write the profile in W: its scale times 1000"]
