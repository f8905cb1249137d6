"""Text of others on our screen: what devices, brokers and commands say is shown, never obeyed."""

from __future__ import annotations

import unicodedata

__all__ = ["shown"]

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories of what is not seen and may move, colour or turn around what is: controls, formats (bidi)."""


def shown(text: object) -> str:
    """The text on one line, with every control, bidi and invisible character as an escape (`\\x1b`, `\\u202e`)."""
    words = str(text)
    return words if words.isprintable() else "".join(map(_character, words))


def _character(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN:
        return character
    return character.encode("unicode_escape").decode("ascii")
