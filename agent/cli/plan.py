"""`bocage plan`: what a site will do on given days, before the box leaves the workshop."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.common import SITE_HELP, add_command
from agent.cli.narrow import wrapped
from agent.lib.screen import shown, shown_json

if TYPE_CHECKING:
    from agent.planning.programme import SitePlan

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
    from agent.planning.build import site_plan
    from agent.site.loader import load

    site = site_plan(load(options.site))
    first = options.first or datetime.now(site.calendar.zone).date()
    ends = site.ends(first, options.days)
    if ends is not None:
        print(f"bocage: the table of school holidays ends on {ends}; after it there are none", file=sys.stderr)
    if options.plot is not None:
        from agent.planning.plot import draw

        options.plot.write_text(draw(site, first, max(YEAR, options.days)), encoding="utf-8")
        print(f"{options.plot} is written", file=sys.stderr)
    if options.json:
        print(shown_json(site.document(first, options.days), indent=2))
    elif options.csv:
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(_COLUMNS)
        table.writerows(_rows(site.document(first, options.days)))
    elif options.plot is None:
        for line in _lines(site, site.document(first, options.days)):
            print(wrapped(shown(line)))
    return 0


def _rows(plan: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """A line a segment, with the night's sums on its first; a night without light is a line without times."""
    for name, circuit in plan["circuits"].items():
        for night in circuit["nights"]:
            sums: tuple[Any, ...] = (night["minutes"], night["kwh"])
            for segment in night["segments"] or [{"on": None, "off": None}]:
                yield "lighting", name, night["night"], segment["on"], segment["off"], None, None, *sums
                sums = (None, None)
    for name, periods in plan["water"].items():
        for one in periods:
            yield "water", name, None, one["from"], one["to"], "open", None, None, None
    for name, periods in plan["heating"].items():
        for one in periods:
            yield "heating", name, None, one["from"], one["to"], one["mode"], one["setpoint"], None, None


def _lines(_site: SitePlan, plan: dict[str, Any]) -> Iterator[str]:
    """For people."""
    yield f"{plan['site']}, {plan['days']} days from {plan['from']}"
    for name, circuit in plan["circuits"].items():
        yield ""
        yield f"{name}  {_sums(circuit)}"
        for night in circuit["nights"]:
            segments = "  ".join(f"{_time(one['on'])}-{_time(one['off'])}" for one in night["segments"])
            yield f"  {_day(night['night'])}  {night['minutes']:6.1f} min{_energy(night)}  {segments or 'dark'}"
        whole = circuit["all_night"]
        yield f"  burning all night: {_sums(whole)}; {_saved(circuit, whole)}"
    for service in ("water", "heating"):
        for name, periods in plan[service].items():
            yield ""
            yield f"{name}  {'open' if service == 'water' else 'heating'}"
            for one in periods:
                start, end = one["from"], one["to"]
                mode = f"  {one['mode']} {one['setpoint']:g} degC" if "mode" in one else ""
                yield f"  {_day(start)} {_time(start)[:5]} to {_day(end)} {_time(end)[:5]}{mode}"


def _sums(amounts: dict[str, Any]) -> str:
    kwh = amounts["kwh"]
    return f"{amounts['minutes'] / 60:.1f} h" + ("" if kwh is None else f", {kwh:.2f} kWh")


def _energy(night: dict[str, Any]) -> str:
    return "" if night["kwh"] is None else f" {night['kwh']:7.2f} kWh"


def _saved(circuit: dict[str, Any], whole: dict[str, Any]) -> str:
    hours = (whole["minutes"] - circuit["minutes"]) / 60
    if whole["kwh"] is None:
        return f"saved {hours:.1f} h"
    kwh = whole["kwh"] - circuit["kwh"]
    share = f" ({100 * kwh / whole['kwh']:.0f} %)" if whole["kwh"] else ""
    return f"saved {hours:.1f} h, {kwh:.2f} kWh{share}"


def _day(text: str) -> str:
    """Thu 15 Jan 2026."""
    return f"{datetime.fromisoformat(text):%a %d %b %Y}"


def _time(text: str) -> str:
    return text[11:19]


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
