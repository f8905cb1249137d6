"""`bocage watch`: show the running agent live."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.cli.common import add_command, add_folders, add_json, asked
from agent.errors import BocageError
from agent.runtime.socket import SocketClient, connect

__all__ = ["add"]

_PLAIN_PERIOD = 1.0
_PATIENCE = 5  # seconds

_EXAMPLES = """\
  bocage watch site.yaml                        until q or Ctrl-C; arrows, page keys, j and k scroll
  bocage watch site.yaml --once                 all of it, once
  bocage watch site.yaml --once --svg view.svg  its picture
  bocage watch site.yaml --json                 the whole status document, for programs
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "watch", "show the running agent live", _EXAMPLES)
    add_folders(parser)
    add_json(parser)
    parser.add_argument("--once", action="store_true", help="one frame, then end")
    parser.add_argument("--svg", metavar="FILE", type=Path, help="write one frame to FILE as a picture, then end")
    parser.set_defaults(run=watch)


def watch(options: argparse.Namespace) -> int:
    """0 after q, Ctrl-C or one frame; NoAgent if none is running or it goes away."""
    with suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(_watch(options))
    return 0


async def _watch(options: argparse.Namespace) -> None:
    async with connect(*asked(options)) as agent:
        if options.json:
            print(json.dumps(await _status(agent), indent=2))
            return
        from rich.console import Console  # takes 35 ms, not needed for JSON

        from agent.cli.live.page import page
        from agent.cli.live.view import svg

        if options.svg is not None:
            picture = svg(await _status(agent))
            await asyncio.to_thread(options.svg.write_text, picture)
        elif options.once:
            Console().print(*page(await _status(agent)), sep="")
        else:
            await _live(agent, Console())


async def _status(agent: SocketClient) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await agent.request({"do": "status"})
    except TimeoutError as error:
        raise BocageError(f"the agent has not answered for {_PATIENCE} s: it is stuck, or very busy") from error


async def _live(agent: SocketClient, console: Any) -> None:
    from agent.cli.live.page import page
    from agent.cli.live.view import line
    from agent.cli.live.window import live

    if not console.is_terminal or console.is_dumb_terminal:
        while True:
            print(line(await _status(agent)), flush=True)
            await asyncio.sleep(_PLAIN_PERIOD)
    me, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert me is not None
    loop.add_signal_handler(signal.SIGTERM, me.cancel)  # the terminal is left as it was found

    async def look() -> Any:
        return page(await _status(agent))

    await live(console, look)
