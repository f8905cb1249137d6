"""`bocage check`, `schema` and `init`: a site file before it runs."""

from __future__ import annotations

import argparse
import asyncio
import importlib.resources
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.beside import Beside, Tried
from agent.cli.common import SITE_HELP, add_command, add_json, add_places, hint_sudo
from agent.lib.hints import again
from agent.lib.screen import shown, shown_json
from agent.runtime.socket import NoAgent

if TYPE_CHECKING:
    from agent.errors import Severity
    from agent.site.language.problems import Problem
    from agent.site.models.site import Site

__all__ = ["add"]


def add(commands: Any) -> None:
    check = add_command(
        commands,
        "check",
        "list all errors of a site file",
        "  bocage check site.yaml\n  bocage check site.yaml --json\n"
        "  bocage check site.yaml --bus        also read every device; nothing is written",
    )
    check.add_argument("site", metavar="SITE.yaml", help=SITE_HELP)
    check.add_argument("--bus", action="store_true", help="also try every bus and device, reading only; "
                       "from the running agent, if there is one")  # fmt: skip
    add_places(check)
    add_json(check)
    check.set_defaults(run=run_check)
    schema = add_command(
        commands,
        "schema",
        "print the JSON schema of the site file, for editors",
        "  bocage schema > site.schema.json\n"
        "  # then, as the first line of site.yaml:\n  # yaml-language-server: $schema=site.schema.json",
    )
    schema.set_defaults(run=run_schema)
    init = add_command(
        commands,
        "init",
        "write a commented site file to start from",
        "  bocage init                     prints it\n  bocage init site.yaml           writes it",
    )
    init.add_argument("file", metavar="FILE", nargs="?", type=Path, help="the file to write (default: print it)")
    init.add_argument("--force", action="store_true", help="overwrite an existing file")
    init.set_defaults(run=run_init)


def run_check(options: argparse.Namespace) -> int:
    from agent.site.loader import read_copy

    copy = read_copy(Path(options.site), options.site, codecs=True)
    site, problems = None if copy.wrong else copy.site, list(copy.problems)
    problems += filter(None, (reference.problem(elsewhere=True) for reference in copy.secret_references))
    loads = _loads(copy.site) if copy.site is not None else {}
    fine: list[str] = []
    if options.bus and site is not None:
        fine, failed = _wires(options, site)
        problems += failed
    if options.json:
        lines = {name: {"load": load} for name, load in loads.items()}
        print(shown_json({"problems": [problem.as_dict() for problem in problems], "lines": lines}, indent=2))
    else:
        for line in (*problems, *fine):
            print(shown(line))
        busy = "".join(f"; {name} busy {100 * load:.0f} %" for name, load in loads.items())
        print(f"{options.site}: {_summary(site, problems)}{busy}", file=sys.stderr)
        hint_sudo("\n".join(map(str, problems)))
    return 1 if any(problem.severity == "error" for problem in problems) else 0


def _loads(site: Site) -> dict[str, float]:
    """The share of its time that each wire is asked for, where that is known."""
    return {name: load for name, bus in site.buses.items() if (load := bus.load(site, name)) is not None}


def _wires(options: argparse.Namespace, site: Site) -> tuple[list[str], list[Problem]]:
    """Read every device. Returns the results, and a problem at its place in the file for each device that failed.

    A device that cannot be tried, because the running agent has the bus and runs another file, is a warning.
    """
    from agent.cli import direct
    from agent.site.language.document import read
    from agent.site.language.problems import Problem

    logging.getLogger("bocage").addHandler(logging.NullHandler())  # what is logged is said below
    tried: list[Tried] = []
    try:
        tried += asyncio.run(Beside(options, site).tried())
    except NoAgent:
        tried += asyncio.run(direct.try_wires(site))
    fine, failed = [], []
    document = read(Path(options.site), options.site)
    for name, works, text in tried:
        if works:
            fine.append(f"{name}: ok: {text}")
        else:
            inside = ("devices", name) if name in site.devices else ("buses", name.partition(".")[0])
            place = document.place(inside if name else ())
            severity: Severity = "warning" if works is None else "error"
            failed.append(Problem(options.site, place.line, place.column, severity, f"{name}: {text}".lstrip(": ")))
    return fine, failed


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


def run_schema(_options: argparse.Namespace) -> int:
    from agent.site.schema import json_schema

    print(shown_json(json_schema(), indent=2))
    return 0


def run_init(options: argparse.Namespace) -> int:
    template = (importlib.resources.files("agent.site") / "template.yaml").read_text(encoding="utf-8")
    if options.file is None:
        print(template, end="")
        return 0
    try:
        with options.file.open("w" if options.force else "x", encoding="utf-8") as file:
            file.write(template)
    except FileExistsError:
        over = again("init", options.file, "--force")
        print(shown(f"bocage: {options.file} is there already; this writes over it: {over}"), file=sys.stderr)
        return 1
    except OSError as error:
        text = f"bocage: {options.file} cannot be written: {error.strerror}"
        print(text, file=sys.stderr)
        hint_sudo(text)
        return 1
    print(shown(f"{options.file} is written; edit it, then: {again('check', options.file)}"), file=sys.stderr)
    return 0
