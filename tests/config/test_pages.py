"""The pages of the services and the keys that there are: each example works, and no key is left out."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, get_args

import pytest

from agent.services.registry import SERVICES
from agent.site.language.base import Model
from agent.site.loader import check
from agent.site.models.conditions import ConditionConfig

ROOT = Path(__file__).parents[2]
LINKY = "name: linky\npoints: {tariff: {register: holding, address: 0, type: string, length: 4}}\n"
HEAD = """\
site: {id: v, latitude: 47.3, longitude: 5.0, timezone: Europe/Paris, public_holidays: FR, school_zone: A}
uplink: {url: "mqtts://h:8883"}
"""
BASE = """\
buses:
  plant: {type: modbus_tcp, host: 192.168.1.20}
  air: {type: lora_chirpstack, url: "mqtt://127.0.0.1", application: v}
  gpio: {type: gpio}
devices:
  meter-a: {bus: plant, unit_id: 1, profile: eastron_sdm120}
  io-1: {bus: plant, unit_id: 2, profile: relay8_di8}
  io-2: {bus: plant, unit_id: 3, profile: relay8_ai8}
  io-3: {bus: plant, unit_id: 4, profile: relay8_ai8}
  io-4: {bus: plant, unit_id: 5, profile: relay8_di8}
  io-5: {bus: plant, unit_id: 6, profile: relay8_di8}
  hp: {bus: plant, unit_id: 7, profile: heat_pump}
  linky: {bus: plant, unit_id: 8, profile: linky}
  dali: {bus: plant, unit_id: 9, profile: dimmer}
  class-1: {bus: air, dev_eui: "24e124136b316001", profile: milesight_am307}
  cold-room: {bus: air, dev_eui: "24e124136b316002", profile: milesight_em300_th}
  cellar: {bus: air, dev_eui: "24e124136b316003", profile: milesight_em300_th}
  button-1: {bus: air, dev_eui: "24e124136b316004", profile: milesight_ws101, stale_after: 3d}
  motion-2: {bus: air, dev_eui: "24e124136b316005", profile: milesight_ws202, stale_after: 3d}
signals:
  lux: {from: io-2.ai1, signal: 4-20mA, scale: [0, 200], unit: lx}
  air-temp: {from: io-2.ai2, signal: 4-20mA, scale: [-20, 40], unit: degC}
  classroom: {from: io-2.ai3, signal: 4-20mA, scale: [0, 40], unit: degC}
  flow-temp: {from: io-2.ai4, signal: 4-20mA, scale: [0, 120], unit: degC}
  store-temp: {from: io-2.ai5, signal: 4-20mA, scale: [0, 120], unit: degC}
  chlorine: {from: io-2.ai6, signal: 4-20mA, scale: [0, 2], unit: mg/L}
  pressure: {from: io-2.ai7, signal: 4-20mA, scale: [0, 10], unit: bar}
  tank-level: {from: io-3.ai1, signal: 4-20mA, scale: [0, 100], unit: "%"}
  pump-flow: {from: io-3.ai2, signal: 4-20mA, scale: [0, 20], unit: m3/h}
  flow-2: {from: io-3.ai3, signal: 4-20mA, scale: [0, 20], unit: m3/h}
  wet-well: {from: io-3.ai4, signal: 4-20mA, scale: [0, 3], unit: m}
  weir: {from: io-3.ai5, signal: 4-20mA, scale: [0, 100], unit: m3/h}
  fountain-ct: {from: gpio.17, kind: counter, unit: L, per_pulse: 10}
  m1: {from: gpio.22, kind: counter, unit: L, per_pulse: 100}
  m2: {from: gpio.27, kind: counter, unit: L, per_pulse: 100}
actuators:
  km1: {output: io-1.relay1, safe_state: hold, boot_state: recompute}
  dim1: {output: dali.level, kind: level, failure_level: 100 %}
  ev1: {output: io-1.relay2, safe_state: off, boot_state: off, fail: normally_closed, travel: 20s}
  ev2: {output: io-1.relay3, safe_state: off, boot_state: off, fail: normally_open, travel: 20s}
  well: {output: io-1.relay4, safe_state: off, boot_state: off}
  p1: {output: io-1.relay5, safe_state: off, boot_state: off}
  p2: {output: io-1.relay6, safe_state: off, boot_state: off}
  trace: {output: io-1.relay7, safe_state: off, boot_state: off}
  fan: {output: io-1.relay8, safe_state: off, boot_state: off}
  burner: {output: io-4.relay1, safe_state: off, boot_state: off, min_on: 4min, min_off: 6min}
  b1: {output: io-4.relay2, safe_state: off, boot_state: off}
  b2: {output: io-4.relay3, safe_state: off, boot_state: off}
  pump: {output: io-4.relay4, safe_state: on, boot_state: off}
  heater: {output: io-4.relay5, safe_state: off, boot_state: off}
  r1: {output: io-4.relay6, safe_state: off, boot_state: off}
  r2: {output: io-4.relay7, safe_state: off, boot_state: off}
"""

ZONE = """\
heating:
  zones:
    school:
      sensor: classroom
      outdoor: air-temp
      heat_curve: {signal: flow-temp, points: [[-10, 50], [15, 30]]}
      setpoints: {comfort: 19}
"""
CIRCUIT = """\
lighting:
  circuits:
    main-street:
      actuator: km1
      switch_on: {event: civil_dusk}
      switch_off: {event: civil_dawn}
"""
POINT = "water:\n  points:\n    fountain:\n      meter: fountain-ct\n      valve: ev1\n"
TANK = "water:\n  tanks:\n    reservoir:\n      level: tank-level\n      pump: well\n"
CUT = '      part_night_off: [{from: "23:00", to: "05:00"}]\n'
CALENDARS = "calendars: {%s: {days: [sat]}}\n"
SERVER = "calendars: {gym: {ics: {url: https://example.fr/gym.ics}}}\n"

WATER = "agent/services/water/README.md"
HEATING = "agent/services/heating/README.md"
LIGHTING = "agent/services/lighting/README.md"
EXAMPLES = [
    # the page, which of its examples, which line of it (None: all), what stands before it, and how far it is indented
    ("agent/services/alarms/README.md", 0, None, ZONE + "      plant: {burner: burner}\n", 0),
    ("agent/services/rules/README.md", 0, None, "", 0),
    ("agent/services/rules/README.md", 1, None, "rules:\n", 2),
    (LIGHTING, 0, None, "", 0),
    (LIGHTING, 1, None, CIRCUIT + CUT, 6),
    (LIGHTING, 2, None, CIRCUIT, 6),
    (HEATING, 0, None, CALENDARS % "evening-courses", 0),
    (HEATING, 1, None, ZONE, 6),
    (HEATING, 2, None, ZONE, 6),
    (HEATING, 3, None, ZONE, 6),
    (WATER, 0, None, "", 0),
    (WATER, 1, 0, CALENDARS % "market" + POINT, 6),
    (WATER, 1, 1, SERVER + POINT, 6),
    (WATER, 2, None, "water:\n", 2),
    (WATER, 3, 0, TANK, 6),
    (WATER, 3, 1, TANK, 6),
    (WATER, 4, None, TANK, 6),
    ("agent/services/water/lift-stations.md", 0, None, "", 0),
    ("agent/services/water/districts.md", 0, None, "", 0),
    ("docs/calendars.md", 0, None, "", 0),
]


@pytest.mark.parametrize(("page", "which", "line", "before", "depth"), EXAMPLES)
def test_check_says_nothing_of_an_example(
    tmp_path: Path, page: str, which: int, line: int | None, before: str, depth: int
) -> None:
    for profile in ("dimmer.yaml", "heat_pump.yaml"):
        (tmp_path / "profiles").mkdir(exist_ok=True)
        shutil.copy(ROOT / "config/profiles" / profile, tmp_path / "profiles")
    (tmp_path / "profiles/linky.yaml").write_text(LINKY)
    shutil.copy(ROOT / "config/village/hall.ics", tmp_path)
    text = dedent(_examples(page)[which])
    example = text if line is None else text.splitlines(keepends=True)[line]
    path = tmp_path / "site.yaml"
    path.write_text(HEAD + BASE + before + indent(example, " " * depth))
    found = [str(one).removeprefix(f"{path}:") for one in check(path)]
    assert [one for one in found if "the table of school holidays ends" not in one] == []  # which a spring brings


def test_each_example_of_a_service_is_among_them() -> None:
    pages = [str(page.relative_to(ROOT)) for page in (ROOT / "agent/services").glob("*/*.md")]
    found = {(page, which) for page in pages for which in range(len(_examples(page)))}
    assert found - {(page, which) for page, which, *_ in EXAMPLES} == set()


def _models(model: type[Model]) -> Iterator[type[Model]]:
    """A section of the site file, and all that is in it."""
    yield model
    for field in model.model_fields.values():
        for inner in _within(field.annotation, *field.metadata):
            yield from _models(inner)


def _within(*parts: Any) -> Iterator[type[Model]]:
    for part in parts:
        if isinstance(part, type) and issubclass(part, Model):
            if part is not ConditionConfig:  # which is in itself, and has its keys on the page of the alarms
                yield part
        else:
            yield from _within(*get_args(part))


def test_each_key_of_a_service_is_on_its_page() -> None:
    lacking = []
    for service in SERVICES:
        pages = ROOT.joinpath(*service.folder.split(".")).glob("*.md")
        prose = re.sub(r"```.*?```", "", "".join(page.read_text() for page in pages), flags=re.DOTALL)
        named = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]*)`", prose))))
        keys = {field.alias or name for model in _models(service.model) for name, field in model.model_fields.items()}
        lacking += [f"{service.name}: {key}" for key in sorted(keys - named)]
    assert lacking == []


def _examples(page: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
