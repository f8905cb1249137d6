"""Trying what a site file says beside the agent that has the wires: how a bus is told to it, and what came of it.

A bus goes over the agent's socket as plain data (`outline`), without secrets: of those only where they are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from agent.core.outputs import port_of
from agent.errors import BocageError
from agent.lib.jsonable import jsonable
from agent.lib.secret import Kept
from agent.model import Quality, Reading
from drivers.api import BusSpec, DeviceSpec
from drivers.registry import find, load, said

__all__ = ["diagnostic", "judged", "line_settings", "other_settings", "outline", "same_wire", "spec_of", "verdicts"]

_USUAL = {"parity": "N", "stopbits": 1, "bytesize": 8}
"""The settings of a serial line that are not written."""


def outline(spec: BusSpec) -> dict[str, Any]:
    """A bus with its devices as JSON; the same for the same bus, whatever process reads its file, and from where."""
    found: dict[str, Any] = jsonable(spec, _outlined)
    return found


def spec_of(outlined: Any) -> BusSpec:
    """The bus of an outline, as far as its driver needs no secrets. BocageError if it is not a bus."""
    try:
        devices = [
            DeviceSpec(
                str(one["name"]), dict(one["address"]), one["profile"], float(one["poll"]), dict(one["point_poll"])
            )
            for one in outlined["devices"]
        ]
        return BusSpec(str(outlined["name"]), str(outlined["type"]), dict(outlined["options"]), devices)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise BocageError(f'expected "bus": the outline of a bus ({type(error).__name__}: {error})') from error


def same_wire(one: BusSpec, other: BusSpec) -> bool:
    """Whether two buses, whatever they are called, lead to one port or host."""
    ports = [port_of(spec) for spec in (one, other)]
    return ports[0] is not None and ports[0] == ports[1]


def other_settings(own: BusSpec, wanted: BusSpec) -> str:
    """Describe the agent's settings of a line where a file's differ; "" if they agree."""
    if own.type == wanted.type and line_settings(own) == line_settings(wanted):
        return ""
    return f"the agent runs another file and keeps {own.name} at {_said(own)}; this file says {_said(wanted)}"


def verdicts(bus_type: str, readings: Iterable[Reading], error: str) -> list[dict[str, Any]]:
    """Judge each device by its readings and counts: name, works, text. `error` is the bus's."""
    devices: dict[str, list[Reading]] = {}
    counts: dict[str, dict[str, Any]] = {}
    for reading in readings:
        device, _, rest = reading.point.partition(".")
        if count := diagnostic(bus_type, rest):
            counts.setdefault(device, {})[count] = reading.value
        else:
            devices.setdefault(device, []).append(reading)
    found = []
    for name, own in devices.items():
        works, text = judged(bus_type, own, counts.get(name, {}), error)
        found.append({"name": name, "works": works, "text": text})
    return found


def diagnostic(bus_type: str, name: str) -> str:
    """The name of a device's diagnostic count, `timeouts` of `modbus.timeouts`; "" for any other point."""
    driver = find(bus_type)
    prefix = driver.diagnostics if driver is not None else ""
    return name.removeprefix(f"{prefix}.") if prefix and name.startswith(f"{prefix}.") else ""


def judged(bus_type: str, readings: Sequence[Reading], counts: Mapping[str, Any], error: str) -> tuple[bool, str]:
    """Whether all points of a device were read, and why not in words.

    `counts` are the device's statistics, with what the wire has to say of it as "said".
    """
    bad = [reading.point for reading in readings if reading.quality is not Quality.GOOD]
    if not bad:
        remark = f"; {counts['said']}" if counts.get("said") else ""
        return True, f"{len(readings)} point{'s' * (len(readings) > 1)} read{remark}"
    why = error or _diagnosis(bus_type, counts)
    if len(bad) < len(readings):
        why = f"{', '.join(bad[:3])}{' …' * (len(bad) > 3)}: {why}"
    return False, why


def _diagnosis(bus_type: str, counts: Mapping[str, Any]) -> str:
    """The cause by the driver, else the last error of the device."""
    driver = find(bus_type)
    found = counts.get("said")
    if driver is not None and driver.diagnose:
        try:
            found = load(driver.diagnose)(counts)
        except Exception as error:  # noqa: BLE001  another distribution's code: it costs this text only
            found = f"{found or 'cannot be read'} ({driver.diagnose} failed: {said(error)})"
    return str(found or "cannot be read")


def _outlined(value: Any) -> Any:
    if isinstance(value, Kept):
        return [value.source, value.name]
    if isinstance(value, Path):
        return value.name
    if isinstance(value, Mapping):
        return {key: part for key, part in value.items() if key != "codec_kept"}  # only the agent has it
    return {field.name: getattr(value, field.name) for field in fields(value)} if is_dataclass(value) else value


def line_settings(spec: BusSpec) -> dict[str, Any]:
    """The settings of a serial line, those of its driver where the file has none; nothing for another wire."""
    driver = find(spec.type)
    usual = {**_USUAL, **driver.line} if driver is not None and driver.line else {}
    return {key: spec.options.get(key) or value for key, value in usual.items()}


def _said(spec: BusSpec) -> str:
    settings = line_settings(spec)
    return "{baudrate} baud {bytesize}{parity}{stopbits}".format(**settings) if settings else spec.type
