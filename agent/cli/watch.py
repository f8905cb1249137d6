"""`bocage watch`: the live view of the running agent."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from agent.cli.common import add_command, add_folders, add_json, asked
from agent.errors import BocageError
from agent.local import Client, connect

__all__ = ["add"]

_PERIOD = 0.5  # seconds between two frames
_PLAIN_PERIOD = 1.0
_PATIENCE = 5  # seconds

_EXAMPLES = """\
  bocage watch site.yaml                        until Ctrl-C
  bocage watch site.yaml --once                 one frame
  bocage watch site.yaml --once --svg view.svg  its picture
  bocage watch site.yaml --json                 the whole status document, for programs
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "watch", "the live view of the running agent", _EXAMPLES)
    add_folders(parser)
    add_json(parser)
    parser.add_argument("--once", action="store_true", help="one frame, then end")
    parser.add_argument("--svg", metavar="FILE", type=Path, help="write one frame to FILE as a picture, then end")
    parser.set_defaults(run=watch)


def watch(options: argparse.Namespace) -> int:
    """0 after Ctrl-C or one frame; NoAgent if none is running or it goes away."""
    try:
        asyncio.run(_watch(options))
    except KeyboardInterrupt:
        pass
    return 0


async def _watch(options: argparse.Namespace) -> None:
    async with connect(*asked(options)) as agent:
        if options.json:
            print(json.dumps(await _status(agent), indent=2))
            return
        from rich.console import Console  # 35 ms: not for those who only want JSON

        from agent.view import frame, svg

        if options.svg is not None:
            picture = svg(await _status(agent))
            await asyncio.to_thread(options.svg.write_text, picture)
        elif options.once:
            Console().print(frame(await _status(agent)))
        else:
            await _live(agent, Console())


async def _status(agent: Client) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await agent.request({"do": "status"})
    except TimeoutError as error:
        raise BocageError(f"the agent has not answered for {_PATIENCE} s: it is stuck, or very busy") from error


async def _live(agent: Client, console: Any) -> None:
    from rich.live import Live

    from agent.view import frame, line

    if not console.is_terminal:
        while True:
            print(line(await _status(agent)), flush=True)
            await asyncio.sleep(_PLAIN_PERIOD)
    status = await _status(agent)
    with Live(frame(status), console=console, screen=True, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(_PERIOD)
            live.update(frame(await _status(agent)), refresh=True)
