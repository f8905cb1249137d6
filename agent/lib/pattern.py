"""Regular expressions of a site file: they run in bounded time, for one that backtracks would stop the whole agent.

Python's engine looks for signals while it searches, so a timer of processor time can end it. It works in the main
thread, which is where the agent's loop and the reader of site files are.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Pattern", "TooSlow", "slow_line"]

LINE = 0.05
"""Seconds of processor time that a line may take; a good pattern needs some microseconds."""
TRIAL = 0.2
"""Seconds that a trial, or the compiler, may take."""
LONGEST = 1024
"""Characters of a line."""
_END = "\0"
"""Is in no line, and so ends every match too early."""


class TooSlow(ValueError):
    """It did not come to an end in time."""


class Pattern:
    """A compiled pattern; re.error if it is not valid. TooSlow if a search, or the compiler, takes too long."""

    def __init__(self, text: str) -> None:
        with _bounded(TRIAL):
            self._compiled = re.compile(text)
        self.groups = frozenset(self._compiled.groupindex)

    def search(self, line: str, seconds: float = LINE) -> re.Match[str] | None:
        with _bounded(seconds):
            return self._compiled.search(line)


def slow_line(text: str) -> str | None:
    """A line for which the pattern takes longer than it may, if one is found; None if all goes well.

    Tried are lines that nearly fit: what the pattern wants, its repeats many times over, and an end that spoils it.
    """
    from re import _parser  # type: ignore[attr-defined]

    pattern = Pattern(text)
    parsed = _parser.parse(text)
    lines = {_sample(parsed, repeats, last)[:LONGEST] for repeats in (2, 30, 1000) for last in (False, True)}
    lines |= {character * LONGEST for character in dict.fromkeys("".join(lines)[:LONGEST] + "0aF ")}
    for line in sorted(lines, key=len):
        try:
            pattern.search(line + _END, TRIAL)
        except TooSlow:
            return line
    return None


def _sample(parsed: Any, repeats: int, last: bool) -> str:
    """A text that the parsed pattern (nearly) matches; of alternatives the first or the last."""
    found = ""
    for code, argument in parsed:
        if len(found) > LONGEST:
            break
        match str(code):
            case "LITERAL":
                found += chr(argument)
            case "NOT_LITERAL":
                found += "a" if argument != ord("a") else "b"
            case "ANY":
                found += "a"
            case "IN":
                found += _member(argument[-1 if last else 0])
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, inner = argument
                one = _sample(inner, repeats, last)
                found += one * min(max(least, min(int(most), repeats)), LONGEST // max(1, len(one)) + 1)
            case "SUBPATTERN" | "ATOMIC_GROUP":
                found += _sample(argument[-1] if isinstance(argument, tuple) else argument, repeats, last)
            case "BRANCH":
                found += _sample(argument[1][-1 if last else 0], repeats, last)
            case _:  # anchors, looks around and back: no characters of their own
                pass
    return found


_CLASSES = {"CATEGORY_DIGIT": "0", "CATEGORY_SPACE": " ", "CATEGORY_WORD": "a", "CATEGORY_NOT_DIGIT": "a",
            "CATEGORY_NOT_SPACE": "a", "CATEGORY_NOT_WORD": " "}  # fmt: skip


def _member(item: Any) -> str:
    """A character of a set."""
    code, argument = item
    match str(code):
        case "LITERAL":
            return chr(argument)
        case "RANGE":
            return chr(argument[0])
        case "CATEGORY":
            return _CLASSES.get(str(argument), "a")
    return "a"


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """TooSlow if what is in it takes more processor time."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    running = True

    def end(*_: object) -> None:
        if running:
            raise TooSlow(f"it takes more than {seconds:g} s")
        return

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        running = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
