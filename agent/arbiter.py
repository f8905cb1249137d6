"""The only door to an actuator: every write, whoever asks, is decided and recorded here.

Each actuator has a priority array (1 to 16, the lowest number wins; BACnet's idea). Rules put wishes into it,
commands an override at priority 8 that always has an end. What wins is written when the limits allow it, and read
back. A command is on flash before the wire is written, and is never carried out twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from agent.actuator import AUTO, DEFAULT, LIMIT, REMOTE, SETTLE, Actuator, ActuatorSpec, Sending, Slot, implicit, say
from agent.clock import Clock
from agent.control.core import Output
from agent.driver import Memory
from agent.errors import DeviceError, OutboxError, Rejected, TooLate, WireError
from agent.limits import NO_LIMITS, Bucket
from agent.model import Command, Event, Instant, Origin, Outcome, OutcomeState, Point, Quality, Readings, Value
from agent.supervise import wait
from agent.validity import NODE_PATIENCE, PATIENCE, Expired, deadline, duration, hold, iso

__all__ = ["ActuatorSpec", "Arbiter", "Books", "Desk", "Ledger"]

log = logging.getLogger("bocage.arbiter")

BURST, RATE = 20, 5.0
"""Commands that each origin may send at once, and a second from then on."""
LOOK = 2.0
"""How long the start waits for devices to tell their outputs (s)."""
STOP = 2.5
"""How long an orderly stop gives the outputs (s)."""
TOLD_AGAIN = 60.0
"""Seconds between two events that say how many commands were too many."""
IDLE = 10.0
"""A pass is made at least this often (s)."""


class Ledger(Protocol):
    """Where commands and events become durable (the outbox)."""

    async def outcome(self, command: str) -> Outcome | None:
        """The last stored outcome of a command's id; None if it was never seen."""

    async def begin(self, command: Command) -> Outcome | None:
        """At most once: None, and the acceptance is durable; or the stored outcome of an id that was seen before."""

    async def record(self, outcome: Outcome) -> None: ...

    async def unfinished(self) -> list[Outcome]:
        """Commands whose last outcome is not a final one."""

    async def put_event(self, event: Event) -> None: ...


class Books:
    """A ledger whose events pass through somebody else's hands (`tell`)."""

    def __init__(self, ledger: Ledger, tell: Callable[[Event], Coroutine[Any, Any, None]]) -> None:
        self.outcome, self.begin, self.record, self.unfinished = (
            ledger.outcome, ledger.begin, ledger.record, ledger.unfinished,
        )  # fmt: skip
        self.put_event = tell


Desk = Callable[[Command], Callable[[], Awaitable[str]] | None]
"""Who takes commands on points that are no outputs (a latch, an alarm, an index): what is to be done once the command
is on record, giving the words of its outcome; None if the point is not known there. Rejected for a wrong value."""


class Arbiter:
    """Decides for every output of a site. `write` and `read` are the wires'; `memory` keeps what outlives us.
    `write` gets the moment (monotonic s) at which a command's write may start at the latest, None for rules.

    A writable point that no actuator owns is one by itself (see `implicit`). `run` must be running for anything that
    happens later than at the call: wishes, ends of overrides, waits. Commands on other points go to `desk`; `guard`
    raises Rejected for one that may not be carried out.
    """

    idle = IDLE

    def __init__(
        self,
        specs: Iterable[ActuatorSpec],
        points: Mapping[str, Point],
        write: Callable[[str, Value, float | None], Awaitable[None]],
        read: Callable[[Sequence[str]], Awaitable[Readings]],
        ledger: Ledger,
        memory: Memory,
        clock: Clock,
        desk: Desk = lambda command: None,
        guard: Callable[[Command], None] = lambda command: None,
    ) -> None:
        self._points, self._ledger, self._memory, self._clock = points, ledger, memory, clock
        self._desk, self._guard = desk, guard
        self.told: Callable[[], None] = lambda: None
        """Called when an output, its feedback or who holds it may have changed."""
        self._write_wire, self._read_wire = write, read
        self._actuators: dict[str, Actuator] = {}
        self._by_point: dict[str, Actuator] = {}
        self._by_feedback: dict[str, list[Actuator]] = {}
        for spec in specs:
            self._add(_bounded(spec, points.get(spec.output)), driven=spec.output in points)
        owned = set(self._by_point)
        for point in points.values():
            if point.writable and not owned & {point.id, point.moves}:
                self._add(implicit(point), driven=True)
        for one in self._actuators.values():
            if one.spec.stagger:
                one.neighbours = [o for o in self._actuators.values() if o.spec.stagger and o is not one]
        self._records: dict[str, Any] = {}
        self._recall()
        self._inflight: dict[str, asyncio.Task[Outcome]] = {}
        self._buckets = {origin: Bucket(BURST, RATE) for origin in Origin}
        self._refused = 0
        self._refused_last: Command | None = None
        self._refused_said = float("-inf")
        self._wake = asyncio.Event()
        self._next = clock.monotonic() + LOOK
        self._stopping = ""

    # -- wishes of control rules -------------------------------------------------------------------------------

    def wish(self, actuator: str, priority: int, value: Value, cause: str) -> None:
        """A rule wants `value` of an actuator from now on, at a priority of 1 to 15.

        The same wish again is nothing new. KeyError for an actuator that is not there; Rejected for a value that it
        cannot take, or for a priority that is not a rule's (6 is the limits', 8 the commands').
        """
        if not 1 <= priority < DEFAULT or priority in (6, REMOTE):
            raise Rejected(f"priority {priority} is not for rules")
        one = self._actuators[actuator]
        slot = Slot(one.coerce(value), cause, "control")
        if one.slots.get(priority) != slot:
            one.put(priority, slot)
            self._wake.set()

    def relinquish(self, actuator: str, priority: int) -> None:
        """The rule wants nothing any more: the next lower wish holds, in the end the relinquish default."""
        if self._actuators[actuator].drop(priority):
            self._wake.set()

    def observe(self, readings: Readings) -> None:
        """Take note of outputs and feedbacks in what was read. Bad and stale readings say nothing."""
        boot, due, told = self._clock.boot, False, False
        for reading in readings:
            output, feedbacks = self._by_point.get(reading.point), self._by_feedback.get(reading.point, ())
            if output is None and not feedbacks:
                continue
            if reading.quality is not Quality.GOOD or reading.at.boot != boot:
                continue
            at, told = reading.at.boottime_ns / 1e9, True
            if output is not None:
                due = output.saw_output(reading.value, at) or due
            for actuator in feedbacks:
                due = actuator.saw_feedback(reading.value, at) or due
        if due:
            self._wake.set()
        if told:
            self.told()

    def outputs(self) -> dict[str, Output]:
        """Every actuator as controls see it."""
        found = {}
        for name, actuator in self._actuators.items():
            winner, since = actuator.winner(), actuator.history.since
            if actuator.forced_off:
                winner = LIMIT, Slot(actuator.off, "max_on")
            priority, cause = (winner[0], winner[1].cause) if winner else (DEFAULT, "")
            moved = float("-inf") if since is None else since
            found[name] = Output(actuator.present, priority, cause, moved, actuator.feedback)
        return found

    def present(self, name: str) -> Value:
        """What an output does, by its own name or its actuator's; None if nobody knows, or it is none."""
        actuator = self._actuators.get(name) or self._by_point.get(name)
        return None if actuator is None else actuator.present

    # -- commands ----------------------------------------------------------------------------------------------

    async def submit(self, command: Command) -> Outcome:
        """Carry out a command; returns its final outcome. Every state on the way is recorded, `received` is not.

        It returns when the output was read back, or when the limits that it waited for are over: that may take as
        long as the command is valid. An id that was seen before gives the stored outcome. Who stops waiting does not
        stop the command.
        """
        if not self._buckets[command.origin].take(self._clock.monotonic()):
            return await self._refuse(command)
        task = self._inflight.get(command.id)
        if task is None:
            task = asyncio.create_task(self._carry_out(command), name=f"command {command.id}")
            self._inflight[command.id] = task
            task.add_done_callback(lambda done: self._inflight.pop(command.id, None))
        return await asyncio.shield(task)

    async def _refuse(self, command: Command) -> Outcome:
        """Too many commands: nothing is written to flash for them but one event a minute."""
        self._refused, self._refused_last = self._refused + 1, command
        await self._tell_refused()
        return self._outcome(command, OutcomeState.REJECTED, f"too many commands: at most {RATE:g} a second")

    async def _tell_refused(self) -> None:
        """How many were refused since it was told last; the end of a flood is told by `run`."""
        now, last = self._clock.monotonic(), self._refused_last
        if last is None or now - self._refused_said < TOLD_AGAIN:
            return
        count, self._refused, self._refused_last, self._refused_said = self._refused, 0, None, now
        log.warning("too many commands origin=%s refused=%d next=they are refused", last.origin, count)
        detail = {"refused": count, "origin": str(last.origin), "by": last.by}
        await self._ledger.put_event(Event("audit", "commands_refused", "gateway", self._clock.now(), detail=detail))

    async def _carry_out(self, command: Command) -> Outcome:
        known = await self._ledger.outcome(command.id)
        if known is not None:
            return known
        try:
            self._guard(command)
            if command.point not in self._actuators and command.point not in self._by_point:
                action = self._desk(command)
                if action is not None:
                    return await self._hand_over(command, action)
            actuator = self._find(command.point)
            until = deadline(command, self._clock.now(), NODE_PATIENCE if actuator.deferred else PATIENCE)
            if command.value in (None, AUTO):
                return await self._release(command, actuator)
            value, lasts = actuator.coerce(command.value), hold(command)
            async with actuator.lock:
                self._check_now(actuator, value, until)
                known = await self._ledger.begin(command)
                if known is not None:
                    return known
                slot = Slot(value, f"command {command.id}", command.by, command=command.id)
                actuator.awaited = slot  # an older one that waits is superseded
                actuator.changed.set()
                actuator.changed = asyncio.Event()
        except Expired as error:
            return await self._record(command, OutcomeState.EXPIRED, str(error))
        except Rejected as error:
            return await self._record(command, OutcomeState.REJECTED, str(error))
        except OutboxError as error:
            return self._outcome(command, OutcomeState.REJECTED, f"it cannot be put on record: {error}")
        outcome = await self._when_allowed(command, actuator, slot, lasts, until)
        self._wake.set()
        if outcome.state is OutcomeState.APPLIED and actuator.spec.kind != "once":
            return await self._verify(command, actuator)
        return outcome

    async def _hand_over(self, command: Command, action: Callable[[], Awaitable[str]]) -> Outcome:
        """A command that moves no output: on record first, done once."""
        deadline(command, self._clock.now())
        if self._stopping:
            raise Rejected(self._stopping)
        known = await self._ledger.begin(command)
        if known is not None:
            return known
        try:
            reason = await action()
        except Rejected as error:
            return await self._record(command, OutcomeState.FAILED, str(error))
        return await self._record(command, OutcomeState.APPLIED, reason)

    async def _when_allowed(
        self, command: Command, actuator: Actuator, slot: Slot, lasts: float, deadline: float
    ) -> Outcome:
        """Wait for limits as long as the command is valid, then act once."""
        while True:
            async with actuator.lock:
                if actuator.awaited is not slot:
                    reason = self._stopping or "superseded by a later command"
                    return await self._record(command, OutcomeState.FAILED, reason)
                until, why = actuator.may(slot.value, REMOTE, self._clock.monotonic())
                blocked = actuator.blocked()
                if blocked or until > deadline:
                    actuator.awaited = None
                    reason = blocked or f"{why} outlasts its validity"
                    return await self._record(command, OutcomeState.FAILED, reason)
                if until <= self._clock.monotonic():
                    actuator.awaited = None
                    if not actuator.deferred:
                        return await self._act(command, actuator, slot, lasts, deadline)
                    sending = await self._post(command, actuator, slot, lasts, deadline)
                    break
            await wait(actuator.changed, until - self._clock.monotonic())

        return await self._delivered(command, actuator, sending, lasts)

    async def _post(
        self, command: Command, actuator: Actuator, slot: Slot, lasts: float, deadline: float
    ) -> Sending:
        """Hand a command's write to a node that listens later. Its override stands meanwhile, but for a restart."""
        await self._withdraw(actuator, f"superseded by {slot.cause}")
        if actuator.attempt is None:
            actuator.before = actuator.slots.get(REMOTE)
        slot = actuator.attempt = replace(slot, until=deadline + lasts)
        actuator.put(REMOTE, slot)
        await self._keep(actuator, now=True)
        return self._send(actuator, slot, REMOTE, deadline)

    async def _delivered(self, command: Command, actuator: Actuator, sending: Sending, lasts: float) -> Outcome:
        """Wait until the node has it, or until somebody calls it off."""
        await asyncio.wait({sending.task})
        async with actuator.lock:
            error = sending.reason if sending.task.cancelled() else sending.task.result()
            slot, before = sending.slot, actuator.before
            if actuator.attempt is slot:
                actuator.attempt = actuator.before = None
            if actuator.slots.get(REMOTE) is slot:
                if error and before is not None and (before.until or math.inf) > self._clock.monotonic():
                    actuator.put(REMOTE, before)
                elif error:
                    del actuator.slots[REMOTE]
                    actuator.fall_back(actuator.present)
                else:
                    actuator.put(REMOTE, replace(slot, until=self._clock.monotonic() + lasts))
            await self._keep(actuator, now=True)
        self._wake.set()
        if error:
            state = OutcomeState.EXPIRED if sending.late else OutcomeState.FAILED
            return await self._record(command, state, error)
        return await self._record(command, OutcomeState.APPLIED, f"{actuator.spec.output} written")

    async def _act(
        self, command: Command, actuator: Actuator, slot: Slot, lasts: float, deadline: float
    ) -> Outcome:
        """The one write of a command. Its override is on flash before, and stands only if the write worked."""
        before, now = actuator.present, self._clock.monotonic()
        actuator.begin(slot.value, now)
        slot = replace(slot, until=now + lasts)
        actuator.attempt = slot if actuator.spec.kind != "once" else None
        await self._keep(actuator, now=True)
        error = await self._write(actuator, slot, REMOTE, deadline)
        actuator.attempt = None
        if error:
            actuator.fall_back(before)
            await self._keep(actuator, now=True)
            return await self._record(command, OutcomeState.FAILED, error)
        if actuator.spec.kind != "once":
            actuator.put(REMOTE, slot)
        await self._keep(actuator, now=actuator.limits != NO_LIMITS)
        return await self._record(command, OutcomeState.APPLIED, f"{actuator.spec.output} written")

    async def _verify(self, command: Command, actuator: Actuator) -> Outcome:
        """Read back until feedback (or the output itself) shows it, as long as travel and settling allow."""
        spec, writes = actuator.spec, actuator.writes
        shows = spec.feedback or spec.output
        deadline = self._clock.monotonic() + spec.travel + SETTLE
        seen: Value = None
        while True:
            found = {r.point: r.value for r in await self._look({spec.output, shows}) if r.quality is Quality.GOOD}
            if actuator.writes != writes or self._stopping:
                return self._outcome(command, OutcomeState.APPLIED, "written again before it was read back")
            seen = found.get(shows)
            if shows in found and actuator.shows(shows, seen, command.value):
                return await self._record(command, OutcomeState.VERIFIED, f"{shows} reads {_read(actuator, seen)}")
            left = deadline - self._clock.monotonic()
            if left <= 0:
                break
            await asyncio.sleep(min(0.25, left))
        if seen is None:
            return self._outcome(command, OutcomeState.APPLIED, f"{shows} cannot be read back")
        actuator.say_mismatch(actuator.coerce(command.value))
        await self._tell(actuator)
        return await self._record(command, OutcomeState.MISMATCH, f"{shows} reads {_read(actuator, seen)}")

    async def _release(self, command: Command, actuator: Actuator) -> Outcome:
        """End the override: what a rule wants holds again, or the relinquish default."""
        if actuator.spec.kind == "once":
            raise Rejected(f"{actuator.spec.name} is written once, there is nothing to release")
        async with actuator.lock:
            known = await self._ledger.begin(command)
            if known is not None:
                return known
            await self._withdraw(actuator, f"superseded by command {command.id}")
            held = actuator.drop(REMOTE) or actuator.awaited is not None
            actuator.awaited = actuator.before = None
            actuator.changed.set()
            await self._keep(actuator, now=True)
        self._wake.set()
        found = actuator.winner()
        heir = f"{say(found[1].value)} by priority {found[0]} ({found[1].cause})" if found else "it stays as it is"
        return await self._record(
            command, OutcomeState.APPLIED, f"{'released' if held else 'no override was there'}: {heir}"
        )

    def _find(self, name: str) -> Actuator:
        actuator = self._actuators.get(name) or self._by_point.get(name)
        if actuator is not None and actuator.driven:
            return actuator
        if actuator is not None:
            raise Rejected(f"{name} is not driven yet: its output {actuator.spec.output} is on no wire")
        moves = self._points[name].moves if name in self._points else ""
        if moves:  # there is one door to a relay
            raise Rejected(f"{name} moves {moves}, which is {self._by_point[moves].spec.name}: write that")
        if name in self._points:
            raise Rejected(f"{name} is read only")
        near = difflib.get_close_matches(name, [*self._actuators, *self._by_point], 1)
        raise Rejected(f'unknown point "{name}"' + (f'; did you mean "{near[0]}"?' if near else ""))

    def _check_now(self, actuator: Actuator, value: Value, deadline: float) -> None:
        """Rejected if the command could not be carried out while it is valid."""
        if self._stopping:
            raise Rejected(self._stopping)
        now = self._clock.monotonic()
        if now > deadline:
            raise Expired("its time ran out while others were before it")
        if actuator.doubtful:
            raise Rejected(f"{actuator.spec.name} is unknown after a crash: its device must be read first")
        actuator.decide(now)  # ends of other entries
        blocked = actuator.blocked()
        if blocked:
            raise Rejected(blocked)
        until, why = actuator.may(value, REMOTE, now)
        if until > deadline:
            verb = "start" if actuator.is_on(value) else "stop"
            raise Rejected(f"{why}: {actuator.spec.name} can {verb} in {duration(until - now)}")

    # -- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read the outputs as they are, settle what a crash left open, take up overrides and boot states.

        Nothing is written here: `run` writes what differs from what is wanted. Waits at most 2 s for the devices.
        """
        await self._look(self._by_point.keys() | self._by_feedback.keys(), LOOK)
        open_commands = {outcome.command: outcome for outcome in await self._ledger.unfinished()}
        for actuator in self._actuators.values():
            attempt = actuator.attempt
            if attempt is not None:
                accepted = open_commands.get(attempt.command or "")
                if accepted is None or accepted.state is OutcomeState.APPLIED:
                    actuator.resolve(True)
                elif actuator.present is not None or actuator.deferred:  # what waited for a node died with us
                    actuator.resolve(actuator.same(actuator.present, attempt.value))
                else:
                    actuator.doubtful = True
            boot = actuator.state(actuator.spec.boot_state)
            if actuator.boot != self._clock.boot and boot is not None:
                actuator.put(DEFAULT, Slot(boot, "boot state"))
            await self._keep(actuator)
        for outcome in open_commands.values():
            await self._close_open(outcome)
        self._wake.set()

    async def _close_open(self, outcome: Outcome) -> None:
        """A command that a crash left without its end: said so, with what the output shows; never tried again.

        One that was applied but not yet read back was carried out: `applied` is its end.
        """
        if outcome.state is OutcomeState.APPLIED:
            return
        actuator = self._actuators.get(outcome.point) or self._by_point.get(outcome.point)
        shows = say(actuator.present) if actuator is not None else "nothing known"
        reason = f"the agent died between acceptance and the wire; the output reads {shows}"
        log.warning("command left open id=%s point=%s next=not repeated", outcome.command, outcome.point)
        with contextlib.suppress(OutboxError):
            await self._ledger.record(
                replace(outcome, state=OutcomeState.UNKNOWN, reason=reason, at=self._clock.now())
            )

    async def run(self) -> None:
        """Write what wins whenever something changes or comes due. Runs until cancelled."""
        await self._take_up()
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._wake.clear()
                    self._next = self._pass(group)
                    self.told()
                    await wait(self._wake, self._next - self._clock.monotonic())
        finally:
            self._abandon("the agent stops")

    async def _take_up(self) -> None:
        """From now on these outputs are held in this boot: a restart no longer applies their boot states."""
        new = [actuator for actuator in self._actuators.values() if actuator.boot != self._clock.boot]
        for actuator in new:
            actuator.boot = self._clock.boot
            await self._keep(actuator, now=actuator is new[-1])

    def due(self) -> float:
        """When the next pass of `run` is over at the latest (monotonic seconds, for the watchdog)."""
        return self._next + 5

    async def stop(self, crashed: bool = False) -> None:
        """Bring the outputs to their stop state (after a crash: their safe state), in 3 s even if a device is dead."""
        self._abandon("the agent stops")
        by_device: dict[str, list[tuple[Actuator, Slot]]] = {}
        for actuator in self._actuators.values():
            safe, stop = actuator.spec.safe_state, actuator.spec.stop_state
            value = actuator.state(safe if crashed or stop is None else stop)
            if value is not None and actuator.driven and not actuator.deferred:  # no time to wait for a node
                slot = Slot(value, "crash" if crashed else "stop")
                by_device.setdefault(self._points[actuator.spec.output].device, []).append((actuator, slot))
        await _within(STOP, [self._stop_device(wanted) for wanted in by_device.values()])

    async def _stop_device(self, wanted: Sequence[tuple[Actuator, Slot]]) -> None:
        for actuator, slot in wanted:
            async with actuator.lock:
                await self._write(actuator, slot, 5)
                await self._keep(actuator)

    def status(self) -> list[dict[str, Any]]:
        """A line an actuator: what it does, who holds it and why. Implicit ones only while somebody holds them."""
        now = self._clock.now()
        return [
            self._line(actuator, now)
            for name, actuator in self._actuators.items()
            if name != actuator.spec.output or actuator.slots or actuator.mismatch
        ]

    def _line(self, actuator: Actuator, now: Instant) -> dict[str, Any]:
        found, pending = actuator.winner(), actuator.awaited
        if actuator.forced_off:
            found = LIMIT, Slot(actuator.off, "max_on")
        slot = pending or (found[1] if found else None)
        return {
            "name": actuator.spec.name,
            "output": actuator.spec.output,
            "value": actuator.present,
            "wanted": slot.value if slot else None,
            "priority": REMOTE if pending else found[0] if found else None,
            "cause": slot.cause if slot else "",
            "by": slot.by if slot else "",
            "until": iso(found[1].until, now) if found and not pending else None,
            "feedback": actuator.feedback,
            "mode": actuator.mode,
            "state": self._state(actuator, now),
        }

    def _state(self, actuator: Actuator, now: Instant) -> str:
        mono = now.boottime_ns / 1e9
        waiting = actuator.waiting
        if actuator.awaited is not None:
            waiting = actuator.may(actuator.awaited.value, REMOTE, mono)
        if not actuator.driven:
            return "not driven yet"
        if actuator.error:
            return f"failed: {actuator.error}"
        if waiting is not None and waiting[0] > mono:
            return f"waiting {waiting[1]} until {iso(waiting[0], now) or f'in {duration(waiting[0] - mono)}'}"
        if actuator.sending is not None:
            return "waiting for the node"
        if actuator.mismatch:
            return "mismatch"
        if actuator.present is None:
            return "unknown"
        return "moving" if actuator.moving(mono) else "steady"

    # -- acting ------------------------------------------------------------------------------------------------

    def _pass(self, group: asyncio.TaskGroup) -> float:
        """Start a task for each actuator that has something to do; returns when to look again."""
        now = self._clock.monotonic()
        due = now + self.idle
        if self._stopping:
            return due
        if self._refused and now >= self._refused_said + TOLD_AGAIN:
            group.create_task(self._tell_refused())
        for actuator in self._actuators.values():
            if actuator.lock.locked():
                continue  # whoever holds it wakes us
            decision = actuator.decide(now)
            if decision.slot is not None or decision.withdraw or actuator.news:
                group.create_task(self._settle(actuator))
            due = min(due, decision.at)
        return due

    async def _settle(self, actuator: Actuator) -> None:
        sending = None
        async with actuator.lock:
            if self._stopping:
                return
            decision = actuator.decide(self._clock.monotonic())
            if decision.withdraw:
                found = actuator.winner()
                await self._withdraw(actuator, f"superseded by {found[1].cause} (priority {found[0]})" if found else "")
                decision = actuator.decide(self._clock.monotonic())
            if decision.slot is not None and actuator.deferred:
                sending = self._send(actuator, decision.slot, decision.priority, None)
            elif decision.slot is not None:
                await self._write(actuator, decision.slot, decision.priority)
            await self._keep(actuator, now=decision.slot is not None and actuator.limits != NO_LIMITS)
        await self._tell(actuator)
        self._wake.set()
        if sending is not None:
            await asyncio.wait({sending.task})
            if not sending.task.cancelled():
                sending.task.result()
            async with actuator.lock:
                await self._keep(actuator, now=actuator.limits != NO_LIMITS)
            self._wake.set()

    def _send(self, actuator: Actuator, slot: Slot, priority: int, until: float | None) -> Sending:
        """Begin a write that waits until the node listens; nobody waits with it under the actuator's lock."""
        task = asyncio.create_task(self._write(actuator, slot, priority, until), name=f"send {actuator.spec.name}")
        actuator.sending = Sending(slot, task)
        return actuator.sending

    async def _withdraw(self, actuator: Actuator, reason: str) -> None:
        """Call off what waits for the node, if anything does; the driver takes it out of its queue."""
        sending = actuator.sending
        if sending is None:
            return
        sending.reason = reason
        sending.task.cancel()
        await asyncio.wait({sending.task})
        if actuator.sending is sending:
            actuator.called_off()

    async def _write(
        self, actuator: Actuator, slot: Slot, priority: int, until: float | None = None
    ) -> str:
        """Write an output and audit the change; "" or why it failed."""
        spec, before = actuator.spec, actuator.present
        actuator.begin(slot.value, self._clock.monotonic())
        try:
            await self._write_wire(spec.output, slot.value, until)
        except (DeviceError, WireError) as error:
            if actuator.sending is not None:
                actuator.sending.late = isinstance(error, TooLate)
            actuator.write_failed(slot.value, self._clock.monotonic(), str(error))
            log.warning(
                'write failed actuator=%s output=%s value=%s reason="%s" next=the next reading says whether it moved',
                spec.name, spec.output, say(slot.value), error,
            )  # fmt: skip
            return str(error)
        actuator.written(slot.value, self._clock.monotonic())
        if before is None or not actuator.same(before, slot.value):
            await self._audit(actuator, before, slot, priority)
        return ""

    async def _audit(self, actuator: Actuator, before: Value, slot: Slot, priority: int) -> None:
        detail = {"from": before, "to": slot.value, "priority": priority, "cause": slot.cause, "by": slot.by}
        log.info(
            'output changed actuator=%s from=%s to=%s priority=%d cause="%s" by="%s"',
            actuator.spec.name, say(before), say(slot.value), priority, slot.cause, slot.by,
        )  # fmt: skip
        await self._ledger.put_event(
            Event("audit", "output", actuator.spec.name, self._clock.now(), detail=detail)
        )

    async def _tell(self, actuator: Actuator) -> None:
        """Alarms that were raised or cleared."""
        news, actuator.news = actuator.news, []
        for one in news:
            log.warning("%s code=%s actuator=%s detail=%s", one.kind, one.code, actuator.spec.name, one.detail)
            await self._ledger.put_event(
                Event(one.kind, one.code, actuator.spec.name, self._clock.now(), one.severity, one.detail)
            )

    async def _look(self, points: Iterable[str], patience: float = SETTLE) -> Readings:
        """Read points now, a device at a time, and take note. What does not answer in `patience` is left out."""
        by_device: dict[str, list[str]] = {}
        for name in points:
            if name in self._points:
                by_device.setdefault(self._points[name].device, []).append(name)
        found: list[Any] = []

        async def look(names: Sequence[str]) -> None:
            try:
                found.extend(await self._read_wire(names))
            except (DeviceError, WireError) as error:
                log.info('not read points=%s reason="%s" next=the next poll', ",".join(names), error)

        await _within(patience, [look(names) for names in by_device.values()])
        self.observe(found)
        return found

    async def _keep(self, actuator: Actuator, now: bool = False) -> None:
        """Remember for a restart what changed; with `now` on flash when this returns, if the disk will."""
        record = actuator.record(self._clock.now())
        name, moment = actuator.spec.name, ("at", "wall_ms")
        essence = {key: value for key, value in record.items() if key not in moment}
        if self._records.get(name) == essence:
            return
        self._records[name] = essence
        try:
            if now:
                await asyncio.to_thread(self._memory.put, name, record, True)
            else:
                self._memory.put(name, record)
        except OutboxError as error:
            log.error('state not durable actuator=%s reason="%s" next=control goes on', name, error)

    async def _record(self, command: Command, state: OutcomeState, reason: str) -> Outcome:
        outcome = self._outcome(command, state, reason)
        try:
            await self._ledger.record(outcome)
        except OutboxError as error:
            log.error('outcome not durable command=%s state=%s reason="%s" next=told once', command.id, state, error)
        return outcome

    def _outcome(self, command: Command, state: OutcomeState, reason: str) -> Outcome:
        return Outcome(command.id, command.point, command.value, state, reason, self._clock.now())

    def _abandon(self, reason: str) -> None:
        """Commands that wait end now; new ones are refused."""
        self._stopping = reason
        for actuator in self._actuators.values():
            actuator.awaited = None
            actuator.changed.set()
            if actuator.sending is not None:
                actuator.sending.reason = reason
                actuator.sending.task.cancel()

    def _add(self, spec: ActuatorSpec, driven: bool) -> None:
        point = self._points.get(spec.output)
        deferred = point is not None and point.deferred
        actuator = self._actuators[spec.name] = Actuator(spec, driven=driven, deferred=deferred)
        self._by_point[spec.output] = actuator
        if spec.feedback is not None:
            self._by_feedback.setdefault(spec.feedback, []).append(actuator)

    def _recall(self) -> None:
        now = self._clock.now()
        for name, actuator in self._actuators.items():
            record = self._memory.get(name)
            try:
                if record is not None:
                    actuator.recall(record, now)
            except (KeyError, TypeError) as error:
                log.error("memory of actuator not understood actuator=%s reason=%r next=starts anew", name, error)


def _bounded(spec: ActuatorSpec, point: Point | None) -> ActuatorSpec:
    """A level without bounds of its own has those of its output."""
    if point is None or spec.low is not None or spec.high is not None:
        return spec
    return replace(spec, low=point.low, high=point.high)


def _read(actuator: Actuator, value: Value) -> str:
    return say(bool(value)) if actuator.spec.kind == "relay" else say(value)


async def _within(seconds: float, work: Sequence[Any]) -> None:
    """Run all at once and give up on what is not done in time."""
    if not work:
        return
    tasks = [asyncio.create_task(one) for one in work]
    try:
        done, late = await asyncio.wait(tasks, timeout=seconds)
    finally:
        for task in tasks:
            task.cancel()
    if late:
        await asyncio.wait(late, timeout=0.3)
    for task in done:
        task.result()
