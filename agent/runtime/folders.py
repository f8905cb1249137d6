"""The agent's state folder (durable) and runtime folder (volatile), their owners and their locks.

A user who may write to a folder on a path decides what lies at its end. So a path is walked folder by folder, each
opened from the one before, and never through a link of another user; root enters no other user's folder: where root
itself has given the folder to the agent's user, it becomes that user first (`enter`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import shlex
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.errors import BocageError, Busy

__all__ = [
    "NoFolder", "enter", "is_installed_by_default", "is_tmpfs", "locked", "open_folder", "own_runtime",
    "runtime_folder", "state_folder", "user_name",
]  # fmt: skip

INSTALLED_STATE = Path("/var/lib/bocage")
INSTALLED_RUNTIME = Path("/run/bocage")
ROOTS_RUNTIME = Path("/run/bocage-root")
_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_LINKS = 40
"""Symbolic links on one way, at most (as in the kernel)."""


class NoFolder(BocageError):
    """The state or runtime folder cannot be used: not ours, not a folder, no such disk."""


def state_folder(given: str | None, site: str) -> Path:
    """`--state-dir`, $BOCAGE_STATE_DIR, systemd's $STATE_DIRECTORY, an installed box's, else the user's own."""
    if named := _named_state(given):
        return Path(named)
    if INSTALLED_STATE.is_dir():
        return INSTALLED_STATE
    home = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return Path(home) / "bocage" / site


def is_installed_by_default(folder: Path, given: str | None) -> bool:
    """Whether this state folder is the installed box's, chosen by default."""
    return folder == INSTALLED_STATE and not _named_state(given)


def _named_state(given: str | None) -> str | None:
    return given or os.environ.get("BOCAGE_STATE_DIR") or os.environ.get("STATE_DIRECTORY")


def runtime_folder(given: str | None, site: str) -> Path:
    """`--runtime-dir`, $BOCAGE_RUNTIME_DIR, systemd's $RUNTIME_DIRECTORY, an installed agent's, else in /dev/shm.

    The user's own agent of this site comes before an installed one: a demo on a gateway is the demo's.
    All users may write to /dev/shm, so root's is in /run.
    """
    named = given or os.environ.get("BOCAGE_RUNTIME_DIR") or os.environ.get("RUNTIME_DIRECTORY")
    if named:
        return Path(named)
    own = own_runtime(site)
    if (INSTALLED_RUNTIME / "agent.sock").exists() and not _is_alive(own / "agent.sock"):
        return INSTALLED_RUNTIME
    return own


def _is_alive(path: Path) -> bool:
    """Whether an agent listens on the socket: a killed one leaves its socket behind."""
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.connect(str(path))
        return True
    return False


def own_runtime(site: str) -> Path:
    """In memory and our own: what `runtime_folder` is where nothing else is said."""
    return (ROOTS_RUNTIME if os.geteuid() == 0 else Path(f"/dev/shm/bocage-{os.geteuid()}")) / site


def enter(folder: Path) -> None:
    """If this is root and the folder is another user's, become that user, so that new files belong to that user.

    Files that root left there earlier are handed to that user. Where that user cannot read this program, root stays
    root and refuses links in there, and `locked` hands over what it made. NoFolder if root has not given the folder to
    that user.
    """
    if os.geteuid() != 0:
        return
    try:
        inside = open_folder(folder)
    except OSError:  # its user reports the error
        return
    try:
        owner = os.fstat(inside)
        if owner.st_uid != 0:
            _give_back(inside)
            if _can_run(owner.st_uid):
                _become(owner)
            else:
                _refuse_links(folder, inside)
    except OSError as error:
        raise NoFolder(f"{folder} is {user_name(owner.st_uid)}'s; run it as that user ({error.strerror})") from error
    finally:
        os.close(inside)


def _refuse_links(folder: Path, inside: int) -> None:
    """NoFolder if something in another user's folder is a link, by which root would write to a file elsewhere."""
    top = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=inside)
    try:
        for way, folders, files, here in os.fwalk(".", dir_fd=top, follow_symlinks=False):
            for name in (*folders, *files):
                with suppress(FileNotFoundError):
                    found = os.stat(name, dir_fd=here, follow_symlinks=False)
                    if stat.S_ISLNK(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink > 1):
                        owner = user_name(os.fstat(inside).st_uid)
                        raise NoFolder(f"{folder / way / name} is a link, in a folder of {owner}; run it as that user")
    finally:
        os.close(top)


def _can_run(uid: int) -> bool:
    """Whether that user can read the library and us: much is imported only when it is wanted."""
    folders = [Path(os.__file__).parent, Path(__file__).parent]
    os.seteuid(uid)
    try:
        return all(os.access(path, os.R_OK | os.X_OK, effective_ids=True) for path in folders)
    finally:
        os.seteuid(0)


def _become(owner: os.stat_result) -> None:
    try:
        user = pwd.getpwuid(owner.st_uid)
        os.initgroups(user.pw_name, user.pw_gid)
        group = user.pw_gid
    except KeyError:
        os.setgroups([])
        group = owner.st_gid
    os.setresgid(group, group, group)
    os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)


def _give_back(inside: int) -> None:
    """Give root's files in a folder of another user to the folder's owner. Links are neither followed nor changed."""
    owner = os.fstat(inside)
    top = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=inside)
    try:
        for _, folders, files, here in os.fwalk(".", dir_fd=top, follow_symlinks=False):
            for name in (*folders, *files):
                with suppress(OSError):  # a socket, a link, or gone meanwhile
                    one = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
                    try:
                        found = os.fstat(one)
                        alone = stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)
                        if found.st_uid == 0 and alone:
                            os.fchown(one, owner.st_uid, owner.st_gid)
                    finally:
                        os.close(one)
    finally:
        os.close(top)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder (made if missing, mode 0700) for one agent. Busy if another one has it.

    A full or read-only disk does not prevent it where the folder is there; NoFolder if it cannot be used at all.
    """
    handle, inside = _lock_file(folder)
    try:
        if os.geteuid() == 0 != os.fstat(inside).st_uid:
            _refuse_links(folder, inside)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Busy(f"{folder} belongs to another agent that is running") from error
        with suppress(OSError):  # for people; the lock holds without
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        if os.geteuid() == 0 != os.fstat(inside).st_uid:
            _give_back(inside)
        os.close(handle)
        os.close(inside)


def _lock_file(folder: Path) -> tuple[int, int]:
    """The file that is locked, and its folder."""
    try:
        inside = open_folder(folder, make=True)
        try:
            return _open_lock(inside), inside
        except OSError:
            os.close(inside)
            raise
    except OSError as error:
        raise NoFolder(f"{folder} cannot be used as a folder of the agent: {error.strerror}") from error


def _open_lock(inside: int) -> int:
    try:
        return os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=inside)
    except OSError as error:
        if error.errno not in {errno.EROFS, errno.ENOSPC}:
            raise
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=inside)


def open_folder(folder: Path, make: bool = False) -> int:
    """Return a descriptor (O_PATH) of a folder that only root or this user can have made.

    OSError if it is not there, or no folder. NoFolder if another user can replace it. With `make`, missing folders are
    made, mode 0700.
    """
    names = list(reversed(folder.absolute().parts[1:]))
    here, way, links = os.open("/", _PATH), Path("/"), 0
    try:
        while names:
            name = names.pop()
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=here)
            found = os.stat(name, dir_fd=here, follow_symlinks=False)
            is_link = stat.S_ISLNK(found.st_mode)
            if make and not is_link and not stat.S_ISDIR(found.st_mode):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
            if not is_link:
                deeper = os.open(name, _PATH | os.O_NOFOLLOW, dir_fd=here)
                above, here = here, deeper
                found = os.fstat(here)
                around = os.fstat(above)
                os.close(above)
            else:
                around = os.fstat(here)
            _refuse_foreign(folder, way / name, around, found, not names and not is_link)
            if not is_link:
                way /= name
                continue
            links += 1
            if links > _LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
            target = Path(os.readlink(name, dir_fd=here))
            if target.is_absolute():
                os.close(here)
                here, way = os.open("/", _PATH), Path("/")
            names += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        return here
    except BaseException:
        os.close(here)
        raise


def _refuse_foreign(folder: Path, way: Path, around: os.stat_result, found: os.stat_result, last: bool) -> None:
    """Raise NoFolder if a user other than root or this one can have made `found`, or can replace it.

    Folders above that belong to ordinary users are not checked, except those that all users may write to (/tmp).
    """
    us, everybody, group = os.geteuid(), stat.S_IWOTH, stat.S_IWGRP
    if found.st_uid not in (0, us):
        given = last and around.st_uid == 0 and not around.st_mode & (everybody | group)
        above = us != 0 and not last and not around.st_mode & everybody
        if not given and not above:
            raise NoFolder(f"{folder}: {way} is {user_name(found.st_uid)}'s, and that user can change what is in it; "
                           "name a folder of your own, or run it as that user")  # fmt: skip
    elif stat.S_ISDIR(found.st_mode) and (last or (us == 0 and not found.st_mode & stat.S_ISVTX)):
        shared = everybody | (group if us == 0 and found.st_gid != 0 else 0)
        if found.st_mode & shared:
            closed = f"chmod go-w {shlex.quote(str(way))}"
            raise NoFolder(f"{folder}: others may write to {way}; name a folder of your own, or {closed}")


def user_name(uid: int) -> str:
    """`uid 1000 (marie)`, or without the name where it has none."""
    try:
        return f"uid {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"uid {uid}"


def is_tmpfs(folder: Path) -> bool:
    """Whether the folder lies in memory: right for the runtime folder, wrong for the state folder."""
    best, kind = "", ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, fstype, *_ = line.split(" ")
        inside = mount == "/" or str(folder.resolve()) == mount or str(folder.resolve()).startswith(mount + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, fstype
    return kind in {"tmpfs", "ramfs"}
