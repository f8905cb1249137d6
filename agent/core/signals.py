"""Signals from the readings of their sources: a current becomes a level, pulses become an index.

Pure: `step(state, reading)` gives the next state and the signal's own reading, with the time and the quality of the
source carried through. The hub keeps the states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from agent.lib.counter import CounterTrail, Dial, Doubt, ReplacedMeter, follow
from agent.model import Instant, Kind, Point, Quality, Reading, Value

__all__ = ["MOST", "Signal", "SignalState", "current_to_value", "dump", "load", "step"]

FAULT_LOW, FAULT_HIGH = 3.6, 21.0
"""mA at or beyond which a 4-20 mA loop is broken or shorted (NAMUR NE 43)."""
MOST = {
    "L": 100_000 / 3600, "m3": 100 / 3600, "Wh": 250_000 / 3600, "kWh": 250 / 3600, "MWh": 0.25 / 3600,
    "varh": 250_000 / 3600, "kvarh": 250 / 3600, "VAh": 250_000 / 3600, "kVAh": 250 / 3600,
}  # fmt: skip
"""The largest growth of a counter of this unit in a second, where the site file does not say: 100 m3/h (the overload
flow Q4 of a DN 100 meter is about that, ISO 4064-1), 250 kW (the end of the low-voltage tariffs)."""
AT_ONCE = {"L": 1000.0, "m3": 1.0, "Wh": 1000.0, "kWh": 1.0, "MWh": 0.001, "varh": 1000.0, "kvarh": 1.0}
"""The growth that may come at once besides; or ten counts, if that is more."""
SLACK_COUNTS = 10


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal of the site file, in base units.

    `scale`: (value at 4 mA, value at 20 mA) for a current, else (factor, offset) on the source's value.
    `current` is how many mA one unit of the source is (0.001 for a source in microamperes), None when the signal is
    no 4-20 mA current. `valid` is the valid range, `max_rate` is per second. A counter has `per_pulse`
    (its unit per count), `modulus` (the source counts modulo this; inf: it never begins again; None: pulses of ours,
    that only grow) and `initial_index`: what the meter's own dial showed at the first count that we saw; for pulses of
    ours, at pulse 0. `digit` is the last digit of its count; `wide`: it is read from several registers.
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
    modulus: float | None = None
    digit: float = 1.0
    wide: bool = False

    @property
    def is_counter(self) -> bool:
        return self.per_pulse is not None

    @property
    def dial(self) -> Dial:
        """How a register counts, in its own counts."""
        assert self.per_pulse is not None and self.modulus is not None
        most = MOST.get(self.unit) if self.max_rate is None else self.max_rate
        if most is None:
            return Dial(self.modulus, self.digit, wide=self.wide)
        slack = max(AT_ONCE.get(self.unit, 0.0) / self.per_pulse, SLACK_COUNTS * self.digit)
        said = 0.0 if self.max_rate is None else self.max_rate / self.per_pulse * 3600
        return Dial(self.modulus, self.digit, most / self.per_pulse, slack, self.wide, said)

    def point(self) -> Point:
        """The signal as a point like any other."""
        kind = Kind.COUNTER if self.is_counter else Kind.TELEMETRY
        return Point(self.name, "signals", self.unit, kind, stale_after=self.stale_after)


@dataclass(frozen=True, slots=True)
class SignalState:
    """The memory of a signal: its last good value and when (boottime, ns; 0: before this start). A counter: the last
    count that it accepted, and its index; what it doubts, and the line that it left; how often its source turned out
    to be another meter, and how often that was undone; and which source it counts (None: kept by a program that did
    not say)."""

    value: float | None = None
    at_ns: int = 0
    count: float | None = None
    index: float | None = None
    swaps: int = 0
    returns: int = 0
    doubt: Doubt | None = None
    left: ReplacedMeter | None = None
    source: str | None = None

    def set(self, index: float) -> SignalState:
        """Set the index as read from the meter by a person: the doubted count is this meter's, and the line before is
        forgotten.
        """
        count = self.count if self.doubt is None else self.doubt.last
        return replace(self, count=count, index=index, doubt=None, left=None)


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
        return _count(signal, state, reading, reading.value)
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
    return SignalState(value, reading.at.boottime_ns), Reading(signal.name, value, reading.at)


def _count(signal: Signal, state: SignalState, reading: Reading, count: float) -> tuple[SignalState, Reading]:
    """An index never goes back: of another meter it goes on from where it is, and counts what comes from now on."""
    assert signal.per_pulse is not None
    at_ns = reading.at.boottime_ns
    if state.count is None or state.index is None:
        after = replace(state, count=count, index=_first_index(signal, count), at_ns=at_ns, source=signal.source)
    elif state.source not in (None, signal.source):  # the site file has another `from`: what that counted is not ours
        after = SignalState(None, at_ns, count, state.index, state.swaps, state.returns, source=signal.source)
    elif signal.modulus is None:  # pulses of ours that are fewer than they were were lost in a power cut
        index = _grown(state.index, max(0.0, count - state.count), signal.per_pulse)
        after = SignalState(
            state.value, at_ns, count, index, state.swaps, state.returns, state.doubt, state.left, signal.source
        )
    else:
        trail = CounterTrail(state.count, state.at_ns / 1e9 if state.at_ns else None, state.doubt, state.left)
        trail, grown, verdict = follow(signal.dial, trail, count, at_ns / 1e9)
        after = SignalState(
            value=state.value,
            at_ns=state.at_ns if trail.doubt is not None else at_ns,
            count=trail.count,
            index=_grown(state.index, grown, signal.per_pulse),
            swaps=state.swaps + (verdict == "replaced"),
            returns=state.returns + (verdict == "returned"),
            doubt=trail.doubt,
            left=trail.left,
            source=signal.source,
        )
    return after, Reading(signal.name, _tidy(after.index), reading.at)


def _first_index(signal: Signal, count: float) -> float:
    assert signal.per_pulse is not None
    if signal.modulus is not None and signal.initial_index is not None:
        return signal.initial_index
    return _grown(signal.initial_index or 0, count, signal.per_pulse)


def _grown(index: float, counts: float, per_pulse: float) -> float:
    """Decimals are kept, those that the arithmetic adds are not."""
    return round(index + counts * per_pulse, 6)


def _tidy(value: float | None) -> Value:
    """Litres are integers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# -- what outlives the process -------------------------------------------------------------------------------------


def dump(state: SignalState, now: Instant) -> dict[str, Any]:
    """A counter as it is kept: its times are seconds from this moment, which is dated in both ways."""
    kept: dict[str, Any] = {"count": state.count, "index": state.index, "source": state.source}
    if state.at_ns:
        kept["at"] = {"boot": now.boot, "ns": state.at_ns, "wall_ms": _wall(now, state.at_ns)}
    elif state.doubt is not None or state.left is not None:  # their times count from some moment, too
        kept["now"] = {"boot": now.boot, "ns": now.boottime_ns, "wall_ms": now.wall_ms}
    for key, found in (("doubt", state.doubt), ("left", state.left)):
        if found is not None:
            kept[key] = asdict(found)
    return kept


def load(kept: Any, now: Instant) -> SignalState:
    """The state from what was kept, its times on this boot's clock; what has no known time is doubted anew.

    The line that was left is known all the same, as if no time had passed: a value may return to it.
    """
    if not isinstance(kept, Mapping) or kept.get("count") is None or kept.get("index") is None:
        return SignalState()
    state = SignalState(count=_number(kept["count"]), index=float(kept["index"]), source=kept.get("source"))
    at = kept.get("at") or kept.get("now") or {}
    known = True
    if at.get("boot") == now.boot:
        shift = 0
    elif at.get("wall_ms") is not None and now.wall_ms is not None:
        shift = (at["wall_ms"] - now.wall_ms) * 1_000_000 + now.boottime_ns - at["ns"]
    elif at:
        known, shift = False, now.boottime_ns - at["ns"]
    else:
        return state
    seconds = shift / 1e9
    doubt, left = kept.get("doubt"), kept.get("left")
    if left is not None:
        left = ReplacedMeter(**left)
        left = replace(left, at=left.at + seconds)
    if not known:
        return replace(state, left=left)
    if doubt is not None:
        doubt = Doubt(**doubt)
        doubt = replace(doubt, first_at=doubt.first_at + seconds, last_at=doubt.last_at + seconds)
    at_ns = ((at["ns"] + shift) or 1) if kept.get("at") else 0
    return replace(state, at_ns=at_ns, doubt=doubt, left=left)


def _wall(now: Instant, at_ns: int) -> int | None:
    return None if now.wall_ms is None else now.wall_ms - (now.boottime_ns - at_ns) // 1_000_000


def _number(value: Any) -> float:
    """A whole count stays a whole number."""
    return value if isinstance(value, int) else float(value)
