"""What a signal makes of the readings of its source: a current becomes a level, pulses become an index.

Pure: `step(state, reading)` gives the next state and the signal's own reading, with the time and the quality of the
source carried through. The hub keeps the states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.control.meter import most_drawn
from agent.model import Kind, Point, Quality, Reading, Value

__all__ = ["Signal", "SignalState", "current_to_value", "step"]

FAULT_LOW, FAULT_HIGH = 3.6, 21.0
"""mA at or beyond which a 4-20 mA loop is broken or shorted (NAMUR NE 43)."""
_LITRES = {"L": 1.0, "m3": 1000.0}


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal of the site file, in base units.

    `scale`: (value at 4 mA, value at 20 mA) for a current, else (factor, offset) on the source's value.
    `current` is how many mA one unit of the source is (0.001 for a source in microamperes), None when the signal is
    no 4-20 mA current. `valid` bounds what is believed, `max_rate` is per second. A counter has `per_pulse`
    (its unit per count), `modulus` (the source counts modulo this; None: it only grows) and `initial_index`: what the
    meter's own dial showed at the first count that we saw; for pulses of ours, at pulse 0.
    """

    name: str
    source: str
    unit: str = ""
    current: float | None = None
    scale: tuple[float, float] = (1.0, 0.0)
    valid: tuple[float, float] | None = None
    max_rate: float | None = None
    stale_after: float | None = None
    per_pulse: float | None = None
    initial_index: float | None = None
    modulus: int | None = None

    @property
    def is_counter(self) -> bool:
        return self.per_pulse is not None

    def point(self) -> Point:
        """The signal as a point like any other."""
        kind = Kind.COUNTER if self.is_counter else Kind.TELEMETRY
        return Point(self.name, "signals", self.unit, kind, stale_after=self.stale_after)


@dataclass(frozen=True, slots=True)
class SignalState:
    """What a signal remembers: its last good value and when (boottime, ns; 0: before this start); a counter its last
    count and index, and how often its source turned out to be another meter."""

    value: float | None = None
    at_ns: int = 0
    count: int | None = None
    index: float | None = None
    swaps: int = 0


def current_to_value(milliamperes: float, low: float, high: float) -> float | None:
    """A 4-20 mA current as a value of the range; None where NE 43 calls it a fault (<= 3.6 or >= 21 mA).

    Beyond 4 and 20 mA the value is held at the end of its range: a light sensor saturates every day.
    """
    if not FAULT_LOW < milliamperes < FAULT_HIGH:
        return None
    share = min(max((milliamperes - 4) / 16, 0.0), 1.0)
    return low + share * (high - low)


def step(signal: Signal, state: SignalState, reading: Reading) -> tuple[SignalState, Reading]:
    """The signal's answer to one reading of its source. A bad or stale source gives a bad or stale signal."""
    if reading.quality is Quality.BAD or reading.value is None:
        return state, Reading(signal.name, None, reading.at, Quality.BAD)
    if reading.quality is Quality.STALE:
        last = state.index if signal.is_counter else state.value
        return state, Reading(signal.name, _tidy(last), reading.at, Quality.STALE)
    if isinstance(reading.value, str):
        return state, Reading(signal.name, reading.value, reading.at, Quality.BAD)
    if signal.is_counter:
        return _count(signal, state, reading, int(reading.value))
    return _measure(signal, state, reading, float(reading.value))


def _measure(signal: Signal, state: SignalState, reading: Reading, raw: float) -> tuple[SignalState, Reading]:
    if signal.current is not None:
        value = current_to_value(raw * signal.current, *signal.scale)
        if value is None:
            return state, Reading(signal.name, None, reading.at, Quality.BAD)
    else:
        factor, offset = signal.scale
        value = raw * factor + offset
    value = round(value, 6)
    if signal.valid is not None and not signal.valid[0] <= value <= signal.valid[1]:
        return state, Reading(signal.name, value, reading.at, Quality.BAD)
    if signal.max_rate is not None and state.value is not None:
        seconds = (reading.at.boottime_ns - state.at_ns) / 1e9
        if abs(value - state.value) > signal.max_rate * max(seconds, 0.0):
            return state, Reading(signal.name, value, reading.at, Quality.BAD)
    return replace(state, value=value, at_ns=reading.at.boottime_ns), Reading(signal.name, value, reading.at)


def _count(signal: Signal, state: SignalState, reading: Reading, count: int) -> tuple[SignalState, Reading]:
    """An index never goes back: of another meter it goes on from where it is, and counts what comes from now on."""
    assert signal.per_pulse is not None
    index, swaps = state.index, state.swaps
    if state.count is None or index is None:
        index = _first_index(signal, count)
    elif _is_another(signal, state, state.count, count, reading.at.boottime_ns):
        swaps += 1
    else:
        index += _grown(state.count, count, signal.modulus) * signal.per_pulse
    after = replace(state, count=count, index=index, swaps=swaps, at_ns=reading.at.boottime_ns)
    return after, Reading(signal.name, _tidy(index), reading.at)


def _first_index(signal: Signal, count: int) -> float:
    assert signal.per_pulse is not None
    if signal.modulus is not None and signal.initial_index is not None:
        return signal.initial_index
    return (signal.initial_index or 0) + count * signal.per_pulse


def _grown(before: int, now: int, modulus: int | None) -> int:
    """Counts since the last one. Pulses of ours that are fewer than they were were lost in a power cut: none."""
    return max(0, now - before) if modulus is None else (now - before) % modulus


def _is_another(signal: Signal, state: SignalState, before: int, now: int, at_ns: int) -> bool:
    """Whether a register that showed `before` and now shows `now` is another meter's.

    It is if that were a growth by more than half its range, or a rollover that brought more water than goes through
    a meter in the time (where it is known). A step forward is believed: much is drawn while nobody listens.
    """
    if signal.modulus is None:
        return False
    grown = _grown(before, now, signal.modulus)
    if grown > signal.modulus // 2:
        return True
    litres = _LITRES.get(signal.unit)
    if now >= before or litres is None or not state.at_ns:
        return False
    pulse = litres * (signal.per_pulse or 1.0)
    return grown * pulse > most_drawn((at_ns - state.at_ns) / 1e9, pulse)


def _tidy(value: float | None) -> Value:
    """Litres are integers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
