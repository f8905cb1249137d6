"""The hand on the wires: writes outputs, reads them back, and audits what changed. It decides nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from agent.arbiter.actuator import Actuator, Sending
from agent.arbiter.ledger import Ledger
from agent.arbiter.output_state import News
from agent.arbiter.priority_array import Slot
from agent.clock import Clock
from agent.core.actuator_spec import SETTLE, say
from agent.errors import DeviceError, TooLate, WireError
from agent.model import Event, Point, Readings, Value

__all__ = ["STOP", "OutputWriter", "Read", "Write", "within"]

log = logging.getLogger("bocage.arbiter")

Write = Callable[[str, Value, float | None], Awaitable[None]]
"""Point, value, and the moment (monotonic s) at which a command's write may start at the latest; None for rules."""
Read = Callable[[Sequence[str]], Awaitable[Readings]]
STOP = 2.5
"""How long an orderly stop, or a reload, gives the outputs (s)."""


class OutputWriter:
    """Acts on actuators by `write` and `read`, the wires'. What it reads it also gives to `observe`."""

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
        """The time limits of what is on the wires."""
        self._ends: float | None = None
        """When they are over, and of what is written yet (the loop's time): None before `hurry`."""

    async def write(self, actuator: Actuator, slot: Slot, priority: int, until: float | None = None) -> str:
        """Write an output; "" or why it failed. What changed is for `audit`, which may wait for the disk."""
        spec, before = actuator.spec, actuator.output_state.present
        actuator.output_state.begin(slot.value, self._clock.monotonic())
        try:
            await self._to_wire(spec.output, slot.value, until)
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
        if before is None or not spec.same(before, slot.value):
            self._note(actuator, before, slot, priority)
        return ""

    async def _to_wire(self, point: str, value: Value, until: float | None) -> None:
        try:
            async with asyncio.timeout_at(self._ends) as limit:
                self._writing.add(limit)
                try:
                    await self._write_wire(point, value, until)
                finally:
                    self._writing.discard(limit)
        except TimeoutError:
            raise DeviceError(f"{point}: the agent stops, and it was not confirmed yet") from None

    def hurry(self) -> None:
        """What is on the wires, or comes there yet, has `STOP` seconds left: a radio node may take far longer."""
        self._ends = asyncio.get_running_loop().time() + STOP
        for limit in self._writing:
            limit.reschedule(self._ends)

    def send(self, actuator: Actuator, slot: Slot, priority: int, until: float | None) -> Sending:
        """Begin a write that waits until the node listens; nobody waits with it under the actuator's lock."""
        task = asyncio.create_task(self._send(actuator, slot, priority, until), name=f"send {actuator.spec.name}")
        actuator.sending = Sending(slot, task)
        return actuator.sending

    async def _send(self, actuator: Actuator, slot: Slot, priority: int, until: float | None) -> str:
        error = await self.write(actuator, slot, priority, until)
        await self.audit(actuator)
        return error

    async def withdraw(self, actuator: Actuator, reason: str) -> None:
        """Call off what waits for the node, if anything does; the driver takes it out of its queue."""
        sending = actuator.sending
        if sending is None:
            return
        sending.reason = reason
        sending.task.cancel()
        await asyncio.wait({sending.task})
        if actuator.sending is sending:
            actuator.called_off()

    async def look(self, points: Iterable[str], patience: float = SETTLE) -> Readings:
        """Read points now, a device at a time, and take note. What does not answer in `patience` (s) is left out."""
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

    async def tell(self, actuator: str, one: News) -> None:
        """An alarm that was raised or cleared; it is on flash when this returns."""
        log.warning("%s code=%s actuator=%s detail=%s", one.kind, one.code, actuator, one.detail)
        await self._ledger.put_event(Event(one.kind, one.code, actuator, self._clock.now(), one.severity, one.detail))

    async def audit(self, actuator: Actuator) -> None:
        """Tell what was changed and is not told yet; it is on flash when this returns."""
        while actuator.changes:
            await self._ledger.put_event(actuator.changes.pop(0))

    def _note(self, actuator: Actuator, before: Value, slot: Slot, priority: int) -> None:
        detail = {"from": before, "to": slot.value, "priority": priority, "cause": slot.cause, "by": slot.by}
        if slot.origin:
            detail["origin"] = slot.origin
        log.info(
            'output changed actuator=%s from=%s to=%s priority=%d cause="%s" by="%s"',
            actuator.spec.name, say(before), say(slot.value), priority, slot.cause, slot.by,
        )  # fmt: skip
        actuator.changes.append(Event("audit", "output", actuator.spec.name, self._clock.now(), detail=detail))


async def within(seconds: float, work: Sequence[Any]) -> None:
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
