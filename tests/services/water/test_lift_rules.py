"""What `bocage check` says of lift stations and districts, and what they become."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.control.api import Accounts, Metered
from agent.services.water.cuts import Storage
from agent.services.water.districts import District, NightAlarm
from agent.services.water.lift import LiftStation
from agent.services.water.overflow import Overflow, OverflowFlow
from agent.services.water.well import ByTime, Well
from agent.site.build import build_settings
from agent.site.loader import check, load

SITE = """\
version: 1
site: {id: bourg, name: Bourg, latitude: 47.32, longitude: 5.04, timezone: Europe/Paris}
uplink: {url: "mqtt://broker.example:1883"}
buses:
  plant: {type: modbus_tcp, host: 192.168.1.20, port: 502}
  gpio:  {type: gpio}
devices:
  io-1: {bus: plant, unit_id: 1, profile: relay8_ai8}
  io-2: {bus: plant, unit_id: 2, profile: relay8_di8}
signals:
  level:    {from: io-1.ai1, signal: 4-20mA, scale: [0, 100], unit: "%"}
  wet-well: {from: io-1.ai2, signal: 4-20mA, scale: [0, 400], unit: cm}
  bare:     {from: io-1.ai3, signal: 4-20mA, scale: [0, 400]}
  weir:     {from: io-1.ai4, signal: 4-20mA, scale: [0, 100], unit: m3/h}
  m1: {from: gpio.17, kind: counter, unit: m3, per_pulse: 0.1}
  m2: {from: gpio.27, kind: counter, unit: L, per_pulse: 10}
actuators:
  well: {output: io-1.relay1}
  p1: {output: io-2.relay1}
  p2: {output: io-2.relay2, max_on: 4h}
water:
  tanks:
    reservoir: {level: level, pump: well, capacity: 120 m3}
  lift_stations:
    relevage-1:
      level: wet-well
      high_float: io-2.di2
      pumps: [p1, {actuator: p2, thermal: io-2.di4}]
      start: 0.8 m
      stop: 30
      high: 1200 mm
      level_lost: {run: 2min, every: 30min}
      overflow: {signal: io-2.di3, alarm: critical, flow: weir}
      max_run: 30min
  districts:
    north: {in: [m1], out: [m2], storage: reservoir, night: "02:00-04:00", alarm: {above_median: 0.5 m3/h, nights: 14}}
"""

CHANGES = [
    ("start: 0.8 m", "start: 0.3 m", ["stop 30 is not below start 0.3 m: it pumps down"]),
    ("high: 1200 mm", "high: 800 mm", ["start 0.8 m is not below high 800 mm"]),
    ("high: 1200 mm", "high: 5 m", ["high 5 m is never reached: wet-well shows 0 to 400 cm (line 12)"]),
    ("stop: 30", "stop: 0 m", ["stop 0 m is reached at the end of the range alone: wet-well shows 0 to 400 cm"]),
    ("high: 1200 mm", "high: 4 m", ["high 4 m is reached at the end of the range alone: wet-well shows 0 to 400"]),
    ("      level: wet-well\n", "      level: io-2.di5\n", [
        "error: io-2.di5 is on or off; what is wanted here is measured"]),
    ("high_float: io-2.di2", "high_float: io-2.relay1", [
        "error: io-2.relay1 shows the output of p1: each run would ask for all pumps; name the contact that is meant"]),
    ("thermal: io-2.di4", "thermal: io-2.relay2", ["error: io-2.relay2 shows the output of p2: each run would stop a"]),
    ("thermal: io-2.di4", "maintenance: io-2.relay1", ["error: io-2.relay1 shows the output of p1: each run would"]),
    ("signal: io-2.di3", "signal: io-2.relay2", ["error: io-2.relay2 shows the output of p2: each run would be told"]),
    ("signal: io-2.di3", "signal: io-1.relay1", []),
    ("signal: io-2.di3", "signal: io-2.di2", [
        "warning: io-2.di2 is also high_float (line 27): each high level would be told as an overflow"]),
    ("flow: weir", "flow: io-2.di5", ["error: io-2.di5 is on or off; what is wanted here is measured"]),
    ("in: [m1]", "in: [io-2.di5]", ["error: io-2.di5 is on or off, and a water meter counts; take a point"]),
    ("stop: 30", "stop: -1 m", ["stop -1 m is never reached: wet-well shows 0 to 400 cm (line 12)"]),
    ("high: 1200 mm", "high: 90 %", ["high is in %, and wet-well is in cm; write a number in its own unit"]),
    ("high: 1200 mm", "high: 120 inch", ['"120 inch" is no level; write 80 cm, 0.8 m or 60 %']),
    ("      start: 0.8 m\n", "", ['"start" is missing in relevage-1: it has a "level"']),
    ("      level: wet-well\n", "      level: bare\n", ["start is in m, and bare has no unit", "high is in mm"]),
    ("      level: wet-well\n", "", ['"start" needs a "level"', '"stop" needs a "level"', '"high" needs a "level"']),
    ("      high_float: io-2.di2\n", "      poire: io-2.di2\n", ['unknown key "poire"; did you mean "high_float"?']),
    ("high_float: io-2.di2", "high_float: io-2.di22", ['io-2 has no point "di22"']),
    ("pumps: [p1, {actuator: p2, thermal: io-2.di4}]", "pumps: []", ["empty; write one at least"]),
    ("pumps: [p1, {", "pumps: [well, {", ["well is already moved by reservoir (line 23)"]),
    ("run: 2min", "run: 30min", ["run 30min is not below every 30min"]),
    ("alarm: critical", "alarm: critique", ['"critique" is none of critical, major, minor, info or none']),
    ("alarm: critical", "alarm: true", []),
    ("alarm: critical", "alarm: none", []),
    ("flow: weir", "flow: level", ["level is in %; the flow of an overflow is in m3/h or L/s, or it counts m3 or L"]),
    ("flow: weir", "flow: m1", []),
    ("max_run: 30min", "max_run: 5h", ["p2.max_on 4h (line 20) ends each run before max_run 5h"]),
    ("    relevage-1:", "    reservoir:", ['"reservoir" is already a name in water.tanks (line 23); take another one']),
    ("in: [m1]", "in: []", ["a district without a meter of what comes in has no balance"]),
    ("in: [m1], ", "", ['"in" is missing in north']),
    ("out: [m2]", "out: [m1]", ["m1 is already among the meters of this district (line 36)"]),
    ("out: [m2]", "out: [weir]", ["weir is no counter (line 14)", "weir is in m3/h"]),
    ("storage: reservoir", "storage: reservoire", ['unknown tank "reservoire"; did you mean "reservoir"?']),
    (", capacity: 120 m3", "", ["reservoir has no capacity (line 23); write capacity: 120 m3 there"]),
    ("nights: 14", "nights: 2", ["2 is too little; write at least 3"]),
    ("0.5 m3/h", "0.5", ["0.5 has no unit"]),
    ('night: "02:00-04:00"', 'night: "02:00-02:00"', ["begins and ends at once"]),
]


def said(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return [str(problem).removeprefix(f"{path}:") for problem in check(path)]


@pytest.mark.parametrize(("old", "new", "wanted"), CHANGES)
def test_messages(tmp_path: Path, old: str, new: str, wanted: list[str]) -> None:
    assert SITE.count(old) == 1
    found = said(tmp_path, SITE.replace(old, new))
    assert len(found) == len(wanted) and all(map(str.__contains__, found, wanted)), found


@pytest.mark.parametrize("feedback", ["io-2.di6", "runs"])
@pytest.mark.parametrize("contact", ["io-2.di6", "runs"])
def test_a_float_is_no_feedback_of_its_pump(tmp_path: Path, feedback: str, contact: str) -> None:
    site = SITE.replace("  bare: ", "  runs: {from: io-2.di6}\n  bare: ")
    site = site.replace("{output: io-2.relay1}", f"{{output: io-2.relay1, feedback: {feedback}}}")
    assert said(tmp_path, site) == []
    found = said(tmp_path, site.replace("high_float: io-2.di2", f"high_float: {contact}"))
    assert len(found) == 1 and f"error: {contact} shows the output of p1: each run would ask for all" in found[0]


def built(tmp_path: Path, text: str = SITE):
    path = tmp_path / "site.yaml"
    path.write_text(text, encoding="utf-8")
    assert check(path) == []
    return build_settings(load(path))


def control(tmp_path: Path, kind: type, text: str = SITE):
    (found,) = (one for one in built(tmp_path, text).controls if isinstance(one, kind))
    return found


def test_a_station_is_in_the_unit_of_its_level(tmp_path: Path) -> None:
    found = control(tmp_path, LiftStation)
    assert found.well == Well("wet-well", 80.0, 30.0, 120.0, "io-2.di2", 120.0, ByTime(120.0, 1800.0))
    assert found.overflow == Overflow("io-2.di3", OverflowFlow("weir", pytest.approx(1000 / 3600, rel=1e-4)), 300.0)
    assert (found.severity, found.max_run, found.rotation.alternate) == ("critical", 1800.0, "starts")


def test_a_counter_at_the_overflow_counts_litres(tmp_path: Path) -> None:
    found = control(tmp_path, LiftStation, SITE.replace("flow: weir", "flow: m1"))
    assert found.overflow.flow == OverflowFlow("m1", 1000.0, counts=True)


def test_the_pumps_of_a_station_start_apart(tmp_path: Path) -> None:
    specs = {one.name: (one.stagger, one.stagger_group) for one in built(tmp_path).actuators}
    assert specs["p1"] == specs["p2"] == (10.0, "lift station relevage-1") and specs["well"][0] == 0.0


def test_a_district_with_its_storage(tmp_path: Path) -> None:
    found = control(tmp_path, District)
    assert found.storage == Storage("level", 120_000.0) and found.alarm == NightAlarm(500.0, 14)
    assert [(one.name, one.litres) for one in (*found.inflows, *found.outflows)] == [("m1", 1000.0), ("m2", 1.0)]
    assert found.night == (120, 240) and isinstance(found, Metered) and isinstance(found, Accounts)
    late = control(tmp_path, District, SITE.replace("02:00-04:00", "23:00-01:00"))
    assert late.night == (1380, 1500)


@pytest.mark.parametrize("personal", ["m1", "m2"])
def test_a_district_that_counts_a_person_stays_here(tmp_path: Path, personal: str) -> None:
    settings = built(tmp_path, f"{SITE}privacy: {{personal: [{personal}]}}\n")
    assert "north" in settings.personal and "relevage-1" not in settings.personal
