"""The ids of commands that were accepted, beside the database: they outlive it.

A database that is garbled is set aside, and one may be put back from a backup. A command that the broker sends again,
or a client repeats, must not be carried out a second time for that. So each acceptance is a line of this file as
well, on flash before the output moves. What became of it stands in the database only.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from agent.lib.files import open_regular, read_regular, sync_folder
from agent.model import Instant, Outcome, OutcomeState, Value

__all__ = ["Ids", "outcomes"]

_log = logging.getLogger("bocage.outbox")

FILE = "commands.ids"
KEPT = 5_000
"""Of the newest; a file twice as long is cut back at a start: about 1 MB."""
_HOW = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_LARGEST = (1 << 63) - 1
"""Largest whole number of the database."""
LOST = "it was accepted before; what became of it was lost with the outbox database"


class Ids:
    """One file, in the outbox's thread. A line that cannot be read is passed over."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._broken = False

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
