"""A new service is one folder and one line: `tests/services/sirens`, registered in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REGISTERED = """\
import sys
from agent.services import registry
registry.SERVICES += (registry.Service("sirens", "tests.services.sirens"),)
"""
BOCAGE = REGISTERED + "from agent.cli import main; sys.exit(main(sys.argv[1:]))"
SITE = """\
version: 1
site: {id: village, latitude: 47.3, longitude: 5.0, timezone: Europe/Paris}
buses:
  plant: {type: modbus_tcp, host: 127.0.0.1}
devices:
  io-1: {bus: plant, unit_id: 1, profile: relay8_ai8}
signals:
  river: {from: io-1.ai1, signal: 4-20mA, scale: [0, 100], unit: "%"}
actuators:
  horn: {output: io-1.relay1, safe_state: off}
sirens:
  towers:
    church: {actuator: horn, level: river, above: 60}
"""
FLOOD = """\
start: "2026-01-15T12:00:00+01:00"
duration: 1h
inputs:
  river: {steps: [[0s, 40], [10min, 70], [30min, 40]]}
"""


def python(code: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "site.yaml").write_text(SITE)
    (tmp_path / "flood.yaml").write_text(FLOOD)
    return tmp_path


def test_its_section_is_checked(folder: Path) -> None:
    found = python(BOCAGE, "check", "site.yaml", folder=folder)
    assert found.returncode == 0, found.stdout + found.stderr
    (folder / "site.yaml").write_text(SITE.replace("level: river, above", "level: rivers, abov"))
    found = python(BOCAGE, "check", "site.yaml", folder=folder)
    assert found.returncode != 0
    assert 'site.yaml:13:37: error: unknown signal "rivers"; did you mean "river"?' in found.stdout
    assert 'unknown key "abov"; did you mean "above"?' in found.stdout
    (folder / "site.yaml").write_text(SITE.replace("above", "seuil"))
    found = python(BOCAGE, "check", "site.yaml", folder=folder)
    assert 'unknown key "seuil"; did you mean "above"?' in found.stdout


def test_without_its_line_the_section_is_unknown(folder: Path) -> None:
    found = python("import sys; from agent.cli import main; sys.exit(main(['check', 'site.yaml']))", folder=folder)
    assert 'unknown key "sirens"' in found.stdout


def test_the_reference_and_the_schema_have_it(folder: Path) -> None:
    page = python(REGISTERED + "from agent.site.reference import reference; print(reference())", folder=folder).stdout
    assert "| `sirens` | Sirens that warn of floods. *its own keys, below* |" in page
    assert "| `above` | The siren sounds above this level, in the unit of the signal. *a number* | `80` |" in page
    schema = json.loads(python(BOCAGE, "schema", folder=folder).stdout)
    assert schema["properties"]["sirens"]["description"] == "Sirens that warn of floods."


def test_its_control_runs_and_the_arbiter_gets_its_wish(folder: Path) -> None:
    found = python(BOCAGE, "simulate", "site.yaml", "flood.yaml", "--json", folder=folder)
    assert found.returncode == 0, found.stderr
    life = json.loads(found.stdout)
    assert [(one["t"], one["actuator"], one["to"], one["cause"], one["by"]) for one in life["edges"]] == [
        (600, "horn", True, "church flood", "control"),
        (1800, "horn", False, "church dry", "control"),
    ]
    assert [(one["kind"], one["code"], one["subject"]) for one in life["events"]] == [
        ("alarm", "level_high", "church"),
        ("cleared", "level_high", "church"),
    ]


def test_the_plan_shows_its_part(folder: Path) -> None:
    found = python(BOCAGE, "plan", "site.yaml", "--from", "2026-01-15", "--json", folder=folder)
    assert json.loads(found.stdout)["sirens"] == {"church": "by its level"}
    assert "church  by its level" in python(BOCAGE, "plan", "site.yaml", folder=folder).stdout
