"""A site of simulated outputs on a loop with virtual time: what takes hours takes no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from agent.arbiter import ActuatorSpec, Arbiter
from agent.errors import BocageError, DeviceError
from agent.model import Command, Event, Instant, Kind, Origin, Outcome, OutcomeState, Point, Quality, Reading, Value
from tests.fakes.clock import FakeClock
from tests.fakes.store import FakeStore

BOOT = "boot-1"
WALL = 1_768_000_000_000


class _Jump(selectors.DefaultSelector):
    """Instead of waiting, time goes on."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("nothing will ever happen: the loop would wait for ever")
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Threads run at once, in the loop's own, and end `slow` seconds later; sleeping jumps."""

    slow = 0.0

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        future = self.create_future()
        try:
            result = func(*args)
        except BocageError as error:
            future.set_exception(error)
            return future
        if self.slow:
            self.call_later(self.slow, lambda: future.cancelled() or future.set_result(result))
        else:
            future.set_result(result)
        return future


class Crash(BaseException):
    """The process dies here."""


@dataclass
class FakeLedger:
    """The outbox's command ledger, in memory; `history` has every outcome in order."""

    clock: FakeClock
    stored: dict[str, Outcome] = field(default_factory=dict)
    history: list[Outcome] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    hook: Callable[[str], None] = lambda where: None
    slow: float = 0.0
    """Seconds until what was put is on flash."""

    async def outcome(self, command: Command) -> Outcome | None:
        return self.stored.get(command.id)

    async def begin(self, command: Command) -> Outcome | None:
        self.hook("begin")
        await asyncio.sleep(self.slow)
        if command.id in self.stored:
            return self.stored[command.id]
        now = self.clock.now()
        self._keep(Outcome(command.id, command.point, command.value, OutcomeState.ACCEPTED, "", now))
        self.hook("begun")
        return None

    async def record(self, outcome: Outcome) -> None:
        self.hook(f"record {outcome.state}")
        await asyncio.sleep(self.slow)
        self._keep(outcome)
        self.hook(f"recorded {outcome.state}")

    async def unfinished(self) -> list[Outcome]:
        self.hook("unfinished")
        return [o for o in self.stored.values() if o.state in (OutcomeState.ACCEPTED, OutcomeState.APPLIED)]

    async def put_event(self, event: Event) -> None:
        self.hook(f"event {event.kind}")
        await asyncio.sleep(self.slow)
        self.events.append(event)
        self.hook("event put")

    def raised(self) -> set[tuple[str, str]]:
        last = {(event.code, event.subject): event.kind for event in self.events if event.kind in ("alarm", "cleared")}
        return {name for name, kind in last.items() if kind == "alarm"}

    def _keep(self, outcome: Outcome) -> None:
        self.stored[outcome.command] = outcome
        self.history.append(outcome)

    def states(self, command: str) -> list[str]:
        return [str(o.state) for o in self.history if o.command == command]

    def codes(self, kind: str) -> list[str]:
        return [event.code for event in self.events if event.kind == kind]


@dataclass
class Plant:
    """Relays that do what they are told, unless told otherwise."""

    clock: FakeClock
    outputs: dict[str, Value] = field(default_factory=dict)
    writes: list[tuple[float, str, Value]] = field(default_factory=list)
    edges: list[tuple[float, str, Value]] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)
    """Devices that do not answer."""
    unreadable: set[str] = field(default_factory=set)
    """Points that their device cannot read."""
    deaf: set[str] = field(default_factory=set)
    """Outputs that acknowledge and do not move."""
    follows: dict[str, str] = field(default_factory=dict)
    """Feedback point -> output."""
    nodes: dict[str, asyncio.Event] = field(default_factory=dict)
    """Radio nodes: a write waits until they listen."""
    queued: list[tuple[str, float | None]] = field(default_factory=list)
    reply_lost: bool = False
    """Moves, but the acknowledgement is lost."""
    hook: Callable[[str], None] = lambda where: None
    hang: float = 0.0

    async def write(self, point: str, value: Value, until: float | None = None) -> None:
        self.hook("write")
        if point in self.nodes:
            await self._node(point, until)
        await asyncio.sleep(self.hang)
        device = point.split(".")[0]
        self.writes.append((self.clock.monotonic(), point, value))
        if device in self.dead:
            raise DeviceError(f"{device} does not answer")
        if point not in self.deaf:
            self.move(point, value)
        self.hook("written")
        if self.reply_lost:
            raise DeviceError(f"{device} does not answer")

    async def _node(self, point: str, until: float | None) -> None:
        """Waits for the node's next uplink (`listen`), which withdraws nothing by itself."""
        self.queued.append((point, until))
        try:
            async with asyncio.timeout_at(until):
                await self.nodes[point].wait()
        except TimeoutError:
            raise DeviceError(f"{point} did not listen in time") from None
        finally:
            self.queued.remove((point, until))

    def move(self, point: str, value: Value) -> None:
        if self.outputs.get(point) != value:
            self.edges.append((self.clock.monotonic(), point, value))
        self.outputs[point] = value

    async def read(self, points: Sequence[str]) -> list[Reading]:
        self.hook("read")
        await asyncio.sleep(self.hang)
        now = self.clock.now()
        return [self.reading(point, now) for point in points]

    def reading(self, point: str, now: Instant) -> Reading:
        if point.split(".")[0] in self.dead or point in self.unreadable:
            return Reading(point, None, now, Quality.BAD)
        return Reading(point, self.outputs.get(self.follows.get(point, point), False), now)


def relay_points(*names: str) -> dict[str, Point]:
    return {name: Point(name, name.split(".")[0], kind=Kind.STATE, writable=".relay" in name) for name in names}


@dataclass
class Site:
    """A plant, what outlives the process, and the process."""

    loop: VirtualLoop
    specs: list[ActuatorSpec]
    points: dict[str, Point]

    def __post_init__(self) -> None:
        self.clock = FakeClock(0.0, boot=BOOT, epoch=WALL / 1000, runs=self.loop.time)
        self.plant = Plant(self.clock)
        self.ledger = FakeLedger(self.clock)
        self.memory = FakeStore()
        self.tasks: list[asyncio.Task[None]] = []
        self.count = 0

    async def up(self, *, run: bool = True) -> Arbiter:
        """A new process on what the last one left."""
        self.arbiter = Arbiter(
            self.specs, self.points, self.plant.write, self.plant.read, self.ledger, self.memory, self.clock
        )
        await self.arbiter.start()
        if run:
            self.tasks.append(asyncio.create_task(self.arbiter.run()))
        return self.arbiter

    async def kill(self, *, power: bool = False) -> None:
        """kill -9: tasks end where they are, coalesced facts that were not flushed are lost."""
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.tasks.clear()
        self.memory.power_cut()

    async def poll(self) -> None:
        """What the driver's next poll hands to the hub."""
        now = self.clock.now()
        self.arbiter.observe([self.plant.reading(point, now) for point in self.points])
        await asyncio.sleep(0.01)

    def command(self, point: str, value: Value, **more: Any) -> Command:
        self.count += 1
        more.setdefault("origin", Origin.MQTT)
        return Command(more.pop("id", f"c{self.count}"), point, value, self.clock.now(), by="mqtt", **more)

    async def send(self, point: str, value: Value, **more: Any) -> Outcome:
        return await self.arbiter.submit(self.command(point, value, **more))

    def line(self, name: str) -> dict[str, Any]:
        return next(line for line in self.arbiter.status() if line["name"] == name)


def on_virtual_time(test: Callable[[VirtualLoop], Awaitable[None]]) -> None:
    """Run a test on a loop of its own, and leave no task behind."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(test(loop))
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()
        asyncio.set_event_loop(None)


@pytest.fixture
def virtual() -> Callable[..., None]:
    """`virtual(test, *specs)`: run `test(site)` on virtual time, on a site with these actuators."""

    def run(test: Callable[[Site], Awaitable[None]], *specs: ActuatorSpec, points: Any = None) -> None:
        async def whole(loop: VirtualLoop) -> None:
            names = ["io-1.relay1", "io-1.relay2", "io-1.relay4", "io-1.di1", "io-2.relay1"]
            await test(Site(loop, list(specs), relay_points(*names) if points is None else points))

        on_virtual_time(whole)

    return run
