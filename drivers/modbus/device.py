"""A slave as its profile describes it: registers, polls, and what may be written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.errors import DeviceError
from agent.model import Kind, Point, Value
from drivers.api import DeviceSpec
from drivers.modbus.link import Link
from drivers.modbus.plan import Register, plan
from drivers.modbus.schedule import Poll, PolledDevice

__all__ = ["build", "limits", "registers_of"]


def build(spec: DeviceSpec, link: Link) -> PolledDevice:
    """A slave with its registers and polls, as its profile describes them."""
    profile = spec.profile or {"points": {}}
    registers: list[Register] = []
    periods: dict[float, list[Register]] = {}
    for name, settings in profile["points"].items():
        period = spec.point_poll.get(name) or settings.get("poll") or spec.poll
        register = Register(_point(spec, name, settings, period), settings)
        registers.append(register)
        if not register.point.moves:
            periods.setdefault(period, []).append(register)
    if periods and spec.output_watchdog is not None and min(periods) > spec.output_watchdog / 3:
        periods[spec.output_watchdog / 3] = periods.pop(min(periods))
    most = limits(spec)
    device = PolledDevice(spec, registers, most["guard"])
    for period, group in periods.items():
        blocks = plan(link.framer, device.unit, group, most["max_gap"], most["max_read"])
        device.polls.append(Poll(device, period, blocks))
        device.unread |= {register.point.id for register in group}
    return device


def limits(spec: DeviceSpec) -> dict[str, Any]:
    """max_gap and max_read in registers, guard in seconds."""
    return {"max_gap": 8, "max_read": 125, "guard": 0.0} | dict((spec.profile or {}).get("modbus") or {})


def _point(spec: DeviceSpec, name: str, settings: Mapping[str, Any], period: float) -> Point:
    is_bit = settings["register"] in ("coil", "discrete")
    return Point(
        f"{spec.name}.{name}",
        spec.name,
        unit=settings.get("unit") or "",
        kind=Kind(settings.get("kind") or (Kind.STATE if is_bit else Kind.TELEMETRY)),
        writable=bool(settings.get("writable")),
        low=settings.get("low"),
        high=settings.get("high"),
        stale_after=3 * period,
        moves=f"{spec.name}.{settings['moves']}" if settings.get("moves") else "",
    )


def registers_of(register: Register, value: Value) -> list[int]:
    """The registers to write for `value`. DeviceError if it does not fit."""
    point = register.point
    if not point.writable or register.table in ("discrete", "input"):
        raise DeviceError(f"{point.id} cannot be written")
    if register.field is None or register.field.bit is not None or register.field.type == "bool":
        if value not in (0, 1) or isinstance(value, str):
            raise DeviceError(f"{point.id} is on or off, not {value!r}")
        return [int(value)] if register.field is None or register.field.words is None else register.field.encode(value)
    if isinstance(value, int | float):
        if point.low is not None and value < point.low:
            raise DeviceError(f"{value} is below {point.low}, the lowest that {point.id} may be")
        if point.high is not None and value > point.high:
            raise DeviceError(f"{value} is above {point.high}, the highest that {point.id} may be")
    return register.field.encode(value)
