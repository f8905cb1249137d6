"""Secrets: where they are kept, never what they are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from agent.config.values import plain
from agent.errors import ConfigError

__all__ = ["Secret", "Username"]

_SOURCES = ("file", "credential", "env")
_HOW = "write {file: NAME}, {credential: NAME} or {env: NAME}"


@dataclass(frozen=True, slots=True)
class Secret:
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
        if self.source == "env":
            if self.name not in os.environ:
                raise ConfigError([f"the environment variable {self.name} is not set"])
            return os.environ[self.name]
        folder = self.folder
        if self.source == "credential":
            if "CREDENTIALS_DIRECTORY" not in os.environ:
                raise ConfigError([f"the credential {self.name} is not there: systemd gave none (LoadCredential=)"])
            folder = Path(os.environ["CREDENTIALS_DIRECTORY"])
        try:
            return (folder / self.name).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError([f"the secret {self} cannot be read: {error}"]) from error

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(cls._validate)

    @classmethod
    def _validate(cls, value: Any, info: core_schema.ValidationInfo) -> Secret:
        folder = info.context["folder"] if info.context else Path()
        if isinstance(value, dict):
            return _secret(value, folder)
        raise _wrong(f"{'nothing stands here' if value is None else 'a secret in the file'}; {_HOW}")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return {
            "type": "object",
            "description": "Where the secret is kept: {file: …}, {credential: …} or {env: …}.",
            "properties": {source: {"type": "string"} for source in _SOURCES},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        }


class Username(Secret):
    """A name that may stand in the file as it is, or be kept like a secret."""

    __slots__ = ()

    @classmethod
    def _validate(cls, value: Any, info: core_schema.ValidationInfo) -> Secret:
        if isinstance(value, str) and value:
            return Secret("text", value)
        if isinstance(value, int | float):
            raise _wrong(f"{plain(value)} is not text here; write it in quotes")
        return super()._validate(value, info)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, Secret.__get_pydantic_json_schema__(schema, handler)]}


def _wrong(text: str) -> PydanticCustomError:
    return PydanticCustomError("written", "{text}", {"text": text})


def _secret(value: dict[str, Any], folder: Path) -> Secret:
    if len(value) != 1 or next(iter(value)) not in _SOURCES:
        raise _wrong(f"found {', '.join(value) or 'nothing'} where a secret is kept; {_HOW}")
    ((source, name),) = value.items()
    if not isinstance(name, str) or not name:
        raise _wrong(f"{source}: {plain(name)} is not a name; {_HOW}")
    return Secret(cast(Literal["file", "credential", "env"], source), name, folder)
