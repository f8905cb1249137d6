"""What the controls cost: a step of a whole site, and a year of it in virtual time (docs/simulate.md)."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.control.engine import Engine
from agent.simulate import Simulation, read_scenario
from agent.simulate.loop import VirtualLoop
from agent.site.build import build_settings
from agent.site.loader import load

__all__ = ["step", "village", "year"]

ROOT = Path(__file__).parents[2]
SITE = ROOT / "config" / "saint-seine.yaml"
SITE_YEAR = ROOT / "config" / "saint-seine" / "year.yaml"
VILLAGE = ROOT / "config" / "village.yaml"
VILLAGE_YEAR = ROOT / "config" / "village" / "year.yaml"
SEASONS = ("2027-01-10", "2027-04-10", "2027-07-10", "2027-10-10")
SCENARIO = """\
start: "2026-01-15T12:00:00+01:00"
duration: 1d
inputs:
  air-temp: {steps: [[0, -3], [6h, -5], [20h, 4.5]]}
  fountain-ct: {rate: 30 L/h, from: 9h, until: 20h}
  meter-a.active_power: {follows: km1, on: 1800, off: 2}
  flow-temp: {model: flow, tau: 5min, on: 62, off: 20, heater: burner}
  classroom: {model: room, tau: 20h, gain: 60, start: 16, heater: burner, outdoor: air-temp}
  lux: {constant: 50}
  tank-level: {ramp: [[0, 60], [24h, 30]]}
"""


def step(folder: Path) -> tuple[float, float]:
    """Milliseconds of one turn of all controls of Saint-Seine: as they are asked for through a week, and when each of
    them is stepped (every minute of a day)."""
    with _turns() as asked:
        _run(folder, "7d")
    with _turns() as forced:
        _run(folder, "24h", stride=60.0)
    return asked["seconds"] / asked["turns"] * 1000, forced["seconds"] / forced["turns"] * 1000


def year(folder: Path) -> float:
    """CPU seconds of 365 days on one core."""
    return _run(folder, "365d")


def village(folder: Path) -> tuple[float, float, float]:
    """CPU seconds of ten days in each season, in turns: of the village with all, of Saint-Seine, and of Saint-Seine
    with inputs that vary each minute as well."""
    village, varied = (file.read_text(encoding="utf-8") for file in (VILLAGE_YEAR, SITE_YEAR))
    years = (VILLAGE, village), (SITE, SCENARIO), (SITE, varied)
    took = [0.0, 0.0, 0.0]
    for season in SEASONS:
        for place, (site, text) in enumerate(years):
            dated = re.sub("^start: .*$", f'start: "{season}T00:00:00"', text, flags=re.M)
            took[place] += _run(folder, "10d", site=site, text=dated)
    return took[0], took[1], took[2]


@contextmanager
def _turns() -> Iterator[dict[str, float]]:
    """Counts the engine's turns, and the CPU time in them."""
    counted = {"turns": 0, "seconds": 0.0}
    turn = Engine.turn

    def timed(engine: Engine) -> Any:
        began = time.perf_counter()
        try:
            return turn(engine)
        finally:
            counted["seconds"] += time.perf_counter() - began
            counted["turns"] += 1

    Engine.turn = timed  # type: ignore[method-assign]
    try:
        yield counted
    finally:
        Engine.turn = turn  # type: ignore[method-assign]


def _run(
    folder: Path, duration: str, stride: float = float("inf"), site: Path = SITE, text: str = SCENARIO
) -> float:
    """CPU seconds of the run, once the site is read."""
    loaded, path = load(site), folder / "scenario.yaml"
    path.write_text(re.sub("^duration: .*$", f"duration: {duration}", text, flags=re.M), encoding="utf-8")
    scenario, problems = read_scenario(path, loaded)
    if scenario is None:
        raise ValueError("; ".join(map(str, problems)))
    logging.getLogger("bocage").setLevel(logging.CRITICAL + 1)
    loop, settings = VirtualLoop(), build_settings(loaded)
    began = time.process_time()
    try:
        loop.run_until_complete(Simulation(settings, scenario, loop, stride=stride).run())
    finally:
        loop.close()
    return time.process_time() - began
