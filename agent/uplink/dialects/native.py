"""The native dialect: `{prefix}/{site}/…`, JSON bodies (docs/mqtt.md). The outbox's messages are sent as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agent.errors import Rejected
from agent.lib.jsonable import jsonable
from agent.model import Command, Instant, Outcome
from agent.outbox import Message, MessageKind, Statement
from agent.outbox.identity import parse_statement
from agent.outbox.records import answer_body
from agent.uplink.dialect import Publication, Subscription, is_id
from agent.uplink.dialects.native_commands import parse

__all__ = ["Native", "encode"]

_TOPICS = {MessageKind.READINGS: "telemetry", MessageKind.EVENT: "event"}
_words = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class Native:
    """The dialect of one site."""

    accepts_zlib = True

    def __init__(self, prefix: str, site: str) -> None:
        self._root = f"{prefix}/{site}"
        self.commands = Subscription(f"{self._root}/cmd/+", "cmd/+")
        self.claims = Subscription(f"{self._root}/state/store", "state/store")

    def message(self, message: Message) -> Publication:
        content_type = "application/json+zlib" if message.zlib else ""
        return Publication(f"{self._root}/{self.name(message)}", message.body, content_type=content_type)

    def name(self, message: Message) -> str:
        return _TOPICS.get(message.kind) or f"cmd/{message.command}/result"

    def channel(self, kind: MessageKind) -> str:
        return _TOPICS.get(kind, "cmd")

    def status(self, state: str, connected_at: int | None, about: Mapping[str, Any]) -> Publication:
        body = encode({"state": state, "connected_at": connected_at, **about})
        return Publication(f"{self._root}/status", body, retain=True)

    def health(self, payload: Mapping[str, Any]) -> Publication:
        return Publication(f"{self._root}/health", encode(payload))

    def state(self, name: str, values: Mapping[str, Any]) -> Publication:
        return Publication(f"{self._root}/state/{name}", encode(values), retain=True)

    def claim(self, statement: Statement) -> Publication:
        return Publication(self.claims.topic, encode(statement.body()), retain=True)

    def claimed(self, payload: bytes) -> Statement:
        return parse_statement(payload)

    def answer(self, outcome: Outcome, reply_to: str, correlation: bytes) -> Publication:
        return Publication(reply_to, answer_body(outcome), correlation=correlation)

    def command_id(self, topic: str) -> str:
        return topic.removeprefix(f"{self._root}/cmd/")

    def command(self, name: str, payload: bytes, received: Instant) -> Command:
        if not is_id(name):
            raise Rejected("the topic's last part is not an id: 1 to 64 letters, digits, _ and -")
        return parse(name, payload, received)


def encode(payload: Mapping[str, Any]) -> bytes:
    """JSON without spaces, UTF-8. NaN and infinities, which JSON has not, become null."""
    try:
        return _words(payload).encode()
    except ValueError:
        return _words(jsonable(payload)).encode()
