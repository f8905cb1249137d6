"""Carries out commands: accepted, waiting for a limit or a node, applied, read back. Each outcome is recorded."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from agent.arbiter.actuator import Actuator, Sending
from agent.arbiter.actuator_store import ActuatorStore
from agent.arbiter.actuator_table import ActuatorTable
from agent.arbiter.admission import NODE_PATIENCE, PATIENCE, RATE, CommandRate, Expired, deadline, duration, hold
from agent.arbiter.ledger import Ledger
from agent.arbiter.limits import NO_LIMITS
from agent.arbiter.output_writer import OutputWriter
from agent.arbiter.priority_array import AUTO, REMOTE, Slot
from agent.clock import Clock
from agent.core.actuator_spec import SETTLE, say
from agent.errors import Rejected, StorageError
from agent.lib.timed_event import TimedEvent
from agent.model import Command, Outcome, OutcomeState, Quality, Value

__all__ = ["Authorize", "Commands", "PointCommandFinder"]

log = logging.getLogger("bocage.arbiter")

LATE = "its time ran out before its turn came"
PointCommandFinder = Callable[[Command], Callable[[], Awaitable[str]] | None]
"""Finds the action of a command on a point that is no output (a latch, an alarm, an index); None if it is unknown.

The action is called once the command is on record, and returns the reason of its outcome. Rejected for a wrong value.
"""
Authorize = Callable[[Command], None]
"""Raises Rejected for a command that is not allowed."""


class Commands:
    """Carries out commands, at most once each. `wake` is set when a pass of the arbiter has something to do."""

    def __init__(
        self,
        table: ActuatorTable,
        writer: OutputWriter,
        store: ActuatorStore,
        ledger: Ledger,
        clock: Clock,
        wake: TimedEvent,
    ) -> None:
        self._table, self._writer, self._store, self._ledger, self._clock = table, writer, store, ledger, clock
        self._wake = wake
        self._point_commands: PointCommandFinder = lambda _command: None
        self._authorize: Authorize = lambda _command: None
        self._inflight: dict[str, asyncio.Task[Outcome]] = {}
        self.rate = CommandRate(ledger, clock)
        self.stopping = ""
        """Why no command is accepted any more; "" while they are."""
        self._open = asyncio.Event()

    def take(self, point_commands: PointCommandFinder, authorize: Authorize) -> None:
        """From now on commands on points that are no outputs go to `point_commands`, and `authorize` checks each."""
        self._point_commands, self._authorize = point_commands, authorize

    def open(self) -> None:
        """Begin to carry out commands: the outputs were read and the commands of an earlier process are resolved."""
        self._open.set()

    async def submit(self, command: Command) -> Outcome:
        """Carry out a command; returns its final outcome (see `Arbiter.submit`)."""
        if await self.rate.exceeds(command):
            return self._unrecorded(command, f"too many commands: at most {RATE:g} a second")
        task = self._inflight.get(command.id)
        if task is None:
            task = asyncio.create_task(self._carry_out(command), name=f"command {command.id}")
            self._inflight[command.id] = task
            task.add_done_callback(lambda _done: self._inflight.pop(command.id, None))
        return await asyncio.shield(task)

    def abandon(self, reason: str) -> None:
        """End the commands that wait; refuse new ones."""
        if self.stopping:  # once: a write that was called off may still be leaving the queue of its driver
            return
        self.stopping = reason
        self._open.set()
        for actuator in self._table:
            actuator.abandon(reason)

    async def finish(self) -> None:
        """Wait until the abandoned commands have ended, so that the next arbiter finds none open.

        Commands that come from now on are refused before their acceptance is recorded, and are not waited for.
        """
        self._writer.hurry()
        if left := [*self._inflight.values()]:
            await asyncio.wait(left)

    async def close(self, outcome: Outcome) -> None:
        """End a command that a crash left open, with the value that the output shows. It is never tried again.

        A command that was applied but not yet read back was carried out: `applied` is its end.
        """
        if outcome.state is OutcomeState.APPLIED:
            return
        actuator = self._table.get(outcome.point)
        shows = say(actuator.output_state.present) if actuator is not None else "nothing known"
        reason = f"the agent died between acceptance and the wire; the output reads {shows}"
        log.warning("command left open id=%s point=%s next=not repeated", outcome.command, outcome.point)
        with contextlib.suppress(StorageError):
            await self._ledger.record(replace(outcome, state=OutcomeState.UNKNOWN, reason=reason, at=self._clock.now()))

    async def _carry_out(self, command: Command) -> Outcome:
        await self._open.wait()
        known = await self._ledger.outcome(command)
        if known is not None:
            return known
        try:
            self._authorize(command)
            if self.stopping:
                raise Rejected(self.stopping)
            if self._table.get(command.point) is None:
                action = self._point_commands(command)
                if action is not None:
                    return await self._hand_over(command, action)
            actuator = self._table.find(command.point)
            until = deadline(command, self._clock.now(), NODE_PATIENCE if actuator.deferred else PATIENCE)
            if command.value in (None, AUTO):
                return await self._release(command, actuator)
            value, lasts = actuator.spec.coerce(command.value), hold(command)
            slot = Slot(value, f"command {command.id}", command.by, command=command.id, origin=command.origin)
            ended = await self._accept(command, actuator, slot, until)
            if ended is not None:
                return ended
        except Expired as error:
            return await self._record(command, OutcomeState.EXPIRED, str(error))
        except Rejected as error:
            return await self._record(command, OutcomeState.REJECTED, str(error))
        except StorageError as error:
            return self._unrecorded(command, f"it cannot be put on record: {error}")
        outcome, writes = await self._when_allowed(command, actuator, slot, lasts, until)
        self._wake.set()
        if outcome.state is OutcomeState.APPLIED and actuator.spec.kind != "once":
            return await self._verify(command, actuator, writes)
        return outcome

    async def _accept(self, command: Command, actuator: Actuator, slot: Slot, until: float) -> Outcome | None:
        """Record that the command is accepted. Returns its outcome if it has ended already; Rejected if not allowed.

        The actuator's lock is not held while the disk is waited for, so the command is checked again afterwards. While
        the output is being written only the second check counts.
        """
        if not actuator.lock.locked():
            self._check_now(actuator, slot.value, until)
        if (known := await self._ledger.begin(command)) is not None:
            return known
        async with actuator.lock:
            try:
                self._check_now(actuator, slot.value, until)
            except Rejected as error:
                state = OutcomeState.EXPIRED if isinstance(error, Expired) else OutcomeState.FAILED
                ended = state, str(error)
            else:
                actuator.command.set_pending(slot)
                return None
        return await self._record(command, *ended)

    async def _hand_over(self, command: Command, action: Callable[[], Awaitable[str]]) -> Outcome:
        """Carry out a command on a point that is no output: recorded first, done once."""
        deadline(command, self._clock.now())
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
    ) -> tuple[Outcome, int]:
        """Wait for limits as long as the command is valid, then write once. Also returns the output's count of writes.

        The attempt is on flash before the write. Until it is, controls may write the output.
        """
        noted, sending = False, None
        while True:
            async with actuator.lock:
                now = self._clock.monotonic()
                until, why = actuator.may(slot.value, REMOTE, now)
                if ended := self._hindered(actuator, slot, until, why, deadline):
                    self._give_up(actuator, slot)
                    break
                if until <= now and (noted or actuator.deferred):
                    actuator.command.end_pending(slot)
                    if actuator.deferred:
                        sending = await self._post(actuator, slot, lasts, deadline)
                    else:
                        ended = await self._act(actuator, slot, lasts, deadline)
                    break
                noted = until <= now
                if noted:
                    actuator.command.begin_attempt(replace(slot, until=now + lasts))
                else:
                    actuator.command.cancel_attempt(slot)
            if noted:
                await self._store.save(actuator, now=True)
            else:
                await actuator.command.pending_changed.wait(until - self._clock.monotonic())
        if sending is not None:
            ended = await self._delivered(actuator, sending, lasts)
        assert ended is not None
        writes, (state, reason) = actuator.writes, ended
        await self._writer.flush_audit(actuator)
        undone = noted and state is not OutcomeState.APPLIED
        await self._store.save(actuator, now=undone or actuator.deferred or actuator.limits != NO_LIMITS)
        return await self._record(command, state, reason), writes

    def _hindered(
        self, actuator: Actuator, slot: Slot, until: float, why: str, deadline: float
    ) -> tuple[OutcomeState, str] | None:
        """The outcome of a command that cannot be carried out any more; None if it can."""
        if actuator.command.pending is not slot:
            return OutcomeState.FAILED, self.stopping or "superseded by a later command"
        if blocked := actuator.priority_array.blocked():
            return OutcomeState.FAILED, blocked
        if self._clock.monotonic() > deadline:
            return OutcomeState.EXPIRED, LATE
        if until > deadline:
            return OutcomeState.FAILED, f"{why} outlasts its validity"
        return None

    def _give_up(self, actuator: Actuator, slot: Slot) -> None:
        actuator.command.cancel_attempt(slot)
        actuator.command.end_pending(slot)

    async def _post(self, actuator: Actuator, slot: Slot, lasts: float, deadline: float) -> Sending:
        """Hand the write to a node that listens later. The override holds meanwhile, but not over a restart."""
        await self._writer.withdraw(actuator, f"superseded by {slot.cause}")
        slot = replace(slot, until=deadline + lasts)
        actuator.command.begin_delivery(slot)
        await self._store.save(actuator, now=True)
        return self._writer.send(actuator, slot, REMOTE, deadline)

    async def _delivered(self, actuator: Actuator, sending: Sending, lasts: float) -> tuple[OutcomeState, str]:
        """Wait until the node has the value, or the write is called off."""
        await asyncio.wait({sending.task})
        async with actuator.lock:
            error = sending.reason if sending.task.cancelled() else sending.task.result()
            actuator.command.end_delivery(sending.slot, error, self._clock.monotonic(), lasts)
        self._wake.set()
        if error:
            return OutcomeState.EXPIRED if sending.late else OutcomeState.FAILED, error
        return OutcomeState.APPLIED, f"{actuator.spec.output} written"

    async def _act(self, actuator: Actuator, slot: Slot, lasts: float, deadline: float) -> tuple[OutcomeState, str]:
        """Write once. The override holds only if that worked."""
        before, now = actuator.output_state.present, self._clock.monotonic()
        slot = replace(slot, until=now + lasts)
        error = await self._writer.write(actuator, slot, REMOTE, deadline)
        actuator.command.end_attempt(slot, error, before)
        if error:
            return OutcomeState.FAILED, error
        return OutcomeState.APPLIED, f"{actuator.spec.output} written"

    async def _verify(self, command: Command, actuator: Actuator, writes: int) -> Outcome:
        """Read until the feedback (without one, the output) shows the value, for `travel` and settling at most.

        `writes` is the output's count of writes after the command's own: a later write ends the reading.
        """
        spec = actuator.spec
        shows = spec.feedback or spec.output
        deadline = self._clock.monotonic() + spec.travel + SETTLE
        seen: Value = None
        while True:
            readings = await self._writer.look({spec.output, shows})
            found = {reading.point: reading.value for reading in readings if reading.quality is Quality.GOOD}
            if actuator.writes != writes or self.stopping:
                return self._outcome(command, OutcomeState.APPLIED, "written again before it was read back")
            seen = found.get(shows)
            if shows in found and actuator.output_state.shows(shows, seen, command.value):
                return await self._record(command, OutcomeState.VERIFIED, f"{shows} reads {_read(actuator, seen)}")
            left = deadline - self._clock.monotonic()
            if left <= 0:
                break
            await asyncio.sleep(min(0.25, left))
        if seen is None:
            return self._outcome(command, OutcomeState.APPLIED, f"{shows} cannot be read back")
        actuator.output_state.raise_mismatch(actuator.spec.coerce(command.value))
        await self._store.publish_alarms(actuator, self._writer.publish_alarm)
        return await self._record(command, OutcomeState.MISMATCH, f"{shows} reads {_read(actuator, seen)}")

    async def _release(self, command: Command, actuator: Actuator) -> Outcome:
        """End the override: the wish of a control holds again, or the relinquish default."""
        if actuator.spec.kind == "once":
            raise Rejected(f"{actuator.spec.name} is written once, there is nothing to release")
        if (known := await self._ledger.begin(command)) is not None:
            return known
        async with actuator.lock:
            await self._writer.withdraw(actuator, f"superseded by command {command.id}")
            held = actuator.command.release()
        self._wake.set()
        await self._store.save(actuator, now=True)
        found = actuator.priority_array.winner()
        heir = f"{say(found[1].value)} by priority {found[0]} ({found[1].cause})" if found else "it stays as it is"
        return await self._record(
            command, OutcomeState.APPLIED, f"{'released' if held else 'no override was there'}: {heir}"
        )

    def _check_now(self, actuator: Actuator, value: Value, deadline: float) -> None:
        """Rejected if the command cannot be carried out while it is valid."""
        if self.stopping:
            raise Rejected(self.stopping)
        now = self._clock.monotonic()
        if now > deadline:
            raise Expired(LATE)
        if actuator.command.unresolved:
            raise Rejected(f"{actuator.spec.name} is unknown after a crash: its device must be read first")
        actuator.decide(now)  # ends of other entries
        blocked = actuator.priority_array.blocked()
        if blocked:
            raise Rejected(blocked)
        until, why = actuator.may(value, REMOTE, now)
        if until > deadline:
            verb = "start" if actuator.spec.is_on(value) else "stop"
            raise Rejected(f"{why}: {actuator.spec.name} can {verb} in {duration(until - now)}")

    async def _record(self, command: Command, state: OutcomeState, reason: str) -> Outcome:
        outcome = self._outcome(command, state, reason)
        try:
            await self._ledger.record(outcome)
        except StorageError as error:
            log.error('outcome not durable command=%s state=%s reason="%s" next=told once', command.id, state, error)
        return outcome

    def _unrecorded(self, command: Command, reason: str) -> Outcome:
        return replace(self._outcome(command, OutcomeState.REJECTED, reason), on_record=False)

    def _outcome(self, command: Command, state: OutcomeState, reason: str) -> Outcome:
        return Outcome(command.id, command.point, command.value, state, reason, self._clock.now())


def _read(actuator: Actuator, value: Value) -> str:
    return say(bool(value)) if actuator.spec.kind == "relay" else say(value)
