"""Times and durations as text."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

__all__ = ["local_text", "log_times_in", "site_text", "utc_text"]


Precision = Literal["seconds", "milliseconds"]


def utc_text(wall_ms: float | None, precision: Precision = "milliseconds") -> str | None:
    """Unix milliseconds as ISO 8601 in UTC ("2026-01-15T16:51:21.000+00:00"); None while time is unknown."""
    return None if wall_ms is None else datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec=precision)


def site_text(wall_ms: float | None, timezone: str) -> str | None:
    """Unix milliseconds as ISO 8601 in site time ("2026-01-15T17:51:21.000+01:00"); None while time is unknown."""
    if wall_ms is None:
        return None
    return datetime.fromtimestamp(wall_ms / 1000, ZoneInfo(timezone)).isoformat(timespec="milliseconds")


def local_text(moment: str | datetime | None, zone: tzinfo | None, precision: Precision = "seconds") -> str | None:
    """A moment, or its ISO 8601 text in the agent's documents, as ISO 8601 in `zone`; None is the machine's own."""
    if isinstance(moment, str) and moment:
        moment = datetime.fromisoformat(moment)
    return moment.astimezone(zone).isoformat(timespec=precision) if isinstance(moment, datetime) else moment


def log_times_in(formatter: logging.Formatter, timezone: str) -> None:
    """Let a formatter of log lines write times of this zone instead of the machine's own."""
    zone = ZoneInfo(timezone)
    formatter.converter = lambda seconds: datetime.fromtimestamp(seconds or 0, zone).timetuple()
