"""Trying a site file beside the running agent, which has the wires and may run another file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from agent.cli.common import asked
from agent.core.trial import diagnostic, outline
from agent.errors import BocageError
from agent.model import BusState
from agent.runtime.socket import SocketClient, connect
from drivers.api import BusSpec
from drivers.registry import find

if TYPE_CHECKING:
    from agent.site.models.site import Site

__all__ = ["Beside", "Tried", "owner"]

Tried = tuple[str, bool | None, str]
"""A device or bus, "" for the whole file; whether it works, None if it could not be tried; and why, in words."""


async def owner(agent: SocketClient, bus: BusSpec) -> str | None:
    """Return the agent's name of the bus on this port or host; None if the agent does not have it.

    BocageError if the agent's settings of the line differ from the file's.
    """
    answer = await agent.request({"do": "try", "bus": {**outline(bus), "devices": []}})
    found: str | None = answer["owner"]
    return found


class Beside:
    """Try the file's devices on the agent's buses, and directly on the buses that the agent does not have."""

    def __init__(self, options: argparse.Namespace, site: Site) -> None:
        self._options, self._site = options, site

    async def tried(self) -> list[Tried]:
        """One a device, and one a radio bus. NoAgent if none runs."""
        from agent.cli import direct
        from agent.site import build as wiring

        lines: list[Tried] = []
        alone: list[str] = []
        async with connect(*asked(self._options)) as agent:
            status = await agent.request({"do": "status"})
            if "config" not in status:  # an older agent: it cannot try devices, so its last readings are shown
                return list(self._read_by_agent(status))
            if status["config"]["hash"] != self._site.config_hash:
                lines.append(("", None, "the agent runs another file than this one; this one is tried here"))
            for name, spec in wiring.build_settings(self._site).buses.items():
                if spec.fault:
                    continue  # already reported
                found = await self._bus(agent, spec, status)
                if found is None:
                    alone.append(name)
                else:
                    lines += found
        if alone:
            lines += await direct.try_wires(self._site, alone)
        return lines

    async def _bus(self, agent: SocketClient, spec: BusSpec, status: Mapping[str, Any]) -> list[Tried] | None:
        """Try the devices of a bus. None if the agent does not have that bus."""
        try:
            answer = await agent.request({"do": "try", "bus": outline(spec)})
        except BocageError as error:
            return [(device.name, None, f"not tried: {error}") for device in spec.devices]
        driver = find(spec.type)
        if driver is not None and driver.can_try:
            if answer["owner"] is None:
                return None
            return [(one["name"], one["works"], _by_agent(one["text"]) if one["works"] else one["text"])
                    for one in answer["tried"]]  # fmt: skip
        running = {bus["name"]: bus["type"] for bus in status["buses"]}
        if answer["differs"] is None:
            if running.get(spec.name) != spec.type:
                return None
            names = [spec.name, *(device.name for device in spec.devices)]
            return [(name, None, f"not tried: the agent has another {spec.name}") for name in names]
        unlike = answer["differs"]
        told = [line for line in self._read_by_agent(status, spec.name) if line[0] not in unlike]
        return told + [(name, None, "not tried: the agent does not have it so") for name in unlike]

    def _read_by_agent(self, status: Mapping[str, Any], only: str | None = None) -> Iterator[Tried]:
        """The same, as the agent reads it: all buses, or one."""
        site = self._site
        errors = {bus["name"]: bus["error"] for bus in status["buses"]}
        devices: dict[str, list[dict[str, Any]]] = {}
        for point in status["points"]:
            bus = self._home(point["device"])
            own = point["id"].removeprefix(f"{point['device']}.")
            if bus and only in (None, bus) and not diagnostic(site.buses[bus].type, own):
                devices.setdefault(point["device"], []).append(point)
        for bus in status["buses"]:
            known = site.buses.get(bus["name"])
            if known is not None and known.is_radio and only in (None, bus["name"]):
                yield bus["name"], bus["state"] == BusState.UP, _listening(bus)
        lost = {name for bus in status["buses"] for name in bus.get("lost", ())}
        for name, points in devices.items():
            if site.buses[self._home(name)].is_radio:
                heard = [one["age_s"] for one in points if one["age_s"] is not None and one["value"] is not None]
                said = f"heard by the running agent {min(heard):.0f} s ago" if heard else "listening: nothing heard yet"
                yield name, name not in lost, "silent for three of its intervals" if name in lost else said
                continue
            bad = [point["id"] for point in points if point["quality"] != "good"]
            why = errors.get(self._home(name)) or "the agent cannot read it"
            if bad:
                yield name, False, f"{why} ({', '.join(bad[:3])}{' …' * (len(bad) > 3)})"
            else:
                yield name, True, f"{len(points)} point{'s' * (len(points) > 1)} read by the running agent"

    def _home(self, device: str) -> str:
        """The bus that a device or a pin is on; "" for what is on none."""
        if device in self._site.devices:
            return self._site.devices[device].bus
        name = device.partition(".")[0]
        return name if name in self._site.buses else ""


def _listening(bus: Mapping[str, Any]) -> str:
    """The agent's report of a radio bus; an error of a bus that is up names what is missing there."""
    error = str(bus["error"])
    return error if bus["state"] != BusState.UP else "the running agent listens" + (f", but {error}" if error else "")


def _by_agent(text: str) -> str:
    """`2 points read by the running agent; answers as unit 0, asked as 1`."""
    read, remark, said = text.partition("; ")
    return f"{read} by the running agent{remark}{said}"
