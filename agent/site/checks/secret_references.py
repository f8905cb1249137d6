"""Find the secrets, certificates and keys that a site file refers to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from agent.lib.secret import Kept
from agent.lib.secret_reference import Authorities, Chain, SecretReference
from agent.site.language.document import Document, Keys
from agent.site.models.site import Site

__all__ = ["secret_references"]

_KEYS = ("app_key", "nwk_s_key", "app_s_key")
"""The keys of the file that hold an AES-128 key."""


def secret_references(document: Document, site: Site) -> Iterator[SecretReference]:
    """All of them, each at its place in the file."""
    folder = site.path.parent
    for keys, what in _found(site, ()):
        if isinstance(what, Kept):
            if what.source != "text":
                yield _reference(document, keys, what)
            continue
        if what.ca is not None:
            yield _reference(document, (*keys, "ca"), Authorities(folder / what.ca))
        if what.cert is not None and what.key is not None:
            yield _reference(document, (*keys, "cert"), Chain(folder / what.cert, folder / what.key))


def _reference(document: Document, keys: Keys, what: Any) -> SecretReference:
    place = document.place(keys)
    return SecretReference(document.file, place.line, place.column, what, keys[-1] in _KEYS)


def _found(value: Any, keys: Keys) -> Iterator[tuple[Keys, Any]]:
    """Secrets, and models that have the keys `ca`, `cert` and `key`."""
    if isinstance(value, Kept):
        yield keys, value
    elif isinstance(value, BaseModel):
        if {"ca", "cert", "key"} <= type(value).model_fields.keys():
            yield keys, value
        for name in type(value).model_fields:
            yield from _found(getattr(value, name), (*keys, name))
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _found(part, (*keys, name))
