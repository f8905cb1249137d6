"""`make simulate`: many lives, a seed each, and what broke in them. See docs/simulation.md."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.simulation import options
from tests.simulation.kinds import kinds
from tests.simulation.notes import first_moment, last_before
from tests.simulation.reached import executable
from tests.simulation.runner import WORLDS, Job, forked, prepare, sort_of, sorts, verdict, with_fixed_hashes
from tests.simulation.shrink import LONGEST, shrink

TRACED = 10
"""One seed of so many tells which lines ran."""
SHRUNK = 3
"""Failing seeds that are made small, of promises that were not seen broken before."""
SORTS = 5
"""Kinds of broken promises that are told of a seed."""
PLAIN = 20.0
"""Seconds between two lines where there is no terminal."""


class Sums:
    """What all seeds did."""

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        self.seeds = self.lives = self.readings = 0
        self.hours = self.cpu = 0.0
        self.lines: dict[str, set[int]] = {}
        self.failed: list[tuple[Job, dict[str, Any]]] = []
        self.began = time.monotonic()

    def add(self, job: Job, result: dict[str, Any]) -> None:
        self.seeds += 1
        self.faults.update(result.get("faults", {}))
        self.hours += result.get("hours", 0.0)
        self.cpu += result.get("cpu", 0.0)
        self.lives += result.get("lives", 0)
        self.readings += result.get("readings", 0)
        for name, lines in result.get("lines", {}).items():
            self.lines.setdefault(name, set()).update(lines)
        if result["broken"]:
            self.failed.append((job, result))

    @property
    def speed(self) -> float:
        """Simulated hours a second of the wall."""
        return self.hours / max(time.monotonic() - self.began, 1e-9)

    def line(self, of: int) -> str:
        return f"{self.seeds} of {of} seeds, {len(self.failed)} broken, {self.hours:.0f} h, {self.speed:.1f} h/s"

    def reached(self) -> dict[str, tuple[int, int]]:
        """Lines of functions that ran and that there are, by file, of the modules that ran at all."""
        there = executable()
        return {name: (len(lines & there[name]), len(there[name])) for name, lines in self.lines.items()}


@contextmanager
def screen(sums: Sums, of: int) -> Iterator[Any]:
    """Called after each seed, with what is to be said of it: a bar on a terminal, a line now and then elsewhere."""
    if not sys.stdout.isatty():
        last = [time.monotonic()]

        def plainly(news: str = "") -> None:
            if news:
                print(news, flush=True)
            if time.monotonic() - last[0] >= PLAIN:
                last[0] = time.monotonic()
                print(sums.line(of), flush=True)

        yield plainly
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = BarColumn(), MofNCompleteColumn(), TextColumn("seeds  {task.description}"), TimeRemainingColumn()
    with Progress(*columns) as bar:
        task = bar.add_task("", total=of)

        def with_bar(news: str = "") -> None:
            if news:
                bar.console.print(news, markup=False, highlight=False, soft_wrap=True)
            about = f"{len(sums.failed)} broken, {sums.hours:.0f} h, {sums.speed:.1f} h/s"
            bar.update(task, completed=sums.seeds, description=about)

        yield with_bar


def tell_sums(sums: Sums) -> None:
    rate, load = sums.hours / max(sums.cpu, 1e-9), sums.readings / max(60 * sums.hours, 1e-9)
    print(f"{sums.seeds} seeds, {len(sums.failed)} broken: {sums.hours:.1f} h in {sums.lives} lives, "
          f"{sums.readings} numbers, {load:.0f} a minute; {sums.speed:.1f} h/s, {rate:.2f} h a CPU second")  # fmt: skip
    print(f"faults: {', '.join(f'{name} {n}' for name, n in sums.faults.most_common()) or 'none'}")
    if sums.lines:
        found = sums.reached()
        seen, there = (sum(column) for column in zip(*found.values(), strict=True))
        whole = sum(map(len, executable().values()))
        print(f"reached: {seen} lines, {100 * seen // there} % of the modules of agent/ that run, "
              f"{100 * seen // whole} % of all of agent/ (lines of functions, in one seed of {TRACED})")  # fmt: skip


def tell_failure(job: Job, result: dict[str, Any]) -> None:
    """One failing seed: what broke, and what repeats it."""
    print(f"\nseed {job.seed}: {len(result['broken'])} broken")
    tell_broken(result)
    print(f"  repeat: {job.command}", flush=True)


def tell_broken(result: dict[str, Any]) -> None:
    """The first of each kind of broken promise, in the order in which they were seen."""
    counted = Counter(map(sort_of, result["broken"]))
    for what, n in list(counted.items())[:SORTS]:
        first = next(one for one in result["broken"] if sort_of(one) == what)
        first = first if first.startswith("Traceback") else first[:400]
        print(f"    {first}{f'  (and {n - 1} of the kind)' if n > 1 else ''}")
    if len(counted) > SORTS:
        print(f"    and {len(counted) - SORTS} kinds more")


def tell_small(job: Job, result: dict[str, Any]) -> None:
    """The same made small, and what came before."""
    print(f"\nseed {job.seed} is made small, for about {LONGEST:.0f} s ...", flush=True)
    began = time.monotonic()
    less, found = shrink(job, result, verdict, LONGEST)
    if time.monotonic() - began > LONGEST:
        print("  the time was over; more may be left out")
    print(f"  small:  {less.command}" if less != job else "  it does not get smaller")
    noted = verdict(replace(less, notes=True))
    if found.get("digest") != noted.get("digest"):
        print("    it went another way when it was repeated: the simulation is not deterministic here")
    if less != job:
        print("  what breaks in the small one:")
        tell_broken(noted)
    print("  last events of the small one:" if less != job else "  last events:")
    for line in last_before(noted.get("notes", ()), first_moment(noted["broken"])):
        print(f"    {line[:200]}")


def keep(sums: Sums, path: Path) -> None:
    """For whoever looks at many runs: everything in one file."""
    reached = {name: {"lines": seen, "of": there} for name, (seen, there) in sorted(sums.reached().items())}
    failed = [
        {"seed": job.seed, "hours": job.hours, "repeat": job.command, "kinds": result.get("kinds", []),
         "broken": result["broken"][:20]}
        for job, result in sums.failed
    ]  # fmt: skip
    document = {
        "seeds": sums.seeds, "hours": round(sums.hours, 2), "cpu_s": round(sums.cpu, 1), "lives": sums.lives,
        "numbers": sums.readings, "faults": dict(sums.faults.most_common()), "failed": failed, "reached": reached,
    }  # fmt: skip
    path.write_text(json.dumps(document, indent=1) + "\n")


def simulate(asked: argparse.Namespace) -> int:
    prepare(asked.world)
    seeds = range(asked.first, asked.first + asked.seeds)
    jobs = (Job(seed, asked.hours, asked.only, asked.world, lines=not asked.digests and at % TRACED == TRACED - 1)
            for at, seed in enumerate(seeds))  # fmt: skip
    sums, ended = Sums(), False
    with screen(sums, len(seeds)) as show, suppress(KeyboardInterrupt):
        for job, result in forked(jobs, asked.jobs):
            sums.add(replace(job, lines=False), result)
            if asked.digests:
                print(job.seed, result.get("digest"), flush=True)
            else:
                show(f"seed {job.seed} broke: {result['broken'][0].splitlines()[-1][:200]}" if result["broken"] else "")
        ended = True
    if not ended:
        print(f"\nstopped after {sums.seeds} of {len(seeds)} seeds")
    if not asked.digests:
        tell_sums(sums)
    if asked.out:
        keep(sums, Path(asked.out))
    tell_failures(sums, asked.shrink and ended and not asked.digests)
    return bool(sums.failed) if ended else 130


def tell_failures(sums: Sums, shrunk: bool) -> None:
    """All of them first: to make them small takes its time."""
    known, new = set[str](), []
    for job, result in sorted(sums.failed, key=lambda one: one[0].seed):
        tell_failure(job, result)
        if sorts(result["broken"]) - known:
            new.append((job, result))
        known |= sorts(result["broken"])
    for job, result in new[:SHRUNK] if shrunk else ():
        tell_small(job, result)


def main() -> int:
    asked = options.parser("python -m tests.simulation", __doc__, 100, "how many")
    asked.add_argument("--hours", type=options.hours, default=1.0, help="with faults; some more without follow (1)")
    asked.add_argument("--only", help="these kinds of faults for those that each seed draws; `help` tells of each")
    asked.add_argument("--world", choices=WORLDS, default="agent", help="what lives in it")
    asked.add_argument("--no-shrink", action="store_false", dest="shrink", help="say what broke, and no more")
    asked.add_argument("--digests", action="store_true", help="a line a seed: its digest")
    given = asked.parse_args()
    known = kinds(given.world)
    if given.only == "help":
        print("\n".join(f"{name:16} {what}" for name, what in known.items()))
        return 0
    try:
        given.only = given.only if given.only is None else options.names(known, "kind of fault")(given.only)
    except argparse.ArgumentTypeError as error:
        asked.error(f"argument --only: {error}")
    return simulate(given)


if __name__ == "__main__":
    with_fixed_hashes("tests.simulation")
    with options.interruptible():
        sys.exit(main())
