"""`bocage alarms`: what is wrong on a site and not yet over."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from agent.cli.common import add_command, add_folders, add_json, asked
from agent.local import connect
from agent.screen import shown

__all__ = ["add"]


def add(commands: Any) -> None:
    alarms = add_command(
        commands,
        "alarms",
        "the open alarms of the running agent, the gravest first",
        "  bocage alarms site.yaml\n  bocage alarms site.yaml --json\n"
        "  bocage write site.yaml alarm.burst.fountain ack     somebody has seen it\n"
        "  bocage write site.yaml fountain.latch reset         it is mended",
    )
    add_folders(alarms)
    add_json(alarms)
    alarms.set_defaults(run=show_alarms)


def show_alarms(options: argparse.Namespace) -> int:
    """0 whether there are alarms or not; NoAgent if none is running."""
    found = asyncio.run(_ask(options))
    if options.json:
        print(json.dumps({"alarms": found}, ensure_ascii=False))
        return 0
    for one in found:
        since = one["since"] or "time unknown"
        acked = "  acknowledged" * one["acked"]
        print(shown(f"{one['severity']:<8}  {one['code']} {one['subject']}  since {since}{acked}"))
    if not found:
        print("no alarm is open")
    return 0


async def _ask(options: argparse.Namespace) -> list[dict[str, Any]]:
    async with connect(*asked(options)) as agent:
        status = await agent.request({"do": "status"})
    found: list[dict[str, Any]] = status["alarms"]
    return found
