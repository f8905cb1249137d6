"""A profile as a table: what a spreadsheet saves as CSV, as the same plain data that YAML gives, with the same places.

A row is a point, a column a key of it; rows before the one with the columns' names are settings of the device:

    max_gap;4
    # energy
    name;register;address;type;scale;unit
    active_power;input;0x28;i32;0,1;W
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from agent.lib.suggestion import did_you_mean
from agent.site.language.document import Document, Keys, Place, open_text

__all__ = ["COLUMNS", "SETTINGS", "read_csv"]

_WORDS = ("register", "type", "order", "kind")
_WHOLE = ("address", "unavailable", "length", "bit", "on", "off")
_NUMBERS = ("scale", "offset", "low", "high")
COLUMNS = ("name", *_WORDS, *_WHOLE, *_NUMBERS, "unit", "poll", "writable", "write", "moves", "comment")
"""The cells of the row of names; `comment` is for people."""
SETTINGS = ("description", "max_gap", "max_read", "guard", "write")
"""First cells of the rows above it, with their values in the second cell."""
_NEEDED: dict[str, Any] = {"name": None, "register": "holding", "address": 0}
"""Columns that every table has, and the replacement for a cell that is wrong, to check the rest."""
_QUOTED = re.compile(r' *"((?:[^"]|"")*)" *')
_YES, _NO = {"true", "yes", "x", "1", "vrai", "oui"}, {"false", "no", "0", "faux", "non"}


class _Cell(NamedTuple):
    text: str
    line: int
    column: int


def read_csv(path: Path) -> Document:
    """Read a table; never raises for what it holds."""
    document, text = open_text(path)
    if text is not None:
        _Table(document, re.split(r"\r\n|\r|\n", text)).read()
    return document


class _Table:
    """Fills a document from the lines of a table."""

    def __init__(self, document: Document, lines: list[str]) -> None:
        self._document = document
        self._lines = list(enumerate(lines, 1))
        self._points: dict[str, dict[str, Any]] = {}
        self._data: dict[str, Any] = {"points": self._points}
        self._separator = ";"

    def read(self) -> None:
        if self._lines and self._lines[0][1].lower().startswith("sep="):  # Excel's hint to itself
            del self._lines[0]
        head = next((n for n, (_, line) in enumerate(self._lines) if _is_head(line)), None)
        if head is None:
            known = ";".join(COLUMNS[:5])
            self._document.note(1, 1, f"no row with the names of the columns; write one such as {known};address")
            return
        self._separator = max(";,\t", key=self._lines[head][1].count)
        for line, text in self._lines[:head]:
            self._setting(self._cells(line, text))
        columns = self._columns(self._cells(*self._lines[head]))
        for line, text in self._lines[head + 1 :]:
            cells = self._cells(line, text)
            if any(cell.text for cell in cells):
                self._row(cells, columns)
        self._document.data = self._data

    def _cells(self, line: int, text: str) -> list[_Cell]:
        """The cells of a line, quotes and spaces around them taken off; none of a line that is a comment."""
        if not text.strip() or _is_comment(text):
            return []
        cells, at = [], 0
        while at <= len(text):
            quoted = _QUOTED.match(text, at)
            if quoted and text[quoted.end() : quoted.end() + 1] in ("", self._separator):
                cells.append(_Cell(quoted[1].replace('""', '"').strip(), line, quoted.start(1) + 1))
                at = quoted.end() + 1
                continue
            end = text.find(self._separator, at)
            end = len(text) if end < 0 else end
            cell = text[at:end]
            column = at + len(cell) - len(cell.lstrip()) + 1
            if cell.lstrip().startswith('"'):
                self._document.note(line, column, "this quote is never closed on its line")
            cells.append(_Cell(cell.strip(' "'), line, column))
            at = end + 1
        return cells

    def _setting(self, cells: list[_Cell]) -> None:
        if not any(cell.text for cell in cells):
            return
        key, value = cells[0], cells[1] if len(cells) > 1 else _Cell("", cells[0].line, cells[0].column)
        name = key.text.lower()
        if name not in SETTINGS:
            near = did_you_mean(name, SETTINGS) or f"known above the columns' names are {', '.join(SETTINGS)}"
            self._document.note(key.line, key.column, f'unknown setting "{key.text}"; {near}', near)
        elif not value.text:
            self._document.note(key.line, key.column, f'there is no value after "{key.text}"; write it beside')
        else:
            keys: Keys = ("description",) if name == "description" else ("modbus", name)
            whole = name in ("max_gap", "max_read")
            found = self._whole(value) if whole else value.text
            if found is not None:
                (self._data if len(keys) == 1 else self._data.setdefault("modbus", {}))[name] = found
                self._document.places[keys] = Place(value.line, value.column, key.line, key.column, value.text)

    def _columns(self, cells: list[_Cell]) -> list[str]:
        names: list[str] = []
        for cell in cells:
            name = cell.text.lower()
            if name and name not in COLUMNS:
                near = did_you_mean(name, COLUMNS) or f"known are {', '.join(COLUMNS)}"
                self._document.note(cell.line, cell.column, f'unknown column "{cell.text}"; {near}', near)
                name = near.split('"')[1] if '"' in near else "comment"  # and the rest is checked as if
            elif name in names and name not in ("", "comment"):
                self._document.note(cell.line, cell.column, f'the column "{cell.text}" is here twice')
            names.append(name)
        for name in (name for name in _NEEDED if name not in names):
            self._document.note(cells[0].line, cells[0].column, f'the column "{name}" is missing')
        return names

    def _row(self, cells: list[_Cell], columns: list[str]) -> None:
        if self._is_cut(cells, columns):
            return
        for cell in (cell for n, cell in enumerate(cells) if cell.text and not "".join(columns[n : n + 1])):
            comma = "; write a number with a comma in quotes" if self._separator == "," else ""
            self._document.note(cell.line, cell.column, f'"{cell.text}" is in a column without a name{comma}')
        row = {name: cell for name, cell in zip(columns, cells, strict=False) if cell.text and name}
        name = row.pop("name", None)
        row.pop("comment", None)
        if name is None:
            if "name" in columns and row:
                first = next(iter(row.values()))
                self._document.note(first.line, first.column, "a point without a name; write one in its row")
            return
        if name.text in self._points:
            line = self._document.place(("points", name.text)).line
            message = f'duplicate point "{name.text}"; it is on line {line} already'
            self._document.note(name.line, name.column, message)
            return
        point: dict[str, Any] = {}
        self._points[name.text] = point
        self._place(("points", name.text), name)
        for key, cell in row.items():
            self._place(("points", name.text, key), cell)
            value = self._value(key, cell)
            if value is not None:
                point[key] = value
        for key, usual in list(_NEEDED.items())[1:]:
            if key in row or key not in columns:
                point.setdefault(key, usual)  # what is wrong with it is said already

    def _is_cut(self, cells: list[_Cell], columns: list[str]) -> bool:
        """Whether a decimal comma has cut a number in two, and moved what follows: the row is not looked at then."""
        too_long = any(cell.text and not "".join(columns[n : n + 1]) for n, cell in enumerate(cells))
        for n, name in enumerate(columns[: len(cells) - 1] if self._separator == "," else ()):
            one, rest = cells[n], cells[n + 1]
            is_nothing = one.text.strip("-+") == "0" and columns[n + 1 : n + 2] == ["unit"]
            is_number = bool(re.fullmatch("[-+]?[0-9]*", one.text) and re.fullmatch("[0-9]+", rest.text))
            if name in _NUMBERS and is_number and (too_long or is_nothing):
                words = f'"{one.text},{rest.text}" lies in two cells here; write a number with a comma in quotes'
                self._document.note(one.line, one.column, words)
                return True
        return False

    def _place(self, keys: Keys, cell: _Cell) -> None:
        self._document.places[keys] = Place(cell.line, cell.column, cell.line, cell.column, cell.text)

    def _value(self, key: str, cell: _Cell) -> Any:
        if key in _WHOLE:
            return self._whole(cell)
        if key in _NUMBERS:
            return self._number(cell)
        if key == "writable":
            word = cell.text.lower()
            if word not in _YES | _NO:
                self._document.note(cell.line, cell.column, f'"{cell.text}" is neither yes nor no; write yes or no')
            return word in _YES
        return cell.text.lower() if key in (*_WORDS, "write") else cell.text

    def _whole(self, cell: _Cell) -> int | None:
        if re.fullmatch(r"[-+]?[0-9]{1,20}", cell.text):
            return int(cell.text)
        if re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}", cell.text):
            return int(cell.text, 16)
        digits = re.fullmatch(r"([0-9a-fA-F]{2,16})[hH]?", cell.text)
        near = f"did you mean 0x{digits[1].upper()}?" if digits else "write it as 12 or 0x0C"
        self._document.note(cell.line, cell.column, f'"{cell.text}" is no whole number; {near}', near)
        return None

    def _number(self, cell: _Cell) -> float | None:
        """With a decimal point, or a comma as a French spreadsheet writes it."""
        text = cell.text.replace(",", ".") if cell.text.count(",") == 1 and "." not in cell.text else cell.text
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or "_" in text:
            self._document.note(cell.line, cell.column, f'"{cell.text}" is no number; write it as 0.1 or 0,1')
            return None
        return int(value) if value.is_integer() else value


def _is_head(line: str) -> bool:
    """The row of names has at least two that are known; a slip in another is named then."""
    return not _is_comment(line) and len(set(_words(line)) & set(COLUMNS)) >= 2


def _is_comment(line: str) -> bool:
    return line.lstrip(' "').startswith("#")


def _words(line: str) -> Iterator[str]:
    for word in re.split(r"[;,\t]", line):
        yield word.strip(' "').lower()
