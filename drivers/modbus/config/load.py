"""How much of its time an RS-485 line is asked for, by the wire alone: characters, silences and periods.

MODBUS over Serial Line V1.02, section 2.5.1. How long a device thinks before it answers, and what writes, repeats and
silent devices cost, comes on top: `health` has the load as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from agent.site.language.values import DURATION

if TYPE_CHECKING:
    from agent.site.checks.names import Checked
    from agent.site.models.devices import Device
    from agent.site.models.site import Site
    from drivers.modbus.config import ModbusRtu

__all__ = ["check_load", "line_load", "questions"]

_MUCH, _MOST = 0.8, 1.0  # of the line's time
_BAUDRATES = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
_QUESTION = 8  # characters of a read: unit, function, address, count, check sum
_AROUND = 5  # characters of an answer beside its data: unit, function, byte count, check sum
_REGISTERS = {"u32": 2, "i32": 2, "f32": 2, "bcd32": 2, "u64": 4, "i64": 4, "f64": 4}
_MOST_BITS, _MOST_REGISTERS = 2000, 125  # MODBUS Application Protocol V1.1b3, 6.1 and 6.3


def line_load(site: Site, bus: str) -> float:
    """The share of its time that a line is asked for: 1 is all of it, and more cannot be."""
    return round(sum(device_loads(site, bus).values()), 3)


def check_load(at: Checked, name: str) -> None:
    """Warn of a line that is nearly full, refuse one that is asked more than it can carry."""
    bus = cast("ModbusRtu", at.site.buses[name])
    by_device = device_loads(at.site, name)
    load = sum(by_device.values())
    if load < _MUCH:
        return
    keys = ("buses", name, "baudrate") if at.written("buses", name, "baudrate") else ("buses", name, "type")
    most = max(by_device, key=lambda device: by_device[device])
    text = (
        f"{name} is asked for {100 * load:.0f} % of the time that it has at {bus.baudrate} baud "
        f"({most} alone {100 * by_device[most]:.0f} %, with a poll of {DURATION.format(_fastest(at.site, most))})"
    )
    enough = next((rate for rate in _BAUDRATES if sum(device_loads(at.site, name, rate).values()) < _MUCH), None)
    hint = "poll less often" + (f", or set the line and its devices to {enough} baud" if enough else "")
    if load > _MOST:
        at.error(keys, text, hint)
    else:
        at.warn(keys, text, hint)


def device_loads(site: Site, bus: str, baudrate: int | None = None) -> dict[str, float]:
    """The share of the line's time that each of its devices takes, at its own baud rate or another one."""
    line = cast("ModbusRtu", site.buses[bus])
    rate = baudrate or line.baudrate
    character = (1 + 8 + (line.parity != "N") + line.stopbits) / rate
    silence = 0.00175 if rate > 19200 else 3.5 * character
    found = {}
    for name, device in site.devices.items():
        if device.bus != bus or device.profile_data is None or "lora" in device.profile_data:
            continue
        before = max(silence, float((device.profile_data.get("modbus") or {}).get("guard") or 0.0))
        found[name] = sum(
            (before + silence + (_QUESTION + _AROUND + data) * character) / period
            for period, data in questions(device)
        )
    return found


def questions(device: Device) -> Iterator[tuple[float, int]]:
    """All that a device is asked regularly: the period in seconds, and the bytes of data that come back."""
    profile = device.profile_data or {}
    limits = {"max_gap": 8, "max_read": 125} | {k: v for k, v in (profile.get("modbus") or {}).items() if v is not None}
    for period, points in _by_period(device).items():
        for table, count in _blocks(points, limits["max_gap"], limits["max_read"]):
            yield period, (count + 7) // 8 if _is_bit(table) else 2 * count


def _fastest(site: Site, device: str) -> float:
    return min(_by_period(site.devices[device]))


def _by_period(device: Device) -> dict[float, list[Mapping[str, Any]]]:
    periods: dict[float, list[Mapping[str, Any]]] = {}
    for name, point in (device.profile_data or {}).get("points", {}).items():
        if not point.get("moves"):
            periods.setdefault(device.point_interval(name) or device.period, []).append(point)
    dog = device.output_watchdog
    if periods and dog is not None and min(periods) > dog / 3:
        periods[dog / 3] = periods.pop(min(periods))
    return periods


def _blocks(points: list[Mapping[str, Any]], max_gap: int, max_read: int) -> Iterator[tuple[str, int]]:
    """The blocks that are read together, as the driver joins them: the table and the count of bits or registers."""
    table, start, end = "", 0, 0
    for name, address, last in sorted((p["register"], p["address"], p["address"] + _width(p)) for p in points):
        gap, most = (16 * max_gap, _MOST_BITS) if _is_bit(name) else (max_gap, min(max_read, _MOST_REGISTERS))
        if name != table or address - end > gap or last - start > most:
            if table:
                yield table, end - start
            table, start, end = name, address, last
        end = max(end, last)
    if table:
        yield table, end - start


def _is_bit(table: str) -> bool:
    return table in ("coil", "discrete")


def _width(point: Mapping[str, Any]) -> int:
    if _is_bit(point["register"]):
        return 1
    return int(point.get("length") or 1) if point["type"] == "string" else _REGISTERS.get(point["type"], 1)
