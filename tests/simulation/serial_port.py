"""Serial ports of the simulated machine: what pyserial opens, reads and writes is one end of a wire."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import serial

from tests.simulation.turns import WIRES
from tests.simulation.wire import Wire, pair

__all__ = ["calls"]

_read = os.read
DELAY = 0.001
"""Seconds that bytes take from end to end."""


class Port:
    """In the place of `serial.Serial`: it is there while the village has it, and nobody took its adapter away."""

    world: Any = None

    def __init__(self, name: str, **settings: Any) -> None:
        world = self.world
        if name in world.refuses or name not in world.village.ports:
            raise serial.SerialException(errno.ENOENT, os.strerror(errno.ENOENT))
        self._wire, theirs = pair(world.loop, name, lambda: DELAY)
        world.village.ports[name](theirs)

    def fileno(self) -> int:
        return self._wire.fileno()

    def set_low_latency_mode(self, low: bool) -> None: ...

    def reset_output_buffer(self) -> None: ...

    def reset_input_buffer(self) -> None:
        self._wire.drop()

    def close(self) -> None:
        self._wire.close()


def calls(world: Any) -> Iterator[tuple[Any, str, Any]]:
    """What is replaced: `os.read` and `os.write` of a wire's descriptor are the wire's, others are what they were."""
    Port.world = world

    def read(fd: int, size: int) -> bytes:
        wire = WIRES.get(fd)
        return _read(fd, size) if wire is None else _gone(wire, wire.recv, size)

    def write(fd: int, data: Any) -> int:
        wire = WIRES.get(fd)
        return int(world.calls.write(fd, data)) if wire is None else _gone(wire, wire.send, data)

    yield serial, "Serial", Port
    yield os, "read", read
    yield os, "write", write


def _gone(wire: Wire, call: Any, value: Any) -> Any:
    """An adapter that was taken away gives EIO."""
    try:
        return call(value)
    except BlockingIOError:
        raise
    except OSError:
        raise OSError(errno.EIO, os.strerror(errno.EIO)) from None
