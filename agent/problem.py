"""What is wrong with a file, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Problem", "Severity"]

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `line` and `column` count from 1; `hint` repeats the end of the message that says what to write.

    `rule` is an error of a file that can be understood all the same: it breaks a rule, and nothing that it names is
    missing.
    """

    file: str
    line: int
    column: int
    severity: Severity
    message: str
    hint: str | None = None
    rule: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.severity}: {self.message}"

    def as_dict(self) -> dict[str, Any]:
        names = ("file", "line", "column", "severity", "message", "hint")
        return {name: getattr(self, name) for name in names}

    @property
    def place(self) -> dict[str, Any]:
        """For an alarm: file, line, column and message."""
        return {"file": self.file, "line": self.line, "column": self.column, "message": self.message}
