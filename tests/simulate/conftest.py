"""Small sites and scenarios, written beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.simulate import Simulation, read_scenario, simulate
from agent.simulate.loop import VirtualLoop
from agent.site.build import build_settings
from agent.site.loader import load

SITE = """\
version: 1
site: {id: test, name: Test, latitude: 47.32, longitude: 5.04, timezone: Europe/Paris, public_holidays: FR}
buses:
  line: {type: modbus_tcp, host: 127.0.0.1, port: 502}
  gpio: {type: gpio}
devices:
  io-1: {bus: line, unit_id: 1, profile: relay8_di8}
  io-2: {bus: line, unit_id: 2, profile: relay8_ai8, output_watchdog: 30s}
signals:
  ct: {from: gpio.17, kind: counter, unit: L, per_pulse: 10, initial_index: 1000}
  temp: {from: io-2.ai1, signal: 4-20mA, scale: [0, 100], unit: degC}
actuators:
  km1: {output: io-1.relay1, feedback: io-1.di1, safe_state: hold, boot_state: recompute, min_on: 15min, min_off: 15min}
  ev1: {output: io-2.relay1, safe_state: off, boot_state: off}
"""
LIGHTING = """\
lighting:
  circuits:
    street:
      actuator: km1
      rated_power: 1000 W
      switch_on: {event: civil_dusk}
      switch_off: {event: civil_dawn}
      part_night_off: [{from: "23:00", to: "05:00"}]
"""
START = 'start: "2026-01-15T12:00:00+01:00"\nduration: 24h\n'


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site("")

    def site(self, services: str, text: str = SITE) -> Bench:
        path = self.folder / "site.yaml"
        path.write_text(text + services)
        self._site = load(path)
        return self

    def problems(self, text: str) -> list[str]:
        path = self.folder / "scenario.yaml"
        path.write_text(text)
        self.scenario, problems = read_scenario(path, self._site, "s.yaml")
        return [str(problem) for problem in problems]

    def run(self, text: str, start: str = START) -> dict[str, Any]:
        assert self.problems(start + text) == []
        return simulate(build_settings(self._site), self.scenario)

    def stepped(self, text: str, start: str, stride: float) -> dict[str, Any]:
        """The same, with every control stepped that often."""
        assert self.problems(start + text) == []
        loop = VirtualLoop()
        try:
            simulation = Simulation(build_settings(self._site), self.scenario, loop, stride=stride)
            return loop.run_until_complete(simulation.run())
        finally:
            loop.close()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def lighting() -> str:
    return LIGHTING
