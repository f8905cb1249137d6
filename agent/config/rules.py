"""What lighting, water and heating ask of the file, the law among it."""

from __future__ import annotations

from agent.config.names import Checked

__all__ = ["check_rules"]


def check_rules(at: Checked) -> None:
    """Report what the services find wrong."""
