"""Which lines of agent/ ran: those of functions, since the others run when a module is imported.

A tracer of our own (sys.settrace), because it stops looking at a function once all its lines were seen: it makes a seed
about twice as long, and one seed of ten tells nearly what all would. sys.monitoring would cost less; Python 3.11, which
the agent runs on, has none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

__all__ = ["Reached", "executable"]

_ROOT = Path(__file__).parent.parent.parent
_AGENT = str(_ROOT / "agent") + "/"
_FUNCTION = 0x01 | 0x02
"""CO_OPTIMIZED | CO_NEWLOCALS: a code object that is a function's."""


class Reached:
    """Notes the lines while it is entered. `lines` are those seen, by file below the repository."""

    def __init__(self) -> None:
        self._left: dict[int, set[int] | None] = {}
        """By code object: lines that were not seen; None where nothing is to be looked for."""
        self._codes: list[CodeType] = []
        self._tracers: dict[int, Any] = {}

    def __enter__(self) -> None:
        sys.settrace(self._call)

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)

    @property
    def lines(self) -> dict[str, list[int]]:
        seen: dict[str, set[int]] = {}
        for code in self._codes:
            left = self._left[id(code)]
            seen.setdefault(code.co_filename.removeprefix(f"{_ROOT}/"), set()).update(_lines(code) - (left or set()))
        return {name: sorted(lines) for name, lines in seen.items()}

    def _call(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        try:
            return self._tracers[id(code)]
        except KeyError:
            return self._first(code)

    def _first(self, code: CodeType) -> Any:
        key, trace = id(code), None
        self._codes_of_interest(code)
        left = self._left.get(key)
        if left:

            def trace(frame: FrameType, event: str, arg: Any) -> Any:
                if event == "line":
                    left.discard(frame.f_lineno)
                    if not left:
                        self._tracers[key] = None
                return trace

        self._tracers[key] = trace
        return trace

    def _codes_of_interest(self, code: CodeType) -> None:
        if code.co_filename.startswith(_AGENT) and code.co_flags & _FUNCTION == _FUNCTION:
            self._codes.append(code)  # which also keeps its id from being another's
            self._left[id(code)] = _lines(code)


def _lines(code: CodeType) -> set[int]:
    """The lines of a function, without its head."""
    lines = {line for _, _, line in code.co_lines() if line}
    return (lines - {code.co_firstlineno}) or lines


def executable() -> dict[str, set[int]]:
    """All lines of functions of agent/, by file below the repository."""
    found = {}
    for path in sorted(Path(_AGENT).rglob("*.py")):
        module = compile(path.read_text(), str(path), "exec")
        name = str(path.relative_to(_ROOT))
        found[name] = {line for code in _functions(module) for line in _lines(code)}
    return found


def _functions(code: CodeType) -> Iterator[CodeType]:
    if code.co_flags & _FUNCTION == _FUNCTION:
        yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _functions(const)
