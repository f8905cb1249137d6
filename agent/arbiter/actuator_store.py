"""What of an actuator outlives the process, and how it is taken up again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from agent.arbiter.actuator import Actuator
from agent.arbiter.limits import History
from agent.arbiter.output_state import News
from agent.arbiter.priority_array import DEFAULT, REMOTE, Slot
from agent.clock import Clock
from agent.errors import StorageError
from agent.model import Instant, Value
from drivers.api import DurableStore, Facts

__all__ = ["ActuatorStore", "rename"]

log = logging.getLogger("bocage.arbiter")


class ActuatorStore:
    """The record of each actuator in `memory`, by its name; written only when something changed."""

    def __init__(self, memory: Facts, clock: Clock) -> None:
        self._memory, self._clock = memory, clock
        self._last: dict[str, tuple[dict[str, Any], bool]] = {}
        """What was remembered last of each, and whether that is on flash for sure."""

    async def keep(self, actuator: Actuator, now: bool = False) -> None:
        """Remember for a restart what changed; with `now` on flash when this returns, if the disk will.

        The disk may take long. Who holds the lock of an actuator calls it without `now`, which waits for nothing.
        """
        actuator.kept = frozenset(actuator.priority_array)
        record = _record(actuator, self._clock.now())
        name, moment = actuator.spec.name, ("at", "wall_ms")
        essence = {key: value for key, value in record.items() if key not in moment}
        last, durable = self._last.get(name, (None, False))
        if last == essence and (durable or not now):
            return
        if last != essence:
            self._last[name] = essence, False
            self._memory.put(name, record)
        if not now:
            return
        try:
            await asyncio.to_thread(self._memory.flush)
        except StorageError as error:
            log.error('state not durable actuator=%s reason="%s" next=control goes on', name, error)
        else:
            if self._last[name][0] == essence:  # else it changed meanwhile
                self._last[name] = essence, True

    async def tell(self, actuator: Actuator, tell: Callable[[str, News], Awaitable[None]]) -> None:
        """Tell its news one by one, each on flash in its record before: a kill forgets none.

        Which alarms are open is for the ledger to know: by that the next process sees what was told.
        """
        if not actuator.news:
            return
        async with actuator.telling:
            while actuator.news:
                news = actuator.news.copy()
                await self.keep(actuator, now=True)
                for one in news:
                    await tell(actuator.spec.name, one)
                    actuator.news.remove(one)
        await self.keep(actuator)

    def forget_mismatch(self, name: str) -> None:
        """It left the site file, and its alarms end with that: whether it is wrong when it is back is new."""
        record = self._memory.get(name)
        if record is not None:
            self._memory.put(name, {**record, "mismatch": False, "asserted": None, "untold": []})

    def recall(self, actuators: Iterable[Actuator], raised: Collection[tuple[str, str]], restore: bool = True) -> None:
        """Tell actuators what an earlier process knew of them; without `restore` nothing of what was wanted then.

        `raised` are the alarms that are open, by code and subject.
        """
        now = self._clock.now()
        for actuator in actuators:
            name = actuator.spec.name
            record = self._memory.get(name)
            is_open = partial(_is_open, raised, name)
            try:
                if record is not None:
                    _recall(actuator, record, now)
                    if not restore:
                        _leave_safe(actuator)
            except (KeyError, TypeError) as error:
                log.error("memory of actuator not understood actuator=%s reason=%r next=starts anew", name, error)
                record = None
            wrong = record or {}
            untold = {one["code"]: News(**one) for one in wrong.get("untold", ())}
            actuator.recall(wrong.get("mismatch", False), wrong.get("overrun"), untold, is_open)


def _is_open(raised: Collection[tuple[str, str]], name: str, code: str) -> bool:
    return (code, name) in raised


def rename(memory: DurableStore, renamed: Mapping[str, str]) -> None:
    """An output goes by another name ({new: old}): what was known of it, limits and override, goes with it."""
    for new, old in renamed.items():
        record = memory.get(old)
        if record is not None and memory.get(new) is None:
            told = ("mismatch", "untold")  # its alarms are of the old name
            memory.put(new, {key: value for key, value in record.items() if key not in told})
            memory.put(old, None)


def _record(actuator: Actuator, now: Instant) -> dict[str, Any]:
    """What a restart must know, with the moment at which it was so."""
    mono = now.boottime_ns / 1e9
    slots, attempt, history = actuator.priority_array, actuator.attempt, actuator.output_state.history
    override = slots.get(REMOTE)
    if attempt is not None:
        history = actuator.output_state.perhaps(actuator.spec.is_on(attempt.value), mono)
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
        "otherwise": history.otherwise,
        "maybe": history.maybe,
        "taken_up": actuator.boot,
        "default": _slot_record(slots[DEFAULT]) if slots and min(slots) == DEFAULT else None,
        "override": _slot_record(override),
        "ruled": _ruled(actuator),
        "attempt": _slot_record(attempt),
        "mismatch": actuator.output_state.mismatch,
        "asserted": _asserted(actuator) if actuator.output_state.mismatch else None,
        "overrun": actuator.overrun,
        "untold": [{"kind": one.kind, "code": one.code, "detail": one.detail} for one in actuator.news],
    }


def _ruled(actuator: Actuator) -> bool:
    """Whether rules hold it below the commands; before they have spoken, whether they did in an earlier process."""
    slots = actuator.priority_array
    return slots.await_rules or any(REMOTE < priority < DEFAULT for priority in slots)


def _asserted(actuator: Actuator) -> Value:
    seen = actuator.output_state
    return seen.earlier if seen.asserted is None else seen.asserted


def _recall(actuator: Actuator, record: dict[str, Any], now: Instant) -> None:
    """Take up what an earlier process knew.

    What rules wanted is for them to say again; until then the output stays as it is, unless nobody wanted
    anything of it. So it is below an override that ends before they have, or ended while nobody lived: no lamp goes
    dark for `min_off` before its rule has spoken. After another boot the times are carried over by the wall clock, if
    it was trusted then and is now, and has not gone back; if not, an override counts as ended, and minimum times as
    over, for nobody can say how long the box was off. But what was on and is found off may have dropped this moment,
    and waits: a lamp or a compressor that is hot does not care what nobody knows.
    """
    actuator.boot, actuator.output_state.earlier = record["taken_up"], record.get("asserted")
    actuator.priority_array.ruled = record.get("ruled", False)
    mono = now.boottime_ns / 1e9
    shift: float | None = 0.0
    if record["boot"] == now.boot:
        default = _slot(record["default"], 0.0)
        if default is not None:
            actuator.priority_array[DEFAULT] = default
    else:
        shift = None
        if record["wall_ms"] is not None and now.wall_ms is not None:
            elapsed = (now.wall_ms - record["wall_ms"]) / 1000
            if elapsed >= 0:
                shift = mono - elapsed - record["at"]
    if shift is None:
        if (record["override"] or record["attempt"]) and not actuator.priority_array.ruled:
            actuator.priority_array.hold_default()
        actuator.output_state.recall(History(on=True if record["on"] else None), mono)
        return
    more = record.get("fell", False), record.get("otherwise"), record.get("maybe")
    history = History(record["on"], record["since"], tuple(record["starts"]), *more)
    actuator.output_state.recall(history.shifted(shift), mono)
    override = _slot(record["override"], shift)
    over = override is not None and override.until is not None and override.until <= mono
    if override is not None and not (over and actuator.priority_array.ruled):
        actuator.priority_array[REMOTE] = actuator.restored = override
    actuator.attempt = _slot(record["attempt"], shift)


def _leave_safe(actuator: Actuator) -> None:
    """After a crash loop: whatever was wanted has ended. An output without a safe state stays as it is."""
    safe = actuator.spec.state(actuator.spec.safe_state)
    actuator.priority_array.clear()
    actuator.attempt = actuator.restored = None
    if safe is not None:
        actuator.priority_array[DEFAULT] = Slot(safe, "crash loop")


def _slot_record(slot: Slot | None) -> dict[str, Any] | None:
    if slot is None:
        return None
    return {"value": slot.value, "cause": slot.cause, "by": slot.by, "until": slot.until, "command": slot.command}


def _slot(record: dict[str, Any] | None, shift: float) -> Slot | None:
    if record is None:
        return None
    slot = Slot(**record)
    return slot if slot.until is None else replace(slot, until=slot.until + shift)
