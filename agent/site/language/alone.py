"""A value that stands alone where keys are expected: `switch_on: civil_dusk` is `switch_on: {event: civil_dusk}`."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, TypeAdapter, ValidationError

from agent.site.language.base import Model, fields_of
from agent.site.language.spellings import time_meant, words_meant
from agent.site.language.values import plain

__all__ = ["Pair", "model_called", "models", "written_for"]


class Pair(NamedTuple):
    """A key and its value as a file has them."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}: {self.value}"


def model_called(name: str) -> type[BaseModel] | None:
    """The model of the configuration that pydantic calls so."""
    return models().get(name)


def models() -> dict[str, type[BaseModel]]:
    """All models of the configuration by name. Of two of one name it is the one that is made from the other."""
    found: dict[str, type[BaseModel]] = {}
    waiting: list[type[BaseModel]] = [Model]
    for one in waiting:
        found[one.__name__] = one
        waiting += one.__subclasses__()
    return found


def written_for(model: type[BaseModel], value: Any, text: str | None = None) -> Pair | None:
    """The first key of a model that takes `value`, which stands alone, or the one that was meant by it.

    `text` is its spelling in the file.
    """
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    if isinstance(value, str) and plain(value) != f'"{value}"':
        return None  # it may contain a password, and a proposal is shown
    time = time_meant(text or str(value))
    spelt = text or str(value)
    for key, field in fields_of(model).items():
        kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        takes: TypeAdapter[Any] = TypeAdapter(kind)
        for one in filter(None, (value, time, *words_meant(spelt))):
            try:
                takes.validate_python(one, strict=True)
            except (ValidationError, TypeError):
                continue
            shown = (f'"{time}"' if one == time else str(one)) if one is not value or one == time else spelt
            return Pair(key, shown)
    return None
