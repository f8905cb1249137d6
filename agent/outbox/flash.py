"""The database in its thread, and what becomes of it when the storage fails: tried again, or set aside.

The ids of accepted commands outlive it: a database that is garbled is set aside, and one may be put back from a backup.
A command that the broker sends again, or a client repeats, must not be carried out a second time for that. So each
acceptance is a line of a file beside the database as well (`Ids`), on flash before the output moves. Its outcome
is in the database only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from agent.clock import Clock
from agent.errors import StorageError
from agent.lib.backoff import Backoff
from agent.lib.files import open_regular, read_regular, sync_folder
from agent.lib.machine import Machine
from agent.model import Instant, Outcome, OutcomeState, Value
from agent.outbox.identity import Totals, unsure_fact
from agent.outbox.numbers import Replay
from agent.outbox.store import Store, Work, is_corrupt, set_aside

__all__ = ["Flash", "Ids", "Owner", "outcomes"]

_log = logging.getLogger("bocage.outbox")
_T = TypeVar("_T")

_RETRY = (5.0, 60.0)
"""Seconds between two attempts at a flash that failed: first, at most."""

_IDS = "commands.ids"
KEPT = 5_000
"""The number of newest ids that are kept; a file twice as long is cut back at a start: about 1 MB."""
_HOW = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_LARGEST = (1 << 63) - 1
"""Largest whole number of the database."""
LOST = "it was accepted before; what became of it was lost with the outbox database"


class Owner(Protocol):
    """Receives what happens to the database."""

    def adopt(self, db: Store, totals: Totals) -> None:
        """Go on from the contents of a database that was opened."""

    def corrupted(self, name: str, error: Exception) -> None:
        """Note that a corrupt database was set aside under `name`."""

    def forget(self) -> None:
        """Note that the open database is gone: rows that memory refers to no longer exist."""


class Flash:
    """`fault` says why it cannot be written at present, or is ""; then it is worth a try from `retry_at` on."""

    def __init__(
        self, folder: Path, max_bytes: int, machine: Machine, found: Replay, clock: Clock, owner: Owner
    ) -> None:
        self._folder, self._max_bytes, self._machine = folder, max_bytes, machine
        self._clock, self._owner = clock, owner
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self.ids = Ids(folder)
        self.found = found
        """Contents of the stage at the start, until a database that knew of it is gone."""
        self.lock = asyncio.Lock()
        """Held for each job and what we note of it, so that both have an order."""
        self.db: Store | None = None
        self.fault = ""
        self.retry_at = float("-inf")
        self.was_written = False
        """Whether it has taken something since the start: then an empty `fault` means that it can be written."""
        self._backoff = Backoff(*_RETRY)

    def open(self) -> Totals:
        """At the start, in the caller's thread. sqlite3.Error or OSError if it cannot be opened."""
        db, totals = self._open()
        self._adopt(db, totals)
        return totals

    async def job(self, job: Callable[[Store], _T]) -> _T:
        """Do a job on the database in its thread; the caller holds `lock`. StorageError if the flash fails."""
        loop = asyncio.get_running_loop()
        try:
            if self.db is None:
                self._adopt(*await loop.run_in_executor(self._worker, self._open))
            db = self.db
            assert db is not None
            result = await loop.run_in_executor(self._worker, job, db)
        except (sqlite3.Error, OSError) as error:
            self.failed(error)
            raise StorageError(str(error)) from error
        return result

    def recovered(self) -> None:
        """Clear the fault after a successful write; a successful read proves nothing."""
        self.was_written = True
        if self.fault:
            _log.info("outbox can be written again next=what waited in memory is on flash")
            self.fault, self.retry_at = "", float("-inf")
            self._backoff.reset()

    def failed(self, error: Exception) -> None:
        """Note a fault of the storage; set a corrupt database aside."""
        now = self._clock.monotonic()
        if not self.fault:
            _log.error("outbox cannot be written error=%s next=memory, again in %.0f s", error, self._backoff.delay)
        if now >= self.retry_at:  # an event in between tries too, and puts nothing off
            self.retry_at = now + self._backoff.next()
        self.fault = str(error)
        if self.db is not None and is_corrupt(error):
            self.db.close()
            self.db = None
            self._set_aside(error)
            self.found = Replay(found=True)
            self._owner.forget()
            self.retry_at = float("-inf")

    async def close(self) -> None:
        if self.db is not None:
            await asyncio.get_running_loop().run_in_executor(self._worker, self.db.close)
        self._worker.shutdown()

    def _adopt(self, db: Store, totals: Totals) -> None:
        self.db = db
        self._owner.adopt(db, totals)

    def _open(self) -> tuple[Store, Totals]:
        """Open the database, and find in it what the stage says is delivered. One that is corrupt is set aside."""
        for last in (False, True):  # a read that failed once can look like it
            try:
                return self._opened()
            except sqlite3.DatabaseError as error:
                if not is_corrupt(error):
                    raise
                if last:
                    self._set_aside(error)
        return self._opened()

    def _opened(self) -> tuple[Store, Totals]:
        db = Store(self._folder, self._max_bytes, self._machine)
        try:
            self.ids.teach(db)
            for left in db.left():
                if left["first"]:
                    self.found.rename(left["store"], left["now"], left["first"])
            delivered = db.find(set(self.found.accepted)) if self.found.accepted else Work()
            if delivered.done_blocks or delivered.done_messages:
                # its sender was confirmed, and a start after a power cut knows it by the flash alone
                delivered.facts["unsure"] = unsure_fact(self.found.unsure(db.name, db.unsure()))
                db.commit(delivered)
            return db, db.totals(self.found.beyond(), self.found.commands())
        except (sqlite3.Error, OSError):
            db.close()
            raise

    def _set_aside(self, error: Exception) -> None:
        name = set_aside(self._folder)
        _log.error("outbox database corrupt error=%s next=kept as %s, a new one is opened", error, name)
        self._owner.corrupted(name, error)


class Ids:
    """One file, in the outbox's thread. A line that cannot be read is passed over."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _IDS
        self._broken = False

    def teach(self, db: Store) -> None:
        """Let a database know the commands that another one accepted, of which it is older or a successor."""
        kept = self.lines()
        newest = next(outcomes(reversed(kept)), None)
        if newest is not None and db.outcome(newest.command) is None:
            unknown = [one for one in outcomes(kept) if db.outcome(one.command) is None]
            _log.warning("ids of commands taken over n=%d next=none of them is carried out again", len(unknown))
            db.commit(Work(outcomes=unknown))
        self.tidy(kept)

    def add(self, accepted: Sequence[Outcome]) -> None:
        """Append accepted commands; they are on flash on return. A fault is logged: the database has them."""
        lines = [json.dumps([one.command, one.point, one.value, list(one.at)]) for one in accepted]
        try:
            descriptor = open_regular(self._path, _HOW)
            try:
                begun = os.fstat(descriptor).st_size == 0
                os.write(descriptor, "".join(f"\n{line}\n" for line in lines).encode())  # the last one may be torn
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if begun:
                sync_folder(self._path.parent)
        except OSError as error:
            if not self._broken:
                _log.warning("ids of commands cannot be written file=%s error=%s next=the database alone has them",
                             self._path, error)  # fmt: skip
            self._broken = True
        else:
            self._broken = False

    def lines(self) -> list[bytes]:
        """All that are kept, the oldest first, for `outcomes`."""
        with contextlib.suppress(OSError):
            return [line for line in read_regular(self._path, flags=os.O_NOFOLLOW).split(b"\n") if line]
        return []

    def tidy(self, lines: Sequence[bytes]) -> None:
        """Keep the newest only, if there are too many."""
        if len(lines) < 2 * KEPT:
            return
        new = Ids(self._path.parent)
        new._path = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):
            new._path.unlink(missing_ok=True)
            new.add([*outcomes(lines)][-KEPT:])
            if not new._broken:
                new._path.rename(self._path)
                sync_folder(self._path.parent)


def outcomes(lines: Iterable[bytes]) -> Iterator[Outcome]:
    """The lines as outcomes with state `unknown`."""
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            command, point, value, at = json.loads(line)
            yield Outcome(_text(command), _text(point), _plain(value), OutcomeState.UNKNOWN, LOST, _instant(*at))


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise TypeError("no text of ours")
    return found.encode().decode()  # ValueError for half a character


def _plain(found: object) -> Value:
    if found is not None and not isinstance(found, bool | int | float | str):
        raise TypeError("no value of ours")
    return found


def _instant(boot: object, boottime_ns: object, wall_ms: object) -> Instant:
    return Instant(_text(boot), _whole(boottime_ns), None if wall_ms is None else _whole(wall_ms))


def _whole(found: object) -> int:
    if type(found) is not int or abs(found) > _LARGEST:
        raise TypeError("no number of ours")
    return found
