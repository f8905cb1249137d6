"""The live view as one long page, for a window that scrolls: nothing is left out, long texts wrap, 40 columns do.

What is wrong comes first. Without a terminal, and in a picture, `view.frame` shows what fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from agent.cli.live import view
from agent.cli.live.view import Status
from agent.lib.screen import cleaned, shown
from agent.runtime.report import zone_of

__all__ = ["page"]

_TABLES, _TWO = 60, 100
"""Columns from which points and outputs are tables, and stand side by side."""
_WIDEST, _WIDEST_OF_TWO = 24, 12
"""Columns of a value, before it wraps."""


def page(status: Status, notes: Sequence[str] = ()) -> tuple[RenderableType, RenderableType]:
    """Return the header and the rest of the page. `notes` are lines of the caller that come first (the demo's)."""
    status = cleaned(status)
    return _Head(status), _Body(status, [shown(note) for note in notes])


class _Head:
    def __init__(self, status: Status) -> None:
        self._status = status

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        name, moment = view.header(self._status)
        if name.cell_len + 1 + moment.cell_len <= options.max_width:
            line = view.sides(name, moment)
            line.style = "reverse"
            yield line
        else:
            yield from (Styled(_wrapped(text), "reverse") for text in (name, moment))


class _Body:
    def __init__(self, status: Status, notes: Sequence[str]) -> None:
        self._status, self._notes = status, notes

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        status, width = self._status, options.max_width
        notes = [*self._notes, *view.trouble(status)]
        yield from (_wrapped(Text(note, "bold")) for note in notes)
        if alarms := status.get("alarms"):
            lines = view.alarm_lines(alarms, zone_of(status))
            yield view.Section("alarms", Group(*map(_wrapped, lines)))
        yield view.Section("uplink", Group(*map(_wrapped, view.uplink_lines(status))))
        points = view.Section("points", _points(view.in_order(status.get("points") or []), width))
        outputs = view.Section("actuators", _actuators(status, width))
        if width >= _TWO:
            grid = Table.grid(expand=True, padding=(0, 2, 0, 0), pad_edge=False)
            grid.add_column(ratio=6)
            grid.add_column(ratio=5)
            grid.add_row(points, outputs)
            yield grid
        else:
            yield outputs
            yield points
        log = [Text(text, view.urgency(text)) for text in status.get("log") or []]
        yield view.Section("log", Group(*map(_wrapped, log)))


def _points(points: Sequence[Status], width: int) -> RenderableType:
    if width < _TABLES:
        return Group(*(line for point in points for line in _lines(point, width)))
    table = _folding(view.points_table(points, longest=None))
    table.columns[1].max_width = _WIDEST if width < _TWO else _WIDEST_OF_TWO
    return table


def _lines(point: Status, width: int) -> Iterator[Text]:
    """A point's name, and what it is at the right: under the name where both are too long for one line."""
    name, said = Text(str(point["id"])), Text()
    if point["value"] is not None:
        said.append(view.value(point["value"], None), "bold" if point["quality"] == "good" else "")
        said.append(f" {point['unit']}" if point["unit"] else "")
    if point["quality"] != "good":
        said.append(f" {point['quality'] or 'never read'}", view.quality_style(point))
    said.append(f" {view.span(point['age_s'])}" if point["age_s"] is not None else "")
    space = width - name.cell_len - said.cell_len
    if space > 0:
        yield name.append(" " * space).append_text(said)
    else:
        yield _wrapped(name)
        yield _wrapped(Text(" " * max(0, width - said.cell_len)).append_text(said))


def _actuators(status: Status, width: int) -> RenderableType:
    items, zone = status.get("actuators") or [], zone_of(status)
    if width >= _TABLES:
        return _folding(view.actuators_table(items, zone))
    return Group(*(_wrapped(text) for item in items for text in _words(item, zone)))


def _words(item: Status, zone: tzinfo | None) -> Iterator[Text]:
    """An output in a sentence, where a table has no room."""
    name, is_, held_by, until, feedback = view.actuator(item, zone)
    said = Text.assemble(name, " ", is_, ", held by ", held_by)
    if until.plain != "-":
        said.append(" until ").append_text(until)
    yield said.append(", feedback ").append_text(feedback) if feedback.plain != "-" else said


def _folding(table: Table) -> Table:
    for column in table.columns:
        column.no_wrap, column.overflow = False, "fold"
    return table


def _wrapped(text: Text) -> Text:
    text.no_wrap, text.overflow = False, "fold"
    return text
