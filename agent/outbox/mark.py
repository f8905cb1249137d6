"""The mark: how far numbers were given and are done with, known at a start even if the stage was full.

One page on tmpfs, filled when it is made and only changed in memory afterwards (a shared mapping). It needs no room, so
it cannot fail when the stage can; it outlives the process, also one that is killed between two instructions; a power
cut takes it, as it takes the stage. It belongs to one start of the box: on a disk an old one would tell of less than
was given.

    "BOCAGE-1"  16 bytes of the boot  40 bytes unused  then slots: 16 bytes store (uuid), 8 bytes given, 8 bytes done
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from agent.lib.files import open_regular, read_regular

__all__ = ["Given", "Mark", "read_mark"]

_NAME = "numbers.mark"
_MAGIC = b"BOCAGE-1"
_PAGE = 4096
_FIRST, _SLOT = 64, 32
_EMPTY = bytes(16)


class Given(NamedTuple):
    """Numbers of a store: given up to `last`; up to `done` each is on flash, delivered, or told as lost."""

    last: int
    done: int


class Mark:
    """The page, open. `give` and `finish` only ever raise what they note."""

    def __init__(self, page: mmap.mmap, path: Path) -> None:
        self._page, self._path = page, path
        self._words = memoryview(page).cast("Q")
        self._slots = {store: at for at, store, _ in _slots(page)}

    @classmethod
    def open(cls, folder: Path, boot: str) -> Mark | None:
        """Go on with the one of this start of the box, or make one. None where there is no room for it, or no right."""
        path = folder / _NAME
        with contextlib.suppress(OSError, ValueError):
            if not _is_of(path, boot):
                _make(path, boot)
            descriptor = open_regular(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                return cls(mmap.mmap(descriptor, _PAGE), path)
            finally:
                os.close(descriptor)
        return None

    def give(self, store: str, last: int) -> None:
        """Numbers up to this one are in use."""
        at = self._slots.get(store) or self._new(store)
        if at and self._words[at // 8 + 2] < last:
            self._words[at // 8 + 2] = last  # one store of eight bytes: never half done

    def finish(self, store: str, number: int) -> None:
        """Numbers up to this one are on flash, delivered, or told as lost."""
        at = self._slots.get(store)
        if at and self._words[at // 8 + 3] < number:
            self._words[at // 8 + 3] = number

    def rename(self, old: str, new: str) -> None:
        """The numbers that are open of a store are another's."""
        if old in self._slots and new not in self._slots:
            at = self._slots[new] = self._slots.pop(old)
            self._page[at : at + 16] = UUID(new).bytes

    def stores(self) -> list[str]:
        return list(self._slots)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _new(self, store: str) -> int:
        """A slot: a free one, or that of a store of which nothing is open. 0 if there is none."""
        try:
            name = UUID(store).bytes
        except ValueError:
            return 0
        places = range(_FIRST, _PAGE - _SLOT + 1, _SLOT)
        empty = (at for at in places if self._page[at : at + 16] == _EMPTY)
        closed = (at for at in places if self._words[at // 8 + 2] <= self._words[at // 8 + 3])
        at = next(empty, 0) or next(closed, 0)
        if at:
            self._slots = {known: place for known, place in self._slots.items() if place != at}
            self._words[at // 8 + 2] = self._words[at // 8 + 3] = 0  # killed here: an old store with nothing open
            self._page[at : at + 16] = name
            self._slots[store] = at
        return at


def read_mark(folder: Path, boot: str | None) -> dict[str, Given] | None:
    """Read a mark, by store. None if there is no mark of this start of the box."""
    path = folder / _NAME
    if boot is None or not _is_of(path, boot):
        return None
    with contextlib.suppress(OSError):
        return {store: given for _, store, given in _slots(read_regular(path))}
    return None


def _slots(page: bytes | mmap.mmap) -> Iterator[tuple[int, str, Given]]:
    for at in range(_FIRST, _PAGE - _SLOT + 1, _SLOT):
        if page[at : at + 16] != _EMPTY:
            words = memoryview(page[at + 16 : at + 32]).cast("Q")
            yield at, str(UUID(bytes=bytes(page[at : at + 16]))), Given(words[0], words[1])


def _head(boot: str) -> bytes:
    return _MAGIC + hashlib.blake2b(boot.encode(), digest_size=16).digest()


def _is_of(path: Path, boot: str) -> bool:
    try:
        descriptor = open_regular(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(file.fileno())
        mine = os.geteuid() in (about.st_uid, 0)
        return mine and about.st_size == _PAGE and file.read(24) == _head(boot)


def _make(path: Path, boot: str) -> None:
    """Whole or not at all. Written, not stretched: a page of tmpfs that is not there yet may find no room later."""
    new = path.with_suffix(".new")
    try:
        descriptor = open_regular(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW)
        try:
            if os.write(descriptor, _head(boot).ljust(_PAGE, b"\0")) < _PAGE:
                raise OSError("no room for a page")
        finally:
            os.close(descriptor)
        new.rename(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
