"""An MQTT 5 broker in the simulated world: sessions that outlive links, retained messages, and what goes wrong at one.

    MQTT Version 5.0, OASIS Standard, 7 March 2019. Packets are parsed here, and by nobody of the agent.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.wire import Wire

__all__ = ["Broker", "Session"]

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 1, 2, 3, 4, 8, 9
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14
TAKEN_OVER, QUOTA, REFUSED, BUSY = 0x8E, 0x97, 0x87, 0x89


@dataclass
class Session:
    """What is kept of a client between two links."""

    client: str
    subscriptions: set[str] = field(default_factory=set)
    queue: list[tuple[str, bytes]] = field(default_factory=list)
    """Messages at QoS 1 for the client that were never sent."""
    sent: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    """Sent, and not acknowledged, by packet id: they come again, marked DUP."""
    link: Link | None = None
    number: int = 0


class Link:
    """One connection. `mute`: everything is swallowed."""

    def __init__(self, broker: Broker, wire: Wire) -> None:
        self._broker, self.wire = broker, wire
        self._data = bytearray()
        self.session: Session | None = None
        self.will: tuple[str, bytes, bool] | None = None
        self.mute = False
        self.publishes = 0
        self.deadline: Any = None
        self.keepalive = 0
        wire.listener = self.took

    def took(self, data: bytes) -> None:
        if not data:
            self._broker.ended(self)
            return
        if self.mute:
            return
        self._data += data
        self._broker.heard(self)
        for kind, flags, body in _packets(self._data):
            self._broker.packet(self, kind, flags, body)
            if self.wire.fileno() < 0:
                return

    def put(self, packet: bytes) -> None:
        if not self.mute and self.wire.fileno() >= 0:
            try:
                self.wire.send(packet)
            except OSError:
                self.close()

    def close(self) -> None:
        self.wire.listener = None
        self.wire.close()
        self._broker.ended(self)


class Broker:
    """`up` is whether it takes connections. Faults are attributes, and may change at any time.

    `accepted` is called with (topic, payload, retained) for everything that it has acknowledged, when it does, and
    `forgotten` when it knows nothing any more.
    `puback(topic)` gives the reason code of an acknowledgement, or None: it never comes.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self.up = True
        self.sessions: dict[str, Session] = {}
        self.retained: dict[str, bytes] = {}
        self.links: list[Link] = []
        self.parted: list[float] = []
        """When a link ended."""
        self.accepted: Callable[[str, bytes, bool], None] = lambda topic, payload, retain: None
        self.forgotten: Callable[[], None] = lambda: None
        self.refused: Callable[[str, bytes], None] = lambda topic, payload: None
        self.puback: Callable[[str], int | None] = lambda topic: 0
        self.connack: Callable[[], int] = lambda: 0
        self.cut_at: Callable[[], str] = lambda: ""
        """Asked at each PUBLISH: "before" it is taken, "after" it was taken and before the PUBACK, or ""."""
        self.ack_after: Callable[[], float] = lambda: 0.0
        """Seconds from a PUBLISH to its PUBACK: where they differ, acknowledgements overtake each other."""
        self.detour: Callable[[], float] = lambda: 0.0
        """Seconds that a message takes within the broker, topic by topic: those of two topics have no order (4.6)."""
        self.receive_maximum = 20
        self.server_keepalive = 0
        self.delivered: Callable[[str, bytes], None] = lambda topic, payload: None
        """What is sent to a client; it may be lost on the way."""
        self.acknowledged: Callable[[str, bytes], None] = lambda topic, payload: None
        """What a client has acknowledged."""
        self.packets: Callable[[str, int, bytes], None] = lambda way, kind, body: None

    def connect(self, wire: Wire) -> None:
        """A client has come: `wire` is our end."""
        self.links.append(Link(self, wire))

    def cut(self) -> None:
        """All links are gone (RST)."""
        for link in list(self.links):
            link.wire.reset()
            link.close()

    def silence(self) -> None:
        """All links are half open from now on."""
        for link in self.links:
            link.mute = link.wire.silent = True

    def end(self, code: int) -> None:
        """All clients are told to go."""
        for link in list(self.links):
            link.put(_packet(DISCONNECT << 4, bytes((code, 0))))
            link.close()

    def take_over(self) -> None:
        """Another client comes by the name of ours, takes what is there for it, and goes."""
        self.end(TAKEN_OVER)
        for session in self.sessions.values():
            session.queue.clear()
            session.sent.clear()

    def forget(self) -> None:
        """It begins anew, with nothing of what it knew."""
        self.cut()
        self.sessions.clear()
        self.retained.clear()
        self.forgotten()

    def heard(self, link: Link) -> None:
        if link.keepalive:
            if link.deadline is not None:
                link.deadline.cancel()
            link.deadline = self._loop.call_later(1.5 * link.keepalive, link.close)

    def ended(self, link: Link) -> None:
        """A link is gone; without a goodbye its last will is published."""
        if link not in self.links:
            return
        self.links.remove(link)
        self.parted.append(self._loop.time())
        if link.deadline is not None:
            link.deadline.cancel()
        link.wire.listener = None
        link.wire.close()
        if link.session is not None and link.session.link is link:
            link.session.link = None
        if link.will is not None:
            topic, payload, retain = link.will
            self._publish(topic, payload, retain)

    def packet(self, link: Link, kind: int, flags: int, body: bytes) -> None:
        self.packets("in", kind, body)
        if kind == CONNECT:
            self._connect(link, body)
        elif link.session is None:
            link.close()
        elif kind == PUBLISH:
            self._take(link, flags, body)
        elif kind == SUBSCRIBE:
            self._subscribe(link, body)
        elif kind == PUBACK:
            known = link.session.sent.pop(struct.unpack_from("!H", body)[0], None)
            if known is not None:
                self.acknowledged(*known)
            self._flush(link)
        elif kind == PINGREQ:
            link.put(_packet(PINGRESP << 4, b""))
        elif kind == DISCONNECT:
            link.will = None
            link.close()

    def _connect(self, link: Link, body: bytes) -> None:
        flags, keepalive = body[7], struct.unpack_from("!H", body, 8)[0]
        at = _skip_properties(body, 10)
        client, at = _text(body, at)
        if flags & 4:
            at = _skip_properties(body, at)
            topic, at = _text(body, at)
            payload, at = _text(body, at)
            link.will = topic.decode(), payload, bool(flags & 0x20)
        code = self.connack()
        if code:
            link.will = None
            link.put(_packet(CONNACK << 4, bytes((0, code, 0))))
            link.close()
            return
        name = client.decode()
        if flags & 2:
            self.sessions.pop(name, None)
        session = self.sessions.setdefault(name, Session(name))
        present = bool(session.subscriptions)
        if session.link is not None:
            other = session.link
            other.put(_packet(DISCONNECT << 4, bytes((TAKEN_OVER, 0))))
            other.close()
        session.link, link.session, link.keepalive = link, session, self.server_keepalive or keepalive
        properties = b"\x21" + struct.pack("!H", self.receive_maximum)
        if self.server_keepalive:
            properties += b"\x13" + struct.pack("!H", self.server_keepalive)
        link.put(_packet(CONNACK << 4, bytes((present, 0, len(properties))) + properties))
        self.heard(link)
        for mid, (topic, payload) in session.sent.items():
            self._send(link, mid, topic, payload, dup=True)
        self._flush(link)

    def _subscribe(self, link: Link, body: bytes) -> None:
        assert link.session is not None
        mid = body[:2]
        at = _skip_properties(body, 2)
        codes = b""
        while at < len(body):
            topic, at = _text(body, at)
            options = body[at]
            at += 1
            new = topic.decode() not in link.session.subscriptions
            link.session.subscriptions.add(topic.decode())
            codes += bytes((options & 3,))
            if options >> 4 & 3 == 0 or (options >> 4 & 3 == 1 and new):
                for name, payload in self.retained.items():
                    if _matches(topic.decode(), name):
                        link.put(_publish_packet(name, payload, 0, 0, retain=True))
        link.put(_packet(SUBACK << 4, mid + b"\0" + codes))

    def _take(self, link: Link, flags: int, body: bytes) -> None:
        topic_bytes, at = _text(body, 0)
        topic, qos, retain = topic_bytes.decode(), flags >> 1 & 3, bool(flags & 1)
        mid = body[at : at + 2] if qos else b""
        payload = body[_skip_properties(body, at + len(mid)) :]
        how = self.cut_at() if qos else ""
        if how == "before":
            link.wire.reset()
            link.close()
            return
        code = self.puback(topic) if qos else 0
        if code is not None and code < 0x80:
            self._publish(topic, payload, retain)
            if qos:
                self.accepted(topic, payload, retain)
        elif code is not None:
            self.refused(topic, payload)
        if how == "after":
            link.wire.reset()
            link.close()
            return
        if qos and code is not None:
            answer = _packet(PUBACK << 4, mid + bytes((code, 0)) if code else mid)
            pause = self.ack_after()
            if pause:
                self._loop.call_later(pause, link.put, answer)
            else:
                link.put(answer)

    def _publish(self, topic: str, payload: bytes, retain: bool) -> None:
        if retain:
            self.retained[topic] = payload

    def send(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Somebody in the region publishes at QoS 1: to each session that has subscribed."""
        pause = self.detour()
        if pause:
            self._loop.call_later(pause, self._route, topic, payload, retain)
        else:
            self._route(topic, payload, retain)

    def _route(self, topic: str, payload: bytes, retain: bool) -> None:
        if retain:
            self.retained[topic] = payload
        for session in self.sessions.values():
            if any(_matches(one, topic) for one in session.subscriptions):
                session.queue.append((topic, payload))
                if session.link is not None:
                    self._flush(session.link)

    def _flush(self, link: Link) -> None:
        session = link.session
        while session is not None and session.queue and len(session.sent) < 20 and link in self.links:
            session.number = session.number % 65_535 + 1
            session.sent[session.number] = topic, payload = session.queue.pop(0)
            self._send(link, session.number, topic, payload, dup=False)

    def _send(self, link: Link, mid: int, topic: str, payload: bytes, dup: bool) -> None:
        self.delivered(topic, payload)
        link.put(_publish_packet(topic, payload, mid, 1, dup=dup))


def _publish_packet(topic: str, payload: bytes, mid: int, qos: int, retain: bool = False, dup: bool = False) -> bytes:
    name = topic.encode()
    head = struct.pack("!H", len(name)) + name + (struct.pack("!H", mid) if qos else b"") + b"\0"
    return _packet(PUBLISH << 4 | dup << 3 | qos << 1 | retain, head + payload)


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + _digits(len(body)) + body


def _digits(number: int) -> bytes:
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def _number(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """A variable byte integer (1.5.5) and where it ends; None if it is not all there."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
    return None


def _packets(data: bytearray) -> Iterator[tuple[int, int, bytes]]:
    """The whole packets at the beginning, which are taken out."""
    while len(data) >= 2:
        found = _number(data, 1)
        if found is None or len(data) < found[0] + found[1]:
            return
        length, at = found
        first, body = data[0], bytes(data[at : at + length])
        del data[: at + length]
        yield first >> 4, first & 15, body


def _skip_properties(body: bytes, at: int) -> int:
    found = _number(body, at)
    assert found is not None
    return found[0] + found[1]


def _text(body: bytes, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("!H", body, at)
    return body[at + 2 : at + 2 + length], at + 2 + length


def _matches(pattern: str, topic: str) -> bool:
    one, two = pattern.split("/"), topic.split("/")
    for n, part in enumerate(one):
        if part == "#":
            return True
        if n >= len(two) or part not in ("+", two[n]):
            return False
    return len(one) == len(two)
