"""Where an agent keeps what must last (state folder) and what need not (runtime folder), and whose they are."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.errors import BocageError, Busy

__all__ = ["NoFolder", "is_tmpfs", "locked", "runtime_folder", "state_folder"]

INSTALLED_STATE = Path("/var/lib/bocage")
INSTALLED_RUNTIME = Path("/run/bocage")


class NoFolder(BocageError):
    """The state or runtime folder cannot be used: not ours, not a folder, no such disk."""


def state_folder(given: str | None, site: str) -> Path:
    """`--state-dir`, $BOCAGE_STATE_DIR, systemd's $STATE_DIRECTORY, an installed box's, else the user's own."""
    named = given or os.environ.get("BOCAGE_STATE_DIR") or os.environ.get("STATE_DIRECTORY")
    if named:
        return Path(named)
    if INSTALLED_STATE.is_dir():
        return INSTALLED_STATE
    home = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return Path(home) / "bocage" / site


def runtime_folder(given: str | None, site: str) -> Path:
    """`--runtime-dir`, $BOCAGE_RUNTIME_DIR, systemd's $RUNTIME_DIRECTORY, an installed agent's, else in /dev/shm."""
    named = given or os.environ.get("BOCAGE_RUNTIME_DIR") or os.environ.get("RUNTIME_DIRECTORY")
    if named:
        return Path(named)
    if (INSTALLED_RUNTIME / "agent.sock").exists():
        return INSTALLED_RUNTIME
    return Path(f"/dev/shm/bocage-{os.getuid()}") / site


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder (made if missing, mode 0700) for one agent. Busy if another one has it.

    A full or read-only disk does not prevent it where the folder is there; NoFolder if it cannot be used at all.
    """
    handle = _lock_file(folder)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Busy(f"{folder} belongs to another agent that is running") from error
        with suppress(OSError):  # for people; the lock holds without
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


def _lock_file(folder: Path) -> int:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            return os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in {errno.EROFS, errno.ENOSPC}:
                raise
            return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NoFolder(f"{folder} cannot be used as a folder of the agent: {error.strerror}") from error


def is_tmpfs(folder: Path) -> bool:
    """Whether the folder lies in memory: right for the runtime folder, wrong for the state folder."""
    best, kind = "", ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, fstype, *_ = line.split(" ")
        inside = mount == "/" or str(folder.resolve()) == mount or str(folder.resolve()).startswith(mount + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, fstype
    return kind in {"tmpfs", "ramfs"}
