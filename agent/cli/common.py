"""Common options of commands, and the site file with its folders."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.wrong_use import HelpfulParser
from agent.clock import SystemClock
from agent.errors import BocageError
from agent.lib.hints import again, ours, sudo
from agent.lib.screen import shown
from agent.runtime.applied import Applied, find
from agent.runtime.folders import enter, is_installed_by_default, open_folder, runtime_folder, state_folder
from agent.runtime.report import time_help

if TYPE_CHECKING:
    from agent.site.models.site import Site

__all__ = [
    "SITE_HELP", "CommandParser", "SitePlace", "add_command", "add_folders", "add_json", "add_places", "asked",
    "find_by_site", "hint_start", "hint_sudo", "hint_time", "own_place", "place", "told",
]  # fmt: skip


SITE = Path("/etc/bocage/site.yaml")
"""The site file of an installed box, which is meant where a command names none."""
SERVICE = "bocage"
"""The unit that `make install` installs."""
SITE_HELP = f"the site file (default: {SITE})"


class CommandParser(HelpfulParser):
    """One command's arguments, whose options may be anywhere: `read --json SITE POINT`, `buffer SITE --json status`.

    Plain argparse settles optional positionals at the first option it meets, and then refuses the ones after it.
    On an installed box SITE.yaml may be left out: `bocage read tank-level`.
    """

    _mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        if self._mixing:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            found, extra = self.parse_known_intermixed_args(self._with_site(args), namespace)
        finally:
            self._mixing = False
        if extra:  # said here, where the usage is this command's
            self.error(self.unknown(extra))
        return found, []

    def _with_site(self, args: Sequence[str]) -> list[str]:
        """The arguments with the box's own site file where none is named."""
        required = [action for action in self._actions if not action.option_strings and action.nargs is None]
        if not required or required[0].dest != "site" or {"-h", "--help"} & set(args):
            return list(args)
        given = self._positionals_of(args)
        is_scenario = len(given) == 1 and len(required) > 1 and required[1].type is Path
        if given and _is_site_file(given[0]) and not is_scenario:
            return list(args)
        if not _may_be_there(SITE):
            if len(given) < len(required):
                missing = "SITE.yaml or SCENARIO.yaml" if is_scenario else "SITE.yaml"
                self.error(f"{missing} is missing, and there is no {SITE}, which would be meant")
            return list(args)
        return [str(SITE), *args]

    def _positionals_of(self, args: Sequence[str]) -> list[str]:
        """The words that are neither options nor values of options."""
        found: list[str] = []
        is_value = False
        for at, arg in enumerate(args):
            if arg == "--":
                return found + list(args[at + 1 :])
            if is_value:
                is_value = False
            elif arg.startswith("-") and arg != "-" and not arg[1:].replace(".", "", 1).isdigit():
                action = self._option_string_actions.get(arg)
                is_value = action is not None and action.nargs is None
            else:
                found.append(arg)
        return found


def _is_site_file(argument: str) -> bool:
    return argument.endswith((".yaml", ".yml")) or os.sep in argument or Path(argument).is_file()


def _may_be_there(path: Path) -> bool:
    """Also where it may not be looked at: then the command says so."""
    try:
        return path.exists()
    except PermissionError:
        return True


def hint_start(options: argparse.Namespace) -> None:
    """The command that starts an agent at this place: systemd's on an installed box, else in a terminal."""
    site = getattr(options, "site", None)
    if site is None:
        return
    places = [f"--{name}={text}" for name in ("state-dir", "runtime-dir")
              if (text := getattr(options, name.replace("-", "_"), None))]  # fmt: skip
    start = f"sudo systemctl start {SERVICE}" if site == SITE else again("run", site, *places)
    with suppress(BrokenPipeError):
        print(shown(f"to start it: {start}"), file=sys.stderr)


def hint_sudo(text: str) -> None:
    """If only a right was missing, by what was said: the command that has it."""
    if os.geteuid() != 0 and "permission denied" in text.lower():
        print(shown(f"try: {sudo(*sys.argv[1:])}"), file=sys.stderr)


def hint_time(options: argparse.Namespace) -> None:
    """Print the remedy for a "time unknown" in the output."""
    import asyncio

    from agent.runtime.socket import NoAgent, connect

    async def is_known() -> bool:
        async with connect(*asked(options)) as agent:
            return bool((await agent.request({"do": "status"}))["clock"] == "synced")

    known = SystemClock().trusted
    with suppress(BocageError):  # root is the agent's user by now and may not read a file in another user's home
        try:
            known = asyncio.run(is_known())
        except NoAgent:
            known = SystemClock(place(options).site.clock.trust).trusted
    print(f"bocage: {time_help(known)}", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class SitePlace:
    """One site on this machine: its configuration and its folders."""

    site: Site
    path: Path
    state: Path
    runtime: Path


def add_command(commands: Any, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    """A sub-command with its one-line help and runnable examples."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_folders(parser: argparse.ArgumentParser) -> None:
    """SITE.yaml and where this site's agent keeps its things."""
    parser.add_argument("site", metavar="SITE.yaml", type=Path, help=SITE_HELP)
    add_places(parser)


def add_places(parser: argparse.ArgumentParser) -> None:
    """Where a site's agent keeps its things."""
    parser.add_argument("--state-dir", metavar="DIR", help="the durable state (default: $BOCAGE_STATE_DIR, "
                        "/var/lib/bocage on an installed box, else ~/.local/state/bocage/SITE)")  # fmt: skip
    parser.add_argument("--runtime-dir", metavar="DIR", help="socket and stage file, in memory (default: "
                        "$BOCAGE_RUNTIME_DIR, $RUNTIME_DIRECTORY, else /dev/shm/bocage-UID/SITE, "
                        "and /run/bocage-root/SITE for root)")  # fmt: skip


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")


def asked(options: argparse.Namespace) -> tuple[Path, str]:
    """Return the runtime folder and the site id of the agent to ask.

    Only the site's id is read from the file. Where it is wrong, the id of the applied configuration is used: a typing
    error must not keep a technician from the outputs.
    """
    from agent.site.language.document import read
    from agent.site.loader import load

    path = Path(options.site)
    known = find(path, options.state_dir)
    if known is not None and known[1].home == path.absolute():
        folder = runtime_folder(options.runtime_dir, known[1].site)
        if (folder / "agent.sock").exists():
            return folder, known[1].site
    site = read(path).value(("site", "id"))
    if not isinstance(site, str) or not site:
        site = known[1].site if known else load(options.site).site.id
    return runtime_folder(options.runtime_dir, site), site


def find_by_site(options: argparse.Namespace) -> tuple[Path, Applied] | None:
    """The state folder of the site that is named on the command line, and what was applied there."""
    path = None if options.site is None else Path(options.site)
    known = find(path, options.state_dir)
    if known is None and path is not None and not options.state_dir:  # perhaps applied under another path
        from agent.site.language.document import read

        name = read(path).value(("site", "id"))
        folder = state_folder(None, name) if isinstance(name, str) and name else None
        applied = Applied.load(folder) if folder is not None else None
        if folder is not None and applied is not None and not applied.is_another(path, str(name)):
            known = folder, applied
    return known


def place(options: argparse.Namespace) -> SitePlace:
    """The site named on the command line; ConfigError lists all that is wrong with it."""
    from agent.site.loader import load  # 15 MB that `run` must not have

    site = load(options.site)
    state = state_folder(options.state_dir, site.site.id)
    enter(state)
    return SitePlace(site, options.site, state, _in_memory(options, site.site.id))


def own_place(options: argparse.Namespace) -> SitePlace:
    """Like `place_of`, with the site's state folder, which this process may read.

    BocageError if the installed box's folder belongs to another site.
    """
    where = place(options)
    before = Applied.load(where.state) if is_installed_by_default(where.state, options.state_dir) else None
    if before is not None and before.is_another(where.path, where.site.site.id):
        command = ours(*sys.argv[1:], "--state-dir", where.path.parent / "state")
        raise BocageError(before.whose(where.path, where.site.site.id, command))
    return where


def _in_memory(options: argparse.Namespace, site: str) -> Path:
    """Return the runtime folder. NoFolder if another user made it, because what is read from it is trusted."""
    folder = runtime_folder(options.runtime_dir, site)
    with suppress(OSError):
        os.close(open_folder(folder))
    return folder


def told(value: Any) -> str:
    """Words for a value in the detail of an event or an alarm."""
    if isinstance(value, list):
        return " ".join(map(told, value)) or "none"
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
