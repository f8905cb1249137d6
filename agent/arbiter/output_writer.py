"""Writes outputs, reads them back, and records each change. Makes no decisions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from agent.arbiter.actuator import Actuator, Sending
from agent.arbiter.ledger import Ledger
from agent.arbiter.output_state import AlarmChange
from agent.arbiter.priority_array import Slot
from agent.clock import Clock
from agent.core.actuator_spec import SETTLE, say
from agent.errors import DeviceError, TooLate, WireError
from agent.model import Event, Point, Readings, Value

__all__ = ["STOP", "OutputWriter", "Read", "Write", "within"]

log = logging.getLogger("bocage.arbiter")

Write = Callable[[str, Value, float | None], Awaitable[None]]
"""Point, value, and the latest moment (monotonic s) at which the write of a command may start; None for controls."""
Read = Callable[[Sequence[str]], Awaitable[Readings]]
STOP = 2.5
"""Time limit (s) for outputs at an orderly stop or a reload."""


class OutputWriter:
    """Acts on actuators with `write` and `read` of the buses; every reading also goes to `observe`."""

    def __init__(
        self,
        points: Mapping[str, Point],
        write: Write,
        read: Read,
        observe: Callable[[Readings], None],
        ledger: Ledger,
        clock: Clock,
    ) -> None:
        self._points, self._write_wire, self._read_wire, self._observe = points, write, read, observe
        self._ledger, self._clock = ledger, clock
        self._writing: set[asyncio.Timeout] = set()
        """The time limits of the writes under way."""
        self._ends: float | None = None
        """When every write is over (the loop's time); None before `hurry`."""

    async def write(self, actuator: Actuator, slot: Slot, priority: int, until: float | None = None) -> str:
        """Write an output; "" or why it failed. A change is recorded later, by `flush_audit`, which waits for the disk.
        """
        spec, before = actuator.spec, actuator.output_state.present
        actuator.begin_write(slot.value, self._clock.monotonic())
        try:
            await self._to_wire(spec.output, slot.value, until)
        except (DeviceError, WireError) as error:
            if actuator.sending is not None and isinstance(error, TooLate):
                actuator.sending.expire()
            actuator.write_failed(slot.value, self._clock.monotonic(), str(error))
            log.warning(
                'write failed actuator=%s output=%s value=%s reason="%s" next=the next reading says whether it moved',
                spec.name, spec.output, say(slot.value), error,
            )  # fmt: skip
            return str(error)
        actuator.written(slot.value, self._clock.monotonic())
        if before is None or not spec.same(before, slot.value):
            self._note(actuator, before, slot, priority)
        return ""

    async def _to_wire(self, point: str, value: Value, until: float | None) -> None:
        limit = asyncio.timeout_at(self._ends)
        try:
            async with limit:
                self._writing.add(limit)
                try:
                    await self._write_wire(point, value, until)
                finally:
                    self._writing.discard(limit)
        except TimeoutError as error:
            if limit.expired():
                raise DeviceError(f"{point}: the agent stops, and it was not confirmed yet") from None
            raise DeviceError(f"{point}: {error or 'the driver timed out'}") from error

    def hurry(self) -> None:
        """Give the writes under way, and those to come, `STOP` seconds: a radio node may take far longer."""
        self._ends = asyncio.get_running_loop().time() + STOP
        for limit in self._writing:
            limit.reschedule(self._ends)

    def send(self, actuator: Actuator, slot: Slot, priority: int, until: float | None) -> Sending:
        """Begin a write that waits until the node listens. Returns at once, so the actuator's lock is not held for it.
        """
        task = asyncio.create_task(self._send(actuator, slot, priority, until), name=f"send {actuator.spec.name}")
        return actuator.begin_sending(slot, task)

    async def _send(self, actuator: Actuator, slot: Slot, priority: int, until: float | None) -> str:
        error = await self.write(actuator, slot, priority, until)
        await self.flush_audit(actuator)
        return error

    async def withdraw(self, actuator: Actuator, reason: str) -> None:
        """Call off the write that waits for the node, if there is one."""
        sending = actuator.sending
        if sending is None:
            return
        sending.call_off(reason)
        await asyncio.wait({sending.task})
        actuator.called_off(sending)

    async def look(self, points: Iterable[str], patience: float = SETTLE) -> Readings:
        """Read points now, all devices at once. A device that does not answer in `patience` (s) is left out."""
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

        await within(patience, [look(names) for names in by_device.values()])
        self._observe(found)
        return found

    async def publish_alarm(self, actuator: str, change: AlarmChange) -> None:
        """Publish that an alarm was raised or cleared; the event is on flash when this returns."""
        log.warning("%s code=%s actuator=%s detail=%s", change.kind, change.code, actuator, change.detail)
        event = Event(change.kind, change.code, actuator, self._clock.now(), change.severity, change.detail)
        await self._ledger.put_event(event)

    async def flush_audit(self, actuator: Actuator) -> None:
        """Publish the audit records of an actuator's changes; they are on flash when this returns."""
        while (event := actuator.take_audit()) is not None:
            await self._ledger.put_event(event)

    def _note(self, actuator: Actuator, before: Value, slot: Slot, priority: int) -> None:
        detail = {"from": before, "to": slot.value, "priority": priority, "cause": slot.cause, "by": slot.by}
        if slot.origin:
            detail["origin"] = slot.origin
        log.info(
            'output changed actuator=%s from=%s to=%s priority=%d cause="%s" by="%s"',
            actuator.spec.name, say(before), say(slot.value), priority, slot.cause, slot.by,
        )  # fmt: skip
        actuator.add_audit(Event("audit", "output", actuator.spec.name, self._clock.now(), detail=detail))


async def within(seconds: float, work: Sequence[Any]) -> None:
    """Run coroutines at once; cancel those that are not done after `seconds`."""
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
