"""LoRaWAN frames: reading, building, message integrity and encryption.

Facts: LoRaWAN Specification 1.0.3, chapters 4 (MAC message formats) and 6.2 (join procedure). Multi-byte fields are
little-endian on the air; EUIs here are text in the usual order, device addresses are numbers.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from drivers.lora.gwmp.packets import Rubbish

__all__ = ["Data", "JoinRequest", "Key", "data_mic", "downlink", "join_accept", "parse", "session_keys"]

JOIN_REQUEST, JOIN_ACCEPT, UP, DOWN, CONFIRMED_UP, CONFIRMED_DOWN = range(6)
UPLINK, DOWNLINK = 0, 1


class Key:
    """An AES-128 key. It never shows itself. ValueError if it is not 16 bytes."""

    __slots__ = ("_algorithm", "_cipher", "_encryptor")

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # 3 MB: where there is LoRaWAN

        if len(key) != 16:
            raise ValueError("an AES-128 key has 16 bytes")
        self._algorithm = algorithms.AES(key)
        self._cipher = Cipher(self._algorithm, modes.ECB())
        self._encryptor = self._cipher.encryptor()  # block by block, and never finished

    def encrypt(self, blocks: bytes) -> bytes:
        """AES-ECB over whole blocks."""
        return bytes(self._encryptor.update(blocks))

    def decrypt(self, blocks: bytes) -> bytes:
        return bytes(self._cipher.decryptor().update(blocks))

    def cmac(self, message: bytes) -> bytes:
        """AES-CMAC (RFC 4493)."""
        from cryptography.hazmat.primitives.cmac import CMAC

        sums = CMAC(self._algorithm)
        sums.update(message)
        return bytes(sums.finalize())

    def stream(self, direction: int, address: int, counter: int, data: bytes) -> bytes:
        """Encrypt or decrypt an FRMPayload (4.3.3): the same either way."""
        head = bytes([1, 0, 0, 0, 0, direction]) + address.to_bytes(4, "little") + counter.to_bytes(4, "little") + b"\0"
        count = (len(data) + 15) // 16
        pad = self.encrypt(b"".join(head + bytes([i]) for i in range(1, count + 1)))[: len(data)]
        return (int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")).to_bytes(len(data), "big")


@dataclass(frozen=True, slots=True)
class JoinRequest:
    join_eui: str
    dev_eui: str
    dev_nonce: int
    body: bytes
    mic: bytes

    def is_from(self, app_key: Key) -> bool:
        return hmac.compare_digest(app_key.cmac(self.body)[:4], self.mic)


@dataclass(frozen=True, slots=True)
class Data:
    """An uplink as it was on the air: `counter` has the 16 bits that are sent, `payload` is still encrypted."""

    confirmed: bool
    address: int
    ack: bool
    adr: bool
    adr_ack_req: bool
    """It asks for any downlink, and goes to a slower data rate without one."""
    options: bytes
    counter: int
    port: int | None
    payload: bytes
    body: bytes
    mic: bytes

    def is_from(self, key: Key, counter: int) -> bool:
        """Whether the network session key and the 32-bit counter give its MIC."""
        return hmac.compare_digest(data_mic(key, UPLINK, self.address, counter, self.body), self.mic)


def parse(frame: bytes) -> JoinRequest | Data:
    """Read what a device sent. Rubbish for anything else, LoRaWAN major versions other than R1 included."""
    if len(frame) < 12 or frame[0] & 3:
        raise Rubbish("no LoRaWAN R1 frame")
    kind, body, mic = frame[0] >> 5, frame[:-4], frame[-4:]
    if kind == JOIN_REQUEST:
        if len(frame) != 23:
            raise Rubbish("a join-request has 23 bytes")
        nonce = int.from_bytes(frame[17:19], "little")
        return JoinRequest(frame[8:0:-1].hex(), frame[16:8:-1].hex(), nonce, body, mic)
    if kind not in (UP, CONFIRMED_UP):
        raise Rubbish(f"message type {kind} is not sent by a LoRaWAN 1.0 device")
    control = frame[5]
    end = 8 + (control & 15)
    if end > len(body):
        raise Rubbish("FOpts are longer than the frame")
    port = body[end] if end < len(body) else None
    options, payload = body[8:end], body[end + 1 :]
    if port == 0 and options:
        raise Rubbish("MAC commands both in FOpts and on port 0")
    return Data(
        kind == CONFIRMED_UP,
        int.from_bytes(frame[1:5], "little"),
        bool(control & 0x20),
        bool(control & 0x80),
        control & 0xC0 == 0xC0,
        options,
        int.from_bytes(frame[6:8], "little"),
        port,
        payload,
        body,
        mic,
    )


def data_mic(key: Key, direction: int, address: int, counter: int, body: bytes) -> bytes:
    """The MIC of a data frame (4.4): the first 4 bytes of the CMAC over B0 and the frame."""
    b0 = bytes([0x49, 0, 0, 0, 0, direction]) + address.to_bytes(4, "little") + counter.to_bytes(4, "little")
    return key.cmac(b0 + bytes([0, len(body)]) + body)[:4]


def downlink(
    network: Key, application: Key, address: int, counter: int, *,
    confirmed: bool = False, adr: bool = False, ack: bool = False, pending: bool = False, options: bytes = b"",
    port: int | None = None, payload: bytes = b"",
) -> bytes:  # fmt: skip
    """A whole data frame to a device. `options` are MAC commands (at most 15 bytes), `port` 1 to 223 or None."""
    head = bytes([(CONFIRMED_DOWN if confirmed else DOWN) << 5]) + address.to_bytes(4, "little")
    control = adr << 7 | ack << 5 | pending << 4 | len(options)
    body = head + bytes([control]) + (counter & 0xFFFF).to_bytes(2, "little") + options
    if port is not None:
        body += bytes([port]) + application.stream(DOWNLINK, address, counter, payload)
    return body + data_mic(network, DOWNLINK, address, counter, body)


def join_accept(
    app_key: Key, join_nonce: int, net_id: int, address: int, rx_delay: int, channels: bytes, rx2_rate: int = 0
) -> bytes:
    """A whole join-accept (6.2.5), with RX1 at the uplink's data rate and RX2 at this one.

    `rx_delay` in seconds. It is "decrypted" to be encrypted, so that a device needs the encryption only.
    """
    body = join_nonce.to_bytes(3, "little") + net_id.to_bytes(3, "little") + address.to_bytes(4, "little")
    body += bytes([rx2_rate, rx_delay]) + channels
    head = bytes([JOIN_ACCEPT << 5])
    return head + app_key.decrypt(body + app_key.cmac(head + body)[:4])


def session_keys(app_key: Key, join_nonce: int, net_id: int, dev_nonce: int) -> tuple[Key, Key]:
    """NwkSKey and AppSKey (6.2.5), the same at each call: they need not be kept."""
    tail = join_nonce.to_bytes(3, "little") + net_id.to_bytes(3, "little") + dev_nonce.to_bytes(2, "little") + bytes(7)
    return Key(app_key.encrypt(b"\x01" + tail)), Key(app_key.encrypt(b"\x02" + tail))
