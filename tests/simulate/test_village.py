"""config/village.yaml has all that a site can have: each part of it acts on a winter's day of its scenario. In its
year and in that of Saint-Seine no analogue input stands still."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from agent.cli import main
from agent.simulate import read_scenario
from agent.simulate.inputs import source
from agent.simulate.scenario import ScenarioInput
from agent.site.loader import load

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


@pytest.mark.parametrize("name", ["village", "saint-seine"])
def test_no_analogue_input_of_a_year_stands_still(name: str) -> None:
    site = load(CONFIG / f"{name}.yaml")
    scenario, problems = read_scenario(CONFIG / name / "year.yaml", site)
    assert scenario is not None and problems == []
    assert {key for key, one in site.signals.items() if one.signal} < scenario.inputs.keys()
    assert scenario.duration == 365 * 86400
    analogue = {key: one for key, one in scenario.inputs.items() if one.rate is None and not _is_contact(one)}
    assert len(analogue) >= 8 and any(one.follows for one in analogue.values())
    for key, one in analogue.items():
        for share in (0.0, 1.0):
            played = source(one, 1.0, lambda _name, share=share: share, lambda _name: None)  # type: ignore[misc]
            values = [played.value(60.0 * minute) for minute in range(2 * 1440)]
            alike = sum(before == after for before, after in itertools.pairwise(values))
            rarely = 0.25 * len(values)  # about the crest of a slow wave, which has three decimals
            assert alike < rarely, f"{key} reads the same in {alike} minutes"


def _is_contact(one: ScenarioInput) -> bool:
    return isinstance(one.constant, bool) or isinstance((one.steps or ((0, None),))[0][1], bool)
