"""`load` and `check`: from a path to a site, or to everything that is wrong with it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from agent.config.checks import check_site
from agent.config.document import read
from agent.config.problems import Problem
from agent.config.profiles import Library
from agent.config.site import Site
from agent.config.validation import validate
from agent.errors import ConfigError

__all__ = ["check", "load", "read_site"]


def read_site(path: Path, file: str | None = None) -> tuple[Site | None, list[Problem]]:
    """Read and check a site file: the site, None where there is an error, and all problems by line.

    `file` is how the problems name the file (default: the path). Never raises for what the file holds.
    """
    document = read(path, file)
    problems = document.problems
    site = None
    if not problems or document.data is not None:
        site, left_out = validate(document, Site, path.parent)
        if site is not None:
            site.read_from(path, "sha256:" + hashlib.sha256(document.source).hexdigest())
            library = Library(path.parent)
            check_site(document, site, left_out, library)
            problems = document.problems + library.problems
    problems = sorted(problems, key=lambda found: (found.file != document.file, found.file, found.line, found.column))
    return (None if any(found.severity == "error" for found in problems) else site), problems


def load(path: Path) -> Site:
    """The site of a file. ConfigError with every problem, ready to print, if there is an error in it."""
    site, problems = read_site(path)
    if site is None:
        raise ConfigError([str(problem) for problem in problems])
    return site


def check(path: Path) -> list[Problem]:
    """All problems of a file, warnings too, by line."""
    return read_site(path)[1]
