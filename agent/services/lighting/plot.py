"""A picture of a plan: for each circuit the days across and the hours down, as SVG, readable in black and white."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from itertools import pairwise
from xml.sax.saxutils import escape

from agent.control.calendar import DAY
from agent.services.lighting.night import FULL, NOON, Night
from agent.services.lighting.plan import CircuitPlan

__all__ = ["draw"]

LEFT, RIGHT, TOP = 56, 16, 62
WIDTH, HEIGHT, GAP = 876, 216, 64
"""The size of one circuit's panel, and the gap to the next; pixels."""
UNLIT = "#dcdcdc"
"""The night without light; the day is white, lamps at full level are nearly black."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def draw(site: str, circuits: Mapping[str, CircuitPlan], first: date, days: int) -> str:
    """The SVG of all circuits of a site, `days` nights from `first`. Hours are local, from noon to noon."""
    panels = len(circuits)
    height = TOP + panels * (HEIGHT + GAP)
    last = first + timedelta(days - 1)
    title = escape(f"{site}: lamps from {first} to {last}")
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}" role="img" '
        'font-family="sans-serif" font-size="11">',
        f"<title>{title}</title>",
        "<desc>Each column is a night, from noon at the top to noon at the bottom.</desc>",
        f'<rect width="{LEFT + WIDTH + RIGHT}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="bold">{title}</text>',
        *_legend(circuits),
    ]
    for number, (name, circuit) in enumerate(circuits.items()):
        lines.append(f'<g transform="translate({LEFT} {TOP + 20 + number * (HEIGHT + GAP)})">')
        lines += _panel(name, circuit, first, days)
        lines.append("</g>")
    return "\n".join([*lines, "</svg>\n"])


def _legend(circuits: Mapping[str, CircuitPlan]) -> Iterator[str]:
    levels = {part.level for circuit in circuits.values() for part in circuit.programme.levels}
    shades = [(_shade(level), f"lit at {level:g} %" if levels else "lit") for level in sorted({FULL, *levels})[::-1]]
    x = LEFT
    for shade, text in [*shades, (UNLIT, "night, not lit"), ("#fff", "day")]:
        yield f'<rect x="{x}" y="33" width="14" height="11" fill="{shade}" stroke="#000" stroke-width=".5"/>'
        yield f'<text x="{x + 19}" y="43">{text}</text>'
        x += 34 + 6 * len(text)


def _panel(name: str, circuit: CircuitPlan, first: date, days: int) -> Iterator[str]:
    width = WIDTH / days
    boxes: dict[str, list[str]] = defaultdict(list)
    burnt = full = whole = 0.0
    for number, night in enumerate(circuit.nights(first, days)):
        burnt, full = burnt + night.seconds(), full + night.full_seconds()
        whole += circuit.programme.all_night(night.day)
        for shade, start, end in _shades(night):
            top, bottom = _y(circuit, night, start), _y(circuit, night, end)
            boxes[shade].append(f"M{number * width:.2f} {top:.1f}h{width:.2f}V{bottom:.1f}h-{width:.2f}z")
    yield f'<text y="-8" font-size="13" font-weight="bold">{escape(name)}</text>'
    text = _sums(circuit, burnt, full, whole)
    yield f'<text x="{WIDTH}" y="-8" text-anchor="end">{text}</text>'
    for shade, path in boxes.items():
        yield f'<path fill="{shade}" shape-rendering="crispEdges" d="{"".join(path)}"/>'
    yield from _axes(first, days)


def _shades(night: Night) -> Iterator[tuple[str, datetime, datetime]]:
    """The parts of a night, each with its shade; later ones lie over earlier ones."""
    if night.dusk is not None and night.dawn is not None:
        yield UNLIT, night.dusk, night.dawn
    for segment in night.segments:
        edges = {segment.on, segment.off}
        edges |= {at for start, end, _ in night.levels for at in (start, end) if segment.on < at < segment.off}
        for start, end in pairwise(sorted(edges)):
            yield _shade(night.level(start)), start, end


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


def _sums(circuit: CircuitPlan, burnt: float, full: float, whole: float) -> str:
    used, most = circuit.energy(full), circuit.energy(whole)
    text = f"{burnt / 3600:.0f} h of {whole / 3600:.0f} h all night"
    if used is None or not most:
        return text
    return f"{text}; {used:.0f} kWh, {most - used:.0f} kWh saved ({100 * (most - used) / most:.0f} %)"


def _y(circuit: CircuitPlan, night: Night, at: datetime) -> float:
    """Where a time stands, by the clock on the wall."""
    wall = circuit.programme.calendar.civil(at).replace(tzinfo=None)
    midnight = datetime(night.day.year, night.day.month, night.day.day)
    minutes = (wall - midnight) / timedelta(minutes=1) - NOON
    return HEIGHT * min(max(minutes / 1440, 0.0), 1.0)


def _shade(level: float) -> str:
    """Grey of lamps at a level, %."""
    grey = round(0x10 + 0x90 * (1 - level / FULL))
    return f"#{grey:02x}{grey:02x}{grey:02x}"
