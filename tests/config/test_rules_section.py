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
        (RULE, "then: {actuator: trace, value: 40}", [
            "21:110: error: trace is a relay (line 16); write on or off"]),
        (RULE, "then: {actuator: trace, value: off}, max_on: 12h", [
            "21:116: error: max_on bounds how long it is on, and this rule switches off"]),
        (RULE, RULE + ", on_stale: lock", ['21:138: error: "lock" is for an interlock; write keep or release']),
        (LOCK, LOCK + ", max_on: 1h", [
            '22:83: error: "max_on" is for a rule; an interlock holds as long as it must']),
        (WELL, WELL.replace("off", "hold"), [
            "22:77: error: an interlock leads to the safe_state alone, and that of well is hold (line 15)"]),
        (IF, "{point: io-3.relay2, is: on}", ["21:19: error: trace-heating looks at trace, which it moves itself"]),
        (IF, "{all: [{point: air-temp, below: 1}, {any: [{actuator: trace, is: off}]}]}", [
            "21:19: error: trace-heating looks at trace, which it moves itself"]),
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


@pytest.mark.parametrize(
    ("limit", "said_of_it"),
    [
        ("above: 100", ["21:50: warning: tank-level shows 0 to 100 (line 13): it is never above 100"]),
        ("above: 99", []),
        ("below: 0", ["21:50: warning: tank-level shows 0 to 100 (line 13): it is never below 0"]),
        ("below: 1", []),
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
