"""A disk that keeps what was synced, and of the rest what it likes: real files, and what has to be undone of them.

Files are those of a real folder (on tmpfs), so that reading, locking and listing are the kernel's. What is written is
noted with what stood there before, until it is synced. A power cut takes back what the dice say: whole writes, sectors
of 512 bytes of them, and of made, renamed and removed names the last ones (a journal keeps their order).
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import stat
from dataclasses import dataclass, field
from os import (  # the kernel's, whoever takes their place in `os`
    close,
    fstat,
    ftruncate,
    link,
    lstat,
    mkdir,
    open,
    pread,
    pwrite,
    rename,
    rmdir,
    unlink,
)
from pathlib import Path
from typing import Any

__all__ = ["SECTOR", "Disk"]

SECTOR = 512


@dataclass(slots=True)
class _Change:
    """Bytes at a place, before and after. `size`: of the file, before and after."""

    at: int
    before: bytes
    after: bytes
    size: tuple[int, int]
    sure: bool = False
    """Synced, and noted nevertheless, for something before it was lost by a sync that failed."""


@dataclass(slots=True)
class _File:
    fd: int
    """Ours: it outlives every name."""
    changes: list[_Change] = field(default_factory=list)
    failed: int = 0
    """Of so many changes a sync failed: no later one brings them to the disk, and nobody says so (Linux, ext4)."""


@dataclass(slots=True)
class _Name:
    """One change of a name: `how` is made, moved or gone; `kept` holds on to what was overwritten or removed."""

    how: str
    path: str
    to: str = ""
    kept: str = ""
    folder: bool = False


class Disk:
    """`fault` is 0, or the errno of every write, sync and creation. `room` is how many bytes may still be added."""

    def __init__(self, root: Path, grave: Path, dice: random.Random) -> None:
        self.root, self._grave, self._dice = str(root), grave, dice
        self.fault = 0
        self.read_fault = 0
        """The same of every read of a database."""
        self.sync_fault = 0
        """The same of every sync, while writes seem to pass."""
        self.room: int | None = None
        self.hurt: list[tuple[float, float]] = []
        """Spans (virtual s) in which it refused."""
        self.fuse: int | None = None
        """So many changes more, and the power is cut (or the process killed) in the middle of one."""
        self.blown: Any = lambda: None
        """Called when the fuse has burnt down; raises."""
        self.changes = self.syncs = self.written = 0
        self._files: dict[int, _File] = {}
        self._names: list[_Name] = []
        self._n = 0

    @property
    def ails(self) -> bool:
        return bool(self.fault or self.read_fault or self.sync_fault or self.room is not None)

    def holds(self, path: str) -> bool:
        return path.startswith(self.root)

    def begins(self, grows: int = 0) -> None:
        """Before each change: whether it can be. OSError if the disk refuses."""
        self.changes += 1
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse <= 0:
                self.fuse = None
                self.blown()
        if self.fault:
            raise OSError(self.fault, os.strerror(self.fault))
        if grows > 0 and self.room is not None:
            if grows > self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.room -= grows

    # -- what is in files ------------------------------------------------------------------------------------------

    def will_write(self, fd: int, at: int | None, data: bytes) -> None:
        """Note what stands there, before `data` is written at `at` (None: at the end)."""
        file, size = self._file(fd)
        at = size if at is None else at
        end = at + len(data)
        self.begins(max(0, end - size))
        self.written += len(data)
        before = pread(file.fd, len(data), at) if at < size else b""
        file.changes.append(_Change(at, before, data, (size, max(end, size))))

    def will_truncate(self, fd: int, size: int) -> None:
        file, before = self._file(fd)
        self.begins(max(0, size - before))
        gone = pread(file.fd, before - size, size) if size < before else b""
        file.changes.append(_Change(size, gone, b"", (before, size)))

    def sync(self, fd: int) -> None:
        self.begins()
        self.syncs += 1
        inode = fstat(fd).st_ino
        file = self._files.get(inode)
        if self.sync_fault:
            if file is not None:
                file.failed = len(file.changes)
            raise OSError(self.sync_fault, os.strerror(self.sync_fault))
        if file is not None and file.failed:
            for change in file.changes[file.failed :]:
                change.sure = True
        elif file is not None:
            del self._files[inode]
            close(file.fd)

    def _file(self, fd: int) -> tuple[_File, int]:
        """What is noted of the file of a descriptor, and how long it is."""
        about = fstat(fd)
        file = self._files.get(about.st_ino)
        if file is None:
            file = self._files[about.st_ino] = _File(open(f"/proc/self/fd/{fd}", os.O_RDWR))
        return file, about.st_size

    # -- names -----------------------------------------------------------------------------------------------------

    def made(self, path: str, folder: bool = False) -> None:
        self._names.append(_Name("made", path, folder=folder))

    def will_move(self, path: str, to: str) -> None:
        self._names.append(_Name("moved", path, to, self._keep(to)))

    def will_remove(self, path: str, folder: bool = False) -> None:
        self._names.append(_Name("gone", path, kept="" if folder else self._keep(path), folder=folder))

    def sync_folder(self) -> None:
        self.begins()
        if self.sync_fault:
            raise OSError(self.sync_fault, os.strerror(self.sync_fault))
        self.sync_names()

    def sync_names(self) -> None:
        for name in self._names:
            self._drop(name)
        self._names.clear()

    def _keep(self, path: str) -> str:
        """Hold on to what has this name, by another one."""
        try:
            if stat.S_ISDIR(lstat(path).st_mode):
                return ""
        except FileNotFoundError:
            return ""
        self._n += 1
        kept = f"{self._grave}/{self._n}"
        link(path, kept)
        return kept

    def _drop(self, name: _Name) -> None:
        if name.kept:
            with contextlib.suppress(OSError):
                unlink(name.kept)

    # -- a power cut -----------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """The power is gone: what was not synced is there, or not, or in part."""
        self.fuse, self.fault, self.room, self.read_fault, self.sync_fault = None, 0, None, 0, 0
        for file in self._files.values():
            for change in reversed(file.changes):
                pwrite(file.fd, change.before, change.at)
                ftruncate(file.fd, change.size[0])
            how = self._dice.random()
            for change in file.changes:
                if not change.sure and (how < 0.3 or (how < 0.8 and self._dice.random() < 0.5)):
                    continue
                self._redo(file.fd, change, torn=not change.sure and self._dice.random() < 0.4)
            close(file.fd)
        self._files.clear()
        left = self._dice.randrange(len(self._names) + 1)
        for name in reversed(self._names[left:]):
            self._undo(name)
        for name in self._names[:left]:
            self._drop(name)
        self._names.clear()

    def _redo(self, fd: int, change: _Change, torn: bool) -> None:
        if not change.after:
            ftruncate(fd, change.size[1])
            return
        size = fstat(fd).st_size
        if not torn:
            pwrite(fd, change.after, change.at)
            return
        end = change.at + len(change.after)
        if end > size:
            ftruncate(fd, end)
        at = change.at
        while at < end:
            until = min(end, at - at % SECTOR + SECTOR)
            if self._dice.random() < 0.5:
                pwrite(fd, change.after[at - change.at : until - change.at], at)
            at = until

    def _undo(self, name: _Name) -> None:
        if name.how == "made":
            (rmdir if name.folder else unlink)(name.path)
        elif name.how == "moved":
            rename(name.to, name.path)
            if name.kept:
                rename(name.kept, name.to)
        elif name.folder:
            mkdir(name.path, 0o700)
        elif name.kept:
            rename(name.kept, name.path)
