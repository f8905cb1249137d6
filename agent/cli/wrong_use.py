"""Errors of a mistyped command line, with a suggestion."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any

from agent.lib.suggestion import did_you_mean

__all__ = ["HelpfulParser"]

_NO_BREAK = "\xa0\u202f"
_LONG_DASHES = "\u2013\u2014"


class HelpfulParser(argparse.ArgumentParser):
    """Unknown words and options are answered by the nearest known one; so are slips of phones and French keyboards."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = sys.argv[1:] if args is None else list(args)
        if not given and self._subparsers is not None:  # `bocage` alone: where a newcomer starts
            self.print_help(sys.stderr)
            self.exit(2)
        slip = next((text for at, word in enumerate(given) if (text := _slip(word, at == 0))), "")
        if slip:
            self.error(slip)
        if self._subparsers is not None and given[0].startswith("-") and given[0] not in self._option_string_actions:
            self.error(self.unknown([given[0]]))
        return super().parse_args(args, namespace)

    def unknown(self, words: Sequence[str]) -> str:
        """That these are no arguments of this command."""
        options = [option for option in self._option_string_actions if option.startswith("--")]
        hints = (did_you_mean(word.partition("=")[0], options) for word in words)
        hint = next(filter(None, hints), None)
        return f"unrecognized arguments: {' '.join(words)}{f'; {hint}' if hint else ''}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        known = [str(choice) for choice in action.choices or ()]
        if known and value not in (action.choices or ()):
            hint = did_you_mean(str(value), known) or f"known are {', '.join(known)}"
            raise argparse.ArgumentError(action, f'"{value}" is unknown; {hint}')


def _slip(word: str, is_first: bool) -> str:
    """Return the error for a word that a keyboard has altered, or ""."""
    if word[:1] in _LONG_DASHES and word:
        return f"{word} begins with a long dash, which a phone makes of two; write --{word.lstrip(_LONG_DASHES)}"
    words = re.split(f"[{_NO_BREAK}]", word)
    if len(words) > 1 and (is_first or any(part.startswith("--") for part in words[1:])):
        return f'there is a no-break space (AltGr and space) in "{word}"; write a plain one'
    return ""
