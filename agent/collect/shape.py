"""JSON schemas as functions: the part of Draft 2020-12 that docs/schemas use, so that no other package is needed.

`check = compiled(schema)`; `check(body)` is None, or where the first fault is and what it is. A keyword that is not
known here is a ValueError when it is compiled, never passed over. The tests hold it against `jsonschema`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Check", "Fault", "compiled"]

Fault = tuple[tuple[str | int, ...], str]
"""The way to what is wrong, and what is wrong with it."""
Check = Callable[[Any], Fault | None]

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: type(value) is int or (type(value) is float and value.is_integer()),
    "number": lambda value: type(value) in (int, float),
}
_ABOUT = {"$schema", "$defs", "title", "description", "format", "then", "else", "prefixItems", "properties"}
"""Says nothing, or is seen to by another keyword."""


def compiled(schema: Any, root: Mapping[str, Any] | None = None) -> Check:
    """The function that a schema is. ValueError for a keyword that is not known here."""
    if schema is True:
        return lambda _value: None
    if schema is False:
        return lambda value: ((), f"{_shown(value)} must not stand here")
    root = schema if root is None else root
    found = dict(schema)
    for key, beside in (("items", "prefixItems"), ("additionalProperties", "properties")):
        if beside in found:
            found.setdefault(key, True)
    checks = [_KEYWORDS[key](argument, found, root) for key, argument in found.items() if key not in _ABOUT]
    if len(checks) == 1:
        return checks[0]

    def all_of_them(value: Any) -> Fault | None:
        for check in checks:
            fault = check(value)
            if fault is not None:
                return fault
        return None

    return all_of_them


def _shown(value: Any) -> str:
    text = json.dumps(value)[:80]
    return text if len(text) < 80 else text[:77] + "..."


def _when(applies: type | tuple[type, ...], right: Callable[[Any], bool], words: Callable[[Any], str]) -> Check:
    def check(value: Any) -> Fault | None:
        if isinstance(value, applies) and not isinstance(value, bool) and not right(value):
            return (), words(value)
        return None

    return check


def _type(names: Any, _schema: Any, _root: Any) -> Check:
    names = [names] if isinstance(names, str) else names
    kinds = [_TYPES[name] for name in names]
    wanted = " or ".join(f"'{name}'" for name in names)
    return lambda value: (
        None if any(is_kind(value) for is_kind in kinds) else ((), f"{_shown(value)} is not of type {wanted}")
    )


def _enum(choices: Any, _schema: Any, _root: Any) -> Check:
    texts = {one for one in choices if isinstance(one, str)}
    if len(texts) == len(choices):
        right: Callable[[Any], bool] = lambda value: isinstance(value, str) and value in texts  # noqa: E731
    else:
        right = lambda value: any(_same(value, one) for one in choices)  # noqa: E731
    words = ", ".join(map(_shown, choices))
    return lambda value: None if right(value) else ((), f"{_shown(value)} is not one of {words}")


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _bound(applies: Any, right: Callable[[Any, Any], bool], words: str) -> Callable[[Any, Any, Any], Check]:
    def make(limit: Any, _schema: Any, _root: Any) -> Check:
        return _when(applies, lambda value: right(value, limit), lambda value: f"{_shown(value)} {words} {limit}")

    return make


def _pattern(pattern: str, _schema: Any, _root: Any) -> Check:
    search = re.compile(pattern).search
    return _when(str, lambda text: bool(search(text)), lambda text: f"{_shown(text)} does not match {pattern}")


def _required(names: Any, _schema: Any, _root: Any) -> Check:
    def check(value: Any) -> Fault | None:
        if isinstance(value, dict):
            for name in names:
                if name not in value:
                    return (), f"'{name}' is missing"
        return None

    return check


def _properties(others: Any, schema: Any, root: Any) -> Check:
    """`properties` and `additionalProperties`, in one look at each key."""
    named = {name: compiled(one, root) for name, one in schema.get("properties", {}).items()}
    other = None if others is True else others if others is False else compiled(others, root)

    def check(value: Any) -> Fault | None:
        if not isinstance(value, dict):
            return None
        for name, item in value.items():
            look = named.get(name, other)
            if look is None:
                continue
            if look is False:
                return (), f"{_shown(name)} was not expected"
            fault = look(item)
            if fault is not None:
                return (name, *fault[0]), fault[1]
        return None

    return check


def _names(schema: Any, _around: Any, root: Any) -> Check:
    look = compiled(schema, root)

    def check(value: Any) -> Fault | None:
        names = value if isinstance(value, dict) else ()
        return next((((), f"a name: {fault[1]}") for name in names if (fault := look(name)) is not None), None)

    return check


def _items(others: Any, schema: Any, root: Any) -> Check:
    """`prefixItems` and `items`."""
    heads = [compiled(one, root) for one in schema.get("prefixItems", ())]
    other = None if others is True else compiled(others, root)

    def check(value: Any) -> Fault | None:
        if not isinstance(value, list):
            return None
        for index, (look, item) in enumerate(zip(heads, value, strict=False)):
            fault = look(item)
            if fault is not None:
                return (index, *fault[0]), fault[1]
        if other is not None:
            for index in range(len(heads), len(value)):
                fault = other(value[index])
                if fault is not None:
                    return (index, *fault[0]), fault[1]
        return None

    return check


def _all(schemas: Any, _schema: Any, root: Any) -> Check:
    checks = [compiled(one, root) for one in schemas]
    return lambda value: next((fault for check in checks if (fault := check(value)) is not None), None)


def _some(right: Callable[[int], bool]) -> Callable[[Any, Any, Any], Check]:
    def make(schemas: Any, _schema: Any, root: Any) -> Check:
        checks = [compiled(one, root) for one in schemas]

        def check(value: Any) -> Fault | None:
            faults = [found(value) for found in checks]
            return None if right(faults.count(None)) else (faults[0] or ((), f"{_shown(value)} is of two kinds"))

        return check

    return make


def _if(condition: Any, schema: Any, root: Any) -> Check:
    test, then, other = (compiled(one, root) for one in (condition, schema.get("then", True), schema.get("else", True)))
    return lambda value: then(value) if test(value) is None else other(value)


def _ref(way: str, _schema: Any, root: Any) -> Check:
    found: Any = root
    for step in way.removeprefix("#/").split("/"):
        found = found[step]
    return compiled(found, root)


_KEYWORDS: Mapping[str, Callable[[Any, Any, Any], Check]] = {
    "type": _type,
    "enum": _enum,
    "const": lambda one, schema, root: _enum([one], schema, root),
    "minimum": _bound((int, float), lambda value, limit: bool(value >= limit), "is less than"),
    "maximum": _bound((int, float), lambda value, limit: bool(value <= limit), "is more than"),
    "minLength": _bound(str, lambda value, limit: len(value) >= limit, "is shorter than"),
    "maxLength": _bound(str, lambda value, limit: len(value) <= limit, "is longer than"),
    "minItems": _bound(list, lambda value, limit: len(value) >= limit, "has fewer items than"),
    "maxItems": _bound(list, lambda value, limit: len(value) <= limit, "has more items than"),
    "minProperties": _bound(dict, lambda value, limit: len(value) >= limit, "has fewer keys than"),
    "maxProperties": _bound(dict, lambda value, limit: len(value) <= limit, "has more keys than"),
    "pattern": _pattern,
    "required": _required,
    "additionalProperties": _properties,
    "propertyNames": _names,
    "items": _items,
    "allOf": _all,
    "anyOf": _some(lambda fitting: fitting >= 1),
    "oneOf": _some(lambda fitting: fitting == 1),
    "if": _if,
    "$ref": _ref,
}
