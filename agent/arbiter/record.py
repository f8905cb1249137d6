"""What of an actuator outlives the process, and how it is taken up again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from agent.arbiter.actuator import Actuator
from agent.arbiter.limits import History
from agent.arbiter.seen import News
from agent.arbiter.slots import DEFAULT, REMOTE, Slot
from agent.clock import Clock
from agent.driver import Memory
from agent.errors import OutboxError
from agent.model import Instant

__all__ = ["Records", "rename"]

log = logging.getLogger("bocage.arbiter")


class Records:
    """The record of each actuator in `memory`, by its name; written only when something changed."""

    def __init__(self, memory: Memory, clock: Clock) -> None:
        self._memory, self._clock = memory, clock
        self._last: dict[str, Any] = {}

    async def keep(self, actuator: Actuator, now: bool = False) -> None:
        """Remember for a restart what changed; with `now` on flash when this returns, if the disk will."""
        record = _record(actuator, self._clock.now())
        name, moment = actuator.spec.name, ("at", "wall_ms")
        essence = {key: value for key, value in record.items() if key not in moment}
        if self._last.get(name) == essence:
            return
        self._last[name] = essence
        try:
            if now:
                await asyncio.to_thread(self._memory.put, name, record, True)
            else:
                self._memory.put(name, record)
        except OutboxError as error:
            log.error('state not durable actuator=%s reason="%s" next=control goes on', name, error)

    async def tell(self, actuator: Actuator, tell: Callable[[Actuator], Awaitable[None]]) -> None:
        """Tell its news, which stand on flash by `keep`, and remember that they are told: a kill repeats none."""
        if not actuator.news:
            return
        await tell(actuator)
        async with actuator.lock:
            await self.keep(actuator, now=True)

    def recall(self, actuators: Iterable[Actuator], restore: bool = True) -> None:
        """Tell actuators what an earlier process knew of them; without `restore` nothing of what was wanted then."""
        now = self._clock.now()
        for actuator in actuators:
            name = actuator.spec.name
            record = self._memory.get(name)
            try:
                if record is not None:
                    _recall(actuator, record, now)
                    if not restore:
                        _leave_safe(actuator)
            except (KeyError, TypeError) as error:
                log.error("memory of actuator not understood actuator=%s reason=%r next=starts anew", name, error)


def rename(memory: Memory, renamed: Mapping[str, str]) -> None:
    """An output goes by another name ({new: old}): what was known of it, limits and override, goes with it."""
    for new, old in renamed.items():
        record = memory.get(old)
        if record is not None and memory.get(new) is None:
            memory.put(new, record)
            memory.put(old, None)


def _record(actuator: Actuator, now: Instant) -> dict[str, Any]:
    """What a restart must know, with the moment at which it was so."""
    mono = now.boottime_ns / 1e9
    slots, attempt, history = actuator.slots, actuator.attempt, actuator.seen.history
    override = slots.get(REMOTE)
    if attempt is not None:
        history = history.perhaps(actuator.spec.is_on(attempt.value), mono)
    if override is attempt:  # it waits for the node: nothing is applied yet
        override = actuator.before
    return {
        "boot": now.boot,
        "at": mono,
        "wall_ms": now.wall_ms,
        "on": history.on,
        "since": history.since,
        "starts": list(history.starts),
        "fell": history.fell,
        "taken_up": actuator.boot,
        "default": _slot_record(slots[DEFAULT]) if slots and min(slots) == DEFAULT else None,
        "override": _slot_record(override),
        "attempt": _slot_record(attempt),
        "mismatch": actuator.seen.mismatch,
        "telling": [[one.kind, one.detail] for one in actuator.news if one.code == "output_mismatch"],
    }


def _recall(actuator: Actuator, record: dict[str, Any], now: Instant) -> None:
    """Take up what an earlier process knew.

    What rules wanted is for them to say again; until then the output stays as it is, unless nobody wanted
    anything of it. After another boot the times are carried over by the wall clock, if it was trusted then and
    is now, and has not gone back; if not, an override counts as ended, and minimum times as over, for nobody can
    say how long the box was off. But what was on and is found off may have dropped this moment, and waits: a lamp
    or a compressor that is hot does not care what nobody knows.
    """
    actuator.boot, actuator.seen.mismatch = record["taken_up"], record["mismatch"]
    actuator.news += [News(kind, "output_mismatch", detail) for kind, detail in record.get("telling", ())]
    shift: float | None = 0.0
    if record["boot"] == now.boot:
        default = _slot(record["default"], 0.0)
        if default is not None:
            actuator.slots[DEFAULT] = default
    else:
        shift = None
        if record["wall_ms"] is not None and now.wall_ms is not None:
            elapsed = (now.wall_ms - record["wall_ms"]) / 1000
            if elapsed >= 0:
                shift = now.boottime_ns / 1e9 - elapsed - record["at"]
    if shift is None:
        if record["override"] or record["attempt"]:
            actuator.slots.rest()
        actuator.seen.history = History(on=True if record["on"] else None)
        return
    history = History(record["on"], record["since"], tuple(record["starts"]), record.get("fell", False))
    actuator.seen.history = history.shifted(shift)
    override = _slot(record["override"], shift)
    if override is not None:
        actuator.slots[REMOTE] = actuator.restored = override
    actuator.attempt = _slot(record["attempt"], shift)


def _leave_safe(actuator: Actuator) -> None:
    """After a crash loop: whatever was wanted has ended. An output without a safe state stays as it is."""
    safe = actuator.spec.state(actuator.spec.safe_state)
    actuator.slots.clear()
    actuator.attempt = actuator.restored = None
    if safe is not None:
        actuator.slots[DEFAULT] = Slot(safe, "crash loop")


def _slot_record(slot: Slot | None) -> dict[str, Any] | None:
    if slot is None:
        return None
    return {"value": slot.value, "cause": slot.cause, "by": slot.by, "until": slot.until, "command": slot.command}


def _slot(record: dict[str, Any] | None, shift: float) -> Slot | None:
    if record is None:
        return None
    slot = Slot(**record)
    return slot if slot.until is None else replace(slot, until=slot.until + shift)
