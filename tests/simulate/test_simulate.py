"""What a scenario does to a site, to the second."""

import asyncio
import itertools
import os
import pty
import signal
from pathlib import Path

import pytest

from agent.cli import main
from agent.services.lighting.control import Circuit
from agent.simulate import Simulation, read_scenario
from agent.simulate.inputs import source
from agent.simulate.loop import VirtualLoop
from agent.site.build import build_settings
from agent.site.loader import load
from tests.simulate.conftest import SITE

START = 'start: "2026-01-15T12:00:00+01:00"\nduration: 24h\n'
SITES = Path(__file__).parents[2] / "config"


def edges(found, actuator="km1"):
    return [(one["at"][:19], one["to"], one["priority"]) for one in found["edges"] if one["actuator"] == actuator]


def events(found, kind):
    return [(one["code"], one["subject"], one["t"]) for one in found["events"] if one["kind"] == kind]


def test_a_night_to_the_second_and_its_totals(bench, lighting):
    found = bench.site(lighting).run("")
    assert edges(found) == [
        ("2026-01-15T17:51:21", True, 15),
        ("2026-01-15T23:00:00", False, 15),
        ("2026-01-16T05:00:00", True, 15),
        ("2026-01-16T07:46:56", False, 15),
    ]
    total = found["totals"]["km1"]
    assert total["starts"] == 2
    assert total["on_s"] == pytest.approx(475.6 * 60, abs=6)
    assert found["final"]["outputs"]["km1"]["value"] is False
    assert found["edges"][0]["from"] is False
    assert "+01:00" in found["edges"][0]["at"]


def test_a_kill_changes_no_level(bench, lighting):
    bench.site(lighting)
    calm = edges(bench.run(""))
    for hour in (1, 6, 8, 12, 19):
        assert edges(bench.run(f"faults: [{{at: {hour}h, kill: agent}}]")) == calm, hour


def test_a_state_is_dumped_only_where_a_kill_brings_it_back(bench, lighting, monkeypatch):
    dumped, dump = [], Circuit.dump
    monkeypatch.setattr(Circuit, "dump", lambda one, state: dumped.append(one.name) or dump(one, state))
    bench.site(lighting)
    bench.run("")
    assert dumped == []
    bench.run("faults: [{at: 12h, kill: agent}, {at: 20h, power_cut: 10min}]\n")
    assert dumped == ["street", "street"]


def test_the_look_after_a_write_reads_only_what_may_follow_it(bench):
    """A temperature that rises by itself is read on the grid of a minute, whatever is switched in between."""
    bench.site("alarms: {hot: {point: temp, above: 50}}\n")
    found = bench.run(
        "inputs: {temp: {ramp: [[0, 0], [1h, 49.9], [2h, 100]]}}\n"  # 50 from 3607 s on
        "commands: [{at: 3609s, id: c1, point: ev1, value: on, for: 1h}]\n"
    )
    assert found["edges"][0]["t"] == pytest.approx(3609, abs=0.1)
    assert events(found, "alarm") == [("point_alarm", "hot", 3660.0)]


@pytest.mark.parametrize("index", [0, 5_000_000])
@pytest.mark.parametrize("fault", ["kill: agent", "power_cut: 20s"])
def test_a_kill_right_after_a_meter_was_swapped_makes_no_water(bench, index, fault):
    """The index and the total of the district that follows it are on flash with one write."""
    bench.site("water: {districts: {north: {in: [ct]}}}\n")
    found = bench.run(
        f"inputs: {{ct: {{rate: 4 m3/h}}}}\nfaults: [{{at: 129603s, {fault}}}]\n"
        f"commands: [{{at: 129600s, id: c1, point: ct.index, value: {index}, origin: local}}]\n",
        'start: "2026-05-20T00:00:00+02:00"\nduration: 50h\n',
    )
    assert found["final"]["points"]["north.in"] == pytest.approx(96, abs=0.05)


@pytest.mark.parametrize("real", ["{constant: false}", "{steps: [[0, false], [5min, true]]}"])
def test_a_feedback_that_the_scenario_gives_is_read_after_a_write(bench, lighting, real):
    bench.site(lighting)
    found = bench.run(
        f"inputs: {{io-1.di1: {real}}}\n"
        "commands: [{at: 20s, id: c1, point: km1, value: on, for: 1h, origin: local}]\n"
    )
    mismatch = [at for code, _, at in events(found, "alarm") if code == "output_mismatch"]
    assert 20 < mismatch[0] < 40


def test_what_ripples_around_an_output_is_read_after_a_write(bench):
    bench.site("""\
water:
  tanks: {t: {level: temp, pump: ev1, start: 40 %, stop: 85 %, dry_run: {flow: flow, grace: 15s, no_flow: 20s}}}
""", SITE.replace('unit: degC}', 'unit: "%"}\n  flow: {from: io-2.ai2, signal: 4-20mA, scale: [0, 20], unit: m3/h}'))
    found = bench.run(
        "inputs:\n"
        "  temp: {ramp: [[0, 50], [605s, 39.9], [2h, 60]]}\n"
        "  flow: {follows: ev1, on: 10, off: 0.1, ripple: 0.05}\n",
        'start: "2026-01-15T12:00:00+01:00"\nduration: 1h\n',
    )
    assert found["totals"]["ev1"]["starts"] == 1
    assert events(found, "alarm") == []


def test_an_override_holds_for_its_time_and_survives_a_kill(bench, lighting):
    found = bench.site(lighting).run(
        "faults: [{at: 2h, kill: agent}]\n"
        "commands: [{at: 1h, id: c1, point: km1, value: on, ttl: 10min, for: 3h, origin: local}]\n"
    )
    assert edges(found)[:3] == [
        ("2026-01-15T13:00:00", True, 8),
        ("2026-01-15T16:00:00", False, 15),
        ("2026-01-15T17:51:21", True, 15),
    ]
    assert [code for code, _, _ in events(found, "outcome")] == ["accepted", "applied", "verified"]


def test_commands_from_afar_wait_for_the_link_and_expire(bench, lighting):
    found = bench.site(lighting).run(
        "faults: [{at: 1h, link: down, for: 1h}]\n"
        "commands:\n"
        "  - {at: 80min, id: late, point: km1, value: on, ttl: 10min}\n"
        "  - {at: 90min, id: waits, point: km1, value: on, ttl: 1h, for: 20min}\n"
        "  - {at: 95min, id: here, point: ev1, value: on, origin: local}\n"
    )
    ends = [(one["id"], one["code"], one["t"]) for one in found["events"] if one["code"] in ("expired", "verified")]
    assert ends == [
        ("here", "verified", 5700), ("late", "expired", 7200), ("waits", "verified", 7200),
    ]  # fmt: skip
    assert edges(found)[:2] == [("2026-01-15T14:00:00", True, 8), ("2026-01-15T14:20:00", False, 15)]


def test_a_dead_device_is_written_once_it_is_back(bench, lighting):
    found = bench.site(lighting).run("faults: [{at: 5h, device: io-1, for: 2h}]")
    assert edges(found)[0] == ("2026-01-15T19:00:00", True, 15)


def test_a_watchdog_drops_outputs_and_they_are_asserted_again(bench):
    found = bench.run(
        "faults: [{at: 1h, device: io-2, for: 5min}]\n"
        "commands: [{at: 0, id: c1, point: ev1, value: on, for: 4h, origin: local}]\n"
    )
    assert found["totals"]["ev1"]["starts"] == 2
    assert found["totals"]["ev1"]["on_s"] == pytest.approx(4 * 3600 - 270, abs=2)


def test_a_welded_contactor_shows_in_its_feedback_and_in_what_follows(bench):
    found = bench.run(
        "inputs: {temp: {follows: km1, on: 50, off: 10}}\n"
        "faults: [{at: 1h, weld: km1}]\n"
        "commands:\n"
        "  - {at: 30min, id: c1, point: km1, value: on, for: 2h, origin: local}\n"
        "  - {at: 3h, id: c2, point: km1, value: off, for: 1h, origin: local}\n"
    )
    assert events(found, "alarm") == [("output_mismatch", "km1", 9008)], "after a second write, although the coil obeys"
    assert [one["code"] for one in found["final"]["alarms"]] == ["output_mismatch"]


STILL = "alarms: {still: {point: temp, still: 0.2, for: 10min}}\n"


@pytest.mark.parametrize(("ripple", "raised"), [("", [("point_alarm", "still", 600)]), (", ripple: 0.4", [])])
def test_what_follows_moves_each_minute_by_its_ripple(bench, ripple, raised):
    bench.site(STILL)
    text = f"inputs: {{temp: {{follows: km1, on: 50, off: 10{ripple}}}}}\n"
    assert events(bench.run(text), "alarm") == raised


def test_a_ripple_is_the_same_in_each_run_and_stays_within_its_size(bench):
    assert bench.problems(START + "inputs: {temp: {follows: km1, on: 50, off: 10, ripple: 0.4}}\n") == []
    for share, middle in ((0.0, 10), (0.3, 22), (1.0, 50)):  # off, a lamp that is dimmed, on
        one = bench.scenario.inputs["temp"]
        played, again = (source(one, 1.0, lambda _name, share=share: share, lambda _name: None) for _ in range(2))
        values = [played.value(60.0 * minute) for minute in range(10_000)]
        assert [again.value(60.0 * minute + 59) for minute in range(10_000)] == values, "it holds for its minute"
        assert len(set(values)) == len(values)
        assert min(abs(before - after) for before, after in itertools.pairwise(values)) > 0.3
        assert middle - 0.4 <= min(values) < middle - 0.39 and middle + 0.39 < max(values) <= middle + 0.4


def test_an_index_is_set_by_command_and_an_alarm_is_acknowledged(bench):
    found = bench.run(
        "inputs: {ct: {rate: 60 L/h}}\n"
        "faults: [{at: 10min, weld: km1}]\n"
        "commands:\n"
        "  - {at: 5min, id: c1, point: ct.index, value: 1254307}\n"
        "  - {at: 1h, id: c2, point: km1, value: on, for: 20min}\n"
        "  - {at: 2h, id: c3, point: alarm.output_mismatch.km1, value: ack}\n"
        "  - {at: 3h, id: c4, point: alarm.burst.ct, value: ack}\n"
        "  - {at: 4h, id: c5, point: ct.index, value: on}\n"
    )
    assert events(found, "change") == [("meter_replaced", "ct", 300)]
    states = {one["id"]: (one["code"], one["reason"]) for one in found["events"] if one["kind"] == "outcome"}
    assert states["c1"] == ("applied", "ct goes on from 1254307")
    assert states["c3"] == ("applied", "acknowledged")
    assert states["c4"] == ("rejected", "alarm burst.ct is not open")
    assert states["c5"][0] == "rejected"
    assert [(one["code"], one["acked"]) for one in found["final"]["alarms"]] == [("output_mismatch", True)]


def test_the_clock_steps_and_is_lost(bench, lighting):
    bench.site(lighting)
    stepped = bench.run('faults: [{at: 1h, clock: "+2h"}]')
    assert edges(stepped)[0] == ("2026-01-15T15:51:21", True, 15)
    assert events(stepped, "clock") == [("clock_step", "gateway", 4200)], "followed when it has held"
    lost = bench.run("faults: [{at: 1h, untrusted: clock}]")
    assert edges(lost)[0] == ("2026-01-15T17:51:21", True, 15), "civil time goes on with monotonic time"


def test_a_room_cools_and_warms_as_its_equation_says(bench):
    """dT/dt = (outdoor + gain x on - T) / tau, seen by a controller that is only the command."""
    from agent.simulate.inputs import source
    from agent.simulate.scenario import ScenarioInput

    on = {"burner": 0.0}
    given = {"model": "room", "tau": "10h", "gain": 40.0, "start": 20.0, "heater": "burner", "outdoor": "out"}
    room = source(ScenarioInput.model_validate(given), 1.0, on.__getitem__, lambda name: 0.0)
    assert room.value(36000) == pytest.approx(20 * 0.36788, abs=0.001)
    on["burner"] = 1.0
    assert room.value(360_000) == pytest.approx(40, abs=0.01)


def test_a_plant_that_modulates_follows_its_setpoint_within_what_it_can():
    """dT/dt = (setpoint - T) / tau."""
    from agent.simulate.inputs import source
    from agent.simulate.scenario import ScenarioInput

    setpoint = {"hp": 45.0}
    given = {"model": "modulating", "tau": "10min", "off": 20, "on": 55, "heater": "hp", "start": 25.0}
    flow = source(ScenarioInput.model_validate(given), 1.0, lambda _: 0.0, lambda _: 0.0, level=setpoint.__getitem__)
    assert flow.value(600) == pytest.approx(45 - 20 * 0.36788, abs=0.001)
    setpoint["hp"] = 70.0
    assert flow.value(60_000) == pytest.approx(55, abs=0.01)
    setpoint["hp"] = 0.0
    assert flow.value(120_000) == pytest.approx(20, abs=0.01)


def test_radiators_warm_a_room_by_their_flow():
    """dT/dt = (outdoor - T + gain (flow - T)) / tau: at rest (outdoor + gain x flow) / (1 + gain)."""
    from agent.simulate.inputs import source
    from agent.simulate.scenario import ScenarioInput

    at = {"out": -5.0, "flow": 49.0}
    given = {"model": "radiators", "tau": "40h", "gain": 0.8, "start": 10.0, "flow": "flow", "outdoor": "out"}
    room = source(ScenarioInput.model_validate(given), 1.0, lambda _: 0.0, at.__getitem__)
    assert room.value(40 * 3600 / 1.8) == pytest.approx(19 - 9 * 0.36788, abs=0.001)
    assert room.value(4_000_000) == pytest.approx(19, abs=0.01)


def test_time_goes_on_after_half_a_year():
    """From 2^24 s on a float no longer tells apart what asyncio counts on."""
    loop = VirtualLoop()

    async def wait() -> None:
        for _ in range(400):
            await asyncio.sleep(86400.1)

    signal.alarm(20)  # it would stand still for ever
    loop.run_until_complete(wait())
    signal.alarm(0)
    assert loop.time() == pytest.approx(400 * 86400.1, abs=0.001)
    loop.close()


@pytest.mark.slow
def test_edges_equal_those_of_stepping_every_second(bench):
    site = load(SITES / "saint-seine.yaml") if (SITES / "saint-seine.yaml").exists() else None
    if site is None:
        pytest.skip("the example is not there")
    path = bench.folder / "scenario.yaml"
    path.write_text((Path(__file__).parent / "winter.yaml").read_text())
    scenario, problems = read_scenario(path, site)
    assert scenario is not None, problems
    found = []
    for stride in (float("inf"), 1.0):
        loop = VirtualLoop()
        result = loop.run_until_complete(Simulation(build_settings(site), scenario, loop, stride=stride).run())
        loop.close()
        found.append([(one["t"], one["actuator"], one["to"], one["priority"], one["cause"]) for one in result["edges"]])
    assert len(found[0]) > 50
    assert [edge[1:3] for edge in found[0]] == [edge[1:3] for edge in found[1]]
    for jumped, stepped in zip(*found, strict=True):
        assert jumped[0] == pytest.approx(stepped[0], abs=1.0), (jumped, stepped)


@pytest.mark.parametrize(("patience", "shown"), [(-1.0, True), (3600.0, False)])
def test_a_person_who_waits_sees_how_far_it_is(tmp_path, monkeypatch, patience, shown):
    """Many pulses take long on a single day, too."""
    scenario = tmp_path / "one-hour.yaml"
    scenario.write_text("start: 2026-05-18T08:00:00\nduration: 2h\ninputs: {fountain-ct: {rate: 30 L/h}}\n")
    monkeypatch.setattr("agent.cli.simulate.PATIENCE", patience)
    monkeypatch.setenv("TERM", "xterm")
    here, there = pty.openpty()
    os.set_blocking(here, False)
    try:
        with os.fdopen(there, "w", encoding="utf-8") as terminal:
            monkeypatch.setattr("sys.stderr", terminal)
            assert main(["simulate", str(SITES / "saint-seine.yaml"), str(scenario)]) == 0
            if shown:
                assert "of 2 hours" in os.read(here, 1 << 16).decode()
            else:
                with pytest.raises(BlockingIOError):
                    os.read(here, 1 << 16)
    finally:
        os.close(here)
