"""`bocage alarms`: what is wrong on a site and not yet over."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from agent.cli.common import add_command, add_folders, add_json, asked, told
from agent.lib.screen import shown, shown_json
from agent.lib.timetext import local_text
from agent.runtime.report import TIME_UNKNOWN, time_help, zone_of
from agent.runtime.socket import connect

__all__ = ["add"]

_CONFIG = {"config_invalid": "invalid", "config_outdated": "outdated"}
"""Where `status` has file, line, column and message of an alarm about the site file."""


def add(commands: Any) -> None:
    alarms = add_command(
        commands,
        "alarms",
        "list the open alarms of the running agent, the most severe first",
        "  bocage alarms site.yaml\n  bocage alarms site.yaml --json\n"
        "  bocage write site.yaml alarm.burst.fountain ack     acknowledge an alarm\n"
        "  bocage write site.yaml fountain.latch reset         end a latched alarm after the repair",
    )
    add_folders(alarms)
    add_json(alarms)
    alarms.set_defaults(run=show_alarms)


def show_alarms(options: argparse.Namespace) -> int:
    """0 whether there are alarms or not; NoAgent if none is running."""
    status = asyncio.run(_ask(options))
    found: list[dict[str, Any]] = status["alarms"]
    if options.json:
        print(shown_json({"alarms": found}))
        return 0
    zone = zone_of(status)
    for one in found:
        since = local_text(one["since"], zone) or TIME_UNKNOWN
        acked = "  acknowledged" * one["acked"]
        print(shown(f"{one['severity']:<8}  {one['code']} {one['subject']}  since {since}{acked}"))
        if (wrong := (status.get("config") or {}).get(_CONFIG.get(one["code"]))) is not None:
            print(shown(f"          {wrong['file']}:{wrong['line']}:{wrong['column']}: {wrong['message']}"))
        for why in _reasons(status, one):
            print(shown(f"          {why}"))
    if any(one["since"] is None for one in found):
        print(f"bocage: {time_help(status.get('clock') == 'synced')}", file=sys.stderr)
    if not found:
        print("no alarm is open")
    return 0


def _reasons(status: Mapping[str, Any], alarm: Mapping[str, Any]) -> Iterable[str]:
    """The remedies, a line each."""
    if alarm["code"] in _WHY:
        return _WHY[alarm["code"]](status, alarm["subject"])
    if alarm["code"] in _CONFIG:
        return ()
    detail = alarm.get("detail", {}).items()
    return (told(value) if key == "text" else f"{key}: {told(value)}" for key, value in detail)


def _lost(status: Mapping[str, Any], device: str) -> Iterator[str]:
    """Why a lost device does not answer now, as its bus says it."""
    for bus in status["buses"]:
        if device in bus.get("lost", ()) and (why := bus.get("said", {}).get(device) or bus["error"]):
            yield str(why)


def _refused(status: Mapping[str, Any], device: str) -> Iterator[str]:
    """The points that a device refuses and its reasons, one line a reason."""
    for bus in status["buses"]:
        reasons: dict[str, list[str]] = {}
        for point, why in bus.get("refused", {}).get(device, {}).items():
            reasons.setdefault(why, []).append(point)
        for why, points in reasons.items():
            yield f"{', '.join(points)}: {why}"


_WHY: dict[str, Callable[[Mapping[str, Any], str], Iterator[str]]] = {
    "device_lost": _lost,
    "points_refused": _refused,
}
"""Alarms whose reason is in the status of the bus."""


async def _ask(options: argparse.Namespace) -> dict[str, Any]:
    async with connect(*asked(options)) as agent:
        status: dict[str, Any] = await agent.request({"do": "status"})
    return status
