"""The broker's side of the collector: a persistent session whose messages are acknowledged after they are on disk."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.collect.schemas import KINDS, Misfit, Shelf
from agent.collect.store import Store
from agent.errors import BocageError

__all__ = ["Broker", "Collector", "Tally"]

log = logging.getLogger("bocage.collect")

_TOGETHER = 500
"""Messages in one transaction, at most; also what the broker may send ahead of our acknowledgements."""
_EXPIRY = 7 * 24 * 3600
"""Seconds that an MQTT 5 broker keeps messages for a collector that is away."""
_LOOK = 0.2
"""Seconds between two looks at whether it is time to end."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to collect from. The password never shows in the repr."""

    host: str
    port: int
    tls: bool = False
    protocol: int | str = 5
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    client_id: str = "bocage-collect"


@dataclass(slots=True)
class Tally:
    """What came since the start."""

    messages: int = 0
    readings: int = 0
    refused: int = 0
    connected: bool = False
    error: str = ""
    sites: set[str] = field(default_factory=set)


class Collector:
    """Takes everything under `prefix` into `store` until it is stopped."""

    def __init__(self, broker: Broker, prefix: str, store: Store) -> None:
        self.tally = Tally()
        self._broker, self._prefix, self._store = broker, prefix.strip("/"), store
        self._shelf = Shelf()
        self._came: queue.SimpleQueue[tuple[int, mqtt.MQTTMessage]] = queue.SimpleQueue()
        self._connection = 0
        self._stop = threading.Event()
        self._client = self._make_client()

    def run(self, shown: Callable[[Tally], None], seconds: float | None = None) -> None:
        """Collect until `stop`, or for so many seconds; `shown` is called a few times a second.

        BocageError if the first connection fails for good (who we are, what we may read). The file's own failures
        (sqlite3.Error) end it too: nothing is acknowledged that is not on disk, so nothing is lost.
        """
        end = None if seconds is None else time.monotonic() + seconds
        self._connect()
        self._client.loop_start()
        try:
            while not self._stop.is_set() and (end is None or time.monotonic() < end):
                self._take_some()
                if self.tally.error and not self.tally.connected and self._connection == 0:
                    raise BocageError(f"{self._broker.host}:{self._broker.port}: {self.tally.error}")
                shown(self.tally)
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def stop(self) -> None:
        """End soon; safe in a signal handler."""
        self._stop.set()

    # -- taking --------------------------------------------------------------------------------------------------

    def _take_some(self) -> None:
        """One transaction with what has come, and its acknowledgements. Returns after a moment if nothing comes."""
        try:
            taken = [self._came.get(timeout=_LOOK)]
        except queue.Empty:
            return
        while len(taken) < _TOGETHER and not self._came.empty():
            taken.append(self._came.get())
        for _, message in taken:
            self._take(message)
        self._store.commit()
        for connection, message in taken:
            if connection == self._connection:  # those of a connection that is gone come again
                self._client.ack(message.mid, message.qos)

    def _take(self, message: mqtt.MQTTMessage) -> None:
        site, _, kind = message.topic.removeprefix(f"{self._prefix}/").partition("/")
        kind = "result" if kind.endswith("/result") else kind
        payload = bytes(message.payload)
        if kind not in KINDS or not payload:
            return
        self.tally.messages += 1
        try:
            body = self._shelf.parse(kind, payload)
            self._store.take(kind, site, body)
        except Misfit as reason:
            self.tally.refused += 1
            self._store.refuse(message.topic, str(reason), payload)
            log.warning('message refused topic=%s reason="%s" next=kept in table refused', message.topic, reason)
            return
        self.tally.sites.add(site)
        if kind == "telemetry":
            self.tally.readings += sum(map(len, body["p"].values()))

    # -- the session ---------------------------------------------------------------------------------------------

    def _make_client(self) -> mqtt.Client:
        broker, five = self._broker, self._broker.protocol == 5
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            broker.client_id,
            clean_session=None if five else False,
            protocol=mqtt.MQTTv5 if five else mqtt.MQTTv311,
            manual_ack=True,
        )
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        if broker.tls:
            ca, cert, key = (str(path) if path else None for path in (broker.ca, broker.cert, broker.key))
            client.tls_set(ca, cert, key)
        client.reconnect_delay_set(1, 60)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_message, client.on_subscribe = self._on_message, self._on_subscribe
        return client

    def _connect(self) -> None:
        how: dict[str, Any] = {}
        if self._broker.protocol == 5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = _EXPIRY
            properties.ReceiveMaximum = _TOGETHER
            how = {"clean_start": False, "properties": properties}
        try:
            self._client.connect(self._broker.host, self._broker.port, keepalive=30, **how)
        except (OSError, ValueError) as error:
            raise BocageError(f"{self._broker.host}:{self._broker.port}: {error}") from error

    def _on_connect(self, client: mqtt.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self.tally.error = f"the broker refuses the connection: {reason}"
            return
        self._connection += 1
        self.tally.connected, self.tally.error = True, ""
        log.info("collecting prefix=%s resumed=%s", self._prefix, flags.session_present)
        client.subscribe([(f"{self._prefix}/+/{topic}", 1) for topic in ("telemetry", "event", "cmd/+/result")])

    def _on_subscribe(self, client: mqtt.Client, data: Any, mid: int, reasons: Any, properties: Any) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self.tally.error = f"the broker refuses the subscription to {self._prefix}/+/…: {refused[0]}"
            log.error('cannot subscribe prefix=%s reason="%s" next=its ACL must allow it', self._prefix, refused[0])

    def _on_disconnect(self, client: mqtt.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.tally.connected = False
        if not self._stop.is_set() and reason.is_failure:
            log.warning('link lost reason="%s" next=tried again', reason)

    def _on_message(self, client: mqtt.Client, data: Any, message: mqtt.MQTTMessage) -> None:
        self._came.put((self._connection, message))
