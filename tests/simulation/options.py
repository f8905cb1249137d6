"""What `make simulate` and `make mutants` may be asked, and what they say of anything else."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["NONE", "hours", "interruptible", "names", "out_file", "parser", "whole"]

NONE = "none"
"""In the place of names: not one of them. `make` cannot tell ONLY= from no ONLY."""


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does, and neither with a traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        print()
        sys.exit(130)


def whole(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number, at least {least}, not {text!r}")
        return int(text)

    return read


def hours(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 10_000:
        raise argparse.ArgumentTypeError(f"must be hours, more than 0 and at most 10000, not {text!r}")
    return value


def names(known: Collection[str], what: str) -> Callable[[str], frozenset[str]]:
    """Some of the known names, with commas between; `none` for not one of them."""

    def read(text: str) -> frozenset[str]:
        if text.strip() == NONE:
            return frozenset()
        found = [name.strip() for name in text.split(",")]
        if unknown := sorted({repr(name) for name in found if name not in known}):
            raise argparse.ArgumentTypeError(f"there is no {what} {', '.join(unknown)}; there are: {', '.join(known)}")
        return frozenset(found)

    return read


def out_file(text: str) -> str:
    """A file that can be written, as is found out before hours have gone by. What is made for that goes at once."""
    path = Path(text)
    try:
        is_new = not (path.exists() or path.is_symlink())
        with path.open("a", encoding="utf-8"):
            pass
        if is_new:
            path.unlink()
        return text
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {error.strerror}") from None


def parser(prog: str, what: str | None, seeds: int, seeds_help: str) -> argparse.ArgumentParser:
    """With what both have."""
    made = argparse.ArgumentParser(prog=prog, description=what, allow_abbrev=False)
    made.add_argument("--seeds", type=whole(1), default=seeds, help=f"{seeds_help} ({seeds})")
    made.add_argument("--from", type=whole(0), default=1, dest="first", help="the first one (1)")
    made.add_argument("--jobs", type=whole(1), default=os.cpu_count() or 1, help="processes side by side")
    made.add_argument("--out", type=out_file, help="a JSON file for all that is counted")
    return made
