"""The keys of the site file that say where a secret is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from agent.lib.secret import Kept
from agent.site.language.values import plain

__all__ = ["Secret", "SecretUrl", "Username"]

_SOURCES = ("file", "credential", "env")
_HOW = "write {file: NAME}, {credential: NAME} or {env: NAME}"


class Secret(Kept):
    """The key of a secret in the site file; what is read from it is a `Kept`."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(cls._validate)

    @classmethod
    def _validate(cls, value: Any, info: core_schema.ValidationInfo) -> Kept:
        folder = info.context["folder"] if info.context else Path()
        if isinstance(value, dict):
            return _secret(value, folder)
        raise _wrong(f"{'there is no value' if value is None else 'a secret in the file'}; {_HOW}")

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
    """A name that may be in the file as it is, or be kept like a secret."""

    __slots__ = ()

    @classmethod
    def _validate(cls, value: Any, info: core_schema.ValidationInfo) -> Kept:
        if isinstance(value, str) and value:
            return Kept("text", value)
        if isinstance(value, int | float):
            raise _wrong(f"{plain(value)} is not text here; write it in quotes")
        return super()._validate(value, info)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, Secret.__get_pydantic_json_schema__(schema, handler)]}


class SecretUrl(Secret):
    """An address of the web that may be in the file as it is, or be kept like a secret: it often is one."""

    __slots__ = ()

    @classmethod
    def _validate(cls, value: Any, info: core_schema.ValidationInfo) -> Kept:
        if not isinstance(value, str):
            return super()._validate(value, info)
        try:
            parts = urlsplit(value)
        except ValueError:
            parts = urlsplit("")
        if "@" in parts.netloc:
            raise _wrong(f"a secret in the file; {_HOW}")
        if parts.scheme in ("http", "webcal", "webcals") and parts.hostname:
            raise _wrong(f"{plain(value)} is not fetched without TLS; write https:{value.partition(':')[2]}")
        if parts.scheme != "https" or not parts.hostname:
            raise _wrong(f"{plain(value)} is not an address; write https://HOST/NAME.ics, or {_HOW.partition(' ')[2]}")
        return Kept("text", value)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        secret = Secret.__get_pydantic_json_schema__(schema, handler)
        return {"anyOf": [{"type": "string", "pattern": "^https://"}, secret]}


def _wrong(text: str) -> PydanticCustomError:
    return PydanticCustomError("written", "{text}", {"text": text})


def _secret(value: dict[str, Any], folder: Path) -> Kept:
    if len(value) != 1 or next(iter(value)) not in _SOURCES:
        found = [key if key in _SOURCES else "another key" for key in value]  # perhaps the secret itself
        raise _wrong(f"found {', '.join(found) or 'nothing'} where a secret is kept; {_HOW}")
    ((source, name),) = value.items()
    if not isinstance(name, str) or not name:
        raise _wrong(f"{source}: {plain(name)} is not a name; {_HOW}")
    return Kept(cast(Literal["file", "credential", "env"], source), name, folder)
