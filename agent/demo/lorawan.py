"""The radio side of LoRaWAN on this machine: nodes, and a concentrator with Semtech's packet forwarder.

    air = await Concentrator("127.0.0.1", 1700, "0102030405060708").open()
    node = OtaaNode("24e124136b316001", "24e124c0002a0001", bytes.fromhex("0102030405060708090a0b0c0d0e0f10"))
    await node.join(air)
    air.send(node.uplink(85, b"\\x01\\x75\\x64"))

Written from the specifications (LoRaWAN 1.0.3; PROTOCOL.TXT of Lora-net/packet_forwarder) apart from the network
server, so that one checks the other.
"""

from __future__ import annotations

import asyncio
import json
import random
import struct
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any, Self

__all__ = ["AbpNode", "Concentrator", "OtaaNode"]

CHANNELS = 868.1, 868.3, 868.5
"""MHz, those of every node; a join-accept adds more."""
_FAR = 1 << 11
"""Seconds to a moment that has passed: the counter of 71 minutes has gone round nearly."""
_PUSH_DATA, _PULL_DATA, _PULL_RESP, _PULL_ACK, _TX_ACK = 0, 2, 3, 4, 5


class Concentrator(asyncio.DatagramProtocol):
    """A gateway: what it is given goes to the server, what the server orders goes on the air, to its `nodes`.

    With `at_once` a downlink does not wait for its receive window. `errors` are answered to the next orders in place of
    sending (TOO_LATE, COLLISION_PACKET, …). `sent` has every order with the second (of `time.monotonic`) it came.
    """

    def __init__(self, host: str, port: int, eui: str, *, at_once: bool = False, tmst: int = 0) -> None:
        self._to, self._eui, self._at_once = (host, port), bytes.fromhex(eui), at_once
        self._began = time.monotonic_ns() // 1000 - tmst
        self._transport: asyncio.DatagramTransport | None = None
        self._pulling: asyncio.Task[None] | None = None
        self.nodes: list[_Node] = []
        self.errors: list[str] = []
        self.sent: list[tuple[float, dict[str, Any]]] = []
        self.reached = asyncio.Event()
        """The server has answered a PULL_DATA."""

    async def open(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=self._to)
        self._pulling = asyncio.create_task(self._pull())
        return self

    async def close(self) -> None:
        if self._pulling is not None:
            self._pulling.cancel()
            await asyncio.wait([self._pulling])
        if self._transport is not None:
            self._transport.close()

    def send(
        self, frame: bytes, *, frequency: float | None = None, sf: int = 7, rssi: int = -70, snr: float = 8.5
    ) -> None:
        """A frame was heard on the air."""
        packet = {
            "tmst": self._now(), "chan": 0, "rfch": 0, "freq": frequency or random.choice(CHANNELS), "stat": 1,
            "modu": "LORA", "datr": f"SF{sf}BW125", "codr": "4/5", "rssi": rssi, "lsnr": snr, "size": len(frame),
            "data": b64encode(frame).decode(),
        }  # fmt: skip
        self.push({"rxpk": [packet]})

    def push(self, body: dict[str, Any]) -> None:
        self._datagram(_PUSH_DATA, random.randbytes(2), json.dumps(body).encode())

    def connection_lost(self, error: Exception | None) -> None:
        """Closed."""

    def error_received(self, error: Exception) -> None:
        """The port is closed (ICMP): the forwarder keeps sending."""

    def datagram_received(self, data: bytes, _address: Any) -> None:
        if data[3] == _PULL_ACK:
            self.reached.set()
        if data[3] != _PULL_RESP:
            return
        order = json.loads(data[4:])["txpk"]
        rest = 0 if self._at_once or order["imme"] else (order["tmst"] - self._now()) % (1 << 32) / 1_000_000
        error = self.errors.pop(0) if self.errors else "TOO_LATE" if rest > _FAR else "NONE"
        self._datagram(_TX_ACK, data[1:3], json.dumps({"txpk_ack": {"error": error}}).encode())
        if error != "NONE":
            return
        self.sent.append((time.monotonic(), order))
        asyncio.get_running_loop().call_later(rest, self._on_air, b64decode(order["data"]))

    def _on_air(self, frame: bytes) -> None:
        for node in self.nodes:
            node.hear(frame)

    async def _pull(self) -> None:
        while True:
            self._datagram(_PULL_DATA, random.randbytes(2))
            await asyncio.sleep(5 if self.reached.is_set() else 0.2)

    def _datagram(self, kind: int, token: bytes, body: bytes = b"") -> None:
        if self._transport is not None:
            self._transport.sendto(bytes([2, *token, kind]) + self._eui + body)

    def _now(self) -> int:
        return (time.monotonic_ns() // 1000 - self._began) % (1 << 32)


class _Node:
    """A class A device with a session: it counts, encrypts, and hears what is meant for it."""

    def __init__(self) -> None:
        self.address: int | None = None
        self.up, self.down = 0, -1
        self.received: list[tuple[int, bytes]] = []
        """Port and payload of each downlink with a payload."""
        self.commands: list[bytes] = []
        """MAC commands of each downlink that had some."""
        self.acked = 0
        self.pending = False
        self.adr = self.adr_ack_req = False
        """The bits of the next uplinks."""
        self.on_downlink: Callable[[int, bytes], None] = lambda _port, _payload: None
        self._owes_ack = False
        self._network = self._application = b""

    def uplink(self, port: int | None, payload: bytes, *, confirmed: bool = False, commands: bytes = b"") -> bytes:
        """The next frame. It acknowledges a confirmed downlink that came since the last one."""
        assert self.address is not None, "it has not joined"
        control = len(commands) | self._owes_ack << 5 | self.adr_ack_req << 6 | self.adr << 7
        body = struct.pack("<BIBH", 0x80 if confirmed else 0x40, self.address, control, self.up & 0xFFFF) + commands
        if port is not None:
            key = self._application if port else self._network
            body += bytes([port]) + _crypt(key, 0, self.address, self.up, payload)
        frame = body + _mic(self._network, 0, self.address, self.up, body)
        self._owes_ack = False
        self.up += 1
        return frame

    def hear(self, frame: bytes) -> None:
        """A frame was on the air; those of others, forged and repeated ones are passed over."""
        if frame[0] >> 5 not in (3, 5) or self.address is None:
            return
        _, address, control, counter = struct.unpack("<BIBH", frame[:8])
        if address != self.address or counter <= self.down:
            return
        if _mic(self._network, 1, address, counter, frame[:-4]) != frame[-4:]:
            return
        self.down = counter
        self.acked += control >> 5 & 1
        self.pending = bool(control & 0x10)
        end = 8 + (control & 15)
        if control & 15:
            self.commands.append(frame[8:end])
        self._owes_ack = frame[0] >> 5 == 5
        if end < len(frame) - 4:
            port = frame[end]
            payload = _crypt(self._application, 1, address, counter, frame[end + 1 : -4])
            self.received.append((port, payload))
            self.on_downlink(port, payload)

    def _begin(self, address: int, network: bytes, application: bytes) -> None:
        self.address, self._network, self._application = address, network, application
        self.up, self.down, self._owes_ack = 0, -1, False


class AbpNode(_Node):
    """A node whose session was written into it by hand; the address is hexadecimal."""

    def __init__(self, dev_addr: str, network_key: bytes, application_key: bytes) -> None:
        super().__init__()
        self._begin(int(dev_addr, 16), network_key, application_key)


class OtaaNode(_Node):
    """A node that joins. EUIs are hexadecimal, as on the label."""

    def __init__(self, dev_eui: str, join_eui: str, app_key: bytes) -> None:
        super().__init__()
        self._euis = bytes.fromhex(join_eui)[::-1] + bytes.fromhex(dev_eui)[::-1]
        self._key = app_key
        self._nonce = b""
        self.channels = list(CHANNELS)
        self.rx1_delay, self.rx2_rate = 1, 0
        """Seconds to RX1, and the data rate of RX2, as the join-accept said."""
        self.joined = asyncio.Event()

    async def join(self, air: Concentrator, every: float = 8.0) -> None:
        """Ask until there is an answer."""
        if self not in air.nodes:
            air.nodes.append(self)
        self.joined.clear()
        while not self.joined.is_set():
            air.send(self.join_request())
            try:
                async with asyncio.timeout(every):
                    await self.joined.wait()
            except TimeoutError:
                continue

    def join_request(self) -> bytes:
        self._nonce = random.randbytes(2)
        body = b"\0" + self._euis + self._nonce
        return body + _cmac(self._key, body)[:4]

    def hear(self, frame: bytes) -> None:
        if frame[0] >> 5 == 1:
            self._accept(frame)
        else:
            super().hear(frame)

    def _accept(self, frame: bytes) -> None:
        body = _encrypt(self._key, frame[1:]) if len(frame) in (17, 33) else b""
        if not self._nonce or not body or _cmac(self._key, frame[:1] + body[:-4])[:4] != body[-4:]:
            return
        tail = body[:6] + self._nonce + bytes(7)
        self._nonce = b""
        self._begin(int.from_bytes(body[6:10], "little"), _encrypt(self._key, b"\1" + tail),
                    _encrypt(self._key, b"\2" + tail))  # fmt: skip
        self.rx1_delay, self.rx2_rate = body[11] & 15 or 1, body[10] & 15
        more = body[12:27] if len(body) == 32 else b""
        added = (int.from_bytes(more[i : i + 3], "little") / 10_000 for i in range(0, len(more), 3))
        self.channels = [*CHANNELS, *added]
        self.joined.set()


def _encrypt(key: bytes, blocks: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks)


def _cmac(key: bytes, message: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import algorithms
    from cryptography.hazmat.primitives.cmac import CMAC

    sums = CMAC(algorithms.AES(key))
    sums.update(message)
    return sums.finalize()


def _mic(key: bytes, direction: int, address: int, counter: int, body: bytes) -> bytes:
    return _cmac(key, struct.pack("<B4xBIIBB", 0x49, direction, address, counter, 0, len(body)) + body)[:4]


def _crypt(key: bytes, direction: int, address: int, counter: int, data: bytes) -> bytes:
    out = bytearray()
    for number in range(0, len(data), 16):
        pad = _encrypt(key, struct.pack("<B4xBIIBB", 1, direction, address, counter, 0, number // 16 + 1))
        out += bytes(a ^ b for a, b in zip(data[number : number + 16], pad, strict=False))
    return bytes(out)
