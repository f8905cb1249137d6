"""`bocage plan`: what a site will do on given days, before the box leaves the workshop."""

from __future__ import annotations

import argparse
import csv
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any

from agent.cli.common import SITE_HELP, add_command
from agent.cli.narrow import wrapped
from agent.lib.screen import shown, shown_json

__all__ = ["add"]

YEAR = 365
LONGEST = 3660
"""Days that one plan may have."""
_COLUMNS = ("service", "name", "night", "from", "to", "mode", "setpoint", "minutes", "kwh")


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "plan",
        "show the burning hours, opening hours and heating modes of the coming days, and what they save",
        "  bocage plan site.yaml                                   the next seven days\n"
        "  bocage plan site.yaml --from 2026-01-15 --days 12 --json\n"
        "  bocage plan site.yaml --from 2026-01-01 --days 365 --csv > year.csv\n"
        "  bocage plan site.yaml --from 2026-01-01 --plot year.svg   a picture of a year",
    )
    parser.add_argument("site", metavar="SITE.yaml", type=Path, help=SITE_HELP)
    parser.add_argument("--from", dest="first", metavar="DATE", type=_date, help="the first night (default: today)")
    parser.add_argument("--days", metavar="N", type=_days, default=7, help="how many (default: 7)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object, for programs")
    form.add_argument("--csv", action="store_true", help="one line a segment or period, for a spreadsheet")
    parser.add_argument("--plot", metavar="FILE.svg", type=_picture, help="a year from the first night, day by hour")
    parser.set_defaults(run=run_plan)


def run_plan(options: argparse.Namespace) -> int:
    from agent.planning.site import site_plan
    from agent.site.loader import load

    site = site_plan(load(options.site))
    first = options.first or datetime.now(site.calendar.zone).date()
    ends = site.ends(first, options.days)
    if ends is not None:
        print(f"bocage: the table of school holidays ends on {ends}; after it there are none", file=sys.stderr)
    for name in site.not_read:
        print(f"bocage: {name} is a calendar on a server, which is not fetched here: it counts as not known",
              file=sys.stderr)  # fmt: skip
    if options.plot is not None:
        options.plot.write_text(site.draw(first, max(YEAR, options.days)), encoding="utf-8")
        print(f"{options.plot} is written", file=sys.stderr)
    if options.json:
        print(shown_json(site.document(first, options.days), indent=2))
    elif options.csv:
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(_COLUMNS)
        table.writerows(site.rows(site.document(first, options.days)))
    elif options.plot is None:
        for line in site.lines(site.document(first, options.days)):
            print(wrapped(shown(line)))
    return 0


def _date(text: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = date.min
    if not 1900 <= found.year <= 2199:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; write year-month-day, such as 2026-01-15")
    return found


def _picture(text: str) -> Path:
    if not text.lower().endswith(".svg"):
        raise argparse.ArgumentTypeError(f"{text!r}: the picture is an SVG; write a name such as year.svg")
    return Path(text)


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 1 to {LONGEST}")
    return int(text)
