"""Readings, outcomes and times for people and programs on the box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from agent.lib.suggestion import nearest
from agent.lib.timetext import site_text
from agent.model import Outcome, Point, Reading

__all__ = ["TIME_UNKNOWN", "outcome_json", "points_json", "time_help", "zone_of"]

TIME_UNKNOWN = "time unknown"


def time_help(is_known: bool) -> str:
    """The remedy for a "time unknown"; `is_known` is whether the agent knows the time now."""
    if is_known:
        return "time unknown: it was before the clock was set; nothing is to be done"
    return (
        "time unknown: nothing has set this box's clock. timedatectl shows whether a time server answers; "
        "with a good RTC write clock: {trust: always} in the site file"
    )


def zone_of(status: Mapping[str, Any]) -> tzinfo | None:
    """The site's time zone, by the agent's answer to `status`; None (the machine's own) if it does not say."""
    name, now = (status.get("site") or {}).get("timezone"), status.get("at")
    return ZoneInfo(name) if name else datetime.fromisoformat(now).tzinfo if now else None


def points_json(
    wanted: Sequence[str],
    points: Mapping[str, Point],
    last: Mapping[str, Reading],
    outputs: Mapping[str, str],
    timezone: str,
) -> dict[str, Any]:
    """`{"points": {id: …}, "unknown": {name: nearest known name or ""}}`: what `bocage read` answers with.

    Nothing wanted is every point that is read. `outputs` are the actuators: one asked for by name shows its output.
    """
    shown = {name: outputs.get(name, name) for name in wanted or (p.id for p in points.values() if not p.moves)}
    known = {name: point for name, point in shown.items() if point in points}
    suggested = [*points, *outputs]
    return {
        "points": {name: _point(points[point], last.get(point), timezone) for name, point in known.items()},
        "unknown": {name: nearest(name, suggested) or "" for name in shown if name not in known},
    }


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """The outcome of a write as JSON."""
    return {
        "id": outcome.command,
        "point": outcome.point,
        "value": outcome.value,
        "state": outcome.state,
        "reason": outcome.reason,
    }


def _point(point: Point, reading: Reading | None, timezone: str) -> dict[str, Any]:
    """One point. One that nothing has come from yet is bad and has no value."""
    return {
        "value": reading.value if reading else None,
        "unit": point.unit,
        "quality": str(reading.quality) if reading else "bad",
        "at": site_text(reading.at.wall_ms, timezone) if reading else None,
        "read": reading is not None,
    }
