"""Persist and restore an actuator's state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from agent.arbiter.actuator import Actuator, Saved
from agent.arbiter.limits import History
from agent.arbiter.output_state import AlarmChange
from agent.arbiter.priority_array import DEFAULT, REMOTE, Slot
from agent.clock import Clock
from agent.errors import StorageError
from agent.model import Instant, Value
from drivers.api import DurableStore, Facts

__all__ = ["ActuatorStore", "rename"]

log = logging.getLogger("bocage.arbiter")


class ActuatorStore:
    """The record of each actuator in `store`, by its name; written only when it changed."""

    def __init__(self, store: Facts, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._last: dict[str, tuple[dict[str, Any], bool]] = {}
        """The last record of each actuator, and whether it is known to be on flash."""

    async def save(self, actuator: Actuator, now: bool = False) -> None:
        """Save the state of an actuator; with `now` it is on flash when this returns, unless the disk fails.

        With `now` this waits for the disk, so it must not be called with `now` while `actuator.lock` is held.
        """
        actuator.mark_saved()
        record = _record(actuator, self._clock.now())
        name, moment = actuator.spec.name, ("at", "wall_ms")
        essence = {key: value for key, value in record.items() if key not in moment}
        last, durable = self._last.get(name, (None, False))
        if last == essence and (durable or not now):
            return
        if last != essence:
            self._last[name] = essence, False
            self._store.put(name, record)
        if not now:
            return
        try:
            await asyncio.to_thread(self._store.flush)
        except StorageError as error:
            log.error('state not durable actuator=%s reason="%s" next=control goes on', name, error)
        else:
            if self._last[name][0] == essence:  # else it changed meanwhile
                self._last[name] = essence, True

    async def publish_alarms(
        self, actuator: Actuator, publish: Callable[[str, AlarmChange], Awaitable[None]]
    ) -> None:
        """Publish the alarm changes of an actuator in their order. Each is on flash in its record first.

        After a kill the next process sees in the ledger which alarms are open, and publishes the rest.
        """
        if not actuator.alarm_changes:
            return
        async with actuator.alarm_lock:
            while actuator.alarm_changes:
                changes = actuator.alarm_changes.copy()
                await self.save(actuator, now=True)
                for change in changes:
                    await publish(actuator.spec.name, change)
                    actuator.mark_published(change)
        await self.save(actuator)

    def forget_mismatch(self, name: str) -> None:
        """End the alarms of an actuator that left the site file: if it comes back, a mismatch is a new one."""
        record = self._store.get(name)
        if record is not None:
            self._store.put(name, {**record, "mismatch": False, "asserted": None, "untold": []})

    def restore(self, actuators: Iterable[Actuator], raised: Collection[tuple[str, str]], wishes: bool = True) -> None:
        """Restore the saved state of actuators; without `wishes` none of the overrides and defaults in it.

        `raised` are the alarms that are open, by code and subject.
        """
        now = self._clock.now()
        for actuator in actuators:
            name = actuator.spec.name
            record = self._store.get(name)
            try:
                if record is not None:
                    actuator.restore(_saved(record, now), now.boottime_ns / 1e9)
                    if not wishes:
                        actuator.hold_safe_state("crash loop")
            except (KeyError, TypeError) as error:
                log.error('saved state not understood actuator=%s reason="%s" next=starts anew', name, error)
                record = None
            wrong = record or {}
            unpublished = {one["code"]: AlarmChange(**one) for one in wrong.get("untold", ())}
            is_open = partial(_is_open, raised, name)
            actuator.restore_alarms(wrong.get("mismatch", False), wrong.get("overrun"), unpublished, is_open)


def _is_open(raised: Collection[tuple[str, str]], name: str, code: str) -> bool:
    return (code, name) in raised


def rename(store: DurableStore, renamed: Mapping[str, str]) -> None:
    """Move the records of actuators that have another name now ({new: old}), with limits and override."""
    for new, old in renamed.items():
        record = store.get(old)
        if record is not None and store.get(new) is None:
            alarms = ("mismatch", "untold")  # they stay with the old name
            store.put(new, {key: value for key, value in record.items() if key not in alarms})
            store.put(old, None)


def _record(actuator: Actuator, now: Instant) -> dict[str, Any]:
    """The state to save, with the moment at which it was so."""
    mono = now.boottime_ns / 1e9
    array, attempt, state = actuator.priority_array, actuator.command.attempt, actuator.output_state
    history, override = state.history, array.get(REMOTE)
    if attempt is not None:
        history = state.possible_history(actuator.spec.is_on(attempt.value), mono)
    if override is attempt:  # it waits for the node: nothing is applied yet
        override = actuator.command.override_before
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
        "readable": state.readable,
        "taken_up": actuator.boot,
        "default": _slot_record(array[DEFAULT]) if array and min(array) == DEFAULT else None,
        "override": _slot_record(override),
        "ruled": _ruled(actuator),
        "attempt": _slot_record(attempt),
        "mismatch": state.mismatch,
        "asserted": _asserted(actuator) if state.mismatch else None,
        "overrun": actuator.overrun,
        "untold": [{"kind": one.kind, "code": one.code, "detail": one.detail} for one in actuator.alarm_changes],
    }


def _ruled(actuator: Actuator) -> bool:
    """Whether controls hold it below the commands; before they have, whether they did in an earlier process."""
    array = actuator.priority_array
    return array.awaits_rules or any(REMOTE < priority < DEFAULT for priority in array)


def _asserted(actuator: Actuator) -> Value:
    state = actuator.output_state
    return state.earlier if state.asserted is None else state.asserted


def _saved(record: Mapping[str, Any], now: Instant) -> Saved:
    """A record with its times on the present monotonic clock. KeyError or TypeError if it is not a record.

    After another boot the wall clock carries the times over, if it was trusted then and is now, and has not gone back.
    If not, the box was off for an unknown time: an override counts as ended, minimum times as over. But an output that
    was on and is found off may have dropped just now, and waits for its min_off: a lamp or a compressor may be hot.
    """
    boot, asserted, ruled = record["taken_up"], record.get("asserted"), record.get("ruled", False)
    readable = record.get("readable", False)
    shift, default = _shift(record, now), None
    if shift is None:
        ended = bool(record["override"] or record["attempt"])
        return Saved(boot, History(on=True if record["on"] else None), asserted, readable, ruled, ended=ended)
    if record["boot"] == now.boot:
        default = _slot(record["default"], 0.0)
    more = record.get("fell", False), record.get("otherwise"), record.get("maybe")
    history = History(record["on"], record["since"], tuple(record["starts"]), *more)
    override, attempt = _slot(record["override"], shift), _slot(record["attempt"], shift)
    return Saved(boot, history.shifted(shift), asserted, readable, ruled, default, override, attempt)


def _shift(record: Mapping[str, Any], now: Instant) -> float | None:
    """Seconds to add to the record's monotonic times; None if they cannot be compared with the present clock."""
    if record["boot"] == now.boot:
        return 0.0
    if record["wall_ms"] is None or now.wall_ms is None or now.wall_ms < record["wall_ms"]:
        return None
    elapsed = (now.wall_ms - record["wall_ms"]) / 1000
    return float(now.boottime_ns / 1e9 - elapsed - record["at"])


def _slot_record(slot: Slot | None) -> dict[str, Any] | None:
    if slot is None:
        return None
    return {"value": slot.value, "cause": slot.cause, "by": slot.by, "until": slot.until, "command": slot.command}


def _slot(record: dict[str, Any] | None, shift: float) -> Slot | None:
    if record is None:
        return None
    slot = Slot(**record)
    return slot if slot.until is None else replace(slot, until=slot.until + shift)
