"""The format for editors, and what the models' docstrings say of each key.

The docstrings are read from the sources here and only here: pydantic would do it at every start.
"""

from __future__ import annotations

import ast
import inspect
import logging
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.json_schema import CoreModeRef, CoreRef, DefsRef, GenerateJsonSchema

from agent.site.language.alone import models
from agent.site.models.site import Site, site_model
from drivers.registry import foreign

__all__ = ["descriptions", "json_schema", "whole_model"]

_OURS = ("agent", "drivers")

log = logging.getLogger("bocage.site")


def json_schema() -> dict[str, Any]:
    """A JSON schema (2020-12) of the site file: keys, types and words; references are checked by `bocage check`."""
    model = whole_model()
    schema = model.model_json_schema(by_alias=True, mode="validation", schema_generator=_Schema)
    for name, one in models().items():
        _describe(schema["$defs"].get(_short(name, one.__module__), {}), one)
    _describe(schema, model)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "A site of Bocage"}


def _short(name: str, module: str) -> str:
    """The name of a model in the schema: `Circuit` for our CircuitConfig. Models of other distributions keep theirs."""
    return name.removesuffix("Config") if module.partition(".")[0] in _OURS else name


def whole_model() -> type[Site]:
    """The model of a file that may have every bus whose driver can be used on this machine."""
    model = site_model(foreign())
    for name, why in model.bus_types.faults.items():
        log.error('driver cannot be used type=%s reason="%s" next=its keys are left out', name, why)
    return model


class _Schema(GenerateJsonSchema):
    """Sections may be empty: `signals:` with no value is valid. Our models have their short names.

    A mapping whose keys have a form has no others: so opening hours are by day or by a calendar, never both.
    """

    def get_defs_ref(self, core_mode_ref: CoreModeRef) -> DefsRef:
        """`core_mode_ref` begins with a model's module, its name and its id: `agent.site.models.x.YConfig:123`."""
        reference, mode = core_mode_ref
        name, colon, rest = reference.partition(":")
        return super().get_defs_ref((CoreRef(_short(name, name) + colon + rest), mode))

    def model_schema(self, schema: Any) -> dict[str, Any]:
        found, model = super().model_schema(schema), schema["cls"]
        if found.get("title") == model.__name__:
            found = {**found, "title": _short(model.__name__, model.__module__)}
        return found

    def dict_schema(self, schema: Any) -> dict[str, Any]:
        found = super().dict_schema(schema)
        only = {"additionalProperties": False} if "patternProperties" in found else {}
        return {**found, **only, "type": ["object", "null"]}

    def default_schema(self, schema: Any) -> dict[str, Any]:
        """Without it: defaults are the models' own (seconds), and an editor would write them as they are."""
        return self.generate_inner(schema["schema"])


def _describe(definition: dict[str, Any], model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        text, key = descriptions(model).get(name), field.alias or name
        found = definition.get("properties", {}).get(key)
        if found is not None and text:
            expected = found.pop("description", "")
            found["description"] = f"{text} ({expected})" if expected else text


def _about(annotation: Any) -> str:
    """The `about` of a model, or of that of the entries of a section."""
    model = get_args(annotation)[1] if get_origin(annotation) is dict else annotation
    return getattr(model, "about", "")


@cache
def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The docstring under each field of a model and of those that it is made from."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not issubclass(base, BaseModel) or not vars(base).get("__annotations__") or base is BaseModel:
            continue
        try:
            source = inspect.getsource(base)
        except OSError:  # made at run time, of models that say what they are about, or are described themselves
            told = {name: _about(field.annotation) for name, field in base.model_fields.items()}
            found |= {name: about for name, about in told.items() if about and name not in found}
            continue
        (body,) = ast.parse(inspect.cleandoc("\n" + source)).body
        assert isinstance(body, ast.ClassDef)
        for statement, following in zip(body.body, body.body[1:], strict=False):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
                continue
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                found[statement.target.id] = " ".join(str(following.value.value).split())
    return found
