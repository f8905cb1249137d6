"""The arbiter: takes wishes of controls and commands, and writes what wins, pass by pass."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from agent.arbiter.actuator import Actuator
from agent.arbiter.actuator_store import ActuatorStore
from agent.arbiter.actuator_table import ActuatorTable, explained
from agent.arbiter.commands import Authorize, Commands, PointCommandFinder
from agent.arbiter.ledger import Ledger
from agent.arbiter.limits import NO_LIMITS
from agent.arbiter.output_state import CODES, AlarmChange
from agent.arbiter.output_writer import STOP, OutputWriter, Read, Write, within
from agent.arbiter.priority_array import DEFAULT, LIMIT, REMOTE, Slot
from agent.clock import Clock
from agent.control.api import Output
from agent.core.actuator_spec import ActuatorSpec
from agent.errors import Rejected, StorageError
from agent.lib.timed_event import TimedEvent
from agent.model import Command, Outcome, OutcomeState, Point, Readings, Value
from drivers.api import Facts

__all__ = ["Arbiter"]

log = logging.getLogger("bocage.arbiter")

STOPS = "the agent stops"
"""Why waiting commands end at a stop, and new ones are refused."""
LOOK = 2.0
"""How long the start waits for devices to read their outputs (s)."""
FLUSH = 0.2
"""How long a stop waits for the flash (s): the audit records are on their way there."""
ASK_AGAIN = 10.0
"""Seconds after which the commands that a crash left open are looked up again, where they could not be read."""
IDLE = 10.0
"""Seconds between two passes at the most."""


class Arbiter:
    """Decides for every output of a site. `write` and `read` are the buses'; `store` keeps what a restart must know.
    `write` gets the latest moment (monotonic s) at which the write of a command may start, None for controls.

    A writable point that no actuator owns is one by itself (see `implicit`). `run` must be running for anything that
    happens later than at the call: wishes, ends of overrides, waits. Without `restore` the overrides of an earlier
    process have ended, and outputs are held in their safe state until a control or a command wants otherwise; so are
    those that another actuator had before (`handed`: the safe state and the other actuator's name, by actuator).
    """

    idle = IDLE

    def __init__(
        self,
        specs: Iterable[ActuatorSpec],
        points: Mapping[str, Point],
        write: Write,
        read: Read,
        ledger: Ledger,
        store: Facts,
        clock: Clock,
        restore: bool = True,
        handed: Mapping[str, tuple[Value, str]] | None = None,
        why_down: Callable[[str], str] = lambda _point: "",
    ) -> None:
        self._ledger, self._clock, self._handed = ledger, clock, handed or {}
        self.told: Callable[[], None] = lambda: None
        """Called when an output, its feedback or its holder may have changed."""
        self._wake = TimedEvent()
        self._next = clock.monotonic() + LOOK
        self._begun = clock.now()
        self._ask_at = math.inf
        """When the commands that a crash left open are looked up again (monotonic s)."""
        self._table = ActuatorTable(specs, points, why_down)
        self._store = ActuatorStore(store, clock)
        self._store.restore(self._table, set(ledger.raised()), restore)
        self._writer = OutputWriter(points, write, read, self.observe, ledger, clock)
        self._commands = Commands(self._table, self._writer, self._store, ledger, clock, self._wake)

    def take_commands(self, point_commands: PointCommandFinder, authorize: Authorize = lambda _command: None) -> None:
        """From now on commands on points that are no outputs go to `point_commands`, and `authorize` checks each."""
        self._commands.take(point_commands, authorize)

    # -- wishes of control rules -------------------------------------------------------------------------------

    def wish(self, actuator: str, priority: int, value: Value, cause: str) -> None:
        """Enter the wish of a control for `value`, at a priority of 1 to 15.

        The same wish again changes nothing. KeyError for an unknown actuator; Rejected for a value that it cannot
        take, or for a priority that is not for controls (6 is for limits, 8 for commands).
        """
        if not 1 <= priority < DEFAULT or priority in (LIMIT, REMOTE):
            raise Rejected(f"priority {priority} is not for rules")
        one = self._table.by_name[actuator]
        slot = Slot(one.spec.coerce(value), cause, "control")
        if one.request(priority, slot):
            self._wake.set()

    def relinquish(self, actuator: str, priority: int) -> None:
        """Remove the wish of a control: the next higher number holds, in the end the relinquish default."""
        if self._table.by_name[actuator].relinquish(priority):
            self._wake.set()

    def release_unnamed(self, named: Collection[str]) -> None:
        """Release the outputs that a control held before the start, and that no control of today names.

        They go to their relinquish default. The others wait for the first wish of their controls.
        """
        for one in self._table:
            if one.spec.name not in named and one.release_unruled():
                log.warning('output released actuator=%s reason="no control moves it any more"', one.spec.name)
                self._wake.set()

    def observe(self, readings: Readings) -> None:
        """Take the readings of outputs and feedbacks. Bad and stale ones tell only that the point was not read."""
        moved, due = self._table.observe(readings, self._clock.boot)
        if due:
            self._wake.set()
        if moved:
            self.told()

    def outputs(self) -> dict[str, Output]:
        """Every actuator, as controls see it."""
        found = {}
        for actuator in self._table:
            holder, (present, since, feedback) = actuator.holder(), actuator.output_state.shown
            priority, cause = (holder[0], holder[1].cause) if holder else (DEFAULT, "")
            moved = float("-inf") if since is None else since
            unread = actuator.output_state.unread_since
            found[actuator.spec.name] = Output(present, priority, cause, moved, feedback, actuator.waits, unread)
        return found

    def present(self, name: str) -> Value:
        """The value of an output, by its name or its actuator's; None if it is unknown, or no output."""
        actuator = self._table.get(name)
        return None if actuator is None else actuator.output_state.present

    async def submit(self, command: Command) -> Outcome:
        """Carry out a command; returns its final outcome. Every state on the way is recorded, `received` is not.

        Returns when the output was read back, which may take as long as the command is valid. The id of an earlier
        command gives its stored outcome. Cancelling the caller does not cancel the command.
        """
        return await self._commands.submit(command)

    def status(self) -> list[dict[str, Any]]:
        """One line per actuator for `bocage watch --json`: its value, its holder and the cause."""
        return self._table.status(self._clock.now())

    def explain(self, name: str) -> dict[str, Any] | None:
        """An actuator, by its name or its output's: its status line and all that decides; None if there is none.

        `array` has the entries of the priority array, the strongest first; `limits` those that it has, in seconds.
        """
        actuator = self._table.get(name)
        return None if actuator is None else explained(actuator, self._clock.now())

    # -- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read the outputs, resolve the commands that a crash left open, apply overrides and boot states.

        Writes no output: `run` writes the differences. Waits at most 2 s for the devices. Commands wait for the start,
        so a command that came meanwhile is not mistaken for one that a crash left open.
        """
        await self._writer.look(self._table.watched(), LOOK)
        self._begun = self._clock.now()
        left = await self._left_open()
        for actuator in self._table:
            actuator.command.resolve(self._is_carried_out(actuator.command.attempt, left), self._clock.monotonic())
            if actuator.spec.name in self._handed:
                safe, other = self._handed[actuator.spec.name]
                actuator.hold(safe, f"it was the output of {other}")
            actuator.apply_boot_state(self._clock.boot)
            await self._store.save(actuator)
        await self._close(left)
        for code, subject in set(self._ledger.raised()):
            if code in CODES and subject not in self._table.by_name:  # it left the site file, or has another name
                self._store.forget_mismatch(subject)
                await self._writer.publish_alarm(subject, AlarmChange("cleared", code, {}))
        self._commands.open()
        self._wake.set()

    async def run(self) -> None:
        """Write what wins, whenever something changes or is due. Runs until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._enter_boot())
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

    @staticmethod
    def _is_carried_out(attempt: Slot | None, left: Mapping[str, Outcome] | None) -> bool:
        """Whether the ledger tells that the command was carried out: it is applied there, or not open any more."""
        if attempt is None or left is None:
            return False
        outcome = left.get(attempt.command or "")
        return outcome is None or outcome.state is OutcomeState.APPLIED

    async def _left_open(self) -> dict[str, Outcome] | None:
        """Commands that an earlier process left open, by id; None if they cannot be read now."""
        try:
            found = await self._ledger.unfinished()
        except StorageError:
            return None
        return {outcome.command: outcome for outcome in found}

    async def _close(self, left: dict[str, Outcome] | None) -> None:
        """End these commands; None: look them up again later."""
        self._ask_at = math.inf if left is not None else self._clock.monotonic() + ASK_AGAIN
        for outcome in (left or {}).values():
            await self._commands.close(outcome)

    async def _ask_again(self) -> None:
        left, begun = await self._left_open(), self._begun
        if left is not None:  # without the commands of this process
            left = {key: one for key, one in left.items()
                    if one.at.boot != begun.boot or one.at.boottime_ns < begun.boottime_ns}  # fmt: skip
        await self._close(left)
        self._wake.set()

    async def _enter_boot(self) -> None:
        """From now on a restart in this boot does not apply the boot states again."""
        new = [actuator for actuator in self._table if actuator.boot != self._clock.boot]
        for actuator in new:
            actuator.enter_boot(self._clock.boot)
            await self._store.save(actuator, now=actuator is new[-1])

    def due(self) -> float:
        """When the next pass of `run` ends at the latest (monotonic seconds, for the watchdog)."""
        return self._next + 5

    async def finish(self) -> None:
        """After `run`, or a cancelled `start`: wait until all commands have ended and are recorded.

        Another arbiter may follow. Writes take `STOP` seconds at most; the flash takes as long as it needs.
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
            if value is not None and actuator.driven and not actuator.deferred:  # a stop does not wait for a node
                slot = Slot(value, "crash" if crashed else "stop")
                by_device.setdefault(self._table.points[actuator.spec.output].device, []).append((actuator, slot))
        missed = {one.spec.name: f"no answer within {STOP:g} s" for wanted in by_device.values() for one, _ in wanted}
        await within(STOP, [self._stop_device(wanted, missed) for wanted in by_device.values()])
        await within(FLUSH, [self._writer.flush_audit(one) for one in self._table if one.audit])
        return {name: reason for name, reason in missed.items() if reason}

    async def _stop_device(self, wanted: Sequence[tuple[Actuator, Slot]], missed: dict[str, str]) -> None:
        for actuator, slot in wanted:
            async with actuator.lock:
                missed[actuator.spec.name] = await self._writer.write(actuator, slot, 5)
                await self._store.save(actuator)

    # -- acting ------------------------------------------------------------------------------------------------

    def _pass(self, group: asyncio.TaskGroup) -> float:
        """Start a task for each actuator that has something to do; return when the next one has, by time alone."""
        now = self._clock.monotonic()
        if self._commands.stopping:
            return math.inf
        if self._commands.rate.is_unreported():
            group.create_task(self._commands.rate.report())
        if self._ask_at <= now:
            self._ask_at = math.inf
            group.create_task(self._ask_again())
        due = self._ask_at
        for actuator in self._table:
            if actuator.lock.locked():
                continue  # its holder wakes this loop
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
            await self._store.save(actuator)
        self._wake.set()
        await self._writer.flush_audit(actuator)
        await self._store.save(actuator, now=decision.slot is not None and actuator.limits != NO_LIMITS)
        await self._store.publish_alarms(actuator, self._writer.publish_alarm)
        self._wake.set()
        if sending is not None:
            await asyncio.wait({sending.task})
            if not sending.task.cancelled():
                sending.task.result()
            await self._store.save(actuator, now=actuator.limits != NO_LIMITS)
            self._wake.set()
