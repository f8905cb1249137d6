"""The published JSON schemas (docs/schemas), to hold what comes against them."""

from __future__ import annotations

import importlib
import importlib.resources
import json
import zlib
from collections.abc import Mapping
from typing import Any

from agent.errors import BocageError

__all__ = ["KINDS", "Misfit", "Shelf"]

KINDS = ("telemetry", "event", "result")
"""What carries numbers of its store; other topics are no records."""
_LONGEST = 64 * 2**20
"""Bytes that a body may have once it is unpacked."""


class Misfit(BocageError):
    """A message that is not what its schema says."""


class Shelf:
    """`parse(kind, payload)` unpacks and checks one message. BocageError if jsonschema is not installed."""

    def __init__(self) -> None:
        try:
            jsonschema = importlib.import_module("jsonschema")
        except ImportError as error:
            raise BocageError(f"jsonschema is not installed: pip install 'bocage[collect]' ({error})") from error
        self._validators = {kind: jsonschema.Draft202012Validator(schema(kind)) for kind in KINDS}

    def parse(self, kind: str, payload: bytes) -> Mapping[str, Any]:
        """The body of a message. Misfit says where it is not what the schema wants."""
        body = _unpack(payload)
        error = next(iter(self._validators[kind].iter_errors(body)), None)
        if error is not None:
            where = "/".join(str(step) for step in error.absolute_path) or "the whole body"
            raise Misfit(f"{where}: {str(error.message)[:200]}")
        return body  # type: ignore[no-any-return]


def schema(kind: str) -> Mapping[str, Any]:
    """The schema of a topic."""
    text = importlib.resources.files("agent.collect").joinpath("schemas", f"{kind}.json").read_text("utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def _unpack(payload: bytes) -> Any:
    """JSON, or JSON in zlib (RFC 1950: its first byte is 0x78)."""
    try:
        if payload[:1] == b"\x78":
            unpacker = zlib.decompressobj()
            payload = unpacker.decompress(payload, _LONGEST)
            if not unpacker.eof:
                raise Misfit(f"not a whole zlib body of at most {_LONGEST} bytes")
        return json.loads(payload)
    except (zlib.error, ValueError, RecursionError) as error:
        raise Misfit(f"not JSON: {error}") from None
