"""`bocage reload`: the running agent reads its site file again, and says what came of it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.cli.common import add_command, add_folders, add_json, asked
from agent.errors import BocageError, ConfigError
from agent.lib.screen import shown, shown_json
from agent.runtime.folders import runtime_folder
from agent.runtime.socket import connect

__all__ = ["add"]

_LARGEST = 65_536
"""Bytes of a credential."""


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "reload",
        "make the running agent read its site file, secrets and certificates again; wait for the result",
        "  bocage reload /etc/bocage/site.yaml        what `systemctl reload bocage` runs",
    )
    add_folders(parser)
    parser.add_argument("--credentials", metavar="DIR", type=Path, help="send the agent these credentials, "
                        "and the environment of this command for {env: NAME}: systemd sets both only when it starts "
                        "a unit")  # fmt: skip
    add_json(parser)
    parser.set_defaults(run=reload)


def reload(options: argparse.Namespace) -> int:
    """0 if the file was applied, 1 if it is wrong: then everything that is wrong with it is printed.

    A secret or certificate that cannot be used is a warning: the one before is used, if the agent has one.
    """
    request: dict[str, Any] = {"do": "reload", "file": str(options.site.absolute())}
    if options.credentials is not None:
        request |= {"credentials": _credentials(options.credentials), "environment": _environment(options.site)}
    answer = asyncio.run(_ask(_runtime(options), request))
    if options.json:
        print(shown_json(answer))
    elif answer["applied"]:
        for warning in answer.get("warnings", ()):  # an older agent has none
            print(shown(warning), file=sys.stderr)
        print(shown(f"{options.site} is applied; changed: {', '.join(answer['changed']) or 'nothing that runs'}"))
    else:
        for problem in answer["problems"]:
            print(shown(problem), file=sys.stderr)
        print(f"bocage: {options.site} is refused; what was applied before goes on", file=sys.stderr)
    return 0 if answer["applied"] else 1


async def _ask(runtime: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    async with connect(runtime) as agent:
        return await agent.request(request)


def _environment(site: Path) -> dict[str, str]:
    """The variables that a site file names as {env: NAME}, as they are here: systemd reads the unit's anew for us."""
    from agent.site.language.document import read

    def names(value: Any) -> Iterator[str]:
        if isinstance(value, dict) and list(value) == ["env"] and isinstance(value["env"], str):
            yield value["env"]
        elif isinstance(value, dict | list):
            for part in value.values() if isinstance(value, dict) else value:
                yield from names(part)

    return {name: os.environ[name] for name in names(read(site).data) if name in os.environ}


def _credentials(folder: Path) -> dict[str, str]:
    """The credentials that LoadCredential= makes of a folder: each file by its name, those of a folder in it as
    folder_name."""
    files = [path for path in (*folder.glob("*"), *folder.glob("*/*")) if path.is_file()]
    found = {}
    for path in files:
        if path.stat().st_size > _LARGEST:
            raise BocageError(f"{path} is no credential: it has more than {_LARGEST} bytes")
        try:
            found["_".join(path.relative_to(folder).parts)] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise BocageError(f"{path} is not UTF-8") from error
    return found


def _runtime(options: argparse.Namespace) -> Path:
    """Where the agent listens: by the site that it runs, which the file may not name any more; where nothing says
    which that is, known to the unit and on an installed box."""
    try:
        return asked(options)[0]
    except ConfigError:
        return runtime_folder(options.runtime_dir, "")
