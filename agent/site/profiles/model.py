"""Profiles: register maps and payload maps as data.

A profile is looked for as `profiles/NAME.yaml` or `NAME.csv` beside the site file, then in the package `drivers`. What
the rest of the program gets is a plain mapping with every default filled in (`normalised`).
"""

from __future__ import annotations

import importlib.resources
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import create_model

from agent.lib.files import is_file
from agent.site.language.base import Model, Section, fields_of
from agent.site.language.document import Document, Keys, read
from agent.site.language.problems import Problem, Severity, listed
from agent.site.language.units import is_known, unknown_unit
from agent.site.language.validation import validate
from agent.site.language.values import Choice
from agent.site.profiles.kind import ProfileKind
from agent.site.profiles.kinds import KINDS, USUAL

__all__ = ["AnyPoint", "Library", "Profile", "ProfilePoint"]

Kind = Annotated[
    Literal["telemetry", "state", "counter", "diagnostic"] | None,
    Choice("telemetry", "state", "counter", "diagnostic"),
]  # fmt: skip


class ProfilePoint(Model):
    """One point: a register (or coil) of a Modbus device, or a field of a payload."""

    scale: float = 1
    """value = raw x scale + offset."""
    offset: float = 0
    unit: str = ""
    kind: Kind = None
    """Default: state for a coil or a discrete input, counter for an energy or a volume, else telemetry."""
    writable: bool = False
    low: float | None = None
    """The least that may be written."""
    high: float | None = None
    """The most that may be written."""


if TYPE_CHECKING:
    AnyPoint = ProfilePoint
else:
    AnyPoint = create_model(
        "ProfilePoint", __base__=(ProfilePoint, *(kind.point_keys for kind in KINDS.values())),
        __doc__=ProfilePoint.__doc__, __module__=__name__,
    )  # fmt: skip


class Profile(Model):
    """A profile file."""

    name: str | None = None
    """As the file, without .yaml."""
    description: str = ""
    points: Section[AnyPoint]

    @property
    def kind(self) -> ProfileKind:
        """By the section that it has."""
        return next((kind for kind in reversed(KINDS.values()) if self.section(kind) is not None), USUAL)

    def section(self, kind: ProfileKind) -> Any:
        """The section of a kind; None if it has none."""
        return getattr(self, kind.section)

    def normalised(self, name: str) -> dict[str, Any]:
        """A plain mapping, every default filled in."""
        kind = self.kind
        section = self.section(kind)
        points = {point: kind.point(point, model, section) for point, model in self.points.items()}
        return {"name": name, kind.section: kind.normalised(section), "points": points}


if TYPE_CHECKING:
    AnyProfile = Profile
else:
    AnyProfile = create_model(
        "Profile", __base__=Profile, __doc__=Profile.__doc__, __module__=__name__,
        **{kind.section: (kind.section_model | None, None) for kind in KINDS.values()},
    )  # fmt: skip


class Library:
    """The profiles that a site may name; each is read once. `problems` are those of the files that were read."""

    def __init__(self, folder: Path, own: str = "profiles") -> None:
        self._own = folder / own
        self._package = importlib.resources.files("drivers") / "profiles"
        self._read: dict[str, dict[str, Any] | None] = {}
        self.problems: list[Problem] = []
        self.files: dict[str, bytes] = {}
        """The site's own profiles that were read, and the files that they name, by their names relative to the site
        file."""
        self._kept: dict[ProfileKind, dict[str, None]] = {}
        self.absent: set[str] = set()
        """The files that a profile names and that are not there."""

    def names(self) -> set[str]:
        """All that can be named."""
        names = {entry.name[:-5] for entry in self._package.iterdir() if entry.name.endswith(".yaml")}
        if self._own.is_dir():
            names |= {path.stem for kind in ("yaml", "csv") for path in self._own.glob(f"*.{kind}") if path.is_file()}
        return names

    def nearly(self, name: str) -> str | None:
        """The hint where only the end of a file's name is wrong."""
        return f"call profiles/{name}.yml {name}.yaml" if is_file(self._own / f"{name}.yml") else None

    def get(self, name: str) -> dict[str, Any] | None:
        """A profile, normalised; None if its file is wrong. KeyError if there is none of that name."""
        if name not in self._read:
            self._read[name] = self._load(name)
        return self._read[name]

    def _load(self, name: str) -> dict[str, Any] | None:
        if not re.fullmatch(r"[\w.-]{1,100}", name) or name.startswith("."):
            raise KeyError(name)
        own, table = self._own / f"{name}.yaml", self._own / f"{name}.csv"
        if own.is_file() and table.is_file():
            self.problems.append(Problem(str(table), 1, 1, "error", f"{own} has this name too; keep one of them"))
            return None
        if own.is_file() or table.is_file():
            return self._parse(name, own if own.is_file() else table)
        packaged = self._package / f"{name}.yaml"
        for path in (own, table):
            if os.path.lexists(path):
                words = f"a link to {path.readlink()}, which is not there" if path.is_symlink() else "not a file"
                end = "; the package's profile of this name is used" if packaged.is_file() else ""
                severity: Severity = "warning" if end else "error"
                self.problems.append(Problem(str(path), 1, 1, severity, f"this is {words}{end}"))
                if not end:
                    return None
        if not packaged.is_file():
            raise KeyError(name)
        with importlib.resources.as_file(packaged) as path:
            return self._parse(name, path)

    def _parse(self, name: str, path: Path) -> dict[str, Any] | None:
        document = _table(path) if path.suffix == ".csv" else read(path)
        profile = None
        if not document.problems or document.data is not None:
            profile, left_out = validate(document, AnyProfile, path.parent)
        if profile is not None:
            _check(document, profile, name, left_out)
        self._check_ways(document, path, profile)
        self.problems += document.problems
        if path.parent == self._own:
            self.files[f"{self._own.name}/{path.name}"] = document.source
        broken = profile is None or any(problem.severity == "error" for problem in document.problems)
        if broken or profile is None:
            return None
        found = profile.normalised(name)
        kind = profile.kind
        section = found[kind.section]
        if kind.file_key in section:
            section[kind.file_key] = str(self._file(kind, section[kind.file_key]))
        return found

    def _check_ways(self, document: Document, path: Path, profile: Profile | None) -> None:
        """A profile and the file that it names lie in the folder of profiles: no name and no link leads elsewhere."""
        if path.parent != self._own:
            return
        if _leads_out(self._own, path):
            document.note(1, 1, f"this profile is a link out of {self._own.name}; put the file itself there", rule=True)
        kind = USUAL if profile is None else profile.kind
        name = None if profile is None else getattr(profile.section(kind), kind.file_key or "-", None)
        if name is None:
            return
        keys = (kind.section, kind.file_key)
        if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
            document.report(keys, f'"{name}" leads out of {self._own.name}; name a file in it', rule=True)
        elif _leads_out(self._own, self._own / name):
            words = f'"{name}" is a link out of {self._own.name}; put the file itself there'
            document.report(keys, words, rule=True)

    def check_files(self) -> None:
        """Report which files that profiles name cannot be used."""
        for kind, files in self._kept.items():
            self.problems += kind.check_files(files)

    def _file(self, kind: ProfileKind, name: str) -> Path:
        """Where a file is that a profile names. That it is missing is said where the profile is used."""
        path = self._own.absolute() / name
        if ".." not in Path(name).parts and not Path(name).is_absolute():
            try:
                if not path.is_file():
                    raise FileNotFoundError  # a pipe would be waited for
                self.files[f"{self._own.name}/{name}"] = path.read_bytes()
                self._kept.setdefault(kind, {})[str(path)] = None
            except OSError:
                self.absent.add(f"{self._own.name}/{name}")
        return path


def _leads_out(folder: Path, path: Path) -> bool:
    """Whether a path ends elsewhere than in a folder, links followed. One that goes round in circles ends nowhere."""
    try:
        return not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return True


def _table(path: Path) -> Document:
    """A profile in CSV, of the kind that has tables."""
    found = (kind.read_table(path) for kind in KINDS.values())
    return next(document for document in found if document is not None)


def _check(document: Document, profile: Profile, name: str, left_out: set[Keys]) -> None:
    """Check the rules between the keys of a profile."""
    if profile.name is not None and profile.name != name:
        document.report(("name",), f"the file is called {name}.yaml; write name: {name}")
    own = profile.kind
    others = [kind for kind in KINDS.values() if kind is not own]
    if any(profile.section(kind) is not None for kind in others):
        words = f"a profile is for {listed(KINDS, 'or for')}, not for both"
        document.report((own.section,), words, at_key=True)
    own.check(document, profile, left_out)
    for point, model in profile.points.items():
        for kind in others:
            _check_keys(document, point, kind, own)
        _check_numbers(document, ("points", point), model, left_out)


def _check_keys(document: Document, point: str, kind: ProfileKind, own: ProfileKind) -> None:
    """Keys of another kind."""
    usual = f"is for {kind.family}, and this profile is for {own.family}"
    for key in fields_of(kind.point_keys):
        keys = ("points", point, key)
        if document.value(keys) is not None:
            document.report(keys, kind.point_keys.elsewhere.get(key, f'"{key}" {usual}'), at_key=True)


def _check_numbers(document: Document, keys: Keys, point: ProfilePoint, left_out: set[Keys]) -> None:
    if point.low is not None and point.high is not None and point.low > point.high:
        document.report((*keys, "low"), f"low {point.low:g} is above high {point.high:g}")
    if point.scale == 0 and (*keys, "scale") not in left_out:
        document.report((*keys, "scale"), "0 would make every value 0")
    if point.unit and not is_known(point.unit):  # a unit is only a name; one that is not known is seldom meant
        document.report((*keys, "unit"), *unknown_unit(point.unit), severity="warning")
