"""Commands that our messages name: each works here when it is copied."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

__all__ = ["again", "ours", "sudo"]

_SECURE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where sudo looks on Debian, whatever the user's own PATH is."""


def ours(*words: object) -> str:
    """A command of this very program: `bocage` with these words, by its path if the shell would not find it."""
    return shlex.join([*_program(None), *map(str, words)])


def again(*words: object) -> str:
    """The same with the rights that this one has: with sudo where it was run so."""
    return (sudo if "SUDO_USER" in os.environ else ours)(*words)


def sudo(*words: object) -> str:
    """The same as root."""
    return shlex.join(["sudo", *_program(_SECURE_PATH), *map(str, words)])


def _program(path: str | None) -> list[str]:
    run = Path(sys.argv[0])
    if run.name == "__main__.py" and run.parent.name == "agent":  # python -m agent
        return [sys.executable, "-m", "agent"]
    found = shutil.which("bocage", path=path)
    if run.name != "bocage" or (found is not None and _is_same(Path(found), run)):
        return ["bocage"]
    return [str(run if path is None else run.absolute())]


def _is_same(one: Path, other: Path) -> bool:
    return not other.exists() or one.resolve() == other.resolve()
