"""Several burners as a cascade: which one leads, when another one joins, and which one gives no heat.

The first one on is the last one off. All share one flow, so a burner is judged by what it gives alone, and beside what
another one gives alone: a plant may need several of them for any heat at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any, NamedTuple

from agent.control.api import NEVER, Now, Output, View, good
from agent.control.spell import SAME_RUN
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
    """Seconds that it burned alone without giving heat, since it last gave some: in doubt from `NO_HEAT` on."""
    locked: bool = False
    told: bool = False
    """The alarm of the lockout is raised."""
    outdone: float | None = None
    """The flow (degC) from which another one gave heat alone while this one was in doubt: it gets a last try."""


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
    """The lowest flow since heat was seen last, or since the burners that burn are these."""
    low_at: float = 0.0
    cold: float | None = None
    """Since when these burn without heat."""
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
    if tuple(units) == stages.units:
        return stages
    if [unit.on for unit in units] != [unit.on for unit in stages.units]:
        stages = stages._replace(low=None, cold=None)
    return stages._replace(units=tuple(units))


def _counted(unit: CascadeBurner, until: float) -> CascadeBurner:
    if unit.on is None or until <= unit.at:
        return unit
    return unit._replace(ran=round(unit.ran + until - unit.at, 3), at=until)


def guard_stages(
    spec: Cascade, stages: Stages, burner: Burner, curve: HeatCurve, target: float, view: View, now: Now
) -> tuple[Stages, Burner]:
    """Update the limit of the flow, and find burners without heat. An unknown flow lets no burner run."""
    t, flow = now.monotonic, good(view, curve.signal)
    units = tuple(_counted(unit, t) for unit in stages.units)
    if flow is None:
        lost = t if burner.lost is None else burner.lost
        failed = burner.failed or view.points.get(curve.signal) is not None or t >= lost + SILENCE
        stages = stages._replace(units=units, cold=None, missed=None, flow=None, target=target)
        return stages, burner._replace(lost=lost, failed=failed, locked=not order(stages))
    cut = flow > target - BAND if burner.cut else flow >= target + BAND
    hot = flow > curve.max_flow - BAND if burner.hot else flow >= curve.max_flow
    stages = _heat(spec, stages._replace(units=units, flow=flow, target=target), flow, target, t)
    locked = not order(stages)
    if (cut, hot, None, False, locked) != (burner.cut, burner.hot, burner.lost, burner.failed, burner.locked):
        burner = burner._replace(cut=cut, hot=hot, lost=None, failed=False, locked=locked)
    return stages, burner


def _heat(spec: Cascade, stages: Stages, flow: float, target: float, t: float) -> Stages:
    """Note a rise of the flow: a burner that is alone gave it. And judge burners that were without one for long."""
    burning = [index for index, unit in enumerate(stages.units) if unit.on is not None]
    if not burning:
        tried = (index for index in order(stages) if _is_fair(stages.units[index], flow))
        return stages._replace(lead=next(tried, stages.lead), low=None, cold=None)
    if stages.low is None or flow <= stages.low:
        stages = stages._replace(low=flow, low_at=t)
    elif flow >= stages.low + RISE:
        hums = flow >= target + BAND  # of heat that is left from a burner that has just gone off
        if len(burning) == 1 and not hums:
            stages = _gave(stages, burning[0], quick=t <= stages.low_at + min(spec.lag_after, NO_HEAT))
        return stages._replace(low=flow, low_at=t, level=flow, cold=None)
    fed = flow >= target - BAND or (stages.level is not None and flow >= stages.level - SAG)
    alone = stages.units[burning[0]] if len(burning) == 1 < len(order(stages)) else None
    if fed or (alone is not None and alone.outdone is not None and not _is_fair(alone, flow)):
        return stages._replace(cold=None)
    cold = t if stages.cold is None else stages.cold
    stages = stages._replace(cold=cold)
    span = _patience(spec, stages, burning)
    if t < cold + span:
        return stages
    if set(order(stages)) <= set(burning):
        units = tuple(unit._replace(locked=True) for unit in stages.units)
        return stages._replace(units=units)
    return _doubted(stages._replace(low=flow, low_at=t, cold=t), burning[0], span)


def _patience(spec: Cascade, stages: Stages, burning: Sequence[int]) -> float:
    """After so many seconds without heat these are judged: one that is alone, or all. Others prove nothing."""
    ready = order(stages)
    if ready and set(ready) <= set(burning):
        return NO_HEAT
    return min(spec.lag_after, NO_HEAT) if len(burning) == 1 and burning[0] in ready else NEVER


def _is_fair(unit: CascadeBurner, flow: float) -> bool:
    """Whether this is a last try, from no warmer a flow than the one from which another one gave heat."""
    return unit.outdone is not None and flow <= unit.outdone + RISE


def _gave(stages: Stages, alone: int, quick: bool) -> Stages:
    """This one gave heat alone. Where that was `quick`, those in doubt are outdone: each leads once more."""
    units, low = list(stages.units), stages.low
    for index, unit in enumerate(units):
        if index == alone:
            units[index] = unit._replace(barren=0.0, outdone=None)
        elif quick and low is not None and unit.outdone is not None:
            units[index] = unit._replace(outdone=max(unit.outdone, low))
        elif quick and unit.barren >= NO_HEAT and not unit.locked:
            units[index] = unit._replace(barren=0.0, outdone=low)
    return stages._replace(units=tuple(units))


def _doubted(stages: Stages, alone: int, span: float) -> Stages:
    """This one gave no heat alone for so long. After 20 min of that in all another one leads.

    It is locked out if it was outdone before. If no other one gave heat alone either, the plant needs several: nothing
    is held against any of them, and all join.
    """
    units, ready = list(stages.units), order(stages)
    unit = units[alone]
    units[alone] = unit = unit._replace(barren=round(unit.barren + span, 3))
    able = [index for index in ready if units[index].barren < NO_HEAT]
    if unit.barren < NO_HEAT:
        return stages._replace(units=tuple(units))
    if not able:
        for index in ready:
            units[index] = units[index]._replace(barren=0.0, outdone=None)
        return stages._replace(units=tuple(units), wanted=len(ready))
    if unit.outdone is not None:
        units[alone] = unit._replace(locked=True, outdone=None)
    return stages._replace(units=tuple(units), lead=able[0])


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
    if stages.cold is not None:
        burning = [index for index, unit in enumerate(stages.units) if unit.on is not None]
        times.append(stages.cold + _patience(spec, stages, burning))
    return min([time for time in times if time > t], default=NEVER)


def run_hours(spec: Cascade, stages: Stages) -> Sequence[tuple[str, float]]:
    """The run hours of each burner, to a hundredth."""
    return [(name, round(unit.ran / HOUR, 2)) for name, unit in zip(spec.burners, stages.units, strict=False)]
