"""Read regular files only, and sync folders: a pipe, a socket or a device in the place of a file is refused.

Opening a pipe waits for a writer, and /dev/zero never ends: a process that must switch lamps may wait for neither.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

__all__ = ["NotRegular", "is_file", "open_regular", "read_regular", "sync_folder"]


class NotRegular(OSError):
    """The path is no regular file."""


def is_file(path: Path) -> bool:
    """Whether a file is there. A name that is too long for one has none."""
    try:
        return path.is_file()
    except OSError:
        return False


def open_regular(path: Path, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """A descriptor of a regular file. NotRegular if it is something else, OSError if it cannot be opened."""
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a pipe without a reader
            raise NotRegular(errno.ENXIO, "it is no file", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegular(errno.EINVAL, "it is no file", str(path))
    return descriptor


def read_regular(path: Path, most: int | None = None, flags: int = 0) -> bytes:
    """Return the content of a file, at most the first `most` bytes.

    NotRegular if it is no regular file, OSError if it cannot be read.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY | flags), "rb") as file:
        return file.read() if most is None else file.read(most)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk: after it, a rename or a new file outlasts a power cut. OSError if not."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
