"""What several commands share: their common options, and the site file with its folders."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.applied import Applied, find
from agent.folders import enter, open_folder, runtime_folder, state_folder

if TYPE_CHECKING:
    from agent.config import Site

__all__ = [
    "CommandParser", "Place", "add_command", "add_folders", "add_json", "add_places", "asked", "find_by_site", "place",
]  # fmt: skip


class CommandParser(argparse.ArgumentParser):
    """One command's arguments, whose options may stand anywhere: `read --json SITE POINT`, `buffer SITE --json status`.

    Plain argparse settles optional positionals at the first option it meets, and then refuses the ones after it.
    """

    _mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        if self._mixing:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            found, extra = self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False
        if extra:  # said here, where the usage is this command's
            self.error(f"unrecognized arguments: {' '.join(extra)}")
        return found, []


@dataclass(frozen=True, slots=True)
class Place:
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
    parser.add_argument("site", metavar="SITE.yaml", type=Path, help="the site file")
    add_places(parser)


def add_places(parser: argparse.ArgumentParser) -> None:
    """Where a site's agent keeps its things."""
    parser.add_argument("--state-dir", metavar="DIR", help="what must last (default: $BOCAGE_STATE_DIR, "
                        "/var/lib/bocage on an installed box, else ~/.local/state/bocage/SITE)")  # fmt: skip
    parser.add_argument("--runtime-dir", metavar="DIR", help="socket and stage file, in memory (default: "
                        "$BOCAGE_RUNTIME_DIR, $RUNTIME_DIRECTORY, else /dev/shm/bocage-UID/SITE, "
                        "and /run/bocage-root/SITE for root)")  # fmt: skip


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")


def asked(options: argparse.Namespace) -> tuple[Path, str]:
    """The runtime folder and site id of the agent to ask.

    Of the file only the id is looked at, and where not even that is right, what was applied says it: a slip must not
    keep a technician from his outputs.
    """
    from agent.config import load
    from agent.config.document import read

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
        from agent.config.document import read

        name = read(path).value(("site", "id"))
        folder = state_folder(None, name) if isinstance(name, str) and name else None
        applied = Applied.load(folder) if folder is not None else None
        known = (folder, applied) if folder is not None and applied is not None else None
    return known


def place(options: argparse.Namespace) -> Place:
    """The site named on the command line; ConfigError lists all that is wrong with it."""
    from agent.config import load  # 15 MB that `run` must not have

    site = load(options.site)
    state = state_folder(options.state_dir, site.site.id)
    enter(state)
    return Place(site, options.site, state, _in_memory(options, site.site.id))


def _in_memory(options: argparse.Namespace, site: str) -> Path:
    """The runtime folder. NoFolder if somebody else has put one there: what is read from it is believed."""
    folder = runtime_folder(options.runtime_dir, site)
    with suppress(OSError):
        os.close(open_folder(folder))
    return folder
