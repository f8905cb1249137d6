"""Ports on which nothing listens."""

from __future__ import annotations

import contextlib
import socket


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A free port of 127.0.0.1: TCP, or UDP with SOCK_DGRAM."""
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_ports(count: int) -> int:
    """The first of so many free TCP ports of 127.0.0.1 in a row."""
    while True:
        first = free_port()
        with contextlib.suppress(OSError), contextlib.ExitStack() as probes:
            for number in range(first + 1, first + count):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", number))
            return first
