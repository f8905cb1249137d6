"""A site's real controls and arbiter in virtual time, fed by a scenario (docs/simulate.md)."""

from agent.simulate.run import Simulation, simulate
from agent.simulate.scenario import Scenario, read_scenario

__all__ = ["Scenario", "Simulation", "read_scenario", "simulate"]
