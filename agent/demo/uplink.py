"""The far side of the demo: a broker, the rural link in front of it, and a subscriber that counts.

The agent reaches the broker through `RuralLink`, which can be cut. The subscriber goes to the broker directly, and
counts what arrived by its key: the name of the store and the number that the outbox gave.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt

from agent.errors import BocageError

__all__ = ["Deliveries", "RuralLink", "broker", "subscriber"]

HOST = "127.0.0.1"


@asynccontextmanager
async def broker(port: int) -> AsyncIterator[None]:
    """An MQTT 3.1.1 broker in this process. BocageError if amqtt is not installed."""
    try:
        amqtt_broker = importlib.import_module("amqtt.broker")
        contexts = importlib.import_module("amqtt.contexts")
    except ImportError as error:
        raise BocageError(f"the demo's broker is not installed: pip install 'bocage[demo]' ({error})") from error
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = contexts.BrokerConfig(
        listeners={"default": contexts.ListenerConfig(bind=f"{HOST}:{port}")},
        plugins={"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    )
    server = _own_retained_only(amqtt_broker.Broker)(config)
    await server.start()
    try:
        yield
    finally:
        await server.shutdown()


def _own_retained_only(base: Any) -> Any:
    """amqtt 0.12 sends each new client the retained messages of all subscriptions; by MQTT, only of its own."""

    class Broker(base):  # type: ignore[misc]
        async def _publish_retained_messages_for_subscription(self, wanted: tuple[str, int], session: Any) -> None:
            if any(owner is session for owner, _ in self._subscriptions.get(wanted[0], ())):
                await super()._publish_retained_messages_for_subscription(wanted, session)

    return Broker


class RuralLink:
    """A TCP proxy from `port` to the broker. Cut, it drops what passes and refuses what comes."""

    def __init__(self, port: int, broker_port: int) -> None:
        self._port, self._broker_port = port, broker_port
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()

    @property
    def up(self) -> bool:
        return self._server is not None

    async def mend(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, HOST, self._port)

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass(reader, writer))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_writer = None
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._broker_port)
            ways = [asyncio.create_task(_copy(reader, far_writer)), asyncio.create_task(_copy(far_reader, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
        except OSError:
            pass  # the broker is gone: the near side sees a closed connection
        finally:
            for end in (writer, far_writer):
                if end is not None:
                    end.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


class Deliveries:
    """Count what arrived, by key: a key that comes again is a duplicate, one that never comes is a loss.

    With `site` only what that one sent. Numbers that the agent gave up carry a `gap` record: in a demo they count as
    lost.
    """

    def __init__(self, site: str | None = None) -> None:
        self._site = site
        self.keys: dict[str, set[int]] = {}
        self.duplicates = 0
        self.outcomes: dict[str, list[str]] = {}
        self.events: list[dict[str, Any]] = []
        """Events as they came."""
        self.came = asyncio.Event()

    @property
    def delivered(self) -> int:
        return sum(len(numbers) for numbers in self.keys.values())

    def given(self, store: str) -> int:
        """How many numbers a store gave out, as far as the highest that arrived: they follow one another."""
        return max(self.keys.get(store, set()), default=0)

    def take(self, topic: str, payload: bytes) -> None:
        """Count one message. Payloads are JSON, or the same compressed with zlib (RFC 1950, which begins with 0x78)."""
        kind = topic.split("/")[-1]
        if kind not in ("telemetry", "event", "result") or self._site not in (None, *topic.split("/")[2:3]):
            return
        message = json.loads(zlib.decompress(payload) if payload[:1] == b"\x78" else payload)
        store = message["k"][0]
        known = self.keys.setdefault(store, set())
        for number in _numbers(message) if kind == "telemetry" else [message["k"][1]]:
            self.duplicates += number in known
            known.add(number)
        self.came.set()
        if kind == "event":
            self.events.append(message)
        if kind == "result":
            self.outcomes.setdefault(message["id"], []).append(message["state"])


def _numbers(message: Mapping[str, Any]) -> Iterator[int]:
    """The number of every reading of a batch: `dseq` counts from the one before it of the same point."""
    for entries in message["p"].values():
        number = message["k"][1]
        for entry in entries:
            number += entry[2]
            yield number


@asynccontextmanager
async def subscriber(port: int, deliveries: Deliveries) -> AsyncIterator[aiomqtt.Client]:
    """Counts everything from now on, straight at the broker; the client is there to send commands with."""
    protocol = aiomqtt.ProtocolVersion.V311
    async with aiomqtt.Client(HOST, port, identifier="demo-subscriber", protocol=protocol) as client:
        await client.subscribe([(f"bocage/v1/+/{topic}", 1) for topic in ("telemetry", "event", "cmd/+/result")])

        async def count() -> None:
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                deliveries.take(str(message.topic), message.payload)

        counting = asyncio.create_task(count())
        try:
            yield client
        finally:
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)
