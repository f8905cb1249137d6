"""The topics and payloads that a backend expects on MQTT. One module of `agent.uplink.dialects` each; `native` is ours.

A dialect only translates: it keeps no state, does no I/O, and knows nothing of connections. All else of the uplink
(session, window, refusals, floods of commands, restored cards) is the same for each of them and knows no topic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from agent.model import Command, Instant, Outcome
from agent.outbox import Message, MessageKind, Statement

__all__ = ["Dialect", "Publication", "Subscription", "is_id"]

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


def is_id(text: str) -> bool:
    """Whether this can be a command's id: 1 to 64 letters, digits, `_` and `-`."""
    return _ID.match(text) is not None


class Publication(NamedTuple):
    """One publish. `retain` asks the broker to keep it; the last three are properties of MQTT 5: "", b"" and 0 for
    none. The broker forgets it after `life` (s)."""

    topic: str
    body: bytes
    retain: bool = False
    content_type: str = ""
    correlation: bytes = b""
    life: float = 0.0


class Subscription(NamedTuple):
    """A topic filter, and its short name in alarms and the log."""

    topic: str
    name: str


class Dialect(Protocol):
    """The translations of one site.

    Messages of the outbox come with the body in which they are stored: docs/schemas/telemetry.json (in zlib where
    `Message.zlib`; `agent.outbox.blocks.decode` reads both), event.json, result.json. Their keys must survive the
    translation, or the backend cannot tell a repetition.
    """

    @property
    def commands(self) -> Subscription:
        """Where commands come in."""

    @property
    def claims(self) -> Subscription | None:
        """Where the broker retains which numbers went out last. None: a restored card is not found."""

    @property
    def accepts_zlib(self) -> bool:
        """Whether stored history may stay compressed (RFC 1950)."""

    def message(self, message: Message) -> Publication:
        """Readings, an event or a result, at QoS 1."""

    def name(self, message: Message) -> str:
        """Short name of a message's topic, for alarms and the log."""

    def channel(self, kind: MessageKind) -> str:
        """Short name of all topics of a kind: a broker that refuses one of them refuses all."""

    def status(self, state: str, connected_at: int | None, about: Mapping[str, Any]) -> Publication:
        """`state` is "online" or "offline" (also as the last will), `connected_at` Unix ms, `about` the agent."""

    def health(self, payload: Mapping[str, Any]) -> Publication:
        """The health report of once a minute."""

    def state(self, name: str, values: Mapping[str, Any]) -> Publication:
        """The last values of a device or a service, at QoS 0."""

    def claim(self, statement: Statement) -> Publication:
        """The payload that is retained on `claims`."""

    def claimed(self, payload: bytes) -> Statement:
        """The statement of a payload on `claims`; an empty statement if it is not one."""

    def answer(self, outcome: Outcome, reply_to: str, correlation: bytes) -> Publication:
        """The outcome, for a requester that named a topic for it (MQTT 5)."""

    def command_id(self, topic: str) -> str:
        """The id of a command by its topic, unchecked."""

    def command(self, name: str, payload: bytes, received: Instant) -> Command:
        """Parse the command of that id. Rejected, with a reason for a person, if it is not one.

        `by` is the name that the sender gave, "" for none: the uplink then says "mqtt". It also sets `origin`.
        """
