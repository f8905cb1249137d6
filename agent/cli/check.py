"""`bocage check`, `schema` and `init`: a site file before it runs."""

from __future__ import annotations

import argparse
import asyncio
import importlib.resources
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.common import add_command, add_json, add_places, asked
from agent.local import NoAgent, connect

if TYPE_CHECKING:
    from agent.config import Problem, Site

__all__ = ["add"]


def add(commands: Any) -> None:
    check = add_command(
        commands,
        "check",
        "everything that is wrong with a site file, in one run",
        "  bocage check site.yaml\n  bocage check site.yaml --json\n"
        "  bocage check site.yaml --bus        also try the wires; it reads and never writes",
    )
    check.add_argument("site", metavar="SITE.yaml", help="the site file")
    check.add_argument("--bus", action="store_true", help="also try every bus and device, reading only; "
                       "from the running agent, if there is one")  # fmt: skip
    add_places(check)
    add_json(check)
    check.set_defaults(run=run_check)
    schema = add_command(
        commands,
        "schema",
        "the JSON schema of a site file, so that editors complete and check",
        "  bocage schema > site.schema.json\n"
        "  # then, as the first line of site.yaml:\n  # yaml-language-server: $schema=site.schema.json",
    )
    schema.set_defaults(run=run_schema)
    init = add_command(
        commands,
        "init",
        "a commented site file to start from",
        "  bocage init                     prints it\n  bocage init site.yaml           writes it",
    )
    init.add_argument("file", metavar="FILE", nargs="?", type=Path, help="where it is written (default: printed)")
    init.add_argument("--force", action="store_true", help="write over a file that is there")
    init.set_defaults(run=run_init)


def run_check(options: argparse.Namespace) -> int:
    from agent.config import read_site

    site, problems = read_site(Path(options.site), options.site)
    fine: list[str] = []
    if options.bus and site is not None:
        fine, failed = _wires(options, site)
        problems += failed
    if options.json:
        print(json.dumps({"problems": [problem.as_dict() for problem in problems]}, ensure_ascii=False, indent=2))
    else:
        for line in (*problems, *fine):
            print(line)
        print(f"{options.site}: {_summary(site, problems)}", file=sys.stderr)
    return 1 if any(problem.severity == "error" for problem in problems) else 0


def _wires(options: argparse.Namespace, site: Site) -> tuple[list[str], list[Problem]]:
    """What was read, and a problem for each device that could not be, at its place in the file."""
    from agent import direct
    from agent.config import Problem
    from agent.config.document import read

    logging.getLogger("bocage").addHandler(logging.NullHandler())  # what is logged is said below
    try:
        tried = asyncio.run(_ask(options, site))
    except NoAgent:
        tried = asyncio.run(direct.try_wires(site))
    fine, failed = [], []
    document = read(Path(options.site), options.site)
    for name, works, text in tried:
        if works:
            fine.append(f"{name}: ok: {text}")
        else:
            place = document.place(("devices", name) if name in site.devices else ("buses", name.partition(".")[0]))
            failed.append(Problem(options.site, place.line, place.column, "error", f"{name}: {text}"))
    return fine, failed


async def _ask(options: argparse.Namespace, site: Site) -> list[tuple[str, bool, str]]:
    """The same from the running agent, which has the wires."""
    from agent import direct

    async with connect(*asked(options)) as agent:
        status = await agent.request({"do": "status"})
    errors = {bus["name"]: bus["error"] for bus in status["buses"]}
    devices: dict[str, list[dict[str, Any]]] = {}
    for point in status["points"]:
        if ".modbus." not in point["id"] and _bus(site, point["device"]):
            devices.setdefault(point["device"], []).append(point)
    lines = []
    for bus in status["buses"]:
        if bus["name"] in site.buses and direct.is_radio(site.buses[bus["name"]].type):
            lines.append((bus["name"], bus["state"] == "up", _listening(bus)))
    lost = {name for bus in status["buses"] for name in bus.get("lost", ())}
    for name, points in devices.items():
        if direct.is_radio(site.buses[_bus(site, name)].type):
            heard = [point["age_s"] for point in points if point["age_s"] is not None and point["value"] is not None]
            said = f"heard by the running agent {min(heard):.0f} s ago" if heard else "listening: nothing heard yet"
            lines.append((name, name not in lost, "silent for three of its intervals" if name in lost else said))
            continue
        bad = [point["id"] for point in points if point["quality"] != "good"]
        why = errors.get(_bus(site, name)) or "the agent cannot read it"
        lines.append((name, not bad, f"{why} ({', '.join(bad[:3])}{' …' * (len(bad) > 3)})" if bad
                      else f"{_count(len(points), 'point')} read by the running agent"))  # fmt: skip
    return lines


def _listening(bus: dict[str, Any]) -> str:
    """What the agent says of a radio bus: an error while it is up is what it misses there."""
    error = str(bus["error"])
    return error if bus["state"] != "up" else "the running agent listens" + (f", but {error}" if error else "")


def _bus(site: Site, device: str) -> str:
    """The bus that a device or a pin is on; "" for what is on none."""
    if device in site.devices:
        return site.devices[device].bus
    name = device.partition(".")[0]
    return name if name in site.buses else ""


def _summary(site: Site | None, problems: list[Problem]) -> str:
    errors = sum(1 for problem in problems if problem.severity == "error")
    warnings = len(problems) - errors
    if problems or site is None:
        counts = [_count(errors, "error")] * bool(errors) + [_count(warnings, "warning")] * bool(warnings)
        return ", ".join(counts)
    parts = ((site.buses, "bus", "buses"), (site.devices, "device", ""), (site.signals, "signal", ""),
             (site.actuators, "actuator", ""))  # fmt: skip
    return "no problems; " + ", ".join(_count(len(found), one, many) for found, one, many in parts)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def run_schema(options: argparse.Namespace) -> int:
    from agent.config.schema import json_schema

    print(json.dumps(json_schema(), ensure_ascii=False, indent=2))
    return 0


def run_init(options: argparse.Namespace) -> int:
    template = (importlib.resources.files("agent.config") / "template.yaml").read_text(encoding="utf-8")
    if options.file is None:
        print(template, end="")
        return 0
    try:
        with options.file.open("w" if options.force else "x", encoding="utf-8") as file:
            file.write(template)
    except FileExistsError:
        print(f"bocage: {options.file} is there already; --force writes over it", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"bocage: {options.file} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{options.file} is written; edit it, then: bocage check {options.file}", file=sys.stderr)
    return 0
