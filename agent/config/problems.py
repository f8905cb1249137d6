"""How what is wrong with a file is said."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from agent.problem import Problem, Severity

__all__ = ["Problem", "Severity", "listed", "meant"]


def meant(word: str, known: Iterable[str]) -> str | None:
    """`did you mean "classroom"?`, or None where nothing is near."""
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else None


def listed(words: Iterable[str], last: str = "or") -> str:
    """`a, b or c`."""
    *most, end = words
    return f"{', '.join(most)} {last} {end}" if most else end
