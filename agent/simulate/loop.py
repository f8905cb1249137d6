"""Virtual time: a loop on which sleeping jumps, its clock, and what is on flash in it."""

from __future__ import annotations

import asyncio
import copy
import math
import selectors
from collections.abc import Callable, Mapping
from typing import Any

from agent.clock import AnchorStore, Wall
from agent.control.api import Control
from agent.errors import BocageError
from agent.model import Command, Event, Instant, Outcome, OutcomeState

__all__ = ["KeptState", "SimulatedFlash", "VirtualClock", "VirtualLedger", "VirtualLoop", "not_before"]

FAR = 1e10
"""Later than any scenario ends (s)."""
DAY_MS = 86_400_000
SPINS = 10_000
"""Turns of the loop at one moment after which a microsecond passes: a timer may be nearer than a float can tell."""
FLUSH = 10.0
"""Seconds between two coalesced writes of the state."""


def not_before(at: float) -> float:
    """The whole microsecond at which `at` (s) has come: never earlier, or what is due then would never be."""
    if at == math.inf:
        return at
    micro = round(at * 1e6)
    return micro / 1e6 if micro / 1e6 >= at else (micro + 1) / 1e6


class _Jump(selectors.BaseSelector):
    """Instead of waiting for files, time goes on. Times are whole microseconds, so that sums of them stay exact."""

    def __init__(self) -> None:
        self.now = 0.0
        self._spins = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen any more")
        self._spins = self._spins + 1 if timeout <= 0 else 0
        if self._spins > SPINS:
            timeout, self._spins = 1e-6, 0
        if timeout > 0:
            self.now = round(self.now + timeout, 6)
        return []

    def register(self, _fileobj: Any, _events: int, _data: Any = None) -> Any: ...

    def unregister(self, _fileobj: Any) -> Any: ...

    def get_map(self) -> Mapping[Any, Any]:
        return {}


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop without a single file: sleeping jumps, and what goes to a thread is done at once."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self._clock_resolution = 5e-7  # the machine's is below what a float tells apart after 194 days: nothing is due

    def time(self) -> float:
        return self._jump.now

    def leap(self, at: float) -> bool:
        """Go to `at` on the spot, if nothing else wants to run before; False, and nothing happened, if something does.

        What a turn of the loop would come to, for a fraction of its cost: a year is a million of them.
        """
        if self._ready or (self._scheduled and self._scheduled[0].when() <= at):  # type: ignore[attr-defined]
            return False
        self._jump.now = max(self._jump.now, not_before(at))
        return True

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return super().call_at(not_before(min(when, FAR)), callback, *args, context=context)

    def run_in_executor(self, _executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except BocageError as error:
            future.set_exception(error)
        return future


class VirtualClock:
    """The loop's time; the machine's clock starts at `start_ms` (Unix) and may be shifted, or not be trusted.

    The program is one of the day before the start: no earlier time is followed. CLOCK_BOOTTIME counts from the last
    boot: `new_boot` begins another one, with another boot id.
    """

    def __init__(self, loop: VirtualLoop, start_ms: int) -> None:
        self._loop, self._start_ms = loop, start_ms
        self.boot, self._boots, self.booted_at, self._booted_ns = "simulated", 1, 0.0, 0
        """`booted_at`: seconds of the scenario at which CLOCK_BOOTTIME was 0."""
        self.trusted = True
        self.shift = 0.0
        self.wall = Wall(self.boot, not_before_ms=start_ms - DAY_MS)

    def remember(self, memory: AnchorStore) -> None:
        """A process begins, on what an earlier one left."""
        self.wall = Wall(self.boot, _ns(self._loop.time()) - self._booted_ns, memory, self._start_ms - DAY_MS)

    def new_boot(self) -> None:
        """The box starts anew: another boot id, and CLOCK_BOOTTIME is 0 now."""
        self._boots += 1
        self.boot, self.booted_at = f"simulated-{self._boots}", self._loop.time()
        self._booted_ns = _ns(self.booted_at)

    def elapsed(self) -> float:
        """Seconds of the scenario."""
        return self._loop.time()

    def monotonic(self) -> float:
        return (_ns(self._loop.time()) - self._booted_ns) / 1e9

    def now(self) -> Instant:
        passed = _ns(self._loop.time())
        at = passed - self._booted_ns
        machine = self._start_ms * 1_000_000 + passed + round(self.shift * 1e9) if self.trusted else None
        return Instant(self.boot, at, self.wall.at(at, machine))


def _ns(seconds: float) -> int:
    """By way of the whole microsecond that it is: so seconds and nanoseconds name one moment, to the last bit."""
    return round(seconds * 1e6) * 1000


class SimulatedFlash:
    """Small durable facts: what was put long enough ago, or at once, survives `cut`."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._facts: dict[str, Any] = {}
        self._durable: dict[str, Any] = {}
        self._flush_at = math.inf

    def get(self, key: str) -> Any:
        return _copied(self._facts.get(key))

    def put(self, key: str, value: Any, now: bool = False) -> None:
        self._flush_due()
        self._facts[key] = value
        if now:
            self.flush()
        else:
            self._flush_at = min(self._flush_at, self._clock.elapsed() + FLUSH)

    def cut(self) -> None:
        """The process dies: only what is durable is left."""
        self._flush_due()
        self._facts = copy.deepcopy(self._durable)
        self._flush_at = math.inf

    def scope(self, prefix: str) -> Scope:
        return Scope(self, prefix)

    def flush(self) -> None:
        self._durable.update(self._facts)
        self._flush_at = math.inf

    def _flush_due(self) -> None:
        if self._clock.elapsed() >= self._flush_at:
            self.flush()


class KeptState:
    """A state of a control on flash. It is dumped when a new process reads it: most are replaced before."""

    __slots__ = ("_control", "_state")

    def __init__(self, control: Control[Any], state: Any) -> None:
        self._control, self._state = control, state

    def __deepcopy__(self, _memo: Any) -> KeptState:
        return self

    def dump(self) -> Any:
        return self._control.dump(self._state)


def _copied(value: Any) -> Any:
    """A copy of a JSON value; a tuple stays one."""
    if isinstance(value, KeptState):
        return value.dump()
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_copied, value))
    return [_copied(one) for one in value] if isinstance(value, list) else value


class Scope:
    """The same facts, under keys that begin with `prefix.`."""

    def __init__(self, flash: SimulatedFlash, prefix: str) -> None:
        self._flash, self._prefix = flash, prefix

    def get(self, key: str) -> Any:
        return self._flash.get(f"{self._prefix}.{key}")

    def put(self, key: str, value: Any, now: bool = False) -> None:
        self._flash.put(f"{self._prefix}.{key}", value, now)

    def flush(self) -> None:
        self._flash.flush()


class VirtualLedger:
    """The outbox as the arbiter knows it: commands and events, durable at once. `tell` gets each as it comes."""

    def __init__(self, clock: VirtualClock, tell: Callable[[Event | Outcome], None]) -> None:
        self._clock, self._tell = clock, tell
        self._stored: dict[str, Outcome] = {}

    async def outcome(self, command: Command) -> Outcome | None:
        return self._stored.get(command.id)

    async def begin(self, command: Command) -> Outcome | None:
        known = self._stored.get(command.id)
        if known is None:
            accepted = Outcome(command.id, command.point, command.value, OutcomeState.ACCEPTED, "", self._clock.now())
            await self.record(accepted)
        return known

    async def record(self, outcome: Outcome) -> None:
        self._stored[outcome.command] = outcome
        self._tell(outcome)

    async def unfinished(self) -> list[Outcome]:
        return [one for one in self._stored.values() if one.state in (OutcomeState.ACCEPTED, OutcomeState.APPLIED)]

    async def put_event(self, event: Event) -> None:
        self._tell(event)
