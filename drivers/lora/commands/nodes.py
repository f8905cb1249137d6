"""`bocage lora`: the radio nodes of a site, their join requests, and the airtime used in each sub-band."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.cli.common import SitePlace, add_command, add_folders, add_json, hint_time, own_place, place
from agent.cli.narrow import tabled, wrapped
from agent.errors import BocageError
from agent.lib.hints import again
from agent.lib.screen import shown, shown_json
from agent.lib.timetext import site_text
from agent.runtime.report import TIME_UNKNOWN
from agent.runtime.socket import NoAgent, connect
from drivers.lora import DRIVERS

__all__ = ["add"]

_EXAMPLES = """\
  bocage lora site.yaml devices          nodes, their sessions and reception
  bocage lora site.yaml join-log         the last hundred requests to join, and why some were refused
  bocage lora site.yaml airtime --json   milliseconds on the air in the last hour, by sub-band and by node

Without a running agent it shows what the agent stored last.
"""
_TOPICS = ("devices", "join-log", "airtime")

Row = Mapping[str, Any]


def add(commands: Any) -> None:
    parser = add_command(commands, "lora", "list the LoRaWAN nodes, joins and airtime of a site", _EXAMPLES)
    add_folders(parser)
    parser.add_argument("topic", choices=_TOPICS, help="what to show")
    add_json(parser)
    parser.set_defaults(run=show)


def show(options: argparse.Namespace) -> int:
    """0; BocageError if the site has no bus that knows of such things."""
    where = place(options)
    types = {bus.type for bus in where.site.buses.values() if bus.is_radio}
    if not types:
        raise BocageError(f"there is no LoRa bus in {where.path}")
    keepers = [driver.type for driver in DRIVERS if options.topic in driver.topics]
    if types.isdisjoint(keepers):
        found = ", ".join(sorted(types))
        raise BocageError(
            f"{options.topic} are kept by a {' or '.join(keepers)} bus, and {where.path} has {found}: see "
            f"{again('read', where.path)} (rssi, lost, last_seen of each node), and the network server's own page"
        )
    try:
        rows = asyncio.run(_ask(where, options.topic))
    except NoAgent:
        rows = _kept(own_place(options), options.topic)
    if options.json:
        print(shown_json({options.topic: rows}))
        return 0
    timezone = where.site.site.timezone
    for line in _TEXTS[options.topic](rows, timezone):
        print(wrapped(shown(line)))
    if options.topic == "join-log" and any(row.get("at_ms") is None for row in rows):
        hint_time(options)
    return 0


async def _ask(where: SitePlace, topic: str) -> list[Row]:
    async with connect(where.runtime, where.site.site.id) as agent:
        answer = await agent.request({"do": "inspect", "topic": topic})
    rows: list[Row] = answer["rows"]
    return rows


def _kept(where: SitePlace, topic: str) -> list[Row]:
    """Return the drivers' rows from the state folder; nothing is changed there."""
    from agent.clock import SystemClock
    from agent.core.buses import Buses
    from agent.core.outputs import is_radio
    from agent.core.state import State, was_kept
    from agent.site.build import build_settings

    if not was_kept(where.state):
        raise NoAgent(f"no agent is running here, and none has kept anything in {where.state}")
    site = build_settings(where.site)
    buses = Buses(SystemClock(site.trust), State.open(where.state).scope("driver"))
    buses.configure({name: bus for name, bus in site.buses.items() if is_radio(bus)})
    return list(buses.inspect(topic))


def _devices(rows: Sequence[Row], timezone: str) -> list[str]:
    cells = [["DEVICE", "BUS", "DEV_EUI", "DEV_ADDR", "STATE", "LAST SEEN", "FCNT", "LOST", "RESETS", "RSSI", "SNR",
              "SF", "BATTERY", "WAITING"]]  # fmt: skip
    last = ("fcnt_up", "lost", "counter_resets", "rssi", "snr", "sf", "battery", "waiting")
    for row in rows:
        cells.append([
            *(_text(row.get(key)) for key in ("device", "bus", "dev_eui", "dev_addr", "state")),
            site_text(row.get("last_seen_ms"), timezone) or "-",
            *(_text(row.get(key)) for key in last),
        ])  # fmt: skip
    faults = [f"{row['device']}: {row['fault']}" for row in rows if row.get("fault")]
    return [*tabled(cells), *faults]


def _joins(rows: Sequence[Row], timezone: str) -> list[str]:
    lines = []
    for row in rows:
        at = site_text(row.get("at_ms"), timezone) or TIME_UNKNOWN
        who = row.get("device") or "not in the site file"
        why = f": {row['reason']}" if row.get("reason") else ""
        if row.get("window"):
            taken = "" if row.get("taken") else ", not acknowledged by it"
            why = f": sent in {row['window']} by {row['sent_by']}{taken}"
        times = f" ({row['count']} times)" if row.get("count", 1) > 1 else ""
        lines.append(f"{at}  {row.get('dev_eui')}  {who}  {row.get('result')}{why}{times}")
    return lines or ["no node has asked to join"]


def _airtime(rows: Sequence[Row], _timezone: str) -> list[str]:
    bands = [["GATEWAY", "MHz", "USED ms", "BUDGET ms", "SHARE"]]
    nodes = [["DEVICE", "UP ms", "DOWN ms"]]
    for row in rows:
        if "sub_band" in row:
            share = f"{row['share']:.1%}"
            bands.append([*(_text(row[key]) for key in ("gateway", "sub_band", "used_ms", "budget_ms")), share])
        else:
            nodes.append([_text(row[key]) for key in ("device", "up_ms", "down_ms")])
    return ["on the air in the last hour:", *tabled(bands), "", *tabled(nodes)]


_TEXTS: Mapping[str, Callable[[Sequence[Row], str], list[str]]] = {
    "devices": _devices, "join-log": _joins, "airtime": _airtime,
}  # fmt: skip


def _text(value: Any) -> str:
    return "-" if value is None or value == "" else str(value)
