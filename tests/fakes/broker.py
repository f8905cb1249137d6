"""A scripted MQTT broker: raw 3.1.1 and 5 over asyncio, made to answer wrongly, late, or not at all.

    async with ScriptedBroker(puback=lambda nth, topic: 0x97 if nth == 3 else 0) as broker:
        …  # connect to 127.0.0.1:broker.port

Only what the uplink needs: CONNECT, SUBSCRIBE, PUBLISH at QoS 0 and 1 in, PUBLISH out, PINGREQ, DISCONNECT.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 1, 2, 3, 4, 8, 9
PUBREC, PUBREL, PUBCOMP = 5, 6, 7
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14
NEVER = -1
"""In place of a PUBACK's reason code: no acknowledgement."""


@dataclass
class Connection:
    """What the broker knows of one connection."""

    level: int = 0
    clean: bool = False
    client_id: str = ""
    username: str | None = None
    password: str | None = None
    keepalive: int = 0
    properties: bytes = b""
    will: tuple[str, bytes, int] | None = None
    """Topic, payload, and the connect flags."""
    at: float = 0.0
    acknowledged: list[int] = field(default_factory=list)
    """Packet ids that the client has acknowledged."""
    clean_end: bool = False
    pings: int = 0
    unanswered: int = 0
    most_unanswered: int = 0


@dataclass
class Publish:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    content_type: str | None
    code: int = 0


class ScriptedBroker:
    """All faults are attributes and may be changed while it runs; they are read for each packet.

    `puback(nth, topic)` gives the reason code of the nth publish at QoS 1 (from 1), or NEVER; `suback(topic)` that of
    a subscription. `drop_at_nth`: the connection is cut instead of acknowledging each nth publish of a connection.
    `mute`: nothing is answered any more (half open). `connack`: the reason code of the connection. `delay`: seconds
    before each acknowledgement.
    """

    def __init__(
        self,
        *,
        puback: Callable[[int, str], int] = lambda nth, topic: 0,
        suback: Callable[[str], int] = lambda topic: 1,
        connack: int = 0,
        receive_maximum: int | None = None,
        maximum_packet: int | None = None,
        drop_at_nth: int | None = None,
        delay: float = 0.0,
        mute: bool = False,
        hang_up: bool = False,
        retain: bool = True,
        maximum_qos: int | None = None,
        server_keepalive: int | None = None,
        longest: int | None = None,
        too_long: int | None = None,
        reference: str = "",
    ) -> None:
        """`retain` False: whoever asks for it is refused (0x9A, with 3.1.1 a closed door). A publish of more than
        `longest` bytes gets the PUBACK `too_long`, None: the link is cut at it. `reference`: the CONNACK's."""
        self.retain, self.maximum_qos, self.server_keepalive = retain, maximum_qos, server_keepalive
        self.longest, self.too_long, self.reference = longest, too_long, reference
        self.puback, self.suback = puback, suback
        self.connack = connack
        self.receive_maximum = receive_maximum
        self.maximum_packet = maximum_packet
        self.drop_at_nth = drop_at_nth
        self.delay = delay
        self.mute = mute
        self.hang_up = hang_up
        self.port = 0
        self.connections: list[Connection] = []
        """Each is here as soon as its socket is; what its CONNECT says comes later (`greeted`)."""
        self.published: list[Publish] = []
        """Every publish that came in, accepted or not, in order."""
        self.subscribed: list[str] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._behind: dict[asyncio.StreamWriter, bytearray] = {}
        self._qos1 = 0
        self._mid = 0

    async def __aenter__(self) -> ScriptedBroker:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Nobody listens any more, and all connections are cut."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    @property
    def greeted(self) -> list[Connection]:
        """The connections whose CONNECT was read, answered or not."""
        return [connection for connection in self.connections if connection.level]

    def accepted(self, suffix: str) -> list[bytes]:
        """Payloads that were acknowledged with success on topics that end so, duplicates too."""
        return [p.payload for p in self.published if p.topic.endswith(suffix) and p.code in (0, 0x10)]

    async def disconnect(self, code: int, reference: str = "") -> None:
        """End every connection with a DISCONNECT (MQTT 5), and perhaps a Server Reference."""
        properties = b"\x1c" + _text(reference.encode()) if reference else b""
        for writer in list(self._writers):
            self._put(writer, _packet(DISCONNECT << 4, bytes([code, len(properties)]) + properties))
            await writer.drain()
            writer.close()

    async def send(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> int:
        """Publish to every client that is there; the packet id."""
        self._mid = self._mid % 65535 + 1
        for writer in self._writers:
            level = self._levels[writer]
            body = (
                _text(topic.encode()) + (struct.pack("!H", self._mid) if qos else b"") + (b"\0" if level == 5 else b"")
            )
            self._put(writer, _packet(PUBLISH << 4 | qos << 1 | retain, body + payload))
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        return self._mid

    async def send_long(
        self, topic: str, size: int, *, qos: int = 1, retain: bool = False, properties: bytes = b"", piece: int = 65_536
    ) -> int:
        """Publish `size` bytes of x in pieces, never held as a whole; the packet id."""
        self._mid = self._mid % 65535 + 1
        for writer in list(self._writers):
            head = _text(topic.encode()) + (struct.pack("!H", self._mid) if qos else b"")
            if self._levels[writer] == 5:
                head += _digits(len(properties)) + properties
            writer.write(bytes([PUBLISH << 4 | qos << 1 | retain]) + _digits(len(head) + size) + head)
            self._behind[writer] = bytearray()
            left = size
            while left:
                some = min(left, piece)
                writer.write(b"x" * some)
                await writer.drain()
                left -= some
            writer.write(self._behind.pop(writer))
        return self._mid

    def _put(self, writer: asyncio.StreamWriter, packet: bytes) -> None:
        """What is answered while a long packet is on its way comes behind it."""
        if writer in self._behind:
            self._behind[writer] += packet
        else:
            writer.write(packet)

    # -- one connection ----------------------------------------------------------------------------------------

    _levels: dict[asyncio.StreamWriter, int]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(at=asyncio.get_running_loop().time())
        self.connections.append(connection)
        self._levels = getattr(self, "_levels", {})
        self._writers.add(writer)
        tasks: set[asyncio.Task[None]] = set()
        nth = 0
        try:
            while not self.hang_up:
                kind, flags, body = await _read(reader)
                if kind == CONNECT:
                    _connect(connection, body)
                if self.mute:
                    continue
                if kind == CONNECT:
                    self._levels[writer] = connection.level
                    code = self._refuses(connection)
                    if code and connection.level != 5:
                        return
                    if code:
                        self._put(writer, _packet(CONNACK << 4, bytes([0, code, 0])))
                        await writer.drain()
                        return
                    self._put(writer, self._connack(connection))
                    if self.connack:
                        await writer.drain()
                        return
                elif kind == SUBSCRIBE:
                    self._put(writer, self._suback(connection, body))
                elif kind == PINGREQ:
                    connection.pings += 1
                    self._put(writer, _packet(PINGRESP << 4, b""))
                elif kind == PUBREC:
                    self._put(writer, _packet(PUBREL << 4 | 2, body[:2]))
                elif kind in (PUBACK, PUBCOMP):
                    connection.acknowledged.append(struct.unpack("!H", body[:2])[0])
                elif kind == DISCONNECT:
                    connection.clean_end = True
                    return
                elif kind == PUBLISH:
                    publish, mid = _publish(connection, flags, body)
                    self.published.append(publish)
                    if (publish.retain and not self.retain) or (publish.qos and self.maximum_qos == 0):
                        return
                    long = self.longest is not None and len(publish.payload) > self.longest
                    if long and self.too_long is None:
                        publish.code = NEVER
                        return
                    if not publish.qos:
                        continue
                    nth += 1
                    self._qos1 += 1
                    publish.code = NEVER
                    if self.drop_at_nth and nth % self.drop_at_nth == 0:
                        return
                    connection.unanswered += 1
                    connection.most_unanswered = max(connection.most_unanswered, connection.unanswered)
                    code = self.puback(self._qos1, publish.topic)
                    if long and self.too_long is not None:
                        code = self.too_long
                    if code != NEVER:
                        task = asyncio.create_task(self._acknowledge(writer, connection, publish, mid, code))
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for task in list(tasks):
                task.cancel()
            self._writers.discard(writer)
            self._levels.pop(writer, None)
            writer.transport.abort() if not connection.clean_end else writer.close()

    async def _acknowledge(
        self, writer: asyncio.StreamWriter, connection: Connection, publish: Publish, mid: int, code: int
    ) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        publish.code = code
        connection.unanswered -= 1
        body = struct.pack("!H", mid) + (bytes([code, 0]) if code and connection.level == 5 else b"")
        self._put(writer, _packet(PUBACK << 4, body))

    def _refuses(self, connection: Connection) -> int:
        """The CONNACK for a will that the broker does not take (MQTT 5, 3.1.2.6 and 3.1.2.7)."""
        flags = connection.will[2] if connection.will else 0
        if flags & 0x20 and not self.retain:
            return 0x9A
        return 0x9B if flags & 0x18 and self.maximum_qos == 0 else 0

    def _connack(self, connection: Connection) -> bytes:
        if connection.level != 5:
            return _packet(CONNACK << 4, bytes([0, self.connack]))
        properties = b""
        if self.receive_maximum is not None:
            properties += b"\x21" + struct.pack("!H", self.receive_maximum)
        if self.maximum_packet is not None:
            properties += b"\x27" + struct.pack("!I", self.maximum_packet)
        if not self.retain:
            properties += b"\x25\x00"
        if self.maximum_qos is not None:
            properties += b"\x24" + bytes([self.maximum_qos])
        if self.server_keepalive is not None:
            properties += b"\x13" + struct.pack("!H", self.server_keepalive)
        if self.reference:
            properties += b"\x1c" + _text(self.reference.encode())
        return _packet(CONNACK << 4, bytes([0, self.connack]) + _digits(len(properties)) + properties)

    def _suback(self, connection: Connection, body: bytes) -> bytes:
        at = 2
        if connection.level == 5:
            length, at = _length(body, at)
            at += length
        topic, _ = _string(body, at)
        self.subscribed.append(topic.decode())
        code = self.suback(topic.decode())
        return _packet(SUBACK << 4, body[:2] + (b"\0" if connection.level == 5 else b"") + bytes([code]))


def _packet(head: int, body: bytes) -> bytes:
    return bytes([head]) + _digits(len(body)) + body


def _digits(length: int) -> bytes:
    digits = bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(digits)


async def _read(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    head = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        digit = (await reader.readexactly(1))[0]
        length |= (digit & 127) << shift
        shift += 7
        if not digit & 128:
            return head >> 4, head & 15, await reader.readexactly(length)


def _text(text: bytes) -> bytes:
    return struct.pack("!H", len(text)) + text


def _string(body: bytes, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("!H", body, at)
    return body[at + 2 : at + 2 + length], at + 2 + length


def _length(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        digit = body[at]
        at += 1
        value |= (digit & 127) << shift
        shift += 7
        if not digit & 128:
            return value, at


def _connect(connection: Connection, body: bytes) -> None:
    _, at = _string(body, 0)
    connection.level, flags = body[at], body[at + 1]
    (connection.keepalive,) = struct.unpack_from("!H", body, at + 2)
    at += 4
    connection.clean = bool(flags & 2)
    if connection.level == 5:
        length, at = _length(body, at)
        connection.properties = body[at : at + length]
        at += length
    client_id, at = _string(body, at)
    connection.client_id = client_id.decode()
    if flags & 4:
        if connection.level == 5:
            length, at = _length(body, at)
            at += length
        topic, at = _string(body, at)
        payload, at = _string(body, at)
        connection.will = topic.decode(), payload, flags
    if flags & 0x80:
        username, at = _string(body, at)
        connection.username = username.decode()
    if flags & 0x40:
        password, at = _string(body, at)
        connection.password = password.decode()


def _publish(connection: Connection, flags: int, body: bytes) -> tuple[Publish, int]:
    topic, at = _string(body, 0)
    qos, mid, content_type = flags >> 1 & 3, 0, None
    if qos:
        (mid,) = struct.unpack_from("!H", body, at)
        at += 2
    if connection.level == 5:
        length, at = _length(body, at)
        if body[at : at + 1] == b"\x03":
            content_type = _string(body, at + 1)[0].decode()
        at += length
    return Publish(topic.decode(), body[at:], qos, bool(flags & 1), bool(flags & 8), content_type), mid
