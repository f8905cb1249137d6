"""The site file's heating as specifications."""

import pickle
from pathlib import Path

import pytest

from agent.services.heating import build
from agent.services.heating.boiler import HeatCurve
from agent.services.heating.control import Setpoints, Zone
from agent.services.heating.hotwater import HotWater
from agent.services.heating.loops import Hysteresis, Pid, Tpi
from agent.site.loader import load

SITE = """
version: 1
site: {{id: s, timezone: Europe/Paris, public_holidays: FR, school_zone: A}}
buses: {{b: {{type: modbus_tcp, host: localhost}}}}
devices: {{io: {{bus: b, unit_id: 1, profile: relay8_ai8}}}}
signals:
  room:  {{from: io.ai1, signal: 4-20mA, scale: [-10, 50], unit: degC}}
  out:   {{from: io.ai2, signal: 4-20mA, scale: [-30, 50], unit: degC}}
  flow:  {{from: io.ai3, signal: 4-20mA, scale: [0, 120], unit: degC}}
  water: {{from: io.ai4, signal: 4-20mA, scale: [0, 120], unit: degC}}
actuators:
  burner: {{output: io.relay1, min_on: 4min, min_off: 6min}}
  pump:   {{output: io.relay2, safe_state: on, exercise: {{every: 7d, run: 30s, at: "wed 03:10"}}}}
  heater: {{output: io.relay3}}
  drain:  {{output: io.relay4, exercise: {{every: 30d, run: 10s}}}}
heating:
  zones:
    school:
      sensor: room
      {control}
      outdoor: out
      heat_curve: {{signal: flow, points: [[-10, 65], [15, 30]], max_flow: 70, heat_off_above: 16}}
      plant: {{burner: burner, pump: pump, pump_overrun: 8min, pump_forced_below: 2}}
      setpoints: {{comfort: 19, reduced: 15, frost: 7}}
      week: {{default: reduced, "mon,tue": ["07:30-17:00 comfort"], "sat,sun": frost}}
      holidays: {{school: frost, public: reduced}}
      optimum_start: {{initial: 20 min/K, max: 6h}}
      window_open: {{drop: 0.2 K/min, max: 20min}}
      on_sensor_loss: {{after: 30min, duty: 25 %}}
  hot_water:
    store:
      {{sensor: water, actuator: heater, setpoint: 55, thermal_cycle: {{at: "03:00", temperature: 65, hold: 4min}}}}
"""


def controls(site):
    return build.controls(site, site.heating)


def _controls(tmp_path: Path, control: str):
    path = tmp_path / "site.yaml"
    path.write_text(SITE.format(control=control))
    return controls(load(path))


@pytest.mark.parametrize(("latitude", "month"), [(47.3, 1), (-21.1, 7), (None, 1)])
def test_winter_is_that_of_the_hemisphere(tmp_path, latitude, month):
    path = tmp_path / "site.yaml"
    where = "" if latitude is None else f"latitude: {latitude}, longitude: 55.5, "
    path.write_text(SITE.format(control="").replace("{id: s,", f"{{id: s, {where}"))
    zone = controls(load(path))[0]
    assert month in zone.winter and (month + 6) % 12 not in zone.winter


def test_every_key_arrives(tmp_path):
    zone, store, drain = _controls(tmp_path, "")
    assert isinstance(zone, Zone)
    assert (zone.sensor, zone.outdoor, zone.burner, zone.pump) == ("room", "out", "burner", "pump")
    assert zone.law == Tpi(None, 0.6, None)
    assert zone.curve == HeatCurve("flow", ((-10, 65), (15, 30)), 70, 16)
    assert zone.setpoints == Setpoints(19, 15, 7)
    assert (zone.pump_overrun, zone.pump_forced_below, zone.min_on, zone.min_off) == (480, 2, 240, 360)
    assert (zone.loss_after, zone.loss_duty) == (1800, 0.25)
    assert (zone.optimum_start.initial, zone.optimum_start.most) == (20, 21600)
    assert (zone.window_open.drop, zone.window_open.most) == (0.2, 1200)
    assert (zone.exercise.every, zone.exercise.run, zone.exercise.day, zone.exercise.minute) == (604800, 30, 2, 190)
    assert zone.inputs == {"room", "out", "flow", "burner", "pump"}
    assert isinstance(store, HotWater)
    assert (store.setpoint, store.cycle.minute, store.cycle.temperature, store.cycle.hold) == (55, 180, 65, 240)
    assert (drain.actuator, drain.spec.every, drain.spec.run, drain.spec.minute) == ("drain", 30 * 86400, 10, None)
    assert pickle.loads(pickle.dumps([zone, store, drain])) == [zone, store, drain]


@pytest.mark.parametrize(
    ("control", "law"),
    [
        ("control: {type: hysteresis, band: 0.5 K}", Hysteresis(0.5)),
        ("control: {type: pid, kp: 0.3, ki: 0.0001, kd: 10, cycle: 10min}", Pid(0.3, 0.0001, 10, 600)),
        ("control: {type: tpi, cycle: 20min, coef_int: 0.5, coef_ext: 0.02}", Tpi(1200, 0.5, 0.02)),
    ],
)
def test_laws(tmp_path, control, law):
    assert _controls(tmp_path, control)[0].law == law


def test_a_default_of_spans_is_the_day_of_all_that_are_not_named(tmp_path):
    path = tmp_path / "site.yaml"
    text = SITE.format(control="").replace(
        'week: {default: reduced, "mon,tue": ["07:30-17:00 comfort"], "sat,sun": frost}',
        'week: {default: ["07:30-17:00 comfort"], "sat,sun": frost}',
    )
    path.write_text(text)
    week = controls(load(path))[0].week
    assert week.default == "reduced"
    assert [[one.mode for one in day] for day in week.days] == [["comfort"]] * 5 + [["frost"]] * 2
    assert week.days[2][0][:2] == (450, 1020)
