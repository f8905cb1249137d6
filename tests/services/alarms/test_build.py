"""Alarms of a site file as controls: numbers in the point's unit, the two of CO2, what is personal."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.control.conditions import Compare, During, Is, Lasting, Moves, Operand, Still
from agent.model import Severity
from agent.services.alarms.control import PointAlarm
from agent.settings import Settings
from agent.site.build import build_settings
from agent.site.loader import load
from tests.config.test_alarms import GOOD, SITE


def settings(folder: Path, text: str) -> Settings:
    (folder / "site.yaml").write_text(text)
    return build_settings(load(folder / "site.yaml"))


@pytest.fixture
def alarms(tmp_path: Path) -> dict[str, PointAlarm]:
    found = settings(tmp_path, SITE + GOOD).controls
    return {one.subject: one for one in found if isinstance(one, PointAlarm)}


def test_each_is_the_condition_of_the_file(alarms: dict[str, PointAlarm]) -> None:
    cold = Compare(Operand("cold-room.temperature"), -15.0, hysteresis=1.0)
    assert alarms["cold-room"].condition == Lasting(cold, 1200.0)
    assert alarms["cold-room"].severity is Severity.MAJOR
    assert (alarms["chlorine"].severity, alarms["chlorine"].unit) == (Severity.CRITICAL, "mg/L")
    pump = Is(Operand("well", output=True), True)
    assert alarms["no-fill"].condition == During(Still(Operand("tank-level"), 0.5, 7200.0), pump)
    assert alarms["pressure"].condition == Moves(Operand("pressure"), 1.0, 600.0)
    assert alarms["flow"].condition == Moves(Operand("fountain.today"), 5000.0, 3600.0, rises=True)
    assert (alarms["flow"].unit, alarms["flow"].limit) == ("L", 5000.0)
    assert alarms["door"].condition == Lasting(Is(Operand("io-1.di7"), True), 60.0)
    assert alarms["both"].condition.inputs == {"pressure", "well"}


def test_a_number_with_a_unit_is_converted(alarms: dict[str, PointAlarm]) -> None:
    assert Compare(Operand("pressure"), 0.8) in alarms["both"].condition.conditions


def test_the_points_of_the_gate_are_watched_too(alarms: dict[str, PointAlarm]) -> None:
    assert alarms["no-fill"].points == ("tank-level",)
    assert alarms["no-fill"].inputs == {"tank-level", "well"}
    assert alarms["co2-class-1"].inputs == {"class-1.co2", "school.mode"}


def test_co2_without_a_limit_has_the_two_of_the_decree(alarms: dict[str, PointAlarm]) -> None:
    co2 = Operand("class-1.co2")
    low, high = alarms["co2-info"], alarms["co2"]
    assert (low.condition, low.severity) == (Lasting(Compare(co2, 800.0), 600.0), Severity.INFO)
    assert (high.condition, high.severity) == (Lasting(Compare(co2, 1500.0), 600.0), Severity.MAJOR)
    assert (low.points, high.points) == ((), ("class-1.co2",)), "a sensor that is lost is told once"
    assert low.inputs == {"class-1.co2"}


def test_the_severity_of_the_file_is_that_of_the_higher_limit(tmp_path: Path) -> None:
    found = settings(tmp_path, SITE + "  co2: {point: class-1.co2, severity: critical}\n").controls
    assert {one.subject: one.severity for one in found if isinstance(one, PointAlarm)} == {
        "co2-info": Severity.INFO, "co2": Severity.CRITICAL,
    }  # fmt: skip


@pytest.mark.parametrize(("limit", "severity"), [(900, Severity.INFO), (1500, Severity.MAJOR)])
def test_a_limit_for_co2_below_1500_ppm_is_info(tmp_path: Path, limit: float, severity: Severity) -> None:
    found = settings(tmp_path, SITE + f"  a: {{point: class-1.co2, above: {limit}}}\n").controls
    assert [one.severity for one in found if isinstance(one, PointAlarm)] == [severity]


def test_another_gas_in_ppm_is_no_co2(tmp_path: Path) -> None:
    site = SITE.replace('unit: "mg/L"', "unit: ppm").replace("chlorine", "garage-co")
    found = settings(tmp_path, site + "  garage: {point: garage-co, above: 30}\n").controls
    assert [one.severity for one in found if isinstance(one, PointAlarm)] == [Severity.MAJOR]


def test_an_alarm_on_a_personal_point_is_withheld(tmp_path: Path) -> None:
    site = SITE.replace("profile: milesight_em300_th}", "profile: milesight_em300_th, personal: true}")
    found = settings(tmp_path, site + GOOD)
    assert "cold-room" in found.personal
    assert "chlorine" not in found.personal


def test_the_key_of_a_condition_is_the_same_in_each_process(alarms: dict[str, PointAlarm]) -> None:
    assert alarms["pressure"].key == PointAlarm("x", Moves(Operand("pressure"), 1.0, 600.0)).key
    assert len({one.key for one in alarms.values()}) == len(alarms)
