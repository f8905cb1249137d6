"""The burning hours of the circuits on the days to come, and what their cuts save. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

from agent.control.calendar import DAY, Calendar
from agent.control.named_calendars import NamedCalendar
from agent.lib.timetext import local_text
from agent.planning.picture import Box, Panel, Swatch
from agent.planning.service import Part, PlanRow, day_text, time_text
from agent.services.lighting.build import on_demand, programme
from agent.services.lighting.config import Lighting
from agent.services.lighting.night import FULL, NOON, Night, Programme
from agent.services.lighting.on_demand import OnDemand
from agent.site.build.calendars import with_files
from agent.site.build.weeks import calendar
from agent.site.models.site import Site

__all__ = ["CircuitPlan", "LightingPlan", "plan"]

UNLIT = "#dcdcdc"
"""The night without light; the day is white, lamps at full level are nearly black."""


def plan(site: Site, lighting: Lighting) -> LightingPlan:
    """The plan of all circuits."""
    read = partial(with_files, site)
    circuits = {
        name: CircuitPlan(programme(site, one), one.rated_power, on_demand(site, one), read)
        for name, one in lighting.circuits.items()
    }
    return LightingPlan(calendar(site), circuits)


@dataclass(frozen=True, slots=True)
class CircuitPlan:
    """A circuit's programme, its power while it burns (W; None: the file does not say it), and its light on request.

    `read` gives the named calendars as they are in a time.
    """

    programme: Programme
    rated_power: float | None = None
    on_demand: OnDemand | None = None
    read: Callable[[datetime, datetime], Mapping[str, NamedCalendar]] = lambda _since, _until: {}

    def nights(self, first: date, days: int) -> Iterator[Night]:
        instant = self.programme.calendar.instant
        named = self.programme.calendars
        calendars = self.read(instant(first, 0), instant(first + (days + 1) * DAY, 0)) if named else {}
        return (self.programme.night(first + number * DAY, calendars) for number in range(days))

    def energy(self, full_seconds: float) -> float | None:
        """kWh, of seconds at full level."""
        return None if self.rated_power is None else self.rated_power * full_seconds / 3.6e6


@dataclass(frozen=True, slots=True)
class LightingPlan:
    """The circuits by their names."""

    calendar: Calendar
    circuits: Mapping[str, CircuitPlan]
    key: str = "circuits"
    asks_school_holidays: bool = False

    def document(self, first: date, days: int) -> Part:
        return {name: self._circuit(one, first, days) for name, one in self.circuits.items()}

    def rows(self, part: Part) -> Iterator[PlanRow]:
        """A line a segment, with the night's sums on its first; a night without light is a line without times."""
        for name, circuit in part.items():
            for night in circuit["nights"]:
                sums: tuple[Any, ...] = (night["minutes"], night["kwh"])
                for segment in night["segments"] or [{"on": None, "off": None}]:
                    yield PlanRow("lighting", name, night["night"], segment["on"], segment["off"], None, None, *sums)
                    sums = (None, None)
                for part_of in night.get("on_demand", ()):
                    yield PlanRow("lighting", name, night["night"], part_of["from"], part_of["to"], "on_demand")

    def lines(self, part: Part) -> Iterator[str]:
        for name, circuit in part.items():
            yield ""
            yield f"{name}  {_sums(circuit)}"
            for night in circuit["nights"]:
                segments = "  ".join(f"{time_text(one['on'])}-{time_text(one['off'])}" for one in night["segments"])
                day = day_text(night["night"])
                hours = night.get("on_demand", ())
                asked = "  ".join(f"{time_text(one['from'])}-{time_text(one['to'])}" for one in hours)
                more = f"  on request {asked}" if asked else ""
                yield f"  {day}  {night['minutes']:6.1f} min{_energy(night)}  {segments or 'dark'}{more}"
            whole = circuit["all_night"]
            yield f"  burning all night: {_sums(whole)}; {_saved(circuit, whole)}"
            if "on_demand" in circuit:
                yield f"  on request at most: {_sums(circuit['on_demand'])}"

    def legend(self) -> Sequence[Swatch]:
        if not self.circuits:
            return []
        levels = {part.level for circuit in self.circuits.values() for part in circuit.programme.levels}
        lit = [Swatch(_shade(at), f"lit at {at:g} %" if levels else "lit") for at in sorted({FULL, *levels})[::-1]]
        return [*lit, Swatch(UNLIT, "night, not lit"), Swatch("#fff", "day")]

    def panels(self, first: date, days: int) -> Iterator[Panel]:
        for name, circuit in self.circuits.items():
            nights = list(circuit.nights(first, days))
            boxes = [box for number, night in enumerate(nights) for box in _boxes(circuit, number, night)]
            yield Panel(name, _head(circuit, nights), boxes)

    def _circuit(self, circuit: CircuitPlan, first: date, days: int) -> dict[str, Any]:
        nights = list(circuit.nights(first, days))
        burnt, full = sum(night.seconds() for night in nights), sum(night.full_seconds() for night in nights)
        whole = sum(circuit.programme.all_night(night) for night in nights)
        return {
            "nights": [self._night(circuit, night) for night in nights],
            **_amounts(burnt, circuit.energy(full)),
            "all_night": _amounts(whole, circuit.energy(whole)),
            **self._most_on_demand(circuit, nights),
        }

    def _most_on_demand(self, circuit: CircuitPlan, nights: Sequence[Night]) -> dict[str, Any]:
        """The cost of light on request, at the most."""
        if circuit.on_demand is None:
            return {}
        most = sum(circuit.on_demand.most(circuit.programme, night) for night in nights)
        return {"on_demand": _amounts(most, circuit.energy(most * circuit.on_demand.level / 100))}

    def _night(self, circuit: CircuitPlan, night: Night) -> dict[str, Any]:
        return {
            "night": night.day.isoformat(),
            "segments": [
                {"on": local_text(one.on, self.calendar.zone), "off": local_text(one.off, self.calendar.zone)}
                for one in night.segments
            ],
            **_amounts(night.seconds(), circuit.energy(night.full_seconds())),
            **self._windows(circuit, night),
        }

    def _windows(self, circuit: CircuitPlan, night: Night) -> dict[str, Any]:
        """When light can be requested."""
        if circuit.on_demand is None:
            return {}
        zone = self.calendar.zone
        return {
            "on_demand": [
                {"from": local_text(one.start, zone), "to": local_text(one.end, zone)}
                for one in circuit.on_demand.windows(circuit.programme, night)
            ]
        }


def _amounts(seconds: float, energy: float | None) -> dict[str, float | None]:
    return {"minutes": round(seconds / 60, 1), "kwh": None if energy is None else round(energy, 2)}


def _sums(amounts: Mapping[str, Any]) -> str:
    kwh = amounts["kwh"]
    return f"{amounts['minutes'] / 60:.1f} h" + ("" if kwh is None else f", {kwh:.2f} kWh")


def _energy(night: Mapping[str, Any]) -> str:
    return "" if night["kwh"] is None else f" {night['kwh']:7.2f} kWh"


def _saved(circuit: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    hours = (whole["minutes"] - circuit["minutes"]) / 60
    if whole["kwh"] is None:
        return f"saved {hours:.1f} h"
    kwh = whole["kwh"] - circuit["kwh"]
    share = f" ({100 * kwh / whole['kwh']:.0f} %)" if whole["kwh"] else ""
    return f"saved {hours:.1f} h, {kwh:.2f} kWh{share}"


# -- picture ---------------------------------------------------------------------------------------------------


def _boxes(circuit: CircuitPlan, number: int, night: Night) -> Iterator[Box]:
    """The parts of a night, each with its shade; later ones lie over earlier ones."""

    def box(shade: str, start: datetime, end: datetime) -> Box:
        return Box(shade, number, _minutes(circuit, night, start), _minutes(circuit, night, end))

    if night.dusk is not None and night.dawn is not None:
        yield box(UNLIT, night.dusk, night.dawn)
    for segment in night.segments:
        edges = {segment.on, segment.off}
        edges |= {at for start, end, _ in night.levels for at in (start, end) if segment.on < at < segment.off}
        for start, end in pairwise(sorted(edges)):
            yield box(_shade(night.level(start)), start, end)


def _head(circuit: CircuitPlan, nights: Sequence[Night]) -> str:
    burnt, full = sum(night.seconds() for night in nights), sum(night.full_seconds() for night in nights)
    whole = sum(circuit.programme.all_night(night) for night in nights)
    used, most = circuit.energy(full), circuit.energy(whole)
    text = f"{burnt / 3600:.0f} h of {whole / 3600:.0f} h all night"
    if used is None or not most:
        return text
    return f"{text}; {used:.0f} kWh, {most - used:.0f} kWh saved ({100 * (most - used) / most:.0f} %)"


def _minutes(circuit: CircuitPlan, night: Night, at: datetime) -> float:
    """How long after the night's noon a time is, by the clock on the wall."""
    wall = circuit.programme.calendar.civil(at).replace(tzinfo=None)
    midnight = datetime(night.day.year, night.day.month, night.day.day)
    return min(max((wall - midnight) / timedelta(minutes=1) - NOON, 0.0), 1440.0)


def _shade(level: float) -> str:
    """Grey of lamps at a level, %."""
    grey = round(0x10 + 0x90 * (1 - level / FULL))
    return f"#{grey:02x}{grey:02x}{grey:02x}"
