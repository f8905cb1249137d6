"""Where a wire or a broker is, as the site file says it: serial ports, hosts and addresses."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from agent.site.language.values import Choice, Written, plain

__all__ = ["Baudrate", "Host", "Parity", "SerialPort", "StopBits", "TcpPort", "Url", "broker"]


def _port(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError(f"{plain(value)} is not a serial port; write its path, such as /dev/serial/by-id/usb-FTDI-0")
    path, _, speed = value.rpartition(":")
    if re.fullmatch("[0-9]{4,7}", speed):
        raise ValueError(f"{plain(value)} is not a serial port; write port: {path}, baudrate: {speed}")
    return value


def _host(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    parts = text.removesuffix(".").split(".")
    if not re.fullmatch(r"[A-Za-z0-9._:%-]{1,253}", text) or not all(0 < len(part) <= 63 for part in parts):
        raise ValueError(f"{plain(value)} is not a host; write its name or address, such as 192.168.1.20")
    return text


def _url(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if "@" in text:  # wherever a "/", "#" or "?" of the password has left it
        raise ValueError("a secret in the file; take it out of the address, and write username and password keys")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"{plain(value)} is not an address; write mqtts://HOST:8883") from None
    if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or port == 0:
        raise ValueError(f"{plain(value)} is not an address; write mqtt://HOST:1883, or mqtts://HOST:8883 with TLS")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("the address has more than host and port; topics go under prefix")
    return text


Url = Annotated[
    str,
    Written(_url, {"type": "string", "pattern": "^mqtts?://[^/@]+/?$"}, "mqtt://HOST[:1883], or mqtts://HOST[:8883]"),
]


SerialPort = Annotated[
    str, Written(_port, {"type": "string", "pattern": "^/"}, "a serial port by /dev/serial/by-id or by-path")
]
Host = Annotated[str, Written(_host, {"type": "string"}, "a host's name or address")]
TcpPort = Annotated[int, Field(ge=1, le=65535)]
Baudrate = Annotated[int, Field(ge=300, le=4_000_000)]
_PARITY = Choice("N", "E", "O")


def _parity(value: Any) -> str:
    frame = re.fullmatch("[5-8]([neoNEO])([12])", value) if isinstance(value, str) else None
    if frame is not None:
        hint = f"write parity: {frame[1].upper()}, stopbits: {frame[2]}"
        raise ValueError(f"{plain(value)} is none of {_PARITY.words}; {hint}")
    return str(_PARITY.parse(value))


Parity = Annotated[Literal["N", "E", "O"], Written(_parity, _PARITY.schema, _PARITY.words)]
StopBits = Annotated[int, Field(ge=1, le=2)]


def broker(url: str) -> tuple[str, int, bool]:
    """Host, port, and whether with TLS."""
    parts = urlsplit(url)
    tls = parts.scheme == "mqtts"
    return parts.hostname or "", parts.port or (8883 if tls else 1883), tls
