"""The command line: parse, call, print. `bocage --help` is where a newcomer starts."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

from agent import VERSION
from agent.cli.common import CommandParser, hint_start, hint_sudo
from agent.cli.wrong_use import HelpfulParser
from agent.errors import BocageError, Busy, ConfigError
from agent.lib.screen import shown, shown_lines
from agent.runtime.socket import NoAgent, NotStarted
from drivers.registry import built_in, find, foreign, load, loads, said

__all__ = ["main"]

FINE, WRONG, USAGE, NO_AGENT = 0, 1, 2, 3
"""Exit codes: success; an error was found; wrong use; no agent is running."""
INTERRUPTED, CUT = 130, 141
"""Exit codes after Ctrl-C and after a closed pipe, as a shell gives them: 128 and the number of the signal."""
BUSY, CONFIGURATION = 75, 78
"""As in sysexits.h: the state folder belongs to another agent; the site file is wrong."""

_COMMANDS = ("run", "reload", "check", "plan", "simulate", "points", "why", "alarms", "watch", "buffer", "scan")
_LAST_COMMANDS = ("collect", "demo")
"""Modules of this package. Between them come the commands of our own drivers."""

_EPILOG = """\
examples:
  bocage init site.yaml                      a commented template to start from
  bocage check site.yaml                     all its errors at once
  bocage plan site.yaml                      the programme of lamps, water and heating, before it runs
  bocage scan site.yaml rs485-1              which unit ids answer on a bus
  bocage codec run milesight_em300_th --hex 0367c300    decode a radio node's payload
  bocage run site.yaml                       the agent, in the foreground
  bocage watch site.yaml                     its live view
  bocage lora site.yaml devices              radio nodes and their reception
  bocage read site.yaml meter-a.active_power
  bocage why site.yaml km1                   why it is as it is, and what comes next
  bocage write site.yaml km1 on --for 2h     an override, which ends by itself
  bocage demo                                a village on this machine

exit codes: 0 success, 1 an error was found, 2 wrong use, 3 no agent running; for run also
70 a core task failed, 75 the state folder belongs to another agent, 78 configuration
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        code = _main(arguments)
    except BrokenPipeError:  # `bocage … | head`
        code = CUT
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        failed = _flush(sys.stdout)
        _flush(sys.stderr)
    return _ends(shown(f"bocage: standard output: {failed}"), WRONG) if failed else code


def _flush(stream: TextIO | None) -> str:
    """Flush the stream; return the error, or "" if there is none.

    This is done before the interpreter ends, where an error could not be reported any more. A reader that has closed
    the pipe is no error.
    """
    if stream is None:
        return ""
    try:
        stream.flush()
    except OSError as error:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return "" if isinstance(error, BrokenPipeError) else str(error.strerror)
    return ""


def _main(arguments: Sequence[str] | None) -> int:
    parser = HelpfulParser(
        prog="bocage",
        description="The agent of a rural commune's gateway: "
        "lighting, water and heating that keep running without the link.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    parser.add_argument("--version", action="version", version=f"bocage {VERSION}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=CommandParser)
    _add_commands(commands, next(iter(sys.argv[1:] if arguments is None else arguments), ""))
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal or locale that lacks an accent gets ? in its place
        sys.stdout.reconfigure(errors="replace")
    options = parser.parse_args(arguments)
    is_run = options.run.__name__ == "run_agent"
    try:
        return int(options.run(options))
    except BrokenPipeError:
        raise
    except ConfigError as error:
        return _ends("\n".join(map(shown, error.problems)), CONFIGURATION if is_run else WRONG)
    except NoAgent as error:
        code = _ends(shown_lines(f"bocage: {error}", "  "), NO_AGENT)
        if isinstance(error, NotStarted):
            hint_start(options)
        return code
    except Busy as error:
        return _ends(shown_lines(f"bocage: {error}", "  "), BUSY if is_run else WRONG)
    except BocageError as error:
        return _ends(shown_lines(f"bocage: {error}", "  "), WRONG)
    except OSError as error:  # a file or folder that is not ours, or not what it should be
        text = shown(f"bocage: {error.filename or 'this command'}: {error.strerror or error}")
        return _ends(text, WRONG)


def _add_commands(commands: Any, wanted: str) -> None:
    """Add all commands. Those of other distributions' drivers take time to find: they are added where one is meant."""
    for name in _COMMANDS:
        importlib.import_module(f"agent.cli.{name}").add(commands)
    for reference in dict.fromkeys(driver.commands for driver in built_in().values() if driver.commands):
        load(reference)(commands)
    for name in _LAST_COMMANDS:
        importlib.import_module(f"agent.cli.{name}").add(commands)
    if wanted and not wanted.startswith("-") and wanted not in commands.choices:
        drivers = (find(bus_type) for bus_type in foreign())
        references = dict.fromkeys(driver.commands for driver in drivers if driver is not None and driver.commands)
        failed = [why for reference in references if (why := _add_foreign(commands, reference))]
        if wanted not in commands.choices:
            for why in failed:
                print(shown(f"bocage: the commands of a driver cannot be used: {why}"), file=sys.stderr)


def _add_foreign(commands: Any, reference: str) -> str:
    """Add the commands of another distribution's driver; return "", or why they cannot be used."""
    add, why = loads(reference)
    if add is None:
        return why
    try:
        add(commands)
    except Exception as error:  # noqa: BLE001  it costs its own commands only
        return f"{reference}: {said(error)}"
    return ""


def _ends(text: str, code: int) -> int:
    with suppress(BrokenPipeError):
        print(text, file=sys.stderr)
        if code != CONFIGURATION:  # a service runs as the user that systemd sets: sudo would not help
            hint_sudo(text)
    return code
