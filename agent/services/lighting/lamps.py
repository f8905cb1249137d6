"""The lamps of a circuit: their power while all of them burn, and the faults that another power shows.

The baseline is learned: for each level the median of the last seven nights' mean power, once the lamps have settled.
It is frozen while a fault of the lamps is open, or some nights would make the lost lamp normal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from statistics import median
from typing import Any, NamedTuple

from agent.services.lighting.faults import LAMP_FAULTS

__all__ = ["SETTLE", "Baseline", "Lamps", "Neighbour", "Observation"]

SETTLE = 600.0
"""Seconds after a switching or a change of level before the power counts: HID lamps run up for that long."""
NIGHTS = 7
"""How many nights make the median."""
LEAST_NIGHTS = 3
"""Fewer nights give no verdict on single lamps."""
LEAST_SAMPLE = 600.0
"""Seconds at a level that make a night count."""
LOST = 0.7
"""Part of one lamp's power: a deficit above it is a lamp."""
HINT = 0.1
"""Part of one lamp's power: a deficit that is left by the steepest ballast."""
DROP, DEAD = 0.10, 0.05
"""Parts of the normal power: a deficit that is major; a rest that is nothing."""
LEAK_POWER = 20.0
"""W that a circuit which is off may take, or 5 % of its power where that is more."""
UNDERVOLTAGE = 184.0
"""V: 230 V less 20 %."""
NO_VOLTAGE = 50.0
"""V: below it the wire is dead."""
NEAR_VOLTAGE, SAME_VOLTAGE = 0.10, 0.03
"""HID lamps are judged within this part of the voltage at which they were learned, their power corrected by (V/V0)^2;
together with others behind one meter only within the second part: which power depends on it is not known."""
SQUARE, STEEP = 2.0, 2.2
"""Exponents of ballasts: 2.9 % less voltage takes 6.3 % of the power of some. Of 40 lamps at 9 % less, the difference
is most of a lamp, and no lamp is missed that it may be."""

_NO_VERDICT: Mapping[str, bool | None] = dict.fromkeys(sorted(LAMP_FAULTS))


class Neighbour(NamedTuple):
    """Another circuit behind the same meter: its contactor, its level in %, its rated W (None: not said), its lamps."""

    actuator: str
    level: float
    rated: float | None
    hid: bool


class Observation(NamedTuple):
    """A circuit at one moment. Power in W, voltage in V (the lowest phase), level in %; None: not known."""

    commanded: bool | None
    feedback: bool | None
    settled: bool
    level: float
    power: float | None
    voltage: float | None
    manual: bool | None
    """The state that the local switch forces; None: it is in AUTO."""
    daylight: bool | None
    """Well after dawn and well before dusk."""
    beside: tuple[Neighbour, ...] = ()
    """The circuits behind the same meter that are on now: its power is the sum."""
    shared: float = 0.0
    """W that all circuits behind the same meter are rated at, beside this one."""

    @property
    def key(self) -> str:
        """The combination that is on: the level, and the other circuits behind the meter."""
        return "|".join((str(round(self.level)), *(f"{one.actuator}@{round(one.level)}" for one in self.beside)))

    @property
    def closed(self) -> bool | None:
        """Whether the contactor is: by its feedback, without one by its command."""
        return self.commanded if self.feedback is None else self.feedback

    @property
    def burning(self) -> bool:
        """On by command and not by the local switch, and settled."""
        return bool(self.commanded and self.settled and self.feedback is not False and self.manual is None)


class Normal(NamedTuple):
    """The power of a circuit at a level: W, and V where it was measured."""

    power: float
    voltage: float | None
    nights: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """By `Observation.key`: the means (W, V) of the last nights, and the sums (W s, V s, s) of the current night."""

    nights: Mapping[str, tuple[tuple[float, float | None], ...]] = field(default_factory=dict)
    sums: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    night: date | None = None

    def normal(self, key: str) -> Normal | None:
        nights = self.nights.get(key)
        return None if not nights else _normal(nights)

    def counted(self, key: str, power: float, voltage: float | None, seconds: float) -> Baseline:
        """After `seconds` more of the same."""
        watts, volts, whole = self.sums.get(key, (0.0, 0.0, 0.0))
        more = (watts + power * seconds, volts + (voltage or 0.0) * seconds, whole + seconds)
        return replace(self, sums={**self.sums, key: more})

    def turned(self, night: date) -> Baseline:
        """Into another night: the one that is over counts, if it was seen for long enough."""
        if self.night is None or night <= self.night:
            return self if night == self.night else replace(self, night=night, sums={})
        nights = dict(self.nights)
        for key, (watts, volts, seconds) in self.sums.items():
            if seconds >= LEAST_SAMPLE:
                mean = (watts / seconds, volts / seconds or None)
                nights[key] = (*nights.get(key, ()), mean)[-NIGHTS:]
        return Baseline(nights, {}, night)

    def dump(self) -> dict[str, Any]:
        sums = {key: [round(one) for one in found] for key, found in self.sums.items()}
        nights = {key: [list(one) for one in found] for key, found in self.nights.items()}
        return {"nights": nights, "sums": sums, "night": None if self.night is None else self.night.isoformat()}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Baseline:
        nights = {key: tuple((watts, volts) for watts, volts in found) for key, found in kept["nights"].items()}
        sums = {key: (float(a), float(b), float(c)) for key, (a, b, c) in kept["sums"].items()}
        return cls(nights, sums, None if kept["night"] is None else date.fromisoformat(kept["night"]))


@dataclass(frozen=True, slots=True)
class Lamps:
    """The lamps of the circuit: `rated` W, `count` lamps; a meter `downstream` of the contactor is dead while off."""

    rated: float | None = None
    count: int | None = None
    hid: bool = False
    downstream: bool = False

    def judge(self, observation: Observation, baseline: Baseline) -> dict[str, bool | None]:
        """For each fault whether it is present; None: no verdict now, neither that it began nor that it is over."""
        return {
            **self._lamps(observation, baseline),
            "contactor_welded": self._welded(observation),
            "contactor_open": self._open(observation),
            "day_burning": self._day_burning(observation),
            "undervoltage": self._undervoltage(observation),
        }

    def expected(self, observation: Observation, baseline: Baseline) -> float | None:
        """W that the meter should show: as learned, else as rated."""
        normal = baseline.normal(observation.key)
        if normal is not None:
            return normal.power
        parts = [(self.rated, observation.level), *((one.rated, one.level) for one in observation.beside)]
        found = [rated * level / 100 for rated, level in parts if rated is not None]
        return sum(found) if len(found) == len(parts) else None

    def share(self, observation: Observation) -> float | None:
        """W of this circuit: all that the meter shows, or its part of it by the rated powers; None: not known."""
        if not observation.beside or observation.power is None:
            return observation.power
        if not observation.closed:
            return 0.0
        own, whole = (self.rated or 0.0) * observation.level, self.expected(observation, Baseline())
        return None if not whole else observation.power * own / 100 / whole

    def corrected(self, observation: Observation, normal: Normal, ballast: float = SQUARE) -> float | None:
        """W as they would be at the voltage of `normal`, None where that cannot be said. LED keep their power."""
        hid = {self.hid, *(one.hid for one in observation.beside)}
        if observation.power is None or hid == {False}:
            return observation.power
        if observation.voltage is None or normal.voltage is None:
            return None
        off = abs(observation.voltage - normal.voltage) / normal.voltage
        if hid == {True, False}:
            return observation.power if off <= SAME_VOLTAGE else None
        return observation.power * (normal.voltage / observation.voltage) ** ballast if off <= NEAR_VOLTAGE else None

    def _lamps(self, observation: Observation, baseline: Baseline) -> dict[str, bool | None]:
        found = dict(_NO_VERDICT)
        expected = self.expected(observation, baseline)
        if not observation.burning or observation.power is None or not expected:
            return found
        if observation.voltage is None or observation.voltage >= UNDERVOLTAGE:
            found["circuit_dead"] = self._dead(observation, observation.power, expected)
        normal = baseline.normal(observation.key)
        power = None if normal is None else self.corrected(observation, normal)
        if normal is None or normal.nights < LEAST_NIGHTS or power is None:
            return found
        deficit = normal.power - power
        found["power_drop"] = deficit >= DROP * normal.power
        if self.count is not None and not observation.beside:
            steep = self.corrected(observation, normal, STEEP)
            left = deficit if steep is None else normal.power - steep
            found["lamp_lost"] = _is_lost(deficit, left, normal.power / self.count)
        return found

    def _dead(self, observation: Observation, power: float, expected: float) -> bool | None:
        """Whether the circuit takes no power. A shared meter that lacks half of its part gives no verdict."""
        if power < DEAD * expected:
            return True
        part = DROP * expected if self.rated is None else self.rated * observation.level / 100
        return None if observation.beside and power < expected - part / 2 else False

    def _idle_power(self, observation: Observation) -> float:
        return max(DEAD * ((self.rated or 0.0) + observation.shared), LEAK_POWER)

    def _welded(self, observation: Observation) -> bool | None:
        unread = observation.power is None and observation.feedback is None
        if observation.manual is not None or observation.commanded is not False or unread:
            return None
        if observation.beside:  # what the meter shows is theirs
            return observation.feedback
        drawn = observation.power is not None and observation.power > self._idle_power(observation)
        return bool(observation.feedback) or drawn

    def _open(self, observation: Observation) -> bool | None:
        if observation.manual is not None or not observation.commanded:
            return None
        if observation.feedback is not None:
            return not observation.feedback
        return None if not self.downstream or observation.voltage is None else observation.voltage < NO_VOLTAGE

    def _day_burning(self, observation: Observation) -> bool | None:
        if observation.power is None or observation.manual is not None or observation.beside:
            return None
        limit = LEAK_POWER if self.rated is None else DEAD * (self.rated + observation.shared)
        if observation.power <= limit:
            return False
        return True if observation.daylight and not observation.commanded else None

    def _undervoltage(self, observation: Observation) -> bool | None:
        voltage = observation.voltage
        if voltage is None or (self.downstream and (not observation.closed or voltage < NO_VOLTAGE)):
            return None
        return voltage < UNDERVOLTAGE


def _is_lost(deficit: float, left: float, lamp: float) -> bool | None:
    """Whether a deficit (W) is a lamp of so many W; `left` of it by a steep ballast. None: it may be the ballasts."""
    if deficit > LOST * lamp and left > HINT * lamp:
        return True
    return None if max(deficit, left) > LOST * lamp else False


@lru_cache(maxsize=64)
def _normal(nights: tuple[tuple[float, float | None], ...]) -> Normal:
    voltages = [volts for _, volts in nights if volts is not None]
    return Normal(median(watts for watts, _ in nights), median(voltages) if voltages else None, len(nights))
