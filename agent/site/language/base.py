"""Base of all models of the site file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Strict, ValidationInfo, model_validator
from pydantic.fields import FieldInfo

from agent.lib.suggestion import nearest, suggested
from agent.site.language.values import Written, plain

__all__ = ["Many", "Model", "Name", "Reference", "Renamed", "Retired", "Section", "Timezone", "fields_of"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

T = TypeVar("T")


class Retired(NamedTuple):
    """A key that has another name now. It is understood, with a warning, until the version in which it goes: the one
    after the next minor version."""

    now: str
    goes_in: str


class Renamed(NamedTuple):
    """A retired key that a file still uses, in this mapping."""

    mapping: dict[str, Any]
    key: str
    retired: Retired


def fields_of(model: type[BaseModel] | None) -> dict[str, FieldInfo]:
    """The keys that a mapping of the file may have, with what is known of each; none where no model is known."""
    return {} if model is None else {field.alias or name: field for name, field in model.model_fields.items()}


class Model(BaseModel):
    """Strict, frozen, and no unknown keys, but for those that are `retired`.

    A validation context with `models` gets each mapping's model there, by the mapping's id: from it the messages
    about unknown keys know which ones there are. In one with `renamed`, retired keys get their new names, in place,
    and are noted there.
    """

    # old names of keys, which files may still use (no docstring: those describe the keys of the file)
    retired: ClassVar[Mapping[str, Retired]] = {}
    # keys of other mappings that are written here by mistake, and what to do instead
    misplaced: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _remember(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(info.context, dict) and isinstance(data, dict):
            info.context["models"][id(data)] = cls
            for key, retired in cls.retired.items():
                if key in data and retired.now not in data and "renamed" in info.context:
                    data[retired.now] = data.pop(key)
                    info.context["renamed"].append(Renamed(data, key, retired))
        return data


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"{plain(value)} is not a name; use letters without accents, digits, - and _, at most 64")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{plain(value)} is not a name")
    return value


def _timezone(value: Any) -> str:
    import zoneinfo

    if not isinstance(value, str):
        raise ValueError(f"{plain(value)} is not a timezone; write one such as Europe/Paris")
    try:
        zoneinfo.ZoneInfo(value)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        is_offset = re.match(r"(UTC|GMT)?\s*[-+]\s*[0-9]", value)
        near = None if is_offset else nearest(value, zoneinfo.available_timezones(), similarity=0.8)
        hint = suggested(near) if near else "write one such as Europe/Paris"
        raise ValueError(f"unknown timezone {plain(value)}; {hint}") from None
    return value


Name = Annotated[
    str,
    Written(_name, {"type": "string", "pattern": f"^{_NAME.pattern}$"}, "a name: letters, digits, - and _"),
]
"""A name, as used in topics and references."""
Reference = Annotated[str, Written(_text, {"type": "string"}, "the name of a point, signal, actuator or device")]
"""`device.point`, `bus.pin`, or the name of a signal, an actuator or a device; what it may be is checked apart."""
Timezone = Annotated[
    str, Written(_timezone, {"type": "string"}, "a timezone of the IANA database, such as Europe/Paris")
]

Many = Annotated[tuple[T, ...], Strict(False)]
"""A list."""
Section = Annotated[dict[Name, T], BeforeValidator(lambda value: {} if value is None else value)]
"""Things by their names; an empty section is one without things."""
