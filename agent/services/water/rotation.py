"""Pumps that share a duty: which of them run, each in its turn, and which takes over for one that cannot. Pure.

The caller says how many pumps are wanted, and which may not run (a dry run, a thermal fault); `rotate` says which are
on duty, and counts the run time and the starts of each. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

from agent.control.api import NEVER, Output, View, updated
from agent.control.boot_time import BootShift
from agent.control.spell import SAME_RUN, Spell, next_fold

__all__ = ["APART", "PumpRecord", "Rotation", "RotationState", "rotate", "runs"]

WISH = 15
"""The priority at which the pumps on duty are wished for. A lower number that holds a pump is not the rotation's."""
APART = 10.0
"""Seconds between two starts of pumps that share a duty: the stagger of their group in the arbiter."""
ASIDE = 3600.0
"""Seconds for which a pump that did not run comes after the others."""
RETRY = 600.0
"""Seconds after which, where no pump runs, the next one is tried."""
TURN = 24 * 3600.0
"""Seconds of one run after which another pump takes its turn, although the duty goes on."""
LEAD = {"hours": 24 * 3600.0, "starts": 10.0}
"""Run time (s), or starts, by which a pump that was out of use for long is behind at the most: it catches that up."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """`pumps` are actuators. `alternate`: the pump with the fewest hours, or starts, has its turn."""

    pumps: tuple[str, ...]
    alternate: str = "hours"
    standby_after: float = 60.0
    """Seconds for which a pump on duty may fail to run before another takes over."""
    patience: float = 600.0
    """Seconds that a pump may be kept waiting by its limits (min_off) before another takes over: a restart of the
    agent is no reason for a changeover."""
    with_feedback: frozenset[str] = frozenset()
    """The pumps that have a feedback: one whose feedback is not read may run, but that is not known."""

    def is_seen(self, pump: str, output: Output) -> bool:
        """Whether it is known of a pump that runs, and not only not contradicted."""
        return output.unread == NEVER and (output.feedback is not None or pump not in self.with_feedback)


class PumpRecord(NamedTuple):
    """The account of one pump, and whether it does what is wanted of it."""

    run: Spell = Spell()
    """Its run time."""
    starts: int = 0
    credit: float = 0.0
    """Run time (s), or starts, that it does not catch up."""
    began: float | None = None
    """Since when it runs; None: it does not."""
    ran_at: float | None = None
    """When it last stopped."""
    missing: float | None = None
    """Since when it is on duty and does not run, although no limit holds it; not kept."""
    failed: float | None = None
    """When it last failed to run; None: it has run since."""
    held: float = -NEVER
    """Until when a limit keeps it from starting; not kept."""

    @property
    def fails(self) -> bool:
        """It was put on duty and has not run since, for longer than it may take."""
        return self.missing is not None and self.failed is not None and self.failed >= self.missing

    def turn(self, alternate: str, now: float) -> float:
        """The number that decides on its turn: the least has it."""
        return self.credit + (self.run.total(now) if alternate == "hours" else self.starts)

    @property
    def kept_seconds(self) -> float:
        """The run time as it is kept, and told: what was told never goes back after a restart."""
        return round(self.run.seconds, 1)

    def dump(self) -> dict[str, Any]:
        return {
            "seconds": self.kept_seconds, "since": self.run.since, "starts": self.starts,
            "credit": self.credit, "began": self.began, "ran_at": self.ran_at, "failed": self.failed,
        }  # fmt: skip

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> PumpRecord:
        run, starts, credit = Spell(float(kept["seconds"]), kept["since"]), int(kept["starts"]), float(kept["credit"])
        return cls(run, starts, credit, kept["began"], kept["ran_at"], failed=kept["failed"])

    def shifted(self, by: BootShift) -> PumpRecord:
        return self._replace(
            run=self.run.shifted(by), began=by.optional(self.began), ran_at=by.optional(self.ran_at),
            failed=by.optional(self.failed),
        )  # fmt: skip


class RotationState(NamedTuple):
    """`records` are those of `Rotation.pumps`, in their order."""

    records: tuple[PumpRecord, ...]
    duty: tuple[str, ...] = ()
    """The pumps to wish for, in the order of the rotation: these `on`, all others `off`."""
    idle_since: float | None = None
    """Since when no pump can run although one was wanted: each is out, held by another, or has failed. It ends when one
    can. Not kept."""

    @classmethod
    def of(cls, rotation: Rotation) -> RotationState:
        return cls((PumpRecord(),) * len(rotation.pumps))

    def dump(self, rotation: Rotation) -> dict[str, Any]:
        records = {pump: one.dump() for pump, one in zip(rotation.pumps, self.records, strict=True)}
        return {"duty": list(self.duty), "records": records}

    @classmethod
    def load(cls, rotation: Rotation, kept: Mapping[str, Any] | None) -> RotationState:
        """From what was kept, if anything. The file may have other pumps by now, or others in their order."""
        if kept is None:
            return cls.of(rotation)
        known = kept["records"]
        records = tuple(PumpRecord.load(known[pump]) if pump in known else PumpRecord() for pump in rotation.pumps)
        return cls(records, tuple(pump for pump in rotation.pumps if pump in kept["duty"]))

    def shifted(self, by: BootShift) -> RotationState:
        return self._replace(records=tuple(one.shifted(by) for one in self.records))

    def record(self, rotation: Rotation, pump: str) -> PumpRecord:
        return self.records[rotation.pumps.index(pump)]


def runs(output: Output | None) -> bool:
    """Whether a pump runs, as far as is known: its contactor is on and its feedback does not say otherwise."""
    return output is not None and bool(output.value) and output.feedback is not False


class _Pump(NamedTuple):
    """One pump at this moment."""

    name: str
    record: PumpRecord
    runs: bool
    commanded: bool
    """It runs by another's will: a command, a hand."""
    free: bool
    """It may be put on duty."""
    rank: int
    """0: fine; 1: a limit holds it for long; 2: it failed to run within the last hour."""
    turn: float


def rotate(
    rotation: Rotation, state: RotationState, view: View, wanted: int, out: Container[str], now: float
) -> tuple[RotationState, float]:
    """Put `wanted` pumps on duty (0: none), and say when to look again.

    `out` are the pumps that may not run for the caller's own reasons. A pump that a command or another control holds
    off does not count either; one that runs by a command counts as wanted.
    """
    records = []
    for name, before in zip(rotation.pumps, state.records, strict=True):
        records.append(_see(rotation, name, before, view.outputs.get(name), name in state.duty, now))
    if wanted:
        records = _caught_up(rotation, records, now)
    pumps, able = [], False
    for name, record in zip(rotation.pumps, records, strict=True):
        pump = _judge(rotation, name, record, view.outputs.get(name), name in out, now)
        able = able or pump.runs or (pump.free and record.failed is None)
        pumps.append(pump)
    idle_since = None if able else state.idle_since
    if idle_since is None and wanted and not able:
        idle_since = now
    duty = _duty(rotation, state.duty, pumps, wanted, now) if wanted else ()
    found = tuple(_expect(pump, pump.name in duty, now) for pump in pumps)
    if (found, duty, idle_since) != (state.records, state.duty, state.idle_since):
        state = RotationState(found, duty, idle_since)
    return state, _due(rotation, state, now)


def _see(
    rotation: Rotation, name: str, record: PumpRecord, output: Output | None, on_duty: bool, now: float
) -> PumpRecord:
    """Count its run, and whether it does what is wanted of it."""
    if output is not None and runs(output):
        since = output.since if isfinite(output.since) else None
        return _see_run(rotation, record, since, rotation.is_seen(name, output), now)
    is_known = output is not None and output.value is not None
    if record.began is not None and is_known:
        record = record._replace(began=None, ran_at=now)
    held = output.waits if output is not None and on_duty else record.held
    held = held if held > now else -NEVER
    missing, failed = None if held > now else record.missing, record.failed
    if missing is not None and now >= missing + rotation.standby_after and (failed is None or failed < missing):
        failed = now
    return updated(record, run=record.run.at(now, False), missing=missing, failed=failed, held=held)


def _see_run(rotation: Rotation, record: PumpRecord, since: float | None, is_seen: bool, now: float) -> PumpRecord:
    """It runs since then (None: that is not known). A pump is well again when it is seen to run, and has for as long
    as it may take to start."""
    began, run, starts = record.began, record.run, record.starts
    is_well = is_seen and began is not None and now >= began + rotation.standby_after
    failed = None if is_well else record.failed
    if began is None or (since is not None and since > began + SAME_RUN):
        if began is not None:  # it stopped unseen
            run = Spell(run.seconds)
        began, starts = now if since is None else min(since, now), starts + 1
    run = run.at(now, True)
    return updated(record, run=run, starts=starts, began=began, missing=None, failed=failed, held=-NEVER)


def _caught_up(rotation: Rotation, records: Sequence[PumpRecord], now: float) -> list[PumpRecord]:
    """A pump that was out of use for long, or is new, does not run alone until all hours are equal."""
    turns = [record.turn(rotation.alternate, now) for record in records]
    least = max(turns) - LEAD[rotation.alternate]
    return [
        record._replace(credit=record.credit + least - turn) if turn < least else record
        for record, turn in zip(records, turns, strict=True)
    ]


def _judge(rotation: Rotation, name: str, record: PumpRecord, output: Output | None, is_out: bool, now: float) -> _Pump:
    going, others = runs(output), output is not None and output.priority < WISH
    failed = record.failed is not None and not going and (record.fails or now < record.failed + ASIDE)
    rank = 2 if failed else 1 if record.held > now + rotation.patience else 0
    commanded, free = going and others and not is_out, not is_out and (going or not others)
    return _Pump(name, record, going, commanded, free and not commanded, rank, record.turn(rotation.alternate, now))


def _duty(
    rotation: Rotation, before: Container[str], pumps: Sequence[_Pump], wanted: int, now: float
) -> tuple[str, ...]:
    """The pumps on duty. One that is on duty already stays so, unless it fails and another does not."""
    chosen = [pump for pump in pumps if pump.commanded]
    free = [pump for pump in pumps if pump.free]
    need = max(wanted - len(chosen), 0)
    kept = sorted((pump for pump in free if pump.name in before), key=_order)[:need]
    spare = sorted((pump for pump in free if pump not in kept), key=_order)
    for place, pump in enumerate(kept):
        if spare and _gives_way(pump, spare[0], now):
            kept[place] = spare.pop(0)
            spare.append(pump)
    chosen += kept + spare[: need - len(kept)]
    names = {pump.name for pump in chosen}
    return tuple(pump for pump in rotation.pumps if pump in names)


def _expect(pump: _Pump, on_duty: bool, now: float) -> PumpRecord:
    """From now on a pump on duty is expected to run; a limit that holds it is no failure."""
    record = pump.record
    if not on_duty or pump.runs or record.held > now:
        return record if record.missing is None else record._replace(missing=None)
    return record if record.missing is not None else record._replace(missing=now)


def _order(pump: _Pump) -> tuple[int, float, bool, float]:
    """The best first: of pumps that failed the one whose failure is longest ago, of others one that runs already."""
    failed = pump.record.failed or 0.0
    return pump.rank, failed if pump.rank == 2 else 0.0, not pump.runs, pump.turn


def _gives_way(pump: _Pump, other: _Pump, now: float) -> bool:
    """Whether a pump on duty hands over to the best of the others."""
    record = pump.record
    if other.rank != pump.rank:
        return other.rank < pump.rank
    if pump.rank == 2:  # both failed: each is tried, and then given time
        return record.fails and now >= (record.failed or 0.0) + RETRY
    long_run = pump.runs and record.began is not None and now >= record.began + TURN
    return long_run and not other.runs and other.turn < pump.turn


def _due(rotation: Rotation, state: RotationState, now: float) -> float:
    times = [NEVER]
    for record in state.records:
        if record.run.since is not None:
            times.append(next_fold(now))
            if record.began is not None:
                times += [record.began + TURN, record.began + rotation.standby_after]
        if record.missing is not None:
            times.append(record.missing + rotation.standby_after)
        if record.failed is not None and state.duty:
            times += [record.failed + RETRY, record.failed + ASIDE]
    if state.idle_since is not None:
        times.append(state.idle_since + rotation.standby_after)
    return min(time for time in times if time > now)
