"""Settings of the uplink: the broker, our credentials, and times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

__all__ = ["BrokerAddress", "ReadableSecret", "UplinkSettings"]


class ReadableSecret(Protocol):
    """Something that is read when it is used, so that it may change without a restart; its repr never shows it."""

    def reveal(self) -> str:
        """The text. ConfigError if it is not there (the attempt fails, is reported, and tried again)."""


class BrokerAddress(NamedTuple):
    """Address of a broker."""

    host: str
    port: int
    tls: bool


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
    username: str | ReadableSecret | None = None
    password: str | ReadableSecret | None = field(default=None, repr=False)
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
    max_message: int = 16_000
    """Bytes of a message's body at the most (a longer reading or event is sent alone)."""
    fallback: tuple[BrokerAddress, ...] = ()
    """Brokers that are asked when this one does not answer, with the same credentials."""
    compress: bool | None = None
    """Whether history goes compressed; None: with MQTT 5, which can say so."""

    @property
    def broker(self) -> str:
        """The broker for people: never with a user or a password."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"

    def is_meant(self, reference: str) -> bool:
        """Whether a Server Reference (MQTT 5, 4.11) names this broker: one or more of host, host:port."""
        for one in reference.split():
            host, colon, port = one.rpartition(":")
            if not colon or not port.isdigit():
                host, port = one, ""
            if host.strip("[]").lower() == self.host.lower() and port in ("", str(self.port)):
                return True
        return False
