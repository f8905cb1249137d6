"""A second dialect, as small as can be: text lines on topics of its own, and no claims. Tests drive it end to end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agent.errors import Rejected
from agent.model import Command, Instant, Outcome
from agent.outbox import Message, MessageKind, Statement
from agent.outbox.blocks import decode
from agent.uplink.dialect import Publication, Subscription


class Lines:
    """`STORE NUMBER POINT VALUE` a reading, `do ID` a command with the payload `POINT VALUE`."""

    accepts_zlib = False
    claims = None

    def __init__(self, site: str) -> None:
        self._site = site
        self.commands = Subscription(f"do/{site}/+", "do")

    def message(self, message: Message) -> Publication:
        if message.kind is MessageKind.READINGS:
            lines = [f"{row.store} {row.seq} {row.point} {row.value}" for row in decode(message.body)]
        else:
            record = json.loads(message.body)
            what = record["state"] if message.kind is MessageKind.RESULT else record["code"]
            lines = [f"{record['k'][0]} {record['k'][1]} {message.command or record['subject']} {what}"]
        return Publication(f"lines/{self._site}/{message.kind}", "\n".join(lines).encode())

    def name(self, message: Message) -> str:
        return message.kind.value

    def channel(self, kind: MessageKind) -> str:
        return kind.value

    def status(self, state: str, connected_at: int | None, about: Mapping[str, Any]) -> Publication:
        return Publication(f"lines/{self._site}/is", state.encode(), retain=True)

    def health(self, payload: Mapping[str, Any]) -> Publication:
        return Publication(f"lines/{self._site}/health", str(len(payload)).encode())

    def state(self, name: str, values: Mapping[str, Any]) -> Publication:
        return Publication(f"lines/{self._site}/now/{name}", repr(sorted(values)).encode())

    def claim(self, statement: Statement) -> Publication:
        raise NotImplementedError("it has no claims")

    def claimed(self, payload: bytes) -> Statement:
        raise NotImplementedError("it has no claims")

    def answer(self, outcome: Outcome, reply_to: str, correlation: bytes) -> Publication:
        return Publication(reply_to, outcome.state.value.encode(), correlation=correlation)

    def command_id(self, topic: str) -> str:
        return topic.removeprefix(f"do/{self._site}/")

    def command(self, name: str, payload: bytes, received: Instant) -> Command:
        point, _, value = payload.decode("utf-8", "replace").partition(" ")
        if value not in ("on", "off"):
            raise Rejected("neither on nor off")
        return Command(name, point, value == "on", received)
