"""Values in the types that JSON has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["jsonable"]


def _unchanged(value: Any) -> Any:
    return value


def jsonable(value: Any, replace: Callable[[Any], Any] = _unchanged) -> Any:
    """Return `value`, and all that it holds, in types of JSON.

    Keys become texts, sequences and sets lists, NaN and infinities None, and what JSON has no type for its text.
    `replace` is called first with each value, and returns its replacement.
    """
    value = replace(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(item, replace) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if isinstance(value, list | tuple):
        return [jsonable(item, replace) for item in value]
    return str(value)
