"""Tables and lines that keep their shape on a narrow terminal, a phone's 40 columns."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

__all__ = ["tabled", "width", "wrapped"]


def width() -> int | None:
    """Columns of the terminal on standard output; None for a file, which has no edge."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def tabled(cells: Sequence[Sequence[str]]) -> list[str]:
    """A table whose first row has the names; where that is too wide a paragraph a row, with what is known of it."""
    table, edge = _table(cells), width()
    return table if edge is None or max(map(len, table)) <= edge else _blocks(cells)


def wrapped(line: str) -> str:
    """A line that goes on further right on the next one where it is too long; words are not cut."""
    edge = width()
    if edge is None or len(line) <= edge:
        return line
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.fill(line, edge, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _blocks(cells: Sequence[Sequence[str]]) -> list[str]:
    names, *rows = cells
    longest = max(map(len, names))
    lines: list[str] = []
    for row in rows:
        known = [(name, cell) for name, cell in zip(names, row, strict=True) if cell != "-"]
        lines += [f"{name:<{longest}}  {cell}" for name, cell in known]
        lines.append("")
    return lines[:-1]


def _table(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in cells]
