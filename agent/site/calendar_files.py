"""The iCalendars beside a site file: their content, what is wrong in them, and their occurrences."""

from __future__ import annotations

import time
from pathlib import Path

from agent.control.named_calendars import Occurrences
from agent.lib.files import read_regular
from agent.lib.ics import LARGEST, IcsError, IcsRequest, read
from agent.site.language.problems import Problem

__all__ = ["AHEAD", "BACK", "CalendarFiles"]

BACK = 86400
"""Seconds before now from which on occurrences are known: one may have begun before."""
AHEAD = 62 * 86400
"""Seconds for which they are known from now on; the agent looks at the file again each day."""


class CalendarFiles:
    """Reads each file in a child process, for the time from `since` to `until` (Unix s; default: around now)."""

    def __init__(self, folder: Path, since: int | None = None, until: int | None = None) -> None:
        now = int(time.time())
        self._folder = folder
        self._since = now - BACK if since is None else since
        self._until = now + AHEAD if until is None else until
        self.files: dict[str, bytes] = {}
        """Their contents, by their names relative to the site file."""
        self.problems: list[Problem] = []
        self.occurrences: dict[str, Occurrences] = {}
        """The occurrences of each calendar that could be read, by its name."""

    def read(self, name: str, file: Path, timezone: str, before: float = 0.0) -> str | None:
        """Read the file of a calendar that begins `before` seconds early.

        Returns why it is not there to be read; None if it is. What is wrong in it is one of `problems`.
        """
        path = self._folder / file
        try:
            if not file.is_absolute() and not path.resolve().is_relative_to(self._folder.resolve()):
                return f'"{file}" is a link out of the folder of the site file; put the file itself there'
            content = read_regular(path, LARGEST + 1)
        except (OSError, RuntimeError) as error:
            return f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        self.files[file.as_posix()] = content
        try:
            spans = read(IcsRequest(timezone, self._since, self._until, content))
        except IcsError as error:
            self.problems.append(Problem(str(path), max(error.line, 1), 1, "error", str(error)))
        else:
            self.occurrences[name] = Occurrences.of(spans, self._since, self._until, before)
        return None
