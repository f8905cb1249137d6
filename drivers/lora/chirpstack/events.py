"""ChirpStack's events and commands as JSON, by protobuf's rules: camelCase, a default may be left out, and numbers of
64 bits are text. Source: chirpstack, api/proto/integration/integration.proto and api/proto/gw/gw.proto.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from drivers.lora.payload64 import from_base64
from drivers.lora.values import whole

__all__ = ["EVENTS", "LARGEST", "Ack", "Malformed", "Topics", "UplinkEvent", "battery", "command", "parse", "text"]

LARGEST = 65_536
"""Bytes of an event; LoRaWAN carries 242 bytes, heard by some gateways."""
EVENTS = ("up", "join", "ack", "txack", "log", "status", "location", "integration")


class Malformed(ValueError):
    """This is no event of ChirpStack's; the message says why not."""


class Topics:
    """Topics by templates: {application}, {dev_eui} and {event} each stand for a whole level."""

    def __init__(self, event: str, command: str, application: str) -> None:
        self._levels = event.replace("{application}", application).split("/")
        self._command = command.replace("{application}", application)

    @property
    def subscription(self) -> str:
        return "/".join("+" if level in ("{dev_eui}", "{event}") else level for level in self._levels)

    def read(self, topic: str) -> tuple[str, str]:
        """DevEUI, as the topic has it, and event. Malformed for a topic of another shape."""
        levels = topic.split("/")
        found = dict(zip(self._levels, levels, strict=False))
        if len(levels) != len(self._levels):
            raise Malformed("a topic of another shape")
        return found["{dev_eui}"], found["{event}"]

    def command(self, dev_eui: str) -> str:
        return self._command.replace("{dev_eui}", dev_eui)


@dataclass(frozen=True, slots=True)
class UplinkEvent:
    """The content of an `up` event. `heard_ms` is Unix milliseconds by the server's clock, None if it does not say."""

    payload: bytes
    fport: int
    fcnt: int
    rssi: float | None
    snr: float | None
    sf: int | None
    decoded: Mapping[str, Any] | None
    heard_ms: int | None

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> UplinkEvent:
        """Malformed where what matters is not what it should be."""
        gateways = [each for each in _list(event, "rxInfo") if isinstance(each, Mapping)]
        best = max(gateways, key=_strength, default=None)
        radio = _object(_object(_object(event, "txInfo"), "modulation"), "lora")
        decoded = event.get("object")
        return cls(
            _base64(event.get("data")),
            _whole(event, "fPort", 255),
            _whole(event, "fCnt", (1 << 32) - 1),
            None if best is None else _measured(best, "rssi"),
            None if best is None else _measured(best, "snr"),
            _spreading_factor(radio),
            decoded if isinstance(decoded, Mapping) else None,
            _time(event.get("time")),
        )


@dataclass(frozen=True, slots=True)
class Ack:
    """The content of an `ack` event about the downlink `item`."""

    item: str
    acknowledged: bool

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Ack:
        return cls(text(event, "queueItemId"), event.get("acknowledged") is True)


def parse(body: bytes, dev_eui: str) -> Mapping[str, Any]:
    """An event of the device that its topic names. Malformed if it is not an event."""
    if len(body) > LARGEST:
        raise Malformed(f"longer than {LARGEST // 1024} kB")
    try:
        event = json.loads(body, parse_int=whole)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON: {str(error)[:80]}") from None
    if not isinstance(event, Mapping):
        raise Malformed("no JSON object")
    named = text(_object(event, "deviceInfo"), "devEui")
    if named.lower() != dev_eui.lower():
        raise Malformed(f"it is about {named[:32] or 'no device'}, and its topic about {dev_eui[:32]}")
    return event


def battery(event: Mapping[str, Any]) -> float | None:
    """The battery of a `status` event in %; None if it is not known, or there is none."""
    if event.get("externalPowerSource") is True or event.get("batteryLevelUnavailable") is True:
        return None
    level = _number(event, "batteryLevel")
    return level if 0 <= level <= 100 else None


def command(dev_eui: str, item: str, fport: int, payload: bytes, confirmed: bool, expires_ms: int | None) -> bytes:
    """A downlink. `dev_eui` must be the topic's to the letter, else ChirpStack drops it."""
    document: dict[str, Any] = {
        "devEui": dev_eui, "id": item, "confirmed": confirmed, "fPort": fport,
        "data": base64.b64encode(payload).decode("ascii"),
    }  # fmt: skip
    if expires_ms is not None:
        stamp = datetime.fromtimestamp(expires_ms / 1000, UTC)
        document["expiresAt"] = stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps(document).encode()


def text(event: Mapping[str, Any], key: str) -> str:
    """A text; empty where there is none."""
    found = event.get(key)
    return found if isinstance(found, str) else ""


def _object(event: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = event.get(key)
    return found if isinstance(found, Mapping) else {}


def _list(event: Mapping[str, Any], key: str) -> list[Any]:
    found = event.get(key)
    return found if isinstance(found, list) else []


def _number(event: Mapping[str, Any], key: str) -> float:
    """A number, as such or as text; 0 where it is left out."""
    found = event.get(key)
    try:
        number = 0.0 if found is None or isinstance(found, bool) else float(found)
    except (TypeError, ValueError, OverflowError):
        raise Malformed(f"{key} is no number") from None
    if not math.isfinite(number):
        raise Malformed(f"{key} is no finite number")
    return number


def _measured(event: Mapping[str, Any], key: str) -> float | None:
    """A number that is of interest beside the payload; None if it is not a number."""
    try:
        return _number(event, key)
    except Malformed:
        return None


def _strength(gateway: Mapping[str, Any]) -> tuple[float, float]:
    """SNR, and RSSI among equals; least where they are no numbers."""
    snr, rssi = _measured(gateway, "snr"), _measured(gateway, "rssi")
    return (-math.inf if snr is None else snr, -math.inf if rssi is None else rssi)


def _spreading_factor(radio: Mapping[str, Any]) -> int | None:
    try:
        return _whole(radio, "spreadingFactor", 12) or None
    except Malformed:
        return None


def _whole(event: Mapping[str, Any], key: str, most: int) -> int:
    number = _number(event, key)
    if number != int(number) or not 0 <= number <= most:
        raise Malformed(f"{key} {number:g} is not between 0 and {most}")
    return int(number)


def _base64(found: Any) -> bytes:
    if found is None:
        return b""
    try:
        return from_base64(found)
    except (AttributeError, ValueError):
        raise Malformed("data is no base64") from None


def _time(found: Any) -> int | None:
    try:
        stamp = datetime.fromisoformat(found)
        return round(stamp.timestamp() * 1000) if stamp.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None
