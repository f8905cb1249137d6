"""`bocage run`: the agent, in the foreground. `bocage stop-outputs`: what systemd runs after a crash."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.cli.common import SitePlace, add_command, add_folders, add_places, find_by_site, own_place
from agent.errors import BocageError
from agent.lib.screen import shown
from agent.runtime.configuration import Configuration
from agent.runtime.folders import enter, runtime_folder, state_folder
from agent.runtime.logs import log_in_zone, log_to_stderr
from agent.settings import SettingsReader

__all__ = ["add"]


def add(commands: Any) -> None:
    run = add_command(
        commands,
        "run",
        "run the agent of a site in the foreground; SIGTERM ends it, SIGHUP re-reads the file",
        "  bocage run site.yaml\n  bocage run site.yaml --state-dir ./state --log-level debug",
    )
    add_folders(run)
    run.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    run.set_defaults(run=run_agent)
    stop = add_command(
        commands,
        "stop-outputs",
        "after a crash: drive outputs to their safe state (systemd's ExecStopPost); nothing after an orderly stop",
        "  bocage stop-outputs /etc/bocage/site.yaml\n  bocage stop-outputs --state-dir /var/lib/bocage",
    )
    stop.add_argument("site", metavar="SITE.yaml", nargs="?", type=Path, default=None,
                      help="the site file, which may be missing: what was applied last is used")  # fmt: skip
    add_places(stop)
    stop.set_defaults(run=stop_after_crash)


def run_agent(options: argparse.Namespace) -> int:
    log_to_stderr(options.log_level)
    reader = SettingsReader(options.site)  # it reads while we import
    from agent.app import Agent

    configuration = Configuration.choose(options.site, reader, options.state_dir)
    log_in_zone(configuration.settings.timezone)
    runtime = runtime_folder(options.runtime_dir, configuration.settings.site)

    async def live() -> int:
        return await Agent(configuration, runtime).run()

    return asyncio.run(live())


def stop_after_crash(options: argparse.Namespace) -> int:
    """By what was applied, never by a file that was edited since. 1 if an output was not reached."""
    log_to_stderr("info")
    from agent.cli.direct import on_the_air, stop_outputs

    where = _applied(options)
    crashed, missed = asyncio.run(stop_outputs(where.site, where.state, where.runtime))
    for name, reason in missed.items():
        print(shown(f"bocage: {name} is NOT in its safe state: {reason}"), file=sys.stderr)
    radio = [name for name in where.site.actuators if on_the_air(where.site, name)]
    waiting = f"; not those on radio, which the next start commands: {', '.join(radio)}" if radio else ""
    if not crashed:
        print(f"the agent had stopped in order: nothing {'else ' if missed else ''}to do")
    else:
        print(f"outputs {'that were reached ' if missed else ''}driven to their safe state{waiting}")
    return 1 if missed else 0


def _applied(options: argparse.Namespace) -> SitePlace:
    """The site as it was applied; as the file has it where nothing was ever applied."""
    from agent.site.loader import read_copy

    known = find_by_site(options)
    site = read_copy(known[1].path, str(known[1].home), known[1].home).site if known else None
    if known is not None:
        enter(known[0])
    if known is None or site is None:
        if options.site is None:
            with suppress(FileNotFoundError):  # where we may not look is not where nothing is
                next(state_folder(options.state_dir, "").iterdir(), None)
            raise BocageError("nothing was ever applied in this state folder; name the site file")
        return own_place(options)
    return SitePlace(site, known[1].home, known[0], runtime_folder(options.runtime_dir, site.site.id))
