"""`make bench`: every number that is promised, measured on this machine, beside a plain script.

python -m tests.bench [--only load,rtu] [--out bench-result.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.items import ITEMS, Row


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", default=",".join(ITEMS), help=f"some of {', '.join(ITEMS)}")
    parser.add_argument("--out", type=Path, default=Path("bench-result.json"), help="JSON of the same")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(ITEMS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(ITEMS)}")
    rows, failed = measure(names)
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(table(rows))
    document = {"machine": machine(), "rows": [row.as_json() for row in rows], "failed": failed}
    options.out.write_text(json.dumps(document, indent=2) + "\n")
    print(f"also in {options.out}")
    return 1 if failed else 0


def measure(names: Sequence[str]) -> tuple[list[Row], dict[str, str]]:
    """All rows, and what could not be measured: one item's failure does not cost the others."""
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for name in names:
        began = time.monotonic()
        # On a disk, not on a tmpfs: bytes that go to memory are not counted by the kernel.
        with tempfile.TemporaryDirectory(prefix=f"bocage-bench-{name}-", dir="/var/tmp") as folder:
            try:
                rows += ITEMS[name](Path(folder))
            except (RuntimeError, TimeoutError, ImportError, OSError, ValueError) as error:
                failed[name] = f"{type(error).__name__}: {error}"
                print(f"{name}: {failed[name]}", file=sys.stderr)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return rows, failed


def table(rows: Sequence[Row]) -> Table:
    drawn = Table(title=machine())
    for heading in ("", "ours", "plain script", "ratio", "goal"):
        drawn.add_column(heading, justify="left" if heading == "" else "right", no_wrap=True)
    for row in rows:
        goal = "" if row.goal is None else f"≤ {row.goal:g}" + (" of plain" if row.goal_is_ratio else f" {row.unit}")
        mark = {True: " ✓", False: " ✗", None: ""}[row.reached]
        drawn.add_row(row.item, number(row.ours, row.unit), number(row.plain, row.unit), number(row.ratio), goal + mark)
    return drawn


def number(value: float | None, unit: str = "") -> str:
    if value is None:
        return "-"
    text = f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def machine() -> str:
    return (
        f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}, Linux {platform.release()}"
    )


sys.exit(main())
