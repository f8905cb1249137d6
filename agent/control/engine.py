"""Runs the controls: hands them what changed, the arbiter their wishes, the outbox what happened, flash their state.

Controls are pure (`agent.control.api`). A control is stepped when one of its inputs changed, when its `due` came,
and when the time became known, unknown or another one. A control that raises is a bug: it is left out with an alarm
and tried again, and the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from agent.clock import Clock
from agent.control.api import (
    NEVER,
    Accounts,
    Commanded,
    Control,
    Counting,
    Exact,
    Factual,
    Happening,
    Indifferent,
    Input,
    Issued,
    Latching,
    Metered,
    Now,
    Output,
    Pressed,
    Priced,
    Sparing,
    Step,
    Timed,
    View,
    Wish,
)  # fmt: skip
from agent.control.civil import REAL_TIME, Civil, Pace
from agent.control.clock_events import clock_events
from agent.control.named_calendars import CALENDAR, NamedCalendar, calendar_input
from agent.control.raised_alarms import RaisedAlarms
from agent.control.wishes import SharedWishes, WishTaker
from agent.core.supervisor import isolated
from agent.errors import Rejected, StorageError
from agent.lib.timed_event import TimedEvent
from agent.model import Command, Event, Quality, Reading, Readings, Severity, Value
from drivers.api import Facts

__all__ = ["ControlArbiter", "Doing", "Engine"]

log = logging.getLogger("bocage.engine")

IDLE = 10.0
"""Seconds between two turns at the most, so that the clock is looked at."""
PATIENCE = 5.0
"""Seconds that the first turn waits for inputs that were never received."""
KEEP = 60.0
"""State that only counts (run-hours, learned values) is kept, and told, this often (s)."""
RETRY = 60.0
"""A control that failed is tried again after this long (s)."""
TOLD = 0.2
"""Seconds that a stop waits for events to be written to flash."""
SOONEST = 0.001
"""A `due` that is past already comes this much later (s)."""
_BEFORE = "as before the start"
_WORDS: Mapping[Value, str] = {True: "on", False: "off", None: "released"}


class ControlArbiter(WishTaker, Protocol):
    """The arbiter, as the engine sees it."""

    told: Callable[[], None]

    def outputs(self) -> Mapping[str, Output]: ...

    def release_unnamed(self, named: Collection[str]) -> None: ...


class _Rule:
    """One control with its state, and the version of its state that is on flash."""

    def __init__(self, control: Control[Any]) -> None:
        self.control = control
        self.name, self.inputs = control.name, control.inputs
        self.commanded = control if isinstance(control, Commanded) else None
        self.account = control if isinstance(control, Accounts) else None
        self.factual = control if isinstance(control, Factual) else None
        self.counting = control if isinstance(control, Counting) else None
        self.metered = control if isinstance(control, Metered) else None
        self.powers = tuple(control.powers) if isinstance(control, Priced) else ()
        self.priced = control if isinstance(control, Priced) and self.powers else None
        self.indifferent = control if isinstance(control, Indifferent) else None
        self.state: Any = None
        self.due = 0.0
        self.kept: Any = None
        self.sparing = control if isinstance(control, Sparing) else None
        self.kept_of: object = None
        """The parts of the state of which `kept` is the dump."""
        self.dirty = False
        self.failed = ""
        self.figures: Mapping[str, float] = {}
        """Its account as it was kept last: it may be told once that is on flash."""
        self.told: Mapping[str, float] = {}
        self.facts: Mapping[str, Value] = {}
        self.noted: Any = None
        """The state of which `facts` are."""

    def is_indifferent(self, view: View) -> bool:
        """Whether the change of an input is none to this control. One that fails is stepped, which says so."""
        if self.failed or self.indifferent is None:
            return False
        try:
            return self.indifferent.alike(self.state, view)
        except Exception:  # noqa: BLE001  the step says it
            return False


class Doing(NamedTuple):
    """A control with its state, its wishes, and when it looks again (monotonic s); `failed`: the reason, or "".

    A state is a value, so looking at it disturbs nothing.
    """

    control: Control[Any]
    state: Any
    wishes: Sequence[Wish]
    due: float
    failed: str


class Engine:
    """All controls of a site. `tell` makes an event durable (the outbox's); `store` keeps what must last.

    `observe` takes readings from the hub. `run` runs until cancelled; `look` is one turn of it, for a caller with its
    own time (the simulator). `raised` are the alarms that are open, by code and subject.
    `pace` is that of the controls' time.
    """

    def __init__(
        self,
        controls: Iterable[Control[Any]],
        timezone: str,
        arbiter: ControlArbiter,
        tell: Callable[[Event], Awaitable[None]],
        store: Facts,
        clock: Clock,
        raised: Iterable[tuple[str, str]] = (),
        pace: Pace = REAL_TIME,
    ) -> None:
        self.pace = pace
        self._arbiter, self._tell, self._store, self._clock = arbiter, tell, store, clock
        self._civil = Civil(timezone, clock, self.pace)
        self._rules = [_Rule(control) for control in controls]
        self._priced = [(rule, rule.priced) for rule in self._rules if rule.priced is not None]
        self._wanted = frozenset[str]().union(*(rule.inputs for rule in self._rules))
        self._pressed = {name for rule in self._rules if isinstance(rule.control, Pressed)
                          for name in rule.control.pressed}  # fmt: skip
        parts = (part for rule in self._rules for part in (rule.factual, rule.account) if part is not None)
        self._own = {point.id for part in parts for point in part.points}
        """The points of controls, at which other controls may look."""
        self._facts: list[Reading] = []
        """The facts that changed in this turn."""
        self._points: dict[str, Input] = {}
        self._calendars: Mapping[str, NamedCalendar] = {}
        self._outputs: Mapping[str, Output] = {}
        self._changed: set[str] = set()
        self._moved = True
        self._is_begun = False
        """Every control has had its first step."""
        self._wishes = SharedWishes(arbiter)
        self._urgent: list[_Rule] = []
        self._untold: set[_Rule] = set()
        """Controls with an event that is not durable yet: a state that has it would make the next process silent."""
        self._keep_at, self._keep_every = NEVER, KEEP * pace.speed
        self._tell_at = NEVER
        """When figures that were kept are told."""
        self._is_telling = False
        """Figures are to be told once they are on flash."""
        self._trusted: bool | None = None
        self._news: list[Event] = []
        self._events: deque[Event] = deque()
        """Events that are not in the outbox yet."""
        self._noting = asyncio.Lock()
        self._wake = TimedEvent()
        self._next = clock.monotonic() + PATIENCE
        self.publish: Callable[[Readings], None] = lambda _readings: None
        """Where the accounts of controls go: the hub's."""
        self.doubts: Callable[[str], bool] = lambda _name: False
        """Whether a counter is in doubt: the hub knows."""
        self.dumped: Callable[[Control[Any], Any], Any] = lambda control, state: control.dump(state)
        """The value that is kept of a control and its state; the simulator dumps only what a kill brings back."""
        self._recall_all()
        self._raised = RaisedAlarms(store.get("raised"))
        self._is_raised = False
        """A control raised an alarm, and which one did is not on flash yet."""
        self._take_over(set(raised))
        arbiter.told = clock.wall.told = self.wake

    def _take_over(self, raised: set[tuple[str, str]]) -> None:
        """Alarms that were open before the start. Of a control that failed, its first step tells whether it still does;
        those of a control that left the site file are cleared."""
        happened = self._raised.take_up({rule.name: rule.kept is not None for rule in self._rules}, raised)
        self._news += [self._event(one) for one in happened]
        if self._raised.dump() != (self._store.get("raised") or []):
            self._store.put("raised", self._raised.dump())
        failed = {subject for code, subject in raised if code == "control_failed"}
        for rule in self._rules:
            if rule.name in failed:
                rule.failed = _BEFORE
        for name in sorted(failed - {rule.name for rule in self._rules}):
            self._news.append(self._event(Happening("cleared", "control_failed", name, Severity.INFO)))

    # -- what comes in -----------------------------------------------------------------------------------------

    def observe(self, readings: Readings) -> None:
        """Take inputs. One that did not change only counts as received again, unless a control wants each."""
        wanted, points, pace = self._wanted, self._points, self.pace
        for reading in readings:
            name = reading.point
            if name not in wanted:
                continue
            before, at = points.get(name), reading.at.boottime_ns / 1e9
            if pace.speed != 1:
                at = pace.at(at)
            if reading.quality is not Quality.GOOD:
                at = -NEVER if before is None else before.at  # that of the last good one
            now = points[name] = Input(reading.value, reading.quality, at, self.doubts(name))
            if before is None or before.value != now.value or before[1::2] != now[1::2]:
                self._changed.add(name)  # its value, its quality, or a doubt of it
            if name in self._pressed and now.value and (before is None or at > before.at):
                self._changed.add(name)
        if self._changed:
            self._wake.set()

    def take_calendars(self, calendars: Mapping[str, NamedCalendar]) -> None:
        """The calendars of the site as they are known from now on."""
        before, self._calendars = self._calendars, calendars
        names = {*before, *calendars}
        self._changed |= {calendar_input(name) for name in names if before.get(name) != calendars.get(name)}
        if self._changed:
            self._wake.set()

    def wake(self) -> None:
        """Outputs may have moved, or the time."""
        self._moved = True
        self._wake.set()

    def tariffs(self) -> dict[str, str]:
        """The tariff at which each output takes its current, by actuator, where a control knows it."""
        return {name: one.tariff_now(rule.state) for rule, one in self._priced for name in rule.powers}

    def hurry(self) -> None:
        """Step every control at the next turn, although nothing asks for it."""
        for rule in self._rules:
            rule.due = 0.0

    @property
    def woken(self) -> bool:
        """Whether a turn is wanted before the next due time."""
        return self._wake.is_set()

    def point_command(self, command: Command) -> Callable[[], Awaitable[str]] | None:
        """A command on a point of a control's own (`fountain.latch`); see `PointCommandFinder` of the arbiter."""
        for rule in self._rules:
            if rule.commanded is not None and command.point in rule.commanded.commands:
                self._answer(rule.commanded, rule.state, command)
                return partial(self._carry_out, rule, rule.commanded, command)
        return None

    def figures_now(self) -> dict[str, float]:
        """The figures that are told at full hours, as they are now: for the simulator."""
        found: dict[str, float] = {}
        for rule in self._rules:
            if isinstance(rule.control, Exact):
                found |= rule.control.figures_now(rule.state)
        return found

    def swapped(self, meter: str, index: float, before: float | None) -> str | None:
        """A meter that stood at `before` was swapped: it goes on from `index`, and the controls that follow it keep
        their state with the next write to flash. The first of them; None if none does."""
        found = None
        for rule in self._rules:
            state = None if rule.metered is None else rule.metered.swapped(rule.state, meter, index, before)
            if state is not None:
                rule.state, rule.dirty, found = state, True, found or rule.name
                self._keep_at = 0.0
                if rule not in self._untold:
                    self._keep(rule)
        return found

    def replaced(self, meter: str, detail: Mapping[str, Value]) -> None:
        """A counter is another meter's now, and its index goes on: told once, of the control that follows it if any."""
        self._say_of_meter("meter_replaced", meter, detail)

    def returned(self, meter: str, detail: Mapping[str, Value]) -> None:
        """It was the same meter after all."""
        self._say_of_meter("meter_returned", meter, detail)

    def _say_of_meter(self, code: str, meter: str, detail: Mapping[str, Value]) -> None:
        followed = (rule for rule in self._rules if rule.metered and rule.metered.swapped(rule.state, meter, 0.0))
        subject = next((rule.name for rule in followed), meter)
        self._news.append(self._event(Happening("change", code, subject, Severity.INFO, detail)))
        self._wake.set()

    # -- looking at it -----------------------------------------------------------------------------------------

    @property
    def view(self) -> View:
        """All that controls may look at now."""
        return View(self._points, self._outputs_now(), self._calendars)

    @property
    def now(self) -> Now:
        """This moment, as controls see it."""
        return self._civil.now()

    def about(self, name: str) -> Iterator[Doing]:
        """The controls of this name, or with this subject; else those that wish for the actuator `name`."""
        named = [rule for rule in self._rules if name in (rule.name, getattr(rule.control, "subject", None))]
        for rule in named or self._rules:
            wishes = self._wishes.of(rule.name)
            if named or any(wish.actuator == name for wish in wishes):
                yield Doing(rule.control, rule.state, wishes, rule.due, rule.failed)

    def latched(self) -> set[tuple[str, str]]:
        """The alarms, code and subject, that only a reset ends."""
        latching = ((rule.control, rule.state) for rule in self._rules if isinstance(rule.control, Latching))
        return {alarm for control, state in latching for alarm in control.latched(state)}

    def own_points(self) -> dict[str, Value]:
        """The figures and facts of all controls at present, by the ids of their points."""
        found: dict[str, Value] = {}
        for rule in self._rules:
            if rule.account is not None:
                found |= rule.account.figures(rule.state)
            if rule.factual is not None:
                found |= rule.factual.facts(rule.state)
        return found

    # -- life --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Step whatever changed or came due until cancelled."""
        await self._inputs_are_there()
        async with asyncio.TaskGroup() as group:
            while True:
                self.turn()
                if (self._events or self._urgent or self._is_telling) and not self._noting.locked():
                    group.create_task(self._note())
                self._next = min(self.pace.back(self.due_next()), self._clock.monotonic() + IDLE)
                await self._wake.wait(self._next - self._clock.monotonic())

    def due(self) -> float:
        """When the next turn is over at the latest (monotonic seconds, for the watchdog)."""
        return self._next + 5

    def due_next(self) -> float:
        """When a control, or the keeping or telling of its state, wants to be looked at by itself."""
        soonest = min([rule.due for rule in self._rules], default=NEVER)
        return min(self._keep_at, self._tell_at, self._civil.due(), soonest)

    async def close(self) -> None:
        """At an orderly stop: what happened is on its way to flash, and everything is kept with the last write."""
        if self._events:
            await asyncio.wait([asyncio.ensure_future(self._tell(event)) for event in self._events], timeout=TOLD)
        for rule in self._rules:
            self._keep(rule)

    def turn(self) -> None:
        """Step what changed or is due now."""
        self._wake.clear()
        now, news = self._civil.now(), self._clock.wall.take_news()
        self._events += [*self._news, *(clock_events(news, self._clock.now()) if news else ())]
        self._news.clear()
        everybody = now.trusted is not self._trusted or any(what == "clock" for what, _ in news)
        self._trusted = now.trusted
        changed, self._changed = self._changed, set()
        if self._moved:
            self._moved = False
            before, self._outputs = self._outputs, self._outputs_now()
            changed |= {name for name, output in self._outputs.items() if before.get(name) != output}
        view, at = View(self._points, self._outputs, self._calendars), now.monotonic
        for rule in self._rules:
            if everybody or rule.due <= at or (
                not changed.isdisjoint(rule.inputs) and not rule.is_indifferent(view)
            ):  # fmt: skip
                self._events += self._step(rule, view, now)
        if not self._is_begun:
            self._is_begun = True
            self._arbiter.release_unnamed(self._wanted | self._wishes.actuators())
        if self._facts:
            facts, self._facts = self._facts, []
            self.observe(facts)
            self.publish(facts)
        if now.monotonic >= self._keep_at:
            self._keep_at = NEVER
            for rule in self._rules:
                if rule.dirty and rule not in self._untold:
                    self._keep(rule)
            self._tell_at = min(self._tell_at, now.monotonic + self._keep_every)
        if now.monotonic >= self._tell_at:
            self._tell_at, self._is_telling = NEVER, True

    async def _tell_figures(self) -> None:
        """The accounts as they were kept: a counter that was told is on flash, and never goes back.

        The flush writes nothing where the coalesced write has done so already, as it has unless the disk refuses. Then
        the figures are told later. A figure that is not known any more is told as bad.
        """
        self._is_telling = False
        news = [(rule, rule.figures) for rule in self._rules if rule.figures != rule.told]
        if not news:
            return
        try:
            await asyncio.to_thread(self._store.flush)
        except StorageError:  # the state reports it
            self._tell_at = self._civil.now().monotonic + self._keep_every
            return
        at, found = self._clock.now(), list[Reading]()
        for rule, kept in news:
            found += [Reading(name, value, at) for name, value in kept.items() if rule.told.get(name) != value]
            found += [Reading(name, None, at, Quality.BAD) for name in rule.told if name not in kept]
            rule.told = kept
        self.publish(found)

    def _outputs_now(self) -> Mapping[str, Output]:
        found = self._arbiter.outputs()
        if self.pace.speed == 1:
            return found
        at = self.pace.at
        return {
            name: one._replace(since=at(one.since), waits=at(one.waits), unread=at(one.unread))
            for name, one in found.items()
        }

    async def _inputs_are_there(self) -> None:
        """A fallback for an input that is only not yet read would move outputs for nothing."""
        until = self._clock.monotonic() + PATIENCE
        wanted = {name for name in self._wanted - self._own if not name.startswith(CALENDAR)}
        while self._clock.monotonic() < until and wanted - self._points.keys() - self._arbiter.outputs().keys():
            self._wake.clear()
            await self._wake.wait(until - self._clock.monotonic())

    async def look(self) -> None:
        """One turn; what happened is on flash when this returns, and the states that know of it."""
        self.turn()
        if self._events or self._urgent or self._is_telling or self._noting.locked():
            await self._note()

    async def _note(self) -> None:
        """Bring what happened to the outbox, in its order, and then the states that know of it to flash.

        Which control raised an alarm is on flash before the alarm is told: else nothing could clear it after a kill.

        That may take long, and turns go on meanwhile: what happens in them is told as well before this ends.
        """
        async with self._noting:
            while self._events or self._urgent or self._is_telling:
                while self._events:
                    if self._is_raised:
                        self._is_raised = False
                        with contextlib.suppress(StorageError):
                            await asyncio.to_thread(self._store.flush)
                    await self._tell(self._events.popleft())
                self._untold.clear()
                urgent, self._urgent = self._urgent, []
                if urgent:
                    await self._keep_now(urgent)
                if self._is_telling:
                    await self._tell_figures()

    async def _keep_now(self, rules: Sequence[_Rule]) -> None:
        """Write the durable state of these rules to flash before returning, if the disk can."""
        for rule in rules:
            self._keep(rule)
        try:
            await asyncio.to_thread(self._store.flush)
        except StorageError as error:
            names = ",".join(rule.name for rule in rules)
            log.error('state not durable controls=%s reason="%s" next=control goes on', names, error)

    # -- stepping ----------------------------------------------------------------------------------------------

    def _step(self, rule: _Rule, view: View, now: Now) -> list[Event]:
        def do() -> Step[Any]:
            step = rule.control.step(rule.state, view, now)
            if self._wishes.put(rule.name, step.wishes):
                rule.dirty = True
                self._keep_at = 0.0
            return step

        step, failure = isolated(rule.name, do)
        if step is None:
            return self._fail(rule, failure, now)
        happened = self._note_alarms(rule, step.happenings) if step.happenings or self._raised.unsure else []
        if rule.failed:
            rule.failed = ""
            happened.append(Happening("cleared", "control_failed", rule.name, Severity.INFO))
        rule.due = step.due if step.due > now.monotonic else now.monotonic + SOONEST
        counts, before = False, rule.state
        if step.state is not before:
            rule.state = step.state
            if before != rule.state:
                counts = rule.counting is not None and rule.counting.mark(before) != rule.counting.mark(rule.state)
                rule.dirty = True
                self._keep_at = min(self._keep_at, now.monotonic + self._keep_every)
        if rule.factual is not None and rule.noted is not rule.state:
            self._note_facts(rule, rule.factual.facts(rule.state))
            rule.noted = rule.state
        if happened:
            self._untold.add(rule)
        if (happened or counts) and rule not in self._urgent:
            self._urgent.append(rule)
        return [self._event(one) for one in happened]

    def _note_alarms(self, rule: _Rule, happened: Sequence[Happening]) -> list[Happening]:
        found = self._raised.note(rule.name, happened)
        if found:
            self._store.put("raised", self._raised.dump())
            self._is_raised = self._is_raised or any(one.kind == "alarm" for one in found)
        return found

    def _fail(self, rule: _Rule, failure: str, now: Now) -> list[Event]:
        """A control with a bug wants nothing any more; it is tried again with its last good state."""
        self._wishes.withdraw(rule.name, self._arbiter.outputs())
        rule.due = now.monotonic + RETRY
        self._note_facts(rule, {})
        rule.noted = None
        known, rule.failed = rule.failed, failure
        if known not in ("", _BEFORE):
            return []
        log.critical('control failed control=%s reason="%s" next=its outputs are released', rule.name, failure)
        if known:
            return []
        detail = {"reason": failure}
        return [self._event(Happening("alarm", "control_failed", rule.name, Severity.CRITICAL, detail))]

    def _note_facts(self, rule: _Rule, facts: Mapping[str, Value]) -> None:
        """Collect the facts of a control that changed; one that is missing is not known any more."""
        if facts == rule.facts:
            return
        at = self._clock.now()
        for name in {**rule.facts, **facts}:
            if name not in facts:
                self._facts.append(Reading(name, None, at, Quality.BAD))
            elif rule.facts.get(name) != facts[name]:
                self._facts.append(Reading(name, facts[name], at))
        rule.facts = facts

    def _event(self, one: Happening) -> Event:
        detail = None if one.detail is None else dict(one.detail)
        level = logging.WARNING if one.kind == "alarm" else logging.INFO
        log.log(level, "%s code=%s subject=%s detail=%s", one.kind, one.code, one.subject, detail)
        return Event(one.kind, one.code, one.subject, self._clock.now(), one.severity, detail)

    # -- commands ----------------------------------------------------------------------------------------------

    def _answer(self, control: Commanded, state: Any, command: Command) -> Any:
        """The state after the command. Rejected for a wrong value."""
        try:
            if isinstance(control, Timed):
                given = Issued(self._age(command), None if command.hold_ms is None else command.hold_ms / 1000)
                return control.timed_command(state, command.point, command.value, self._civil.now(), given)
            return control.command(state, command.point, command.value, self._civil.now())
        except ValueError as error:
            raise Rejected(str(error)) from error

    def _age(self, command: Command) -> float:
        """Seconds since the command was given, as far as that is known, in the time of the controls."""
        now, given = self._clock.now(), command.received
        age = (now.boottime_ns - given.boottime_ns) / 1e9 if now.boot == given.boot else 0.0
        if command.issued_at is not None and now.wall_ms is not None:
            age = max(age, (now.wall_ms - command.issued_at) / 1000)
        return max(age, 0.0) * self.pace.speed

    async def _carry_out(self, rule: _Rule, control: Commanded, command: Command) -> str:
        rule.state = self._answer(control, rule.state, command)
        rule.due = 0.0
        self._urgent.append(rule)
        await self.look()
        self._wake.set()
        return f"{command.point} {_WORDS.get(command.value, command.value)}"

    # -- what outlives the process -----------------------------------------------------------------------------

    def _recall_all(self) -> None:
        for rule in self._rules:
            rule.state = self._recall(rule)
            if rule.account is not None:
                rule.figures = rule.account.figures(rule.state)
                self._tell_at = 0.0

    def _recall(self, rule: _Rule) -> Any:
        kept = self._store.get(f"control.{rule.name}")
        if kept is not None:
            try:
                state = rule.control.load(kept)
            except (ValueError, KeyError, TypeError) as error:
                log.error('saved state unreadable control=%s reason="%s" next=starts anew', rule.name, error)
            else:
                rule.kept = kept
                return state
        return rule.control.initial()

    def _keep(self, rule: _Rule) -> None:
        """Remember what must last."""
        rule.dirty = False
        if rule.account is not None:
            rule.figures = rule.account.figures(rule.state)
        kept_of = None if rule.sparing is None else rule.sparing.kept(rule.state)
        if kept_of is None or kept_of != rule.kept_of:
            kept = self.dumped(rule.control, rule.state)
            if kept != rule.kept:
                self._store.put(f"control.{rule.name}", kept)
                rule.kept = kept
            rule.kept_of = kept_of
        if self._raised.keep(rule.name):
            self._store.put("raised", self._raised.dump())
