"""The database in its thread, and what becomes of it when the storage fails: tried again, or set aside."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from agent.clock import Clock
from agent.errors import StorageError
from agent.lib.backoff import Backoff
from agent.lib.machine import Machine
from agent.outbox.numbers import Replay
from agent.outbox.store import Store, Totals, Work, is_corrupt, set_aside, unsure_fact

__all__ = ["Flash", "Owner"]

_log = logging.getLogger("bocage.outbox")
_T = TypeVar("_T")

_RETRY = (5.0, 60.0)
"""Seconds between two attempts at a flash that failed: first, at most."""


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
