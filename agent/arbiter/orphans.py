"""The outputs that are ours, and those of them that left the site file: each goes through its safe state first.

What is ours is durable, with all that is needed to write it: a file that was edited while the agent was off, or an
agent that died before it could write, costs nothing. An output stays ours until its safe state was written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.arbiter.guests import Guests, invite, secrets
from agent.arbiter.output_writer import within
from agent.clock import Clock
from agent.core.actuator_spec import ActuatorSpec, implicit, say
from agent.core.alarms import Condition
from agent.core.outputs import Owned, from_json, is_radio, loose, outputs, places, to_json
from agent.errors import BocageError, StorageError
from agent.lib.backoff import Backoff
from agent.lib.wake import Wake
from agent.model import Event, Point, Severity, Value
from drivers.api import BusSpec, DurableStore

__all__ = ["PATIENCE", "Orphans"]

log = logging.getLogger("bocage.arbiter")

PATIENCE = 2.5
"""How long a start, a reload and a stop wait for outputs that left (s)."""
RETRY = (5.0, 60.0)
"""What could not be written is tried again after 5 s, then 10, 20 … at most 60 s."""
_WAITS = "it waits until its node listens, which one of class A does after it has spoken"
_NOT_TRIED = "it is not tried yet"
_PRIORITY = 5
"""As at a stop: above the limits, for a machine that is nobody's is not protected by staying on."""

WriteAside = Callable[[BusSpec, str, Value], Awaitable[None]]
"""A bus with its one device, a point of that, and the value (`Buses.write_aside`)."""


WriteOnAir = Callable[[str, Value], Awaitable[None]]
"""A point of a node that is on a bus, perhaps as a guest; waits until it was sent, or confirmed."""


class Orphans:
    """Knows every output that is ours. `memory` keeps them; `tell` makes an event durable.

    `on_air` is None where nobody listens to the radio.
    """

    def __init__(
        self,
        memory: DurableStore,
        write: WriteAside,
        tell: Callable[[Event], Awaitable[None]],
        clock: Clock,
        on_air: WriteOnAir | None = None,
    ) -> None:
        self._memory, self._write, self._tell, self._clock = memory, write, tell, clock
        self._on_air, self._guests = on_air, Guests({})
        self._sending: dict[str, asyncio.Task[None]] | None = None
        """What waits for its node, by place; None while no bus is there to wait on."""
        self._owned = {one.place: one for one in _recall(memory)}
        self._buses: Mapping[str, BusSpec] = {}
        self._left: dict[str, str | None] = {}
        """Place, and why it could not be written; None before the first try."""
        self.handed: dict[str, tuple[Value, str]] = {}
        """The safe state of each actuator that has the output of another one now, and that one's name."""
        self._lock, self._wake = asyncio.Lock(), Wake()
        self._backoff = Backoff(*RETRY)

    def take_up(
        self,
        buses: Mapping[str, BusSpec],
        actuators: Iterable[ActuatorSpec],
        move: Callable[[dict[str, str]], None],
    ) -> None:
        """From now on these are the outputs of the site file; those that were ours and are not there have left.

        `move` gets the actuators whose output had another name before, {new: old}, before anything is written: what it
        moves in the same state is on flash with the new names, or neither is.
        """
        self._locate()
        present = {one.place: one for one in outputs(buses, actuators)}
        names = {one.name for one in present.values()}
        commanded = {one.place for one in self._owned.values() if one.name == one.point} - present.keys()
        if commanded:
            known_places = places(buses)
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

    def guests(self, buses: Mapping[str, BusSpec]) -> Guests:
        """The buses of the site file, with the radio nodes that left it and must still be written."""
        left = (self._owned[place] for place in self._left)
        self._guests = invite(buses, (one for one in left if is_radio(one.bus)))
        return self._guests

    def listen(self) -> None:
        """The buses with their guests are there: what is for a node waits for it from now on."""
        self._sending = {}
        self._wake.set()

    async def hush(self) -> None:
        """The buses go: nothing waits on them any more."""
        tasks, self._sending = list((self._sending or {}).values()), None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _locate(self) -> None:
        """Where the outputs are now: an adapter that was plugged in again is another tty behind its name."""
        self._left = {self._owned[place].place: reason for place, reason in self._left.items()}
        self._owned = {one.place: one for one in self._owned.values()}

    async def claim(self, point: Point) -> None:
        """Somebody commands a relay or a level that no actuator owns: from now on it is ours too, durably.

        A level is off at the lowest value that may be written. A register without bounds is a setting: it has no off.
        """
        spec = implicit(point)
        has_off = spec.kind == "relay" or (spec.kind == "level" and (point.low is not None or point.high is not None))
        one = loose(self._buses, point.id, spec.off) if has_off else None
        if one is not None and one.place not in self._owned:
            self._owned[one.place] = one
            await asyncio.to_thread(self._keep)

    @property
    def any(self) -> bool:
        """Whether some output left and was not brought to its safe state yet."""
        return bool(self._left)

    @property
    def missed(self) -> dict[str, str]:
        """Those that could not be written: their names, and why."""
        return {self._owned[place].name: reason for place, reason in self._left.items() if reason is not None}

    def conditions(self) -> Iterator[Condition]:
        """Those that could not be written, as alarms; and those that were not tried yet, since the start."""
        for place, reason in self._left.items():
            one = self._owned[place]
            detail = {"output": one.point, "place": place, "wanted": one.safe, "reason": reason or _NOT_TRIED}
            yield Condition("output_orphaned", one.name, Severity.MAJOR, detail, known=reason is not None)

    async def forget(self, name: str) -> str:
        """Somebody says that an output that left is no longer there. The words of it; "" if none has that name."""
        places = [place for place in self._left if self._owned[place].name == name]
        for place in places:
            if self._sending is not None and (task := self._sending.pop(place, None)) is not None:
                task.cancel()
            self._drop(place)
        await asyncio.to_thread(self._keep)
        return f"forgotten as it is: {'; '.join(places)}" if places else ""

    async def settle(self, again: bool = False, patience: float = PATIENCE) -> None:
        """Bring those that left to their safe state, in `patience` seconds; what was not reached says why.

        What was tried before is not waited for, unless `again`.
        """
        async with self._lock:
            self._locate()
            by_device: dict[tuple[str, str], list[tuple[str, Owned]]] = {}
            for place, reason in self._left.items():
                one = self._owned[place]
                if (reason is None or again) and not self._is_sent(one):
                    by_device.setdefault((one.bus.name, one.device.name), []).append((place, one))
            await within(patience, [self._settle_device(ones) for ones in by_device.values()])
            for place, reason in self._left.items():
                late = _WAITS if is_radio(self._owned[place].bus) else f"no answer within {patience:g} s"
                self._left[place] = reason or late

    def _is_sent(self, one: Owned) -> bool:
        """Whether it is for `_send`: a node of class A listens in minutes, not in seconds."""
        return self._sending is not None and is_radio(one.bus)

    def _send(self) -> None:
        """Whatever is for a radio node waits for that node, each in a task of its own, until it was written or failed.
        """
        if self._sending is None:
            return
        for place in self._left:
            one, task = self._owned[place], self._sending.get(place)
            if is_radio(one.bus) and (task is None or task.done()):
                self._left[place] = self._left[place] or _WAITS
                self._sending[place] = asyncio.create_task(self._settle_device([(place, one)]), name=f"orphan {place}")

    async def run(self) -> None:
        """Try again until all could be written. Runs until cancelled."""
        try:
            while True:
                self._wake.clear()
                self._send()
                if not self._left:
                    await self._wake.wait()
                    continue
                await self._wake.wait(self._backoff.delay)
                if not self._wake.is_set():  # else a file was applied, which tried at once: from now on it counts anew
                    self._backoff.next()
                    await self.settle(again=True, patience=RETRY[0])
        finally:
            await self.hush()

    async def _settle_device(self, ones: Sequence[tuple[str, Owned]]) -> None:
        """A device that does not answer is asked once, for all its outputs."""
        reason = ""
        for place, one in ones:
            reason = reason or await self._write_safe(one)
            if reason:
                self._left[place] = reason
                continue
            detail = {"from": None, "to": one.safe, "priority": _PRIORITY, "cause": "it left the site file",
                      "by": "", "output": one.point, "place": place}  # fmt: skip
            await self._tell(Event("audit", "output", one.name, self._clock.now(), detail=detail))
            self._drop(place)  # not before: whoever dies in between writes it again, and tells
            await asyncio.to_thread(self._keep)

    async def _write_safe(self, one: Owned) -> str:
        """Write the safe state; "" or why it failed."""
        try:
            if is_radio(one.bus):
                await self._write_on_air(one)
            else:
                await self._write(one.bus, one.point, one.safe)
        except (BocageError, OSError, ValueError) as error:
            log.warning(
                'output left and is not safe actuator=%s place="%s" reason="%s" next=tried again',
                one.name, one.place, error,
            )  # fmt: skip
            return str(error) or type(error).__name__
        log.info('output left actuator=%s place="%s" to=%s', one.name, one.place, say(one.safe))
        return ""

    async def _write_on_air(self, one: Owned) -> None:
        if self._on_air is None:
            raise BocageError("a radio node is commanded by a running agent only")
        if one.place in self._guests.refused:
            raise BocageError(self._guests.refused[one.place])
        for secret in secrets(one):
            secret.reveal()  # ConfigError says which cannot be read
        await self._on_air(self._guests.points.get(one.place, one.point), one.safe)

    def _drop(self, place: str) -> None:
        self._left.pop(place, None)
        self._owned.pop(place, None)

    def _keep(self) -> None:
        """Durable when it returns, if the disk will."""
        record: list[Any] = [to_json(one) for one in self._owned.values()]
        if record == (self._memory.get("owned") or []):
            return
        try:
            self._memory.put("owned", record, True)
        except StorageError as error:
            log.error('owned outputs not durable reason="%s" next=control goes on', error)


def _recall(memory: DurableStore) -> Iterator[Owned]:
    for kept in memory.get("owned") or []:
        try:
            yield from_json(kept)
        except (KeyError, TypeError, AttributeError) as error:
            log.error("output not understood kept=%r reason=%r next=it is forgotten", kept, error)
