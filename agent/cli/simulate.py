"""`bocage simulate`: a site's controls in virtual time, before the box leaves the workshop."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from agent.cli.common import SITE_HELP, add_command, add_json, told
from agent.errors import ConfigError
from agent.lib.screen import shown, shown_json
from agent.lib.timetext import local_text
from agent.runtime.report import TIME_UNKNOWN

__all__ = ["add"]

DAY, HOUR = 86400.0, 3600.0
PATIENCE = 1.0
"""Seconds after which a person wants to see that something goes on: many pulses take long on a single day, too."""


def add(commands: Any) -> None:
    simulate = add_command(
        commands,
        "simulate",
        "run the site's control in virtual time on a scenario, and show what it would switch and when",
        "  bocage simulate site.yaml frost-night.yaml\n  bocage simulate site.yaml frost-night.yaml --json",
    )
    simulate.add_argument("site", metavar="SITE.yaml", type=Path, help=SITE_HELP)
    simulate.add_argument("scenario", metavar="SCENARIO.yaml", type=Path, help="inputs, faults and commands")
    add_json(simulate)
    simulate.set_defaults(run=run_simulate)


def run_simulate(options: argparse.Namespace) -> int:
    from agent.simulate import read_scenario, simulate
    from agent.site.build import build_settings
    from agent.site.build.calendars import with_files
    from agent.site.loader import load

    site = load(options.site)
    scenario, problems = read_scenario(options.scenario, site)
    if scenario is None:
        raise ConfigError([str(problem) for problem in problems])
    for problem in problems:
        print(shown(problem), file=sys.stderr)
    buses = {name for name, bus in site.buses.items() if bus.is_radio}
    radio = frozenset(name for name, device in site.devices.items() if device.bus in buses)
    start, folder = scenario.start, options.scenario.absolute().parent
    start = start if start.tzinfo is not None else start.replace(tzinfo=ZoneInfo(site.site.timezone))
    served = {name: folder / file for name, file in scenario.calendars.items()}
    calendars = with_files(site, start, start + timedelta(seconds=scenario.duration), served)
    with _progress(scenario.duration) as reached:
        found = simulate(replace(build_settings(site), calendars=calendars), scenario, radio, reached)
    if options.json:
        print(shown_json(found))
    else:
        _print(found, ZoneInfo(site.site.timezone))
    return 0


@contextlib.contextmanager
def _progress(duration: float) -> Iterator[Callable[[float], object]]:
    """A bar once a person has waited for `PATIENCE`; nothing where standard error is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _at: None
        return
    begun = time.monotonic()
    with contextlib.ExitStack() as until_end:
        show: Callable[[float], object] | None = None

        def reached(at: float) -> None:
            nonlocal show
            if show is None and time.monotonic() - begun > PATIENCE:
                show = _bar(duration, until_end)
            if show is not None:
                show(at)

        yield reached


def _bar(duration: float, until_end: contextlib.ExitStack) -> Callable[[float], object]:
    """Return a function that draws the progress (s) as a bar; the bar is removed at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    unit, name = (DAY, "days") if duration >= DAY else (HOUR, "hours") if duration >= HOUR else (1.0, "seconds")
    columns = TextColumn(f"{{task.fields[of]:.0f}} of {duration / unit:.3g} {name}"), BarColumn(), TimeRemainingColumn()
    bar = until_end.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = bar.add_task("", total=duration, of=0)
    return lambda at: bar.update(task, completed=at, of=at / unit)


def _print(found: Mapping[str, Any], zone: ZoneInfo) -> None:
    """One line a switching and a happening, in order; then what it came to."""
    lines = [(one["t"], one["at"], _edge(one)) for one in found["edges"]]
    dropped = [one | {"priority": "", "cause": "power cut"} for one in found.get("dropped", [])]
    lines += [(one["t"], one["at"], _edge(one)) for one in dropped]
    lines += [(one["t"], one["at"], _event(one)) for one in found["events"]]
    for _, at, text in sorted(lines, key=lambda line: line[0]):
        print(shown(f"{at}  {text}"))
    print()
    for name, total in found["totals"].items():
        final = found["final"]["outputs"].get(name, {})
        told = f"now {_shown(final.get('value'))} by {final.get('priority')} ({final.get('cause')})"
        print(shown(f"{name:<16} on {total['on_s'] / 3600:8.2f} h, {total['starts']:5} starts, {_energy(total)}{told}"))
    for name, value in (found["final"]["points"] | found.get("accounts", {})).items():
        print(shown(f"{name:<32} {_shown(value)}"))
    for alarm in found["final"]["alarms"]:
        since = local_text(alarm["since"], zone)
        said = f"{alarm['severity']} {alarm['code']} {alarm['subject']}"
        print(shown(f"open: {said} since {since or TIME_UNKNOWN}"))
    if any(alarm["since"] is None for alarm in found["final"]["alarms"]):
        print("time unknown: the scenario says so (clock: untrusted, or the fault untrusted: clock)", file=sys.stderr)


def _energy(total: Mapping[str, Any]) -> str:
    """The energy of an output at each tariff, where that is known."""
    return "".join(f"{kwh:.2f} kWh {tariff}, " for tariff, kwh in total.get("kwh", {}).items())


def _edge(one: Mapping[str, Any]) -> str:
    return f"{one['actuator']:<16} {_shown(one['from'])} -> {_shown(one['to'])}  {one['priority']:>2} {one['cause']}"


def _event(one: Mapping[str, Any]) -> str:
    if one["kind"] == "outcome":
        return f"command {one['id']} on {one['subject']}: {one['code']} {one['reason']}".rstrip()
    detail = ", ".join(f"{key} {told(value)}" for key, value in one["detail"].items())
    return f"{one['kind']} {one['code']} {one['subject']} ({one['severity']}) {detail}".rstrip()


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "?" if value is None else f"{value:g}" if isinstance(value, int | float) else str(value)
