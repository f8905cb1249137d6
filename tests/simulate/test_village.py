"""config/village.yaml has all that a site can have: each part of it acts on a winter's day of its scenario."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.cli import main

CONFIG = Path(__file__).parents[2] / "config"


def test_a_day_of_the_village(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    year = (CONFIG / "village" / "year.yaml").read_text(encoding="utf-8")
    assert year.count("duration: 365d") == 1 and year.count("sine") >= 15
    scenario = tmp_path / "day.yaml"
    scenario.write_text(year.replace("duration: 365d", "duration: 36h"), encoding="utf-8")
    assert main(["simulate", str(CONFIG / "village.yaml"), str(scenario), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    moved = {edge["actuator"] for edge in found["edges"]}
    assert moved >= {"km1", "km3", "dim1", "p1", "p2", "spring", "s1", "s2", "pump", "trace", "ev1"}
    codes = {(event["code"], event["subject"]) for event in found["events"] if event["kind"] == "alarm"}
    assert codes >= {("point_alarm", "pressure"), ("point_alarm", "cold-room")}
    assert not any(code == "control_failed" for code, _ in codes)
    causes = {edge["cause"] for edge in found["edges"]}
    assert causes >= {"filling", "rule trace-heating", "main-street stalls: part_night_off", "lane no presence",
                      "stars 22:00", "opening hours (market)", "school pump_forced_below"}  # fmt: skip
