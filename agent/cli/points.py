"""`bocage read`, `write` and `release`: read and override the points of a site."""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from agent.cli.common import (
    SitePlace,
    add_command,
    add_folders,
    add_json,
    asked,
    hint_start,
    hint_time,
    own_place,
    place,
)
from agent.errors import ConfigError
from agent.lib.screen import shown, shown_json
from agent.lib.suggestion import suggested
from agent.model import OutcomeState, Value
from agent.runtime.report import TIME_UNKNOWN
from agent.runtime.socket import NoAgent, connect
from drivers.registry import is_driven

__all__ = ["add"]

_GOOD_ENDS = {OutcomeState.ACCEPTED, OutcomeState.APPLIED, OutcomeState.VERIFIED}
_UNITS_MS = {"s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def add(commands: Any) -> None:
    read = add_command(
        commands,
        "read",
        "read points from the running agent, else directly from the buses",
        "  bocage read site.yaml\n  bocage read site.yaml meter-a.active_power tank-level --json",
    )
    add_folders(read)
    read.add_argument("points", metavar="POINT", nargs="*", help="device.point or a signal's name (default: all)")
    add_json(read)
    read.set_defaults(run=read_points)

    write = add_command(
        commands,
        "write",
        "override an actuator or a writable point through the running agent; the override always ends",
        "  bocage write site.yaml km1 on\n  bocage write site.yaml km1 off --for 30min\n"
        "  bocage write site.yaml km1 on --direct      no agent runs: once, with the same limits and audit",
    )
    add_folders(write)
    write.add_argument("point", metavar="POINT", help="an actuator's name, or device.point")
    write.add_argument("value", metavar="VALUE", type=_value,
                       help="on, off or a number; ack for an alarm, reset for a latch, "
                       "forget for an output that is no longer in the file, "
                       "comfort, reduced, frost, off or auto for the mode of a zone; "
                       "null ends an override, as release does")  # fmt: skip
    write.add_argument("--for", dest="hold", metavar="2h", type=_milliseconds, help="how long it lasts (default 2h)")
    write.add_argument("--direct", action="store_true", help="write once without an agent, within the same limits")
    add_json(write)
    write.set_defaults(run=write_point)

    release = add_command(
        commands,
        "release",
        "end an override before its time",
        "  bocage release site.yaml km1",
    )
    add_folders(release)
    release.add_argument("point", metavar="POINT", help="an actuator's name, or device.point")
    add_json(release)
    release.set_defaults(run=write_point, value=None, hold=None, direct=False)


def read_points(options: argparse.Namespace) -> int:
    try:
        answer = asyncio.run(_ask(options, {"do": "read", "points": options.points}))
    except NoAgent:
        from agent.cli.direct import on_the_air, read_once

        logging.getLogger("bocage").addHandler(logging.NullHandler())  # what is logged is said below
        site = place(options).site
        answer = asyncio.run(read_once(site, options.points))
        for bus, error in answer["errors"].items():
            print(shown(f"bocage: {bus}: {error}"), file=sys.stderr)
        silent = dict.fromkeys(filter(None, (on_the_air(site, name) for name in options.points or site.devices)))
        for why in silent:
            print(shown(f"bocage: {why}"), file=sys.stderr)
        if silent:
            hint_start(options)
    found, unknown = answer["points"], answer["unknown"]
    if options.json:
        print(shown_json(found))
    else:
        _print_points(found)
        if any(_is_undated(point) for point in found.values()):
            hint_time(options)
    for name, hint in unknown.items():
        print(shown(f"bocage: {_why_unknown(options, name, hint)}"), file=sys.stderr)
    return 1 if unknown or any(found[name]["quality"] != "good" for name in options.points) else 0


def _why_unknown(options: argparse.Namespace, name: str, hint: str) -> str:
    try:
        site = place(options).site
    except ConfigError:  # the agent runs with what the file was before
        return f'unknown point "{name}"'
    device = site.devices.get(name.partition(".")[0])
    bus = site.buses.get(device.bus) if device is not None else None
    if device is not None and bus is not None and not is_driven(bus.type):
        return f"{name} cannot be read: its bus {device.bus} ({bus.type}) is not driven yet"
    return f'unknown point "{name}" in {options.site}' + (f"; {suggested(hint)}" if hint else "")


def write_point(options: argparse.Namespace) -> int:
    value: Value = options.value
    if options.direct:
        by = f"uid {os.getuid()} (direct)"  # before root becomes the owner of the folder
        answer = asyncio.run(_write_direct(own_place(options), options.point, value, options.hold, by))
    else:
        request: dict[str, Any] = {"do": "write", "point": options.point, "value": value, "hold_ms": options.hold}
        answer = asyncio.run(_ask(options, request))
    if options.json:
        print(shown_json(answer))
    else:
        reason = f": {answer['reason']}" if answer["reason"] else ""
        print(shown(f"{answer['point']} {_shown(answer['value'], 'released')}: {answer['state']}{reason}"))
    return 0 if answer["state"] in _GOOD_ENDS else 1


async def _ask(options: argparse.Namespace, request: Mapping[str, Any]) -> dict[str, Any]:
    async with connect(*asked(options)) as agent:
        return await agent.request(request)


async def _write_direct(where: SitePlace, point: str, value: Value, hold_ms: int | None, by: str) -> dict[str, Any]:
    from agent.cli.direct import write_once
    from agent.runtime.report import outcome_json

    return outcome_json(await write_once(where.site, where.state, where.runtime, point, value, hold_ms, by))


def _print_points(found: Mapping[str, Mapping[str, Any]]) -> None:
    """One line a point: name, value and unit, quality if it is not good, and when."""
    width = max((len(name) for name in found), default=0)
    for name, point in found.items():
        if not _was_read(point):
            print(shown(f"{name:<{width}}  never read"))
            continue
        value = _shown(point["value"], "-")
        quality = "" if point["quality"] == "good" else f"  ({point['quality']})"
        at = point["at"] or TIME_UNKNOWN
        measured = f"{value} {point['unit']}".strip()
        print(shown(f"{name:<{width}}  {measured}{quality}  {at}"))


def _was_read(point: Mapping[str, Any]) -> bool:
    return bool(point.get("read", True))


def _is_undated(point: Mapping[str, Any]) -> bool:
    return _was_read(point) and point["at"] is None


def _shown(value: Value, nothing: str) -> str:
    """on and off, never 1 and 0: those are numbers."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return nothing if value is None else str(value)


def _value(text: str) -> Value:
    """on, off, a number or a word; None for null, which releases."""
    lowered = text.lower()
    if lowered == "null":
        return None
    if lowered in {"on", "true"}:
        return True
    if lowered in {"off", "false"}:
        return False
    if lowered in {"ack", "forget", "reset", "comfort", "reduced", "frost", "auto"}:
        return lowered
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        number_meant = re.fullmatch(r"[-+]?\d+,\d+", text)
        modes = "for the mode of a zone comfort, reduced, frost, off or auto"
        wanted = text.replace(",", ".") if number_meant else f"on, off or a number, or {modes}"
        raise argparse.ArgumentTypeError(f"{text!r} is no value; write {wanted}")
    return number


def _milliseconds(text: str) -> int:
    """`90s`, `15min`, `2h` as milliseconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|h|d)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 30s, 15min or 2h")
    return round(float(match[1]) * _UNITS_MS[match[2]])
