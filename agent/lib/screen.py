"""Text of others on our screen: what devices, brokers and commands say is shown, never obeyed."""

from __future__ import annotations

import json
import logging
from typing import Any

from agent.lib.jsonable import jsonable

__all__ = ["ScreenFormatter", "cleaned", "shown", "shown_json", "shown_lines"]

_SPACES = "\xa0\u2009\u202f"
"""Not printable to Python, and good French all the same."""


def shown(text: object) -> str:
    """The text on one line, with every control, bidi and invisible character as an escape (`\\x1b`, `\\u202e`)."""
    words = str(text)
    return words if words.isprintable() else "".join(map(_character, words))


def shown_lines(text: object, indent: str = "") -> str:
    """The same for a text that may have lines. `indent` sets the later ones off, so that none passes for another's."""
    return f"\n{indent}".join(map(shown, str(text).split("\n")))


def shown_json(document: Any, indent: int | None = None) -> str:
    """The document as JSON that says the same, with what `shown` would escape in it as `\\u009b`."""
    text = json.dumps(document, ensure_ascii=False, indent=indent)
    return text if text.isprintable() else "".join(map(_json_character, text))


def cleaned(document: Any) -> Any:
    """A JSON document in which every text, names of keys too, is one that can be shown."""
    return jsonable(document, _visible)


class ScreenFormatter(logging.Formatter):
    """Keep a log record on one line, whatever its values contain; only a traceback has more."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return shown(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return shown_lines(super().formatException(ei))


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return shown(value)
    return {shown(key): item for key, item in value.items()} if isinstance(value, dict) else value


def _character(character: str) -> str:
    if character.isprintable() or character in _SPACES:
        return character
    return character.encode("unicode_escape").decode("ascii")


def _json_character(character: str) -> str:
    plain = character.isprintable() or character in _SPACES or character == "\n"  # only an indent's: JSON has \\n
    return character if plain else json.dumps(character)[1:-1]
