"""Calls of a driver's methods: what another distribution's code does wrong costs its own bus only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from typing import Any, TypeVar

from agent.errors import BocageError, WireError
from agent.model import BusState, Instant, Quality, Reading, Readings, Value
from drivers.api import DeviceSpec, Successive, Wire
from drivers.registry import said

__all__ = [
    "DEVICE_KEYS", "called", "checked_readings", "close_wire", "own_errors", "retired", "status_of", "succeeds",
]  # fmt: skip

log = logging.getLogger("bocage.buses")

T = TypeVar("T")

CLOSING = 10.0
"""Seconds that a bus may take to close, or to retire its outputs."""
TEXT = 4096
"""Characters that the text of a reading may have."""
_WHOLE = 1 << 63
"""Integers below this are stored and sent as they are."""
DEVICE_KEYS: Mapping[str, type] = {
    "lost": list, "unheard": list, "unread": list, "said": Mapping, "refused": Mapping, "in_vain": Mapping,
}  # fmt: skip
"""The keys of a status that are about devices: their names, or texts by their names."""


def called(type_: str, call: Callable[[], T]) -> T:
    """Call a driver's method that is not awaited. WireError for all errors that a driver must not raise."""
    try:
        return call()
    except BocageError:
        raise
    except (Exception, SystemExit) as error:
        raise _failure(type_, error) from error


async def own_errors(type_: str, call: Awaitable[T]) -> T:
    """Await a driver's method. WireError for all errors that a driver must not raise."""
    try:
        return await call
    except BocageError:
        raise
    except asyncio.CancelledError as error:
        if _is_cancelled():
            raise
        raise _failure(type_, error) from error
    except (Exception, SystemExit) as error:
        raise _failure(type_, error) from error


def status_of(wire: Wire) -> dict[str, Any]:
    """The status of a bus by its driver; the bus is down if that cannot be used."""
    try:
        found = dict(wire.status())
        found["state"], found["load"] = BusState(found["state"]), float(found.get("load", 0.0))
        found["error"] = str(found.get("error", ""))
        wrong = [key for key, form in DEVICE_KEYS.items() if key in found and not isinstance(found[key], form)]
        if wrong:
            raise TypeError(f"{', '.join(wrong)}: not of devices")
    except (Exception, SystemExit) as error:  # noqa: BLE001  it costs its own bus only
        return {"state": BusState.DOWN, "error": f"its status failed: {said(error)}"}
    return found


def checked_readings(type_: str, readings: Readings, own: Set[str]) -> Readings:
    """The readings of another distribution's driver, whose points are `own`. BocageError for what is no reading."""
    if not isinstance(readings, list | tuple):
        raise BocageError(f"the driver of {type_} gave {type(readings).__name__} for a list of readings")
    for one in readings:
        if wrong := _wrong(one, own):
            raise BocageError(f"the driver of {type_} gave {wrong}")
    return readings


def _wrong(one: Reading, own: Set[str]) -> str:
    """Say what is wrong with a reading; "" if nothing is."""
    if not isinstance(one, Reading):
        return f"{type(one).__name__} for a Reading"
    if one.point not in own:
        return f"a reading of {one.point!r}, which is no point of its bus"
    if not isinstance(one.at, Instant) or not isinstance(one.at.boottime_ns, int):
        return f"a reading of {one.point} whose time is no Instant"
    if not isinstance(one.quality, Quality) or not _is_value(one.value):
        return f"a reading of {one.point} whose value or quality cannot be kept"
    return ""


async def close_wire(name: str, type_: str, wire: Wire) -> None:
    """Close a bus; one that cannot be closed within `CLOSING` seconds is left as it is, and the others go on."""
    if not await _ends(type_, wire.close()):
        log.error("bus cannot be closed bus=%s next=it is left as it is", name)


async def retired(name: str, type_: str, wire: Successive, devices: Sequence[DeviceSpec]) -> bool:
    """Retire the outputs of a bus for its successor; False if that failed."""
    if await _ends(type_, wire.retire(devices)):
        return True
    log.error("bus cannot be retired bus=%s next=it is closed", name)
    return False


def succeeds(name: str, type_: str, wire: Successive, before: Any) -> bool:
    """Take over the outputs of the bus before; False if that failed."""
    try:
        called(type_, lambda: wire.succeed(before))
    except BocageError:
        log.exception("outputs cannot be handed over bus=%s next=they are opened anew", name)
        return False
    return True


async def _ends(type_: str, call: Awaitable[object]) -> bool:
    """Await a driver's method for `CLOSING` seconds at most; False if it fails, or takes longer."""
    try:
        async with asyncio.timeout(CLOSING):
            await own_errors(type_, call)
    except (BocageError, TimeoutError):
        log.exception("driver failed type=%s", type_)
        return False
    return True


def _failure(type_: str, error: BaseException) -> WireError:
    return WireError(f"the driver of {type_} failed: {said(error)}")


def _is_cancelled() -> bool:
    """Whether the running task was asked to end; else a driver raised CancelledError by itself."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _is_value(value: Value) -> bool:
    if isinstance(value, int):
        return -_WHOLE <= value < _WHOLE
    return value is None or isinstance(value, float) or (isinstance(value, str) and len(value) <= TEXT)
