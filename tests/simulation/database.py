"""SQLite on the simulated disk: apsw's virtual file system, and connections that look and fail as sqlite3's do."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from os import close, open
from typing import Any

import apsw

from tests.simulation.disk import Disk

__all__ = ["Database", "connector"]

class Files(apsw.VFS):
    """The kernel's files, of which the disk hears before each change. `alive` tells whether anybody can write."""

    def __init__(self, name: str, disk: Disk, alive: Any) -> None:
        self.name, self.disk, self.alive = name, disk, alive
        self.connections: list[Database] = []
        super().__init__(name, "")

    def bury(self) -> None:
        """The process is gone, and its locks with it."""
        for one in self.connections:
            with contextlib.suppress(sqlite3.Error):
                one.close()
        self.connections.clear()

    def xOpen(self, name: Any, flags: Any) -> Any:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        new = path is not None and not os.path.lexists(path)
        if new and self.alive():
            _refused(self.disk.begins)
        file = File(self, name, flags, path)
        if new and self.alive():
            self.disk.made(path)
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:
        if not self.alive():
            return
        _refused(self.disk.begins)
        if os.path.lexists(filename):
            self.disk.will_remove(filename)
        super().xDelete(filename, syncdir)
        if syncdir:
            self.disk.sync_names()


class File(apsw.VFSFile):
    def __init__(self, files: Files, name: Any, flags: Any, path: str) -> None:
        self._files, self._disk, self._alive = files, files.disk, files.alive
        super().__init__("", name, flags)
        self._fd = open(path, os.O_RDWR)

    def xRead(self, amount: int, offset: int) -> bytes:
        if self._disk.read_fault and self._alive():
            raise apsw.IOError("read")
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._alive():
            _refused(self._disk.will_write, self._fd, offset, bytes(data))
            super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        if self._alive():
            _refused(self._disk.will_truncate, self._fd, newsize)
            super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        if self._alive():
            _refused(self._disk.sync, self._fd)
            self._disk.sync_names()  # SQLite syncs the folder of a file that it has made

    def xClose(self) -> None:
        if self._fd >= 0:
            close(self._fd)
            self._fd = -1
        super().xClose()


def _refused(change: Any, *args: Any) -> None:
    try:
        change(*args)
    except OSError as error:
        kinds = {28: apsw.FullError, 30: apsw.ReadOnlyError}
        raise kinds.get(error.errno or 0, apsw.IOError)(os.strerror(error.errno or 5)) from error


def _as_sqlite3(error: apsw.Error) -> sqlite3.Error:
    """The error of sqlite3 for one of apsw (PEP 249 classes as Modules/_sqlite/util.c chooses them)."""
    code = getattr(error, "result", apsw.SQLITE_ERROR)
    kind: type[sqlite3.Error] = sqlite3.DatabaseError
    if code in {apsw.SQLITE_CONSTRAINT, apsw.SQLITE_MISMATCH}:
        kind = sqlite3.IntegrityError
    elif code == apsw.SQLITE_MISUSE:
        kind = sqlite3.InterfaceError
    elif code in {apsw.SQLITE_INTERNAL, apsw.SQLITE_NOTFOUND}:
        kind = sqlite3.InternalError
    elif code in {
        apsw.SQLITE_ERROR, apsw.SQLITE_PERM, apsw.SQLITE_ABORT, apsw.SQLITE_BUSY, apsw.SQLITE_LOCKED,
        apsw.SQLITE_READONLY, apsw.SQLITE_INTERRUPT, apsw.SQLITE_IOERR, apsw.SQLITE_FULL, apsw.SQLITE_CANTOPEN,
        apsw.SQLITE_PROTOCOL, apsw.SQLITE_EMPTY, apsw.SQLITE_SCHEMA,
    }:  # fmt: skip
        kind = sqlite3.OperationalError
    made = kind(str(error))
    made.sqlite_errorcode = getattr(error, "extendedresult", code)  # type: ignore[misc]
    return made


class _Cursor:
    """Rows as tuples; an error on the way is sqlite3's."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self._rows = rows

    def __iter__(self) -> _Cursor:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._rows)
        except apsw.Error as error:
            raise _as_sqlite3(error) from error

    def fetchone(self) -> Any:
        return next(self, None)

    def fetchall(self) -> list[Any]:
        return list(self)

    def close(self) -> None:
        self._rows.close(True)  # type: ignore[attr-defined]


class Database:
    """A connection as `sqlite3.connect(path, isolation_level=None)` gives one."""

    def __init__(self, path: str, vfs: str) -> None:
        try:
            self._db = apsw.Connection(path, vfs=vfs)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")  # no shared memory beside the file
        except apsw.Error as error:
            raise _as_sqlite3(error) from error

    def execute(self, query: str, values: Any = ()) -> _Cursor:
        try:
            return _Cursor(self._db.execute(query, values or None))
        except apsw.Error as error:
            raise _as_sqlite3(error) from error

    def executemany(self, query: str, rows: Any) -> None:
        try:
            self._db.executemany(query, rows)
        except apsw.Error as error:
            raise _as_sqlite3(error) from error

    def executescript(self, script: str) -> None:
        self.execute(script).fetchall()

    def close(self) -> None:
        with contextlib.suppress(apsw.Error):  # sqlite3_close says nothing of a checkpoint that failed
            self._db.close(True)


def connector(files: Files) -> Any:
    """In the place of `sqlite3.connect`."""

    def connect(path: Any, *args: Any, **more: Any) -> Database:
        made = Database(os.fspath(path), files.name)
        files.connections.append(made)
        return made

    return connect
