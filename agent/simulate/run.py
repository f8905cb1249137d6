"""A whole site in virtual time: hub, engine, controls and arbiter are the agent's own, the rest is the scenario."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from agent.arbiter import Arbiter, JoinedLedger
from agent.arbiter.point_commands import PointCommands
from agent.control.engine import Engine
from agent.control.named_calendars import LASTS, NamedCalendar, Occurrences
from agent.core.actuator_spec import SETTLE
from agent.core.alarms import OpenAlarms
from agent.core.hub import Hub
from agent.model import Command, Origin
from agent.settings import Settings
from agent.simulate import scenario as told
from agent.simulate.inputs import GRID
from agent.simulate.loop import KeptState, SimulatedFlash, VirtualClock, VirtualLedger, VirtualLoop, not_before
from agent.simulate.plant import Plant
from agent.simulate.record import SimulationRecord

__all__ = ["Simulation", "simulate"]

RESTART = 5.0
"""Seconds until systemd has the agent back."""
POLL = 1.0
"""Seconds after a write until the module is read again."""
MOMENT = 1e-6
CIRCLES = 10_000
"""Turns at one moment that no site needs."""
TELL = 21600.0
"""The progress interval: seconds of the scenario; in a short one a hundredth of it."""


def simulate(
    settings: Settings,
    scenario: told.Scenario,
    radio: frozenset[str] = frozenset(),
    reached: Callable[[float], object] = lambda _at: None,
) -> dict[str, Any]:
    """Run a scenario; the document that `bocage simulate --json` prints. `radio`: devices whose loss is silence.

    `reached` is told how far (s) it has come: a hundred times, or each six hours of the scenario.
    """
    log = logging.getLogger("bocage")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(Simulation(settings, scenario, loop, radio, reached=reached).run())
    except KeyboardInterrupt:
        _abandon(loop)
        raise
    finally:
        loop.close()
        log.setLevel(level)


def _abandon(loop: VirtualLoop) -> None:
    """End what goes on, without a report: it was cut in its middle."""
    loop.set_exception_handler(lambda *_: None)
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


class Simulation:
    """One run. `stride` steps every control that often (s) although nothing asks for it: for tests."""

    def __init__(
        self,
        settings: Settings,
        scenario: told.Scenario,
        loop: VirtualLoop,
        radio: frozenset[str] = frozenset(),
        stride: float = math.inf,
        reached: Callable[[float], object] = lambda _at: None,
    ) -> None:
        self._settings, self._scenario, self._loop, self._stride = settings, scenario, loop, stride
        zone = ZoneInfo(settings.timezone)
        start = scenario.start if scenario.start.tzinfo is not None else scenario.start.replace(tzinfo=zone)
        self._begun = start.timestamp()
        self._record = SimulationRecord(start, zone, loop.time)
        self._reached, self._tell_every = reached, min(TELL, scenario.duration / 100)
        self._told_at = self._tell_every
        self._clock = VirtualClock(loop, round(start.timestamp() * 1000))
        self._clock.trusted = scenario.clock == "trusted"
        self._flash = SimulatedFlash(self._clock)
        self._ledger = VirtualLedger(self._clock, self._record.note)
        self._plant = Plant(settings, scenario, radio, self._clock)
        self._calendars = dict(settings.calendars)
        """As the agent knows them."""
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._link_down = 0
        self._untrusted = 0
        self._held_back: list[told.ScenarioCommand] = []
        self._tasks: set[asyncio.Task[Any]] = set()  # the loop itself holds them weakly
        self._alive = False
        self._sleeper: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None
        self._down_for: float | None = None
        """How long the agent that was just killed stays down."""
        self._cut = False
        """The box itself is without current: it starts anew."""
        self._back_at = math.inf
        self._turns, self._turned_at = 0, 0.0
        """How many turns were made at one and the same moment."""
        self._publish_at = 0.0
        """When the inputs are read again."""

    # -- the course of time ------------------------------------------------------------------------------------

    async def run(self) -> dict[str, Any]:
        """From the start to the end of the scenario."""
        end = self._scenario.duration
        self._plan_ahead()
        await self._boot()
        while True:
            at = self._next()
            if at > end:
                break
            await self._sleep(at)
            await self._moment()
            self._count_turn()
            if self._failure is not None:
                raise self._failure
            if at >= self._told_at:
                self._told_at = at + self._tell_every
                self._reached(at)
        await self._sleep(end, wakes=False)
        result = self._result()
        await self._die()
        return result

    def _next(self) -> float:
        """When something is to be done: on the grid, by the scenario, by an input, by a control."""
        now = self._loop.time()
        if self._alive and self._engine.woken:
            return now
        at = self._publish_at if self._alive else self._read_at(now)
        if self._agenda:
            at = min(at, self._agenda[0][0])
        if self._alive:
            due = self._clock.booted_at + not_before(self._engine.due_next())
            at = min(at, due, (math.floor(now / self._stride + 1e-9) + 1) * self._stride)
        return max(at, now)

    def _count_turn(self) -> None:
        """Count turns at one moment. RuntimeError where the controls loop without advancing time, which is a bug."""
        now = self._loop.time()
        self._turns = self._turns + 1 if now == self._turned_at else 0
        self._turned_at = now
        if self._turns > CIRCLES:
            at = self._record.when()["at"]
            raise RuntimeError(f"time stands still at {at}: the controls loop without advancing time")

    def _read_at(self, now: float) -> float:
        """When the inputs are read again: on the grid, and when one of them steps."""
        return min((math.floor(now / GRID + 1e-9) + 1) * GRID, self._plant.next(now))

    async def _sleep(self, at: float, wakes: bool = True) -> None:
        """Until then, or until the arbiter has moved something."""
        if at <= self._loop.time():
            await asyncio.sleep(0)
            return
        if self._loop.leap(at):
            return
        self._sleeper = self._loop.create_future()
        timer = self._loop.call_at(at, _wake, self._sleeper)
        await self._sleeper
        timer.cancel()
        self._sleeper = None
        if not wakes and self._loop.time() < at:
            await self._sleep(at, wakes)

    def _told(self) -> None:
        self._engine.wake()
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    async def _moment(self) -> None:
        """Everything that is due now."""
        now = self._loop.time()
        while self._agenda and self._agenda[0][0] <= now + MOMENT:
            heapq.heappop(self._agenda)[2]()
        if self._down_for is not None:
            self._back_at = max(now + self._down_for, self._back_at if self._back_at < math.inf else 0.0)
            self._down_for = None
            await self._die()
            if self._cut:
                self._record.note_dropped(self._plant.cut())
            self._at(self._back_at, lambda: None)
        if not self._alive:
            self._plant.settle()
            if now + MOMENT >= self._back_at:
                self._back_at = math.inf
                await self._boot()
            return
        if now >= self._publish_at:
            self._publish()
        if now % self._stride < MOMENT:
            self._engine.hurry()
        await self._engine.look()
        self._plant.price(self._engine.tariffs())

    def _publish(self) -> None:
        now = self._loop.time()
        self._publish_at = self._read_at(now)
        news = self._plant.inputs()
        if news:
            self._hub.publish(news)

    # -- the life of the agent ---------------------------------------------------------------------------------

    async def _boot(self) -> None:
        """A new process on what is durable."""
        settings, clock = self._settings, self._clock
        if self._cut:
            self._cut = False
            clock.new_boot()
        clock.remember(self._flash.scope("clock"))
        self._plant.started = self._loop.time()
        points = self._plant.points(settings)
        self._hub = Hub(points, settings.signals, {}, lambda _readings, _cls: None, self._flash.scope("hub"), clock)
        self._open_alarms = OpenAlarms(self._ledger.put_event, self._flash.scope("alarms"))
        self._arbiter = Arbiter(
            settings.actuators, {point.id: point for point in points}, self._write, self._plant.read,
            JoinedLedger(self._ledger, self._open_alarms), self._flash.scope("arbiter"), clock,
        )  # fmt: skip
        self._arbiter.idle = math.inf
        self._engine = Engine(
            settings.controls,
            settings.timezone,
            self._arbiter,
            self._open_alarms.put_event,
            self._flash.scope("runner"),
            clock,
        )
        self._engine.take_calendars(dict(self._calendars))
        self._arbiter.take_commands(PointCommands(self._engine, self._open_alarms, self._hub, clock))
        self._hub.replaced = self._engine.replaced
        self._hub.returned = self._engine.returned
        self._arbiter.told = self._told
        self._hub.watch(self._arbiter.observe)
        self._hub.watch(self._engine.observe)
        self._engine.doubts = self._hub.doubts
        self._engine.dumped = KeptState
        self._alive = True
        await self._arbiter.start()
        self._spawn(self._arbiter.run())
        self._publish()
        self._show_all()
        await self._engine.look()
        self._plant.price(self._engine.tariffs())
        self._deliver()

    async def _die(self) -> None:
        """kill -9: what was under way ends where it is, what is not durable is forgotten."""
        self._alive = False
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self._flash.cut()

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """A part of the agent that fails takes the simulation down, as it would take the agent."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and self._failure is None:
            self._failure = task.exception()

    async def _write(self, point: str, value: Any, _until: float | None = None) -> None:
        await self._plant.write(point, value)
        self._read_again(point)

    def _read_again(self, point: str) -> None:
        """The next poll of a module shows its outputs, and what follows them; a later one where they came to rest."""

        def look() -> None:
            if self._alive:
                self._hub.publish(self._plant.around(point))

        now = self._loop.time()
        self._at(now + POLL, look)
        self._at(now + POLL + SETTLE + self._plant.travel(point), look)

    # -- the scenario ------------------------------------------------------------------------------------------

    def _at(self, when: float, do: Callable[[], Any]) -> None:
        heapq.heappush(self._agenda, (when, next(self._order), do))

    def _plan_ahead(self) -> None:
        for fault in self._scenario.faults:
            self._at(fault.at, lambda fault=fault: self._fail(fault))  # type: ignore[misc]
            if fault.for_ is not None:
                self._at(fault.at + fault.for_, lambda fault=fault: self._mend(fault))  # type: ignore[misc]
        for command in self._scenario.commands:
            self._at(command.at, lambda command=command: self._send(command))  # type: ignore[misc]

    def _fail(self, fault: told.ScenarioFault) -> None:
        plant = self._plant
        plant.settle()
        self._show_all()  # until this moment all was well
        if fault.kill is not None:
            self._down_for = RESTART
        elif fault.power_cut is not None:
            self._down_for, self._cut = fault.power_cut, True
        elif fault.link is not None:
            self._link_down += 1
        elif fault.untrusted is not None or fault.clock == "untrusted":
            self._untrusted += 1
            self._clock.trusted = False
            self._wake_up()
        elif fault.clock is not None:
            self._clock.shift += fault.step
            self._wake_up()
        elif fault.stale is not None:
            plant.stale.add(plant.names(fault.stale))
        elif fault.bad is not None:
            plant.bad.add(plant.names(fault.bad))
        elif fault.stuck is not None:
            plant.stick(fault.stuck)
        elif fault.weld is not None:
            plant.welded.add(fault.weld)
        elif fault.device is not None:
            self._lose(fault.device)
        elif fault.calendar is not None:
            self._lose_calendar(fault.calendar)
        self._show_all()

    def _mend(self, fault: told.ScenarioFault) -> None:
        plant = self._plant
        plant.settle()
        if fault.link is not None:
            self._link_down -= 1
            self._deliver()
        elif fault.untrusted is not None or fault.clock == "untrusted":
            self._untrusted -= 1
            self._clock.trusted = self._scenario.clock == "trusted" and not self._untrusted
            self._wake_up()
        elif fault.clock is not None:
            self._clock.shift -= fault.step
            self._wake_up()
        elif fault.stale is not None:
            plant.stale.discard(plant.names(fault.stale))
        elif fault.bad is not None:
            plant.bad.discard(plant.names(fault.bad))
        elif fault.stuck is not None:
            plant.loosen(fault.stuck)
        elif fault.weld is not None:
            plant.welded.discard(fault.weld)
        elif fault.device is not None:
            plant.dead.pop(fault.device, None)
        elif fault.calendar is not None:
            self._take_calendar(fault.calendar, self._settings.calendars.get(fault.calendar))
        self._show_all()

    def _lose(self, device: str) -> None:
        """A device is gone: its outputs drop when its own watchdog runs out, without a message."""
        since = self._loop.time()
        self._plant.dead[device] = since
        limit = self._plant.watchdog(device)
        if limit is not None:
            self._at(since + limit, lambda: self._plant.dead.get(device) == since and self._plant.drop(device))

    def _lose_calendar(self, name: str) -> None:
        """Its server does not answer: what it gave last holds for some time more."""
        known, now = self._calendars.get(name), self._begun + self._loop.time()
        if isinstance(known, Occurrences):
            self._take_calendar(name, replace(known, until=min(known.until, int(now) + LASTS)))

    def _take_calendar(self, name: str, calendar: NamedCalendar | None) -> None:
        if calendar is not None:
            self._calendars[name] = calendar
        if self._alive:
            self._engine.take_calendars(dict(self._calendars))

    def _show_all(self) -> None:
        if self._alive:
            self._hub.publish(self._plant.everything())

    def _wake_up(self) -> None:
        if self._alive:
            self._engine.wake()

    def _send(self, command: told.ScenarioCommand) -> None:
        if command.origin == "mqtt" and (self._link_down or not self._alive):
            self._held_back.append(command)
        elif not self._alive:
            self._record.note_unheard(command)
        else:
            self._submit(command)

    def _deliver(self) -> None:
        """The link is back: what the broker kept."""
        if self._link_down or not self._alive:
            return
        waiting, self._held_back = self._held_back, []
        for command in waiting:
            self._submit(command)

    def _submit(self, one: told.ScenarioCommand) -> None:
        """`ttl` counts from when it was given: by `issued_at`, or where no time is known by what is left of it."""
        now = self._clock.now()
        waited = self._loop.time() - one.at
        issued = None if now.wall_ms is None else now.wall_ms - round(waited * 1000)
        ttl = one.ttl if one.ttl is None or issued is not None else one.ttl - waited
        command = Command(
            id=one.id,
            point=one.point,
            value=one.value,
            received=now,
            issued_at=issued,
            ttl_ms=None if ttl is None else round(ttl * 1000),
            hold_ms=None if one.for_ is None else round(one.for_ * 1000),
            origin=Origin(one.origin),
            by="mqtt" if one.origin == "mqtt" else "local",
        )
        self._spawn(self._answer(command))

    async def _answer(self, command: Command) -> None:
        outcome = await self._arbiter.submit(command)
        if not self._record.has(outcome):  # no news to the ledger: a repeated id, too many commands
            self._record.note(outcome)
        if self._alive:
            self._told()  # it may have set an index or a latch

    # -- what came of it ---------------------------------------------------------------------------------------

    def _result(self) -> dict[str, Any]:
        outputs, totals = self._arbiter.outputs(), self._plant.totals()
        accounts = self._engine.figures_now()
        return {
            "edges": self._record.edges,
            **({"dropped": self._record.dropped} if self._record.dropped else {}),
            "events": self._record.events,
            "totals": totals,
            **({"accounts": accounts} if accounts else {}),
            "final": {
                "outputs": {
                    name: {"value": one.value, "priority": one.priority, "cause": one.cause}
                    for name, one in outputs.items()
                    if name in totals
                },
                "alarms": self._open_alarms.status(),
                "points": self._engine.own_points(),
            },
        }


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
