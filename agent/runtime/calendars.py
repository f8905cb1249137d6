"""Keep the named calendars known: iCalendars of servers are fetched, those beside the site file are read on.

A child process reads them (`agent.lib.ics`). What a server gave last is kept in the state folder, as begins and ends
alone, and holds for `LASTS` without the network:

    calendars/hall.json     mode 0600, replaced by a rename
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from agent.clock import Clock
from agent.control.api import Now
from agent.control.named_calendars import LASTS, NamedCalendar, Occurrences
from agent.errors import ConfigError
from agent.lib.files import read_regular, sync_folder
from agent.lib.ics import IcsError, IcsRequest, fetch
from agent.lib.timed_event import TimedEvent
from agent.runtime.applied import NEWEST
from agent.settings import CalendarSource, Settings

__all__ = ["Calendars"]

log = logging.getLogger("bocage.calendars")

DAY = 86400
AHEAD = 62 * DAY
"""Seconds for which a file is read in advance."""
RETRY = 900.0
"""Seconds after a failure until it is tried again, unless it is wanted more often."""
LOOK = 60.0
"""Seconds between two looks at what is due: the time may have become known."""
_FOLDER = "calendars"
_LARGEST = 2_000_000
"""Bytes of a kept copy: 10,000 occurrences have 240 kB."""


class KeptCalendar(NamedTuple):
    """The answer of a server, and when it came (Unix s). `origin` tells one address from another, without naming it."""

    origin: str
    fetched: int
    spans: tuple[tuple[int, int], ...]

    def occurrences(self, before: float) -> Occurrences:
        """As long as it holds; each begins `before` seconds early."""
        return Occurrences.of(self.spans, self.fetched - DAY, self.fetched + LASTS, before)


class Calendars:
    """All named calendars of a site. `present` are they as they are known now; `changed` gets each other state of them.

    `now` is the time of the controls.
    """

    def __init__(self, state: Path, beside: Path, settings: Settings, now: Callable[[], Now], clock: Clock) -> None:
        self._folder, self._homes = state / _FOLDER, (state / NEWEST, beside)
        self._now, self._clock = now, clock
        self.present: dict[str, NamedCalendar] = {}
        self.changed: Callable[[Mapping[str, NamedCalendar]], None] = lambda _present: None
        self._sources: dict[str, CalendarSource] = {}
        self._copies: dict[str, KeptCalendar] = {}
        """The ones in the state folder."""
        self._tried: dict[str, float] = {}
        """When each was read last (monotonic s)."""
        self._failures: dict[str, str] = {}
        self._wake = TimedEvent()
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Know the calendars of these settings from now on; those of servers are fetched anew."""
        self._timezone = settings.timezone
        self._sources = {one.name: one for one in settings.calendar_sources}
        self._tried, self._failures, self._copies = {}, {}, {}
        self.present = dict(settings.calendars)
        for name, source in self._sources.items():
            copy = self._load(name) if source.url is not None else None
            if copy is not None and copy.origin == _origin(source):
                self._copies[name] = copy
                self.present[name] = copy.occurrences(source.before)
            if source.url is None:
                self._tried[name] = self._clock.monotonic()  # it was read with the site file
        self._forget_others()
        self._wake.set()
        self.changed(dict(self.present))

    async def run(self) -> None:
        """Read each calendar when it is due, until cancelled."""
        while True:
            self._wake.clear()
            now = self._now()
            for source in list(self._sources.values()):
                if now.civil is not None and now.known and self._is_due(source, now.civil):
                    await self._renew(source, int(now.civil.timestamp()))
            await self._wake.wait(LOOK)

    def _is_due(self, source: CalendarSource, civil: datetime) -> bool:
        tried = self._tried.get(source.name)
        if tried is None:
            return True
        every = source.refresh if source.url is not None else float(DAY)
        known = self.present.get(source.name)
        if source.name in self._failures or known is None or not known.knows(civil):
            every = min(every, RETRY)
        return self._clock.monotonic() >= tried + every

    async def _renew(self, source: CalendarSource, now: int) -> None:
        """Read a calendar again. One that cannot be read stays as it is known."""
        self._tried[source.name] = self._clock.monotonic()
        try:
            copy = await self._read(source, now)
        except (IcsError, ConfigError, OSError) as error:
            self._note_failure(source, str(error))
            return
        if self._sources.get(source.name) != source:
            return  # another file was applied meanwhile
        if self._failures.pop(source.name, None) is not None:
            log.info("calendar read again calendar=%s", source.name)
        if source.url is None:
            self.present[source.name] = Occurrences.of(copy.spans, now - DAY, now + AHEAD, source.before)
        else:
            self.present[source.name] = copy.occurrences(source.before)
            self._keep(source.name, copy)
        self.changed(dict(self.present))

    async def _read(self, source: CalendarSource, now: int) -> KeptCalendar:
        url = None if source.url is None else source.url.reveal()
        content = None if source.file is None else self._content(source.file)
        until = now + (AHEAD if url is None else LASTS)
        spans = await fetch(IcsRequest(self._timezone, now - DAY, until, content, url))
        return KeptCalendar(_origin(source), now, tuple(spans))

    def _content(self, file: str) -> bytes:
        """The copy that was applied, so that an edited file is not used before it was checked and applied."""
        applied, beside = (home / file for home in self._homes)
        with suppress(OSError):
            return read_regular(applied)
        return read_regular(beside)

    def _note_failure(self, source: CalendarSource, reason: str) -> None:
        if self._failures.get(source.name) == reason:
            return
        self._failures[source.name] = reason
        copy = self._copies.get(source.name)
        known = "nothing is known of it" if copy is None else f"the copy of {copy.fetched} holds for 30 d"
        log.warning('calendar not read calendar=%s reason="%s" next=%s', source.name, reason, known)

    # -- in the state folder -----------------------------------------------------------------------------------

    def _load(self, name: str) -> KeptCalendar | None:
        """The kept copy; None if there is none that is whole."""
        path = self._folder / f"{name}.json"
        try:
            kept = json.loads(read_regular(path, _LARGEST, os.O_NOFOLLOW))
            spans = tuple((int(begin), int(end)) for begin, end in kept["spans"])
            return KeptCalendar(str(kept["origin"]), int(kept["fetched"]), spans)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error('kept calendar unreadable file=%s reason="%s" next=it is fetched', path, error)
            return None

    def _keep(self, name: str, copy: KeptCalendar) -> None:
        """Keep a copy: at once if it says something new, else once a day, to spare the flash."""
        kept = self._copies.get(name)
        fresh = kept is not None and copy.origin == kept.origin and copy.fetched - kept.fetched < DAY
        if fresh and kept is not None and copy.occurrences(0.0).agrees(kept.occurrences(0.0)):
            return
        document = {"format": 1, "origin": copy.origin, "fetched": copy.fetched, "spans": copy.spans}
        path, unfinished = self._folder / f"{name}.json", self._folder / f"{name}.new"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            unfinished.unlink(missing_ok=True)
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump(document, file)
                file.flush()
                os.fsync(descriptor)
            unfinished.replace(path)
            sync_folder(self._folder)
        except OSError as error:
            log.error('calendar not kept calendar=%s reason="%s" next=tried at the next reading', name, error)
            return
        self._copies[name] = copy

    def _forget_others(self) -> None:
        """Remove the copies of calendars that left the site file."""
        with suppress(OSError):
            for path in self._folder.iterdir():
                if path.stem not in self._sources:
                    path.unlink()


def _origin(source: CalendarSource) -> str:
    """A hash of where it is: the address is a secret. "" for a file, or while the secret is not there."""
    try:
        return "" if source.url is None else hashlib.sha256(source.url.reveal().encode()).hexdigest()
    except ConfigError:
        return ""
