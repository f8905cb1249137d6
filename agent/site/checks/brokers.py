"""Addresses, certificates and passwords of MQTT brokers: the uplink's, and those of buses."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from agent.site.language.document import Keys
from agent.site.language.ports import broker

if TYPE_CHECKING:
    from agent.site.checks.names import Checked

__all__ = ["BrokerLogin", "check_broker", "check_login", "check_url", "is_address"]


class BrokerLogin(Protocol):
    """The keys of a section that names an MQTT broker."""

    url: str
    insecure: bool
    username: Any
    password: Any
    ca: Any
    cert: Any
    key: Any


def check_url(at: Checked, keys: Keys, url: str, login: BrokerLogin) -> None:
    """Host and port of a broker. A password without TLS is for this machine only."""
    host, _, tls = broker(url)
    if tls or login.password is None or login.insecure or at.wrong(*keys) or _is_here(host):
        check_broker(at, keys, url)
        return
    at.error(
        keys, f"mqtt:// sends the password unencrypted to {host}",
        'write mqtts://, or "insecure: true" to send it all the same',
    )  # fmt: skip


def check_login(at: Checked, name: str, bus: BrokerLogin) -> None:
    """Address, certificates and password of the broker of the bus `name`."""
    keys: Keys = ("buses", name)
    check_url(at, (*keys, "url"), bus.url, bus)
    files = [key for key in ("ca", "cert", "key") if getattr(bus, key) is not None]
    if files and not broker(bus.url)[2] and not at.wrong(*keys, "url"):
        at.error((*keys, files[0]), f"{files[0]} is for TLS, and the address begins with mqtt://; write mqtts://")
    if (bus.cert is None) != (bus.key is None) and not (at.wrong(*keys, "cert") or at.wrong(*keys, "key")):
        at.error((*keys, "key" if bus.cert is None else "cert"), "cert and key go together")
    if bus.password is not None and bus.username is None and not at.wrong(*keys, "username"):
        at.error((*keys, "password"), f'a password without a user: "username" is missing in {name}')


def check_broker(at: Checked, keys: Keys, url: str) -> None:
    """Host and port of a broker's address."""
    if at.wrong(*keys):
        return
    parts = urlsplit(url)
    host = parts.hostname or ""
    if re.search(r"\s", url):
        at.error(keys, "there is a space in the address; remove it")
    elif re.search(r"[^A-Za-z0-9._:%-]", host):
        at.error(keys, f'"{host}" is not a host; write its name or address')
    elif re.fullmatch(r"[0-9.]+", host) and not is_address(host):
        at.error(keys, f'"{host}" is not an address; write four numbers from 0 to 255, such as 192.168.1.20')
    elif (parts.scheme, parts.port) == ("mqtts", 1883):
        at.warn(keys, "mqtts:// is with TLS, and 1883 is the port without", f"write mqtts://{host}:8883")
    elif (parts.scheme, parts.port) == ("mqtt", 8883):
        at.warn(keys, "mqtt:// is without TLS, and 8883 is the port with TLS", f"write mqtts://{host}:8883")


def is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_here(host: str) -> bool:
    try:
        address = ip_address(host)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback  # Python 3.11 looks at the outer one
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
