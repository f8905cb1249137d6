"""`load` and `check`: from a path to a site, or to everything that is wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.control.named_calendars import Occurrences
from agent.errors import ConfigError
from agent.lib.hints import again
from agent.lib.secret_reference import SecretReference
from agent.site.calendar_files import CalendarFiles
from agent.site.checks.secret_references import secret_references
from agent.site.checks.site import check_site
from agent.site.holiday_tables import read_tables
from agent.site.language.base import fields_of
from agent.site.language.document import Document, read
from agent.site.language.problems import Problem
from agent.site.language.validation import validate
from agent.site.models.devices import device_model
from agent.site.models.site import Site, site_model
from agent.site.profiles.model import Library
from drivers.registry import is_foreign

__all__ = ["Copy", "check", "load", "read_copy", "read_site"]


@dataclass(frozen=True, slots=True)
class Copy:
    """All that a site file says, with the files beside it that it uses."""

    site: Site | None
    """The site as far as it can be understood, whatever rules it breaks; None if it cannot."""
    problems: list[Problem]
    files: Mapping[str, bytes]
    """The site's own files as they were read, by their names relative to the site file, which is site.yaml here."""
    absent: frozenset[str] = frozenset()
    """Codecs that a profile of the site needs and that are not there."""
    secret_references: tuple[SecretReference, ...] = ()
    """Secrets, certificates and keys that it points to."""
    calendars: Mapping[str, Occurrences] = field(default_factory=dict)
    """The occurrences of its iCalendars beside it, around now."""

    @property
    def wrong(self) -> bool:
        return self.site is None or any(found.is_fatal for found in self.problems)


def read_copy(path: Path, file: str | None = None, home: Path | None = None, codecs: bool = False) -> Copy:
    """Read and check a site file. Never raises for what the file holds.

    `file` is how the problems name the file (default: the path). `home` is the site file that this one is a copy of:
    secrets and certificates are looked for beside that one, profiles, codecs and calendars beside this one. `codecs`:
    makers' codecs are loaded too, in a process of its own, to see whether they can be.
    """
    home = home or path
    document = read(path, file)
    problems = document.problems
    if not document.data and [problem.message for problem in problems] == ["the file is empty"]:
        start = again("init", document.file, "--force")
        problems[0] = replace(problems[0], message=f"the file is empty; this writes one to start from: {start}")
    library = Library(path.parent)
    site: Site | None = None
    found_references: tuple[SecretReference, ...] = ()
    calendars = CalendarFiles(path.parent)
    if not problems or document.data is not None:
        site, left_out = validate(document, _model(document), home.parent)
        if site is not None:
            given, tables, why = read_tables(site, path.parent)
            site.read_from(home, "sha256:" + hashlib.sha256(document.source).hexdigest(), given)
            if why is not None:
                document.report(("site", "holiday_tables"), why)
            if tables is not None and site.site.holiday_tables is not None:
                calendars.problems += tables.problems
                calendars.files[site.site.holiday_tables.as_posix()] = tables.source
            check_site(document, site, left_out, library, calendars)
            if codecs:
                library.check_files()
            problems = document.problems + library.problems + calendars.problems
            found_references = tuple(secret_references(document, site))
    problems = sorted(problems, key=lambda found: (found.file != document.file, found.file, found.line, found.column))
    files = {"site.yaml": document.source, **library.files, **calendars.files}
    return Copy(site, problems, files, frozenset(library.absent), found_references, calendars.occurrences)


def read_site(path: Path, file: str | None = None) -> tuple[Site | None, list[Problem]]:
    """Read and check a site file: the site, None where there is an error, and all problems by line.

    `file` is how the problems name the file (default: the path). Never raises for what the file holds.
    """
    copy = read_copy(path, file)
    return (None if copy.wrong else copy.site), copy.problems


def load(path: Path) -> Site:
    """The site of a file. ConfigError with every problem, ready to print, if there is an error in it."""
    site, problems = read_site(path)
    if site is None:
        first = next((problem for problem in problems if problem.is_fatal), None)
        raise ConfigError([str(problem) for problem in problems], first)
    return site


def check(path: Path) -> list[Problem]:
    """All problems of a file, warnings too, by line."""
    return read_site(path)[1]


def _model(document: Document) -> type[Site]:
    """The model of the file, with the drivers of other distributions that it uses: no other one is imported.

    Devices on a bus whose driver cannot be used have keys that are not known: they are taken out.
    """
    buses, devices = document.value(("buses",)), document.value(("devices",))
    named = buses.items() if isinstance(buses, dict) else ()
    types = {name: bus["type"] for name, bus in named if isinstance(bus, dict) and isinstance(bus.get("type"), str)}
    model = site_model({one for one in types.values() if is_foreign(one)})
    known = fields_of(device_model(model.bus_types.device_options)) if model.bus_types.faults else {}
    for device in devices.values() if known and isinstance(devices, dict) else ():
        if isinstance(device, dict) and types.get(str(device.get("bus"))) in model.bus_types.faults:
            for key in device.keys() - known.keys():
                del device[key]
    return model
