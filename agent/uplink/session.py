"""One MQTT connection that reports the broker's answer to each publish.

aiomqtt calls a publish done on any PUBACK, also on "not authorised" and "quota exceeded"; paho resends by itself
after a loss and ignores Receive Maximum. So a `Session` is used for one connection only, gives a future for each
publish, and lets no more than the broker's window be under way. It overrides private hooks of aiomqtt 2.5 (pinned).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.clock import Clock
from agent.errors import BocageError, WireError
from agent.lib.mqtt import Client
from agent.lib.packet_limit import limit_packets
from agent.lib.tls import client_context, why_refused
from agent.model import Instant
from agent.uplink.certificates import ends
from agent.uplink.dialect import Publication
from agent.uplink.reconnect import Why
from agent.uplink.settings import ReadableSecret, UplinkSettings

__all__ = ["LARGEST_COMMAND", "OVERHEAD", "TOO_LARGE", "WINDOW", "LinkLost", "ReceivedMessage", "Session"]

WINDOW = 20
"""Publishes under way at the most; fewer where the broker says so (Receive Maximum)."""
ATTEMPT = 30.0
"""Seconds for name lookup, TCP, TLS and CONNACK together."""
CONNECT = 15.0
"""Seconds for TCP, and for each read of the TLS handshake: a link with a round trip of 2 s and losses needs them."""
LARGEST_COMMAND = 65_536
"""Bytes of a command's payload; a longer one is refused."""
LARGEST_PACKET = 1_114_112
"""Bytes, told to an MQTT 5 broker: a command of 1 MB still arrives and gets its reason, a larger one never comes."""
LONG = 5
"""Ticks of a pause in which nothing can be due."""
INBOX = 100
"""Received messages that wait to be looked at. At QoS 1 a broker fills it that ignores our Receive
Maximum, as Mosquitto 2.0.11 was seen to do when it sends what it kept."""

SMALLEST_PACKET = 1_024
"""Bytes. A broker that takes no more (Maximum Packet Size) is of no use: our status alone is half as long."""
OVERHEAD = 200
"""Bytes of a PUBLISH packet of ours beside its body, at the most: topic, content type, lengths."""
_HEADER = 9
"""Bytes of a PUBLISH packet beside topic, properties and body: type, remaining length, topic's length, packet id."""
TOO_LARGE = 0x95
"""PUBACK and DISCONNECT: packet too large. Also what `publish` answers by itself, by the broker's limit."""

_SHOWN = 200  # characters of what a broker says, in a message; it may say 64 kB
_NO_LOG = logging.Logger("aiomqtt", logging.CRITICAL + 1)  # it tells of each answer to nothing, with a traceback
_BUSY = {0x89, 0x97, 0x9F}  # MQTT 5, 2.4: server busy, quota exceeded, connection rate exceeded
_ELSEWHERE = {0x9C, 0x9D}  # use another server, server moved
_OWN_DOING = {0x8B, 0x8D, 0x8E, 0x98, 0x9A, 0x9B} | _BUSY | _ELSEWHERE
"""DISCONNECT: shutting down, keep alive, session taken over, administrative action, no retain, no QoS: no message's
length is to blame."""
_PINGRESP = 0xD0
_CREDENTIALS = {0x86, 0x87, 0x8A, 0x8C}  # MQTT 5, 3.2.2.2; paho maps the codes 4 and 5 of 3.1.1 onto the first two
_TAKEN_OVER = 0x8E  # MQTT 5, 3.14.2.1
_ANSWERED, _NOTHING = ReasonCode(PacketTypes.PUBACK), Properties(PacketTypes.PUBACK)  # type: ignore[no-untyped-call]
_NO_WORD = 0x80  # what paho makes of a connection that was closed without a DISCONNECT


class LinkLost(WireError):
    """There is no link (any more), and why. What was under way is not accepted: it goes back to the outbox."""

    def __init__(
        self, reason: str, why: Why = Why.LOST, *, code: int = 0, cut: bool = False, reference: str = ""
    ) -> None:
        """`code`: CONNACK's or DISCONNECT's. `cut`: the broker ended a connection that worked. `reference`: the
        server it refers to (MQTT 5, 3.2.2.3.16)."""
        super().__init__(reason)
        self.why, self.code, self.cut, self.reference = why, code, cut, reference


class ReceivedMessage(NamedTuple):
    """A message that came in. `payload` is cut one byte after LARGEST_COMMAND.

    `reply_to` and `correlation` are MQTT 5's Response Topic and Correlation Data, empty where there are none.
    """

    topic: str
    payload: bytes
    retain: bool
    mid: int
    qos: int
    at: Instant
    """When it was here: from then on its validity counts, however long it waits to be looked at."""
    reply_to: str = ""
    correlation: bytes = b""
    again: bool = False
    """Whether it was delivered to this client id before and not acknowledged (DUP)."""


class Session(Client):
    """One connection: `open` once, `publish` and `subscribe`, `close` or `drop` once. Never opened again.

    `lost` is a future that ends (with LinkLost) when the link does. `free` is the window: acquire it before each
    `publish` (`deliver` does both); the end of the publish's future releases it, so that one is never cancelled.
    `retains` and `qos` are what the broker takes: 0 is a broker that has QoS 0 only (Maximum QoS); then a publish
    ends with the PINGRESP of a ping that was sent after it.
    """

    def __init__(
        self, settings: UplinkSettings, will: aiomqtt.Will, clock: Clock, window: int = WINDOW,
        *, retain: bool = True, qos: int = 1,
    ) -> None:  # fmt: skip
        self._clock = clock
        self.retains, self.qos = retain, qos
        self.can_retain: bool | None = None
        """Whether the broker takes retained messages; None: 3.1.1 cannot say."""
        self._v5 = settings.protocol == 5
        super().__init__(
            settings.host,
            settings.port,
            identifier=settings.client_id or None,
            protocol=aiomqtt.ProtocolVersion.V5 if self._v5 else aiomqtt.ProtocolVersion.V311,
            will=will,
            clean_session=None if self._v5 else True,
            clean_start=False if self._v5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
            keepalive=max(1, round(settings.keepalive)),
            properties=_connect_properties(round(settings.session_expiry)) if self._v5 else None,
            logger=_NO_LOG,
        )
        self._settings = settings
        self._attached = False
        self._is_watched = False
        """Whether the loop looks when the socket takes more."""
        self._abandoned = False
        self._acks: dict[int, tuple[asyncio.Future[int], float]] = {}
        self._sent: dict[int, tuple[str, asyncio.Future[int] | None]] = {}
        """Sent packets by id, in the order of sending, until the broker has answered to it or a later one."""
        self._unpinged: list[int] = []
        self._pings: deque[list[int]] = deque()
        """The publishes at QoS 0 that each ping under way is the barrier of."""
        self._ack_timeout = settings.keepalive * 1.5
        self.window, self._most = window, WINDOW
        self.free = asyncio.Semaphore(window)
        self.max_packet = 268_435_455
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self.lost.add_done_callback(lambda lost: lost.exception())  # retrieved: it may have no waiter
        self.received: asyncio.Queue[ReceivedMessage] = asyncio.Queue(INBOX)
        self._listeners: dict[str, Callable[[bytes], None]] = {}
        self.expects: Callable[[str], bool] = lambda _topic: True
        """Whether a topic is one of commands. A broker that keeps sessions keeps subscriptions of earlier settings."""
        self.overflow: Callable[[ReceivedMessage], None] = lambda _message: None
        """Takes a message that finds the inbox full, without its payload; it is to be acknowledged."""
        self._ticked = time.monotonic()
        self._set_up_paho()

    def _set_up_paho(self) -> None:
        """Take over what paho does by itself: its window, its acknowledgements, its answers to ours, its pings."""
        self._client.disable_logger()
        self._client.connect_timeout = CONNECT
        self._client.max_inflight_messages_set(0)  # the window is ours
        self._client.on_publish = None  # `_on_puback` settles
        self._client.manual_ack_set(True)
        self._packet_limit = limit_packets(self._client, LARGEST_COMMAND + 1, self._v5, seen=self._begins)
        self._handle_puback, self._send_pingreq = self._client._handle_pubackcomp, self._client._send_pingreq
        self._client._handle_pubackcomp = self._on_puback  # type: ignore[method-assign,assignment]
        self._client._send_pingreq = self._ping  # type: ignore[method-assign]

    # -- opening and closing -----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect. Raises LinkLost, whatever went wrong on the way: name, route, certificate, password, version."""
        try:
            async with asyncio.timeout(ATTEMPT):
                await self._in_thread(self._client_connect)
                self._attach()
                await asyncio.wait({self._connected, self.lost}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            self.drop(f"no answer within {ATTEMPT:.0f} s")
        except ConnectionRefusedError as error:
            self.drop(_describe(error), Why.ANSWERED)
        except (OSError, BocageError, ValueError) as error:  # ssl errors are OSErrors; ValueError: a bad host or key
            self.drop(_describe(error))
        except asyncio.CancelledError:
            self.drop("given up")
            raise
        if self.lost.done():
            self.lost.result()
        self._connected.result()

    async def close(self) -> None:
        """Say goodbye, so that the broker does not send the last will."""
        if not self.lost.done():
            self._client.disconnect()
        self.drop("closed")

    def drop(self, reason: str, why: Why = Why.LOST) -> None:
        """End the link now; every publish under way ends with LinkLost, in the order in which they were sent."""
        self._abandoned = True
        if self._attached:
            self._client._sock_close()
        if not self.lost.done():
            self.lost.set_exception(LinkLost(reason, why))
        acks, self._acks = self._acks, {}
        for ack, _ in acks.values():
            if not ack.done():
                ack.set_exception(LinkLost(reason))

    async def _in_thread(self, work: Callable[[], None]) -> None:
        """A name lookup may hang for minutes: in a daemon thread it holds up neither the loop nor the end."""
        done: asyncio.Future[None] = self._loop.create_future()

        def end(error: BaseException | None) -> None:
            if self._abandoned or done.done():  # done: the waiter was cancelled
                self._client._sock_close()
            elif error is not None:
                done.set_exception(error)
            else:
                done.set_result(None)

        def thread() -> None:
            error: BaseException | None = None
            try:
                work()
            except (OSError, BocageError, ValueError) as failed:
                error = failed
            if self._abandoned:
                self._client._sock_close()
                return
            try:
                self._loop.call_soon_threadsafe(end, error)
            except RuntimeError:  # the loop is closed: the program ends
                self._client._sock_close()

        threading.Thread(target=thread, name="uplink-connect", daemon=True).start()
        await done

    def _attach(self) -> None:
        """Back on the loop: watch the socket, and send the CONNECT that waits."""
        sock = self._client.socket()
        if not isinstance(sock, socket.socket):
            raise ConnectionError("the connection was closed at once")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._attached = True
        self._disconnected.add_done_callback(self._ended)
        super()._on_socket_open(self._client, None, sock)
        self._client.loop_write()

    def _set_tls_params(self) -> None:
        """Called in the connecting thread: secrets and certificates are read anew for each attempt."""
        settings = self._settings
        if settings.username is not None:
            self._client.username_pw_set(_text(settings.username), _text(settings.password))
        if settings.tls:
            self._client.tls_set_context(client_context(settings.ca, settings.cert, settings.key))

    # -- sending -----------------------------------------------------------------------------------------------

    def publish(self, what: Publication) -> asyncio.Future[int]:  # type: ignore[override]
        """Send at QoS 1, at once. The future ends with the PUBACK's reason code (always 0 on 3.1.1), or LinkLost.

        What is longer than the broker takes is not sent: it ends with TOO_LARGE. What is no topic to publish on ends
        with ValueError.
        """
        ack: asyncio.Future[int] = self._loop.create_future()
        ack.add_done_callback(self._release)
        properties = _publish_properties(what.content_type, what.correlation, what.life) if self._v5 else None
        if not self._fits(what, properties):
            ack.set_result(TOO_LARGE)
            return ack
        try:
            info = self._client.publish(what.topic, what.body, self.qos, what.retain and self.retains, properties)
        except ValueError as error:
            ack.set_exception(error)
            return ack
        if info.rc != paho.MQTT_ERR_SUCCESS or self.lost.done() or self._disconnected.done():
            ack.set_exception(LinkLost("the link is gone"))
            return ack
        self._sent[info.mid] = what.topic, ack
        self._await(info.mid, ack, pinged=not self.qos)
        return ack

    async def deliver(self, what: Publication) -> int:
        """`publish` as soon as there is room in the window, and the PUBACK's reason code. Raises what it ends with.

        Cancelling the caller does not cancel the publish: it is under way, and in the window, until the broker answers.
        """
        await self.free.acquire()
        ack = self.publish(what)
        await asyncio.wait({ack})
        return ack.result()

    def publish_qos_0(self, what: Publication, alone: bool = False) -> bool:
        """Send at QoS 0; not at all (False) while the socket is full, or if the broker takes less.

        `alone`: it is under way until a ping behind it is answered, so that it is known whether a cut is for its sake.
        """
        if self.lost.done() or self._client.want_write() or not self._fits(what):
            return False
        info = self._client.publish(what.topic, what.body, 0, what.retain and self.retains)
        self._sent[info.mid] = what.topic, None
        sent = bool(info.rc == paho.MQTT_ERR_SUCCESS)
        if alone and sent and not self.lost.done():
            read: asyncio.Future[int] = self._loop.create_future()
            read.add_done_callback(asyncio.Future.exception)
            self._await(info.mid, read, pinged=True)
        return sent

    def _await(self, mid: int, ack: asyncio.Future[int], pinged: bool) -> None:
        """This packet is under way until its PUBACK; or, `pinged`, until a ping behind it is answered."""
        self._acks[mid] = ack, time.monotonic()
        if pinged:
            self._unpinged.append(mid)
            if not self._pings:
                self._ping()

    def _fits(self, what: Publication, properties: Properties | None = None) -> bool:
        """Whether the broker takes a packet of that length. A topic that others chose may be as long as they like."""
        more: bytes = properties.pack() if properties is not None else b"\0"  # type: ignore[no-untyped-call]
        beside = _HEADER + len(what.topic.encode()) + len(more)
        return len(what.body) + max(beside, OVERHEAD) <= self.max_packet

    def widen(self) -> None:
        """Let as many be under way as the broker allows."""
        while self.window < self._most:
            self.window += 1
            self.free.release()

    def suspect(self) -> tuple[str, asyncio.Future[int] | None]:
        """Topic and future of the first message that the broker has not answered to: a cut may be for its sake.

        The future is None for what was told at QoS 0. ("", None): there is none.
        """
        return next(iter(self._sent.values()), ("", None))

    def _ping(self) -> Any:
        """Send a ping, for paho too: its answer says that what was published at QoS 0 before it has arrived."""
        self._pings.append(self._unpinged)
        self._unpinged = []
        return self._send_pingreq()

    def _answered(self) -> None:
        """A PINGRESP: the broker has read all that was sent before its ping."""
        for mid in self._pings.popleft() if self._pings else ():
            self._settle(mid, 0)
        if self._unpinged and not self._pings:
            self._loop.call_soon(self._ping)

    def _settle(self, mid: int, code: int) -> None:
        self._forget(mid)
        ack, _ = self._acks.pop(mid, (None, 0.0))
        if ack is not None and not ack.done():
            ack.set_result(code)

    def _forget(self, mid: int) -> None:
        """The broker has answered to this one, and so has read what was told at QoS 0 before it."""
        if mid not in self._sent:
            return
        told = []
        for earlier, (_, ack) in self._sent.items():
            if earlier == mid:
                break
            if ack is None:
                told.append(earlier)
        for one in (*told, mid):
            del self._sent[one]

    def route(self, topic: str, take: Callable[[bytes], None]) -> None:
        """Route what comes on this topic to `take`; it is no command."""
        self._listeners[topic] = take

    async def leave(self, topic: str) -> None:
        """Take nothing from this topic any more."""
        self._listeners.pop(topic, None)
        with contextlib.suppress(aiomqtt.MqttError):  # the next connection does without it
            await self.unsubscribe(topic, timeout=self._ack_timeout)

    async def listen(self, topic: str, anew: bool = False) -> int:
        """Subscribe at QoS 1; the reason code of the SUBACK. Retained messages come marked as such, and once.

        With `anew` they come at each connection, also where the broker has kept the subscription.
        """
        how: Any = {"qos": 1}
        if self._v5:
            how = {"options": SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=0 if anew else 1)}
        try:
            codes: Any = await self.subscribe(topic, timeout=self._ack_timeout, **how)
        except aiomqtt.MqttError as error:
            raise LinkLost(f"subscribing to {topic}: {error}") from error
        if not codes:
            raise LinkLost(f"subscribing to {topic}: a SUBACK without a reason code")
        return codes[0].value if isinstance(codes[0], ReasonCode) else int(codes[0])

    def acknowledge(self, message: ReceivedMessage) -> None:
        """Acknowledge a message; until then the broker keeps it (QoS 1)."""
        if message.qos and not self.lost.done():
            self._client.ack(message.mid, message.qos)

    @property
    def skipped(self) -> int:
        """Messages that came in too long and were skipped but for their beginning."""
        return self._packet_limit.skipped

    @property
    def is_open(self) -> bool:
        return self._connected.done() and not self.lost.done()

    def quiet(self) -> float:
        """Seconds since the connection was last looked after: about 5 at the most, unless something hangs."""
        return time.monotonic() - self._ticked

    async def settled(self) -> None:
        """Wait until no publish is under way."""
        while self._acks:
            await asyncio.wait([ack for ack, _ in self._acks.values()])

    def _release(self, ack: asyncio.Future[int]) -> None:
        self.free.release()
        if not ack.cancelled():
            ack.exception()

    # -- hooks of aiomqtt --------------------------------------------------------------------------------------

    def _on_connect(
        self, client: Any, _userdata: Any, _flags: Any, reason_code: ReasonCode, properties: Properties | None = None
    ) -> None:
        if self._connected.done():
            return
        code = reason_code.value
        if code != 0:
            why = Why.CREDENTIALS if code in _CREDENTIALS else Why.BUSY if code in _BUSY else Why.LOST
            reference = getattr(properties, "ServerReference", "")
            self.lost.set_exception(
                LinkLost(_refusal(code, str(reason_code), reference), why, code=code, reference=reference)
            )
            return
        self._most = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
        self.window = min(self.window, self._most)
        self.free = asyncio.Semaphore(self.window)
        self.max_packet = getattr(properties, "MaximumPacketSize", self.max_packet)
        self.can_retain = getattr(properties, "RetainAvailable", 1) == 1 if self._v5 else None
        self.retains = self.retains and self.can_retain is not False
        self.qos = min(self.qos, getattr(properties, "MaximumQoS", 1))
        if self.max_packet < SMALLEST_PACKET:
            reason = f"the broker takes packets of at most {self.max_packet} bytes; {SMALLEST_PACKET} are needed"
            self.lost.set_exception(LinkLost(reason, Why.USELESS))
            return
        # A Server Keep Alive is obeyed (MQTT 5, 3.2.2.3.14); to ping more often than it says is allowed. paho pings
        # after one keepalive of silence and gives up after another: so noticed within 1.4 of it.
        client._keepalive = 0.7 * min(getattr(properties, "ServerKeepAlive", 0) or math.inf, self._settings.keepalive)
        self._connected.set_result(None)

    def _on_disconnect(
        self, client: Any, userdata: Any, flags: Any, reason_code: ReasonCode, properties: Properties | None = None
    ) -> None:
        if not self.lost.done():
            said = reason_code.value if flags.is_disconnect_packet_from_server else 0
            why = self._why(reason_code.value) if self._connected.done() else Why.ANSWERED
            cut = self._connected.done() and str(reason_code) != "Keep alive timeout" and said not in _OWN_DOING
            reference = getattr(properties, "ServerReference", "")
            to = f" (it refers to {reference[:_SHOWN]!r})" if reference else ""
            hint = "" if self._connected.done() else _over(self._settings.cert)
            words = f"the link was closed: {reason_code}{to}{hint}"
            self.lost.set_exception(LinkLost(words, why, code=said, cut=cut, reference=reference))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)
        self._loop.call_soon(self.drop, "the link was closed")

    def _why(self, code: int) -> Why:
        if code == _TAKEN_OVER:
            return Why.TAKEN
        if code in _BUSY:
            return Why.BUSY
        return Why.SILENT if code == _NO_WORD and not self._acks else Why.LOST

    def _ended(self, disconnected: asyncio.Future[None]) -> None:
        error = disconnected.exception()
        self.drop(_describe(error) if error else "closed")

    def _on_puback(self, command: str) -> Any:
        """Read the reason code ourselves: paho drops the link for one that the standard does not list for PUBACK.

        Mosquitto answers 0x95 to what is longer than its `message_size_limit`.
        """
        client = self._client
        packet = client._in_packet["packet"]
        if len(packet) < 2:
            return self._handle_puback(command)  # type: ignore[arg-type]  # it says what is wrong
        mid = int.from_bytes(packet[:2], "big")
        with client._out_message_mutex:
            if mid not in client._out_messages:
                return paho.MQTT_ERR_SUCCESS
            done = client._do_on_publish(mid, _ANSWERED, _NOTHING)
        self._settle(mid, packet[2] if self._v5 and len(packet) > 2 else 0)
        return done

    def _begins(self, head: int) -> None:
        """A packet begins to come in; its first byte."""
        if head == _PINGRESP:
            self._answered()

    def _on_message(self, client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        topic = message._topic.decode("utf-8", "replace")
        if topic in self._listeners:
            self._listeners[topic](bytes(message.payload))
            if message.qos:
                client.ack(message.mid, message.qos)
            return
        if not self.expects(topic):
            if message.qos:
                client.ack(message.mid, message.qos)
            return
        payload, at = bytes(message.payload[: LARGEST_COMMAND + 1]), self._clock.now()
        reply_to = getattr(message.properties, "ResponseTopic", "")
        correlation = getattr(message.properties, "CorrelationData", b"")
        try:
            self.received.put_nowait(
                ReceivedMessage(
                    topic, payload, message.retain, message.mid, message.qos, at, reply_to, correlation, message.dup
                )
            )
        except asyncio.QueueFull:
            self.overflow(ReceivedMessage(topic[:500], b"", message.retain, message.mid, message.qos, at))

    def _on_socket_open(self, client: Any, userdata: Any, sock: Any) -> None:
        """Called in the connecting thread: the loop's part is done in `_attach`."""

    def _on_socket_close(self, client: Any, userdata: Any, sock: Any) -> None:
        if self._attached:
            super()._on_socket_close(client, userdata, sock)

    def _on_socket_register_write(self, client: Any, _userdata: Any, sock: Any) -> None:
        """Write at once; only what the socket does not take waits for the loop."""
        if not self._attached:
            return
        client.loop_write()
        if client.want_write() and sock.fileno() >= 0:
            self._is_watched = True
            self._loop.add_writer(sock.fileno(), client.loop_write)

    def _on_socket_unregister_write(self, _client: Any, _userdata: Any, sock: Any) -> None:
        if self._is_watched and sock.fileno() >= 0:
            self._is_watched = False
            self._loop.remove_writer(sock.fileno())

    async def _misc_loop(self) -> None:
        """Once a second, or in five where nothing can be due: ping and its answer (paho), and acknowledgements that do
        not come (ours).

        What is skipped is a sign of life, and whatever the broker answers meanwhile comes behind it.
        """
        while self._client.loop_misc() == paho.MQTT_ERR_SUCCESS:
            self._ticked = time.monotonic()
            oldest = next(iter(self._acks.values()), None)
            if oldest is not None and self._ticked - max(oldest[1], self._packet_limit.at) > self._ack_timeout:
                self.drop(f"a publish was not acknowledged within {self._ack_timeout:.0f} s")
                return
            tick = min(1.0, self._client._keepalive / 2)
            await asyncio.sleep(tick if self._due() <= self._ticked + LONG * tick else LONG * tick)

    def _due(self) -> float:
        """When (time.monotonic) one of them is due at the earliest: all wait for `keepalive` at least."""
        client = self._client
        _, sent = next(iter(self._acks.values()), (None, math.inf))
        ping = client._ping_t or math.inf
        return min(client._last_msg_out, client._last_bytes_received, ping, sent) + client._keepalive


@lru_cache(1)
def _connect_properties(session_expiry: int) -> Properties:
    """The same for each attempt; `session_expiry` in seconds."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = session_expiry
    properties.ReceiveMaximum = WINDOW
    properties.MaximumPacketSize = LARGEST_PACKET
    return properties


@lru_cache(4)
def _publish_properties(content_type: str, correlation: bytes, life: float) -> Properties | None:
    """The properties of MQTT 5; None if there are none."""
    if not (content_type or correlation or life):
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if content_type:
        properties.ContentType = content_type
    if correlation:
        properties.CorrelationData = correlation
    if life:
        properties.MessageExpiryInterval = max(1, round(life))
    return properties


def _text(secret: str | ReadableSecret | None) -> Any:
    return secret if secret is None or isinstance(secret, str) else secret.reveal()


def _over(cert: Path | None) -> str:
    """Text about our own certificate if it has ended: a broker that refuses it for that (TLS 1.3) just closes."""
    end = None if cert is None else ends(cert)
    if cert is None or end is None or end > (now := datetime.now(UTC)):
        return ""
    return f"; {cert.name} ended on {end:%Y-%m-%d %H:%M} UTC, and this box's clock says {now:%Y-%m-%d %H:%M} UTC"


def _describe(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return why_refused(error)
    if isinstance(error, FileNotFoundError):
        return f"{error.filename or 'a certificate file'}: {error.strerror}"
    words = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else ""
    return words or str(error) or type(error).__name__


def _refusal(code: int, text: str, reference: str) -> str:
    hint = " (it may speak 3.1.1 only: uplink.protocol: 3.1.1)" if code == 0x84 else ""
    hint += f" (it refers to {reference[:_SHOWN]!r})" if reference else ""
    return f"the broker refuses the connection: {text}{hint}"
