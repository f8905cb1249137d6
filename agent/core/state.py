"""Small durable facts: overrides, latches, counters, sessions. One readable JSON file and its previous generation.

Facts are looked up and changed in a dictionary, at the same cost however many there are. The file is TinyDB's, a table
of them, on a storage class of ours, `Generations`. A write goes to a temporary file, which is fsynced; the newest file
becomes the previous generation, the temporary one the newest, and the folder is fsynced. So a power cut at any moment
leaves the new or the previous generation, and a checksum tells when a file is neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as _quoted
from pathlib import Path
from typing import Any, NamedTuple

from tinydb import TinyDB
from tinydb.storages import Storage

from agent.errors import StorageError
from agent.lib.files import read_regular, sync_folder

__all__ = ["Generations", "State", "was_kept"]

_NEWEST, _PREVIOUS = "state.json", "state.previous.json"
_TABLE = "facts"

log = logging.getLogger("bocage.state")

Tables = dict[str, dict[str, Any]]


_words = json.JSONEncoder(allow_nan=False).encode
_compact = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


class _Said(NamedTuple):
    """A fact (JSON) as a row of the file has it, and as it counts for the checksum."""

    row: int
    words: str
    line: str
    compact: str

    @classmethod
    def of(cls, row: int, key: str, words: str) -> _Said:
        name = _quoted(key)
        line = f'  "{row}": {{"key": {name}, "value": {words}}}'
        return cls(row, words, line, f'"{row}":{{"key":{name},"value":{_compact(json.loads(words))}}}')


def was_kept(folder: Path) -> bool:
    """Whether facts were kept in this state folder. A kill between two renames leaves the previous generation alone."""
    return any((folder / name).exists() for name in (_NEWEST, _PREVIOUS))


class Generations(Storage):
    """TinyDB's storage: what was on flash at the start, and what is there once `flush` was called.

    `troubles` says what was unreadable at the start. A file that cannot be read is set aside under a dated name,
    never overwritten.
    """

    def __init__(self, folder: Path) -> None:
        self.troubles: list[str] = []
        self._said: dict[str, _Said] = {}
        self._folder = folder
        self._newest = folder / _NEWEST
        self._previous = folder / _PREVIOUS
        self._temporary = folder / "state.new.json"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            self._trouble(f"{folder} cannot be made ({error.strerror}): facts are in memory only")
        self._tables = self._load()

    def read(self) -> Tables:
        return self._tables

    def write(self, data: Tables) -> None:
        raise NotImplementedError("`text` and `flush` write")

    def text(self, facts: Mapping[str, str]) -> str:
        """The file's content: a line a fact (JSON, by its key), with the CRC-32 of their compact form."""
        before, self._said = self._said, {}
        for row, (key, words) in enumerate(facts.items(), 1):
            said = before.get(key)  # most facts are what they were at the last write
            self._said[key] = said if said and said[:2] == (row, words) else _Said.of(row, key, words)
        lines = ",\n".join([said.line for said in self._said.values()])
        whole = ",".join(sorted([said.compact for said in self._said.values()]))
        crc = zlib.crc32(f'{{"{_TABLE}":{{{whole}}}}}'.encode())
        return f'{{"format": 1, "crc32": {crc}, "facts": {{\n "{_TABLE}": {{\n{lines}\n }}\n}}}}\n'

    def flush(self, text: str) -> None:
        """Put `text` on flash as the newest generation. OSError if the disk will not; nothing is lost then."""
        try:
            descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            try:
                _write_all(descriptor, text.encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            self._temporary.unlink(missing_ok=True)  # a full disk needs the room
            raise
        with contextlib.suppress(FileNotFoundError):  # the first one of all
            os.replace(self._newest, self._previous)  # noqa: PTH105, Path.replace would make an unused path
        os.replace(self._temporary, self._newest)  # noqa: PTH105
        sync_folder(self._folder)

    def _load(self) -> Tables:
        for path in (self._newest, self._previous):
            try:
                return _parse(read_regular(path))
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                self._set_aside(path, str(error))
        if self.troubles:
            self._trouble("no generation of the state is readable: it starts empty")
        return {}

    def _set_aside(self, path: Path, reason: str) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        aside = path.with_name(f"{path.name}.unreadable-{stamp}")
        try:
            path.replace(aside)
        except OSError as error:
            self._trouble(f"{path.name} is unreadable ({reason}) and cannot be set aside ({error.strerror})")
        else:
            self._trouble(f"{path.name} is unreadable ({reason}): set aside as {aside.name}")

    def _trouble(self, text: str) -> None:
        self.troubles.append(text)
        log.error("state trouble what=%r next=%r", text, "the agent goes on with what is left")


class State:
    """Durable facts by key (a `drivers.api.DurableStore`). Thread-safe.

    Keys are "area.name". Values are anything that JSON can say; what `get` returns is the caller's own copy.
    """

    def __init__(self, storage: Generations, every: float = 10.0) -> None:
        self._storage = storage
        table = TinyDB(storage=lambda: storage).table(_TABLE)
        self._facts = {fact["key"]: json.dumps(fact["value"]) for fact in table}
        """In JSON: so what is put and what is got are copies."""
        self._changes = self._flushed = 0
        self._every = every
        self._facts_lock = threading.Lock()
        self._disk_lock = threading.Lock()
        self.fault: str | None = None
        """Why the facts cannot be written at present, or None."""

    @classmethod
    def open(cls, folder: Path, *, every: float = 10.0) -> State:
        """Read the newest readable generation in `folder`, or start empty. `every` spaces coalesced writes (s)."""
        return cls(Generations(folder), every)

    @property
    def troubles(self) -> list[str]:
        """The files that could not be read when it was opened, as texts for an alarm; empty if all was well."""
        return self._storage.troubles

    def get(self, key: str) -> Any:
        """The value of `key`, or None."""
        with self._facts_lock:
            words = self._facts.get(key)
        return None if words is None else json.loads(words)

    def put(self, key: str, value: Any, now: bool = False) -> None:
        """Remember `value`; None forgets the key. With `now` it is on flash when this returns.

        Without `now` it is written by `run` within 10 s. TypeError or ValueError if JSON cannot say it.
        StorageError, with `now` only, if the disk refuses: the value is kept in memory, and tried again by `run`.
        """
        words = _words(value)
        with self._facts_lock:
            if value is None:
                self._facts.pop(key, None)
            else:
                self._facts[key] = words
            self._changes += 1
        if now:
            self.flush()

    def scope(self, prefix: str) -> _Scope:
        """The same facts, under keys that begin with `prefix.`."""
        return _Scope(self, prefix)

    def flush(self) -> None:
        """Put everything on flash. StorageError if the disk refuses (full, read-only, failing)."""
        with self._disk_lock:
            with self._facts_lock:
                if (changes := self._changes) == self._flushed:
                    return
                facts = dict(self._facts)
            text = self._storage.text(facts)
            try:
                self._storage.flush(text)
            except OSError as error:
                self._report(error.strerror or str(error))
                raise StorageError(f"state cannot be written: {error}") from error
            self._flushed = changes
            self._report(None)

    async def run(self) -> None:
        """Write what changed, at most once every 10 s, in a thread. A fault of the disk is logged and tried again."""
        while True:
            await asyncio.sleep(self._every)
            if self._changes != self._flushed:
                await asyncio.to_thread(self._try_flush)

    def close(self) -> None:
        """The last write, at an orderly stop. A fault of the disk is logged."""
        self._try_flush()

    def _try_flush(self) -> None:
        try:
            self.flush()
        except StorageError:
            return  # reported, and still to be written

    def _report(self, fault: str | None) -> None:
        if fault and not self.fault:
            log.error('state not written reason="%s" next=%r', fault, f"kept in memory, tried every {self._every:g} s")
        if self.fault and not fault:
            log.info("state written again after=%r", self.fault)
        self.fault = fault


class _Scope:
    """Facts under a prefix (satisfies `driver.Facts`)."""

    def __init__(self, state: State, prefix: str) -> None:
        self._state = state
        self._prefix = prefix

    def get(self, key: str) -> Any:
        return self._state.get(f"{self._prefix}.{key}")

    def put(self, key: str, value: Any, now: bool = False) -> None:
        self._state.put(f"{self._prefix}.{key}", value, now)

    def flush(self) -> None:
        self._state.flush()


def _crc(tables: Tables) -> int:
    return zlib.crc32(_compact(tables).encode())


def _parse(content: bytes) -> Tables:
    """The facts in a file. ValueError if it is not one that we wrote, whole and unchanged."""
    document = json.loads(content)
    if not isinstance(document, dict) or not isinstance(document.get("facts"), dict):
        raise ValueError("not a state file")
    facts: Tables = document["facts"]
    if document.get("crc32") != _crc(facts):
        raise ValueError("the checksum is wrong")
    return facts


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
