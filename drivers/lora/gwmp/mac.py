"""MAC commands of LoRaWAN 1.0.x: what a device asks, and what it is answered; of a better data rate adr knows.

Facts: LoRaWAN Specification 1.0.3, chapter 5 (DeviceTime: 5.8; lengths by the tables there).
"""

from __future__ import annotations

from collections.abc import Mapping

from drivers.lora.gwmp.region import FLOOR

__all__ = [
    "DEVICE_TIME", "DEV_STATUS", "DEV_STATUS_REQ", "LINK_ADR", "LINK_CHECK", "device_time_ans", "link_check_ans",
    "status", "uplink",
]  # fmt: skip

LINK_CHECK, LINK_ADR, DEV_STATUS, DEVICE_TIME = 0x02, 0x03, 0x06, 0x0D
DEV_STATUS_REQ = bytes([DEV_STATUS])

_LENGTHS = {
    0x01: 1, LINK_CHECK: 0, LINK_ADR: 1, 0x04: 0, 0x05: 1, DEV_STATUS: 2, 0x07: 1, 0x08: 0, 0x09: 0, 0x0A: 1, 0x0B: 1,
    0x0C: 0, DEVICE_TIME: 0, 0x0F: 1, 0x10: 1, 0x11: 1, 0x12: 0, 0x13: 1,
}  # fmt: skip
_GPS_EPOCH_MS = 315_964_800_000
_LEAP_SECONDS = 18
"""Between GPS time and UTC since 2017-01-01 (IERS Bulletin C); no other is announced."""


def uplink(commands: bytes) -> tuple[Mapping[int, bytes], int | None]:
    """The MAC commands that a device sent: the payload of each by its identifier (a repeated one counts once), and the
    first identifier that is unknown: its length is unknown too, so the rest is left unread.
    """
    found: dict[int, bytes] = {}
    at = 0
    while at < len(commands):
        identifier = commands[at]
        length = _LENGTHS.get(identifier)
        if length is None or at + 1 + length > len(commands):
            return found, identifier
        found[identifier] = commands[at + 1 : at + 1 + length]
        at += 1 + length
    return found, None


def link_check_ans(snr: float | None, sf: int | None, gateways: int) -> bytes:
    """How far above the floor of demodulation (dB, 0 to 254) the best gateway heard it, and how many heard it."""
    margin = (snr or 0.0) - FLOOR.get(sf or 7, -7.5)
    return bytes([LINK_CHECK, max(0, min(254, round(margin))), min(255, gateways)])


def device_time_ans(wall_ms: int) -> bytes:
    """GPS time at the end of the uplink, from Unix milliseconds: whole seconds, and 1/256 s."""
    gps = wall_ms - _GPS_EPOCH_MS + _LEAP_SECONDS * 1000
    return bytes([DEVICE_TIME]) + (gps // 1000 & 0xFFFFFFFF).to_bytes(4, "little") + bytes([gps % 1000 * 256 // 1000])


def status(answer: bytes) -> tuple[float | None, int]:
    """Battery in % (None: fed from outside, or not known) and demodulation margin in dB, of a DevStatusAns."""
    battery = None if answer[0] in (0, 255) else round((answer[0] - 1) / 2.53, 1)
    signed = answer[1] & 0x3F
    return battery, signed - 64 if signed & 0x20 else signed
