"""`bocage demo`: a village on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from agent.cli.common import add_command
from agent.errors import BocageError

__all__ = ["add"]

_EXAMPLES = """\
  bocage demo                  live in the terminal, until q or Ctrl-C
  bocage demo --seconds 90     ends by itself, with the count of what was delivered
  bocage demo --speed 600      a day of the village passes in 2.4 minutes
  bocage demo --devices-only   the devices alone, for mbpoll and the like
  bocage demo --site config/village.yaml --speed 600
                               a site file on simulated devices: this one has all that there is
  bocage demo inter-sites      a reservoir and its well in two villages, and the link between them cut
"""


def add(commands: Any) -> None:
    summary = "run a village on this machine: real protocols, simulated devices, a link that fails"
    parser = add_command(commands, "demo", summary, _EXAMPLES)
    parser.add_argument("what", nargs="?", choices=("village", "inter-sites"), default="village",
                        help="default: village")  # fmt: skip
    parser.add_argument("--site", type=Path, metavar="FILE",
                        help="run this site file instead: Modbus and GPIO simulated, told line by line")  # fmt: skip
    parser.add_argument("--seconds", type=_seconds, metavar="N", help="end after N seconds (at least 10)")
    parser.add_argument("--speed", type=_speed, default=1.0, metavar="N", help="run the village's time N times as fast")
    parser.add_argument("--devices-only", action="store_true", help="no agent and no broker")
    parser.add_argument("--plain", action="store_true", help="a line a second instead of the live view")
    parser.set_defaults(run=demo)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if seconds < 10:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 10 up")
    return seconds


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 1 <= speed <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000")
    return speed


def demo(options: argparse.Namespace) -> int:
    """0 only if nothing was lost."""
    from agent.demo.run import first_port, run

    if options.site is not None:
        return _any_site(options)
    if options.what == "inter-sites":
        from agent.demo.inter_sites import run as run_inter_sites

        return run_inter_sites(options.seconds, first_port(4))
    return run(options.seconds, options.plain, options.devices_only, options.speed)


def _any_site(options: argparse.Namespace) -> int:
    if options.devices_only or options.what != "village":
        raise BocageError("--site runs one site file with its agent: leave out inter-sites and --devices-only")
    from agent.demo.any_site import run

    return run(options.site, options.seconds, options.speed)
