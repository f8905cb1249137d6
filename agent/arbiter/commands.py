"""The life of a command: accepted, waiting for a limit or a node, applied, read back. What ends it is on record."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace

from agent.arbiter.actuator import Actuator, Sending
from agent.arbiter.actuator_store import ActuatorStore
from agent.arbiter.actuator_table import ActuatorTable
from agent.arbiter.flood import RATE, Flood
from agent.arbiter.ledger import Ledger
from agent.arbiter.limits import NO_LIMITS
from agent.arbiter.output_writer import OutputWriter
from agent.arbiter.priority_array import AUTO, REMOTE, Slot
from agent.arbiter.validity import NODE_PATIENCE, PATIENCE, Expired, deadline, duration, hold
from agent.clock import Clock
from agent.core.actuator_spec import SETTLE, say
from agent.errors import Rejected, StorageError
from agent.lib.wake import Wake
from agent.model import Command, Outcome, OutcomeState, Quality, Value

__all__ = ["Commands", "PointCommandFinder"]

log = logging.getLogger("bocage.arbiter")

LATE = "its time ran out before its turn came"
PointCommandFinder = Callable[[Command], Callable[[], Awaitable[str]] | None]
"""Who takes commands on points that are no outputs (a latch, an alarm, an index): what is to be done once the command
is on record, giving the words of its outcome; None if the point is not known there. Rejected for a wrong value."""


class Commands:
    """Carries out commands, at most once each. `wake` is set when a pass of the arbiter has something to do."""

    def __init__(
        self,
        table: ActuatorTable,
        writer: OutputWriter,
        store: ActuatorStore,
        ledger: Ledger,
        clock: Clock,
        wake: Wake,
        point_commands: PointCommandFinder,
        authorize: Callable[[Command], None],
    ) -> None:
        self._table, self._writer, self._store, self._ledger, self._clock = table, writer, store, ledger, clock
        self._wake, self._point_commands, self._authorize = wake, point_commands, authorize
        self._inflight: dict[str, asyncio.Task[Outcome]] = {}
        self.flood = Flood(ledger, clock)
        self.stopping = ""
        """Why commands are taken no more."""
        self._open = asyncio.Event()

    def open(self) -> None:
        """What an earlier process left is settled, and the outputs were looked at: commands are carried out."""
        self._open.set()

    async def submit(self, command: Command) -> Outcome:
        """Carry out a command; returns its final outcome (see `Arbiter.submit`)."""
        if await self.flood.is_too_many(command):
            return self._unrecorded(command, f"too many commands: at most {RATE:g} a second")
        task = self._inflight.get(command.id)
        if task is None:
            task = asyncio.create_task(self._carry_out(command), name=f"command {command.id}")
            self._inflight[command.id] = task
            task.add_done_callback(lambda done: self._inflight.pop(command.id, None))
        return await asyncio.shield(task)

    def abandon(self, reason: str) -> None:
        """Commands that wait end now; new ones are refused."""
        if self.stopping:  # once: what was called off may still be leaving the queue of its driver
            return
        self.stopping = reason
        self._open.set()
        for actuator in self._table:
            actuator.awaited = None
            actuator.changed.set()
            if actuator.sending is not None:
                actuator.sending.reason = reason
                actuator.sending.task.cancel()

    async def finish(self) -> None:
        """Wait until those that were abandoned are over: whoever follows must find none open that will end yet.

        Those that come from now on are refused before they are on record as accepted: nobody waits for them.
        """
        self._writer.hurry()
        if left := [*self._inflight.values()]:
            await asyncio.wait(left)

    async def close(self, outcome: Outcome) -> None:
        """A command that a crash left without its end: said so, with what the output shows; never tried again.

        One that was applied but not yet read back was carried out: `applied` is its end.
        """
        if outcome.state is OutcomeState.APPLIED:
            return
        actuator = self._table.get(outcome.point)
        shows = say(actuator.output_state.present) if actuator is not None else "nothing known"
        reason = f"the agent died between acceptance and the wire; the output reads {shows}"
        log.warning("command left open id=%s point=%s next=not repeated", outcome.command, outcome.point)
        with contextlib.suppress(StorageError):
            await self._ledger.record(
                replace(outcome, state=OutcomeState.UNKNOWN, reason=reason, at=self._clock.now())
            )

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
        """Put on record that the command is accepted. Else what became of it; Rejected if it may not be.

        Nobody waits for the disk behind it: what may have changed meanwhile is looked at once more. While the output
        is being written only that look counts.
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
                self._await(actuator, slot)
                return None
        return await self._record(command, *ended)

    def _await(self, actuator: Actuator, slot: Slot | None) -> None:
        """From now on this command waits for its turn, or none does: an older one that waits is superseded."""
        actuator.awaited = slot
        actuator.changed.set()
        actuator.changed = Wake()

    async def _hand_over(self, command: Command, action: Callable[[], Awaitable[str]]) -> Outcome:
        """A command that moves no output: on record first, done once."""
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
        """Wait for limits as long as the command is valid, then act once. Gives the writes of the output until then.

        What it is about to do is on flash before. Until it is, rules go before it as ever.
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
                    actuator.awaited = None
                    if actuator.deferred:
                        sending = await self._post(actuator, slot, lasts, deadline)
                    else:
                        ended = await self._act(actuator, slot, lasts, deadline)
                    break
                noted = until <= now
                self._intend(actuator, slot, now + lasts if noted else None)
            if noted:
                await self._store.keep(actuator, now=True)
            else:
                await actuator.changed.wait(until - self._clock.monotonic())
        if sending is not None:
            ended = await self._delivered(actuator, sending, lasts)
        assert ended is not None
        writes, (state, reason) = actuator.writes, ended
        await self._writer.audit(actuator)
        undone = noted and state is not OutcomeState.APPLIED
        await self._store.keep(actuator, now=undone or actuator.deferred or actuator.limits != NO_LIMITS)
        return await self._record(command, state, reason), writes

    def _hindered(
        self, actuator: Actuator, slot: Slot, until: float, why: str, deadline: float
    ) -> tuple[OutcomeState, str] | None:
        """What became of a command that cannot be carried out any more."""
        if actuator.awaited is not slot:
            return OutcomeState.FAILED, self.stopping or "superseded by a later command"
        if blocked := actuator.priority_array.blocked():
            return OutcomeState.FAILED, blocked
        if self._clock.monotonic() > deadline:
            return OutcomeState.EXPIRED, LATE
        if until > deadline:
            return OutcomeState.FAILED, f"{why} outlasts its validity"
        return None

    def _intend(self, actuator: Actuator, slot: Slot, until: float | None) -> None:
        """What a start must know before the wire is written: this command, up to `until`; None: not yet, after all."""
        if until is not None and actuator.spec.kind != "once":
            actuator.attempt = replace(slot, until=until)
        elif actuator.attempt is not None and actuator.attempt.command == slot.command:
            actuator.attempt = None

    def _give_up(self, actuator: Actuator, slot: Slot) -> None:
        self._intend(actuator, slot, None)
        if actuator.awaited is slot:
            actuator.awaited = None

    async def _post(self, actuator: Actuator, slot: Slot, lasts: float, deadline: float) -> Sending:
        """Hand a command's write to a node that listens later. Its override stands meanwhile, but for a restart."""
        await self._writer.withdraw(actuator, f"superseded by {slot.cause}")
        if actuator.attempt is None:
            actuator.before = actuator.priority_array.get(REMOTE)
        slot = actuator.attempt = replace(slot, until=deadline + lasts)
        actuator.priority_array[REMOTE] = slot
        await self._store.keep(actuator, now=True)
        return self._writer.send(actuator, slot, REMOTE, deadline)

    async def _delivered(self, actuator: Actuator, sending: Sending, lasts: float) -> tuple[OutcomeState, str]:
        """Wait until the node has it, or until somebody calls it off."""
        await asyncio.wait({sending.task})
        async with actuator.lock:
            error = sending.reason if sending.task.cancelled() else sending.task.result()
            slot, before = sending.slot, actuator.before
            if actuator.attempt is slot:
                actuator.attempt = actuator.before = None
            if actuator.priority_array.get(REMOTE) is slot:
                if error and before is not None and (before.until or math.inf) > self._clock.monotonic():
                    actuator.priority_array[REMOTE] = before
                elif error:
                    del actuator.priority_array[REMOTE]
                    actuator.priority_array.fall_back(actuator.output_state.present)
                else:
                    actuator.priority_array[REMOTE] = replace(slot, until=self._clock.monotonic() + lasts)
        self._wake.set()
        if error:
            return OutcomeState.EXPIRED if sending.late else OutcomeState.FAILED, error
        return OutcomeState.APPLIED, f"{actuator.spec.output} written"

    async def _act(self, actuator: Actuator, slot: Slot, lasts: float, deadline: float) -> tuple[OutcomeState, str]:
        """The one write of a command. Its override stands only if that worked."""
        before, now = actuator.output_state.present, self._clock.monotonic()
        slot = replace(slot, until=now + lasts)
        error = await self._writer.write(actuator, slot, REMOTE, deadline)
        actuator.attempt = None
        if error:
            actuator.priority_array.fall_back(before)
            return OutcomeState.FAILED, error
        if actuator.spec.kind != "once":
            actuator.priority_array[REMOTE] = slot
        return OutcomeState.APPLIED, f"{actuator.spec.output} written"

    async def _verify(self, command: Command, actuator: Actuator, writes: int) -> Outcome:
        """Read back until feedback (or the output itself) shows it, as long as travel and settling allow.

        `writes` tells the command's write from later ones.
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
        actuator.output_state.say_mismatch(actuator.spec.coerce(command.value))
        await self._store.tell(actuator, self._writer.tell)
        return await self._record(command, OutcomeState.MISMATCH, f"{shows} reads {_read(actuator, seen)}")

    async def _release(self, command: Command, actuator: Actuator) -> Outcome:
        """End the override: what a rule wants holds again, or the relinquish default."""
        if actuator.spec.kind == "once":
            raise Rejected(f"{actuator.spec.name} is written once, there is nothing to release")
        if (known := await self._ledger.begin(command)) is not None:
            return known
        async with actuator.lock:
            await self._writer.withdraw(actuator, f"superseded by command {command.id}")
            held = actuator.priority_array.relinquish(REMOTE) or actuator.awaited is not None
            self._await(actuator, None)
            actuator.before = None
        self._wake.set()
        await self._store.keep(actuator, now=True)
        found = actuator.priority_array.winner()
        heir = f"{say(found[1].value)} by priority {found[0]} ({found[1].cause})" if found else "it stays as it is"
        return await self._record(
            command, OutcomeState.APPLIED, f"{'released' if held else 'no override was there'}: {heir}"
        )

    def _check_now(self, actuator: Actuator, value: Value, deadline: float) -> None:
        """Rejected if the command could not be carried out while it is valid."""
        if self.stopping:
            raise Rejected(self.stopping)
        now = self._clock.monotonic()
        if now > deadline:
            raise Expired(LATE)
        if actuator.doubtful:
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
