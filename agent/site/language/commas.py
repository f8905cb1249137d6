"""Commas that make keys of their own between braces: `{poll: 1,5s}` has the keys `poll` and `5s`.

One slip is one message: not one for each key that it makes, nor one for the value that is left before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.site.language.document import TYPOGRAPHIC, Document, Keys
from agent.site.language.problems import listed
from agent.site.language.spellings import PLACES, day_meant, duration_meant

__all__ = ["report_commas"]


def report_commas(document: Document) -> set[Keys]:
    """Say where a comma has cut a value or a key in two; what is not to be reported again, key by key."""
    told: set[Keys] = set()
    _look(document, document.data, (), told)
    return told


def _look(document: Document, data: Any, keys: Keys, told: set[Keys]) -> None:
    if isinstance(data, Mapping):
        _numbers(document, data, keys, told)
        _days(document, data, keys, told)
    for key, value in data.items() if isinstance(data, Mapping) else enumerate(data) if isinstance(data, list) else ():
        _look(document, value, (*keys, key), told)


def _numbers(document: Document, data: Mapping[str, Any], keys: Keys, told: set[Keys]) -> None:
    """`5s` after `poll: 1`, or 168, 1 and 20 after `host: 192`."""
    before: str | None = None
    run: list[str] = []
    for key in (*data, ""):
        if data.get(key, 0) is None and re.match("[0-9]", key) and _on_line(document, keys, key, before):
            run.append(key)
            continue
        text = document.place((*keys, before)).text if before is not None else None
        if run and text:
            told |= {(*keys, one) for one in (before, *run) if one is not None}
            if len(run) == 1:
                words = f'the comma makes a key of "{run[0]}"; {_meant(str(before), text, run[0])}'
            else:
                names = listed((f'"{one}"' for one in run), "and")
                words = f"the commas make keys of {names}; write {'.'.join((text, *run))}"
            place = document.place((*keys, run[0]))
            document.note(place.key_line, place.key_column, words)
        before, run = key, []


def _meant(key: str, text: str, rest: str) -> str:
    """The text to write in place of `key: text,rest`."""
    if key.lower() in PLACES:
        return f"write latitude: {text}, longitude: {rest}"
    if text.startswith("("):
        return f"write [{text[1:]}, {rest.rstrip(')')}]"
    if re.fullmatch("[0-9]{3}", rest) and re.fullmatch("[1-9][0-9]{0,2}", text):
        return f"write {text}{rest}, or decimals after a point: {text}.{rest}"
    if "/" in text and duration_meant(rest):
        return f"write {text} for {duration_meant(rest)}"
    if not re.fullmatch("[0-9]+", text):
        return "a value here has no comma"
    return "write the decimals after a point"


def _on_line(document: Document, keys: Keys, one: str, other: str | None) -> bool:
    return other is not None and document.place((*keys, one)).key_line == document.place((*keys, other)).key_line


def _days(document: Document, data: Mapping[str, Any], keys: Keys, told: set[Keys]) -> None:
    """`mon,tue: [...]` without quotes."""
    run: list[str] = []
    for key, value in data.items():
        if day_meant(key.strip(TYPOGRAPHIC)) is None:
            run = []
        elif value is None:
            run.append(key)
        elif run and _on_line(document, keys, key, run[0]):
            told |= {(*keys, one) for one in (*run, key)}
            place = document.place((*keys, run[0]))
            days = ",".join(one.strip(TYPOGRAPHIC) for one in (*run, key))
            words = f'the comma makes a key of "{run[0]}"; write days in quotes: "{days}"'
            document.note(place.key_line, place.key_column, words)
            run = []
