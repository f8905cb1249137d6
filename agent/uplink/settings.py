"""What the uplink is told: the broker, who we are there, and its times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

__all__ = ["Secret", "UplinkSettings"]


class Secret(Protocol):
    """Something that is read when it is used, so that it may change without a restart; its repr never shows it."""

    def reveal(self) -> str:
        """The text. ConfigError if it is not there (the attempt fails, is reported, and tried again)."""


@dataclass(frozen=True, slots=True)
class UplinkSettings:
    """One broker. All times are in seconds; a password never shows in the repr.

    `keepalive` (5 or more on real links): a dead link is noticed within one and a half of it. `min_interval` spaces
    messages out on metered links. `session_expiry` is how long an MQTT 5 broker keeps commands for us while we are
    away; on 3.1.1 the session is clean. `client_id` must be unique on the broker.
    """

    host: str
    port: int = 1883
    tls: bool = False
    prefix: str = "bocage/v1"
    protocol: Literal[5, "3.1.1"] = 5
    username: str | Secret | None = None
    password: str | Secret | None = field(default=None, repr=False)
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    keepalive: float = 30.0
    min_interval: float = 0.0
    state_interval: float = 60.0
    session_expiry: float = 3600.0
    client_id: str = ""
    allow: tuple[str, ...] | None = None
    """Names and patterns of the points that commands may name; None: all."""
    compress: bool | None = None
    """Whether history goes compressed; None: with MQTT 5, which can say so."""

    @property
    def broker(self) -> str:
        """The broker for people: never with a user or a password."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"
