"""Radio nodes that left the site file before their outputs were in the safe state: they stay on their bus.

A node of class A listens only after its own uplink, and only to a sender with its keys. So its bus keeps it, with its
outputs alone, until they are written. Its readings are dropped meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent.core.outputs import OwnedOutput, points_by_place
from agent.lib.secret import Kept
from drivers.api import BusSpec, DeviceSpec
from drivers.registry import find

__all__ = ["RemovedNodes", "add_removed_nodes", "secrets"]


@dataclass(frozen=True, slots=True)
class RemovedNodes:
    """The buses of a site with its removed nodes: `devices`. `only` are the buses that have no other device."""

    buses: Mapping[str, BusSpec]
    devices: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    points: Mapping[str, str] = field(default_factory=dict)
    """The point to write for each output, by its place."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why an output cannot be written, by its place."""


def add_removed_nodes(buses: Mapping[str, BusSpec], orphans: Iterable[OwnedOutput]) -> RemovedNodes:
    """Return the buses with the nodes of these outputs added."""
    orphans = list(orphans)
    made, present = dict(buses), points_by_place(buses) if orphans else {}
    devices: set[str] = set()
    points: dict[str, str] = {}
    refused: dict[str, str] = {}
    for one in orphans:
        if one.place in present:
            points[one.place] = present[one.place].point
            continue
        if why := _unfit(one, buses):
            refused[one.place] = why
            continue
        host = next(_hosts(one.bus, made), None)
        if host is None:
            name = _free(one.bus.name, made.keys())
            host = made[name] = replace(one.bus, name=name, devices=())
        node = next((d for d in host.devices if d.name in devices and d.address == one.device.address), None)
        if node is None:
            taken = {device.name for bus in made.values() for device in bus.devices}
            node = replace(one.device, name=_free(one.device.name, taken))
            devices.add(node.name)
        node = _with_points(node, one.device)
        others = tuple(device for device in host.devices if device.name != node.name)
        made[host.name] = replace(host, devices=(*others, node))
        points[one.place] = f"{node.name}.{one.point.partition('.')[2]}"
    return RemovedNodes(made, frozenset(devices), frozenset(made.keys() - buses.keys()), points, refused)


def secrets(one: OwnedOutput) -> Iterator[Kept]:
    """The secrets that must be readable before the output can be written."""
    for value in (*one.device.address.values(), *one.bus.options.values()):
        if isinstance(value, Kept):
            yield value


def _unfit(one: OwnedOutput, buses: Mapping[str, BusSpec]) -> str:
    driver = find(one.bus.type)
    sessions = driver.session_keys if driver is not None else ()
    if sessions and not any(keys <= one.device.address.keys() for keys in sessions):
        return "where its keys are was not kept: an older program left it"
    node = _node(one.device)
    if any(_node(device) == node for host in _hosts(one.bus, buses) for device in host.devices):
        return "its node is in the site file with a profile that does not have it"
    return ""


def _hosts(bus: BusSpec, buses: Mapping[str, BusSpec]) -> Iterator[BusSpec]:
    """The buses that reach the nodes of `bus`, the one of the same name first."""
    for other in sorted(buses.values(), key=lambda other: other.name != bus.name):
        if other.type == bus.type and _air(other) == _air(bus):
            yield other


def _air(bus: BusSpec) -> Any:
    """The identity of a radio bus, equal for two that are one: the broker and its application, the port that gateways
    send to, or the modem."""
    driver, options = find(bus.type), bus.options
    if "port" in options:
        return os.path.realpath(str(options["port"]))
    return [options.get(key) for key in (driver.reach if driver is not None else ())]


def _node(device: DeviceSpec) -> Any:
    found = next((device.address[key] for key in ("dev_eui", "dev_addr", "node") if key in device.address), None)
    return str(found).lower()


def _with_points(node: DeviceSpec, device: DeviceSpec) -> DeviceSpec:
    profile, more = dict(node.profile or {}), dict(device.profile or {})
    return replace(node, profile={**profile, "points": {**profile.get("points", {}), **more.get("points", {})}})


def _free(name: str, taken: Iterable[str]) -> str:
    taken = set(taken)
    return name if name not in taken else next(f"{name}~{n}" for n in range(2, 1000) if f"{name}~{n}" not in taken)
