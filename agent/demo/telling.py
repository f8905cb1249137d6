"""Plain lines of what the region hears: outputs that moved and why, alarms, and what services count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from agent.cli.live.view import switched

__all__ = ["Teller"]

CONTROL = 15
"""The priority of services: any other one is said."""
COUNTED = ("yield", "balance", "night_flow", "night_median", "mode", "request_minutes")
"""Points of services that are told when they change."""
FINE = 3.0
"""A level that moved by less, for the same cause, is not told again."""


class Teller:
    """Tells each thing once."""

    def __init__(self) -> None:
        self._counted: dict[str, Any] = {}
        self._levels: dict[str, tuple[float, str]] = {}

    def told(self, event: Mapping[str, Any]) -> str:
        """One event in a line; "" for one that says nothing new of the site."""
        code, subject, detail = event["code"], event["subject"], event["detail"] or {}
        match event["kind"]:
            case "audit" if code == "output":
                return self._output(subject, detail)
            case "alarm":
                return f"ALARM {event['severity']} {code} {subject}{_said(detail)}"
            case "cleared":
                return f"over: {code} {subject}"
            case "change":
                return f"log: {code} {subject}{_said(detail)}"
        return ""

    def _output(self, name: str, detail: Mapping[str, Any]) -> str:
        value, cause = detail.get("to"), str(detail.get("cause") or "no wish")
        if isinstance(value, float):
            known, why = self._levels.get(name, (value + FINE, ""))
            if why == cause and abs(known - value) < FINE:
                return ""
            self._levels[name] = value, cause
        held = "" if detail.get("priority") == CONTROL else f" (priority {detail.get('priority')})"
        return f"{name} {_short(value)}: {cause}{held}"

    def counted(self, status: Mapping[str, Any]) -> Iterator[str]:
        """Lines of what services count and decide, where it has changed."""
        for one in status.get("points") or []:
            name, value = str(one["id"]), one["value"]
            if name.rpartition(".")[2] in COUNTED and value is not None and self._counted.get(name) != value:
                self._counted[name] = value
                yield f"{name} {_short(value)} {one['unit']}".rstrip()


def _said(detail: Mapping[str, Any]) -> str:
    """The rest of an event: its words where it has some."""
    if detail.get("text"):
        return f": {detail['text']}"
    parts = [f"{key} {_short(value)}" for key, value in detail.items() if key not in ("since", "point")]
    return f": {', '.join(parts)}" if parts else ""


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_short, value))
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    if isinstance(value, str) and "T" in value:
        try:
            return f"{datetime.fromisoformat(value):%H:%M}"
        except ValueError:
            return value
    return value if isinstance(value, str) else switched(value)
