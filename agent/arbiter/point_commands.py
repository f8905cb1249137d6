"""Commands on points that are no outputs: the latch of a control, an alarm, the index of a meter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from agent.clock import Clock
from agent.control.engine import Engine
from agent.core.alarms import OpenAlarms
from agent.core.hub import Hub
from agent.errors import Rejected, StorageError
from agent.model import Command, Event, Origin, Severity

__all__ = ["PointCommands"]

Action = Callable[[], Awaitable[str]]
Forget = Callable[[str], Awaitable[str]]
ForgetNonces = Callable[[str], int | None]


class PointCommands:
    """A `PointCommandFinder`: called with a command, returns its action, or None for an unknown point.

    `<subject>.latch` and `<circuit>.baseline` (`reset`) belong to controls, `alarm.<code>.<subject>` (`ack`) to the
    open alarms, `alarm.output_orphaned.<actuator>` (`forget`) to the orphans, `<signal>.index` (a number, in the
    meter's unit) to the hub. `clock` takes `reset`, and `<radio node>.nonces` takes `forget`, on the gateway only.
    """

    def __init__(
        self, engine: Engine, open_alarms: OpenAlarms, hub: Hub, clock: Clock, forget: Forget | None = None,
        forget_nonces: ForgetNonces | None = None,
    ) -> None:  # fmt: skip
        self._engine, self._open_alarms, self._hub, self._clock = engine, open_alarms, hub, clock
        self._forget_output, self._forget_nonces = forget, forget_nonces

    def __call__(self, command: Command) -> Action | None:
        if command.point.startswith("alarm."):
            return self._alarm(command)
        if command.point == "clock":
            return self._reset_clock(command)
        signal, dot, word = command.point.rpartition(".")
        if dot and word == "index" and self._hub.counts(signal):
            return self._index(command, signal)
        if dot and word == "nonces" and self._forget_nonces is not None and command.point not in self._hub.points:
            return self._nonces(command, signal, self._forget_nonces)
        return self._engine.point_command(command)

    def _alarm(self, command: Command) -> Action:
        name = command.point.removeprefix("alarm.")
        if self._forget_output is not None and command.value == "forget" and name.startswith("output_orphaned."):
            return partial(self._forget, name.partition(".")[2], command, self._forget_output)
        if command.value != "ack":
            raise Rejected(f"{command.point} takes ack, not {command.value!r}")
        if not self._open_alarms.is_open(name):
            raise Rejected(f"alarm {name} is not open")
        return lambda: self._open_alarms.acknowledge(name, command.by, self._clock.now(), command.origin)

    def _reset_clock(self, command: Command) -> Action:
        if command.value != "reset":
            raise Rejected(f"clock takes reset, not {command.value!r}")
        if command.origin is not Origin.LOCAL:
            raise Rejected("clock takes reset from a technician on the box only")

        async def reset() -> str:
            self._clock.wall.reset()
            self._clock.now()
            return "the machine's clock is followed, whatever time was kept"

        return reset

    async def _forget(self, actuator: str, command: Command, forget: Forget) -> str:
        """Give up an orphan that will never be reached again: its module was taken away."""
        said = await forget(actuator)
        if not said:
            raise Rejected(f"no output that left is called {actuator}")
        detail = {"by": command.by, "what": said}
        await self._open_alarms.put_event(Event("audit", "forgotten", actuator, self._clock.now(), detail=detail))
        return said

    def _nonces(self, command: Command, device: str, forget: ForgetNonces) -> Action:
        if command.value != "forget":
            raise Rejected(f"{command.point} takes forget, not {command.value!r}")
        if command.origin is not Origin.LOCAL:
            raise Rejected(f"{command.point} takes forget from a technician on the box only")

        async def forget_them() -> str:
            try:
                count = forget(device)
            except StorageError as error:
                raise Rejected(f"it could not be put on record: {error}") from error
            if count is None:
                raise Rejected(f"no DevNonces of {device} are kept here")
            detail = {"count": count, "by": command.by}
            event = Event("audit", "nonces_forgotten", device, self._clock.now(), detail=detail)
            await self._open_alarms.put_event(event)
            return f"{count} DevNonces of {device} are forgotten"

        return forget_them

    def _index(self, command: Command, signal: str) -> Action:
        value = command.value
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise Rejected(f"{command.point} takes the new meter's index, a number from 0 on, not {value!r}")

        async def swap() -> str:
            before = self._hub.index_of(signal)
            subject = (None if before is None else self._engine.swapped(signal, float(value), before)) or signal
            try:  # with one write of the flash the index goes there, and what the controls count by it
                self._hub.set_index(signal, float(value))
            except StorageError as error:
                raise Rejected(f"it could not be put on record: {error}") from error
            detail = {"meter": signal, "from": _whole(before), "to": _whole(value), "by": command.by,
                      "origin": command.origin}  # fmt: skip
            await self._open_alarms.put_event(
                Event("change", "meter_replaced", subject, self._clock.now(), Severity.INFO, detail)
            )
            return f"{signal} goes on from {_whole(value)}"

        return swap


def _whole(index: float | None) -> float | None:
    """A whole number as an integer: litres are."""
    return int(index) if index is not None and index == int(index) else index
