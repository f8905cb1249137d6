"""What `check` says of a plant: its source, the keys that belong to it, units, bounds and hours."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.services.heating.plants import CascadeZone, ModulatingZone
from agent.site.build import build_settings
from agent.site.loader import check, load

CASES = Path(__file__).parents[2] / "cases"
PLANT = "flow_setpoint: hp.flow_setpoint, refresh: 60s, sg_ready: [r1, r2]"
HOURS = ', sg_hours: {lock: ["18:00-20:00"], recommend: ["12:00-14:00"]}'


@pytest.fixture
def said(tmp_path):
    """The lines of `check` for the hall with another text in the place of its plant, or of anything else."""
    (tmp_path / "profiles").symlink_to(CASES / "profiles")

    def run(plant=PLANT + HOURS, **changes):
        text = (CASES / "hall.yaml").read_text(encoding="utf-8").replace(PLANT + HOURS, plant)
        for old, new in changes.values():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "site.yaml"
        path.write_text(text, encoding="utf-8")
        return [str(problem).removeprefix(f"{path}:") for problem in check(path)]

    return run


def test_the_example_is_clean(said):
    assert said() == []
    assert said(plant=PLANT) == []
    assert said(plant="sg_ready: [r1, r2]") == []


@pytest.mark.parametrize(
    ("plant", "line"),
    [
        ("pump_overrun: 5min", '22:14: error: "burner" is missing in plant'),
        ("burner: r1, flow_setpoint: hp.flow_setpoint", "flow_setpoint and burner (line 22) exclude each other"),
        ("burner: r1, burners: [r1, r2]", "burners and burner (line 22) exclude each other"),
        ("burner: r1, refresh: 60s", '"refresh" is for a plant with flow_setpoint'),
        ("burner: r1, lag_after: 5min", '"lag_after" is for a plant with burners'),
        (PLANT.replace(", sg_ready: [r1, r2]", "") + HOURS, '"sg_hours" is for a plant with sg_ready'),
        ("burners: [r1]", "a cascade has two burners at least; write burner: r1"),
        ("burners: [r1, r1]", "r1 is already moved by hall (line 22)"),
        ("sg_ready: [r1]", "SG Ready has two contacts; write [r1, r2]"),
        ("flow_setpoint: hp.flow", "hp.flow cannot be written (profile of hp)"),
        ("flow_setpoint: hp.flow_setpont", 'hp has no point "flow_setpont" (profile heatpump); did you mean'),
        ("flow_setpoint: io.relay5", "io.relay5 is in no unit, and a flow setpoint is in degC (profile of io)"),
        ("flow_setpoint: r1", "r1 is a relay; a flow temperature needs kind: level"),
        ("flow_setpoint: curve", 'unknown actuator "curve"'),
        ("flow_setpoint: hp.flow_setpoint, refresh: 500ms", "500ms is too often: refresh must be at least 1 s"),
        ("flow_setpoint: hp.flow_setpoint, low: 15", "low 15 degC is below 20 degC, the least of hp.flow_setpoint"),
        ("flow_setpoint: hp.flow_setpoint, high: 61", "high 61 degC is above 60 degC, the most of hp.flow_setpoint"),
        ("flow_setpoint: hp.flow_setpoint, high: 59", "high 59 degC is above max_flow 58 degC, which stops the plant"),
        ("flow_setpoint: hp.flow_setpoint, low: 50, high: 40", "low 50 degC is not below high 40 degC"),
        ("flow_setpoint: hp.flow_setpoint, high: 45", "warning: flow 50 degC is above 45 degC, the highest target of"),
        ("flow_setpoint: hp.flow_setpoint, enable: r3", 'unknown actuator "r3"'),
        ("flow_setpoint: hp.flow_setpoint, hot_water: {store: showers}", 'unknown store "showers"'),
        (PLANT + ', sg_hours: {lock: ["18:00-21:00"]}', "18:00-21:00 is 3h; a lock is 2h at most (SG Ready, state 1)"),
        (
            PLANT + ', sg_hours: {lock: ["01:00-02:00", "05:00-06:00", "09:00-10:00", "13:00-14:00"]}',
            "a heat pump is locked 3 times a day at most (SG Ready, state 1)",
        ),
        (
            PLANT + ', sg_hours: {lock: ["23:30-00:30"], force: ["00:00-02:00"]}',
            "00:00-02:00 is within 23:30-00:30 of lock",
        ),
    ],
)
def test_what_is_wrong_is_said(said, plant, line):
    found = said(plant=plant)
    assert len([one for one in found if line in one]) == 1, found
    assert not [one for one in found if line not in one and "already moved by" not in one], found


def test_a_store_is_no_warmer_than_its_plant(said):
    stores = (
        "  zones:\n",
        "  hot_water:\n    showers: {sensor: hp.flow, actuator: r1, setpoint: 50, thermal_cycle: "
        '{at: "03:00", temperature: 65, hold: 4min}}\n  zones:\n',
    )
    plant = "flow_setpoint: hp.flow_setpoint, hot_water: {store: showers%s}"
    assert said(plant=plant % "", stores=stores) == [
        "24:67: warning: showers is heated to 65 degC, and the plant gives 60 degC at most"
    ]
    assert any("flow 62 degC is above high 60 degC" in one for one in said(plant=plant % ", flow: 62", stores=stores))
    assert said(plant=plant % "", stores=(stores[0], stores[1].replace("65", "60").replace("4min", "60min"))) == []


def test_other_plants_need_a_curve(said):
    curve = (
        "      heat_curve: {signal: hp.flow, points: [[-10, 50], [15, 28]], max_flow: 58, heat_off_above: 17}\n",
        "",
    )
    assert any('flow_setpoint needs "heat_curve"' in one for one in said(curve=curve))
    assert any('burners needs "heat_curve"' in one for one in said(plant="burners: [r1, r2]", curve=curve))
    assert said(plant="sg_ready: [r1, r2]", curve=curve) == []


def test_a_law_is_for_burners(said):
    law = ("      outdoor: air\n", "      outdoor: air\n      control: {type: hysteresis}\n")
    assert any("control is for burners" in one for one in said(law=law))
    assert said(plant="burners: [r1, r2]", law=law) == []


def test_an_actuator_refreshes_by_its_own_key(said):
    curve = ("  r1:   {", "  curve: {output: hp.flow_setpoint, kind: level, safe_state: 45, refresh: 90s}\n  r1:   {")
    for name in ("curve", "hp.flow_setpoint"):
        assert said(plant=f"flow_setpoint: {name}", curve=curve) == []
        assert any(
            "refresh belongs to the actuator curve (line 13)" in one
            for one in said(plant=f"flow_setpoint: {name}, refresh: 60s", curve=curve)
        )


def test_a_level_in_another_unit_is_refused(said, tmp_path):
    (tmp_path / "dim.yaml").write_text("")
    level = ("  r1:   {", "  volts: {output: dali.level, kind: level}\n  r1:   {")
    device = ("  io: {", "  dali: {bus: plant, unit_id: 3, profile: dimmer}\n  io: {")
    found = said(plant="flow_setpoint: volts", level=level, device=device)
    assert any("volts is in %, and a flow setpoint is in degC (profile of dali)" in one for one in found), found


def test_a_point_gets_the_bounds_and_the_refresh_of_its_zone():
    settings = build_settings(load(CASES / "heating-flow-setpoint" / "site.yaml"))
    spec = {one.name: one for one in settings.actuators}["hp.flow_setpoint"]
    assert (spec.output, spec.kind, spec.low, spec.high, spec.refresh) == ("hp.flow_setpoint", "level", 20, 55, 60)
    assert (spec.safe_state, spec.boot_state, spec.stop_state) == ("hold", "hold", None)


def test_an_actuator_is_written_by_its_name(tmp_path):
    text = (CASES / "hall.yaml").read_text(encoding="utf-8")
    text = text.replace("  r1:   {", "  curve: {output: hp.flow_setpoint, kind: level}\n  r1:   {").replace(
        ", refresh: 60s", ""
    )
    (tmp_path / "profiles").symlink_to(CASES / "profiles")
    (tmp_path / "site.yaml").write_text(text, encoding="utf-8")
    settings = build_settings(load(tmp_path / "site.yaml"))
    zone = next(one for one in settings.controls if isinstance(one, ModulatingZone))
    assert zone.modulating.actuator == "curve"
    assert [one.name for one in settings.actuators if one.output == "hp.flow_setpoint"] == ["curve"]


def test_two_zones_share_a_plant(tmp_path):
    text = (CASES / "hall.yaml").read_text(encoding="utf-8")
    zones = text[text.index("    hall:\n") :]
    other = zones.replace("    hall:", "    library:").replace("[r1, r2]", "[r3, r4]")
    other = other.replace("refresh: 60s", "refresh: 30s, high: 40, low: 25").replace("50], [15", "40], [15")
    text = text.replace("  pump: {", "  r3: {output: io.relay5}\n  r4: {output: io.relay6}\n  pump: {") + other
    (tmp_path / "profiles").symlink_to(CASES / "profiles")
    path = tmp_path / "site.yaml"
    path.write_text(text, encoding="utf-8")
    assert [str(problem) for problem in check(path)] == []
    specs = [one for one in build_settings(load(path)).actuators if one.name == "hp.flow_setpoint"]
    assert [(one.low, one.high, one.refresh) for one in specs] == [(20, 55, 30)]


def test_a_cascade_takes_the_longest_limits():
    settings = build_settings(load(CASES / "boiler-house.yaml"))
    zone = next(one for one in settings.controls if isinstance(one, CascadeZone))
    assert (zone.min_on, zone.min_off, zone.least_cycle) == (240, 360, 600)
    own = ["school.b1.run_hours", "school.b2.run_hours", "school.mode", "school.setpoint"]
    assert [point.id for point in zone.points] == own


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ('"07:30-12:00 comfort", "11:00-17:00 reduced"',
         "11:00-17:00 begins before 07:30-12:00 has ended; write 12:00-17:00"),
        ('"07:30-12:00 comfort", "06:00-07:30 reduced"',
         "06:00-07:30 is earlier than 07:30-12:00; write 06:00-07:30 first"),
        ('"07:30-12:00 comfort", "08:00-09:00 reduced"',
         "08:00-09:00 begins before 07:30-12:00 has ended; write parts that do not overlap"),
        ('"07:30-12:00 comfort", "07:00-24:00 reduced"',
         "07:00-24:00 begins before 07:30-12:00 has ended; write parts that do not overlap"),
        ('"07:30-12:00 comfort", "12:00-13:00 reduced"', None),
    ],
)  # fmt: skip
def test_parts_of_a_day_stand_in_their_order(said, parts, message):
    found = said(week=('"07:30-17:00 comfort"', parts))
    assert [one.split(": ", 2)[2] for one in found] == ([] if message is None else [message])


def test_a_rule_on_a_flow_setpoint_is_told_the_actuator_that_it_needs(said):
    rule = "rules: {cold: {if: {point: air, below: 1}, then: {actuator: hp.flow_setpoint, value: 40}}}\nheating:\n"
    (found,) = said(rules=("heating:\n", rule))
    assert found.endswith(
        'unknown actuator "hp.flow_setpoint"; it is a point: give it an actuator, such as '
        "flow_setpoint: {output: hp.flow_setpoint, kind: level}, and name that here"
    )
