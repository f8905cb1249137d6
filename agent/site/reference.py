"""docs/configuration.md from the models: `python -m agent.site.reference > docs/configuration.md`."""

from __future__ import annotations

import os
import sys
import textwrap
import typing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import agent
from agent.site.language.secret import Secret, SecretUrl, Username
from agent.site.language.values import Quantity, Written, number
from agent.site.models.bus import BusModel
from agent.site.models.site import SERVICES, Site
from agent.site.schema import descriptions, whole_model
from drivers.registry import page

__all__ = ["reference"]

_DOCS = Path(agent.__file__ or "").parents[1] / "docs"

_HEAD = """\
# Configuration

<!-- Made from the models by: python -m agent.site.reference > docs/configuration.md -->

A site is one YAML 1.2 file. `bocage check site.yaml` says everything that is wrong with it, with
line and column; `bocage init site.yaml` writes one to start from; `bocage schema` prints a JSON
schema for editors. `config/` holds whole examples.

- **Quantities carry their unit**: `10s`, `15min`, `1500 L/h`, `30 %`, `1.8 kW`. Decimals stand
  after a point.
- **`on` and `off` are words** (YAML 1.2); `true` and `false` are for questions that have yes and
  no. Times of day are in quotes: `"22:30"`.
- **References**: `device.point`, a pin (`gpio.17`, BCM numbers), or the name of a signal or an
  actuator. Devices, signals and actuators share one space of names.
- **Secrets** are never in the file: `{file: NAME}` (beside the site file, if not absolute),
  `{credential: NAME}` (systemd's `LoadCredential`) or `{env: NAME}`. They are read when they are
  used. For `check` a file that cannot be read is a warning; only the unit knows its credentials and
  environment.
- **Profiles** say what the points of a device are: see [profiles](profiles.md).
- Unknown and duplicate keys are errors. Anchors, aliases and `<<` work. A key that was renamed is
  understood for one more minor version, with a warning that names the new key and the version in
  which the old one goes.

Keys in **bold** must be there.
"""


def reference() -> str:
    """The whole page, in Markdown."""
    return _HEAD + "".join(_section(whole_model(), "The file", 2, set()))


def _section(model: type[BaseModel], title: str, level: int, seen: set[type[BaseModel]]) -> Iterator[str]:
    seen.add(model)
    first = (model.__doc__ or "").split("\n")[0] if "__doc__" in vars(model) else ""
    text = textwrap.fill(f"{first} {_page(model)}".strip(), 100, break_on_hyphens=False)
    yield f"\n{'#' * level} {title}\n\n{text}\n\n" if text else f"\n{'#' * level} {title}\n\n"
    yield "| key | what | default |\n|---|---|---|\n"
    inner: list[tuple[type[BaseModel], str]] = []
    for name, field in model.model_fields.items():
        key = field.alias or name
        models = [part for part in _parts(field.annotation, field.metadata) if _is_model(part)]
        words = _words(field)
        about = descriptions(model).get(name, "")
        what = " ".join(part for part in (about, f"*{words}*" if words else "") if part)
        bold = f"**`{key}`**" if field.is_required() else f"`{key}`"
        yield f"| {bold} | {what.replace('|', '&#124;')} | {_default(field)} |\n"
        many = _is_section(field)
        path = ("" if issubclass(model, Site) else f"{title}.") + key + (".NAME" if many else "")
        inner += [(part, f"{path} ({_type(part)})" if _type(part) else path) for part in models]
    for part, name in inner:
        if part not in seen:
            yield from _section(part, name, min(level + 1, 4), seen)


def _parts(annotation: Any, metadata: Any = ()) -> Iterator[Any]:
    """Every type and every `Written` within an annotation."""
    yield from (item for item in metadata if isinstance(item, Written))
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *extra = typing.get_args(annotation)
        yield from (item for item in extra if isinstance(item, Written))
        yield from _parts(inner)
    elif typing.get_origin(annotation) is not None:
        for part in typing.get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation


def _is_model(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)


def _is_section(field: FieldInfo) -> bool:
    return typing.get_origin(field.annotation) is dict


def _type(model: type[BaseModel]) -> str:
    """For one of several models under one key: its type; else ""."""
    kind = model.model_fields.get("type")
    values = typing.get_args(kind.annotation) if kind is not None and kind.is_required() else ()
    return str(values[0]) if values else ""


def _page(model: type[BaseModel]) -> str:
    """A link to the page of a type of bus or of a service, as it is from docs/."""
    found = page(_type(model)) if issubclass(model, BusModel) else ""
    for one in SERVICES:
        if one.model is model:
            found = str(Path(import_module(one.folder).__file__ or "").parent / one.page)
    if "://" not in found and found:
        found = os.path.relpath(found, _DOCS)
    return f"[More]({found})." if found else ""


_PLAIN = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _words(field: FieldInfo) -> str:
    parts = list(_parts(field.annotation, field.metadata))
    if Username in parts:
        return "text, or where it is kept"
    if SecretUrl in parts:
        return "an address that begins with https://, or where it is kept"
    if Secret in parts:
        return "where the secret is kept"
    if typing.get_origin(field.annotation) is dict:
        keys = typing.get_args(field.annotation)[0]
        own = [item.words for item in _parts(keys) if isinstance(item, Written) and not item.words.startswith("a name")]
        values = [item.words for item in _parts(typing.get_args(field.annotation)[1]) if isinstance(item, Written)]
        return f"keys: {own[0]}; values: {values[0]}" if own else "by name"
    found = [part.words for part in parts if isinstance(part, Written)]
    if found:
        many = typing.get_origin(field.annotation) is tuple
        return ("a list of: " if many and "number" not in found[0] else "") + found[0]
    if typing.get_origin(field.annotation) is typing.Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(field.annotation))
    if any(_is_model(part) for part in parts):
        return "a list" if typing.get_origin(field.annotation) is tuple else "its own keys, below"
    kinds = [part for part in parts if part in _PLAIN]
    limits = [f"{word} {number(getattr(item, name))}" for item in field.metadata
              for name, word in (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below"))
              if getattr(item, name, None) is not None]  # fmt: skip
    return " ".join([_PLAIN[kinds[0]], *limits]) if kinds else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.default
    if value is None or value is PydanticUndefined or isinstance(value, BaseModel | tuple) or value == "":
        return ""
    quantities = [item for item in _parts(field.annotation, field.metadata) if isinstance(item, Quantity)]
    if quantities:
        return f"`{quantities[0].format(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{number(value) if isinstance(value, int | float) else value}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
