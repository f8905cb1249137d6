"""A driver's own connection to an MQTT broker: opened again whenever it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiomqtt

from agent.clock import Clock
from agent.errors import ConfigError, WireError
from agent.lib.backoff import outage_delay
from agent.lib.mqtt import Client
from agent.lib.packet_limit import limit_packets
from agent.lib.resolver import in_thread
from agent.lib.tls import client_context, why_refused

__all__ = ["Address", "BrokerLink", "MqttMessage", "first_message"]

_KEEPALIVE = 30
_PATIENCE = 10.0  # s, for an answer of the broker's
_INBOX = 100
_REFUSED = 0x80
_PUBLISH, _QOS = 3, 6  # MQTT 3.1.1, 3.3.1
_UNREAD = 500  # messages at QoS 1 that wait to be looked at; brokers leave 10 to 32 unacknowledged
_TOPIC = 4096  # bytes, room beside it in a packet that is kept whole


@dataclass(frozen=True, slots=True)
class Address:
    """The broker's address and our credentials there, from the bus's options."""

    options: Mapping[str, Any]
    client_id: str
    largest: int
    """Bytes of a message that are kept, and one more: enough to see that it is too long."""
    keep: bool = True
    """Whether the broker keeps the session after the connection."""

    @property
    def name(self) -> str:
        return str(self.options["url"])

    def client(self) -> aiomqtt.Client:
        """A client for one connection; secrets and certificates are read anew. ConfigError or OSError if they fail.

        MQTT 3.1.1, which every broker supports. A session that is kept: what came while we were away is not lost.
        """
        options, parts = self.options, urlsplit(self.options["url"])
        tls = parts.scheme == "mqtts"
        client = Client(
            parts.hostname or "",
            parts.port or (8883 if tls else 1883),
            username=_reveal(options.get("username")),
            password=_reveal(options.get("password")),
            identifier=self.client_id,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=not self.keep,
            keepalive=_KEEPALIVE,
            timeout=_PATIENCE,
            tls_context=client_context(options.get("ca"), options.get("cert"), options.get("key")) if tls else None,
            queue_type=_Unread,
        )
        unread: Any = client._queue
        limit_packets(
            client._client, self.largest + 1, v5=False, longest=self.largest + 1 + _TOPIC, seen=unread.expect
        )  # fmt: skip
        client._client.manual_ack_set(True)  # the broker keeps a message until its readings are in safe hands
        client._client.disable_logger()
        return client


class _Unread(asyncio.Queue[aiomqtt.Message]):
    """A bounded queue of received messages: aiomqtt's own would grow while a codec is slow.

    At QoS 0 what is too much is lost, as such messages may be. At QoS 1 a broker waits for us; one that does not loses
    the link, and sends them again.
    """

    def expect(self, head: int) -> None:
        """A packet begins, with this byte."""
        if head >> 4 == _PUBLISH and head & _QOS and self.qsize() >= _UNREAD:
            raise ConnectionError(f"the broker sends more than {_UNREAD} messages that are not acknowledged")

    def put_nowait(self, item: aiomqtt.Message) -> None:
        if item.qos or self.qsize() < _INBOX:
            super().put_nowait(item)


class MqttMessage(NamedTuple):
    """A received message. `connection` counts connections from 1: one that is gone takes no acknowledgement."""

    topic: str
    body: bytes
    retain: bool
    mid: int
    qos: int
    connection: int


class BrokerLink:
    """`run` keeps the connection up for as long as it runs; what comes is in `inbox`.

    `peer` is what the log calls the other side: "network server".
    """

    def __init__(
        self, bus: str, address: Address, subscriptions: Sequence[str], clock: Clock, log: logging.Logger, peer: str
    ) -> None:
        self._bus, self._address, self._subscriptions, self._clock = bus, address, subscriptions, clock
        self._log, self._peer = log, peer
        self._client: aiomqtt.Client | None = None
        self.inbox: asyncio.Queue[MqttMessage] = asyncio.Queue(_INBOX)
        self.error = "not connected yet"
        self.connections = 0
        self.connected_at = 0.0
        """clock.monotonic of the last connection."""

    @property
    def is_up(self) -> bool:
        return self._client is not None

    async def run(self) -> None:
        """Connect, listen, connect again: after a delay that grows with the outage from 1 s to 60 s."""
        lost_at = self._clock.monotonic()
        while True:
            try:
                async with self._connection() as client:
                    self.error = ""
                    async for message in client.messages:
                        await self.inbox.put(self._received(message))
                raise aiomqtt.MqttError("the connection was closed")
            except (aiomqtt.MqttError, OSError, ValueError, ConfigError) as error:
                if not self.error:
                    lost_at = self._clock.monotonic()
                delay = outage_delay(self._clock.monotonic() - lost_at) * random.uniform(0.5, 1.5)
                reason = _describe(error)
                if reason != self.error:
                    self._log.warning(
                        '%s lost bus=%s broker=%s reason="%s" next=tried again in %.1fs and on',
                        self._peer, self._bus, self._address.name, reason, delay,
                    )  # fmt: skip
                self.error = reason
                await asyncio.sleep(delay)

    async def publish(self, topic: str, body: bytes, what: str) -> None:
        """Returns when the broker has `what`, a "downlink" (QoS 1). WireError without a connection, or if it is lost
        meanwhile."""
        if self._client is None:
            raise WireError(f"no connection to {self._address.name}: {self.error}")
        try:
            await self._client.publish(topic, body, qos=1, timeout=_PATIENCE)
        except aiomqtt.MqttError as error:
            raise WireError(f"{self._address.name} does not take the {what}: {_describe(error)}") from error

    def acknowledge(self, message: MqttMessage) -> None:
        """Tell the broker that it may forget this one."""
        if message.qos and self._client is not None and message.connection == self.connections:
            self._client._client.ack(message.mid, message.qos)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiomqtt.Client]:
        client = self._address.client()
        await _reach(client)
        async with client:
            self.connections += 1
            self.connected_at = self._clock.monotonic()
            for topic in self._subscriptions:
                granted: Any = await client.subscribe(topic, qos=1)
                if int(getattr(granted[0], "value", granted[0])) >= _REFUSED:
                    raise aiomqtt.MqttError(f"the broker does not let us read {topic}")
            self._log.info("%s connected bus=%s broker=%s", self._peer, self._bus, self._address.name)
            self._client = client
            try:
                yield client
            finally:
                self._client = None
                if client._disconnected.done():
                    client._client._sock_close()  # aiomqtt leaves it open where reading from it failed

    def _received(self, message: aiomqtt.Message) -> MqttMessage:
        body = message.payload[: self._address.largest + 1] if isinstance(message.payload, bytes) else b""
        return MqttMessage(
            str(message.topic), body, bool(message.retain), message.mid, message.qos, self.connections
        )  # fmt: skip


async def _reach(client: aiomqtt.Client) -> None:
    """Look up the name and connect in threads of our own: aiomqtt shares its pool with the whole process."""
    connect, wanted = client._client_connect, True

    def work() -> None:
        connect()
        if not wanted:
            client._client._sock_close()

    try:
        await asyncio.wrap_future(in_thread(work, "broker-connect"))
    except asyncio.CancelledError:
        wanted = False
        client._client._sock_close()
        raise
    client._client_connect = lambda: None  # type: ignore[method-assign]


def _reveal(secret: Any) -> Any:
    return None if secret is None else secret.reveal()


def _describe(error: BaseException) -> str:
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        error = error.__cause__
    if isinstance(error, ssl.SSLCertVerificationError):
        return why_refused(error)
    return str(error) or type(error).__name__


async def first_message(
    options: Mapping[str, Any], subscription: str, largest: int, clock: Clock, log: logging.Logger, peer: str,
    seconds: float,
) -> tuple[str, MqttMessage | None]:  # fmt: skip
    """Listen for `bocage check --bus`, in a session of its own: what waits for the agent stays at the broker.

    Returns the broker's name and the first message, None if none came in time. WireError if the broker is not reached.
    """
    address = Address(options, f"bocage-check-{secrets.token_hex(4)}", largest, keep=False)
    link = BrokerLink("check", address, [subscription], clock, log, peer)
    running = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(seconds):
            return address.name, await link.inbox.get()
    except TimeoutError:
        if not link.is_up:
            raise WireError(f"{address.name}: {link.error}") from None
        return address.name, None
    finally:
        running.cancel()
        await asyncio.wait({running})
