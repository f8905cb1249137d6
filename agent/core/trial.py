"""Trying what a site file says beside the agent that has the wires: how a bus is told to it, and what came of it.

A bus goes over the agent's socket as plain data (`outline`), without secrets: of those only where they are kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from agent.core.outputs import address
from agent.errors import BocageError
from agent.lib.jsonable import jsonable
from agent.lib.secret import Kept
from agent.model import Quality, Reading
from drivers.api import BusSpec, DeviceSpec

__all__ = ["judged", "other_settings", "outline", "same_wire", "spec_of", "verdicts"]

_SETTINGS = {"baudrate": 9600, "parity": "N", "stopbits": 1, "bytesize": 8}
"""Of a serial line, with the defaults of its driver."""
_DIAGNOSES = {
    "misfits": "it answers something else than was asked; is its unit_id right, and its profile?",
    "timeouts": "no answer; is its unit_id right, does it have power?",
    "crc_errors": "its answers are garbled; are baudrate, parity and wiring right?",
    "exceptions": "the device refuses; is its profile right?",
}
"""What a count of a Modbus device that is not 0 says, in the order in which it is looked at."""


def outline(spec: BusSpec) -> dict[str, Any]:
    """A bus with its devices as JSON; the same for the same bus, whatever process reads its file, and from where."""
    found: dict[str, Any] = jsonable(spec, _outlined)
    return found


def spec_of(outlined: Any) -> BusSpec:
    """The bus of an outline, as far as its driver needs no secrets. BocageError if it is none."""
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
    wires = [_wire(spec) for spec in (one, other)]
    return wires[0] is not None and wires[0] == wires[1]


def other_settings(own: BusSpec, wanted: BusSpec) -> str:
    """How the agent keeps a line where a file wants it otherwise, in words; "" if they agree."""
    if own.type == wanted.type and _settings(own) == _settings(wanted):
        return ""
    return f"the agent runs another file and keeps {own.name} at {_said(own)}; this file says {_said(wanted)}"


def verdicts(readings: Iterable[Reading], error: str) -> list[dict[str, Any]]:
    """What a device's readings and counts come to, one a device: name, works, text. `error` is the wire's."""
    devices: dict[str, list[Reading]] = {}
    counts: dict[str, dict[str, Any]] = {}
    for reading in readings:
        device, _, rest = reading.point.partition(".")
        if rest.startswith("modbus."):
            counts.setdefault(device, {})[rest.removeprefix("modbus.")] = reading.value
        else:
            devices.setdefault(device, []).append(reading)
    found = []
    for name, own in devices.items():
        works, text = judged(own, counts.get(name, {}), error)
        found.append({"name": name, "works": works, "text": text})
    return found


def judged(readings: Sequence[Reading], counts: Mapping[str, Any], error: str) -> tuple[bool, str]:
    """Whether all points of a device were read, and why not in words.

    `counts` are the device's statistics, with what the wire has to say of it as "said".
    """
    bad = [reading.point for reading in readings if reading.quality is not Quality.GOOD]
    if not bad:
        remark = f"; {counts['said']}" if counts.get("said") else ""
        return True, f"{len(readings)} point{'s' * (len(readings) > 1)} read{remark}"
    why = error or _diagnosis(counts)
    if len(bad) < len(readings):
        why = f"{', '.join(bad[:3])}{' …' * (len(bad) > 3)}: {why}"
    return False, why


def _diagnosis(counts: Mapping[str, Any]) -> str:
    """What the wire said of a device, if that is more than silence or noise; else what its counts come to."""
    said = str(counts.get("said") or "")
    if said and not said.startswith(("no answer", "broken frame")):
        return said
    return next((text for key, text in _DIAGNOSES.items() if counts.get(key)), "cannot be read")


def _outlined(value: Any) -> Any:
    if isinstance(value, Kept):
        return [value.source, value.name]
    if isinstance(value, Path):
        return value.name
    if isinstance(value, Mapping):
        return {key: part for key, part in value.items() if key != "codec_kept"}  # only the agent has it
    return {field.name: getattr(value, field.name) for field in fields(value)} if is_dataclass(value) else value


def _wire(spec: BusSpec) -> str | None:
    options = spec.options
    if options.get("host"):
        return f"{address(str(options['host']))}:{options.get('port') or 502}"
    port = options.get("port")
    return os.path.realpath(port) if isinstance(port, str) else None


def _settings(spec: BusSpec) -> dict[str, Any]:
    return {key: spec.options.get(key) or usual for key, usual in _SETTINGS.items()}


def _said(spec: BusSpec) -> str:
    if spec.type != "modbus_rtu":
        return spec.type
    return "{baudrate} baud {bytesize}{parity}{stopbits}".format(**_settings(spec))
