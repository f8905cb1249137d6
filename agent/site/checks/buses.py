"""Rules between the keys of buses: their drivers, wires and ports."""

from __future__ import annotations

import re

from agent.site.checks.mistakes import check_host, check_timeout
from agent.site.checks.names import Checked
from agent.site.models.bus import BusModel
from drivers.registry import is_driven

__all__ = ["check_buses", "check_drivers"]

_BARE = re.compile(r"/dev/tty(USB|ACM)[0-9]+$")


def check_buses(at: Checked) -> None:
    """Check each bus, and that no two share a wire."""
    wires: dict[str, str] = {}
    for name, bus in at.site.buses.items():
        if not is_driven(bus.type):
            words = f"{bus.type} is not driven yet: nothing is read or written on {name}, the rest of the site runs"
            at.warn(("buses", name, "type"), words)
        bus.check(at, name)
        _check_port(at, name, bus)
        if bus.wire is None:
            continue
        wire, key = bus.wire
        if wire in wires:
            first = wires[wire]
            at.error(
                ("buses", name, key), f"{wire} is already used by bus {first} (line {at.line('buses', first)})"
            )  # fmt: skip
        wires.setdefault(wire, name)


def check_drivers(at: Checked) -> None:
    """Report the buses whose driver, of another distribution, cannot be used; some of them fail in a rule only."""
    faults = at.site.bus_types.faults
    for device in at.site.devices.values() if at.site.bus_types.foreign else ():
        if (home := at.site.buses.get(device.bus)) is not None:
            home.address(device), home.options(device)  # what the translation will ask
    for name, bus in at.site.buses.items():
        if why := faults.get(bus.type):
            words = f"the driver of {bus.type} cannot be used: {why}; {name} is down, the rest of the site runs"
            at.unusable(("buses", name, "type"), words)


def _check_port(at: Checked, name: str, bus: BusModel) -> None:
    """The keys `port`, `host` and `timeout` mean the same on every bus."""
    port, host = getattr(bus, "port", None), getattr(bus, "host", None)
    if "timeout" in type(bus).model_fields:
        check_timeout(at, name, bus.timeout)  # type: ignore[attr-defined]
    if isinstance(port, str) and _BARE.match(port):
        at.warn(
            ("buses", name, "port"),
            f"{port} may be another adapter after the next start; write its name in /dev/serial/by-id or by-path",
        )
    if host is not None and not isinstance(port, str):
        check_host(at, name, host)
