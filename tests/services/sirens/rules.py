"""What must hold between sirens and the rest of the file."""

from __future__ import annotations

from agent.site.checks.names import Checked
from tests.services.sirens.config import Sirens

__all__ = ["check"]


def check(at: Checked, sirens: Sirens) -> None:
    for name, siren in sirens.towers.items():
        at.actuator(("sirens", "towers", name, "actuator"), siren.actuator, name)
        at.measurement(("sirens", "towers", name, "level"), siren.level)
