"""The result of reading a site file: the file checked, and translated as far as it can be carried out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from agent.errors import Problem
from agent.settings import Found, Settings
from agent.site.build import build_settings
from agent.site.loader import Copy, read_copy

__all__ = ["read"]


def read(site: Path, home: Path) -> Found:
    """Read the file at `site`, which may be a copy of the one at `home`. Never raises for what the file holds."""
    copy = read_copy(site, str(home), home, codecs=True)
    problems, found = tuple(copy.problems), None
    if copy.site is not None:
        found, why = _translated(copy)
        if why and not copy.wrong:
            problems = (*problems, Problem(str(home), 1, 1, "error", f"it cannot be carried out: {why}"))
    return Found(found, problems, copy.files, copy.absent, copy.secret_references)


def _translated(copy: Copy) -> tuple[Settings | None, str]:
    """The settings, and what kept it from being made: rules may be broken here, and what is missing shows somehow."""
    assert copy.site is not None
    try:
        settings = build_settings(copy.site)
        return replace(settings, calendars={**settings.calendars, **copy.calendars}), ""
    except Exception as error:  # noqa: BLE001  the caller has another configuration to go on with
        return None, f"{type(error).__name__}: {error}"
