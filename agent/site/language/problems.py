"""Words for problems of a file."""

from __future__ import annotations

from collections.abc import Iterable

from agent.errors import Problem, Severity

__all__ = ["Problem", "Severity", "listed"]


def listed(words: Iterable[str], last: str = "or") -> str:
    """`a, b or c`."""
    *most, end = words
    return f"{', '.join(most)} {last} {end}" if most else end
