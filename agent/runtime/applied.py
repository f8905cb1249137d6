"""The configuration that was applied last, kept in the state folder: what a typo in the site file cannot take away.

    applied/            site.yaml, profiles/ and codecs as they were read, and applied.json with their SHA-256
    applied.previous/   the generation before

Each generation is written whole beside the others, fsynced, and takes its name by a rename: a power cut leaves the new
one or the one before. Folders have the mode 0700, files 0600. Secrets are not in it: they stay where the file says.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.lib.files import read_regular, sync_folder
from agent.runtime.folders import is_installed_by_default, state_folder
from agent.settings import SettingsReader

__all__ = ["NEWEST", "SITE", "Applied", "find", "was_used"]

log = logging.getLogger("bocage.applied")

SITE = "site.yaml"
"""The name of the site file's copy, whatever the original is called."""
NEWEST = "applied"
"""The folder of the newest generation, in the state folder."""
_PREVIOUS, _UNFINISHED = "applied.previous", "applied.new"
_MANIFEST = "applied.json"


@dataclass(frozen=True, slots=True)
class Applied:
    """One generation that is whole."""

    folder: Path
    home: Path
    """The site file that it was read from: relative names of secrets and certificates start beside it."""
    site: str
    """The site's id."""
    files: Mapping[str, str]
    """SHA-256 of each file, by its name in the folder."""

    @property
    def path(self) -> Path:
        """The copy of the site file."""
        return self.folder / SITE

    def reader(self) -> SettingsReader:
        """A reader of it, which finds what is secret beside the original."""
        return SettingsReader(self.path, self.home)

    def is_another(self, path: Path, site: str | None) -> bool:
        """Whether a site file (its id, None if that is not known) is another site's than this one.

        A site may get another id or another place, but not both at once.
        """
        return self.home != path.absolute() and self.site != site

    def whose(self, path: Path, site: str, command: str) -> str:
        """That its state folder is not for the site file at `path`, and the command that is right for that."""
        return f"{self.folder.parent} is of the site {self.site} ({self.home}), and {path} is {site}: {command}"

    def is_of(self, files: Mapping[str, bytes]) -> bool:
        """Whether these files are the ones that were applied."""
        return self.files == _digests(files)

    def cut(self, files: Mapping[str, bytes]) -> str | None:
        """Return the name of a file that was cut short in the middle of a line by an unfinished save; None if there is
        none.

        Lines that were deleted on purpose leave whole lines.
        """
        for name in sorted(files.keys() & self.files.keys()):
            try:
                whole = _content(self.folder / name)
            except (OSError, ValueError):
                continue
            rest = whole.removeprefix(files[name]) if whole.startswith(files[name]) else b""
            if rest.strip() and files[name].strip() and not files[name].endswith(b"\n"):
                return name
        return None

    @classmethod
    def load(cls, state: Path) -> Applied | None:
        """The newest whole generation in a state folder; None if there is none."""
        return next(cls.generations(state), None)

    @classmethod
    def generations(cls, state: Path) -> Iterator[Applied]:
        """The whole configurations in a state folder, the newest first."""
        for name in (NEWEST, _PREVIOUS):
            folder = state / name
            try:
                yield _generation(folder)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.error('kept configuration unreadable folder=%s reason="%s" next=the one before', folder, error)

    @classmethod
    def keep(cls, state: Path, home: Path, site: str, files: Mapping[str, bytes]) -> Applied:
        """Keep these files as the newest generation; they are on flash when this returns. OSError if they are not."""
        home = home.absolute()
        newest, previous, unfinished = (state / name for name in (NEWEST, _PREVIOUS, _UNFINISHED))
        kept = cls.load(state)
        if kept is not None and kept.folder == newest and (kept.home, kept.site) == (home, site) and kept.is_of(files):
            return kept
        manifest = {"format": 1, "home": str(home), "site": site, "files": _digests(files)}
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(mode=0o700)
            for name, content in files.items():
                _write(unfinished / name, content, unfinished)
            _write(unfinished / _MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n", unfinished)
            for folder in (*(path for path in unfinished.rglob("*") if path.is_dir()), unfinished):
                sync_folder(folder)
        except OSError:
            shutil.rmtree(unfinished, ignore_errors=True)  # a full disk needs the room
            raise
        if newest.exists():
            if kept is None or kept.folder == newest:  # else the one before is the only whole one
                shutil.rmtree(previous, ignore_errors=True)
                newest.rename(previous)
            else:
                shutil.rmtree(newest)
            sync_folder(state)
        unfinished.rename(newest)
        sync_folder(state)
        return cls(newest, home, site, _digests(files))


def find(path: Path | None, given: str | None) -> tuple[Path, Applied] | None:
    """The state folder in which a site file was applied, and what was applied, without looking into the file.

    A state folder that is named (`--state-dir`, the unit's) is one site's; else that one, the installed box's or of the
    user's the newest, is looked for in which this very path was applied.
    """
    folder = state_folder(given, "")
    applied = Applied.load(folder)
    if applied is not None and not (
        path is not None and is_installed_by_default(folder, given) and applied.home != path.absolute()
    ):
        return folder, applied
    if path is None:
        return None
    for manifest in _manifests(folder):
        state = manifest.parent.parent
        applied = Applied.load(state)
        if applied is not None and applied.home == path.absolute():
            return state, applied
    return None


def was_used(path: Path, given: str | None) -> Path | None:
    """The state folder in which this site file was applied, though nothing be whole; None if it never was."""
    folder = state_folder(given, "")
    if any((folder / name).exists() for name in (NEWEST, _PREVIOUS)):
        return folder
    for manifest in _manifests(folder):
        with suppress(OSError, ValueError, KeyError, TypeError):
            if json.loads(_content(manifest))["home"] == str(path.absolute()):
                return manifest.parent.parent
    return None


def _manifests(folder: Path) -> list[Path]:
    """The kept configurations of all sites of a user, the newest first."""
    try:
        return sorted(folder.glob(f"*/{NEWEST}*/{_MANIFEST}"), key=_written, reverse=True)
    except OSError:  # a home that is another user's: `sudo -u` keeps $HOME
        return []


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # its agent keeps a newer one at this moment
        return 0.0


def _generation(folder: Path) -> Applied:
    """ValueError, KeyError or TypeError if it is not one that we wrote, whole and unchanged."""
    manifest = json.loads(_content(folder / _MANIFEST))
    files: dict[str, str] = manifest["files"]
    for name, digest in files.items():
        if ".." in Path(name).parts or hashlib.sha256(_content(folder / name)).hexdigest() != digest:
            raise ValueError(f"{name} is not what was kept")
    if SITE not in files:
        raise ValueError(f"{SITE} is missing")
    return Applied(folder, Path(manifest["home"]), str(manifest["site"]), files)


def _content(path: Path) -> bytes:
    """Read a file of ours. OSError for a link or a pipe in its place, which would mislead root."""
    return read_regular(path, flags=os.O_NOFOLLOW)


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def _write(path: Path, content: bytes, top: Path) -> None:
    for parent in reversed(path.relative_to(top).parents):
        (top / parent).mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
