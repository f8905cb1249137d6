"""A site file as the demo runs it: the same site, on simulated wires, with the demo's broker, and in the demo's hurry.

The copy lies in the demo's folder, with the profiles and calendars that it uses. What is changed: the uplink, the wires
of its buses, and, where time is hurried, how often devices are read and how long outputs and pumps take.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from agent.demo.uplink import HOST
from agent.errors import BocageError, ConfigError
from agent.site.language.document import read
from agent.site.language.values import DURATION
from agent.site.loader import read_copy
from agent.site.models.site import Site

__all__ = ["SiteCopy", "Wires", "dumped"]

_KEPT = ("buffer", "durability_window", "commands")
"""Keys of the uplink that have nothing to do with its broker, and what that costs."""
_TCP = ("modbus_tcp", "modbus_rtu_over_tcp")
_OTHERS = ("gpio", "bocage_site")
"""Types of buses that stay as they are: pins are a mock chip's, and the other site runs beside this one."""
POLL = 0.25
"""Seconds between two polls, at the least: so often a hurried device is read."""
STALE = 30.0
"""Seconds after which a hurried device that says nothing is stale, and with it what it measures."""
FAST_LINE = 115_200
"""Baud of a hurried line."""
PEER = "5s"
"""How often sites tell each other what they know, in a hurry: the least that there is."""
ANSWER = 3.0
"""Seconds within which a device has surely answered: at a hurried pace that is minutes of the controls' time."""
FASTEST_PULSE = 0.005
"""Seconds: the debounce of a hurried meter."""


@dataclass(frozen=True, slots=True)
class Wires:
    """Where the copy's wires end: the ports of the link and of each Modbus TCP host, the pseudo-terminal of a line."""

    link: int
    hosts: Mapping[str, int]
    line: Callable[[str], Path]


class SiteCopy:
    """A site file that was read, and its copy for a demo. BocageError if it is wrong, or has buses that no demo has."""

    def __init__(self, path: Path) -> None:
        copy = read_copy(path)
        if copy.site is None or copy.wrong:
            first = next((problem for problem in copy.problems if problem.is_fatal), None)
            raise ConfigError([str(problem) for problem in copy.problems], first)
        self.site: Site = copy.site
        self.files = {name: content for name, content in copy.files.items() if name != "site.yaml"}
        self._path, self._data = path, read(path).data
        types = {name: bus.type for name, bus in self.site.buses.items()}
        for name, kind in types.items():
            if kind not in ("modbus_rtu", *_TCP, *_OTHERS):
                raise BocageError(
                    f"the demo has no devices for the bus {name} ({kind}): it simulates Modbus, GPIO and other sites"
                )
        self.hosts = [name for name, kind in types.items() if kind in _TCP]
        self.peers = [name for name, kind in types.items() if kind == "bocage_site"]
        self.lines = [name for name, kind in types.items() if kind == "modbus_rtu"]

    def text(self, wires: Wires, speed: float, wired: bool = True) -> str:
        """The site file for these wires at this speed; not `wired`, that of an agent that only delivers."""
        data: dict[str, Any] = {key: value for key, value in self._data.items() if wired or key in ("version", "site")}
        old = self._data.get("uplink") or {}
        kept = {key: old[key] for key in _KEPT if key in old}
        data["uplink"] = {"url": f"mqtt://{HOST}:{wires.link}", "protocol": "3.1.1", **kept}
        if not wired:
            data["uplink"].pop("commands", None)
            return dumped(data)
        data["buses"] = {name: self._bus(name, bus, wires, speed) for name, bus in self._data.get("buses", {}).items()}
        said = f"# {self._path.name} as `bocage demo --site` runs it: its uplink and wires are the demo's.\n"
        said += "# It is written anew at each start: edit the original.\n"
        if speed != 1:
            data |= self._hurried(speed)
            said += f"# At {speed:g} times the speed: devices are read often, limits of outputs are short.\n"
        return said + dumped(data)

    def baudrate(self, line: str, speed: float) -> int:
        """The speed of a line, which reads as often as its hurried devices ask."""
        own: int = self.site.buses[line].baudrate  # type: ignore[attr-defined]
        return own if speed == 1 else max(own, FAST_LINE)

    def _bus(self, name: str, bus: Mapping[str, Any], wires: Wires, speed: float) -> dict[str, Any]:
        if name in self.hosts:
            return {"type": "modbus_tcp", "host": HOST, "port": wires.hosts[name]}
        if name in self.lines:
            return {**bus, "port": str(wires.line(name)), "baudrate": self.baudrate(name, speed)}
        kept = {key: value for key, value in bus.items() if key in ("type", "site", "every")}
        return kept if speed == 1 or name not in self.peers else {**kept, "every": PEER}

    def _hurried(self, speed: float) -> dict[str, Any]:
        """The sections with times that a hurried village has no patience for."""
        found = {
            "devices": {
                name: self._device(name, device, speed) for name, device in (self._data.get("devices") or {}).items()
            },
            "signals": {
                name: self._signal(name, one, speed) for name, one in (self._data.get("signals") or {}).items()
            },
            "actuators": {
                name: self._actuator(name, one, speed) for name, one in (self._data.get("actuators") or {}).items()
            },
        }
        if water := self._data.get("water"):
            found["water"] = _patient(water, ANSWER * speed)
        return found

    def _device(self, name: str, device: Mapping[str, Any], speed: float) -> dict[str, Any]:
        own = self.site.devices[name]
        if own.bus not in (*self.hosts, *self.lines):
            return dict(device)
        poll = min(own.period, max(POLL, own.period / speed))
        return {**device, "poll": _span(poll), "stale_after": _span(STALE)} | (
            {"points": {point: {**keys, "poll": _span(poll)} for point, keys in device["points"].items()}}
            if device.get("points")
            else {}
        )

    def _signal(self, name: str, signal: Mapping[str, Any], speed: float) -> dict[str, Any]:
        changed = {key: value for key, value in signal.items() if key != "max_rate"}
        own = self.site.signals[name]
        source = own.from_.partition(".")[0]
        bus, device = self.site.buses.get(source), self.site.devices.get(source)
        if device is not None and device.bus in (*self.hosts, *self.lines) and (own.stale_after or 0.0) > STALE:
            del changed["stale_after"]
        counts = own.kind == "counter" and bus is not None and bus.has_pins
        if own.debounce or (own.debounce is None and counts):
            changed["debounce"] = _span(FASTEST_PULSE)
        if own.kind == "counter":
            changed["max_rate"] = f"{1000 * speed:.0f} m3/h" if signal.get("unit") in ("L", "m3") else f"{speed:.0f} MW"
        return changed

    def _actuator(self, name: str, actuator: Mapping[str, Any], speed: float) -> dict[str, Any]:
        own, found = self.site.actuators[name], dict(actuator)
        device = self.site.devices.get(own.output.partition(".")[0])
        if device is not None and device.bus in self.peers:
            return found  # its limits are those of the other site
        for key in ("min_on", "min_off", "max_on", "travel"):
            usual = {"min_on": _LIMIT, "min_off": _LIMIT}.get(key) if own.kind == "relay" else None
            value = getattr(own, key) or usual
            if value is not None:
                found[key] = _span(max(0.1, value / speed))
        found["max_starts_per_hour"] = min(3600, round((own.max_starts_per_hour or 60) * speed))
        return {key: value for key, value in found.items() if key != "exercise"}


_LIMIT = 60.0
"""Seconds on and off at the least of an output without limits of its own: services have some of theirs."""
_PATIENCE = {"standby_after": 60.0, "grace": 15.0, "no_flow": 30.0, "float_run": 120.0}
"""Times of pumps within which a device must have answered, with their defaults."""


def _patient(section: Any, least: float, name: str = "") -> Any:
    """A section, of this name, whose pumps wait at least so many seconds for what devices say."""
    if isinstance(section, list):
        return [_patient(one, least, name) for one in section]
    if not isinstance(section, dict):
        return section
    found = {key: _patient(value, least, key) for key, value in section.items()}
    if "pumps" in found:
        found.setdefault("standby_after", None)
    if name == "dry_run":
        found = {**dict.fromkeys(("grace", "no_flow")), **found}
    for key in found.keys() & _PATIENCE.keys():
        seconds = _PATIENCE[key] if found[key] is None else float(DURATION.parse(found[key]))
        found[key] = _span(max(seconds, least))
    return found


def _span(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms" if seconds < 10 else f"{round(seconds)}s"


def dumped(data: Mapping[str, Any]) -> str:
    """YAML of plain data, in its order."""
    yaml: Any = YAML(typ="safe", pure=True)
    out = io.StringIO()
    yaml.default_flow_style, yaml.width, yaml.allow_unicode = None, 110, True
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump(dict(data), out)
    return out.getvalue()
