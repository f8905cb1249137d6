"""Connections of which both ends are in this process: bytes arrive after a delay, late, never, or not at all."""

from __future__ import annotations

import contextvars
import errno
import itertools
import os
import selectors
import socket
import struct
from collections.abc import Callable
from typing import Any

from tests.simulation.loop import LIFE, SimLoop
from tests.simulation.turns import WIRES

__all__ = ["Wire", "pair"]

_numbers = itertools.count(1_000_000)


class Wire(socket.socket):
    """One end. What is sent goes to the other end `delay` seconds later, in order, as long as it is not `cut`."""

    def __init__(self, loop: SimLoop, name: str = "") -> None:
        # no descriptor is asked of the kernel: socket.socket.__init__ is left out
        self._sim, self.name = loop, name
        self._fd = next(_numbers)
        WIRES[self._fd] = self
        self.other: Wire | None = None
        self.delay: Callable[[], float] = lambda: 0.0
        self._got = bytearray()
        self._ended = False
        self._error: int | None = None
        self._last = 0.0
        self.silent = False
        """Half open: what this end sends is lost, and nobody says so."""
        self.listener: Callable[[bytes], None] | None = None
        """The world's end takes what comes at once; b"" is the end."""
        self.life = LIFE.get()
        if self.life is not None:
            self.life.wires.append(self)

    # -- what asyncio and paho ask of a socket ---------------------------------------------------------------------

    def fileno(self) -> int:
        return self._fd

    @property
    def type(self) -> Any:
        return socket.SOCK_STREAM

    @property
    def family(self) -> Any:
        return socket.AF_INET

    @property
    def proto(self) -> int:
        return 0

    def gettimeout(self) -> float:
        return 0.0

    def settimeout(self, value: Any) -> None: ...

    def setblocking(self, flag: bool) -> None: ...

    def setsockopt(self, *args: Any) -> None: ...

    def getsockopt(self, level: int, option: int, size: int = 0) -> Any:
        return struct.pack("3i", os.getpid(), os.geteuid(), os.getegid()) if size else 0

    def getsockname(self) -> Any:
        return "10.0.0.1", self._fd

    def getpeername(self) -> Any:
        if self._error is not None or self._ended or self.other is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return "10.0.0.2", 1

    def send(self, data: Any, flags: int = 0) -> int:
        if self._fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._error is not None:
            self._raise()
        if self.other is None:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if not self.silent:
            self._later(self.other._take, bytes(data))
        return len(data)

    def sendall(self, data: Any, flags: int = 0) -> None:
        self.send(data)

    def recv(self, size: int, flags: int = 0) -> bytes:
        if self._fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._got:
            some = bytes(self._got[:size])
            del self._got[:size]
            return some
        if self._error is not None:
            self._raise()
        if self._ended:
            return b""
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> int:
        some = self.recv(size or len(buffer))
        buffer[: len(some)] = some
        return len(some)

    def shutdown(self, how: int) -> None:
        if self.other is not None and how != socket.SHUT_RD:
            self._later(self.other._end)

    def close(self) -> None:
        if self._fd < 0:
            return
        WIRES.pop(self._fd, None)
        self._sim.poll.active.pop(self._fd, None)
        self._fd = -1
        if self.other is not None and not self.silent:
            self._later(self.other._end)
        self.other = None

    def detach(self) -> int:
        return self._fd

    def __del__(self) -> None: ...

    def __repr__(self) -> str:
        return f"<wire {self.name} {self._fd}>"

    # -- what the world does with it -------------------------------------------------------------------------------

    def readiness(self) -> int:
        found = selectors.EVENT_WRITE
        if self._got or self._ended or self._error is not None:
            found |= selectors.EVENT_READ
        return found

    def drop(self) -> None:
        """What has come and was not read is forgotten."""
        self._got.clear()

    def reset(self) -> None:
        """The connection is gone, for both ends (RST)."""
        other, self.other = self.other, None
        self._fail(errno.ECONNRESET)
        if other is not None:
            other.other = None
            other._fail(errno.ECONNRESET)

    def _fail(self, number: int) -> None:
        self._error = number
        if self.listener is not None:
            self.listener(b"")
        self._wake()

    def _raise(self) -> None:
        raise ConnectionResetError(self._error, os.strerror(self._error or 0))

    def _later(self, what: Callable[..., None], *args: Any) -> None:
        """In order, whatever the delays."""
        at, after = self._sim.poll.now + self.delay(), self._last + 1e-6  # timers of one moment have no order
        self._last = at = at if at > after else after
        self._sim.call_at(at, what, *args, context=_WORLD)

    def _take(self, data: bytes) -> None:
        if self.listener is not None:
            self.listener(data)
        elif self._fd >= 0:
            self._got += data
            self._wake()

    def _end(self) -> None:
        self._ended = True
        if self.listener is not None:
            self.listener(b"")
        self._wake()

    def _wake(self) -> None:
        if self._fd >= 0:
            self._sim.poll.active[self._fd] = self


def pair(loop: SimLoop, name: str, delay: Callable[[], float]) -> tuple[Wire, Wire]:
    """A connection: the agent's end, and the world's."""
    ours, theirs = Wire(loop, name), Wire(loop, f"{name} (world)")
    ours.other, theirs.other = theirs, ours
    ours.delay = theirs.delay = delay
    theirs.life = None
    return ours, theirs


_WORLD = contextvars.Context()
