"""What lighting, water and heating ask of the file, the law among it."""

from __future__ import annotations

from agent.services.heating.rules import check_heating
from agent.services.lighting.rules import check_lighting
from agent.services.water.rules import check_water
from agent.site.checks.names import Checked

__all__ = ["check_rules"]


def check_rules(at: Checked) -> None:
    """Report what the services find wrong."""
    check_lighting(at)
    check_water(at)
    check_heating(at)
