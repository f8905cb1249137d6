"""The stage: what waits for the broker or for the flash, on tmpfs, where it outlives the process.

Segments of appended records, each `length, crc32, marshal`: one record a put, one a class-0 record, one an acceptance.
What a start finds is replayed; an unreadable tail is cut. A segment goes when everything put before its end is on flash
or accepted, so the folder stays as small as the durability window. A power cut takes it all: that is the contract.

A record that finds no room is not there, and nothing in the segments shows it. The mark beside them (`Mark`) does: it
says which numbers were given, so that a start knows exactly which are missing. It is one page, filled when it is made
and only changed in memory afterwards (a shared mapping). It needs no room, so it cannot fail when the segments can; it
outlives the process, also one that is killed between two instructions. It belongs to one start of the box: on a disk
an old one would tell of less than was given.

    "BOCAGE-1"  16 bytes of the boot  40 bytes unused  then slots: 16 bytes store (uuid), 8 bytes given, 8 bytes done
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import marshal
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from agent.lib.files import open_regular, read_regular
from agent.model import Instant, Outcome, OutcomeState
from agent.outbox.blocks import Lot
from agent.outbox.identity import Claim, IdentityState
from agent.outbox.numbers import Given, Replay
from agent.outbox.records import StagedRecord, former_topic, of_former_topic

__all__ = ["Stage", "replay"]

_log = logging.getLogger("bocage.outbox")
_HEAD = struct.Struct("<II")
_SEGMENT = 1_000_000
"""Bytes after which a segment ends."""
_HELD = float("inf")
_FORMAT = 4
"""The version of marshal's format: every Python from 3.4 on reads it."""

_NAME = "numbers.mark"
_MAGIC = b"BOCAGE-1"
_PAGE = 4096
_FIRST, _SLOT = 64, 32
_EMPTY = bytes(16)


def replay(folder: Path, boot: str | None = None) -> Replay:
    """Read a stage without touching it; its mark is believed for this start of the box."""
    result = Replay(given=_read_mark(folder, boot))
    for path in _segments(folder):
        result.found = True
        try:
            data = read_regular(path)
        except OSError as error:
            _log.warning("stage segment unreadable file=%s error=%s next=its readings are lost", path, error)
            result.cut = True
            continue
        if not _read(data, result):
            result.cut = True
    return result


class Stage:
    """Appends. Never raises for a fault of its folder: `broken` says that what is put now would not outlive a crash."""

    def __init__(self, folder: Path, boot: str, found: Replay) -> None:
        """`found` is what the segments that are there say. It hears what is accepted of it from now on."""
        self._folder, self._boot, self._found = folder, boot, found
        self._fd = -1
        self._path = folder
        self._size = 0
        self._until = float("-inf")
        segments = _segments(folder)
        self._closed: list[tuple[float, Path]] = [(_HELD, path) for path in segments]
        self._number = max((int(path.stem) for path in segments), default=0)
        self._drop([path for path in segments if _is_empty(path)])
        self._held = found.stores()
        """The stores of those segments, as long as no database knows them."""
        self._over: list[tuple[str, int, int]] = []
        """Acceptances of these: each segment of ours repeats them, for it may outlive the one before."""
        self._losses: list[tuple[Any, ...]] = []
        self._losses_kept = True
        self._identity: IdentityState | None = None
        self.broken = False
        self._lacks = False
        """Whether the open segment did not take everything, also if it does again."""
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._mark = Mark.open(folder, boot)
        self.rotate()
        self._identity = found.identity

    def put(self, lots: Sequence[Lot]) -> None:
        """Keep lots; one write. Their numbers are in use from now on, whether there was room or not."""
        self._until = lots[-1].since
        self._append(("put", [tuple(lot) for lot in lots]))
        self.give(lots[0].store, lots[-1].last)

    def keep(self, record: StagedRecord, since: float) -> bool:
        """Keep a class-0 record until the flash has it, or the broker; a later one of the same number counts.

        Whether it is there now.
        """
        self._until = since
        one = record.outcome
        told = one and (one.command, one.point, one.value, str(one.state), one.reason, tuple(one.at))
        topic = former_topic(record.kind, record.command)
        # an older program takes what it does not know for an acceptance: this one is of no number
        kept = self._append(("kept", record.store, record.seq, record.seq - 1, topic, record.body, told))
        self.give(record.store, record.seq)
        return kept

    def give(self, store: str, last: int) -> None:
        """Numbers up to this one are in use, also if the stage does not hold what they stand for."""
        if self._mark is not None:
            self._mark.give(store, last)

    def finish(self, numbers: Mapping[str, Given]) -> None:
        """Note how far numbers were given and are done with, by store. A missing mark is tried again."""
        if self._mark is None:
            self._mark = Mark.open(self._folder, self._boot)
        if self._mark is not None:
            for store, (last, done) in numbers.items():
                self._mark.give(store, last)
                self._mark.finish(store, done)

    def accept(self, store: str, first: int, last: int) -> None:
        """Keep that the broker took these numbers, or that they were given up and that is told."""
        if store in self._held:
            self._over.append((store, first, last))
            self._found.accepted.append((store, first, last))
        self._append(("accepted", store, first, last))

    def rename(self, old: str, new: str, first: int) -> None:
        """Keep that what is here of a store, from a number on, goes under the name of another."""
        # an older program takes this for an acceptance, of no number
        self._append(("renamed", "", 0, -1, old, new, first))
        if self._mark is not None:
            self._mark.rename(old, new)

    def keep_identity(self, identity: IdentityState) -> None:
        """Keep what may be claimed at the broker, for a start that cannot open the database, or finds it behind."""
        if identity != self._identity:
            self._identity = identity
            self._append_identity()

    def _append_identity(self) -> None:
        if self._identity is not None:
            claim, *known = self._identity
            # an older program takes this for an acceptance, of no number
            self._append(("standing", "", 0, -1, tuple(claim), *known))

    def losses(self, losses: Sequence[tuple[Any, ...]]) -> bool:
        """Keep what was lost in memory, all of it anew, until the flash can be told; whether it is there now."""
        self._losses = list(losses)
        self._losses_kept = self._append(("lost", self._losses))
        return self._losses_kept

    def holds(self, losses: Sequence[tuple[Any, ...]]) -> bool:
        """Whether a start would find exactly these losses here."""
        return self._losses_kept and self._losses == list(losses)

    def forget_losses(self) -> None:
        """The flash knows them."""
        if self._losses:
            self._losses = []
            self._losses_kept = self._append(("lost", []))

    def rotate(self) -> int:
        """Begin a segment; returns its number, for `forget`."""
        self._end_segment()
        self._number += 1
        self._path = self._folder / f"{self._number:08d}.stage"
        self._size, self._lacks = 0, False
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = open_regular(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            self._recovered()
        except OSError as error:
            self._fault(error)
            self._losses_kept = False
        else:
            if self._losses:
                self._losses_kept = self._append(("lost", self._losses))
            self._append_identity()
            for numbers in self._over:
                self._append(("accepted", *numbers))
        return self._number

    @property
    def is_full(self) -> bool:
        """Whether the segment is long enough, or none is open."""
        return self._size > _SEGMENT or self._fd < 0

    def is_untidy(self, oldest: float) -> bool:
        """Whether there is something for `tidy` to do."""
        behind = any(until < oldest for until, _ in self._closed)
        return behind or self.broken or self._lacks or self._mark is None or self.is_full

    def tidy(self, oldest: float, numbers: Mapping[str, Given]) -> None:
        """Drop the segments that hold nothing put at `oldest` (clock.monotonic) or later; end a long one.

        `numbers` go to the mark first: it answers for what the segments knew of what was accepted. A segment that did
        not take everything ends as soon as it is not needed: it may not know that the broker took what it holds, and
        where there was no room, it gives some back.
        """
        if self.is_full or (self._lacks and self._until < oldest and not self._losses):
            self.rotate()
        self.finish(numbers)
        self._drop([path for until, path in self._closed if until < oldest])

    def release(self) -> None:
        """The segments that a start found are needed no longer than what was put since: a database knows them.

        Until then they alone know what the broker took and what may be claimed, and `tidy` leaves them.
        """
        self._append_identity()
        self._closed = [(float("-inf") if until == _HELD else until, path) for until, path in self._closed]
        self._held, self._over = set(), []

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
            if self._mark is not None:
                self._mark.remove()

    def _append(self, record: tuple[Any, ...]) -> bool:
        """Whether it is there now."""
        if self._fd < 0:
            return False
        try:
            payload = marshal.dumps(record, _FORMAT)
        except ValueError:  # a value of a class of its own (an enumeration): as plain text
            payload = marshal.dumps(_plain(record), _FORMAT)
        data = _HEAD.pack(len(payload), zlib.crc32(payload)) + payload
        try:
            written = os.write(self._fd, data)
            if written < len(data):
                self._cut()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._fault(error)
            self._lacks = True
            return False
        self._size += len(data)
        self._recovered()
        return True

    def _cut(self) -> None:
        """Take half a record away again; where even that fails, nothing more is written behind it."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            self._end_segment()

    def _end_segment(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._closed.append((self._until, self._path))
            if not self._size:
                self._drop([self._path])

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

    def _recovered(self) -> None:
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


def _is_empty(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return not path.lstat().st_size
    return False


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
            elif kind == "standing":
                into.identity = IdentityState(Claim(*rest[3]), *rest[4:8])
            elif kind == "renamed":
                into.rename(*rest[3:])
            elif kind == "kept":
                what = of_former_topic(rest[3])
                into.records.append(StagedRecord(rest[0], rest[1], *what, rest[4], _outcome(rest[5])))
            else:
                into.accepted.append((rest[0], rest[1], rest[2]))
        except (ValueError, TypeError, EOFError, IndexError):  # written by another version
            return False
    return True


def _outcome(told: tuple[Any, ...] | None) -> Outcome | None:
    if told is None:
        return None
    command, point, value, state, reason, at = told
    return Outcome(command, point, value, OutcomeState(state), reason, Instant(*at))


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


def _plain(value: Any) -> Any:
    """The same in types that marshal knows."""
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value] if isinstance(value, list) else tuple(_plain(item) for item in value)
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else str(value)


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


def _read_mark(folder: Path, boot: str | None) -> dict[str, Given] | None:
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
