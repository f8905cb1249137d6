"""Owned outputs, and orphans: owned outputs that left the site file. Each orphan is brought to its safe state.

The owned outputs are durable with all that is needed to write them, so an orphan is found after the file was edited
while the agent was off, and after a crash. An output stays owned until its safe state was written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.arbiter.output_writer import within
from agent.arbiter.removed_nodes import RemovedNodes, add_removed_nodes, secrets
from agent.clock import Clock
from agent.core.actuator_spec import ActuatorSpec, implicit, say
from agent.core.alarms import GatewayCondition
from agent.core.outputs import OwnedOutput, commanded_output, from_json, is_radio, outputs, points_by_place, to_json
from agent.errors import BocageError, StorageError
from agent.lib.backoff import Backoff
from agent.lib.timed_event import TimedEvent
from agent.model import Event, Point, Severity, Value
from drivers.api import BusSpec, DurableStore

__all__ = ["PATIENCE", "Orphans"]

log = logging.getLogger("bocage.arbiter")

PATIENCE = 2.5
"""How long a start, a reload and a stop wait for outputs that left (s)."""
RETRY = (5.0, 60.0)
"""First and longest delay (s) before a failed write is repeated."""
_WAITS = "it waits until its node listens, which one of class A does after it has spoken"
_NOT_TRIED = "it is not tried yet"
_PRIORITY = 5
"""As at a stop, above the limits: staying on does not protect a machine that is not controlled any more."""

WriteAside = Callable[[BusSpec, str, Value], Awaitable[None]]
"""A bus with one device, a point of that device, and the value (`Buses.write_aside`)."""


WriteOnAir = Callable[[str, Value], Awaitable[None]]
"""A point of a node that is on a bus, perhaps a removed one, and the value. Returns when it was sent, or confirmed."""


class Orphans:
    """The owned outputs of a site. `store` keeps them; `tell` makes an event durable.

    `on_air` writes to a radio node; None where no radio bus is open.
    """

    def __init__(
        self,
        store: DurableStore,
        write: WriteAside,
        tell: Callable[[Event], Awaitable[None]],
        clock: Clock,
        on_air: WriteOnAir | None = None,
    ) -> None:
        self._store, self._write, self._tell, self._clock = store, write, tell, clock
        self._on_air, self._removed = on_air, RemovedNodes({})
        self._sending: dict[str, asyncio.Task[None]] | None = None
        """The writes that wait for their node, by place; None while the radio buses are closed."""
        self._owned = {one.place: one for one in _recall(store)}
        self._buses: Mapping[str, BusSpec] = {}
        self._left: dict[str, str | None] = {}
        """The orphans: place, and why it could not be written; None before the first try."""
        self.handed: dict[str, tuple[Value, str]] = {}
        """The actuators that have the output of another one now: their safe state, and the other's name."""
        self._lock, self._wake = asyncio.Lock(), TimedEvent()
        self._backoff = Backoff(*RETRY)

    def take_up(
        self,
        buses: Mapping[str, BusSpec],
        actuators: Iterable[ActuatorSpec],
        move: Callable[[dict[str, str]], None],
    ) -> None:
        """Take over the outputs of the site file; owned outputs that are not in it become orphans.

        `move` gets the actuators whose output had another name before, {new: old}. It is called before anything is
        written: what it moves in the state is on flash together with the new names, or neither is.
        """
        self._locate()
        present = {one.place: one for one in outputs(buses, actuators)}
        names = {one.name for one in present.values()}
        commanded = {one.place for one in self._owned.values() if one.name == one.point} - present.keys()
        if commanded:
            known_places = points_by_place(buses)
            present |= {place: replace(known_places[place], safe=self._owned[place].safe)
                        for place in commanded & known_places.keys()}  # fmt: skip
        known = {one.name for one in self._owned.values()}
        others = {
            one.name: before
            for place, one in present.items()
            if (before := self._owned.get(place)) is not None and before.name != one.name
        }
        both = names & known
        renamed = {name: one.name for name, one in others.items() if both.isdisjoint((name, one.name))}
        safe = {one.name: one.safe for one in present.values()}
        self.handed = {name: (safe[name], before.name) for name, before in others.items() if name not in renamed}
        self._left = {place: self._left.get(place) for place in self._owned if place not in present}
        self._buses, self._owned = buses, self._owned | present
        move(renamed)
        self._keep()
        if self._left:
            self._backoff.reset()
            self._wake.set()

    def buses_with_removed(self, buses: Mapping[str, BusSpec]) -> RemovedNodes:
        """Return the buses of the site file, and those radio nodes that left it with an orphan."""
        left = (self._owned[place] for place in self._left)
        self._removed = add_removed_nodes(buses, (one for one in left if is_radio(one.bus)))
        return self._removed

    def start_sending(self) -> None:
        """The buses with the removed nodes are open: begin the writes that wait for their nodes."""
        self._sending = {}
        self._wake.set()

    async def stop_sending(self) -> None:
        """The buses are about to close: cancel the writes that wait for their nodes."""
        tasks, self._sending = list((self._sending or {}).values()), None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _locate(self) -> None:
        """Find the places of the outputs again: an adapter that was replugged is another tty behind the same name."""
        self._left = {self._owned[place].place: reason for place, reason in self._left.items()}
        self._owned = {one.place: one for one in self._owned.values()}

    async def claim(self, point: Point) -> None:
        """Own a relay or a level that no actuator has and that is commanded by its own name; durable on return.

        A level is off at the lowest value that may be written. A register without bounds is a setting: it has no off.
        """
        spec = implicit(point)
        has_off = spec.kind == "relay" or (spec.kind == "level" and (point.low is not None or point.high is not None))
        one = commanded_output(self._buses, point.id, spec.off) if has_off else None
        if one is not None and one.place not in self._owned:
            self._owned[one.place] = one
            await asyncio.to_thread(self._keep)

    @property
    def any(self) -> bool:
        """Whether there is an orphan."""
        return bool(self._left)

    @property
    def missed(self) -> dict[str, str]:
        """The orphans that could not be written: names and reasons."""
        return {self._owned[place].name: reason for place, reason in self._left.items() if reason is not None}

    def conditions(self) -> Iterator[GatewayCondition]:
        """The orphans as alarm conditions; one that was not tried since the start is not `known`."""
        for place, reason in self._left.items():
            one = self._owned[place]
            detail = {"output": one.point, "place": place, "wanted": one.safe, "reason": reason or _NOT_TRIED}
            yield GatewayCondition("output_orphaned", one.name, Severity.MAJOR, detail, known=reason is not None)

    async def forget(self, name: str) -> str:
        """Give up the orphans of this name. Returns the reason of the command's outcome; "" if there is none."""
        places = [place for place in self._left if self._owned[place].name == name]
        for place in places:
            if self._sending is not None and (task := self._sending.pop(place, None)) is not None:
                task.cancel()
            self._drop(place)
        await asyncio.to_thread(self._keep)
        return f"forgotten as it is: {'; '.join(places)}" if places else ""

    async def settle(self, again: bool = False, patience: float = PATIENCE) -> None:
        """Bring the orphans to their safe state, in `patience` seconds; `missed` has those that were not reached.

        Orphans that were tried before are left out, unless `again`.
        """
        async with self._lock:
            self._locate()
            by_device: dict[tuple[str, str], list[tuple[str, OwnedOutput]]] = {}
            for place, reason in self._left.items():
                one = self._owned[place]
                if (reason is None or again) and not self._is_sent(one):
                    by_device.setdefault((one.bus.name, one.device.name), []).append((place, one))
            await within(patience, [self._settle_device(ones) for ones in by_device.values()])
            for place, reason in self._left.items():
                late = _WAITS if is_radio(self._owned[place].bus) else f"no answer within {patience:g} s"
                self._left[place] = reason or late

    def _is_sent(self, one: OwnedOutput) -> bool:
        """Whether `_send` writes it: a node of class A listens in minutes, not in seconds."""
        return self._sending is not None and is_radio(one.bus)

    def _send(self) -> None:
        """Start a task for each orphan of a radio node, which waits until the node listens."""
        if self._sending is None:
            return
        for place in self._left:
            one, task = self._owned[place], self._sending.get(place)
            if is_radio(one.bus) and (task is None or task.done()):
                self._left[place] = self._left[place] or _WAITS
                self._sending[place] = asyncio.create_task(self._settle_device([(place, one)]), name=f"orphan {place}")

    async def run(self) -> None:
        """Write the orphans again and again until all are written. Runs until cancelled."""
        try:
            while True:
                self._wake.clear()
                self._send()
                if not self._left:
                    await self._wake.wait()
                    continue
                await self._wake.wait(self._backoff.delay)
                if not self._wake.is_set():  # else a new file was applied, and its orphans were tried at once
                    self._backoff.next()
                    await self.settle(again=True, patience=RETRY[0])
        finally:
            await self.stop_sending()

    async def _settle_device(self, ones: Sequence[tuple[str, OwnedOutput]]) -> None:
        """Write the outputs of one device. If it does not answer, it is tried once for all of them."""
        reason = ""
        for place, one in ones:
            reason = reason or await self._write_safe(one)
            if reason:
                self._left[place] = reason
                continue
            detail = {"from": None, "to": one.safe, "priority": _PRIORITY, "cause": "it left the site file",
                      "by": "", "output": one.point, "place": place}  # fmt: skip
            await self._tell(Event("audit", "output", one.name, self._clock.now(), detail=detail))
            self._drop(place)  # not before: after a crash in between it is written and told again
            await asyncio.to_thread(self._keep)

    async def _write_safe(self, one: OwnedOutput) -> str:
        """Write the safe state; "" or why it failed."""
        try:
            if is_radio(one.bus):
                await self._write_on_air(one)
            else:
                await self._write(one.bus, one.point, one.safe)
        except (BocageError, OSError, ValueError) as error:
            bus = self._buses.get(one.bus.name)
            is_down = bus is not None and bool(bus.fault)  # its points are not known: this one need not have left
            what = "output of a bus that is down is not safe" if is_down else "output left and is not safe"
            log.warning(
                '%s actuator=%s place="%s" reason="%s" next=tried again', what, one.name, one.place, error
            )  # fmt: skip
            return str(error) or type(error).__name__
        log.info('output left actuator=%s place="%s" to=%s', one.name, one.place, say(one.safe))
        return ""

    async def _write_on_air(self, one: OwnedOutput) -> None:
        if self._on_air is None:
            raise BocageError("a radio node is commanded by a running agent only")
        if one.place in self._removed.refused:
            raise BocageError(self._removed.refused[one.place])
        for secret in secrets(one):
            secret.reveal()  # ConfigError says which cannot be read
        await self._on_air(self._removed.points.get(one.place, one.point), one.safe)

    def _drop(self, place: str) -> None:
        self._left.pop(place, None)
        self._owned.pop(place, None)

    def _keep(self) -> None:
        """Save the owned outputs; durable on return, unless the disk fails."""
        record: list[Any] = [to_json(one) for one in self._owned.values()]
        if record == (self._store.get("owned") or []):
            return
        try:
            self._store.put("owned", record, True)
        except StorageError as error:
            log.error('owned outputs not durable reason="%s" next=control goes on', error)


def _recall(store: DurableStore) -> Iterator[OwnedOutput]:
    for kept in store.get("owned") or []:
        try:
            yield from_json(kept)
        except (KeyError, TypeError, AttributeError) as error:
            log.error('output not understood kept=%r reason="%s" next=it is forgotten', kept, error)
