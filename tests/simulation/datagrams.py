"""UDP of the simulated machine: ports that the agent binds, and peers in the world that speak with them."""

from __future__ import annotations

import contextvars
import errno
import os
import selectors
import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from tests.simulation.loop import SimLoop
from tests.simulation.wire import Wire

__all__ = ["HOP", "Datagrams", "calls"]

_socket = socket.socket
_WORLD = contextvars.Context()
Address = tuple[str, int]
HOP = 0.0005
"""Seconds from a socket of the agent to the peer."""


class Datagrams:
    """Who is at which address. What is sent to an address where nobody is, is gone; nothing else is lost by itself."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self.bound: dict[Address, Port] = {}
        self.peers: dict[Address, Callable[[bytes], None]] = {}
        """Of the world: what takes a datagram, by its address."""

    def send(self, source: Address, target: Address, data: bytes, delay: float) -> None:
        """It is there after `delay` (s), if somebody is then."""
        self._loop.call_later(delay, self._arrive, source, target, data, context=_WORLD)

    def _arrive(self, source: Address, target: Address, data: bytes) -> None:
        if target in self.peers:
            self.peers[target](data)
        elif target in self.bound:
            self.bound[target].came(data, source)


class Port(Wire):
    """A socket of UDP of the agent's."""

    world: Any = None

    def __init__(self) -> None:
        super().__init__(self.world.loop, "udp")
        self._address: Address = ("0.0.0.0", 0)
        self._waits: deque[tuple[bytes, Address]] = deque()

    @property
    def type(self) -> Any:
        return socket.SOCK_DGRAM

    def bind(self, address: Any) -> None:
        bound = self.world.datagrams.bound
        if address in bound:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        self._address = address
        bound[address] = self

    def came(self, data: bytes, source: Address) -> None:
        self._waits.append((data, source))
        self._wake()

    def readiness(self) -> int:
        return selectors.EVENT_WRITE | (selectors.EVENT_READ if self._waits else 0)

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Any]:
        if not self._waits:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return self._waits.popleft()

    def sendto(self, data: Any, *where: Any) -> int:
        self.world.datagrams.send(self._address, where[-1], bytes(data), HOP)
        return len(data)

    def close(self) -> None:
        if self.world.datagrams.bound.get(self._address) is self:
            del self.world.datagrams.bound[self._address]
        super().close()


class Notify:
    """A socket of Unix datagrams of the agent's: only systemd is at the other end."""

    def __enter__(self) -> Notify:
        return self

    def __exit__(self, *error: object) -> None: ...

    def sendto(self, data: bytes, address: Any) -> None:
        Port.world.notified(data)


class _Sockets(type):
    def __instancecheck__(cls, one: Any) -> bool:
        return isinstance(one, _socket)


class Socket(_socket, metaclass=_Sockets):
    """In the place of `socket.socket`: UDP over IPv4 and Unix datagrams are the world's, all others what they were."""

    def __new__(cls, family: Any = -1, kind: Any = -1, *more: Any, **named: Any) -> Any:
        if family == socket.AF_INET and kind == socket.SOCK_DGRAM:
            return Port()
        if family == socket.AF_UNIX and kind == socket.SOCK_DGRAM | socket.SOCK_NONBLOCK:
            return Notify()
        return _socket(family, kind, *more, **named)


def calls(world: Any) -> Iterator[tuple[Any, str, Any]]:
    """What is replaced."""
    Port.world = world
    yield socket, "socket", Socket
