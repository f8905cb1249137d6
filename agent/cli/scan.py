"""`bocage scan`: which unit ids answer on a bus, and with which settings of the line."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

from agent.cli.beside import owner
from agent.cli.common import SitePlace, add_command, add_folders, place
from agent.core.trial import line_settings
from agent.errors import BocageError, WireError
from agent.lib.screen import shown, shown_lines
from agent.runtime.socket import NoAgent, SocketClient, connect
from drivers.api import BusSpec, Scan
from drivers.registry import fault, find

__all__ = ["add"]

_EXAMPLES = """\
  bocage scan site.yaml rs485-1                              all unit ids, with the settings of the file
  bocage scan site.yaml rs485-1 --ids 1-20 --timeout 200ms
  bocage scan site.yaml rs485-1 --baudrates 9600,19200 --parities N,E
  bocage scan site.yaml plant --json                         one object a line, as they are found
"""
_USAGE = 2
_SETTINGS = ("baudrate", "parity", "stopbits")
"""The settings of a line that can be tried, if a bus has them."""

Settings = Mapping[str, Any]
"""baudrate, parity and stopbits of a line; nothing for a bus over TCP."""
Look = Mapping[str, Any]
"""The result for one unit id: unit_id, the line's settings, and ms until the answer (None: no answer)."""


def add(commands: Any) -> None:
    parser = add_command(commands, "scan", "find the unit ids that answer on a bus", _EXAMPLES)
    add_folders(parser)
    parser.add_argument("bus", metavar="BUS", help="a bus of the site file")
    parser.add_argument("--ids", metavar="1-247", type=_ids,
                        help="1,3,10-20 (default 1-247; over TCP 255 and 0 first)")  # fmt: skip
    parser.add_argument("--baudrates", metavar="9600,19200", type=_listed(_baudrate),
                        help="default: the file's; others only while no agent runs")  # fmt: skip
    parser.add_argument("--parities", metavar="N,E,O", type=_listed(_parity), help="default: the file's")
    parser.add_argument("--stopbits", metavar="1,2", type=_listed(_stopbits), help="default: the file's")
    parser.add_argument("--timeout", metavar="500ms", type=_seconds,
                        help="how long to wait for each answer, at most 10s (default: the bus's)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object a line, as they are found")
    parser.set_defaults(run=scan)


def scan(options: argparse.Namespace) -> int:
    """Return 0 if a device answered, 1 if none did or the bus cannot be opened."""
    where = place(options)
    spec = _spec(where, options.bus)
    how = _how(spec.type)
    assert how is not None
    options.ids = options.ids or how.ids
    wanted = _wanted(options, spec, how)
    if isinstance(wanted, str):
        print(f"bocage: {wanted}", file=sys.stderr)
        return _USAGE
    logging.getLogger("bocage").addHandler(logging.NullHandler())  # what is logged is said below
    return asyncio.run(_scan(options, where, spec, wanted, how.hint))


def _spec(where: SitePlace, name: str) -> BusSpec:
    """The bus as its driver takes it, without devices: nothing is polled here."""
    from agent.lib.suggestion import did_you_mean
    from agent.site.language.problems import listed

    bus = where.site.buses.get(name)
    buses = [found for found, one in where.site.buses.items() if _how(one.type) is not None]
    if bus is None:
        near = did_you_mean(name, where.site.buses)
        hint = near or (f"there is {listed(buses, 'and')}" if buses else "there is no bus in it that can be scanned")
        raise BocageError(f'unknown bus "{name}" in {where.path}; {hint}')
    if why := fault(bus.type):
        raise BocageError(f"the driver of {bus.type} cannot be used: {why}")
    if _how(bus.type) is None:
        others = f"; {listed(buses, 'and')} can be scanned" if buses else ""
        raise BocageError(f"{name} is a bus of type {bus.type}: there are no unit ids to look for{others}")
    return BusSpec(name, bus.type, bus.model_dump(exclude={"type"}, exclude_none=True), ())


def _how(bus_type: str) -> Scan | None:
    """How buses of a type are scanned; None if they cannot be."""
    driver = find(bus_type)
    return None if driver is None else driver.scan


def _wanted(options: argparse.Namespace, spec: BusSpec, how: Scan) -> list[Settings] | str:
    """The settings to try, or what is wrong with the arguments."""
    beyond = [unit for unit in options.ids if unit not in how.allowed]
    if beyond:
        return f"{spec.name} {how.refusal.format(id=beyond[0])}"
    given = {"--baudrates": options.baudrates, "--parities": options.parities, "--stopbits": options.stopbits}
    line = line_settings(spec)
    if not line:
        wrong = [option for option, values in given.items() if values]
        if wrong:
            return f"{spec.name} goes over TCP: leave {' and '.join(wrong)} out, only unit ids can be tried"
        return [{}]
    for key, (option, values) in zip(_SETTINGS, given.items(), strict=True):
        if values and key not in spec.options:
            return f"buses of type {spec.type} have no key {key}: leave {option} out"
    values = [values or (line[key],) for key, values in zip(_SETTINGS, given.values(), strict=True)]
    return [dict(zip(_SETTINGS, found, strict=True)) for found in itertools.product(*values)]


async def _scan(
    options: argparse.Namespace, where: SitePlace, spec: BusSpec, wanted: Sequence[Settings], hint: str
) -> int:
    refused = False
    found = _Found(options.json, _devices(where, spec.name), line_settings(spec))
    with _bar(len(wanted) * len(options.ids)) as bar:
        async with _agent(where, spec) as (agent, name):
            for settings in wanted if agent is None else _allowed(spec, wanted):
                bar(f"{spec.name} {_line(settings)}".rstrip(), 0)
                looks = _alone(options, spec, settings) if agent is None else _ask(agent, options, name)
                try:
                    async for look in looks:
                        bar(None, 1)
                        found.show(look)
                except WireError as error:  # such as a parity that the port does not have: others may do
                    print(shown_lines(f"bocage: {error}", "  "), file=sys.stderr)
                    refused = True
    if not found.count and not refused:
        print(f"bocage: no device answers on {spec.name}{'; ' * bool(hint)}{hint}", file=sys.stderr)
    return 0 if found.count else 1


@asynccontextmanager
async def _agent(where: SitePlace, spec: BusSpec) -> AsyncIterator[tuple[SocketClient | None, str]]:
    """The agent that has the wire of this bus, and what it calls the bus; None if none runs, or it has no such wire."""
    async with AsyncExitStack() as stack:
        try:
            agent = await stack.enter_async_context(connect(where.runtime, where.site.site.id))
            name = await owner(agent, spec)  # NoAgent if it is another site's
        except NoAgent:
            name = None
        yield (None, spec.name) if name is None else (agent, name)


def _allowed(spec: BusSpec, wanted: Sequence[Settings]) -> Sequence[Settings]:
    """Settings that can be tried while the agent polls: the line's own."""
    line = line_settings(spec)
    others = [settings for settings in wanted if any(line[key] != settings[key] for key in settings)]
    if others:
        raise BocageError(
            f"the agent runs and keeps {spec.name} at {_line(line)}; stop it to try {', '.join(map(_line, others))}"
        )
    return wanted


async def _ask(agent: SocketClient, options: argparse.Namespace, bus: str) -> AsyncIterator[Look]:
    """The running agent looks, between its own questions; one unit id at a time, so that it ends when we do."""
    for unit in options.ids:
        yield await agent.request({"do": "scan", "bus": bus, "unit_id": unit, "timeout": options.timeout})


async def _alone(options: argparse.Namespace, spec: BusSpec, settings: Settings) -> AsyncIterator[Look]:
    """Straight from the wire, with these settings of the line."""
    from agent.cli.direct import scan_once

    tried = {key: value for key, value in settings.items() if key in spec.options}
    spec = replace(spec, options={**spec.options, **tried})
    async with aclosing(scan_once(spec, options.ids, options.timeout)) as looks:
        async for look in looks:
            yield look


def _devices(where: SitePlace, bus: str) -> dict[int | None, str]:
    """The devices of the file on a bus, by the key that names them there."""
    model, found = where.site.buses[bus], {}
    for name, device in where.site.devices.items():
        if device.bus == bus:
            found[next(iter(model.address(device).values()), None)] = name
    return found


class _Found:
    """Prints each device that answered, when it is found.

    `devices` are those of the site file, by unit id; `line` the settings of a serial line.
    """

    def __init__(self, as_json: bool, devices: Mapping[int | None, str], line: Settings) -> None:
        self.count = 0
        self._json, self._devices, self._settings = as_json, devices, line

    def show(self, look: Look) -> None:
        other = look.get("answers_as")
        if look["ms"] is None and other is None:
            return
        self.count += 1
        if self._json:
            print(json.dumps(look), flush=True)
            return
        name = self._devices.get(look["unit_id"], "not in the site file")
        settings = _line({**self._settings, **look})
        line = f"{settings}  " if settings else ""
        how = f"{look['ms']:>6} ms" if other is None else f"answers as unit {other}"
        print(shown(f"unit {look['unit_id']:>3}  {line}{how}  {name}"), flush=True)


def _line(settings: Settings) -> str:
    """`9600 baud 8N1`; nothing for a bus over TCP."""
    if settings.get("baudrate") is None:
        return ""
    return f"{settings['baudrate']} baud {settings.get('bytesize', 8)}{settings['parity']}{settings['stopbits']}"


@contextmanager
def _bar(total: int) -> Iterator[Callable[[str | None, int], None]]:
    """A progress bar on a terminal's standard error: called with a new title or None, and how many more are done."""
    if not sys.stderr.isatty():
        yield lambda _title, _done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    # what is found goes above the bar on a terminal, and straight to a file or a pipe
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        task = progress.add_task("", total=total)
        yield lambda title, done: progress.update(task, description=title, advance=done)


def _ids(text: str) -> tuple[int, ...]:
    found: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,3})\s*(?:-\s*(\d{1,3})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not match or not 0 <= first <= last <= 255:
            raise argparse.ArgumentTypeError(f"{text!r} is no list of unit ids; write 1-247 or 1,3,10-20")
        found |= dict.fromkeys(range(first, last + 1))
    return tuple(found)


def _listed(one: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    return lambda text: tuple(dict.fromkeys(one(part.strip()) for part in text.split(",")))


def _baudrate(text: str) -> int:
    if not text.isdecimal() or not 300 <= int(text) <= 4_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no baud rate; write 9600,19200")
    return int(text)


def _parity(text: str) -> str:
    if text.upper() not in {"N", "E", "O"}:
        raise argparse.ArgumentTypeError(f"{text!r} is no parity; write N, E or O")
    return text.upper()


def _stopbits(text: str) -> int:
    if text not in {"1", "2"}:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of stop bits; write 1 or 2")
    return int(text)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(ms|s)", text)
    seconds = float(match[1]) * (0.001 if match[2] == "ms" else 1) if match else 0.0
    if not 0 < seconds <= 10:
        raise argparse.ArgumentTypeError(f"{text!r} is no time up to 10s; write 200ms or 1s")
    return seconds
