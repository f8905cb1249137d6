"""HeldWishes of the other site, here: its wishes until they end, and the names that it wants to be told."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from agent.clock import Clock
from agent.errors import StorageError
from agent.model import Instant, Kind, Point, Quality, Reading, Readings, Value
from drivers.api import DeviceSpec, DurableStore
from drivers.bocage_site.messages import Asked, mark

__all__ = ["LONGEST", "HeldWishes"]

LEAST, USUAL, MOST = 5.0, 60.0, 900.0
"""Seconds between two messages that tell it its points, whatever it asks for; the second one where it asked nothing."""
LONGEST = 3600.0
"""Seconds for which a wish holds without a repetition at the most, whatever the other site says."""


class HeldWishes:
    """The wishes of one other site. Each output that it may ask for is a point of `device`: good while a wish holds,
    bad without one. They outlive the process: a wish ends when its time is over, whatever happens to the agent here.
    """

    def __init__(self, site: str, device: DeviceSpec | None, clock: Clock, memory: DurableStore) -> None:
        self._clock, self._memory, self._key = clock, memory, f"bocage_site.{site}.wishes"
        self._where = f"peers.{site}"
        data = {} if device is None else (device.profile or {}).get("points") or {}
        name = "" if device is None else device.name
        self._points = {
            one: Point(f"{name}.{one}", name, "", Kind(found["kind"]), low=found["low"], high=found["high"])
            for one, found in data.items()
        }
        self._held: dict[str, tuple[Value, float]] = {}
        """By output: the value, and when it ends (monotonic s)."""
        self._reads: tuple[Sequence[str], float] = (), -math.inf
        self.every = USUAL
        """How often it wants to be told (s)."""
        self.heard: tuple[str, int] | None = None
        self.refused: dict[str, str] = {}

    @property
    def points(self) -> Sequence[Point]:
        return list(self._points.values())

    def held(self) -> Mapping[str, Value]:
        """The wishes that hold now."""
        now = self._clock.monotonic()
        return {name: value for name, (value, until) in self._held.items() if now < until}

    def reads(self) -> Sequence[str]:
        """The names that it wants to be told, and has asked for not too long ago."""
        names, until = self._reads
        return names if self._clock.monotonic() < until else ()

    def ends(self) -> float:
        """When the next wish ends (monotonic s)."""
        return min((until for _, until in self._held.values()), default=math.inf)

    def take(self, one: Asked, delay: float) -> Readings:
        """Take a request in that was `delay` seconds on its way; the readings of the points that it names."""
        now = self._clock.monotonic()
        until = now + min(one.life, LONGEST) - delay
        self.heard, self.every = mark(one.stamp), min(max(one.every, LEAST), MOST)
        self.refused = {name: reason for name, value in one.wishes.items() if (reason := self._wrong(name, value))}
        if one.reads:
            self._reads = one.reads, now + one.life - delay
        found, before = [], {name: value for name, (value, _) in self._held.items()}
        for name, value in one.wishes.items():
            if name in self.refused:
                continue
            if value is None or until <= now:
                self._held.pop(name, None)
            else:
                self._held[name] = self._coerced(name, value), until
            found.append(self._reading(name))
        if found:
            self._keep(now=before != {name: value for name, (value, _) in self._held.items()})
        return found

    def expired(self) -> Readings:
        """The readings of the points whose wish has ended without a repetition."""
        now = self._clock.monotonic()
        over = [name for name, (_, until) in self._held.items() if until <= now]
        for name in over:
            del self._held[name]
        if over:
            self._keep(now=True)
        return [self._reading(name) for name in over]

    def restore(self) -> Readings:
        """At the start: the wishes from before it that are not over. After a power cut there are none."""
        kept = self._memory.get(self._key)
        now = self._clock.now()
        if isinstance(kept, Mapping) and kept.get("boot") == now.boot:
            self._held = {name: (value, float(until)) for name, (value, until) in kept["held"].items()
                          if name in self._points and not self._wrong(name, value)}  # fmt: skip
            self.expired()
        return [self._reading(name) for name in self._points]

    def _keep(self, now: bool) -> None:
        """`now`: another wish holds. Where the flash refuses, a restart is without them, and that is all."""
        held = {name: [value, until] for name, (value, until) in self._held.items()}
        with contextlib.suppress(StorageError):
            self._memory.put(self._key, {"boot": self._clock.now().boot, "held": held}, now=now)

    def _wrong(self, name: str, value: Value) -> str:
        """Why this wish is not taken; "" if it is."""
        point = self._points.get(name)
        if point is None:
            return f"it is not in {self._where}"
        if value is None:
            return ""
        if point.kind is Kind.STATE:
            return "" if isinstance(value, bool) else "it takes on or off"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "it takes a number"
        low, high = point.low, point.high
        is_within = (low is None or value >= low) and (high is None or value <= high)
        return "" if is_within else f"{value:g} is out of range"

    def _coerced(self, name: str, value: Value) -> Value:
        return value if self._points[name].kind is Kind.STATE else float(value or 0.0)

    def _reading(self, name: str) -> Reading:
        at: Instant = self._clock.now()
        found: Any = self._held.get(name)
        if found is None:
            return Reading(self._points[name].id, None, at, Quality.BAD)
        return Reading(self._points[name].id, found[0], at)
