"""The broker's side of the collector: a persistent session whose messages are acknowledged after they are on disk."""

from __future__ import annotations

import contextlib
import logging
import queue
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.collect.erase import expire
from agent.collect.refusal_log import RefusalLog
from agent.collect.schemas import KINDS, MOST_BYTES, InvalidMessage, Shelf
from agent.collect.store import CollectStore, is_locked, site_and_kind
from agent.errors import BocageError
from agent.lib.packet_limit import limit_packets
from agent.lib.tls import client_context, why_refused

__all__ = ["BrokerSettings", "CollectStats", "Collector"]

log = logging.getLogger("bocage.collect")

_TOGETHER = 500
"""Messages in one transaction, at most; also what the broker may send ahead of our acknowledgements."""
_WHOLE = MOST_BYTES + 131_072
"""Bytes of a packet that is kept whole: the longest body, its topic and properties. Of a longer one the rest is
skipped."""
_LONGEST_PACKET = 1_114_112
"""Bytes, told to an MQTT 5 broker: what is too long by little still arrives and is put on record."""
_READINGS, _LONGEST = 20_000, 1.0
"""Readings in one transaction, and seconds that it lasts, at most and one message."""
_EXPIRY = 7 * 24 * 3600
"""Seconds that an MQTT 5 broker keeps messages for a collector that is away."""
_LOOK = 0.2
"""Seconds between two looks at whether it is time to end."""
_ANSWER = 30.0
"""Seconds that a broker may take for its first answer, and for that to SUBSCRIBE."""
_ANSWER_5 = 8.0
"""The same where 3.1.1 is left to try: some brokers (amqtt) say nothing at all to MQTT 5 with properties."""
_SILENT = "the broker does not answer"
_GOODBYE = 2.0
"""Seconds for the last acknowledgements to leave."""
_EVERY = 24 * 3600.0
"""Seconds between two looks for what is older than it may be."""
_AGAIN = 60.0
"""The same where another program had the file locked."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Where to collect from. The password never shows in the repr."""

    host: str
    port: int
    tls: bool = False
    protocol: str | None = None
    """5 or 3.1.1; None: 5, and 3.1.1 with a broker that does not know it."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    client_id: str = "bocage-collect"


@dataclass(slots=True)
class CollectStats:
    """Counts of received messages since the start."""

    messages: int = 0
    readings: int = 0
    refused: int = 0
    connected: bool = False
    subscribed: bool = False
    """Whether a broker has ever let us read anything: until then there is no session."""
    error: str = ""
    sites: set[str] = field(default_factory=set)


class Collector:
    """Takes everything under `prefix` into `store` until it is stopped. What is older than `keep` seconds is erased."""

    def __init__(self, broker: BrokerSettings, prefix: str, store: CollectStore, keep: float | None = None) -> None:
        self.stats = CollectStats()
        self._broker, self._prefix, self._store, self._keep = broker, prefix.strip("/"), store, keep
        self._shelf = Shelf()
        self._came: queue.Queue[tuple[int, mqtt.MQTTMessage]] = queue.Queue(_TOGETHER)
        self._connection = 0
        self._settled, self._ended = threading.Event(), threading.Event()
        self._too_new = self._refused = False
        self._answer_by = float("inf")
        """When the SUBACK of this connection is late (monotonic s)."""
        self._stop = threading.Event()
        self._expiry: Iterator[int] = iter(())
        self._expire_at = time.monotonic()
        self._refusals = RefusalLog()
        self._end: float | None = None

    def run(self, shown: Callable[[CollectStats], None], seconds: float | None = None) -> None:
        """Collect until `stop`, or for so many seconds; `shown` is called a few times a second.

        BocageError if the first connection fails for good (credentials, rights, protocol version), or if there
        was no session until the end. The file's own failures (sqlite3.Error) end it too: nothing is acknowledged that
        is not on disk, so nothing is lost.
        """
        end = self._end = None if seconds is None else time.monotonic() + seconds
        client = self._begin(shown, end)
        try:
            while not self._over(end):
                self._take_some(client)
                self._date_some()
                self._expire_some()
                self._refusals.log_counts()
                if self._failed:
                    break
                shown(self.stats)
        finally:
            self._leave(client)
            self._refusals.log_counts(at_once=True)
        if not self.stats.subscribed:
            raise self._no_session(self.stats.error or _SILENT)

    @property
    def _failed(self) -> bool:
        """Whether the first connection came to nothing, and another would too."""
        if self.stats.subscribed:
            return False
        mute = self.stats.connected and time.monotonic() > self._answer_by
        return mute or (bool(self.stats.error) and (self._connection == 0 or self._refused))

    def _no_session(self, reason: object) -> BocageError:
        broker = self._broker
        return BocageError(f"{broker.host}:{broker.port}: {reason}; expected an MQTT broker that lets us read "
                           f"{self._prefix}/+/telemetry")  # fmt: skip

    def stop(self) -> None:
        """End soon; safe in a signal handler."""
        self._stop.set()

    def _over(self, end: float | None) -> bool:
        return self._stop.is_set() or (end is not None and time.monotonic() >= end)

    # -- taking --------------------------------------------------------------------------------------------------

    def _take_some(self, client: mqtt.Client) -> None:
        """One transaction with what has come, and its acknowledgements. Returns after a moment if nothing comes."""
        try:
            taken = [self._came.get(timeout=_LOOK)]
        except queue.Empty:
            return
        if not self._hold_file():
            return
        end, before = time.monotonic() + _LONGEST, self.stats.readings
        self._take(taken[0][1])
        while (
            len(taken) < _TOGETHER and self.stats.readings - before < _READINGS and time.monotonic() < end
            and not self._stop.is_set() and not self._came.empty()
        ):  # fmt: skip
            taken.append(self._came.get())
            self._take(taken[-1][1])
        self._store.commit()
        self._store.check_place()
        for connection, message in taken:
            if connection == self._connection:  # those of a connection that is gone come again
                client.ack(message.mid, message.qos)

    def _hold_file(self) -> bool:
        """Wait while another program writes to the file, however long; what is not acknowledged is not lost.

        False if it is time to end.
        """
        told = False
        while not self._over(self._end):
            try:
                self._store.begin()
                return True
            except sqlite3.OperationalError as error:
                if not is_locked(error):
                    raise
                if not told:
                    log.warning('file locked reason="%s" next=waited for; the broker keeps what comes', error)
                told = True
        return False

    def _take(self, message: mqtt.MQTTMessage) -> None:
        topic = message._topic.decode("utf-8", "replace")  # `topic` ends at what is no UTF-8, and it would come again
        site, kind = site_and_kind(topic)
        payload = bytes(message.payload)
        if kind not in KINDS or not payload:
            return
        self.stats.messages += 1
        try:
            body = self._shelf.parse(kind, payload)
            self._store.take(kind, site, body)
        except InvalidMessage as reason:
            self.stats.refused += 1
            self._store.refuse(topic, reason, payload)
            self._refusals.log(site, topic, reason)
            return
        self.stats.sites.add(site)
        if kind == "telemetry":
            self.stats.readings += sum(map(len, body["p"].values()))

    def _date_some(self) -> None:
        """A portion of what waits for a time that is known by now."""
        if self._store.to_date and self._hold_file():
            self._store.date_some()
            self._store.commit()

    def _expire_some(self) -> None:
        """A portion of what is older than it may be; a look at everything once a day."""
        if self._keep is None:
            return
        try:
            ended = next(self._expiry, None) is None
        except sqlite3.OperationalError as error:
            if not is_locked(error):
                raise
            self._expiry, self._expire_at = iter(()), time.monotonic() + _AGAIN
            return
        if ended and time.monotonic() >= self._expire_at:
            self._expire_at = time.monotonic() + _EVERY
            self._expiry = expire(self._store, round((time.time() - self._keep) * 1000))

    # -- the session ---------------------------------------------------------------------------------------------

    def _begin(self, shown: Callable[[CollectStats], None], end: float | None) -> mqtt.Client:
        """A client that is connected, by the protocol that the broker knows. BocageError if it refuses us."""
        broker = self._broker
        protocols = [broker.protocol] if broker.protocol else ["5", "3.1.1"]
        for protocol in protocols:
            self._settled.clear()
            self._ended.clear()
            self._too_new, self.stats.error = False, ""
            client = self._make_client(protocol)
            self._connect(client, protocol)
            last = protocol == protocols[-1]
            patience = time.monotonic() + (_ANSWER if last else _ANSWER_5)
            while not self._settled.wait(_LOOK) and not self._over(end):
                if time.monotonic() > patience:
                    self._unanswered(_SILENT)
                shown(self.stats)
            if self._over(end) or self._connection or not self._too_new:
                break
            if not last:
                log.warning('no MQTT 5 broker=%s reason="%s" next=3.1.1 is tried', broker.host, self.stats.error)
                self._leave(client)
        return client

    def _make_client(self, protocol: str) -> mqtt.Client:
        broker, five = self._broker, protocol == "5"
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
            client.tls_set_context(client_context(broker.ca, broker.cert, broker.key))
        client.reconnect_delay_set(1, 60)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_message, client.on_subscribe = self._on_message, self._on_subscribe

        def begin(*_: Any) -> None:
            """A connection begins: paho would hold all of a message that is too long, and MQTT allows 256 MB."""
            limit_packets(client, MOST_BYTES + 1, five, _WHOLE)

        client.on_socket_open = begin
        return client

    def _connect(self, client: mqtt.Client, protocol: str) -> None:
        """Connect in a thread of its own: a name server or a handshake may take longer than a goodbye may."""
        how: dict[str, Any] = {}
        if protocol == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = _EXPIRY
            properties.ReceiveMaximum = _TOGETHER
            properties.MaximumPacketSize = _LONGEST_PACKET
            how = {"clean_start": False, "properties": properties}
        failure: list[Exception] = []

        def connect() -> None:
            try:
                client.connect(self._broker.host, self._broker.port, keepalive=30, **how)
                client.loop_start()
            except (OSError, ValueError) as error:
                failure.append(error)

        attempt = threading.Thread(target=connect, daemon=True)
        attempt.start()
        while attempt.is_alive() and not self._stop.is_set():
            attempt.join(_LOOK)
        if failure and isinstance(failure[0], ssl.SSLCertVerificationError):
            raise BocageError(f"{self._broker.host}:{self._broker.port}: {why_refused(failure[0])}")
        if failure:
            raise self._no_session(getattr(failure[0], "strerror", None) or failure[0])

    def _leave(self, client: mqtt.Client) -> None:
        """Say goodbye, and wait a moment for it to leave; a link that is dead is not waited for."""
        if client.is_connected():
            client.disconnect()
            self._ended.wait(_GOODBYE)
        else:
            client.on_connect = client.on_disconnect = None
            client.disconnect()

    def _on_connect(self, client: mqtt.Client, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self.stats.error = f"the broker refuses the connection: {reason}"
            self._too_new = "protocol version" in str(reason).lower()
            self._settled.set()
            return
        self._connection += 1
        self._answer_by = time.monotonic() + _ANSWER
        self.stats.connected = True
        if self.stats.subscribed:  # else why the one before came to nothing is still all that is known
            self.stats.error = ""
        log.info("collecting prefix=%s resumed=%s", self._prefix, flags.session_present)
        client.subscribe([(f"{self._prefix}/+/{topic}", 1) for topic in ("telemetry", "event", "cmd/+/result")])
        self._settled.set()

    def _on_subscribe(self, _client: mqtt.Client, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        self._refused = len(refused) == len(reasons)
        self.stats.subscribed |= not self._refused
        self.stats.error = ""
        if refused:
            self.stats.error = f"the broker refuses the subscription to {self._prefix}/+/…: {refused[0]}"
            log.error('cannot subscribe prefix=%s reason="%s" next=its ACL must allow it', self._prefix, refused[0])

    def _on_disconnect(self, _client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self.stats.connected = False
        if not self._settled.is_set():
            self._unanswered("the broker ends the connection without an answer; does it know this --protocol?")
        self._ended.set()
        if self._connection and not self._stop.is_set() and reason.is_failure:
            self.stats.error = self.stats.error or f"the broker ended the connection: {reason}"
            log.warning('link lost reason="%s" next=tried again', reason)

    def _unanswered(self, words: str) -> None:
        """Perhaps it does not know this version of the protocol."""
        self.stats.error, self._too_new = words, True
        self._settled.set()

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        """Waits while much is to be done: a broker's flood at QoS 0 stays outside. What is not taken comes again."""
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._came.put((self._connection, message), timeout=_LOOK)
                return
