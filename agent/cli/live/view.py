"""The live view: one status document of the agent, drawn with rich. This module draws and asks nothing.

`frame` fills a terminal from 80x24 up with what fits, and says in words what it also says in colour (`page.page` leaves
nothing out, and scrolls). `line` is the same in one line, for a place without a terminal. `svg` is the picture of a
frame.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.layout import Layout
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from agent.lib.screen import cleaned, shown
from agent.model import BusState, LinkState
from agent.runtime.report import TIME_UNKNOWN, time_help, zone_of

__all__ = [
    "Section", "Status", "actuator", "actuators_table", "alarm_lines", "frame", "header", "in_order", "line",
    "points_table", "quality_style", "sides", "span", "svg", "trouble", "uplink_lines", "urgency", "value",
]  # fmt: skip

Status = Mapping[str, Any]
"""The agent's answer to `{"do": "status"}`."""

_GOOD, _WARN, _BAD, _DIM = "green", "bold yellow", "bold white on red", "bright_black"
_QUALITY = {"good": _GOOD, "stale": _WARN, "bad": _BAD}
_LINK: Mapping[str, str] = {
    LinkState.CONNECTED: _GOOD,
    LinkState.CONNECTING: _WARN,
    LinkState.WAITING: _BAD,
    LinkState.OFF: _DIM,
}
_WELL = ("", "steady", "applied", "verified")
_WRONG = ("mismatch", "failed", "unknown")
_BUS = {BusState.UP: _GOOD, BusState.DOWN: _BAD}
_SEVERITY = {"critical": _BAD, "major": _BAD, "minor": _WARN}
_ALARMS = 5  # lines
_BAR = 20  # cells
_DEVICES = 2  # the rank of what is good, and no signal
_LONGEST = 9  # characters of a text among numbers
_SMALLEST_BAR = 100  # readings: what a full bar stands for, at least


def frame(status: Status, notes: Sequence[str] = ()) -> RenderableType:
    """A whole screen. `notes` are lines of the caller under the header (the demo's)."""
    status, notes = cleaned(status), [shown(note) for note in notes]
    link = _Lines([*(Text(note, "bold") for note in [*notes, *trouble(status)]), *uplink_lines(status)])
    screen = Layout()
    screen.split_column(
        Layout(_head(status), size=1),
        Layout(_Values(status), ratio=3, minimum_size=8),
        Layout(Section("uplink", link), size=len(link) + 1),
        Layout(Section("log", _Tail(status.get("log") or [])), ratio=1, minimum_size=4),
    )
    return screen


def _configuration(status: Status) -> list[str]:
    """The problem of the site file, without its folder, so that the message has room."""
    config = status.get("config") or {}
    said = (("invalid", "the one applied before runs"), ("outdated", "it goes on"))
    return [
        f"{Path(one['file']).name}:{one['line']}:{one['column']}: {one['message']} ({then})"
        for key, then in said
        if (one := config.get(key))
    ]


def trouble(status: Status) -> list[str]:
    """The agent's own problems, and their remedies."""
    undated = [time_help(False)] if status.get("clock") == "unsynced" else []
    return [*_configuration(status), *undated]


def line(status: Status) -> str:
    """The same in one line: time, points that are good, uplink, what waits, and what is wrong with the site file."""
    status = cleaned(status)
    points = status.get("points") or []
    good = sum(1 for point in points if point["quality"] == "good")
    uplink, outbox = status.get("uplink") or {}, status.get("outbox") or {}
    up = sum(1 for bus in status.get("buses") or [] if bus["state"] == BusState.UP)
    now = _moment(status.get("at"), zone_of(status))
    on = " ".join(item["name"] for item in status.get("actuators") or [] if switched(item["value"]) == "on")
    return (
        f"{now} points {good}/{len(points)} good, buses {up} up, on: {on or '-'}, "
        f"uplink {uplink.get('state', 'off')} {_latency(uplink)}, {outbox.get('rows', 0)} waiting, "
        f"{_hours(outbox.get('hours_left'))}"
        + "".join(f", {wrong}" for wrong in _configuration(status))
    )


def svg(status: Status, notes: Sequence[str] = (), width: int = 108, height: int = 34) -> str:
    """A picture of the frame, for documents."""
    console = Console(record=True, width=width, height=height, file=io.StringIO(), force_terminal=True)
    console.print(frame(status, notes))
    return console.export_svg(title=shown(f"bocage watch: {status['site']['name']}"))


class Section:
    """A title with a rule, and the content below it."""

    def __init__(self, title: str, content: RenderableType) -> None:
        self._title, self._content = title, content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Rule(Text(self._title, "bold"), align="left", style=_DIM, characters="-" if options.ascii_only else "─")
        height = (options.height or console.height) - 1
        yield from console.render(self._content, options.update_height(height))


class _Values:
    """Points on the left, actuators on the right, and the points that did not fit on the left below them."""

    def __init__(self, status: Status) -> None:
        self._points = in_order(status.get("points") or [])
        self._actuators = status.get("actuators") or []
        self._alarms = status.get("alarms") or []
        self._zone = zone_of(status)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = options.height or console.height
        left = height - 2  # a rule and a head
        alarms = _alarms(self._alarms, self._zone)
        right = max(0, left - len(self._actuators) - 2 - (len(alarms) + 1 if self._alarms else 0))
        rest = self._points[left:]
        shown = rest if len(rest) <= right else rest[: max(0, right - 1)]
        column: list[RenderableType] = [Section("actuators", actuators_table(self._actuators, self._zone))]
        if self._alarms:
            column.append(Section("alarms", alarms))
        if shown:
            column.append(Section("more points", points_table(shown)))
        if hidden := len(rest) - len(shown):
            column.append(Text(f"... {hidden} more in a larger window", _DIM))
        grid = Table.grid(expand=True, padding=(0, 2, 0, 0), pad_edge=False)
        grid.add_column(ratio=6)
        grid.add_column(ratio=5)
        grid.add_row(Section("points", points_table(self._points[:left])), Group(*column))
        yield from console.render(grid, options.reset_height())


def in_order(points: Sequence[Status]) -> list[Status]:
    """Sort points: what is not good comes first, then signals, then devices, those of few points before long meters;
    diagnosis of wires and radio comes last.
    """
    sizes = Counter(point["device"] for point in points if _rank(point) == _DEVICES)
    return sorted(points, key=lambda point: (_rank(point), sizes[point["device"]]))


def points_table(points: Sequence[Status], longest: int | None = _LONGEST) -> Table:
    """A line a point. A text of more characters than `longest` is cut; None cuts none."""
    table = _table("point", "point", ">value", "unit", "quality", ">age")
    for point in points:
        quality = str(point["quality"] or "never")  # read
        style = quality_style(point)
        table.add_row(
            Text(str(point["id"])),
            Text(value(point["value"], longest), "bold" if quality == "good" else style),
            Text(str(point["unit"]), _DIM),
            Text(quality, style),
            span(point["age_s"]),
        )
    return table


def actuators_table(actuators: Sequence[Status], zone: tzinfo | None) -> Table:
    """Every output: its value, its priority and reason, until when, and the feedback."""
    table = _table("held by", "name", "value", "held by", "until", "feedback")
    table.columns[0].min_width = min(12, max((len(item["name"]) for item in actuators), default=0))
    table.columns[1].min_width = 3
    for item in actuators:
        table.add_row(*actuator(item, zone))
    return table


def actuator(item: Status, zone: tzinfo | None) -> tuple[Text, Text, Text, Text, Text]:
    """The name of an output, its value, its priority and reason, until when, and the feedback."""
    is_, wanted = switched(item["value"]), switched(item["wanted"])
    moving = item["wanted"] is not None and is_ != wanted
    return (
        Text(str(item["name"])),
        Text(f"{is_}>{wanted}" if moving else is_, _WARN if moving else "bold" if is_ == "on" else ""),
        Text(_holder(item)),
        Text(_time(item.get("until"), zone)[:5]),
        _feedback(item),
    )


def alarm_lines(alarms: Sequence[Status], zone: tzinfo | None) -> list[Text]:
    """The open alarms, the gravest first; unacknowledged ones stand out."""
    lines = []
    for one in alarms:
        style = _DIM if one["acked"] else _SEVERITY.get(str(one["severity"]), "")
        acked = ", acknowledged" if one["acked"] else ""
        what = f"{one['severity']} {one['code']} {one['subject']}"
        lines.append(Text(f"{what} {_moment(one['since'], zone)}{acked}", style))
    return lines


def _alarms(alarms: Sequence[Status], zone: tzinfo | None) -> _Lines:
    """The gravest of them, and how many there are besides."""
    lines = alarm_lines(alarms[:_ALARMS], zone)
    if len(alarms) > _ALARMS:
        lines.append(Text(f"... {len(alarms) - _ALARMS} more: bocage alarms", _DIM))
    return _Lines(lines)


class _Tail:
    """The last lines of the log that fit, the newest at the bottom."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(1, options.height or 5)
        for text in self._lines[-room:]:
            yield Text(text, urgency(text), no_wrap=True, overflow="ellipsis")


def urgency(text: str) -> str:
    """The style of a line of the log."""
    return _BAD if "CRITICAL" in text or "ERROR" in text else _WARN if "WARNING" in text else ""


def quality_style(point: Status) -> str:
    """The style of a point's quality."""
    return _QUALITY.get(str(point["quality"]), _DIM)


def _rank(point: Status) -> int:
    if point.get("kind") == "diagnostic":
        return 3
    if point["quality"] in ("bad", "stale"):
        return 0
    return 1 if "." not in point["id"] else _DEVICES


def _table(flexible: str, *columns: str) -> Table:
    """A table as wide as its place, with one column that gives way. A name that starts with > stands to the right."""
    table = Table(box=None, expand=True, pad_edge=False, header_style=_DIM, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(
            name.lstrip(">"),
            ratio=1 if name == flexible else None,
            justify="right" if name.startswith(">") else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    return table


def header(status: Status) -> tuple[Text, Text]:
    """The site and the time of the status document."""
    site = status["site"]
    clock = status.get("clock", "unsynced")
    when = _time(status.get("at"), zone_of(status)) if clock == "synced" else TIME_UNKNOWN
    return (
        Text(f" {site['name']} ({site['id']})", "bold"),
        Text(f"{when}  clock {clock}  up {span(status.get('uptime_s'))}  bocage {status.get('agent', '?')} "),
    )


def sides(left: Text, right: Text) -> Table:
    """A line with two ends."""
    table = Table.grid(expand=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    table.add_row(left, right)
    return table


def _head(status: Status) -> Table:
    table = sides(*header(status))
    table.style = "reverse"
    return table


def uplink_lines(status: Status) -> list[Text]:
    """The uplink, what waits for it, and the buses."""
    uplink, outbox = status.get("uplink") or {}, status.get("outbox") or {}
    state = str(uplink.get("state", LinkState.OFF))
    out = Text.assemble(("uplink ", _DIM), (state, _LINK.get(state, _WARN)))
    if uplink.get("since_s") is not None:
        out.append(f" for {span(uplink['since_s'])}")
    out.append(f", {_latency(uplink)}, {uplink.get('inflight', 0)} in flight, {uplink.get('sent', 0)} sent")
    if uplink.get("error"):
        out.append(f"  {uplink['error']}", _WARN)
    rows = outbox.get("rows") or 0
    full = _SMALLEST_BAR
    while full < rows:
        full *= 10
    filled = -(-rows * _BAR // full)
    waiting = Text.assemble(
        ("outbox ", _DIM), ("#" * filled, _WARN), ("." * (_BAR - filled), _DIM), f" {rows} of {full} waiting, "
    )
    size, hours = _size(outbox.get("bytes") or 0), _hours(outbox.get("hours_left"))
    waiting.append(f"{size}, {hours}, {outbox.get('gaps', 0)} gaps")
    if outbox.get("oldest"):
        waiting.append(f", oldest {_time(outbox['oldest'], zone_of(status))}")
    buses = Text("buses  ", _DIM)
    for bus in status.get("buses") or []:
        load = f" {100 * bus['load']:.0f} %" if bus.get("load") else ""
        buses.append(f"{bus['name']} ", "default")
        buses.append(str(bus["state"]), _BUS.get(bus["state"], _WARN))
        if bus.get("overloaded"):
            buses.append(f"{load} slow points read every {bus['stretch']:.1f} of their periods", _WARN)
            load = ""
        buses.append(f"{load} {bus.get('error') or ''}  ", "default")
        for device, said in (bus.get("said") or {}).items():
            if said != bus.get("error"):
                buses.append(f"{device}: {said}  ", _WARN)
    return [out, waiting, buses]


class _Lines:
    """Lines that are cut at the edge rather than folded."""

    def __init__(self, lines: Sequence[Text]) -> None:
        self._lines = lines

    def __len__(self) -> int:
        return len(self._lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text in self._lines:
            text.no_wrap, text.overflow = True, "ellipsis"
            yield text


def _holder(item: Status) -> str:
    """The priority that holds an output and its reason: "8 mqtt: remote"."""
    who = [str(item[key]) for key in ("by", "cause") if item.get(key)]
    priority = "" if item.get("priority") is None else f"{item['priority']} "
    return priority + (": ".join(dict.fromkeys(who)) or "no holder")


def _feedback(item: Status) -> Text:
    """The reading of the feedback, and the arbiter's verdict unless all is well."""
    feedback, state = item.get("feedback"), str(item.get("state") or "")
    said = [] if feedback is None else [switched(feedback)]
    if state not in _WELL:
        said.append("waiting" if state.startswith("waiting") else state)
    return Text(" ".join(said) or "-", _BAD if state in _WRONG else "")


def switched(one: Any) -> str:
    """An output's value as people say it."""
    if one is None:
        return "?"
    if isinstance(one, bool):
        return "on" if one else "off"
    return value(one)


def value(one: Any, longest: int | None = _LONGEST) -> str:
    """A value as people say it; a text of more characters than `longest` is cut."""
    match one:
        case None:
            return "-"
        case bool():
            return "on" if one else "off"
        case float():
            return f"{one:.0f}" if abs(one) >= 100_000 else f"{one:.2f}" if abs(one) < 1000 else f"{one:.1f}"
        case _:
            text = str(one)
            return text if longest is None or len(text) <= longest else text[: longest - 3] + "..."


def span(seconds: float | None) -> str:
    """A length of time in the unit that fits: 4 s, 12 min, 3 h, 9 d."""
    if seconds is None:
        return "-"
    for unit, size, until in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < until:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def _time(iso: str | None, zone: tzinfo | None) -> str:
    """The time of day of an ISO 8601 moment, in the site's time zone."""
    if not iso:
        return "-"
    moment = datetime.fromisoformat(iso)
    return f"{moment.astimezone(zone):%H:%M:%S}"


def _moment(iso: str | None, zone: tzinfo | None) -> str:
    """The same of something that was at some time."""
    return _time(iso, zone) if iso else TIME_UNKNOWN


def _latency(uplink: Status) -> str:
    latency = uplink.get("latency_ms")
    return "- ms" if latency is None else f"{latency:.0f} ms"


def _hours(hours: float | None) -> str:
    if hours is None:
        return "room for long"
    return f"{hours / 24:.0f} days left" if hours >= 96 else f"{hours:.0f} h left"


def _size(size: float) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
