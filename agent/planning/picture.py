"""A picture of a plan: for each control the days across and the hours down, as SVG, readable in black and white."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import NamedTuple
from xml.sax.saxutils import escape

from agent.planning.service import PlanRow

__all__ = ["GREYS", "Box", "Panel", "Swatch", "draw", "period_panels"]

LEFT, RIGHT, TOP = 56, 16, 62
WIDTH, HEIGHT, GAP = 876, 216, 64
"""The size of one control's panel, and the gap to the next; pixels."""
GREYS = ("#101010", "#707070", "#b8b8b8", "#e8e8e8")
MODES = ("comfort", "reduced", "frost", "off")
"""The modes of a zone: each has the same grey in all zones."""
DAY = timedelta(days=1)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Box(NamedTuple):
    """A part of the column of a day, from `top` to `bottom` (minutes after its noon)."""

    shade: str
    column: int
    top: float
    bottom: float


class Swatch(NamedTuple):
    """A shade and its meaning."""

    shade: str
    text: str


class Panel(NamedTuple):
    """One control: its name, the words at the right end of its head, its boxes (later ones lie over earlier ones of
    another shade), and the meanings of shades that are its own."""

    name: str
    text: str
    boxes: Sequence[Box]
    swatches: Sequence[Swatch] = ()


def draw(site: str, panels: Sequence[Panel], legend: Sequence[Swatch], first: date, days: int) -> str:
    """The SVG of all panels of a site, `days` nights from `first`. Hours are local, from noon to noon."""
    height = TOP + len(panels) * (HEIGHT + GAP)
    title = escape(f"{site}: plan from {first} to {first + timedelta(days - 1)}")
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}" role="img" '
        'font-family="sans-serif" font-size="11">',
        f"<title>{title}</title>",
        "<desc>Each column is a night, from noon at the top to noon at the bottom.</desc>",
        f'<rect width="{LEFT + WIDTH + RIGHT}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="bold">{title}</text>',
        *_legend(legend, LEFT, 33),
    ]
    for number, panel in enumerate(panels):
        lines.append(f'<g transform="translate({LEFT} {TOP + 20 + number * (HEIGHT + GAP)})">')
        lines += _panel(panel, first, days)
        lines.append("</g>")
    return "\n".join([*lines, "</svg>\n"])


def period_panels(rows: Iterable[PlanRow], first: date, days: int) -> Iterator[Panel]:
    """A panel for each name that has periods, with the hours of each of its modes."""
    found: dict[str, list[PlanRow]] = defaultdict(list)
    for row in rows:
        found[row.name].append(row)
    for name, periods in found.items():
        modes = {f"{row.mode}": row.setpoint for row in periods}
        order = MODES if modes.keys() <= set(MODES) else tuple(modes)
        shades = {mode: GREYS[min(number, len(GREYS) - 1)] for number, mode in enumerate(order)}
        boxes = [box for row in periods for box in _columns(row, shades[f"{row.mode}"], first, days)]
        yield Panel(name, "", boxes, [
            Swatch(shades[mode], _meaning(mode, modes[mode], boxes, shades[mode])) for mode in order if mode in modes
        ])  # fmt: skip


def _meaning(mode: str, setpoint: float | None, boxes: Iterable[Box], shade: str) -> str:
    """A mode with its setpoint and its hours, by the clock on the wall."""
    hours = sum(box.bottom - box.top for box in boxes if box.shade == shade) / 60
    return mode + ("" if setpoint is None else f" {setpoint:g} degC") + f", {hours:.0f} h"


def _columns(row: PlanRow, shade: str, first: date, days: int) -> Iterator[Box]:
    """A period by the clock on the wall, cut at each noon."""
    start, end = (datetime.fromisoformat(f"{text}").replace(tzinfo=None) for text in (row.start, row.end))
    noon = datetime.combine(first, time(12))
    column = max(0, (start - noon) // DAY)
    while column < days and noon + column * DAY < end:
        top, bottom = ((at - noon - column * DAY) / timedelta(minutes=1) for at in (start, end))
        if max(top, 0.0) < min(bottom, 1440.0):
            yield Box(shade, column, max(top, 0.0), min(bottom, 1440.0))
        column += 1


def _legend(swatches: Iterable[Swatch], x: float, y: float) -> Iterator[str]:
    for shade, text in swatches:
        yield f'<rect x="{x}" y="{y}" width="14" height="11" fill="{shade}" stroke="#000" stroke-width=".5"/>'
        yield f'<text x="{x + 19}" y="{y + 10}">{escape(text)}</text>'
        x += 34 + 6 * len(text)


def _panel(panel: Panel, first: date, days: int) -> Iterator[str]:
    width = WIDTH / days
    paths: dict[str, list[str]] = defaultdict(list)
    for shade, column, top, bottom in panel.boxes:
        above, below = HEIGHT * top / 1440, HEIGHT * bottom / 1440
        paths[shade].append(f"M{column * width:.2f} {above:.1f}h{width:.2f}V{below:.1f}h-{width:.2f}z")
    yield f'<text y="-8" font-size="13" font-weight="bold">{escape(panel.name)}</text>'
    yield from _legend(panel.swatches, 24 + 8 * len(panel.name), -18)
    if panel.text:
        yield f'<text x="{WIDTH}" y="-8" text-anchor="end">{escape(panel.text)}</text>'
    for shade, path in paths.items():
        yield f'<path fill="{shade}" shape-rendering="crispEdges" d="{"".join(path)}"/>'
    yield from _axes(first, days)


def _axes(first: date, days: int) -> Iterator[str]:
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#000"/>'
    for hour in range(0, 25, 3):
        y = HEIGHT * hour / 24
        yield f'<text x="-6" y="{y + 4:.0f}" text-anchor="end">{(12 + hour) % 24:02}:00</text>'
        yield f'<path d="M0 {y:.1f}h{WIDTH}" stroke="#777" stroke-width=".4" stroke-dasharray="2 3"/>'
    for number in range(days):
        day = first + number * DAY
        if number == 0 or day.day == 1:
            x = WIDTH * number / days
            text = f"{_MONTHS[day.month - 1]} {day.year}" if number == 0 or day.month == 1 else _MONTHS[day.month - 1]
            yield f'<path d="M{x:.1f} 0v{HEIGHT + 5}" stroke="#777" stroke-width=".4"/>'
            if number == 0 or x > 60:
                yield f'<text x="{x + 2:.1f}" y="{HEIGHT + 14}">{text}</text>'
