"""Secrets: where they are kept, never what they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.errors import ConfigError

__all__ = ["Kept", "hand_over"]

_handed: dict[tuple[str, str], str] = {}
"""What is newer than what systemd gave at the start of the unit, by source and name; never on flash."""


def hand_over(credentials: Mapping[str, str], environment: Mapping[str, str]) -> None:
    """Use these from now on, in place of what systemd gave at the start."""
    _handed.update({("credential", name): text for name, text in credentials.items()})
    _handed.update({("env", name): text for name, text in environment.items()})


@dataclass(frozen=True, slots=True)
class Kept:
    """A password or a key, kept in a file, in a systemd credential (LoadCredential) or in the environment.

    It is read when it is used, so that it may change and need not exist at `check`. `str` and `repr` never show it.
    """

    source: Literal["file", "credential", "env", "text"]
    name: str
    folder: Path = Path()
    """Where a file's name that is not absolute starts: the site file's folder."""

    def __str__(self) -> str:
        return f"{{{self.source}: {self.name}}}"

    def reveal(self) -> str:
        """The secret, without the newline at its end. ConfigError if it is not there."""
        if self.source == "text":
            return self.name
        if (handed := _handed.get((self.source, self.name))) is not None:
            return handed.rstrip("\r\n") if self.source == "credential" else handed
        if self.source == "env":
            if self.name not in os.environ:
                raise ConfigError([f"the environment variable {self.name} is not set"])
            return os.environ[self.name]
        folder = self.folder
        if self.source == "credential":
            if "CREDENTIALS_DIRECTORY" not in os.environ:
                raise ConfigError([f"the credential {self.name} is not there: systemd gave none (LoadCredential=)"])
            folder = Path(os.environ["CREDENTIALS_DIRECTORY"])
        path = folder / self.name
        try:
            return path.read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise ConfigError([f"the secret {self} cannot be read: {path}: {error.strerror}"]) from error
        except UnicodeDecodeError as error:
            raise ConfigError([f"the secret {self} cannot be read: {path} is not UTF-8"]) from error
