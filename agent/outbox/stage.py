"""The stage: what waits for the broker or for the flash, on tmpfs, where it outlives the process.

Segments of appended records, each `length, crc32, marshal`: one record a put, one an acceptance. What a start finds
is replayed; an unreadable tail is cut. A segment goes when everything put before its end is on flash or accepted,
so the folder stays as small as the durability window. A power cut takes it all: that is the contract.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import marshal
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.outbox.blocks import Lot, split

__all__ = ["Replay", "Stage", "replay"]

_log = logging.getLogger("bocage.outbox")
_HEAD = struct.Struct("<II")
_SEGMENT = 1_000_000
"""Bytes after which a segment ends."""
_FORMAT = 4
"""Of marshal: every Python from 3.4 on reads it."""


@dataclass(slots=True)
class Replay:
    """What the stage held. `cut` says that a record could not be read, so that numbers after it are unknown."""

    found: bool = False
    lots: list[Lot] = field(default_factory=list)
    accepted: list[tuple[str, int, int]] = field(default_factory=list)
    """(store, first, last) of messages that the broker took."""
    cut: bool = False
    losses: list[tuple[Any, ...]] = field(default_factory=list)
    """What was lost in memory and was not told on flash yet, as the outbox said it last."""
    before_cut: dict[str, int] = field(default_factory=dict)

    def certain(self, store: str) -> int:
        """The number of a store up to which nothing is missing: the highest one before the first cut."""
        return self.before_cut.get(store, 0) if self.cut else self.last(store)

    def note_cut(self) -> None:
        """What follows may not follow at once."""
        if not self.cut:
            self.cut = True
            stores = {lot.store for lot in self.lots} | {name for name, _, _ in self.accepted}
            self.before_cut = {store: self.last(store) for store in stores}

    def last(self, store: str) -> int:
        """The highest number of a store that is spoken of, 0 if none."""
        put = (lot.last for lot in self.lots if lot.store == store)
        return max(*put, *(last for name, _, last in self.accepted if name == store), 0, 0)

    def open_lots(self, on_flash: dict[str, int]) -> list[Lot]:
        """The lots that are neither on flash (up to a number a store) nor accepted."""
        lots = []
        for lot in self.lots:
            skip = on_flash.get(lot.store, 0) + 1 - lot.seq
            if skip < lot.n:
                lots.append(lot if skip <= 0 else split(lot, skip)[1])
        for store, first, last in _joined(self.accepted):
            lots = [rest for lot in lots for rest in _without(lot, store, first, last)]
        return lots


def replay(folder: Path) -> Replay:
    """Read a stage without touching it."""
    result = Replay()
    for path in _segments(folder):
        result.found = True
        try:
            data = path.read_bytes()
        except OSError as error:
            _log.warning("stage segment unreadable file=%s error=%s next=its readings are lost", path, error)
            result.note_cut()
            continue
        if not _read(data, result):
            result.note_cut()
    return result


class Stage:
    """Appends. Never raises for a fault of its folder: `broken` says that what is put now would not outlive a crash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd = -1
        self._path = folder
        self._size = 0
        self._until = float("-inf")
        self._closed: list[tuple[float, Path]] = [(self._until, path) for path in _segments(folder)]
        self._number = max((int(path.stem) for _, path in self._closed), default=0)
        self._losses: list[tuple[Any, ...]] = []
        self.broken = False
        self.rotate()

    def put(self, lots: Sequence[Lot]) -> None:
        """Keep lots; one write."""
        self._until = lots[-1].since
        self._append(("put", [tuple(lot) for lot in lots]))

    def accept(self, store: str, first: int, last: int) -> None:
        """Keep that the broker took these numbers."""
        self._append(("accepted", store, first, last))

    def losses(self, losses: Sequence[tuple[Any, ...]]) -> None:
        """Keep what was lost in memory, all of it anew, until the flash can be told."""
        self._losses = list(losses)
        self._append(("lost", self._losses))

    def forget_losses(self) -> None:
        """The flash knows them."""
        if self._losses:
            self._losses = []
            self._append(("lost", []))

    def rotate(self) -> int:
        """Begin a segment; returns its number, for `forget`."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._closed.append((self._until, self._path))
        self._number += 1
        self._path = self._folder / f"{self._number:08d}.stage"
        self._size = 0
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._mended()
        except OSError as error:
            self._fault(error)
        else:
            if self._losses:
                self._append(("lost", self._losses))
        return self._number

    def tidy(self, oldest: float) -> None:
        """Drop the segments that hold nothing put at `oldest` (clock.monotonic) or later; end a long one."""
        if self._size > _SEGMENT or self._fd < 0:
            self.rotate()
        self._drop([path for until, path in self._closed if until < oldest])

    def forget(self, number: int) -> None:
        """Drop the segments before this one: all they hold is on flash."""
        self._drop([path for _, path in self._closed if int(path.stem) < number])

    def close(self, keep: bool) -> None:
        """End. Without `keep` everything is on flash, and the stage goes."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if not keep:
            self._drop([*(path for _, path in self._closed), self._path])

    def _append(self, record: tuple[Any, ...]) -> None:
        if self._fd < 0:
            return
        try:
            payload = marshal.dumps(record, _FORMAT)
        except ValueError:  # a value of a class of its own (an enumeration): as plain text
            payload = marshal.dumps(_plain(record), _FORMAT)
        data = _HEAD.pack(len(payload), zlib.crc32(payload)) + payload
        try:
            written = os.write(self._fd, data)
            if written < len(data):
                os.ftruncate(self._fd, self._size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._fault(error)
        else:
            self._size += len(data)
            self._mended()

    def _drop(self, paths: list[Path]) -> None:
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        gone = set(paths)
        self._closed = [item for item in self._closed if item[1] not in gone]

    def _fault(self, error: OSError) -> None:
        if not self.broken:
            _log.error(
                "stage cannot be written folder=%s error=%s next=readings wait in memory only", self._folder, error
            )
        self.broken = True

    def _mended(self) -> None:
        if self.broken:
            _log.info("stage can be written again folder=%s", self._folder)
        self.broken = False


def _segments(folder: Path) -> list[Path]:
    """The segments of a stage, oldest first; only files of our own user, for they are trusted."""
    with contextlib.suppress(OSError):
        return sorted(path for path in folder.glob("*.stage") if path.stem.isdigit() and _ours(path))
    return []


def _ours(path: Path) -> bool:
    return os.geteuid() in (path.lstat().st_uid, 0)


def _read(data: bytes, into: Replay) -> bool:
    """Add the records of a segment; False if its tail could not be read."""
    for payload in _records(data):
        if payload is None:
            return False
        try:
            kind, *rest = marshal.loads(payload)
            if kind == "put":
                into.lots += [Lot(*columns) for columns in rest[0]]
            elif kind == "lost":
                into.losses = list(rest[0])
            else:
                into.accepted.append((rest[0], rest[1], rest[2]))
        except (ValueError, TypeError, EOFError, IndexError):  # written by another version
            return False
    return True


def _records(data: bytes) -> Iterator[bytes | None]:
    at = 0
    while at < len(data):
        if len(data) - at < _HEAD.size:
            yield None
            return
        length, check = _HEAD.unpack_from(data, at)
        payload = data[at + _HEAD.size : at + _HEAD.size + length]
        if len(payload) < length or zlib.crc32(payload) != check:
            yield None
            return
        yield payload
        at += _HEAD.size + length


def _joined(ranges: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """The same numbers in as few ranges as can be."""
    joined: list[tuple[str, int, int]] = []
    for store, first, last in sorted(ranges):
        if joined and joined[-1][0] == store and first <= joined[-1][2] + 1:
            joined[-1] = (store, joined[-1][1], max(last, joined[-1][2]))
        else:
            joined.append((store, first, last))
    return joined


def _without(lot: Lot, store: str, first: int, last: int) -> Iterator[Lot]:
    """What is left of a lot when numbers are taken out."""
    if lot.store != store or last < lot.seq or first > lot.last:
        yield lot
        return
    if first > lot.seq:
        yield split(lot, first - lot.seq)[0]
    if last < lot.last:
        yield split(lot, last + 1 - lot.seq)[1]


def _plain(value: Any) -> Any:
    """The same in types that marshal knows."""
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value] if isinstance(value, list) else tuple(_plain(item) for item in value)
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else str(value)
