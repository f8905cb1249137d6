"""The tree of errors. The class says what is done about it.

    BocageError
    |-- ConfigError     the site file is wrong: every problem is listed, the program exits with 78
    |-- WireError       the wire (port, socket, chip) is lost: reopen it
    |-- DeviceError     this device did not answer or answered wrongly: mark it bad, go on
    |   |-- TooLate     the time to begin passed while it waited for the device: nothing was done
    |   `-- Refused     the device understood and said no (a Modbus exception): `code` says why
    |-- Rejected        a write that must not be: it becomes the outcome of the command
    |-- StorageError    durable storage (outbox, state file) fails: control goes on, data stays in memory
    `-- Busy            the state folder belongs to another agent: the program exits with 75
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = [
    "BocageError", "Busy", "ConfigError", "DeviceError", "OutboxError", "Problem", "Refused", "Rejected", "Severity",
    "StorageError", "TooLate", "WireError",
]  # fmt: skip


Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `line` and `column` count from 1; `hint` repeats the end of the message that says what to write.

    `rule` is an error of a file that can be understood all the same: it breaks a rule, and nothing that it names is
    missing. `costs_bus_only` is an error that does not keep the rest of the site from running.
    """

    file: str
    line: int
    column: int
    severity: Severity
    message: str
    hint: str | None = None
    rule: bool = False
    costs_bus_only: bool = False

    @property
    def is_fatal(self) -> bool:
        """Whether the file cannot run for it."""
        return self.severity == "error" and not self.costs_bus_only

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.severity}: {self.message}"

    def as_dict(self) -> dict[str, Any]:
        names = ("file", "line", "column", "severity", "message", "hint")
        return {name: getattr(self, name) for name in names}

    @property
    def place(self) -> dict[str, Any]:
        """For an alarm: file, line, column and message."""
        return {"file": self.file, "line": self.line, "column": self.column, "message": self.message}


class BocageError(Exception):
    """Anything that this program raises on purpose."""


class ConfigError(BocageError):
    """The configuration is wrong. `problems` lists everything, ready to print; `first` is the first error, if it has
    a place in a file."""

    def __init__(self, problems: list[str], first: Problem | None = None) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.first = first


class WireError(BocageError):
    """The wire is lost: reopen it, with backoff."""


class DeviceError(BocageError):
    """One device failed. Its points turn bad; the others on the wire are not touched."""


class TooLate(DeviceError):
    """A write waited for its device until it was no longer wanted; the device never got it."""


class Refused(DeviceError):
    """The device answered with an exception code (Modbus: 1 function, 2 address, 3 value, 4 failure, 6 busy)."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Rejected(BocageError):
    """A write that is not allowed; the message is the reason that the sender gets."""

    point: str = ""
    """The point that was asked for, where no command was made of the message."""


class StorageError(BocageError):
    """Durable storage, of the outbox or of the state file, cannot be written or read."""


OutboxError = StorageError
"""The former name: a third party's driver may catch it."""


class Busy(BocageError):
    """Another agent holds the lock of the state folder."""
