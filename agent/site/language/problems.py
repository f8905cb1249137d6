"""How what is wrong with a file is said."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from agent.errors import Problem, Severity

__all__ = ["Problem", "Severity", "listed", "meant", "nearest"]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """What a misspelt word was meant to be, whatever its capitals; None where nothing is near."""
    lower = {one.lower(): one for one in sorted(known)}
    near = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return lower[near[0]] if near else None


def meant(word: str, known: Iterable[str]) -> str | None:
    """`did you mean "classroom"?`, or None where nothing is near."""
    near = nearest(word, known)
    return None if near is None else f'did you mean "{near}"?'


def listed(words: Iterable[str], last: str = "or") -> str:
    """`a, b or c`."""
    *most, end = words
    return f"{', '.join(most)} {last} {end}" if most else end
