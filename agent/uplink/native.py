"""The native dialect: `{prefix}/{site}/…`, JSON bodies (docs/mqtt.md). The outbox's messages are sent as they are."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

__all__ = ["Topics", "compressed", "correlated", "encode"]

_words = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


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
    """JSON without spaces, UTF-8. NaN and infinities, which JSON has not, become null."""
    try:
        return _words(payload).encode()
    except ValueError:
        return _words(_finite(payload)).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def compressed() -> Properties:
    """What an MQTT 5 publish says of a body in zlib (RFC 1950)."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = "application/json+zlib"
    return properties


def correlated(data: bytes) -> Properties:
    """What an MQTT 5 answer gives back to the asker: his own Correlation Data."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if data:
        properties.CorrelationData = data
    return properties
