"""Time in a simulation: it always goes on to the end, and a power cut begins another boot."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.cli import main
from agent.lib.timed_event import TimedEvent
from agent.simulate.loop import VirtualLoop, not_before
from tests.simulate.conftest import SITE, START, Bench

WATER = """\
water:
  points:
    fountain:
      valve: ev1
      meter: ct
      leak: {night: {window: "02:00-04:00", max_flow: 10 L/h}, continuous: 6h, burst: 1500 L/h for 3min}
"""


@pytest.fixture
def fountain(tmp_path: Path) -> Bench:
    return Bench(tmp_path).site(WATER)


@given(st.floats(min_value=0, max_value=1e8, allow_nan=False))
def test_what_is_due_has_come_by_then(at: float) -> None:
    moment = not_before(at)
    assert at <= moment <= at + 2.1e-6
    assert not_before(moment) == moment


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rate=st.floats(min_value=0.5, max_value=3000), start=st.integers(min_value=0, max_value=7200))
def test_any_flow_comes_to_its_end(fountain: Bench, rate: float, start: int) -> None:
    inputs = f"inputs:\n  ct: {{rate: {rate:.4f} L/h, from: {start}s}}\n"
    found = fountain.run(inputs, START.replace("24h", "4h"))
    assert found["final"]["outputs"]["ev1"]["value"] is not None


def test_who_waits_for_less_than_a_float_can_tell_does_not_stop_time() -> None:
    loop = VirtualLoop()

    async def until_it_has_come() -> None:
        await asyncio.sleep(1e7)
        while loop.time() <= 1e7:
            await TimedEvent().wait(1e-12)

    try:
        loop.run_until_complete(until_it_has_come())
    finally:
        loop.close()


def test_a_power_cut_drops_the_outputs_and_begins_another_boot(bench: Bench, lighting: str) -> None:
    bench.site(lighting)
    found = bench.run("faults: [{at: 7h, power_cut: 30s}]\n")
    at_dusk, back = (edge for edge in found["edges"] if edge["actuator"] == "km1" and edge["to"] and edge["t"] < 30000)
    assert at_dusk["t"] < 7 * 3600
    assert [(one["t"], one["from"], one["to"]) for one in found["dropped"] if one["actuator"] == "km1"] == [
        (7 * 3600, True, False)
    ]
    assert back["t"] == 7 * 3600 + 30 + 15 * 60  # nobody knows since when it is off: min_off counts from the boot
    assert found["totals"]["km1"]["on_s"] == bench.run("")["totals"]["km1"]["on_s"] - 930


def test_a_line_says_what_a_power_cut_lets_fall(
    bench: Bench, lighting: str, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    bench.site(lighting)
    files = [str(bench.folder / name) for name in ("site.yaml", "scenario.yaml")]
    for fault, lines in (("power_cut: 30s", 1), ("kill: agent", 0)):
        assert bench.problems(f"{START}faults: [{{at: 7h, {fault}}}]\n") == []
        assert main(["simulate", *files]) == 0
        out = capsys.readouterr().out
        assert out.count("km1              on -> off     power cut") == out.count("power cut") == lines


def test_a_kill_is_no_power_cut(bench: Bench, lighting: str) -> None:
    bench.site(lighting)
    found = bench.run("faults: [{at: 7h, kill: agent}]\n")
    assert found["totals"] == bench.run("")["totals"]


def test_how_long_a_power_cut_lasts_is_said_once(bench: Bench, lighting: str) -> None:
    bench.site(lighting)
    (problem,) = bench.problems(START + "faults: [{at: 7h, power_cut: 30s, for: 1h}]\n")
    assert "power_cut says itself how long it lasts" in problem


def test_a_sensor_tells_steps_now_and_then(bench: Bench) -> None:
    """What is polled each 10 min in steps of 0.5 reaches a tank's limit at a poll, not in between."""
    tanks = """\
water:
  tanks:
    reservoir: {level: temp, pump: ev1, start: "40 %", stop: "85 %", low: "10 %", high: "95 %"}
"""
    site = SITE.replace("scale: [0, 100], unit: degC", 'scale: [0, 100], unit: "%", stale_after: 30min')
    bench.site(tanks, site)
    inputs = "inputs:\n  temp: {ramp: [[0, 61], [10h, 30]], step: 0.5, every: 10min}\n"
    edge = bench.run(inputs)["edges"][0]
    assert (edge["actuator"], edge["to"]) == ("ev1", True)
    assert edge["t"] % 600 < 1
    plain = bench.run(inputs.replace(", step: 0.5, every: 10min", ""))["edges"][0]
    assert edge["t"] != plain["t"]
