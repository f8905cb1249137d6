"""The last value of every point, and the one way of a reading: driver -> hub -> outbox.

What a driver read comes in as one batch and goes on as one batch; signals are computed on the way and are points
like any other. Report by exception (`publish`) thins only what goes upstream: control and the live view see all.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.clock import Clock
from agent.core.signals import Signal, SignalState, dump, load, step
from agent.errors import Rejected, StorageError
from agent.model import Kind, Point, Quality, Reading, Readings, Value
from drivers.api import DurableStore

__all__ = ["Hub", "Policy"]

log = logging.getLogger("bocage.hub")

OUTBOX_CLASS = {Kind.STATE: 1, Kind.COUNTER: 1, Kind.TELEMETRY: 2, Kind.DIAGNOSTIC: 3}

LOOK = 1.0, 10.0
"""Seconds between two looks for what went stale: where something may have, and at the most."""
PERSIST_PULSES = 10
PERSIST_SECONDS = 60.0
"""An index is durable before it is published: after this many counts, or this long."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Report by exception for one device's points. Times in seconds.

    A good value goes upstream when `every` has passed since the last one and it differs by more than the deadband
    (absolute, or `deadband_percent` of the last one sent), or when `max_silence` has passed. A change of quality and a
    change of a state (on/off, text) always go. `local`: nothing goes upstream. `poll` is how often the points are read:
    a reading that is nearer to its time than to the next one is on time. `is_polled`: nothing comes between two polls,
    so where `every` is no longer than that each poll is on time, however late the one before it was.
    """

    every: float = 0.0
    poll: float = 0.0
    is_polled: bool = False
    deadband: float = 0.0
    deadband_percent: float = 0.0
    max_silence: float = 3600.0
    local: bool = False


@dataclass(slots=True)
class _Route:
    """Where a point's readings go, and what was last sent of it."""

    point: Point
    outbox_class: int
    policy: Policy | None
    signals: tuple[Signal, ...] = ()
    sent: Reading | None = None
    next_ns: float = 0.0
    """When the next one may go (boottime, ns)."""
    good_ns: float = math.inf
    """For how long a good reading of the point is good (ns); infinite if it never goes stale by itself."""

    @property
    def is_local(self) -> bool:
        return self.policy is not None and self.policy.local

    def stale_ns(self, reading: Reading) -> float:
        """After which moment (boottime, ns) this reading of the point is stale; infinite if it never is by itself."""
        return reading.at.boottime_ns + self.good_ns if reading.quality is Quality.GOOD else math.inf


class Hub:
    """Owns the last value of every point. `put(readings, class)` is the outbox's; `memory` keeps the indexes."""

    def __init__(
        self,
        points: Iterable[Point],
        signals: Sequence[Signal],
        policies: Mapping[str, Policy],
        put: Callable[[Readings, int], None],
        memory: DurableStore,
        clock: Clock,
    ) -> None:
        self.points: Mapping[str, Point] = {}
        """Every point and signal by its id, in the order of the site file."""
        self.last: dict[str, Reading] = {}
        self.published = 0
        """Readings handed to the outbox since the start."""
        self.replaced: Callable[[str, Mapping[str, Value]], None] = lambda _name, _detail: None
        """Called when the source of a signal turned out to be another meter: its name, and the detail of an event."""
        self.returned: Callable[[str, Mapping[str, Value]], None] = lambda _name, _detail: None
        """Called when it was the same meter after all, with the same arguments."""
        self._put, self._memory, self._clock = put, memory, clock
        self._watchers: list[Callable[[Readings], None]] = []
        self._due = clock.monotonic() + LOOK[0]
        self._loose: set[str] = set()
        """Indexes whose newest count the memory has, and perhaps not the flash."""
        self._stale_ns = 0.0
        """Boottime (ns) until which no value of `last` goes stale."""
        self.configure(points, signals, policies)

    def configure(self, points: Iterable[Point], signals: Sequence[Signal], policies: Mapping[str, Policy]) -> None:
        """Take on the points of a (changed) site. Last values of points that stay are kept."""
        by_source: dict[str, list[Signal]] = {}
        for signal in signals:
            by_source.setdefault(signal.source, []).append(signal)
        everything = [*points, *(signal.point() for signal in signals)]
        self.points = {point.id: point for point in everything}
        self._routes = {
            point.id: _Route(
                point,
                OUTBOX_CLASS[point.kind],
                policies.get(point.id) or policies.get(point.device),
                tuple(by_source.get(point.id, ())),
                good_ns=math.inf if point.stale_after is None else point.stale_after * 1e9,
            )
            for point in everything
        }
        self.last = {name: reading for name, reading in self.last.items() if name in self._routes}
        self._stale_ns = 0.0
        self._shortest = min((point.stale_after for point in everything if point.stale_after), default=math.inf)
        self._states = {signal.name: self._recall(signal) for signal in signals}
        self._durable = {name: (state.count or 0, float("-inf")) for name, state in self._states.items()}

    def watch(self, watcher: Callable[[Readings], None]) -> None:
        """Hand every batch on to `watcher` too, signals included, before anything is thinned."""
        self._watchers.append(watcher)

    def publish(self, readings: Readings) -> None:
        """Take one batch from a driver: remember, derive signals, hand on. Unconfigured points are dropped."""
        last, routes, stale_ns = self.last, self._routes, self._stale_ns
        known: list[Reading] = []
        derived: list[Reading] = []
        outgoing: dict[int, list[Reading]] = {}
        for reading in readings:
            route = routes.get(reading.point)
            if route is None:
                continue
            if reading.measured_at is not None:  # history that the device kept: not a present value
                if not route.is_local:
                    outgoing.setdefault(route.outbox_class, []).append(reading)
                continue
            known.append(reading)
            last[reading.point] = reading
            stale_ns = min(stale_ns, route.stale_ns(reading))
            if route.policy is None or _is_news(route, reading):
                outgoing.setdefault(route.outbox_class, []).append(self._as_told(reading))
            for signal in route.signals:
                derived.append(self._derive(signal, reading))
        for reading in derived:
            last[reading.point] = reading
            route = routes[reading.point]
            stale_ns = min(stale_ns, route.stale_ns(reading))
            durable = route.outbox_class != 1 or self._index_is_durable(reading)
            if durable and not route.is_local:
                outgoing.setdefault(route.outbox_class, []).append(self._as_told(reading))
        self._stale_ns = stale_ns
        for outbox_class, batch in outgoing.items():
            self.published += len(batch)
            self._put(batch, outbox_class)
        everything = known + derived if derived else known
        for watcher in self._watchers:
            watcher(everything)

    def counts(self, name: str) -> bool:
        """Whether that is a signal with an index."""
        route = self._routes.get(name)
        return name in self._states and route is not None and route.point.kind is Kind.COUNTER

    def doubts(self, name: str) -> bool:
        """Whether that is a counter that shows what no growth explains, and is not yet taken for another meter."""
        state = self._states.get(name)
        return state is not None and state.doubt is not None

    def set_index(self, name: str, index: float) -> None:
        """A meter was swapped: its index is `index` from now on, durably.

        Rejected if it was never read, StorageError if the flash refuses (it counts on from `index` all the same).
        """
        before = self._states[name]
        if before.count is None:
            raise Rejected(f"{name} was never read: where the new meter stands can only be said of one that counts")
        self._states[name] = before.set(index)
        reading = Reading(name, int(index) if index.is_integer() else index, self._clock.now())
        self.last[name] = reading
        self._keep(name)
        self.publish([reading])

    def index_of(self, name: str) -> float | None:
        """The index of a counter as it is counted now; None: it was never read."""
        state = self._states[name]
        return None if state.count is None else state.index

    def flush(self) -> None:
        """At an orderly stop, and before a changed site: indexes that were held back become durable and go out."""
        held = [self.last[name] for name in self._durable if name in self.last and self._is_held(self.last[name])]
        held = [one for one in held if self._persist(one.point) and not self._routes[one.point].is_local]
        if held:
            self.published += len(held)
            self._put(held, OUTBOX_CLASS[Kind.COUNTER])

    async def run(self) -> None:
        """Mark points without a reading for their `stale_after` as stale, at most a second later; 10 s where a reload
        made that shorter."""
        pause = LOOK[0]
        while True:
            await asyncio.sleep(pause)
            if stale := self._gone_stale():
                self.publish(stale)
            pause = self.pause()
            self._due = self._clock.monotonic() + pause

    def pause(self) -> float:
        """Seconds until the next look: what comes meanwhile is good for the shortest `stale_after`."""
        until = self._stale_ns / 1e9 - self._clock.monotonic()
        return max(LOOK[0], min(LOOK[1], until, self._shortest))

    def due(self) -> float:
        """When the next sign of life is due (for the watchdog)."""
        return self._due + LOOK[0]

    def _gone_stale(self) -> list[Reading]:
        now = self._clock.now()
        if now.boottime_ns <= self._stale_ns:
            return []
        stale, self._stale_ns = [], math.inf
        for name, reading in self.last.items():
            route = self._routes[name]
            if reading.at.boot != now.boot:
                continue
            after = route.stale_ns(reading)
            if now.boottime_ns <= after:
                self._stale_ns = min(self._stale_ns, after)
                continue
            stale.append(Reading(name, reading.value, now, Quality.STALE))
            limit = route.point.stale_after
            log.warning("point stale point=%s after_s=%.0f next=its value no longer drives anything", name, limit)
        return stale

    def _derive(self, signal: Signal, reading: Reading) -> Reading:
        before = self._states[signal.name]
        after, derived = step(signal, before, reading)
        self._states[signal.name] = after
        if after.swaps != before.swaps or after.returns != before.returns:
            self._durable[signal.name] = (after.count or 0, float("-inf"))  # at once, or a restart finds it again
            tell = self.replaced if after.swaps != before.swaps else self.returned
            tell(
                signal.name,
                {"meter": signal.name, "index": derived.value, "count": after.count, "count_before": before.count},
            )
        elif after.doubt is not before.doubt:
            self._remember_doubt(signal, after)
        return derived

    def _remember_doubt(self, signal: Signal, state: SignalState) -> None:
        """A restart goes on with the doubt once the state is written (10 s at most), else anew."""
        key = f"index.{signal.name}"
        kept = self._memory.get(key)
        if not isinstance(kept, dict):
            return
        if state.doubt is None and "doubt" in kept:
            self._memory.put(key, {name: value for name, value in kept.items() if name != "doubt"})
        elif state.doubt is not None:
            if (kept.get("count"), kept.get("index")) != (state.count, state.index):
                self._loose.add(signal.name)
            self._memory.put(key, dump(state, self._clock.now()))

    def _recall(self, signal: Signal) -> SignalState:
        return load(self._memory.get(f"index.{signal.name}"), self._clock.now()) if signal.is_counter else SignalState()

    def _index_is_durable(self, reading: Reading) -> bool:
        """Persist an index when it is time to; until then it is for the box's own use only."""
        state = self._states.get(reading.point)
        if state is None or state.count is None or reading.quality is not Quality.GOOD:
            return True
        count, at = self._durable[reading.point]
        waited = self._clock.monotonic() - at
        if abs(state.count - count) < PERSIST_PULSES and waited < PERSIST_SECONDS:
            return False
        return self._persist(reading.point)

    def _is_held(self, reading: Reading) -> bool:
        state = self._states[reading.point]
        counted = state.count is not None and state.count != self._durable[reading.point][0]
        return counted or reading.point in self._loose

    def _as_told(self, reading: Reading) -> Reading:
        """A stale index that the flash refuses goes without its number: a number that was told never goes back."""
        if reading.quality is not Quality.STALE:
            return reading
        state = self._states.get(reading.point)
        if state is None or state.count is None:
            return reading
        return reading if self._persist(reading.point) else reading._replace(value=None)

    def _persist(self, name: str) -> bool:
        """Make an index durable; False where the flash refuses, and then it is tried again with the next reading."""
        state = self._states[name]
        if state.count == self._durable[name][0] and name not in self._loose and self._is_kept(name, state):
            self._durable[name] = (state.count or 0, self._clock.monotonic())
            return True
        try:
            self._keep(name)
        except StorageError as error:
            log.error('index not durable signal=%s reason="%s" next=it is not published', name, error)
            return False
        return True

    def _is_kept(self, name: str, state: SignalState) -> bool:
        kept = self._memory.get(f"index.{name}")
        return isinstance(kept, dict) and (kept.get("count"), kept.get("index")) == (state.count, state.index)

    def _keep(self, name: str) -> None:
        """Put an index on flash. StorageError where that refuses: then the memory has it, and it is not durable."""
        state = self._states[name]
        self._loose.add(name)
        self._memory.put(f"index.{name}", dump(state, self._clock.now()), now=True)
        self._loose.discard(name)
        self._durable[name] = (state.count or 0, self._clock.monotonic())


def _is_news(route: _Route, reading: Reading) -> bool:
    """Whether a reading goes upstream under its policy; remembers it if so."""
    policy, sent = route.policy, route.sent
    assert policy is not None
    if policy.local:
        return False
    at_ns = reading.at.boottime_ns
    each = policy.is_polled and policy.every <= policy.poll
    early = not each and at_ns < route.next_ns - min(policy.every, policy.poll) / 2 * 1e9
    if sent is not None and not _differs(policy, sent, reading, early):
        return False
    route.sent, due = reading, route.next_ns + policy.every * 1e9
    route.next_ns = due if not early and at_ns < due else at_ns + policy.every * 1e9
    return True


def _differs(policy: Policy, sent: Reading, reading: Reading, early: bool) -> bool:
    if reading.quality is not sent.quality:
        return True
    before, now = sent.value, reading.value
    seconds = (reading.at.boottime_ns - sent.at.boottime_ns) / 1e9
    if seconds >= policy.max_silence:
        return True
    if isinstance(now, bool | str) or isinstance(before, bool | str) or now is None or before is None:
        return now != before
    if early:
        return False
    threshold = max(policy.deadband, policy.deadband_percent / 100 * abs(before))
    return abs(now - before) > threshold or (threshold == 0 and policy.every > 0)
