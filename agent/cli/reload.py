"""`bocage reload`: the running agent reads its site file again, and says what came of it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from agent.cli.common import add_command, add_folders, add_json, asked, find_by_site
from agent.errors import ConfigError
from agent.folders import runtime_folder
from agent.local import connect

__all__ = ["add"]


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "reload",
        "the running agent reads its site file again, with secrets and certificates; waits for what comes of it",
        "  bocage reload /etc/bocage/site.yaml        what `systemctl reload bocage` runs",
    )
    add_folders(parser)
    add_json(parser)
    parser.set_defaults(run=reload)


def reload(options: argparse.Namespace) -> int:
    """0 if the file was applied, 1 if it is wrong: then everything that is wrong with it is printed."""
    answer = asyncio.run(_ask(_runtime(options), options.site.absolute()))
    if options.json:
        print(json.dumps(answer, ensure_ascii=False))
    elif answer["applied"]:
        print(f"{options.site} is applied; changed: {', '.join(answer['changed']) or 'nothing that runs'}")
    else:
        for problem in answer["problems"]:
            print(problem, file=sys.stderr)
        print(f"bocage: {options.site} is refused; what was applied before goes on", file=sys.stderr)
    return 0 if answer["applied"] else 1


async def _ask(runtime: Path, site: Path) -> dict[str, Any]:
    async with connect(runtime) as agent:
        return await agent.request({"do": "reload", "file": str(site)})


def _runtime(options: argparse.Namespace) -> Path:
    """Where the agent listens: known by the site it runs, which the file may not name any more."""
    known = find_by_site(options)
    if known is not None:
        return runtime_folder(options.runtime_dir, known[1].site)
    try:
        return asked(options)[0]
    except ConfigError:
        return runtime_folder(options.runtime_dir, "")
