"""`bocage run`: the agent, in the foreground. `bocage stop-outputs`: what systemd runs after a crash."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from typing import Any

from agent.cli.common import add_command, add_folders, place
from agent.folders import runtime_folder, state_folder
from agent.plan import PlanReader

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
        "  bocage stop-outputs /etc/bocage/site.yaml",
    )
    add_folders(stop)
    stop.set_defaults(run=stop_after_crash)


def run_agent(options: argparse.Namespace) -> int:
    log_to_stderr(options.log_level)
    reader = PlanReader(options.site)  # it reads while we import
    from agent.app import Agent

    plan = reader.result()
    state = state_folder(options.state_dir, plan.site)
    runtime = runtime_folder(options.runtime_dir, plan.site)

    async def live() -> int:
        return await Agent(options.site, plan, state, runtime).run()

    return asyncio.run(live())


def stop_after_crash(options: argparse.Namespace) -> int:
    log_to_stderr("info")
    from agent.direct import on_the_air, stop_outputs

    where = place(options)
    acted = asyncio.run(stop_outputs(where.site, where.state, where.runtime))
    radio = [name for name in where.site.actuators if on_the_air(where.site, name)]
    waiting = f"; not those on radio, which the next start commands: {', '.join(radio)}" if radio else ""
    print(f"outputs driven to their safe state{waiting}" if acted else "the agent had stopped in order: nothing to do")
    return 0


def log_to_stderr(level: str) -> None:
    """Structured lines (key=value) on stderr; libraries speak only when something is wrong."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    logging.getLogger("bocage").setLevel(level.upper())
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
