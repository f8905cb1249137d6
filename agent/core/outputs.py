"""An output as it can be written without the site file: where it is, how it is written, and its safe state.

An output is its wire, its unit and its register, or its pin: what the actuator, the device and the bus are called does
not matter. A serial port is its real path, so that another name of the same adapter is the same wire.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.core.actuator_spec import ActuatorSpec
from agent.lib.jsonable import jsonable
from agent.lib.secret import Kept
from agent.model import Value
from drivers.api import BusSpec, DeviceSpec
from drivers.registry import find

__all__ = [
    "OwnedOutput", "commanded_output", "from_json", "is_radio", "one_wire", "outputs", "points_by_place", "port_of",
    "to_json",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class OwnedOutput:
    """An output that the agent owns. `bus` has this device alone, and the profile of the device this point alone."""

    name: str
    """The actuator; the point's id for a relay that no actuator owns."""
    point: str
    safe: Value
    """The value written when it leaves the site file; `hold` and `recompute` count as off."""
    bus: BusSpec

    @property
    def device(self) -> DeviceSpec:
        return self.bus.devices[0]

    @property
    def place(self) -> str:
        """Its place as text, also for comparison: "tcp 10.0.0.5:502, unit 1, coil 3"; "pin 17"."""
        return ", ".join(part for part in (_wire(self.bus), _unit(self.bus, self.device), _register(self)) if part)


def outputs(buses: Mapping[str, BusSpec], actuators: Iterable[ActuatorSpec]) -> Iterator[OwnedOutput]:
    """The outputs of these actuators that have a safe state: none that is written once, and none that is on no bus."""
    for spec in actuators:
        bus = None if spec.kind == "once" else _narrowed(buses, spec.output)
        if bus is not None:
            safe = spec.state(spec.safe_state)
            yield OwnedOutput(spec.name, spec.output, spec.off if safe is None else safe, bus)


def commanded_output(buses: Mapping[str, BusSpec], point: str, off: Value = False) -> OwnedOutput | None:
    """The output of a point that is commanded by its own name, with its safe state `off`; None if it is on no bus."""
    bus = _narrowed(buses, point)
    return None if bus is None else OwnedOutput(point, point, off, bus)


def points_by_place(buses: Mapping[str, BusSpec]) -> dict[str, OwnedOutput]:
    """Every point of these buses as a commanded output, by its place."""
    found = {}
    for bus in buses.values():
        for device in bus.devices:
            shorts = (device.profile or {}).get("points")
            for point in [device.name] if shorts is None else [f"{device.name}.{short}" for short in shorts]:
                one = OwnedOutput(point, point, False, _only(bus, device, point))
                found[one.place] = one
    return found


def one_wire(one: BusSpec, other: BusSpec) -> bool:
    """Whether two buses are the same wire, whatever they are called."""
    return _wire(one) == _wire(other)


def is_radio(bus: BusSpec) -> bool:
    """Whether it is a radio bus, whose devices listen only at times."""
    driver = find(bus.type)
    return driver is not None and driver.is_radio


def port_of(bus: BusSpec) -> str | None:
    """The host and its port, or the serial port, that a bus goes through; None if it has none of its own."""
    options, driver = bus.options, find(bus.type)
    if options.get("host"):
        return f"tcp {_address(str(options['host']))}:{options.get('port') or (driver and driver.tcp_port) or ''}"
    return os.path.realpath(str(options["port"])) if "port" in options else None


def to_json(one: OwnedOutput) -> dict[str, Any]:
    """The output as JSON for the state; a secret as its place, never its value."""
    return {
        "name": one.name,
        "point": one.point,
        "safe": one.safe,
        "bus": {"name": one.bus.name, "type": one.bus.type, "options": _plain(one.bus.options)},
        "device": {
            "name": one.device.name,
            "address": _plain(one.device.address),
            "profile": _plain(one.device.profile),
            "options": _plain(one.device.options),
        },
    }


def from_json(kept: Mapping[str, Any]) -> OwnedOutput:
    """Read what `to_json` made. KeyError or TypeError if it cannot be read."""
    bus, device = kept["bus"], _revived(kept["device"])
    spec = DeviceSpec(device["name"], device["address"], device["profile"], options=device["options"])
    options = _revived(bus["options"])
    return OwnedOutput(kept["name"], kept["point"], kept["safe"], BusSpec(bus["name"], bus["type"], options, (spec,)))


def _narrowed(buses: Mapping[str, BusSpec], point: str) -> BusSpec | None:
    """The bus of a point, with that point alone; None if it is on no bus."""
    home, _, short = point.partition(".")
    for bus in buses.values():
        for device in bus.devices:
            if device.name == point or (device.name == home and short in (device.profile or {}).get("points", {})):
                return _only(bus, device, point)
    return None


def _only(bus: BusSpec, device: DeviceSpec, point: str) -> BusSpec:
    """The bus with this device alone, and of its profile this point alone; a pin is its own point."""
    if device.name != point:
        profile, short = device.profile or {}, point.partition(".")[2]
        device = replace(device, profile={**profile, "points": {short: profile["points"][short]}})
    return replace(bus, devices=(device,))


_SECRET, _FILE = "$secret", "$file"


def _wire(bus: BusSpec) -> str:
    driver = find(bus.type)
    if driver is not None and driver.wire is not None:
        return driver.wire
    return port_of(bus) or f"{bus.type} {bus.name}"


def _address(host: str) -> str:
    """A host in its canonical form."""
    try:
        return str(ipaddress.ip_address("127.0.0.1" if host == "localhost" else host))
    except ValueError:
        return host.lower()


def _unit(one: BusSpec, device: DeviceSpec) -> str:
    driver = find(one.type)
    for key, noun in (driver.address if driver is not None else {}).items():
        if key in device.address:
            return f"{noun} {device.address[key]}"
    return " ".join(f"{key} {value}" for key, value in sorted(_plain(device.address).items()))


def _register(one: OwnedOutput) -> str:
    if one.point == one.device.name:
        return ""
    short = one.point.partition(".")[2]
    settings = ((one.device.profile or {}).get("points") or {}).get(short) or {}
    if "register" not in settings or "address" not in settings:
        return short
    bit = settings.get("bit")
    return f"{settings['register']} {settings['address']}{'' if bit is None else f' bit {bit}'}"


def _plain(value: Any) -> Any:
    """Return `value` as JSON that `_revived` can read; a secret or a file as the place where it lies."""
    return jsonable(value, _place)


def _place(value: Any) -> Any:
    if isinstance(value, Kept):
        return {_SECRET: [value.source, value.name, str(value.folder)]}
    if isinstance(value, Path):
        return {_FILE: str(value)}
    if isinstance(value, Mapping):
        return {key: part for key, part in value.items() if part is not None and _sayable(part)}
    return [part for part in value if _sayable(part)] if isinstance(value, list | tuple) else value


def _revived(value: Any) -> Any:
    """Restore a value that `_plain` has stored."""
    if isinstance(value, dict):
        if value.keys() == {_SECRET}:
            source, name, folder = value[_SECRET]
            return Kept(source, name, Path(folder))
        if value.keys() == {_FILE}:
            return Path(value[_FILE])
        return {key: _revived(part) for key, part in value.items()}
    return [_revived(part) for part in value] if isinstance(value, list) else value


def _sayable(value: Any) -> bool:
    return isinstance(value, str | int | float | list | tuple | dict | Kept | Path | Mapping)
