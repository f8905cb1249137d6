"""`bocage buffer`: show, copy and export what waits for the broker."""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import sys
from collections.abc import Iterable, Mapping
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from agent.cli.common import add_command, add_folders, add_json, asked, hint_time, own_place
from agent.lib.screen import shown, shown_json
from agent.lib.timetext import local_text, utc_text
from agent.outbox.backlog_reader import export_readings, read_status
from agent.outbox.blocks import Row
from agent.runtime.report import TIME_UNKNOWN, zone_of
from agent.runtime.socket import NoAgent, connect

__all__ = ["add"]

_STATUS = ("rows", "bytes", "oldest", "hours_left", "gaps", "classes", "lost", "max_bytes")
_CLASSES = {"0": "alarms and outcomes", "1": "states and counters", "2": "telemetry", "3": "diagnostics"}

_FORMULA = ("=", "+", "-", "@")
"""First characters of a formula in a spreadsheet."""


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "buffer",
        "show or export the readings that the broker has not accepted yet, with or without an agent",
        "  bocage buffer site.yaml\n  bocage buffer site.yaml status --json\n"
        "  bocage buffer site.yaml export --csv > backlog.csv      a copy: the backlog stays",
    )
    add_folders(parser)
    parser.add_argument("action", choices=("status", "export"), nargs="?", help="default: status")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--csv", action="store_true", help="export, as comma-separated values (the default)")
    shape.add_argument("--jsonl", action="store_true", help="export, as one JSON object a line")
    add_json(parser)
    parser.set_defaults(run=look)


def look(options: argparse.Namespace) -> int:
    shaped = options.csv or options.jsonl
    if options.action == "status" and shaped:
        print("bocage: --csv and --jsonl are for export", file=sys.stderr)
        return 2
    if options.action == "export" or shaped:
        where = own_place(options)
        rows = export_readings(where.state, where.runtime)
        (_print_jsonl if options.jsonl or options.json else _print_csv)(rows)
        return 0
    status, zone = _status(options)
    if options.json:
        print(json.dumps(status))
    else:
        _print_status(status, zone)
        if status["rows"] and status["oldest"] is None:
            hint_time(options)
    return 0


def _status(options: argparse.Namespace) -> tuple[Mapping[str, Any], tzinfo | None]:
    """From the running agent, which knows its rate; else from the files. With the site's time zone."""
    try:
        answer = asyncio.run(_ask(options))
        return {key: answer["outbox"][key] for key in _STATUS}, zone_of(answer)
    except NoAgent:
        where = own_place(options)
        uplink = where.site.uplink
        bounds = {"max_bytes": uplink.buffer.max} if uplink else {}
        return read_status(where.state, where.runtime, **bounds), ZoneInfo(where.site.site.timezone)


async def _ask(options: argparse.Namespace) -> Mapping[str, Any]:
    async with connect(*asked(options)) as agent:
        return await agent.request({"do": "status"})


def _print_status(status: Mapping[str, Any], zone: tzinfo | None) -> None:
    left = "unknown" if status["hours_left"] is None else f"{status['hours_left']:.0f} h at the present rate"
    print(f"undelivered  {status['rows']} readings")
    print(f"on flash     {status['bytes']} of {status['max_bytes']} bytes")
    print(f"oldest       {local_text(status['oldest'], zone) or ('-' if not status['rows'] else TIME_UNKNOWN)}")
    print(f"room left    {left}")
    print(f"gaps         {status['gaps']}")
    for cls, name in _CLASSES.items():
        lost = {reason: found[cls] for reason, found in status["lost"].items() if cls in found}
        told = "".join(f", {n} lost ({reason})" for reason, n in lost.items())
        print(f"  {name:<19} {status['classes'][cls]} bytes{told}")


def _record(row: Row) -> dict[str, Any]:
    return {
        "store": row.store, "seq": row.seq, "point": row.point, "value": row.value, "quality": row.quality,
        "at": utc_text(row.ms), "measured": utc_text(row.measured_ms),
    }  # fmt: skip


def _print_jsonl(rows: Iterable[Row]) -> None:
    for row in rows:
        print(shown_json(_record(row)))


def _print_csv(rows: Iterable[Row]) -> None:
    columns = ("store", "seq", "point", "value", "quality", "at", "measured")
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        record = _record(row)
        if isinstance(row.value, (bool, list)):
            record["value"] = json.dumps(row.value)  # true and false, and aggregates, as in JSON
        elif isinstance(row.value, str):
            record["value"] = _cell(row.value)
        writer.writerow(record)


def _cell(text: str) -> str:
    """Text of a device for a spreadsheet: an apostrophe is put before one that begins like a formula."""
    return "'" * text.lstrip().startswith(_FORMULA) + shown(text)
