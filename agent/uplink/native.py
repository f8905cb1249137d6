"""The native dialect: `{prefix}/{site}/…`, JSON bodies (docs/mqtt.md). The outbox's messages are sent as they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

__all__ = ["Topics", "compressed", "encode"]


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one site; `root` is `{prefix}/{site}`."""

    root: str

    @property
    def status(self) -> str:
        return f"{self.root}/status"

    @property
    def health(self) -> str:
        return f"{self.root}/health"

    @property
    def commands(self) -> str:
        """What to subscribe to."""
        return f"{self.root}/cmd/+"

    def of(self, suffix: str) -> str:
        return f"{self.root}/{suffix}"

    def state(self, name: str) -> str:
        return f"{self.root}/state/{name}"

    def command_id(self, topic: str) -> str:
        """The last part of a command's topic, as it came: nobody has looked at it yet."""
        return topic.removeprefix(f"{self.root}/cmd/")


def encode(payload: Mapping[str, Any]) -> bytes:
    """JSON without spaces, UTF-8. ValueError for NaN and infinities, which JSON has not."""
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def compressed() -> Properties:
    """What an MQTT 5 publish says of a body in zlib (RFC 1950)."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = "application/json+zlib"
    return properties
