"""Bound the size of received MQTT packets: a PUBLISH that is too long is skipped in pieces, whatever its length.

paho buffers a whole packet, and MQTT allows 256 MB. A `PacketLimit` sits between the socket and paho: of a longer
PUBLISH it passes on the topic, the packet id, the properties and the beginning of the payload, as if that were all.
So it is parsed, refused and acknowledged like any other, and the link stays.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

__all__ = ["LONGEST", "OPEN", "PacketLimit", "limit_packets"]

LONGEST = 262_144
"""Bytes of a packet (its Remaining Length) that is handed on whole: a topic, properties and a command have room."""
PIECE = 65_536
"""Bytes that are read at a time of what is skipped."""
PIECES = 16
"""Pieces that are skipped at a time; then others get a turn."""
OPEN = 100
"""Messages at QoS 2 that may be open; we ask for QoS 1 and a broker that keeps to it has none."""
_PUBLISH = 3


def limit_packets(
    client: Any, payload: int, v5: bool, longest: int = LONGEST, seen: Callable[[int], None] = lambda _head: None
) -> PacketLimit:
    """Put a `PacketLimit` into a paho client, for one connection.

    What is skipped counts as a sign of life of the broker's. ConnectionError for more than `OPEN` messages at QoS 2.
    """

    def begins(head: int) -> None:
        if head & 0xF6 == 0x34 and len(client._in_messages) >= OPEN:
            raise ConnectionError(f"more than {OPEN} messages are open at QoS 2")
        seen(head)

    def skips(at: float) -> None:
        client._last_bytes_received = at

    packet_limit = PacketLimit(functools.partial(type(client)._sock_recv, client), payload, v5, begins, longest, skips)
    client._sock_recv = packet_limit.recv
    return packet_limit


class PacketLimit:
    """`recv` in place of the socket's. `payload` is how much of a payload too long is handed on (bytes); `longest` is
    what is handed on whole.

    `skipped` counts the messages that were cut, `at` is when (time.monotonic) a piece of one was read last; `skips` is
    told. `seen` is called with the first byte of each packet, when it begins. ConnectionError for what no broker
    sends: any other packet as long.
    """

    def __init__(
        self,
        recv: Callable[[int], bytes],
        payload: int,
        v5: bool,
        seen: Callable[[int], None],
        longest: int = LONGEST,
        skips: Callable[[float], None] = lambda _at: None,
    ) -> None:
        self._recv, self._payload, self._v5, self._seen, self._longest = recv, payload, v5, seen, longest
        self._skips = skips
        self._head = bytearray()
        self._ready = bytearray()
        self._whole = 0
        """Bytes to come of a packet that is handed on as it is."""
        self._left = 0
        """Bytes to come of one that is too long, and what is kept of it."""
        self._kept: bytearray | None = None
        self.skipped = 0
        self.at = float("-inf")

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end. BlockingIOError while there is nothing to hand on."""
        if not self._ready and not self._whole:
            if self._kept is None and not self._read_head():
                return b""
            if self._kept is not None and not self._skip():
                return b""
        if self._ready:
            some = bytes(self._ready[:size])
            del self._ready[:size]
            return some
        some = self._recv(min(size, self._whole))
        self._whole -= len(some)
        return some

    def _read_head(self) -> bool:
        """Read the fixed header (MQTT 5, 2.1.1); False at the end of the stream."""
        while len(self._head) < 2 or self._head[-1] & 0x80:
            if len(self._head) > 4:
                raise ConnectionError("a length of more than 4 bytes: this is not MQTT")
            some = self._recv(1 if self._head else 2)  # no packet has less
            if not some:
                return False
            self._head += some
        head, self._head = self._head, bytearray()
        length, _ = _number(head, 1)
        self._seen(head[0])
        if length <= self._longest:
            self._ready, self._whole = head, length
        elif head[0] >> 4 == _PUBLISH:
            self._left, self._kept = length, bytearray(head[:1])
        else:
            raise ConnectionError(f"a packet of {length} bytes that is no message")
        return True

    def _skip(self) -> bool:
        """Read on in what is too long; when it is over, what was kept of it is ready. False at the end."""
        assert self._kept is not None
        for _ in range(PIECES):
            piece = self._recv(min(PIECE, self._left))
            if not piece:
                return False
            self.at = time.monotonic()
            self._skips(self.at)
            self._left -= len(piece)
            self._kept += piece[: max(0, self._longest - len(self._kept))]
            if not self._left:
                self._ready = self._shortened(self._kept)
                self._kept = None
                self.skipped += 1
                return True
        raise BlockingIOError

    def _shortened(self, kept: bytearray) -> bytearray:
        """The PUBLISH with less payload (MQTT 5, 3.3). Properties too long for what was kept are left out."""
        qos = kept[0] >> 1 & 3
        at = 1 + 2 + int.from_bytes(kept[1:3], "big") + (2 if qos else 0)
        body = kept[1:at]
        payload = bytes(self._payload)
        if self._v5:
            length, start = _number(kept, at)
            end = start + length
            if end + self._payload <= len(kept):
                body += kept[at:end]
                payload = bytes(kept[end : end + self._payload])
            else:
                body += b"\0"
        else:
            payload = bytes(kept[at : at + self._payload])
        body += payload
        return kept[:1] + _digits(len(body)) + body


def _number(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """A variable byte integer (MQTT 5, 1.5.5) and where it ends. ConnectionError if it is malformed."""
    value = shift = 0
    while True:
        if shift > 21 or at >= len(data):
            raise ConnectionError("invalid remaining length")
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            return value, at


def _digits(value: int) -> bytes:
    digits = bytearray()
    while True:
        value, digit = divmod(value, 128)
        digits.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(digits)
