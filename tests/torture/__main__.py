"""`make torture`: every fault that the guarantees name, done for real, and the account of what became of each reading.

python -m tests.torture [--long] [--only kill,flash] [--out torture-result.json]
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agent.errors import BocageError
from tests.torture.rig import Unsettled, Verdict
from tests.torture.rows import ROWS, Scale

_COLUMNS = ("kills", "made", "delivered", "duplicates", "gaps", "lost", "edges unasked", "twice")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--long", action="store_true", help="more of everything: an hour or so")
    parser.add_argument("--only", default=",".join(ROWS), help=f"some of {', '.join(ROWS)}")
    parser.add_argument("--out", type=Path, default=Path("torture-result.json"), help="JSON of the same")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(ROWS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    scale = Scale.LONG if options.long else Scale.USUAL
    logging.getLogger("bocage").setLevel(logging.CRITICAL)  # of what is opened in this process; the agents have logs
    results = {}
    waiting = Console(stderr=True)
    for done, name in enumerate(names, 1):
        began = time.monotonic()
        with waiting.status(f"{done} of {len(names)}: {ROWS[name].fault}"):
            results[name] = run(name, scale)
        seconds = round(time.monotonic() - began)
        print(f"{name} ({seconds} s): {_line(results[name])}", flush=True)
        for what in results[name].broken:
            print(f"    FAILED: {what}", flush=True)
    Console(width=None if sys.stdout.isatty() else 150).print(_table(results))
    options.out.write_text(json.dumps({name: vars(found) for name, found in results.items()}, indent=1) + "\n")
    return 1 if any(found.broken for found in results.values()) else 0


def run(name: str, scale: Scale) -> Verdict:
    """One row in a folder of its own, on a disk. A row that cannot be run here has failed."""
    with tempfile.TemporaryDirectory(prefix=f"bocage-torture-{name}-", dir="/var/tmp") as folder:
        try:
            return ROWS[name].run(Path(folder), scale)
        except (AssertionError, Unsettled, OSError, TimeoutError, subprocess.SubprocessError, BocageError) as error:
            return Verdict(broken=[f"{type(error).__name__}: {error}"])


def _line(found: Verdict) -> str:
    return ", ".join(f"{name} {value}" for name, value in found.figures.items()) or "no figures"


def _table(results: dict[str, Verdict]) -> Table:
    table = Table(title="what was done, and what became of it")
    for heading in ("fault", *_COLUMNS, "holds"):
        table.add_column(heading, justify="left" if heading in ("fault", "holds") else "right")
    for name, found in results.items():
        figures = (f"{found.figures[column]:,}" if column in found.figures else "-" for column in _COLUMNS)
        table.add_row(ROWS[name].fault, *figures, "no" if found.broken else "yes", style="red" if found.broken else "")
    return table


if __name__ == "__main__":
    sys.exit(main())
