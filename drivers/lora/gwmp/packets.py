"""The datagrams between a Semtech packet forwarder and its server (GWMP version 2, UDP port 1700).

Facts: Lora-net/packet_forwarder, PROTOCOL.TXT. Header `02 | token (2) | id`; what a gateway sends carries its EUI
(8 bytes) before the JSON. Gateways with several antennas tell the strength by antenna, in `rsig` (rssic, lsnr).
"""

from __future__ import annotations

import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from drivers.lora.payload64 import from_base64
from drivers.lora.values import whole

__all__ = [
    "PullData", "PushData", "Received", "Rubbish", "Transmission", "TxAck", "acknowledgement", "parse", "pull_resp",
]  # fmt: skip

VERSION = 2
PUSH_DATA, PUSH_ACK, PULL_DATA, PULL_RESP, PULL_ACK, TX_ACK = range(6)
MOST_PACKETS = 64
"""Received packets taken from one datagram: a concentrator demodulates 8 or 16 at a time."""
TMST_MODULUS = 1 << 32
"""The concentrator counts microseconds in 32 bits: 71.6 minutes."""

DEEPEST = 8
"""Levels of JSON that are read: `rsig` of a packet is on the fifth."""
_MOST_BRACKETS = 20_000
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
_DATR = re.compile(r"SF([5-9]|1[0-2])BW(125|250|500)")


class Rubbish(ValueError):
    """A datagram or a frame that is not what it should be; it is counted and forgotten."""


@dataclass(frozen=True, slots=True)
class Received:
    """One radio packet as one gateway heard it. Frequency in Hz, bandwidth in kHz, rssi in dBm, snr in dB.

    `sf` and `bandwidth` are None for FSK.
    """

    gateway: str
    payload: bytes
    tmst: int
    frequency: int
    sf: int | None
    bandwidth: int | None
    rssi: float | None
    snr: float | None


@dataclass(frozen=True, slots=True)
class PushData:
    token: int
    gateway: str
    packets: Sequence[Received]


@dataclass(frozen=True, slots=True)
class PullData:
    token: int
    gateway: str


@dataclass(frozen=True, slots=True)
class TxAck:
    """The result of a PULL_RESP: `error` is empty when the concentrator has taken it."""

    token: int
    gateway: str
    error: str


@dataclass(frozen=True, slots=True)
class Transmission:
    """One radio packet to send: at `tmst` of the gateway's counter, or at once (None). Power is EIRP in dBm."""

    payload: bytes
    tmst: int | None
    frequency: int
    sf: int
    bandwidth: int
    power: int


def parse(datagram: bytes) -> PushData | PullData | TxAck:
    """Read what a gateway sent. Rubbish says what is wrong with it."""
    if len(datagram) < 12 or datagram[0] != VERSION:
        raise Rubbish("no GWMP version 2 datagram of a gateway")
    token, kind, gateway = int.from_bytes(datagram[1:3], "big"), datagram[3], datagram[4:12].hex()
    if kind == PULL_DATA:
        return PullData(token, gateway)
    if kind == PUSH_DATA:
        packets = _json(datagram[12:]).get("rxpk", [])
        if not isinstance(packets, list):
            raise Rubbish("rxpk is no list")
        found = (_received(gateway, packet) for packet in packets)
        good = (packet for packet in found if packet is not None)
        return PushData(token, gateway, list(islice(good, MOST_PACKETS)))
    if kind == TX_ACK:
        return TxAck(token, gateway, _tx_error(datagram[12:]))
    raise Rubbish(f"GWMP type {kind} is not sent by a gateway")


def acknowledgement(datagram: bytes) -> bytes:
    """PUSH_ACK or PULL_ACK for a datagram that was parsed."""
    return bytes([VERSION, *datagram[1:3], PUSH_ACK if datagram[3] == PUSH_DATA else PULL_ACK])


def pull_resp(token: int, sent: Transmission) -> bytes:
    """The order to send one radio packet."""
    body: dict[str, Any] = {"imme": True} if sent.tmst is None else {"imme": False, "tmst": sent.tmst}
    body |= {
        "rfch": 0, "freq": sent.frequency / 1_000_000, "powe": sent.power, "modu": "LORA",
        "datr": f"SF{sent.sf}BW{sent.bandwidth}", "codr": "4/5", "ipol": True, "ncrc": True,
        "size": len(sent.payload), "data": b64encode(sent.payload).decode(),
    }  # fmt: skip
    return bytes([VERSION, *token.to_bytes(2, "big"), PULL_RESP]) + json.dumps({"txpk": body}).encode()


def _json(data: bytes) -> Mapping[str, Any]:
    text = data.decode("utf-8", "replace").rstrip("\0 \r\n")
    try:
        found = _loads(text)
    except RecursionError:
        found = _loads(_shallow(text))
    if not isinstance(found, dict):
        raise Rubbish("no JSON object")
    return found


def _loads(text: str) -> Any:
    try:
        return json.loads(text, parse_int=whole)
    except ValueError as error:
        raise Rubbish("no JSON") from error


def _shallow(text: str) -> str:
    """The same with null in place of what is nested deeper than anything that a gateway says."""
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        raise Rubbish("JSON nested too deep")
    kept, depth, start = [], 0, 0
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == DEEPEST + 1:
                kept.append(text[start : token.start()])
        elif token[0] in "]}":
            if depth == DEEPEST + 1:
                kept.append("null")
                start = token.end()
            depth -= 1
    if depth:
        raise Rubbish("no JSON")
    return "".join([*kept, text[start:]])


def _received(gateway: str, packet: Any) -> Received | None:
    """One rxpk; None for what is broken or was received with a wrong CRC (stat 1 is right)."""
    if not isinstance(packet, dict) or packet.get("stat", 1) != 1:
        return None
    tmst, frequency, data = _number(packet.get("tmst")), _number(packet.get("freq")), packet.get("data")
    datr = packet.get("datr")
    rate = _DATR.fullmatch(datr) if isinstance(datr, str) else None
    if tmst is None or not isinstance(data, str) or (isinstance(datr, str) and rate is None):
        return None
    if frequency is None or not 100 <= frequency <= 3000:
        return None
    try:
        payload = from_base64(data)
    except ValueError:
        return None
    rssi, snr = _strength(packet)
    return Received(
        gateway,
        payload,
        round(tmst) % TMST_MODULUS,
        round(frequency * 1_000_000),
        int(rate[1]) if rate else None,
        int(rate[2]) if rate else None,
        rssi,
        snr,
    )


def _strength(packet: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """RSSI (dBm) and SNR (dB): the packet's own, else those of the antenna that heard it best (`rsig`)."""
    rssi, snr = _number(packet.get("rssi")), _number(packet.get("lsnr"))
    antennas = packet.get("rsig")
    heard = [each for each in antennas if isinstance(each, dict)] if isinstance(antennas, list) else []
    if heard and (rssi is None or snr is None):
        best = max(heard, key=lambda each: (_or_least(each.get("lsnr")), _or_least(each.get("rssic"))))
        rssi = next((n for n in (rssi, _number(best.get("rssic")), _number(best.get("rssis"))) if n is not None), None)
        snr = _number(best.get("lsnr")) if snr is None else snr
    return rssi, snr


def _or_least(value: Any) -> float:
    number = _number(value)
    return -math.inf if number is None else number


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _tx_error(text: bytes) -> str:
    """The error of a TX_ACK: empty, NONE and a mere warning (of the power, mostly) are success."""
    if not text.strip(b"\0 \t\r\n"):
        return ""
    body = _json(text).get("txpk_ack")
    error = body.get("error") if isinstance(body, dict) else None
    return "" if error in (None, "NONE", "") else str(error)[:32]
