"""What lighting, water and heating ask of the file, the law among it."""

from __future__ import annotations

from agent.config.names import Checked
from agent.config.rules.heating import check_heating
from agent.config.rules.lighting import check_lighting
from agent.config.rules.water import check_water

__all__ = ["check_rules"]


def check_rules(at: Checked) -> None:
    """Report what the services find wrong."""
    check_lighting(at)
    check_water(at)
    check_heating(at)
