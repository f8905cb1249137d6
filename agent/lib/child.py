"""Start Python processes of our own with our own modules only.

`python -m` puts the working directory first on the path, so that a `json.py` in the folder of a site file would be
imported, perhaps by root. `-P` leaves it out; the folders of our packages are named instead.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import agent

__all__ = ["environment", "program"]


def program(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of ours."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(**more: str) -> dict[str, str]:
    """Our own environment, in which a child finds our packages, with what is to be added."""
    folders = [str(Path(folder).absolute().parent) for folder in agent.__path__]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys([*folders, *_given()])), **more}


def _given() -> list[str]:
    """The folders of $PYTHONPATH, without "" and relative folders: both are wherever we are."""
    return [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if Path(folder).is_absolute()]
