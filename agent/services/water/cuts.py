"""The state of meters and a storage at one moment, such as midnight. Pure.

Meters are read at different times, and a radio is heard once an hour: what a meter shows at a moment is interpolated
between its readings before and after. A level ripples: it is the mean of some minutes around the moment. An input that
was silent for too long makes the cut lost: what follows from it is not known, and is not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from agent.control.api import View, fields, good
from agent.control.boot_time import BootShift
from agent.lib.counter import CounterTrail, Dial, follow

__all__ = ["AROUND", "Amounts", "Cut", "DistrictMeter", "MeterTotal", "Storage", "StoredVolume"]

AROUND = 300.0
"""Seconds before and after a cut over which the level of the storage is averaged."""
_WHOLE = 2 * AROUND - 0.01


@dataclass(frozen=True, slots=True)
class DistrictMeter:
    """A meter of a district: a signal or a point of a device. `litres` is how many one unit of it is."""

    name: str
    litres: float = 1.0
    dial: Dial | None = None
    """How it counts (in litres), where it is a point of a device; an index of a signal is right as it is (None)."""


@dataclass(frozen=True, slots=True)
class MeterTotal:
    """The count of a meter. `count` is its last index (litres; None: never read), `total` all that it counted since
    it was read first, over changes of the meter; `at` is when it was last read (monotonic s)."""

    count: float | None = None
    total: float = 0.0
    at: float = 0.0
    trail: CounterTrail | None = None
    """Only for a meter without a signal of its own; not kept."""

    def read(self, meter: DistrictMeter, view: View) -> tuple[MeterTotal, str]:
        """The total now, and whether another meter was found in its place (`replaced`, `returned`).

        A count that is doubted is no reading.
        """
        found = view.points.get(meter.name)
        if found is None or (found.at <= self.at and self.count is not None):
            return self, ""
        value = good(view, meter.name)
        if value is None or found.doubted:
            return self, ""
        litres, at = round(value * meter.litres, 3), found.at
        if self.count is None:
            return MeterTotal(litres, 0.0, at), ""
        if meter.dial is None:
            return MeterTotal(litres, self.total + max(0.0, litres - self.count), at, self.trail), ""
        trail = self.trail or CounterTrail(self.count, self.at)
        if trail.doubt is not None and at <= trail.doubt.last_at:
            return self, ""
        trail, grown, verdict = follow(meter.dial, trail, litres, at)
        read_at = self.at if trail.doubt is not None else at
        return MeterTotal(trail.count, self.total + grown, read_at, trail), verdict

    def dump(self) -> list[float | None]:
        return [self.count, round(self.total, 3), self.at]

    @classmethod
    def load(cls, kept: Sequence[Any]) -> MeterTotal:
        count, total, at = kept
        return cls(None if count is None else float(count), float(total), float(at))


@dataclass(frozen=True, slots=True)
class Storage:
    """A tank between the meters: the signal of its level (percent) and its capacity (litres)."""

    level: str
    capacity: float


class StoredVolume(NamedTuple):
    """The water in the storage (litres; None: never read), and when it was read (monotonic s)."""

    litres: float | None = None
    at: float = 0.0

    def read(self, storage: Storage | None, view: View) -> StoredVolume:
        percent = None if storage is None else good(view, storage.level)
        if storage is None or percent is None or view.points[storage.level].at <= self.at:
            return self
        return StoredVolume(percent / 100 * storage.capacity, view.points[storage.level].at)


@dataclass(frozen=True, slots=True)
class Amounts:
    """The sums of a complete cut: litres counted in and out, and litres stored. `day` is its day, `at` monotonic s."""

    day: str
    at: float
    inflow: float
    outflow: float
    stored: float

    def shifted(self, by: BootShift) -> Amounts:
        return replace(self, at=self.at + by.seconds)


class Cut(NamedTuple):
    """The totals of all meters at `at` (monotonic s), as far as they are known. `kind` and `day` say which moment it
    is. `area` and `covered` are the integral of the stored volume around it (litre seconds, seconds)."""

    kind: str
    day: str
    at: float
    totals: tuple[float | None, ...]
    area: float = 0.0
    covered: float = 0.0
    lost: str = ""
    """The input that was not known for too long; empty: none."""

    def meters_seen(
        self, names: Sequence[str], before: Sequence[MeterTotal], after: Sequence[MeterTotal], limit: float
    ) -> Cut:
        """The cut after a look at the meters. Readings may lie at most `limit` seconds apart."""
        totals, lost = list(self.totals), self.lost
        for index, (name, old, new) in enumerate(zip(names, before, after, strict=True)):
            if totals[index] is not None or new.count is None or new.at < self.at:
                continue
            if old.count is None or old.at > self.at or new.at - old.at > limit:
                lost = lost or name
            else:
                share = 1.0 if new.at == old.at else (self.at - old.at) / (new.at - old.at)
                totals[index] = old.total + (new.total - old.total) * share
        return self if totals == list(self.totals) and lost == self.lost else self._replace(
            totals=tuple(totals), lost=lost
        )  # fmt: skip

    def level_seen(self, name: str, before: StoredVolume, after: StoredVolume, limit: float) -> Cut:
        """The cut after a look at the storage."""
        if self.covered >= _WHOLE or after.at <= before.at or after.litres is None:
            return self
        begin, end = max(before.at, self.at - AROUND), min(after.at, self.at + AROUND)
        cut = self
        if before.litres is not None and end > begin:
            if after.at - before.at > limit:
                return cut._replace(lost=cut.lost or name)
            slope = (after.litres - before.litres) / (after.at - before.at)
            middle = before.litres + slope * ((begin + end) / 2 - before.at)
            cut = cut._replace(area=cut.area + middle * (end - begin), covered=cut.covered + end - begin)
        if after.at >= self.at + AROUND and cut.covered < _WHOLE:
            cut = cut._replace(lost=cut.lost or name)
        return cut

    def missing(self, names: Sequence[str], storage: Storage | None) -> str:
        """The first input that is not known yet; empty: the cut is complete."""
        absent = next((name for name, total in zip(names, self.totals, strict=True) if total is None), "")
        return absent or (storage.level if storage is not None and self.covered < _WHOLE else "")

    def amounts(self, inflows: int) -> Amounts:
        """The sums of a complete cut; the first `inflows` meters count what comes in."""
        totals = [total or 0.0 for total in self.totals]
        stored = self.area / self.covered if self.covered else 0.0
        return Amounts(self.day, self.at, sum(totals[:inflows]), sum(totals[inflows:]), stored)

    def shifted(self, by: BootShift) -> Cut:
        return self._replace(at=self.at + by.seconds)

    def dump(self) -> dict[str, Any]:
        return fields(self)

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Cut:
        return cls(**{**kept, "totals": tuple(kept["totals"])})
