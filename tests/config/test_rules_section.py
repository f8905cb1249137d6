"""What `check` says of rules and interlocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

SITE = (Path(__file__).parent.parent / "cases" / "rules-trace-heating" / "site.yaml").read_text(encoding="utf-8")
RULE = "then: {actuator: trace, value: on}, max_on: 12h"
IF = "{point: air-temp, below: 1, hysteresis: 1, for: 10min}"
LOCK = "lock: {actuator: well, value: off}"
WELL = "well: {output: io-3.relay1, safe_state: off"


@pytest.mark.parametrize(
    ("before", "after", "messages"),
    [
        (RULE, "max_on: 12h", ['21:3: error: it does nothing: write "then" or "lock" with an actuator and its value']),
        (RULE, f"then: {{actuator: trace, value: on}}, {LOCK}", [
            '21:115: error: a rule has "then" or "lock", not both; write two rules']),
        (RULE, "then: {actuator: trase, value: on}", [
            '21:96: error: unknown actuator "trase"; did you mean "trace"?']),
        (RULE, "then: {actuator: io-3.relay5, value: on}", [
            '21:96: error: unknown actuator "io-3.relay5"; it is a point: give it an actuator, such as '
            "relay5: {output: io-3.relay5}, and name that here"]),
        (RULE, "then: {actuator: io-3.relay2, value: on}", [
            '21:96: error: unknown actuator "io-3.relay2"; did you mean "trace"?']),
        (RULE, "then: {actuator: trace, value: 40}", [
            "21:110: error: trace is a relay (line 16); write on or off"]),
        (RULE, "then: {actuator: trace, value: off}, max_on: 12h", [
            "21:116: error: max_on bounds how long it is on, and this rule switches off"]),
        (RULE, RULE + ", on_stale: lock", ['21:138: error: "lock" is for an interlock; write keep or release']),
        (LOCK, LOCK + ", max_on: 1h", [
            '22:83: error: "max_on" is for a rule; an interlock holds as long as it must']),
        (WELL, WELL.replace("off", "hold"), [
            "22:77: error: an interlock leads to the safe_state alone, and that of well is hold (line 15); "
            "write safe_state: off in well if that is safe, or take a rule (then) in place of lock"]),
        (IF, "{point: air-temp, below: 1, when: {times: 08:00-09:00}}", [
            '21:51: error: unknown key "when"; it is a key of an alarm; write {all: [...]} around two conditions']),
        (IF, "{point: air-temp, below: 1}, when: {times: 08:00-09:00}", [
            '21:52: error: unknown key "when"; write if: {all: [...]} with both']),
        (IF, "{point: io-3.relay2, is: on}", ["21:19: error: trace-heating looks at trace, which it moves itself; "
            "let it look at what is measured"]),
        (IF, "{all: [{point: air-temp, below: 1}, {any: [{actuator: trace, is: off}]}]}", [
            "21:19: error: trace-heating looks at trace, which it moves itself; "
            "let it look at what is measured"]),
        (LOCK, LOCK + "}\n  cold: {if: {point: air-temp, below: -5}, then: {actuator: trace, value: off}", [
            "23:75: error: trace is on by trace-heating (line 21): of two rules neither comes first; "
            "write one rule, with all: or any: in its condition"]),
        (IF, "{point: air-temp, below: 1, for: soon}", [
            '21:56: error: "soon" is not a duration; write 10s, 10min or 10h']),
        (LOCK, "lok: {actuator: well, value: off}", ['22:47: error: unknown key "lok"; did you mean "lock"?']),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_told_at_its_place(said: Callable[[str], list[str]], before, after, messages):
    assert SITE.count(before) == 1
    assert said(SITE.replace(before, after)) == messages


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (RULE, "then: {actuator: trace, value: on}, on_stale: keep"),
        (LOCK, LOCK + ", on_stale: lock"),
        (IF, '{all: [{times: "22:00-06:00", days: [mon, tue]}, {point: air-temp, below: 1}]}'),
        (IF, "{actuator: well, is: on, for: 5min}"),
        (LOCK, LOCK + "}\n  dry: {if: {point: tank-level, below: 5}, lock: {actuator: well, value: off}"),
    ],
)
def test_a_right_one_passes(said, before, after):
    assert SITE.count(before) == 1
    assert said(SITE.replace(before, after)) == []


@pytest.mark.parametrize(
    ("before", "after", "messages"),
    [
        ("rules:", "alarms: {hatch-open: {point: air-temp, below: 0}}\nrules:", [
            '23:3: error: "hatch-open" is already a name in alarms (line 20): both tell alarms under it']),
        ("hatch-open:", "reservoir:", [
            '22:3: error: "reservoir" is already the name of a part of a service, which tells alarms under it; '
            "take another name"]),
        (IF, "{point: well, is: on}", ["21:31: error: well is an actuator; write actuator: well"]),
    ],
)  # fmt: skip
def test_names_that_two_parts_would_share(said, before, after, messages):
    assert SITE.count(before) == 1
    assert said(SITE.replace(before, after)) == messages


def test_the_points_of_a_pump_are_points(said):
    pumps = SITE.replace("pump: well}", "pumps: [well]}")
    assert pumps != SITE and said(pumps) == []
    assert said(pumps.replace(IF, "{point: well.run_hours, above: 5000}")) == []
    found = said(pumps.replace(IF, "{point: well.run_hour, above: 5000}"))
    assert found == ['21:31: error: well has no point "run_hour"; did you mean "run_hours"?']


def test_a_rule_is_not_called_like_a_pump(said):
    """Both would tell a sensor_fault under the name."""
    pumps = SITE.replace("pump: well}", "pumps: [well]}").replace("hatch-open:", "well:")
    (found,) = said(pumps)
    assert '"well" is already the name of a part of a service' in found


def test_concentrations_convert(said):
    site = SITE.replace("unit: degC", "unit: mg/L")
    assert not [one for one in said(site.replace("below: 1,", "below: 100 ug/L,")) if "ug/L" in one]


@pytest.mark.parametrize(
    ("limit", "said_of_it"),
    [
        ("above: 100", ["21:50: warning: tank-level shows 0 to 100 % (line 13): it is never above 100"]),
        ("above: 99", []),
        ("below: 0", ["21:50: warning: tank-level shows 0 to 100 % (line 13): it is never below 0"]),
        ("below: 1", []),
        ("above: -1", ["21:50: warning: tank-level shows 0 to 100 % (line 13): it is always above -1"]),
        ("above: 0", []),
        ("below: 101", ["21:50: warning: tank-level shows 0 to 100 % (line 13): it is always below 101"]),
        ("above: 90, hysteresis: 91", [
            "21:66: warning: tank-level shows 0 to 100 % (line 13): "
            "once above 90 it never ends, which would be at -1"]),
        ("above: 90, hysteresis: 90", []),
        ("below: 20, hysteresis: 81", [
            "21:66: warning: tank-level shows 0 to 100 % (line 13): "
            "once below 20 it never ends, which would be at 101"]),
        ("falls: 101, within: 1h", ["21:50: warning: tank-level shows 0 to 100 % (line 13): it never falls by 101"]),
        ("rises: 100, within: 1h", []),
        ("still: 101, for: 1h", ["21:50: warning: tank-level shows 0 to 100 % (line 13): it never moves by 101"]),
        ("is: 120", ["21:47: warning: tank-level shows 0 to 100 % (line 13): it is never 120"]),
    ],
)  # fmt: skip
def test_a_limit_that_the_sensor_cannot_show(said, limit, said_of_it):
    assert said(SITE.replace(IF, f"{{point: tank-level, {limit}}}")) == said_of_it


def test_two_parts_of_services_under_one_name(said, saint_seine):
    """A tank and a zone called school were one control: the pump never ran."""
    twice = saint_seine.replace("    reservoir: {level", "    school: {level")
    line = next(n for n, one in enumerate(twice.splitlines(), 1) if one.startswith("    school: {level"))
    found = said(twice)
    assert len(found) == 1 and found[0].endswith(
        f': error: "school" is already a name in water.tanks (line {line}); take another one'
    )


def test_a_value_outside_the_valid_range_is_none_that_the_sensor_shows(said):
    valid = SITE.replace("out-1.temperature, unit: degC", "out-1.temperature, unit: degC, valid: [-30, 50]")
    assert valid != SITE and said(valid) == []
    found = said(valid.replace(IF, "{point: air-temp, below: -40}"))
    assert found == ["21:48: warning: air-temp shows -30 to 50 degC (line 12): it is never below -40"]
    own = valid.replace("out-1.temperature, unit: degC,", "out-1.temperature,")
    assert said(own.replace(IF, "{point: air-temp, below: -40}")) == found, "without a unit it has its source's"


def test_the_range_of_a_current_has_no_unit_of_its_source(said):
    bare = SITE.replace('scale: [0, 100], unit: "%"', "scale: [0, 100]").replace(IF, "{point: tank-level, above: 100}")
    assert "21:50: warning: tank-level shows 0 to 100 (line 13): it is never above 100" in said(bare)


LEVEL = 'scale: [0, 100], unit: "%"'
TANK = "reservoir: {level: tank-level, pump: well"


@pytest.mark.parametrize(
    ("scale", "keys", "messages"),
    [
        ("[0, 80]", "", [
            "19:16: warning: stop 85 % is never reached: tank-level shows 0 to 80 % (line 13); the pump would never "
            "stop",
            "19:16: warning: high 95 % is never reached: tank-level shows 0 to 80 % (line 13)"]),
        ("[0, 80]", ", stop: 80 %, high: 90 %", [
            "19:66: warning: high 90 % is never reached: tank-level shows 0 to 80 % (line 13)"]),
        ("[50, 100]", ", start: 45 %, low: 50 %, stop: 90 %", [
            "19:55: warning: start 45 % is never reached: tank-level shows 50 to 100 % (line 13); the pump would never "
            "start",
            "19:66: error: low 50 % is not below start 45 %"]),
        ("[5, 95]", "", []),
        ("[0, 80]", ", stop: 75 %, high: 79 %, tariff: {cheap: ['22:30-06:30'], start: 60 %, stop: 78 %, "
         "otherwise: {start: 30 %, stop: 50 %}}", []),
        ("[0, 80]", ", high: 79 %, stop: 78 %, tariff: {cheap: ['22:30-06:30'], start: 81 %, stop: 82 %}", None),
    ],
)  # fmt: skip
def test_a_level_that_the_sensor_of_a_tank_cannot_show(said, scale, keys, messages):
    """Its pump would never stop, or never start."""
    found = said(SITE.replace(LEVEL, LEVEL.replace("[0, 100]", scale)).replace(TANK, TANK + keys))
    if messages is None:
        assert any("warning: start 81 % is never reached" in one for one in found)
        assert any("warning: stop 82 % is never reached" in one for one in found)
    else:
        assert sorted(found) == sorted(messages)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("close_below: 2,", "close_below: -45,", "close_below -45 degC is never passed: air-temp shows -40 to 50 degC"),
        ("reopen_above: 4,", "reopen_above: 50,", "reopen_above 50 degC is never passed: air-temp shows -40 to 50"),
        ("off_above: 20,", "off_above: 200,", "off_above 200 lx is never passed: lux shows 0 to 200 lx"),
        ("scale: [0, 120]", "scale: [0, 60]", "max_flow 70 degC is never reached: flow-temp shows 0 to 60 degC"),
        ("valid: [-5, 45]", "valid: [10, 18]", "comfort 19 degC is never reached: classroom shows 10 to 18 degC"),
    ],
)
def test_other_limits_that_a_sensor_cannot_show(said, saint_seine, old, new, message):
    site = saint_seine.replace("out-1.temperature, unit: degC", "out-1.temperature, unit: degC, valid: [-40, 50]")
    assert site != saint_seine and site.count(old) == 1
    before = said(site)
    (found,) = (one for one in said(site.replace(old, new)) if one not in before and message in one)
    assert "warning" in found


def test_an_amount_beyond_all_measure_is_a_slip(said):
    found = said(SITE.replace("pump: well}", "pump: well, capacity: 999999999999999999 m3}"))
    assert found == ["19:58: error: 999999999999999999 m3 is too much; write at most 1000000 m3"]


FORCED = "may hold {} on against frost, and of two interlocks off wins: this one holds it off also then"


@pytest.mark.parametrize(
    ("place", "before", "after", "messages"),
    [
        ("rules-lock-towards-on", "actuator: ev1, value: on", "actuator: ev2, value: off", [
            f"21:70: warning: fountain (line 19) {FORCED.format('ev2')}"]),
        ("rules-lock-towards-on", "frost: {signal: air-temp}, leak: {burst: 1500 L/h for 3min}}\nrules:\n  fire: "
         "{if: {point: io-1.di6, is: on}, lock: {actuator: ev1, value: on}}", "leak: {burst: 1500 L/h for 3min}}\n"
         "rules:\n  dry: {if: {point: io-1.di6, is: on}, lock: {actuator: ev2, value: off}}", []),
    ],
)  # fmt: skip
def test_an_interlock_towards_off_beats_frost(said, place, before, after, messages):
    site = (Path(__file__).parent.parent / "cases" / place / "site.yaml").read_text(encoding="utf-8")
    assert site.count(before) == 1
    found = said(site.replace(before, after))
    assert [one for one in found if "interlock" in one] == messages


@pytest.mark.parametrize(
    ("outdoor", "warned"), [(True, [f"97:71: warning: the heating (line 88) {FORCED.format('pump')}"]), (False, [])]
)
def test_an_interlock_on_a_pump_that_frost_forces_on(said, saint_seine, outdoor, warned):
    """Without an outdoor sensor nothing forces it."""
    site = saint_seine.replace("io-1.relay3, safe_state: on", "io-1.relay3, safe_state: off")
    lines = [one for one in site.splitlines(keepends=True) if outdoor or "outdoor:" not in one]
    site = "".join(one for one in lines if outdoor or "heat_curve:" not in one)
    site += "rules:\n  leak: {if: {point: io-1.di8, is: on}, lock: {actuator: pump, value: off}}\n"
    assert [one for one in said(site) if "of two interlocks" in one or "error" in one] == warned
