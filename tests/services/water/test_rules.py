"""What `bocage check` says of the pumps, the tariff and the lost level of a tank."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.site.loader import check

SITE = """\
version: 1
site: {id: bourg, name: Bourg, latitude: 47.32, longitude: 5.04, timezone: Europe/Paris}
uplink: {url: "mqtt://broker.example:1883"}
buses:
  plant: {type: modbus_tcp, host: 192.168.1.20, port: 502}
devices:
  io-1: {bus: plant, unit_id: 1, profile: relay8_ai8}
  io-2: {bus: plant, unit_id: 2, profile: relay8_di8}
signals:
  level: {from: io-1.ai1, signal: 4-20mA, scale: [0, 100], unit: "%"}
actuators:
  p1: {output: io-2.relay1}
  p2: {output: io-2.relay2}
water:
  tanks:
    reservoir:
      level: level
      pumps: [p1, {actuator: p2, thermal: io-2.di4}]
      alternate: starts
      both_below: 15 %
      tariff: {cheap: ["22:30-06:30"], start: 60 %, stop: 92 %, otherwise: {start: 35 %, stop: 50 %}}
      level_lost: {after: 2h, fill: ["02:00-04:30"], at_most: 3h}
"""


def said(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return [str(problem).removeprefix(f"{path}:") for problem in check(path)]


CHANGES = [
    ("stop: 92 %", "stop: 95 %", ["tariff.stop 95 % is not below high 95 %"]),
    ("stop: 50 %", "stop: 96 %", ["otherwise.stop 96 % is not below high 95 %", "more is pumped while the current"]),
    ("stop: 50 %", "stop: 94 %", ["otherwise.stop 94 % is above stop 92 % (line 21)"]),
    ("start: 60 %", "start: 92 %", ["tariff.start 92 % is not below tariff.stop 92 %"]),
    ("both_below: 15 %", "both_below: 35 %", ["both_below 35 % is not below otherwise.start 35 %"]),
    ("pumps: [p1, {actuator: p2, thermal: io-2.di4}]", "pumps: []", ["empty; write one at least"]),
    ("pumps: [p1, {actuator: p2, thermal: io-2.di4}]", "pumps: [p1]", ['"alternate" is for', '"both_below" is for']),
    ("      pumps: [p1, {actuator: p2, thermal: io-2.di4}]\n", "", ['"pump" is missing in reservoir', "", ""]),
    ("      pumps:", "      pomps:", ['unknown key "pomps"; did you mean "pumps"?']),
    ("actuator: p2", "actuator: p1", ["p1 is already moved by reservoir (line 18)"]),
    ("actuator: p2", "actuator: p3", ['unknown actuator "p3"']),
    ("io-2.di4", "io-2.di9", ['io-2 has no point "di9"']),
    ("starts", "démarrages", ['did you mean "starts"?']),
    ('["22:30-06:30"]', '"22:30-06:30"', ['expected a list, found "22:30-06:30"; write ["22:30-06:30"]']),
    ('["22:30-06:30"]', "{point: io-2.di5}", ['"is" is missing in cheap']),
    ('["22:30-06:30"]', "{point: io-2.di5, is: on}", []),
    ('["22:30-06:30"]', "{point: io-2.di55, is: HC}", ['io-2 has no point "di55"']),
    ('["22:30-06:30"]', "{point: tarif, is: HC}", ['unknown signal "tarif"']),
    ('["22:30-06:30"]', "{point: level, is: HC}", [
        '"HC" is a word, and level is in %; write a number, or above or below']),
    ('["22:30-06:30"]', "{point: io-2.di5, is: HC}", ['"HC" is a word, and io-2.di5 is on or off; write on or off']),
    ('["22:30-06:30"]', "{point: io-2.di5, is: 5}", ["5 is a number, and io-2.di5 is on or off; write on or off"]),
    ('["22:30-06:30"]', "{point: io-2.di5, is: 1}", []),
    ('["22:30-06:30"]', "{point: level, is: true}", ["level is measured in %; what is wanted here is on or off"]),
    ("level: level", "level: io-2.di5", ["error: io-2.di5 is on or off; what is wanted here is measured in %"]),
    ("thermal: io-2.di4", "thermal: io-2.relay2", ["error: io-2.relay2 shows the output of p2: each run would stop a"]),
    (", at_most: 3h", "", ['"at_most" is missing in level_lost']),
    ("2h, fill", "2, fill", ["2 has no unit"]),
]


@pytest.mark.parametrize(("old", "new", "wanted"), CHANGES)
def test_messages(tmp_path: Path, old: str, new: str, wanted: list[str]) -> None:
    assert SITE.count(old) == 1
    found = said(tmp_path, SITE.replace(old, new))
    assert len(found) == len(wanted) and all(map(str.__contains__, found, wanted)), found


def test_unchanged_it_is_clean(tmp_path: Path) -> None:
    assert said(tmp_path, SITE) == []


def test_a_pump_is_not_named_as_a_control_is(tmp_path: Path) -> None:
    points = "water:\n  points: {p1: {meter: io-1.ai2}}\n"
    assert any("p1 is also the name of a point" in line for line in said(tmp_path, SITE.replace("water:\n", points)))
