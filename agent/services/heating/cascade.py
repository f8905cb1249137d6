"""Several burners as a cascade: which one leads, when another one joins, and which one gives no heat.

The first one on is the last one off. All share one flow, so a burner is judged by what it gives alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any, NamedTuple

from agent.control.api import NEVER, Now, Output, View, good
from agent.services.heating.boiler import BAND, NO_HEAT, RISE, SAG, SILENCE, Burner, HeatCurve

__all__ = [
    "Cascade",
    "Stages",
    "guard_stages",
    "order",
    "rotate",
    "run_hours",
    "see_stages",
    "stage",
    "stages_due",
]

APART = 60.0
"""Seconds between two stages that go off because the flow is too warm."""
HOUR = 3600.0
SAME_RUN = 5.0
"""Seconds by which the beginning of one and the same run may differ after a restart."""


@dataclass(frozen=True, slots=True)
class Cascade:
    """Burners in the order of the site file. The next one joins when the flow missed its target for `lag_after` s.

    `rotation`: another one leads each week, the `next` in the order or the one with the least `hours`; None: never.
    """

    burners: tuple[str, ...]
    lag_after: float = 600.0
    rotation: str | None = "next"


class CascadeBurner(NamedTuple):
    """One burner. Times are monotonic seconds."""

    on: float | None = None
    """Since when; None: off."""
    at: float = 0.0
    """Up to when its run was counted."""
    ran: float = 0.0
    """Seconds in all."""
    barren: float = 0.0
    """Seconds that it burned without giving heat, since it last gave some alone."""
    locked: bool = False
    told: bool = False
    """The alarm of the lockout is raised."""


class Stages(NamedTuple):
    """The cascade as it is. Times are monotonic seconds, temperatures those of the flow (degC)."""

    units: tuple[CascadeBurner, ...] = ()
    names: tuple[str, ...] = ()
    """The actuators of the units."""
    lead: int = 0
    week: int | None = None
    """The Monday (ordinal day) of the week in which the lead was chosen."""
    wanted: int = 0
    """So many burners are wanted, of those that are not locked."""
    missed: float | None = None
    """Since when the flow misses its target with all of these burning."""
    stepped: float | None = None
    """When a stage last went off because the flow was too warm."""
    low: float | None = None
    """The lowest flow since heat was seen last."""
    level: float | None = None
    """The highest flow of this run, once it rose; and what the one before had brought it to."""
    flow: float | None = None
    target: float = 0.0
    gone: tuple[str, ...] = ()
    """Burners that left the site file with an alarm that is open."""

    def dump(self) -> dict[str, Any]:
        return {**self._asdict(), "units": [unit._asdict() for unit in self.units], "flow": None}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Stages:
        units = tuple(CascadeBurner(**unit) for unit in kept["units"])
        return cls(**{**kept, "units": units, "names": tuple(kept["names"]), "gone": tuple(kept["gone"])})

    def in_this_boot(self) -> Stages:
        """Times of another boot mean nothing; the lead, run hours and lockouts stay."""
        units = tuple(unit._replace(on=None, at=0.0) for unit in self.units)
        return Stages(units, self.names, self.lead, self.week, gone=self.gone)

    def of(self, names: tuple[str, ...]) -> Stages:
        """The stages of other burners; those that were there before are as they were."""
        before = dict(zip(self.names, self.units, strict=True))
        lead = self.names[self.lead] if self.names else ""
        units = tuple(before.get(name, CascadeBurner()) for name in names)
        gone = tuple(name for name, unit in before.items() if unit.told and name not in names)
        return Stages(units, names, names.index(lead) if lead in names else 0, self.week, gone=(*self.gone, *gone))


def order(stages: Stages) -> list[int]:
    """The burners from the lead on, without those that are locked out."""
    number = len(stages.units)
    turned = [(stages.lead + index) % number for index in range(number)]
    return [index for index in turned if not stages.units[index].locked]


def alarms(stages: Stages, burners: tuple[str, ...]) -> tuple[Stages, list[tuple[str, str]]]:
    """The alarms of lockouts that are to be told, kind and burner; and the stages once they are.

    `burners`: those of the site file. The alarm of one that left it is over.
    """
    if stages.names != burners:
        stages = stages.of(burners)
    if not stages.gone and all(unit.locked is unit.told for unit in stages.units):
        return stages, []
    units = zip(stages.names, stages.units, strict=True)
    found = [("alarm" if unit.locked else "cleared", name) for name, unit in units if unit.locked is not unit.told]
    found += [("cleared", name) for name in stages.gone]
    told = tuple(unit._replace(told=unit.locked) for unit in stages.units)
    return stages._replace(units=told, gone=()), found


def rotate(spec: Cascade, stages: Stages, civil: datetime | None) -> Stages:
    """Choose the lead, once a week and while nothing burns: no burner stops for it.

    `civil` None: the time is not known, and the last choice holds.
    """
    if civil is None or spec.rotation is None:
        return stages
    week = civil.date().toordinal() - civil.weekday()
    if stages.week is None:
        return stages._replace(week=week)
    if week <= stages.week or any(unit.on is not None for unit in stages.units):
        return stages
    lead = (stages.lead + 1) % len(stages.units)
    if spec.rotation == "hours":
        lead = min(range(len(stages.units)), key=lambda index: stages.units[index].ran)
    return stages._replace(week=week, lead=lead)


def see_stages(spec: Cascade, stages: Stages, outputs: Mapping[str, Output], now: Now) -> Stages:
    """Update the burners by their outputs, and count their run. An unknown output changes nothing."""
    if stages.names != spec.burners:
        stages = stages.of(spec.burners)
    t, units = now.monotonic, list(stages.units)
    for index, name in enumerate(spec.burners):
        unit, output = units[index], outputs.get(name)
        if output is not None and output.value is not None and (output.value is True) is (unit.on is None):
            since = min(output.since, t) if isfinite(output.since) else t
            unit = _counted(unit, t if unit.on is None else since)
            unit = unit._replace(on=since, at=since) if output.value is True else unit._replace(on=None)
        elif unit.on is not None and output is not None and t >= output.since > unit.on + SAME_RUN:
            unit = unit._replace(on=output.since, at=output.since)  # it went off unseen
        units[index] = unit
    return stages if tuple(units) == stages.units else stages._replace(units=tuple(units))


def _counted(unit: CascadeBurner, until: float) -> CascadeBurner:
    if unit.on is None or until <= unit.at:
        return unit
    return unit._replace(ran=round(unit.ran + until - unit.at, 3), at=until)


def guard_stages(
    stages: Stages, burner: Burner, curve: HeatCurve, target: float, view: View, now: Now
) -> tuple[Stages, Burner]:
    """Update the limit of the flow, and find burners without heat. An unknown flow lets no burner run."""
    t, flow = now.monotonic, good(view, curve.signal)
    if flow is None:
        lost = t if burner.lost is None else burner.lost
        failed = burner.failed or view.points.get(curve.signal) is not None or t >= lost + SILENCE
        stages = _judged(stages, t, counts=False)
        stages = stages._replace(missed=None, flow=None, target=target)
        return stages, burner._replace(lost=lost, failed=failed, locked=not order(stages))
    cut = flow > target - BAND if burner.cut else flow >= target + BAND
    hot = flow > curve.max_flow - BAND if burner.hot else flow >= curve.max_flow
    stages = _heat(stages, flow, target, t)._replace(flow=flow, target=target)
    locked = not order(stages)
    if (cut, hot, None, False, locked) != (burner.cut, burner.hot, burner.lost, burner.failed, burner.locked):
        burner = burner._replace(cut=cut, hot=hot, lost=None, failed=False, locked=locked)
    return stages, burner


def _heat(stages: Stages, flow: float, target: float, t: float) -> Stages:
    """Note a rise of the flow: the merit of a burner that is alone, else of the one that joined last."""
    burning = [index for index, unit in enumerate(stages.units) if unit.on is not None]
    if not burning:
        return stages if stages.low is None else stages._replace(low=None)
    fed = flow >= target - BAND or (stages.level is not None and flow >= stages.level - SAG)
    stages = _judged(stages, t, counts=not fed)
    if stages.low is None or flow < stages.low:
        return stages._replace(low=flow)
    if flow < stages.low + RISE:
        return stages
    last = max(burning, key=lambda index: stages.units[index].on or 0.0)
    units = list(stages.units)
    units[last] = units[last]._replace(barren=0.0)
    return stages._replace(units=tuple(units), low=flow, level=flow)


def _judged(stages: Stages, t: float, counts: bool) -> Stages:
    """Count the run of each burner; where it `counts`, without heat. One with 20 min of that is locked out."""
    units = []
    for unit in stages.units:
        passed = 0.0 if unit.on is None else max(t - unit.at, 0.0)
        found = _counted(unit, t)
        if counts and passed:
            barren = round(unit.barren + passed, 3)
            found = found._replace(barren=barren, locked=unit.locked or barren >= NO_HEAT)
        units.append(found)
    return stages if tuple(units) == stages.units else stages._replace(units=tuple(units))


def stage(spec: Cascade, stages: Stages, called: bool, burner: Burner, t: float) -> Stages:
    """How many burners are wanted now.

    The lead when heat is called for; one more whenever the flow missed its target for `lag_after`; one less each minute
    while the flow is too warm (`burner.cut`), the last one first.
    """
    ready, flow, target = len(order(stages)), stages.flow, stages.target
    if not called or flow is None or burner.hot or not ready:
        if (stages.wanted, stages.missed, stages.stepped) == (0, None, None):
            return stages
        return stages._replace(wanted=0, missed=None, stepped=None)
    wanted, missed, stepped = min(stages.wanted, ready), stages.missed, stages.stepped
    if burner.cut:
        if wanted and flow >= target + BAND and (stepped is None or t >= stepped + APART):
            wanted, stepped = wanted - 1, t
        return stages._replace(wanted=wanted, missed=None, stepped=stepped)
    wanted = max(wanted, 1)
    burning = sum(stages.units[index].on is not None for index in order(stages)[:wanted])
    if flow >= target - BAND or burning < wanted:
        missed = None
    elif missed is None:
        missed = t
    elif t >= missed + spec.lag_after and wanted < ready:
        wanted, missed = wanted + 1, None
    return stages._replace(wanted=wanted, missed=missed, stepped=None)


def stages_due(spec: Cascade, stages: Stages, burner: Burner, t: float) -> float:
    """When the cascade has next something to decide by itself (monotonic s)."""
    times = [
        NEVER if stages.missed is None else stages.missed + spec.lag_after,
        NEVER if stages.stepped is None or not stages.wanted else stages.stepped + APART,
        NEVER if burner.lost is None or burner.failed else burner.lost + SILENCE,
    ]
    times += [unit.at + NO_HEAT - unit.barren for unit in stages.units if unit.on is not None and not unit.locked]
    return min([time for time in times if time > t], default=NEVER)


def run_hours(spec: Cascade, stages: Stages) -> Sequence[tuple[str, float]]:
    """The run hours of each burner, to a hundredth."""
    return [(name, round(unit.ran / HOUR, 2)) for name, unit in zip(spec.burners, stages.units, strict=False)]
