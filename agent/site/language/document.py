"""A YAML file as plain data, with the place of every key and value.

`ruamel.yaml` is used for its nodes only: its loader stops at the first duplicate key, the nodes show them all.
Plain scalars are resolved here, by the core schema of YAML 1.2 (chapter 10.3.2), so that a `%YAML 1.1` line or a
date cannot change what a word means: `on` and `22:30` are text, and so is every key.
"""

from __future__ import annotations

import os
import re
import select
import stat
import time
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.site.language.problems import Problem, Severity

__all__ = ["TYPOGRAPHIC", "Document", "Keys", "Place", "open_text", "read"]

Keys = tuple[str | int, ...]
"""The way to a value: ("devices", "meter-a", "poll")."""

_DEPTH = 40
_VALUES = 50_000
_BYTES = 1_000_000
"""A site file has some ten thousand; the parser reads some hundred thousand a second."""
_PATIENCE = 10.0
"""Seconds within which a pipe must end: `bocage check <(make-site)` works, and a pipe without a writer ends."""
_PROBLEMS = 200
"""Problems of one sort that are listed; the rest appear once these are corrected."""
_MESSAGE = 500
"""Characters of a message: keys and numbers of a file have no end, and it goes to the broker and to systemd."""
_INT = re.compile(r"[-+]?[0-9]{1,400}$|0o[0-7]{1,400}$|0x[0-9a-fA-F]{1,400}$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_CORE = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column of a value and its key, from 1, and how a scalar is spelt in the file."""

    line: int
    column: int
    key_line: int
    key_column: int
    text: str | None = None


@dataclass(slots=True)
class Document:
    """The parsed file. `data` is None where it could not be parsed; then `problems` says why."""

    file: str
    data: Any = None
    places: dict[Keys, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    doubled: set[Keys] = field(default_factory=set)
    """Mappings with a key that is there twice."""
    source: bytes = b""

    def place(self, keys: Keys) -> Place:
        """The place of a value, or of the nearest one around it."""
        while keys and keys not in self.places:
            keys = keys[:-1]
        return self.places.get(keys, Place(1, 1, 1, 1))

    def value(self, keys: Keys) -> Any:
        """The value at this place in the file, or None."""
        found = self.data
        for key in keys:
            try:
                found = found[key]
            except (KeyError, IndexError, TypeError):
                return None
        return found

    def rename(self, keys: Keys, old: str, new: str) -> None:
        """Give a key of the mapping there another name; its place stays."""
        mapping = self.value(keys)
        for key in list(mapping):  # in the order of the file
            mapping[new if key == old else key] = mapping.pop(key)
        here, at = (*keys, old), len(keys)
        for way in [way for way in self.places if way[: at + 1] == here]:
            self.places[(*keys, new, *way[at + 1 :])] = self.places.pop(way)

    def report(
        self,
        keys: Keys,
        message: str,
        hint: str | None = None,
        *,
        severity: Severity = "error",
        at_key: bool = False,
        rule: bool = False,
        costs_bus_only: bool = False,
    ) -> None:
        """Note a problem with the value (or the key) there; `hint` is added to the message."""
        place = self.place(keys)
        line, column = (place.key_line, place.key_column) if at_key else (place.line, place.column)
        self.note(line, column, f"{message}; {hint}" if hint else message, hint, severity, rule, costs_bus_only)

    def note(
        self,
        line: int,
        column: int,
        message: str,
        hint: str | None = None,
        severity: Severity = "error",
        rule: bool = False,
        costs_bus_only: bool = False,
    ) -> None:
        told = sum(problem.severity == severity and problem.rule == rule for problem in self.problems)
        if told > _PROBLEMS:
            return
        if told == _PROBLEMS:
            message, hint = "there are more from here on; mend the others first", None
        if len(message) > _MESSAGE:
            message, hint = f"{message[:_MESSAGE]}…", None
        problem = Problem(self.file, line, column, severity, " ".join(message.split("\n")), hint, rule, costs_bus_only)
        if problem not in self.problems:
            self.problems.append(problem)


def read(path: Path, file: str | None = None) -> Document:
    """Read a file; never raises for what it holds. `file` is how messages name it (default: the path as given)."""
    document, text = open_text(path, file)
    root = None if text is None else _compose(document, text)
    if root is not None:
        _Builder(document).build(root)
        _note_lone_return(document, text or "")
    return document


def open_text(path: Path, file: str | None = None) -> tuple[Document, str | None]:
    """A document without data yet, and the file's text; None where it cannot be had, and then the problem is noted."""
    document = Document(file or str(path))
    try:
        document.source = read_bytes(path, _BYTES + 1)
    except TimeoutError:
        document.note(1, 1, f"a pipe that does not end within {_PATIENCE:.0f} s; is it the right file?")
        return document, None
    except OSError as error:
        document.note(1, 1, f"cannot be read: {error.strerror}")
        return document, None
    if len(document.source) > _BYTES:
        document.note(1, 1, f"longer than {_BYTES // 1_000_000} MB; is it the right file?")
        return document, None
    try:
        return document, document.source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = document.source[: error.start]
        column = len(before.rpartition(b"\n")[2].decode("utf-8-sig", "replace")) + 1
        document.note(before.count(b"\n") + 1, column, "not UTF-8; save the file with the encoding UTF-8")
        return document, None


def read_bytes(path: Path, most: int) -> bytes:
    """The first `most` bytes of a file. OSError if it cannot be read: TimeoutError, if it is a pipe that goes on."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            return _drain(descriptor, most)
        return opened.read(most)


def _drain(descriptor: int, most: int) -> bytes:
    """Read a pipe or a terminal to its end. A pipe without a writer has no end."""
    found, until = b"", time.monotonic() + _PATIENCE
    ends = select.poll()
    ends.register(descriptor, select.POLLIN)
    is_device = stat.S_ISCHR(os.fstat(descriptor).st_mode)
    while len(found) < most:
        try:
            piece = os.read(descriptor, most - len(found))
        except BlockingIOError:
            piece = None
        if piece:
            found += piece
            continue
        if piece is not None and (found or is_device):
            return found
        seen = dict(ends.poll(max(0.0, until - time.monotonic()) * 1000)).get(descriptor, 0)
        if not seen:
            raise TimeoutError
        if not seen & select.POLLIN:
            return found
    return found


def _compose(document: Document, text: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        document.note(*(_odd_space_before(text, error) or _syntax(error)))
        return None
    except ReaderError as error:
        before = text[: error.position]
        column = error.position - before.rfind("\n")
        document.note(before.count("\n") + 1, column, "there is a control character here; remove it")
        return None
    except RecursionError:
        document.note(1, 1, "nested too deeply")
        return None
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError) as error:
        document.note(1, 1, f"not YAML that can be read ({error})")  # slips of the parser on wild input
        return None
    if root is None:
        document.note(1, 1, "the file is empty")
    return root


_LONE_RETURN = re.compile("\r(?!\n)|[\u2028\u2029\u0085]")


def _note_lone_return(document: Document, text: str) -> None:
    """A line that ends as no other does: an editor shows it as one line with the next, and YAML as two."""
    found = _LONE_RETURN.search(text) if "\n" in text else None
    if found is None:
        return
    before = _LONE_RETURN.sub("\n", text[: found.start()])
    name = {"\r": "a carriage return (CR) without a line feed"}.get(found.group(), f"U+{ord(found.group()):04X}")
    words = f"{name} is here, which ends the line for YAML, and not for most editors"
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    document.note(line, column, f"{words}; end lines with LF or CRLF", rule=True)


_SYNTAX = (
    ("'\\t'", "there is a tab here; indent with spaces"),
    ("mapping values are not allowed", 'unexpected ":"; before it a key lacks its colon (or the space after it), '
                                       'a line is indented otherwise, or a text with ": " in it lacks its quotes'),
    ("could not find expected ':'", "a key without its colon; write key: value"),
    ("but found another document", 'a second document begins here; a site is one document, take the "---" out'),
    ("expected <block end>", "the indentation does not fit the lines above"),
    ("undefined alias", "an alias (*) without its anchor (&); write a text that begins with * in quotes"),
    ("cannot start any token", "write a text that begins with this character in quotes"),
    ("expected alphabetic or numeric character", "write a text that begins with & or * in quotes"),
)  # fmt: skip


TYPOGRAPHIC = "\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u00ab\u00bb\u2033\u2032"
"""Quotes as word processors and telephones write them."""
_ODD_SPACE = re.compile("[\u00a0\u1680\u2000-\u200d\u202f\u205f\u2060\u3000\ufeff]")
"""Characters that look like a space, or like nothing, and are none in YAML, as word processors and web pages write
them."""


def _odd_space(line: int, column: int, char: str) -> tuple[int, int, str]:
    name = unicodedata.name(char, "a character that cannot be seen").lower()
    return line, column, f"U+{ord(char):04X} found here, {name}; write an ordinary space"


def _odd_space_before(text: str, error: Any) -> tuple[int, int, str] | None:
    """The odd space that a syntax error comes from: in its line, or in the last line before it that says something."""
    mark = error.problem_mark
    if mark is None:
        return None
    lines = text.split("\n")[: mark.line + 1]
    said = [number for number, line in enumerate(lines[:-1]) if line.strip() and not line.lstrip().startswith("#")]
    for number in (mark.line, *said[-1:]):
        line = re.sub(r"""(?<=[\s:,\[{])("[^"]*"|'[^']*')""", lambda quoted: "x" * len(quoted.group()), lines[number])
        found = _ODD_SPACE.search(re.split(r"(?:^|\s)#", line)[0])
        if found:
            return _odd_space(number + 1, found.start() + 1, found.group())
    return None


def _syntax(error: Any) -> tuple[int, int, str]:
    """Line, column and words of a syntax error, in terms of what was typed."""
    mark, opened = error.problem_mark or error.context_mark, error.context_mark
    problem, context = str(error.problem or ""), str(error.context or "")
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    if "escape" in problem:
        unknown = "unknown" in problem
        escape = f'"\\{mark.buffer[mark.pointer]}" is none' if unknown else "this one is not whole"
        begins = column - (1 if unknown else 2)
        return line, begins, f"a \\ in double quotes begins an escape, and {escape}; write '...' in single quotes"
    if "quoted scalar" in context and opened:
        return opened.line + 1, opened.column + 1, "this quote is never closed"
    if "flow node" in context and "expected the node content" in problem:
        return line, column, "a value is missing before this, or a text that begins with it lacks its quotes"
    if "flow" in context and opened:
        kind = "{" if "mapping" in context else "["
        close = "}" if kind == "{" else "]"
        if "stream end" in problem:
            return opened.line + 1, opened.column + 1, f'this "{kind}" is never closed'
        where = f'the "{kind}" of line {opened.line + 1}'
        return line, column, f'a "," or the "{close}" that ends {where} is missing before this'
    for part, words in _SYNTAX:
        if part in problem:
            return line, column, words
    return line, column, f"not YAML: {problem or context or error}"


class _Builder:
    """Turns nodes into data; notes duplicate keys, foreign tags and what is nested or repeated beyond reason."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._left = _VALUES
        self._open: set[int] = set()
        self._has_odd_key = False

    def build(self, root: Any) -> None:
        self._document.data = self._value(root, (), root)
        if self._has_odd_key:  # which hides more than it is worth to guess
            self._document.data = None

    def _value(self, node: Any, keys: Keys, key_node: Any) -> Any:
        if self._is_too_much(node):
            return None
        kind = type(node).__name__
        empty = kind == "ScalarNode" and node.style is None and not node.value
        at, key = (key_node if empty else node).start_mark, key_node.start_mark
        text = node.value if kind == "ScalarNode" else None
        self._document.places[keys] = Place(at.line + 1, at.column + 1, key.line + 1, key.column + 1, text)
        tag = str(node.tag)
        if not tag.startswith(_CORE) and tag != "!":
            self._note(node, "tags (!) are not used here; write a text that begins with ! in quotes")
            return None
        if kind == "ScalarNode":
            inner = self._unquoted(node)
            return inner if inner is not None else _scalar(node.value) if node.style is None else node.value
        if len(keys) >= _DEPTH or id(node) in self._open:
            self._note(node, "nested too deeply")
            return None
        self._open.add(id(node))
        try:
            if kind == "SequenceNode":
                return [self._value(item, (*keys, index), item) for index, item in enumerate(node.value)]
            return self._mapping(node, keys)
        finally:
            self._open.discard(id(node))

    def _unquoted(self, node: Any) -> str | None:
        """The text in a word processor's quotes, which YAML takes as part of the text."""
        text = node.value
        if node.style is not None or len(text) < 2 or text[0] not in TYPOGRAPHIC or text[-1] not in TYPOGRAPHIC:
            return None
        inner: str = text.strip(TYPOGRAPHIC + " ")
        words = f'{text[0]}{text[-1]} are no quotes in YAML; write "{inner}"'
        self._document.note(node.start_mark.line + 1, node.start_mark.column + 1, words, rule=True)
        return inner

    def _is_too_much(self, node: Any, cost: int = 1) -> bool:
        """Whether there are more values, and keys to merge, than any site has; reported once."""
        before, self._left = self._left, self._left - cost
        if self._left <= 0 < before:
            self._note(node, "too many values (aliases that repeat each other?)")
        return self._left <= 0

    def _mapping(self, node: Any, keys: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: list[Any] = []
        for key, value in node.value:
            if type(key).__name__ != "ScalarNode":
                self._note(key, "a key is one word")
            elif key.style is None and (odd := _ODD_SPACE.search(key.value)):
                mark = key.start_mark
                self._document.note(*_odd_space(mark.line + 1, mark.column + odd.start() + 1, odd.group()))
                self._has_odd_key = True
            elif key.value == "<<" and key.style is None:
                merged.append(value)
            elif (name := self._unquoted(key)) is not None:
                found[name] = self._value(value, (*keys, name), key)
            elif key.value in found:
                first = self._document.places[(*keys, key.value)].key_line
                self._document.doubled.add(keys)
                self._note(key, f'duplicate key "{key.value}"; it is on line {first} already')
            else:
                found[key.value] = self._value(value, (*keys, key.value), key)
        for value in merged:
            self._merge(value, keys, found)
        return found

    def _merge(self, node: Any, keys: Keys, found: dict[str, Any]) -> None:
        """`<<: *defaults`, or a list of such: keys that are here already win."""
        if self._is_too_much(node, len(node.value)):
            return
        if type(node).__name__ == "SequenceNode" and id(node) not in self._open:
            for item in node.value:
                if type(item).__name__ == "SequenceNode":
                    self._note(item, '"<<" takes a mapping, or a list of mappings')
                else:
                    self._merge(item, keys, found)
        elif type(node).__name__ != "MappingNode":
            self._note(node, '"<<" takes a mapping, or a list of mappings')
        elif id(node) in self._open:
            self._note(node, "nested too deeply")
        else:
            self._open.add(id(node))
            for key, value in self._mapping_items(node):
                if key.value not in found:
                    found[key.value] = self._value(value, (*keys, key.value), key)
            for key, value in node.value:
                if type(key).__name__ == "ScalarNode" and key.value == "<<" and key.style is None:
                    self._merge(value, keys, found)
            self._open.discard(id(node))

    @staticmethod
    def _mapping_items(node: Any) -> list[tuple[Any, Any]]:
        scalar = [(key, value) for key, value in node.value if type(key).__name__ == "ScalarNode"]
        return [(key, value) for key, value in scalar if not (key.value == "<<" and key.style is None)]

    def _note(self, node: Any, message: str) -> None:
        self._document.note(node.start_mark.line + 1, node.start_mark.column + 1, message)


def _scalar(text: str) -> Any:
    """YAML 1.2, core schema."""
    if text in {"", "~", "null", "Null", "NULL"}:
        return None
    if text in {"true", "True", "TRUE"}:
        return True
    if text in {"false", "False", "FALSE"}:
        return False
    if _INT.match(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.match(text):
        return float(text)
    return text
