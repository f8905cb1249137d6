"""What `check` says of alarms on points, and of the conditions in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.services.alarms.control import PointAlarm
from agent.site.build import build_settings
from agent.site.loader import load

Lines = Callable[[str], list[str]]

SITE = """\
version: 1
site: {id: village, latitude: 47.3, longitude: 5.0, timezone: Europe/Paris}
buses:
  plant: {type: modbus_tcp, host: 127.0.0.1, port: 1502}
  lora: {type: lora_chirpstack, url: "mqtt://127.0.0.1:1883", application: village}
  gpio: {type: gpio}
devices:
  io-1: {bus: plant, unit_id: 1, profile: relay8_di8}
  io-3: {bus: plant, unit_id: 3, profile: relay8_ai8}
  cold-room: {bus: lora, dev_eui: "24e124136b316001", profile: milesight_em300_th}
  class-1: {bus: lora, dev_eui: "24e124136b316002", profile: milesight_am307}
signals:
  tank-level: {from: io-3.ai1, signal: 4-20mA, scale: [0, 100], unit: "%", stale_after: 2min}
  chlorine: {from: io-3.ai2, signal: 4-20mA, scale: [0, 2], unit: "mg/L", stale_after: 2min}
  pressure: {from: io-3.ai3, signal: 4-20mA, scale: [0, 10], unit: "bar", stale_after: 2min}
  fountain-ct: {from: gpio.17, kind: counter, per_pulse: 10, unit: L}
calendars:
  market: {days: [sat], times: ["06:00-14:00"]}
actuators:
  well: {output: io-3.relay1, safe_state: off, boot_state: off}
  burner: {output: io-3.relay2, safe_state: off, boot_state: off}
water:
  points:
    fountain: {meter: fountain-ct}
heating:
  zones:
    school:
      sensor: class-1.temperature
      control: {type: hysteresis}
      plant: {burner: burner}
      setpoints: {comfort: 19, reduced: 16, frost: 8}
      week: {default: reduced, "mon,tue,thu,fri": ["07:30-17:00 comfort"], "sat,sun": ["00:00-24:00 frost"]}
alarms:
"""
FIRST = SITE.count("\n") + 1
GOOD = """\
  cold-room:   {point: cold-room.temperature, above: -15, hysteresis: 1, for: 20min, severity: major, text: "{value} C"}
  chlorine:    {point: chlorine, below: 0.1, for: 10min, severity: critical}
  co2-class-1: {point: class-1.co2, above: 1500, for: 10min, when: {zone: school, mode: comfort}}
  co2:         {point: class-1.co2, for: 10min}
  no-fill:     {point: tank-level, still: 0.5, for: 2h, while: {actuator: well, is: on}}
  pressure:    {point: pressure, falls: 1 bar, within: 10min}
  door:        {point: io-1.di7, is: on, for: 1min, severity: info}
  pin:         {point: gpio.22, is: off}
  flow:        {point: fountain.today, rises: 5 m3, within: 1h}
  both:        {all: [{point: pressure, above: 800 mbar}, {any: [{times: "08:00-12:00"}, {actuator: well, is: off}]}]}
  mode:        {point: school.mode, is: frost}
  market:      {point: pressure, below: 2, when: {calendar: market}}
  days:        {times: ["08:00-12:00", "22:00-02:00"], days: [mon, tue, public_holiday]}
"""


def alarms(said: Lines, *lines: str) -> list[str]:
    """What is said of these lines of the section, by line and column in it."""
    found = said(SITE + "".join(f"  {line}\n" for line in lines))
    numbered = [one.split(":", 2) for one in found]
    return [f"{int(line) - FIRST + 1}:{column}:{rest}" for line, column, rest in numbered if int(line) >= FIRST]


def test_a_good_file_says_nothing(said: Lines) -> None:
    assert alarms(said, *(line.strip() for line in GOOD.splitlines())) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a: {above: 3}", "1:3: error: a condition needs one of point, actuator, zone, calendar, times, all or any"),
        (
            "a: {when: {actuator: well, is: on}}",
            "1:3: error: a condition needs one of point, actuator, zone, calendar, times, all or any",
        ),
        (
            "a: {point: chlorine, actuator: well, above: 3}",
            "1:24: error: a condition has one of point or actuator, not several; "
            "write {all: [...]} or {any: [...]} around several conditions",
        ),
        (
            "a: {point: cold-room.temperature}",
            "1:3: error: it lacks what to compare with: above, below, is, still, falls or rises",
        ),
        (
            "a: {point: chlorine, above: 3, below: 1}",
            "1:34: error: a point is compared once: above or below; "
            "write {any: [...]} or {all: [...]} around two conditions",
        ),
        ("a: {point: chlorin, above: 3}", '1:14: error: unknown signal "chlorin"; did you mean "chlorine"?'),
        (
            "a: {point: cold-rom.humidity, above: 3}",
            '1:14: error: unknown device "cold-rom"; did you mean "cold-room"?',
        ),
        (
            "a: {point: cold-room.humidty, above: 3}",
            '1:14: error: cold-room has no point "humidty" (profile milesight_em300_th); did you mean "humidity"?',
        ),
        ("a: {point: fountain.toda, above: 3}", '1:14: error: fountain has no point "toda"; did you mean "today"?'),
        ("a: {actuator: wel, is: on}", '1:17: error: unknown actuator "wel"; did you mean "well"?'),
        ("a: {zone: scool, mode: frost}", '1:13: error: unknown zone "scool"; did you mean "school"?'),
        (
            "a: {point: pressure, above: 1, when: {calendar: markt}}",
            '1:51: error: unknown calendar "markt"; did you mean "market"?',
        ),
        (
            "a: {point: school.mode, above: 3}",
            '1:27: error: school.mode is a state: "above" compares numbers; write is',
        ),
        (
            "a: {point: school.mode, is: confort}",
            '1:31: error: "confort" is none of comfort, reduced, frost or off; did you mean "comfort"?',
        ),
        ("a: {zone: school}", '1:7: error: "zone" needs "mode": comfort, reduced, frost or off'),
        (
            "a: {zone: school, mode: confort}",
            '1:27: error: "confort" is none of comfort, reduced, frost or off; did you mean "comfort"?',
        ),
        ("a: {point: chlorine, above: 1, mode: off}", '1:34: error: "mode" goes with "zone"'),
        ("a: {point: chlorine, above: 1, days: [mon]}", '1:34: error: "days" goes with "times"'),
        ("a: {times: 08:00-09:00, above: 1}", '1:27: error: "above" compares a point or an actuator, not "times"'),
        ("a: {point: chlorine, above: 1, hysteresis: 1e400}", "1:46: error: inf is too much"),
        ("a: {point: chlorine, above: " + "9" * 400 + " mg/L}", f'1:31: error: "{"9" * 57}…" is too much'),
        ("a: {point: chlorine, above: 3 bar}", "1:31: error: 3 bar, and chlorine is in mg/L; write it in mg/L"),
        ("a: {point: pressure, falls: 10 %, within: 1h}", "1:31: error: 10 %, and pressure is in bar; write it in bar"),
        ("a: {point: pressure, above: 5 barr}", "1:31: error: 5 barr, and pressure is in bar; write 5 bar"),
        ("a: {point: pressure, above: 5 psi}", "1:31: error: 5 psi, and pressure is in bar; write it in bar"),
        ("a: {point: class-1.co2, above: 0.1 %}", "1:34: error: 0.1 %, and class-1.co2 is in ppm; write 1000 ppm"),
        ("a: {point: tank-level, below: 500 ppm}", "1:33: error: 500 ppm, and tank-level is in %; write 0.05 %"),
        ("a: {point: well, is: on}", "1:14: error: well is an actuator; write actuator: well"),
        (
            "a: {any: [{point: chlorine, above: 1, when: {times: 08:00-09:00}}]}",
            '1:41: error: unknown key "when"; it is a key of an alarm; write {all: [...]} around two conditions',
        ),
        (
            "a: {point: class-1.temperature, above: 30 K}",
            "1:42: error: 30 K, and class-1.temperature is in degC; write 30 degC",
        ),
        (
            "a: {point: fountain.today, rises: 5 bar, within: 1h}",
            "1:37: error: 5 bar, and fountain.today is in L; write it in L",
        ),
        ("a: {actuator: well, above: 3 bar}", "1:30: error: 3 bar, and well has no unit; write 3"),
        (
            'a: {point: chlorine, above: "0,1"}',
            '1:31: error: "0,1" is not a number; write 1.5, or 1.5 bar with its unit',
        ),
        ('a: {point: chlorine, above: "1 000"}', '1:31: error: "1 000" is not a number; write 1000'),
        (
            "a: {point: chlorine, above: 1_000}",
            '1:31: error: "1_000" is not a number; write 1.5, or 1.5 bar with its unit',
        ),
        ("a: {point: chlorine, above: nan}", '1:31: error: "nan" is not a number; write 1.5, or 1.5 bar with its unit'),
        ("a: {point: pressure, falls: 1 bar}", '1:24: error: "falls" needs "within": the time of it, such as 10min'),
        ("a: {point: pressure, still: 1 bar}", '1:24: error: "still" needs "for": for how long, such as 2h'),
        ("a: {point: pressure, falls: 0, within: 10min}", "1:31: error: 0 is too little; write more than 0"),
        ("a: {point: pressure, above: 1, within: 1h}", '1:34: error: "within" goes with falls or rises'),
        (
            "a: {point: pressure, falls: 1, within: 1h, hysteresis: 3}",
            '1:46: error: "hysteresis" goes with above or below',
        ),
        ("a: {point: pressure, above: 1, hysteresis: -1}", "1:46: error: -1 is too little; write at least 0"),
        ("a: {point: pressure, above: 1, for: 10}", "1:39: error: 10 has no unit; write 10s, 10min or 10h"),
        ("a: {point: pressure, above: 1, sensor_fault: 0s}", "1:48: error: 0s is too little; write more than 0s"),
        ("a: {point: io-1.di7, is: HC}", '1:28: error: "HC" is a word, and io-1.di7 is on or off; write on or off'),
        (
            "a: {point: io-1.di7, is: oui}",
            '1:28: error: "oui" is a word, and io-1.di7 is on or off; did you mean "on"?',
        ),
        ("a: {point: io-1.di7, is: 5}", "1:28: error: 5 is a number, and io-1.di7 is on or off; write on or off"),
        ("a: {point: gpio.22, is: 0.5}", "1:27: error: 0.5 is a number, and gpio.22 is on or off; write on or off"),
        (
            "a: {point: pressure, is: HC}",
            '1:28: error: "HC" is a word, and pressure is in bar; write a number, or above or below',
        ),
        (
            "a: {point: io-1.di7, above: 3}",
            '1:24: error: io-1.di7 is on or off: "above" compares numbers; write {is: on}',
        ),
        (
            "a: {point: gpio.22, falls: 1, within: 1h}",
            '1:23: error: gpio.22 is on or off: "falls" compares numbers; write {is: on}',
        ),
        ("a: {point: pressure, above: 1, when: {all: []}}", '1:41: error: "all" is empty; write the conditions in it'),
        (
            "a: {any: [{point: pressure, above: 1}, {all: [{above: 1}]}]}",
            "1:49: error: a condition needs one of point, actuator, zone, calendar, times, all or any",
        ),
        (
            "a: {point: class-1.co2, above: 900, when: {point: class-1.co2}}",
            "1:39: error: it lacks what to compare with: above, below, is, still, falls or rises",
        ),
        (
            "a: {point: pressure, above: 1, when: {times: 08:00-09:00}, while: {actuator: well, is: on}}",
            '1:62: error: "while" is the same as "when"; write one of them, with all: [...]',
        ),
        (
            'a: {point: pressure, above: 1, text: "{valeur} bar"}',
            "1:40: error: {valeur} is not filled in; write {value}, {unit}, {limit} or {name}",
        ),
        (
            'a: {point: pressure, above: 1, text: "{value:.2f}"}',
            "1:40: error: {value:.2f} is not filled in; write {value}, {unit}, {limit} or {name}",
        ),
        (
            'a: {point: pressure, above: 1, text: "{value"}',
            "1:40: error: a brace without its other half; write {{ or }} for a brace itself",
        ),
        (
            "a.b: {point: pressure, above: 1}",
            '1:3: error: "a.b" is not a name; use letters without accents, digits, - and _, at most 64',
        ),
        (
            "a: {point: pressure, above: 1, severity: grave}",
            '1:44: error: "grave" is none of critical, major, minor or info',
        ),
    ],
)
def test_a_mistake_has_its_place_and_a_remedy(said: Lines, line: str, message: str) -> None:
    assert alarms(said, line) == [message]


def test_a_text_is_short(said: Lines) -> None:
    text = "x" * 301
    assert alarms(said, f'a: {{point: pressure, above: 1, text: "{text}"}}') == [
        "1:40: error: 301 characters are too many for a message; write at most 300"
    ]


def test_a_current_without_a_unit_of_its_own_has_none(said: Lines, tmp_path: Path) -> None:
    """Its values are what the scale says: a limit in mA was converted, and the region read uA."""
    bare = SITE.replace('scale: [0, 10], unit: "bar"', "scale: [0, 10]")
    assert bare != SITE
    for limit, message in (("above: 5 mA", "5 mA, and pressure has no unit; write 5"),
                           ("below: 1 bar", "1 bar, and pressure has no unit; write 1")):  # fmt: skip
        assert said(f"{bare}  a: {{point: pressure, {limit}}}\n")[-1].endswith(f"error: {message}")
    said(f"{bare}  a: {{point: pressure, above: 5}}\n")
    (alarm,) = [one for one in build_settings(load(tmp_path / "site.yaml")).controls if one.name == "alarms.a"]
    assert isinstance(alarm, PointAlarm) and (alarm.unit, alarm.limit) == ("", 5)


def test_french_keys_are_known(said: Lines) -> None:
    found = alarms(said, "a: {point: pressure, seuil: 1, pendant: 10min, gravité: majeure, texte: x, quand: {}}")
    assert [one.partition("did you mean ")[2] for one in found] == [
        '"above"?', '"for"?', '"severity"?', '"text"?', '"when"?',
    ]  # fmt: skip
    assert alarms(said, "a: {point: pressure, above: 1, severity: majeure}") == [
        '1:44: error: "majeure" is none of critical, major, minor or info; did you mean "major"?'
    ]
    assert 'did you mean "alarms"?' in said(SITE.replace("alarms:", "alarmes: {}"))[-1]


def test_the_second_alarm_of_a_co2_sensor_has_a_name_of_its_own(said: Lines) -> None:
    found = alarms(said, "class: {point: class-1.co2}", "class-info: {point: pressure, above: 1}")
    what = f"class-info is the name of the second alarm of class (line {FIRST})"
    assert found == [f"2:3: error: {what}; name this one otherwise"]
    assert alarms(said, "class: {point: class-1.co2, above: 900}", "class-info: {point: pressure, above: 1}") == []


def test_a_point_in_ppm_that_is_not_called_co2_needs_a_limit(said: Lines) -> None:
    assert alarms(said, "gas: {point: class-1.co2}") == [], "the point is called so"
    site = SITE.replace('unit: "mg/L"', "unit: ppm")
    found = said(site + "  a: {point: chlorine}\n")
    assert "it lacks what to compare with" in found[-1]
    assert not any("error" in one for one in said(site + "  co2: {point: chlorine}\n"))


@pytest.mark.parametrize(
    ("condition", "text", "message"),
    [
        ("any: [{point: pressure, above: 1}, {point: pressure, below: 0.1}]", "{value} {unit} of {limit}, {name}",
         '{value}, {unit} and {limit} cannot be filled in: "any" has several conditions'),
        ("all: [{point: pressure, above: 1}]", "at {value}",
         '{value} cannot be filled in: "all" has several conditions'),
        ("times: 08:00-09:00", "{value}", '{value} cannot be filled in: "times" is no point'),
        ("actuator: well, is: on", "{value} of {limit}", '{limit} cannot be filled in: "is" gives no limit'),
    ],
)  # fmt: skip
def test_a_text_asks_for_what_its_condition_has(said: Lines, condition: str, text: str, message: str) -> None:
    (line,) = alarms(said, f'a: {{{condition}, text: "{text}"}}')
    assert line.split(": ", 1)[1] == f"warning: {message}; say it in words"
    assert alarms(said, f'a: {{{condition}, text: "{{name}}"}}') == []
