"""LoRaWAN in the simulated world: end nodes, the air, and a gateway with Semtech's packet forwarder.

    LoRaWAN Specification 1.0.3; Regional Parameters 1.0.3, EU868; PROTOCOL.TXT of Lora-net/packet_forwarder.

Written from these, and knowing nothing of the agent's network server.
"""

from __future__ import annotations

import json
import math
import random
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from tests.simulation.datagrams import HOP, Datagrams

__all__ = ["Air", "Gateway", "Node", "Order", "cmac", "encrypt"]

CHANNELS = 868.1, 868.3, 868.5
RX2 = 869.525, 12
JOIN_DELAY = 5.0
"""Seconds from the end of a join-request to the first window (JOIN_ACCEPT_DELAY1)."""
SAME = 0.02
"""Seconds by which a preamble may miss the beginning of a window."""
TRIES = 8
"""Transmissions of a confirmed frame at the most."""
LIMIT = 64
"""Uplinks without a downlink after which a node with ADR asks for one (ADR_ACK_LIMIT)."""
SERVER = "127.0.0.1", 1700
_COMMANDS = {0x02: 2, 0x03: 4, 0x04: 1, 0x05: 4, 0x06: 0, 0x07: 5, 0x08: 1, 0x0D: 5}
"""Bytes of a network server's MAC commands after their first."""


def encrypt(key: bytes, blocks: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks)


def cmac(key: bytes, message: bytes) -> bytes:
    made = CMAC(algorithms.AES(key))
    made.update(message)
    return made.finalize()


def mic(key: bytes, down: bool, address: int, counter: int, body: bytes) -> bytes:
    return cmac(key, struct.pack("<BIBIIBB", 0x49, 0, down, address, counter, 0, len(body)) + body)[:4]


def cipher(key: bytes, down: bool, address: int, counter: int, data: bytes) -> bytes:
    """FRMPayload, there or back."""
    blocks = range(1, (len(data) + 15) // 16 + 1)
    pad = encrypt(key, b"".join(struct.pack("<BIBIIBB", 1, 0, down, address, counter, 0, n) for n in blocks))
    return bytes(one ^ two for one, two in zip(data, pad, strict=False))


def seconds_on_air(size: int, sf: int) -> float:
    """Semtech SX1276 data sheet, 4.1.1.7: 125 kHz, coding rate 4/5, a preamble of 8, explicit header, with CRC."""
    symbol = 2**sf / 125_000
    slow = sf >= 11
    symbols = 8 + max(math.ceil((8 * size - 4 * sf + 28 + 16) / (4 * (sf - 2 * slow))) * 5, 0)
    return (12.25 + symbols) * symbol


@dataclass
class Air:
    """What is between nodes and gateways. `lost` is the share of frames that nobody hears."""

    now: Callable[[], float]
    later: Callable[..., Any]
    dice: random.Random
    nodes: list[Node] = field(default_factory=list)
    gateway: Gateway | None = None
    lost: float = 0.0
    heard: list[bytes] = field(default_factory=list)
    """What somebody with a receiver has kept of the uplinks."""

    def up(self, frame: bytes, frequency: float, sf: int) -> None:
        """An uplink is over."""
        self.heard.append(frame)
        if self.gateway is not None and self.dice.random() >= self.lost:
            self.gateway.heard(frame, frequency, sf)

    def down(self, frame: bytes, frequency: float, sf: int) -> None:
        """A downlink begins."""
        for node in self.nodes:
            if self.dice.random() >= self.lost and node.listens(frequency, sf):
                self.later(seconds_on_air(len(frame), sf), node.took, frame)

    def again(self) -> None:
        """Somebody sends once more what a node has sent."""
        if self.heard and self.gateway is not None:
            self.gateway.heard(self.dice.choice(self.heard[-40:]), self.dice.choice(CHANNELS), 7)


@dataclass(frozen=True, slots=True)
class Order:
    """A frame that the server ordered (PULL_RESP), when, and the uplink (by its counter) after which it goes."""

    at: float
    frame: bytes
    after: bytes | None
    error: str


@dataclass
class Handed:
    """When a frame reached the server's port or was on its way there, and when it was acknowledged (virtual s)."""

    sent: list[float] = field(default_factory=list)
    acknowledged: list[float] = field(default_factory=list)


class Gateway:
    """A concentrator with a packet forwarder. `lost`, `late` and `repeated` are shares of its datagrams, both ways."""

    def __init__(self, air: Air, net: Datagrams, dice: random.Random, eui: bytes) -> None:
        self._air, self._net, self._dice, self.eui = air, net, dice, eui
        self.address = "127.0.0.1", 40_001
        self.on = True
        self.lost = self.late = self.repeated = 0.0
        self._counter = dice.getrandbits(32)
        """Microseconds of the concentrator (tmst) at the beginning of the world."""
        self._pushed: dict[bytes, tuple[float, bytes]] = {}
        self._received: dict[int, bytes] = {}
        """Uplinks by their tmst."""
        self._busy: list[tuple[float, float]] = []
        self.handed: dict[bytes, Handed] = {}
        self.orders: list[Order] = []
        net.peers[self.address] = self.took
        air.gateway = self
        air.later(dice.random(), self._pull)

    # -- its power ---------------------------------------------------------------------------------------------------

    def switch_off(self) -> None:
        self.on = False

    def switch_on(self) -> None:
        """Its counter begins anew, and it knows nothing."""
        self.on = True
        self._counter = self._dice.getrandbits(32)
        self._pushed.clear()
        self._received.clear()
        self._busy.clear()

    @property
    def tmst(self) -> int:
        return (self._counter + round(self._air.now() * 1e6)) % 2**32

    # -- datagrams ---------------------------------------------------------------------------------------------------

    def _pull(self) -> None:
        if self.on:
            self._send(2)
        self._air.later(10.0 + self._dice.random(), self._pull)

    def _send(self, kind: int, body: bytes = b"", token: bytes = b"") -> bytes:
        token = token or self._dice.randbytes(2)
        data = bytes((2, *token, kind)) + self.eui + body
        for delay in self._delays():
            self._net.send(self.address, SERVER, data, delay)
        return token

    def _delays(self) -> Iterator[float]:
        """When a datagram comes, and comes again."""
        for n in range(2):
            if n == 0 and self._dice.random() < self.lost:
                return
            if n == 1 and self._dice.random() >= self.repeated:
                return
            yield 0.001 + (3.0 if self._dice.random() < self.late else 0.002) * self._dice.random()

    def heard(self, frame: bytes, frequency: float, sf: int) -> None:
        """A packet came in: it goes to the server."""
        if not self.on:
            return
        now, tmst = self._air.now(), self.tmst
        if any(begin <= now and now - seconds_on_air(len(frame), sf) < end for begin, end in self._busy):
            return  # it was sending itself
        self._received[tmst] = frame
        packet = {
            "tmst": tmst, "chan": 0, "rfch": 0, "freq": frequency, "stat": 1, "modu": "LORA",
            "datr": f"SF{sf}BW125", "codr": "4/5", "rssi": self._dice.randrange(-120, -40),
            "lsnr": self._dice.randrange(-5, 12), "size": len(frame), "data": b64encode(frame).decode(),
        }  # fmt: skip
        token = self._send(0, json.dumps({"rxpk": [packet]}).encode())
        self.handed.setdefault(frame, Handed()).sent.append(now)
        self._pushed[token] = now, frame

    def took(self, data: bytes) -> None:
        """A datagram of the server's; the network may lose it before."""
        sent = self._air.now() - HOP
        for delay in self._delays():
            self._air.later(delay, self._took, data, sent)

    def _took(self, data: bytes, sent: float) -> None:
        if not self.on or data[0] != 2:
            return
        now, token = self._air.now(), data[1:3]
        if data[3] == 1 and token in self._pushed:
            at, frame = self._pushed.pop(token)
            if now - at < 10.0:
                self.handed[frame].acknowledged.append(sent)
        if data[3] == 3:
            self._ordered(token, json.loads(data[4:])["txpk"])

    def _ordered(self, token: bytes, order: dict[str, Any]) -> None:
        """A concentrator sends one packet at a time, at a moment that is to come and not far away."""
        now, frame = self._air.now(), b64decode(order["data"])
        sf = int(order["datr"].removeprefix("SF").removesuffix("BW125"))
        rest = 0.0 if order["imme"] else (order["tmst"] - self.tmst) % 2**32 / 1e6
        begin, took = now + rest, seconds_on_air(len(frame), sf)
        self._busy = [(since, until) for since, until in self._busy if until > now - 10.0]
        error = ""
        if rest > 2**31 / 1e6 or (rest < 0.005 and not order["imme"]):
            error = "TOO_LATE"
        elif rest > 20.0:
            error = "TOO_EARLY"
        elif any(begin < until and begin + took > since for since, until in self._busy):
            error = "COLLISION_PACKET"
        elif not (order["ipol"] and order["modu"] == "LORA" and order["size"] == len(frame) and order["powe"] <= 29):
            error = "TX_FREQ"
        delays = (JOIN_DELAY, JOIN_DELAY + 1, 1.0, 2.0)
        uplinks = [] if order["imme"] else [(order["tmst"] - round(delay * 1e6)) % 2**32 for delay in delays]
        after = next((self._received[tmst] for tmst in uplinks if tmst in self._received), None)
        self.orders.append(Order(now, frame, after, error))
        self._send(5, json.dumps({"txpk_ack": {"error": error or "NONE"}}).encode(), token)
        if not error:
            self._busy.append((begin, begin + took))
            self._air.later(rest, self._transmit, frame, order["freq"], sf, self._counter)

    def _transmit(self, frame: bytes, frequency: float, sf: int, counter: int) -> None:
        if self.on and counter == self._counter:
            self._air.down(frame, frequency, sf)


@dataclass
class Session:
    """What a node has since its activation."""

    address: int
    network: bytes
    application: bytes
    rx1_delay: float = 1.0
    up: int = 0
    down: int = -1


class Node:
    """An end node. What it measures is how often it did; each number goes out in one frame, and no other has it.

    By OTAA it has `app_key`, by ABP a `session`. It listens where the specification says: in two windows after each of
    its frames, or always in the second one (class C).
    """

    def __init__(
        self, air: Air, dice: random.Random, name: str, every: float, confirms: float, *, eui: bytes = b"",
        join_eui: bytes = b"", app_key: bytes = b"", session: Session | None = None, always: bool = False,
        adr: bool = False,
    ) -> None:  # fmt: skip
        self.air, self._dice, self.name, self.always = air, dice, name, always
        self._every, self._confirms, self._adr = every, confirms, adr
        self.eui, self._join_eui, self.app_key, self.session = eui, join_eui, app_key, session
        self.count = 0
        self.readings: dict[int, bytes] = {}
        """The frame of each measurement, by its number."""
        self.received: list[tuple[float, int]] = []
        """When a downlink with a value came, and the value."""
        self.joins: list[tuple[int, int]] = []
        """DevNonce and JoinNonce of each join that was answered and heard."""
        self.requests: dict[bytes, int] = {}
        """DevNonces, by their join-requests."""
        self.complaints: list[str] = []
        """What a server must not do."""
        self._nonce = -1
        self._windows: list[tuple[float, float, int]] = []
        self._owes_ack = False
        self._answers = b""
        self._silence = 0
        """Uplinks since the last downlink."""
        self._waiting: bytes | None = None
        """The confirmed frame that is not acknowledged."""
        self._turn = 0
        air.nodes.append(self)
        air.later(dice.uniform(5, 60), self.speak, self._turn)

    # -- what it says ------------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """It lost its battery. By OTAA it knows nothing any more; by ABP its counters are on its flash."""
        self._waiting, self._owes_ack, self._answers, self._nonce = None, False, b"", -1
        if self.app_key:
            self.session = None
        self._soon(self._dice.uniform(2, 20))

    def _soon(self, seconds: float) -> None:
        """Its next word; any other that was planned is off."""
        self._turn += 1
        self.air.later(seconds, self.speak, self._turn)

    def speak(self, turn: int) -> None:
        if turn != self._turn:
            return
        if self.session is None:
            self._join()
            self._soon(self._dice.uniform(15, 60))
            return
        frame = self._uplink(self.session)
        if self._waiting is not None:
            self._insist(frame, 1)
        else:
            self._send(frame, self.session.rx1_delay)
        self._soon(self._every * self._dice.uniform(0.8, 1.2))

    def _join(self) -> None:
        self._nonce = self._dice.getrandbits(16)
        body = b"\0" + self._join_eui[::-1] + self.eui[::-1] + self._nonce.to_bytes(2, "little")
        frame = body + cmac(self.app_key, body)[:4]
        self.requests[frame] = self._nonce
        self._send(frame, JOIN_DELAY)

    def _uplink(self, session: Session) -> bytes:
        """The next measurement."""
        self.count += 1
        confirmed = self._dice.random() < self._confirms
        options, self._answers = self._answers, b""
        ask = self._adr and self._silence >= LIMIT
        control = self._adr << 7 | ask << 6 | self._owes_ack << 5 | len(options)
        self._owes_ack = False
        body = struct.pack("<BIBH", 0x80 if confirmed else 0x40, session.address, control, session.up & 0xFFFF)
        data = cipher(session.application, False, session.address, session.up, struct.pack(">I", self.count))
        body += options + b"\x02" + data
        frame = body + mic(session.network, False, session.address, session.up, body)
        session.up += 1
        self._silence += 1
        self.readings[self.count] = frame
        self._waiting = frame if confirmed else None
        return frame

    def _insist(self, frame: bytes, tries: int) -> None:
        """The same frame until it is acknowledged: again 1 to 3 s after the second window (ACK_TIMEOUT)."""
        if self._waiting is not frame or self.session is None:
            return
        self._send(frame, self.session.rx1_delay)
        if tries < TRIES:
            self.air.later(self.session.rx1_delay + 3.5 + self._dice.uniform(1, 3), self._insist, frame, tries + 1)

    def _send(self, frame: bytes, delay: float) -> None:
        frequency, sf = self._dice.choice(CHANNELS), 7
        took, now = seconds_on_air(len(frame), sf), self.air.now()
        self._windows = [(now + took + delay, frequency, sf), (now + took + delay + 1.0, *RX2)]
        self.air.later(took, self.air.up, frame, frequency, sf)

    # -- what it hears -----------------------------------------------------------------------------------------------

    def listens(self, frequency: float, sf: int) -> bool:
        """Whether it hears what begins now."""
        now = self.air.now()
        opens = any(abs(now - at) < SAME and (where, how) == (frequency, sf) for at, where, how in self._windows)
        return opens or (self.always and self.session is not None and (frequency, sf) == RX2)

    def took(self, frame: bytes) -> None:
        if frame[0] == 0x20:
            self._accepted(frame)
        elif frame[0] in (0x60, 0xA0) and self.session is not None:
            self._data(frame, self.session)

    def _accepted(self, frame: bytes) -> None:
        """A join-accept (6.2.5): whoever answers encrypts with the decryption, so this is the encryption."""
        if self._nonce < 0 or len(frame) not in (17, 33):
            return
        body = encrypt(self.app_key, frame[1:])
        if cmac(self.app_key, frame[:1] + body[:-4])[:4] != body[-4:]:
            return
        self.joins.append((self._nonce, int.from_bytes(body[:3], "little")))
        tail = body[:6] + self._nonce.to_bytes(2, "little") + bytes(7)
        keys = (encrypt(self.app_key, head + tail) for head in (b"\x01", b"\x02"))
        self.session = Session(int.from_bytes(body[6:10], "little"), *keys, float(body[11] & 15 or 1))
        self._nonce, self._waiting, self._silence = -1, None, 0
        self._soon(self._dice.uniform(3, 30))

    def _data(self, frame: bytes, session: Session) -> None:
        """A frame for this node; what is another's, forged, or was there already is passed over."""
        address, control, low = struct.unpack_from("<IBH", frame, 1)
        if address != session.address:
            return
        counter = (max(session.down, 0) & ~0xFFFF) + low
        if mic(session.network, True, address, counter, frame[:-4]) != frame[-4:]:
            self.complaints.append(f"{self.name} got a downlink with a wrong MIC, counter {low}")
            return
        if counter <= session.down:
            return
        session.down, self._silence = counter, 0
        if control & 0x20:
            self._waiting = None
        end = 8 + (control & 15)
        self._obey(frame[8:end])
        if frame[0] == 0xA0:
            self._owes_ack = True
            if self.always:
                self._soon(self._dice.uniform(1, 4))
        if end < len(frame) - 4:
            key = session.application if frame[end] else session.network
            data = cipher(key, True, address, counter, frame[end + 1 : -4])
            if not frame[end]:
                self._obey(data)
            elif frame[end] == 2 and len(data) == 3 and data[0] == 1:
                self.received.append((self.air.now(), int.from_bytes(data[1:], "big")))
            else:
                self.complaints.append(f"{self.name} got {data.hex()} on port {frame[end]}")

    def _obey(self, commands: bytes) -> None:
        """MAC commands: what it is told is done, and answered with its next frame."""
        at = 0
        while at < len(commands):
            kind = commands[at]
            if kind not in _COMMANDS or at + 1 + _COMMANDS[kind] > len(commands):
                self.complaints.append(f"{self.name} got the MAC commands {commands.hex()}")
                return
            if kind == 0x03:
                self._answers += b"\x03\x07"
            elif kind == 0x06:
                self._answers += bytes((0x06, 200, 10))
            at += 1 + _COMMANDS[kind]
        self._answers = self._answers[:15]
