"""Secrets: where they are kept, never what they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.errors import ConfigError
from agent.lib.files import read_regular

__all__ = ["Kept", "hand_over", "is_withdrawn"]

_handed: dict[tuple[str, str], str] = {}
"""Secrets that are newer than those systemd gave at the start of the unit, by source and name; never on flash."""
_withdrawn: set[str] = set()
"""Credentials that were there before, and were not among those that were handed over last."""
_LARGEST = 65_536
"""Bytes of the file of a secret."""
_last: dict[Kept, str] = {}
"""The secrets that were read last: a lost or half-written file does not end a link that has one."""


def hand_over(credentials: Mapping[str, str] | None, environment: Mapping[str, str]) -> None:
    """Use these from now on, in place of what systemd gave at the start. None: no credentials were looked for."""
    if credentials is not None:
        known = {name for source, name in _handed if source == "credential"} | _given()
        _withdrawn.clear()
        _withdrawn.update(known - credentials.keys())
        _handed.update({("credential", name): text for name, text in credentials.items()})
    _handed.update({("env", name): text for name, text in environment.items()})


def is_withdrawn(secret: Kept) -> bool:
    """Whether it was there, and was not among the credentials that were handed over last."""
    return secret.source == "credential" and secret.name in _withdrawn


def _given() -> set[str]:
    """The names of the credentials that systemd gave at the start."""
    try:
        return {path.name for path in Path(os.environ["CREDENTIALS_DIRECTORY"]).iterdir()}
    except (KeyError, OSError):
        return set()


@dataclass(frozen=True, slots=True)
class Kept:
    """A password or a key, kept in a file, in a systemd credential (LoadCredential) or in the environment.

    It is read when it is used, so that it may change, and may come after the site file was checked. `str` and `repr`
    never show it.
    """

    source: Literal["file", "credential", "env", "text"]
    name: str
    folder: Path = Path()
    """Where a file's name that is not absolute starts: the site file's folder."""

    def __str__(self) -> str:
        return f"{{{self.source}: {self.name}}}"

    @property
    def is_of_unit(self) -> bool:
        """Whether only the systemd unit has it: another process cannot tell whether it is there."""
        return self.source == "env" or (self.source == "credential" and "CREDENTIALS_DIRECTORY" not in os.environ)

    def reveal(self) -> str:
        """Return the secret: its present value, else the value that was read last. ConfigError if there is neither."""
        try:
            _last[self] = self.read()
        except ConfigError:
            if self not in _last:
                raise
        return _last[self]

    def read(self) -> str:
        """Return the present value, without byte order mark and newline at its end. ConfigError if it is missing or
        empty.
        """
        text = self._text()
        if not text and self.source != "env":
            raise ConfigError([f"the secret {self} is empty"])
        return text

    def _text(self) -> str:
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
            content = read_regular(path, _LARGEST + 1)
            text = content.decode("utf-8-sig")
        except OSError as error:
            raise ConfigError([f"the secret {self} cannot be read: {path}: {error.strerror}"]) from error
        except UnicodeDecodeError as error:
            raise ConfigError([f"the secret {self} cannot be read: {path} is not UTF-8"]) from error
        if len(content) > _LARGEST:
            raise ConfigError([f"the secret {self} cannot be read: {path} is longer than {_LARGEST} bytes"])
        return text.replace("\r\n", "\n").rstrip("\r\n")
