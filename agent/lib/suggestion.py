"""The known word that a misspelt one was meant to be, for messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["did_you_mean", "nearest", "suggested"]


def nearest(word: str, known: Iterable[str], similarity: float = 0.6) -> str | None:
    """Return the word of `known` that is most like `word`, whatever its capitals; None where none is similar enough.

    `similarity` is the least ratio, from 0 to 1 (difflib.SequenceMatcher.ratio).
    """
    lower = {one.lower(): one for one in sorted(known)}
    near = get_close_matches(word.lower(), lower, n=1, cutoff=similarity)
    return lower[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return `did you mean "classroom"?`, or None where no known word is similar."""
    near = nearest(word, known)
    return None if near is None else suggested(near)


def suggested(word: str) -> str:
    """Return `did you mean "classroom"?` for a word that was found in another way than by its letters."""
    return f'did you mean "{word}"?'
