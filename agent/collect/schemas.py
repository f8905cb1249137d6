"""The published JSON schemas (docs/schemas), to hold what comes against them."""

from __future__ import annotations

import importlib.resources
import json
import zlib
from collections.abc import Mapping
from typing import Any, Never

from agent.collect.shape import compiled
from agent.errors import BocageError

__all__ = ["KINDS", "MOST_BYTES", "MOST_ENTRIES", "InvalidMessage", "Shelf", "schema"]

KINDS = ("telemetry", "event", "result")
"""The topics that carry numbers of a store; other topics are no records."""
MOST_BYTES = 256 * 1024
"""Bytes that a body may have once it is unpacked; agents keep below (agent/outbox/blocks.py)."""
MOST_ENTRIES = 5_000
"""Readings that a message may have."""


class InvalidMessage(BocageError):
    """A message that is not what its schema says, or that cannot be kept."""


class Shelf:
    """`parse(kind, payload)` unpacks and checks one message."""

    def __init__(self) -> None:
        self._checks = {kind: compiled(schema(kind)) for kind in KINDS}

    def parse(self, kind: str, payload: bytes) -> Mapping[str, Any]:
        """The body of a message. InvalidMessage says where it is not what the schema wants."""
        body = _unpack(payload)
        try:
            fault = self._checks[kind](body)
        except RecursionError:
            raise InvalidMessage("nested too deeply") from None
        if fault is not None:
            where = "/".join(map(str, fault[0])) or "the whole body"
            raise InvalidMessage(f"{where[:200]}: {fault[1][:200]}")
        if kind == "telemetry" and (entries := sum(map(len, body["p"].values()))) > MOST_ENTRIES:
            raise InvalidMessage(f"p: {entries} entries; a message has at most {MOST_ENTRIES}")
        return body  # type: ignore[no-any-return]


def schema(kind: str) -> Mapping[str, Any]:
    """The schema of a topic."""
    text = importlib.resources.files("agent.collect").joinpath("schemas", f"{kind}.json").read_text("utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def _unpack(payload: bytes) -> Any:
    """JSON, or JSON in zlib (RFC 1950: its first byte is 0x78). It is never unpacked further than it may be long."""
    try:
        if payload[:1] == b"\x78":
            unpacker = zlib.decompressobj()
            payload = unpacker.decompress(payload, MOST_BYTES + 1)
            if len(payload) <= MOST_BYTES and not unpacker.eof:
                raise InvalidMessage("not JSON: the zlib body ends too early")
            if unpacker.unused_data:
                raise InvalidMessage(f"not JSON: {len(unpacker.unused_data)} bytes behind the end of the zlib body")
        if len(payload) > MOST_BYTES:
            raise InvalidMessage(f"longer than {MOST_BYTES // 1024} kB unpacked")
        body = json.loads(payload.decode("utf-8"), parse_constant=_no_constant, parse_float=_float,
                          object_pairs_hook=_once)  # fmt: skip
        if b"\\u" in payload:
            json.dumps(body, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
        return body
    except (zlib.error, ValueError, RecursionError) as error:
        raise InvalidMessage(f"not JSON: {str(error)[:200]}") from None


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is no number")


def _float(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"{text[:40]} is beyond all bounds")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. Of a key that is there twice, each reader takes another one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidMessage(f"the key {json.dumps(twice)[:80]} is there twice")
    return found
