"""When to try again: delays that grow with the outage, and a look at the routes.

Everything here is decided from what it is given, so that it is tested without waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from pathlib import Path

from agent.lib.backoff import outage_delay

__all__ = ["Outage", "Why", "reconnect_delay", "routes"]

BAD_CREDENTIALS = 300.0
"""Seconds between two attempts while the broker refuses our credentials: asking more often would lock us out."""
BUSY = 10.0
"""Seconds at the least before a broker that is busy is asked again; a third of the outage later, at most 5 min."""
STEADY = 30.0
"""A connection that held for so many seconds ends the outage; a shorter one is part of it."""
ANSWERED = 0.8
"""Seconds between attempts while the host refuses the connection: a broker that restarts."""
ANSWERED_FOR = 120.0


class Why(Enum):
    """Why there is no link."""

    LOST = "lost"
    """No answer: no route, no name, a silent host, a bad certificate."""
    ANSWERED = "answered"
    """The host is up and closed the connection (RST or FIN before CONNACK): the broker restarts."""
    CREDENTIALS = "credentials"
    """The broker does not know us, or not with this password."""
    TAKEN = "taken"
    """Another client came with our id (MQTT 5: 0x8E)."""
    SILENT = "silent"
    """The broker closed the connection without a reason, and nothing was under way."""
    BUSY = "busy"
    """The broker has too much to do (0x89), or we have asked too much or too often (0x97, 0x9F)."""
    USELESS = "useless"
    """Its packet limit is too small for ours."""
    ROUTE = "route"
    """A route came back: the attempt that hung was given up for a new one."""


def reconnect_delay(outage: float, why: Why, spread: float) -> float:
    """Seconds to wait after so many seconds of outage; `spread` 0..1 is the dice: -50 % to +50 %.

    See `outage_delay`. A host that answers is asked a little faster at first: half a second to 1.2 s.
    """
    delay = outage_delay(outage)
    if why is Why.ROUTE:
        return 0.0
    if why in (Why.CREDENTIALS, Why.USELESS):
        delay = BAD_CREDENTIALS
    elif why is Why.BUSY:
        delay = min(max(outage / 3, BUSY), BAD_CREDENTIALS)
    elif why is Why.ANSWERED and outage < ANSWERED_FOR:
        delay = ANSWERED
    return delay * (0.5 + spread)


class Outage:
    """Length of the time without a steady link. A link that does not hold for STEADY seconds does not end the outage.

    So a broker that throws us out after every tenth message is asked less and less often.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._since: float | None = None
        self._up_since: float | None = None

    def up(self) -> None:
        self._up_since = self._monotonic()

    def down(self) -> float:
        """An attempt failed or the link was lost: seconds of outage so far."""
        now = self._monotonic()
        if self._up_since is not None and now - self._up_since >= STEADY:
            self._since = None
        self._up_since = None
        if self._since is None:
            self._since = now
        return now - self._since


def routes(folder: Path = Path("/proc/net")) -> frozenset[tuple[str, ...]]:
    """The kernel's routes (destination, gateway, interface); loopback is left out. Empty where it is not to be read."""
    return _routes(_content(f"{folder}/route"), _content(f"{folder}/ipv6_route"))


@lru_cache(2)
def _routes(ipv4: bytes, ipv6: bytes) -> frozenset[tuple[str, ...]]:
    """Cached: read each second without a link, and seldom changed."""
    found = set()
    for content, columns in ((ipv4, (0, 1, 2)), (ipv6, (9, 0, 4))):
        for line in content.decode("ascii").splitlines():
            words = line.split()
            if len(words) > max(columns) and words[columns[0]] not in ("lo", "Iface"):
                found.add(tuple(words[column] for column in columns))
    return frozenset(found)


def _content(path: str) -> bytes:
    """Content of a file of /proc; empty if it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  two a second without a link: Path takes thrice as long
            return file.read()
    except OSError:
        return b""
