"""The door: wishes of rules and commands come in, and what wins is written, pass by pass."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from agent.arbiter.actuator import Actuator
from agent.arbiter.actuator_store import ActuatorStore
from agent.arbiter.actuator_table import ActuatorTable
from agent.arbiter.commands import Commands, PointCommandFinder
from agent.arbiter.ledger import Ledger
from agent.arbiter.limits import NO_LIMITS
from agent.arbiter.output_state import CODES, News
from agent.arbiter.output_writer import STOP, OutputWriter, Read, Write, within
from agent.arbiter.priority_array import DEFAULT, LIMIT, REMOTE, Slot
from agent.arbiter.status import line
from agent.clock import Clock
from agent.control.api import Output
from agent.core.actuator_spec import ActuatorSpec
from agent.errors import Rejected, StorageError
from agent.lib.wake import Wake
from agent.model import Command, Outcome, OutcomeState, Point, Readings, Value
from drivers.api import Facts

__all__ = ["Arbiter"]

STOPS = "the agent stops"
"""Why what waits is called off then, and new commands are refused."""
LOOK = 2.0
"""How long the start waits for devices to tell their outputs (s)."""
TOLD = 0.2
"""How long it waits for the flash then (s): what was changed is on its way there."""
LEFT = 10.0
"""After this long it is asked again which commands a crash left open, where nobody could read them (s)."""
IDLE = 10.0
"""A pass is made at least this often (s)."""


class Arbiter:
    """Decides for every output of a site. `write` and `read` are the wires'; `memory` keeps what outlives us.
    `write` gets the moment (monotonic s) at which a command's write may start at the latest, None for rules.

    A writable point that no actuator owns is one by itself (see `implicit`). `run` must be running for anything that
    happens later than at the call: wishes, ends of overrides, waits. Commands on other points go to `point_commands`;
    `authorize` raises Rejected for a command that is not allowed. Without `restore` the overrides of an earlier process
    have ended, and outputs are held in their safe state until a rule or a command wants otherwise; so are those that
    another actuator had before (`handed`: the safe state and the other actuator's name, by actuator).
    """

    idle = IDLE

    def __init__(
        self,
        specs: Iterable[ActuatorSpec],
        points: Mapping[str, Point],
        write: Write,
        read: Read,
        ledger: Ledger,
        memory: Facts,
        clock: Clock,
        point_commands: PointCommandFinder = lambda command: None,
        authorize: Callable[[Command], None] = lambda command: None,
        restore: bool = True,
        handed: Mapping[str, tuple[Value, str]] | None = None,
    ) -> None:
        self._ledger, self._clock, self._handed = ledger, clock, handed or {}
        self.told: Callable[[], None] = lambda: None
        """Called when an output, its feedback or who holds it may have changed."""
        self._wake = Wake()
        self._next = clock.monotonic() + LOOK
        self._begun = clock.now()
        self._ask_at = math.inf
        """When to ask again which commands a crash left open, where the start could not read it."""
        self._table = ActuatorTable(specs, points)
        self._store = ActuatorStore(memory, clock)
        self._store.recall(self._table, set(ledger.raised()), restore)
        self._writer = OutputWriter(points, write, read, self.observe, ledger, clock)
        self._commands = Commands(
            self._table, self._writer, self._store, ledger, clock, self._wake, point_commands, authorize
        )

    # -- wishes of control rules -------------------------------------------------------------------------------

    def wish(self, actuator: str, priority: int, value: Value, cause: str) -> None:
        """A rule wants `value` of an actuator from now on, at a priority of 1 to 15.

        The same wish again is nothing new. KeyError for an actuator that is not there; Rejected for a value that it
        cannot take, or for a priority that is not a rule's (6 is the limits', 8 the commands').
        """
        if not 1 <= priority < DEFAULT or priority in (LIMIT, REMOTE):
            raise Rejected(f"priority {priority} is not for rules")
        one = self._table.by_name[actuator]
        slot = Slot(one.spec.coerce(value), cause, "control")
        if one.priority_array.get(priority) != slot:
            one.priority_array[priority] = slot
            self._wake.set()

    def relinquish(self, actuator: str, priority: int) -> None:
        """The rule wants nothing any more: the next lower wish holds, in the end the relinquish default."""
        if self._table.by_name[actuator].priority_array.relinquish(priority):
            self._wake.set()

    def observe(self, readings: Readings) -> None:
        """Take note of outputs and feedbacks in what was read. Bad and stale readings say nothing."""
        moved, due = self._table.observe(readings, self._clock.boot)
        if due:
            self._wake.set()
        if moved:
            self.told()

    def outputs(self) -> dict[str, Output]:
        """Every actuator as controls see it."""
        found = {}
        for actuator in self._table:
            holder, (present, since, feedback) = actuator.holder(), actuator.output_state.shown
            priority, cause = (holder[0], holder[1].cause) if holder else (DEFAULT, "")
            moved = float("-inf") if since is None else since
            found[actuator.spec.name] = Output(present, priority, cause, moved, feedback)
        return found

    def present(self, name: str) -> Value:
        """What an output does, by its own name or its actuator's; None if nobody knows, or it is none."""
        actuator = self._table.get(name)
        return None if actuator is None else actuator.output_state.present

    async def submit(self, command: Command) -> Outcome:
        """Carry out a command; returns its final outcome. Every state on the way is recorded, `received` is not.

        It returns when the output was read back, or when the limits that it waited for are over: that may take as
        long as the command is valid. An id that was seen before gives the stored outcome. Who stops waiting does not
        stop the command.
        """
        return await self._commands.submit(command)

    def status(self) -> list[dict[str, Any]]:
        """A line an actuator: what it does, who holds it and why. Implicit ones only while somebody holds them."""
        now = self._clock.now()
        return [
            line(one, now)
            for one in self._table
            if one.spec.name != one.spec.output or one.priority_array or one.output_state.mismatch
        ]

    # -- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read the outputs as they are, settle what a crash left open, take up overrides and boot states.

        Nothing is written here: `run` writes what differs from what is wanted. Waits at most 2 s for the devices, and
        commands wait for it: one that came meanwhile is none that a crash left open.
        """
        await self._writer.look(self._table.watched(), LOOK)
        self._begun = self._clock.now()
        left = await self._left_open()
        for actuator in self._table:
            attempt = actuator.attempt
            if attempt is not None:
                accepted = None if left is None else left.get(attempt.command or "")
                if left is not None and (accepted is None or accepted.state is OutcomeState.APPLIED):
                    actuator.resolve(True)
                elif actuator.output_state.present is not None or actuator.deferred:  # a write to a node died with us
                    actuator.resolve_by_output(self._clock.monotonic())
                else:
                    actuator.doubtful = True
            if actuator.spec.name in self._handed:
                safe, other = self._handed[actuator.spec.name]
                actuator.priority_array[DEFAULT] = Slot(safe, f"it was the output of {other}")
            boot = actuator.spec.state(actuator.spec.boot_state)
            if actuator.boot != self._clock.boot and boot is not None:
                actuator.priority_array[DEFAULT] = Slot(boot, "boot state")
            await self._store.keep(actuator)
        await self._close(left)
        for code, subject in set(self._ledger.raised()):
            if code in CODES and subject not in self._table.by_name:  # it left the site file, or has another name
                self._store.forget_mismatch(subject)
                await self._writer.tell(subject, News("cleared", code, {}))
        self._commands.open()
        self._wake.set()

    async def run(self) -> None:
        """Write what wins whenever something changes or comes due. Runs until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._take_up())
                is_news = True
                while True:
                    self._wake.clear()
                    due = self._pass(group)
                    if is_news:
                        self.told()
                    now = self._clock.monotonic()
                    self._next = min(due, now + self.idle)
                    await self._wake.wait(self._next - now)
                    is_news = self._wake.is_set() or due <= self._clock.monotonic()
        finally:
            self._commands.abandon(STOPS)

    async def _left_open(self) -> dict[str, Outcome] | None:
        """Commands that an earlier process left open, by id; None: they cannot be read now."""
        try:
            found = await self._ledger.unfinished()
        except StorageError:
            return None
        return {outcome.command: outcome for outcome in found}

    async def _close(self, left: dict[str, Outcome] | None) -> None:
        """Tell their end; what cannot be read is asked for again."""
        self._ask_at = math.inf if left is not None else self._clock.monotonic() + LEFT
        for outcome in (left or {}).values():
            await self._commands.close(outcome)

    async def _ask_again(self) -> None:
        left, begun = await self._left_open(), self._begun
        if left is not None:  # not those of our own that are under way
            left = {key: one for key, one in left.items()
                    if one.at.boot != begun.boot or one.at.boottime_ns < begun.boottime_ns}  # fmt: skip
        await self._close(left)
        self._wake.set()

    async def _take_up(self) -> None:
        """From now on these outputs are held in this boot: a restart no longer applies their boot states."""
        new = [actuator for actuator in self._table if actuator.boot != self._clock.boot]
        for actuator in new:
            actuator.boot = self._clock.boot
            await self._store.keep(actuator, now=actuator is new[-1])

    def due(self) -> float:
        """When the next pass of `run` is over at the latest (monotonic seconds, for the watchdog)."""
        return self._next + 5

    async def finish(self) -> None:
        """After `run`, or a `start` that was cut short: wait until what was left of commands is over, and on record.

        Another arbiter may follow. On the wires that takes no longer than `STOP`; on the flash as long as it needs.
        """
        self._commands.abandon(STOPS)
        await self._commands.finish()

    async def stop(self, crashed: bool = False) -> dict[str, str]:
        """Bring the outputs to their stop state (after a crash: their safe state), in 3 s even if a device is dead.

        Returns the actuators that were not reached, and why.
        """
        self._commands.abandon(STOPS)
        by_device: dict[str, list[tuple[Actuator, Slot]]] = {}
        for actuator in self._table:
            safe, stop = actuator.spec.safe_state, actuator.spec.stop_state
            value = actuator.spec.state(safe if crashed or stop is None else stop)
            if value is not None and actuator.driven and not actuator.deferred:  # no time to wait for a node
                slot = Slot(value, "crash" if crashed else "stop")
                by_device.setdefault(self._table.points[actuator.spec.output].device, []).append((actuator, slot))
        missed = {one.spec.name: f"no answer within {STOP:g} s" for wanted in by_device.values() for one, _ in wanted}
        await within(STOP, [self._stop_device(wanted, missed) for wanted in by_device.values()])
        await within(TOLD, [self._writer.audit(one) for one in self._table if one.changes])
        return {name: reason for name, reason in missed.items() if reason}

    async def _stop_device(self, wanted: Sequence[tuple[Actuator, Slot]], missed: dict[str, str]) -> None:
        for actuator, slot in wanted:
            async with actuator.lock:
                missed[actuator.spec.name] = await self._writer.write(actuator, slot, 5)
                await self._store.keep(actuator)

    # -- acting ------------------------------------------------------------------------------------------------

    def _pass(self, group: asyncio.TaskGroup) -> float:
        """Start a task for each actuator that has something to do; returns when the next one has, by time alone."""
        now = self._clock.monotonic()
        if self._commands.stopping:
            return math.inf
        if self._commands.flood.untold():
            group.create_task(self._commands.flood.tell())
        if self._ask_at <= now:
            self._ask_at = math.inf
            group.create_task(self._ask_again())
        due = self._ask_at
        for actuator in self._table:
            if actuator.lock.locked():
                continue  # whoever holds it wakes us
            decision = actuator.decide(now)
            if decision.slot is not None or decision.withdraw or actuator.has_news:
                group.create_task(self._settle(actuator))
            due = min(due, decision.at)
        return due

    async def _settle(self, actuator: Actuator) -> None:
        sending = None
        async with actuator.lock:
            if self._commands.stopping:
                return
            decision = actuator.decide(self._clock.monotonic())
            if decision.withdraw:
                found = actuator.priority_array.winner()
                reason = f"superseded by {found[1].cause} (priority {found[0]})" if found else ""
                await self._writer.withdraw(actuator, reason)
                decision = actuator.decide(self._clock.monotonic())
            if decision.slot is not None and actuator.deferred:
                sending = self._writer.send(actuator, decision.slot, decision.priority, None)
            elif decision.slot is not None:
                await self._writer.write(actuator, decision.slot, decision.priority)
            await self._store.keep(actuator)
        self._wake.set()
        await self._writer.audit(actuator)
        await self._store.keep(actuator, now=decision.slot is not None and actuator.limits != NO_LIMITS)
        await self._store.tell(actuator, self._writer.tell)
        self._wake.set()
        if sending is not None:
            await asyncio.wait({sending.task})
            if not sending.task.cancelled():
                sending.task.result()
            await self._store.keep(actuator, now=actuator.limits != NO_LIMITS)
            self._wake.set()
