"""Where the agent touches the machine: time, randomness, files, processes, threads and sockets of the standard library.

Within `Edges` these are the world's. The agent does not know: nothing in it asks whether it is being simulated.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import functools
import inspect
import io
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

from tests.simulation import datagrams, pins, serial_port

__all__ = ["edges", "replaced"]

_real = {name: getattr(os, name) for name in (
    "open", "close", "write", "ftruncate", "rename", "unlink", "mkdir", "rmdir", "fdopen", "fstat",
)}  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR


class _Raw(io.RawIOBase):
    """A file whose writes pass through `os.write`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, data: Any) -> int:
        return os.write(self._fd, bytes(data))

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)


class FileCalls:
    """`os` on the disk of `world`; other places are the kernel's."""

    def __init__(self, world: Any) -> None:
        self._world, self._disk = world, world.disk
        self._open: dict[int, tuple[str, int]] = {}
        """Descriptors on the disk that are written to: path and flags."""
        self._held: set[int] = set()
        """Descriptors of the process that lives, as far as they are numbers."""

    def _path(self, path: Any, dir_fd: Any) -> str:
        if isinstance(path, int):
            return ""
        text = path if isinstance(path, str) else os.fsdecode(path)
        if dir_fd is not None and not text.startswith("/"):
            text = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), text)
        return _normal(text if text.startswith("/") else os.path.abspath(text))

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: Any = None) -> int:
        full = self._path(path, dir_fd)
        if full.startswith("/proc/") and not full.startswith("/proc/self/fd"):
            return _real["open"](self._world.redirected(full), flags, mode)
        if not self._disk.holds(full):
            return _real["open"](path, flags, mode, dir_fd=dir_fd)
        if not self._world.alive and flags & (_WRITES | os.O_CREAT):
            return _real["open"]("/dev/null", os.O_WRONLY)
        new = bool(flags & os.O_CREAT) and not os.path.lexists(full)
        if new:
            self._disk.begins()
        cut = bool(flags & os.O_TRUNC) and not new
        fd: int = _real["open"](path, flags & ~os.O_TRUNC, mode, dir_fd=dir_fd)
        self._held.add(fd)
        if flags & _WRITES:
            self._open[fd] = full, flags
        if new:
            self._disk.made(full)
        if cut and _real["fstat"](fd).st_size:
            self.ftruncate(fd, 0)
        return fd

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)
        self._held.discard(fd)
        _real["close"](fd)

    def close_all(self) -> None:
        """The process is gone."""
        for fd in self._held:
            with contextlib.suppress(OSError):
                _real["close"](fd)
        self._held.clear()
        self._open.clear()

    def write(self, fd: int, data: Any) -> int:
        if fd not in self._open:
            return int(_real["write"](fd, data))
        data = bytes(data)
        if not self._world.alive:
            return len(data)
        at = None if self._open[fd][1] & os.O_APPEND else os.lseek(fd, 0, os.SEEK_CUR)
        room = self._disk.room
        if room is not None and 0 < room < len(data) and not self._disk.fault:
            data = data[:room]  # what fits, and no word of it
        self._disk.will_write(fd, at, data)
        return int(_real["write"](fd, data))

    def ftruncate(self, fd: int, size: int) -> None:
        if fd in self._open:
            if not self._world.alive:
                return
            self._disk.will_truncate(fd, size)
        _real["ftruncate"](fd, size)

    def fsync(self, fd: int) -> None:
        if not self._world.alive:
            return
        if fd in self._open:
            self._disk.sync(fd)
        elif self._disk.holds(os.readlink(f"/proc/self/fd/{fd}")):
            self._disk.sync_folder()

    def rename(self, source: Any, target: Any, *, src_dir_fd: Any = None, dst_dir_fd: Any = None) -> None:
        one, two = self._path(source, src_dir_fd), self._path(target, dst_dir_fd)
        if self._disk.holds(one):
            if not self._world.alive:
                return
            self._disk.begins()
            if not os.path.lexists(one):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), one)
            if os.path.isdir(two) and not os.path.isdir(one):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), two)
            self._disk.will_move(one, two)
        _real["rename"](source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def unlink(self, path: Any, *, dir_fd: Any = None) -> None:
        full = self._path(path, dir_fd)
        if self._disk.holds(full):
            if not self._world.alive:
                return
            if os.path.lexists(full) and not os.path.isdir(full):
                self._disk.begins()
                self._disk.will_remove(full)
        _real["unlink"](path, dir_fd=dir_fd)

    def mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: Any = None) -> None:
        full = self._path(path, dir_fd)
        if self._disk.holds(full) and not os.path.lexists(full):
            if not self._world.alive:
                return
            self._disk.begins()
            _real["mkdir"](path, mode, dir_fd=dir_fd)
            self._disk.made(full, folder=True)
            return
        _real["mkdir"](path, mode, dir_fd=dir_fd)

    def rmdir(self, path: Any, *, dir_fd: Any = None) -> None:
        full = self._path(path, dir_fd)
        if self._disk.holds(full):
            if not self._world.alive:
                return
            self._disk.begins()
        _real["rmdir"](path, dir_fd=dir_fd)
        if self._disk.holds(full):
            self._disk.will_remove(full, folder=True)

    def fdopen(self, fd: int, mode: str = "r", *args: Any, **more: Any) -> Any:
        self._held.discard(fd)
        if fd in self._open and mode.startswith(("w", "a", "x")):
            raw = io.BufferedWriter(_Raw(fd))
            return raw if "b" in mode else io.TextIOWrapper(raw)
        return _real["fdopen"](fd, mode, *args, **more)

    def io_open(self, file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
        if isinstance(file, (str, os.PathLike)):
            full = self._path(file, None)
            if full.startswith(("/proc/", "/sys/")):
                return _io_open(self._world.redirected(full), mode, *args, **more)
            if self._disk.holds(full) and any(sign in mode for sign in "wax+"):
                flags = {"w": os.O_TRUNC, "a": os.O_APPEND, "x": os.O_EXCL}[mode[0]] | os.O_WRONLY | os.O_CREAT
                return self.fdopen(self.open(full, flags, 0o666), mode)
        return _io_open(file, mode, *args, **more)

    def names(self) -> Iterator[tuple[Any, str, Any]]:
        for name in ("open", "close", "write", "ftruncate", "fsync", "rename", "unlink", "mkdir", "rmdir", "fdopen"):
            yield os, name, getattr(self, name)
        yield os, "fdatasync", self.fsync
        yield os, "replace", self.rename
        yield os, "remove", self.unlink
        yield io, "open", self.io_open
        yield builtins, "open", self.io_open


_io_open = io.open
_normal = functools.lru_cache(4096)(os.path.normpath)


class SimThread:
    """A thread is a call that comes a while later."""

    def __init__(self, target: Callable[[], None], name: str = "", daemon: bool = False, **more: Any) -> None:
        self._target = target

    world: Any = None

    def start(self) -> None:
        self.world.loop.call_later(self.world.delay(), self._target)


def _sim_datetime(world: Any) -> type[datetime]:
    class SimDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(world.wall_ns() / 1e9, tz)

        @classmethod
        def today(cls) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(world.wall_ns() / 1e9, UTC).replace(tzinfo=None)

    return SimDatetime


@contextlib.contextmanager
def replaced(changes: Sequence[tuple[Any, str, Any]]) -> Iterator[None]:
    """(where, name, what is there meanwhile)."""
    kept = [(where, name, inspect.getattr_static(where, name)) for where, name, _ in changes]
    for where, name, what in changes:
        setattr(where, name, what)
    try:
        yield
    finally:
        for where, name, what in kept:
            setattr(where, name, what)


@contextlib.contextmanager
def edges(world: Any) -> Iterator[None]:
    """The world in the place of the machine."""
    SimThread.world = world
    dated = _sim_datetime(world)
    changes: list[tuple[Any, str, Any]] = [
        (time, "monotonic", world.monotonic),
        (time, "monotonic_ns", world.boottime_ns),
        (time, "time", lambda: world.wall_ns() / 1e9),
        (time, "time_ns", world.wall_ns),
        (time, "clock_gettime", world.monotonic),
        (time, "clock_gettime_ns", world.boottime_ns),
        (os, "urandom", world.random_bytes),
        (shutil, "disk_usage", world.disk_usage),
        (os, "statvfs", world.statvfs),
        (threading, "Thread", SimThread),
        (sqlite3, "connect", world.connect),
        (subprocess, "Popen", world.popen),
        (socket, "create_connection", world.dial_now),
        (socket, "getaddrinfo", world.look_up),
        *world.calls.names(),
        *serial_port.calls(world),
        *datagrams.calls(world),
        *pins.calls(world),
    ]
    import paho.mqtt.client as paho

    import agent.clock

    changes.append((paho, "time_func", world.monotonic))
    changes.append((agent.clock, "synchronised", lambda: world.known))
    changes.append((agent.clock.SystemClock, "monotonic", staticmethod(world.monotonic)))
    for name, module in list(sys.modules.items()):
        if name.startswith(("agent", "drivers")) and getattr(module, "datetime", None) is datetime:
            changes.append((module, "datetime", dated))
    environment = {name: os.environ.get(name) for name in world.environment}
    os.environ.update(world.environment)
    dice = random.getstate()
    random.seed(f"{world.seed}/agent")
    try:
        with replaced(changes):
            yield
    finally:
        random.setstate(dice)
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
