"""A wrong scenario is told like a wrong site: where, what, and what was expected."""

import json

import pytest

from agent.cli import main
from agent.site.loader import load

START = 'start: "2026-01-15T12:00:00+01:00"\nduration: 24h\n'

ZONE = """\
heating:
  zones:
    school:
      sensor: temp
      plant: {burner: ev1}
      setpoints: {comfort: 19, reduced: 16, frost: 8}
      week: {default: reduced}
"""
WRONG = [
    ("", "s.yaml:1:1: error: the file is empty"),
    ("duration: 24h\n", 's.yaml:1:1: error: "start" is missing'),
    ("start: noon\nduration: 24h\n", 's.yaml:1:8: error: "noon" is no time; write "2026-01-15T12:00:00+01:00"'),
    (START + "input: {}\n", 's.yaml:3:1: error: unknown key "input"; did you mean "inputs"?'),
    (START + "inputs: {tmp: {constant: 5}}\n", 's.yaml:3:10: error: unknown input "tmp"; did you mean "temp"?'),
    (START + "inputs: {io-1.di9: {constant: on}}\n", 's.yaml:3:10: error: unknown point of io-1 "di9"; did you mean'),
    (START + "inputs: {temp: {constant: 5, rate: 3 L/h}}\n", "s.yaml:3:10: error: temp says constant and rate; write"),
    (START + "inputs: {temp: {}}\n", "s.yaml:3:10: error: temp says nothing; write one of constant"),
    (START + "inputs: {temp: {constant: 5, tau: 5min}}\n", 's.yaml:3:30: error: "tau" does not belong to constant'),
    (START + "inputs: {temp: {model: flow, tau: 5min, on: 60, off: 20}}\n", '"heater" is missing in temp (flow)'),
    (START + "inputs: {temp: {follows: km3}}\n", 's.yaml:3:26: error: unknown actuator "km3"; did you mean "km1"?'),
    (
        START + "inputs: {temp: {follows: km1, on: 50, off: 10, ripple: some}}\n",
        's.yaml:3:56: error: expected a number, found "some"',
    ),
    (START + "inputs: {temp: {follows: km1, on: 50, off: 10, ripple: 0}}\n", "s.yaml:3:56: error:"),
    (START + "inputs: {temp: {constant: 5, ripple: 1}}\n", 's.yaml:3:30: error: "ripple" does not belong to constant'),
    (
        START + "inputs: {temp: {follows: km1, ripple: 1}}\n",
        "s.yaml:3:39: error: a ripple moves numbers; write what temp reads then, such as on: 1800, off: 2",
    ),
    (START + "inputs: {temp: {follows: km1, on: 50, off: off, ripple: 1}}\n", "error: a ripple moves numbers"),
    (START + "inputs: {temp: {rate: 30 L/h}}\n", "s.yaml:3:23: error: temp is no counter"),
    (START + "inputs: {ct: {rate: 3 apples/h}}\n", 's.yaml:3:21: error: "3 apples/h" is no rate; write 30 L/h'),
    (START + "inputs: {ct: {rate: inf L/h}}\n", 's.yaml:3:21: error: "inf L/h" is no rate'),
    (START + "inputs: {ct: {rate: 3 kWh/h}}\n", "s.yaml:3:21: error: ct counts L, not kWh"),
    (START + "inputs: {ct: {rate: 3 L/h, from: 2h, until: 1h}}\n", "s.yaml:3:45: error: it ends before it begins"),
    (START + "inputs: {temp: {steps: []}}\n", "s.yaml:3:24: error: there is no step"),
    (
        START + "inputs: {temp: {model: radiators, tau: 1h, gain: 1, start: 9, flow: temp, outdoor: temp}}\n",
        "what is outdoors of temp leads back to temp itself",
    ),
    (
        START + "inputs: {temp: {model: boiler}}\n",
        's.yaml:3:24: error: "boiler" is none of room, flow, modulating or radiators',
    ),
    (
        START + "inputs: {temp: {model: room, tau: 1h, gain: 5, start: 9, heater: km1, outdoor: temp}}\n",
        "error: what is outdoors of temp leads back to temp itself",
    ),
    (START + "inputs: {ct: {rate: 30}}\n", "s.yaml:3:21: error: 30 is no rate; write 30 L/h"),
    (START + "inputs: {temp: {steps: [[6h, 1], [0, 2]]}}\n", "the times must grow; write the earlier one first"),
    (START + "inputs: {temp: {steps: [[6, 1]]}}\n", "6 has no unit; write 6s, 6min or 6h"),
    (START + "faults: [{at: 1h}]\n", "s.yaml:3:10: error: a fault that says nothing; write one of kill"),
    (START + "faults: [{at: 1h, kill: power}]\n", 's.yaml:3:25: error: "power" is none of agent'),
    (START + "faults: [{at: 1h, device: io-3}]\n", 's.yaml:3:27: error: unknown device "io-3"; did you mean'),
    (START + "faults: [{at: 1h, stale: temp}]\n", 's.yaml:3:26: error: unknown input "temp"'),
    (START + 'faults: [{at: 1h, clock: "+2"}]\n', "s.yaml:3:26: error: 2 has no unit"),
    (START + "commands: [{at: 1h, id: c1, point: km1}]\n", '"value" is missing'),
    (START + "commands: [{at: 1h, id: c1, point: km1, value: open}]\n", '"open" is no value; write a number'),
    (
        START + "commands: [{at: 1h, id: c1, point: school.mode, value: confort}]\n",
        '"confort" is no value; write a number, on, off, ack, reset or release, '
        "or for the mode of a zone comfort, reduced, frost, off or auto",
    ),
    (START + "inputs: {temp: {constant: 5}\n", 'this "{" is never closed'),
]  # fmt: skip


def test_one_mistake_is_one_line(bench):
    assert len(bench.problems(START + "inputs: {temp: {constant: warm}}\n")) == 1
    assert len(bench.problems(START + "faults: [{at: 1h, kill: power}]\n")) == 1


def test_a_command_on_an_unknown_point_is_warned_of(bench):
    (problem,) = bench.problems(START + "commands: [{at: 1h, id: c, point: km2, value: on}]\n")
    assert problem == 's.yaml:3:35: warning: unknown point "km2": it will be rejected; did you mean "km1"?'
    assert bench.scenario is not None


def test_a_rate_in_cubic_metres_counts_litres(bench):
    found = bench.run("inputs: {ct: {rate: 2 m3/h, until: 1h}}\ncommands: [{at: 2h, id: c, point: ct.index, value: 9}]")
    assert [one["detail"]["from"] for one in found["events"] if one["code"] == "meter_replaced"] == [3000]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_what_is_wrong(bench, text, message):
    problems = bench.problems(text)
    assert any(message in problem for problem in problems), problems
    assert bench.scenario is None


def test_the_command_line(bench, capsys, lighting):
    bench.site(lighting)
    site, scenario = bench.folder / "site.yaml", bench.folder / "scenario.yaml"
    assert load(site)
    scenario.write_text(START)
    assert main(["simulate", str(site), str(scenario), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"edges", "events", "totals", "final"}
    assert found["final"].keys() == {"outputs", "alarms", "points"}
    assert main(["simulate", str(site), str(scenario)]) == 0
    assert "2026-01-15T17:51:21" in capsys.readouterr().out
    scenario.write_text("duration: 24h\n")
    assert main(["simulate", str(site), str(scenario)]) == 1
    assert f"{scenario}:1:1: error:" in capsys.readouterr().err


def test_a_value_that_is_not_known_is_called_so(bench, capsys):
    """The room's sensor is lost: the lines say so in words, and which setpoint is wanted all the same."""
    bench.site(ZONE)
    files = [str(bench.folder / name) for name in ("site.yaml", "scenario.yaml")]
    assert bench.problems(START + "inputs: {temp: {constant: 15}}\nfaults: [{at: 1h, bad: temp}]\n") == []
    assert main(["simulate", *files]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "alarm room_sensor_lost" in line]
    assert [line.partition(") ")[2] for line in told] == ["room unknown, setpoint 16.0"]
