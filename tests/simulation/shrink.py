"""A failing life made small: fewer kinds of faults, fewer hours, and the same promise still broken."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tests.simulation.notes import first_moment
from tests.simulation.runner import Job, sorts

__all__ = ["shrink"]

LONGEST = 120.0
"""Seconds after which the smallest so far will do."""
SHORTEST = 0.05
"""Hours."""


def shrink(
    job: Job, result: dict[str, Any], verdict: Callable[[Job], dict[str, Any]], longest: float = LONGEST
) -> tuple[Job, dict[str, Any]]:
    """The smallest job that was found, and what came of it. `verdict` runs one."""
    until, wanted = time.monotonic() + longest, sorts(result["broken"])

    def still_fails(smaller: Job) -> dict[str, Any] | None:
        if time.monotonic() > until:
            return None
        found = verdict(smaller)
        return found if sorts(found["broken"]) & wanted else None

    for hours in _hours(job, result["broken"]):
        if found := still_fails(replace(job, hours=hours)):
            job, result = replace(job, hours=hours), found
            break
    job = replace(job, only=frozenset(result.get("kinds", ())))
    left = sorted(job.only or ())
    again = True
    while again:
        again = False
        for kind in left:
            smaller = replace(job, only=(job.only or frozenset()) - {kind})
            if found := still_fails(smaller):
                job, result, again = smaller, found, True
        left = sorted(job.only or ())
    while job.hours / 2 >= SHORTEST and (found := still_fails(replace(job, hours=job.hours / 2))):
        job, result = replace(job, hours=job.hours / 2), found
    return job, result


def _hours(job: Job, broken: Sequence[str]) -> list[float]:
    """Hours to try first, the least before: until shortly after the first moment that the failure speaks of."""
    moment = first_moment(broken)
    tries = [round((moment + later) / 3600, 2) for later in (10, 300)] if moment < job.hours * 3600 else []
    return [hours for hours in (*tries, job.hours / 4, job.hours / 2) if SHORTEST <= hours < job.hours]
