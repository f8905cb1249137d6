"""Rules between the keys of devices: their buses, profiles and times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.lib.suggestion import did_you_mean
from agent.site.checks.names import Checked
from agent.site.language.document import Keys
from agent.site.language.problems import listed
from agent.site.language.values import DURATION
from agent.site.models.bus import BusModel
from agent.site.models.buses import PluginBus
from agent.site.profiles.kinds import kind_of

__all__ = ["check_devices"]


def check_devices(at: Checked) -> None:
    """Check each device with its profile, and that no two of a bus share an address."""
    seen: dict[tuple[str, str, Any], str] = {}
    for name, device in at.site.devices.items():
        keys: Keys = ("devices", name)
        _load_profile(at, name)
        if not at.known((*keys, "bus"), "bus", device.bus, at.names("buses")):
            continue
        bus = at.site.buses.get(device.bus)
        if bus is not None:
            _check_device(at, name, bus)
        for key in (key for options in at.site.bus_types.device_options for key in options.unique):
            value = getattr(device, key)
            if value is None:
                continue
            first = seen.setdefault((device.bus, key, value), name)
            if first != name:
                line = at.line("devices", first)
                at.error((*keys, key), f"{key} {value} is already used by {first} on {device.bus} (line {line})")
    for name in at.site.devices:
        _check_times(at, name)
    for name, bus in at.site.buses.items():
        bus.check_devices(at, name)


def _load_profile(at: Checked, name: str) -> None:
    device = at.site.devices[name]
    bus = at.site.buses.get(device.bus)
    no_profile = bus is not None and not (bus.profile_kind or bus.has_pins or isinstance(bus, PluginBus))
    if device.profile is not None and no_profile and bus is not None:
        text = f"devices of a bus of type {bus.type} have no profile: their points follow from their own keys"
        at.error(("devices", name, "profile"), text, at_key=True)
    if device.profile is None or no_profile:
        points = None if bus is None else bus.points(device)
        device.with_profile(None if points is None else {"name": "", "points": points})
        return
    keys: Keys = ("devices", name, "profile")
    try:
        found = at.library.get(device.profile)
    except KeyError:
        known = at.library.names()
        beside = "write profiles/" + device.profile + ".yaml beside this file"
        is_name = Path(device.profile).name == device.profile
        if not is_name:
            beside = "a profile is a name without a folder: a file in profiles/ beside this file, or one of the package"
        hint = (at.library.nearly(device.profile) if is_name else None) or did_you_mean(device.profile, known) or beside
        at.lacking(keys, f'unknown profile "{device.profile}"', hint)
        return
    if found is None:
        at.lacking(keys, f'profile "{device.profile}" has errors of its own')
        return
    device.with_profile(found)
    if (kind := kind_of(found)) is not None:
        kind.check_device(at, name, found)
    for point in device.points:
        if point not in found["points"]:
            where = ("devices", name, "points", point)
            near = did_you_mean(point, found["points"])
            at.error(where, f'profile {device.profile} has no point "{point}"', near, True)


def _check_device(at: Checked, name: str, bus: BusModel) -> None:
    """The keys that a device may and must have on its bus, and the kind of its profile."""
    device = at.site.devices[name]
    keys: Keys = ("devices", name)
    if bus.has_pins:
        at.error((*keys, "bus"), f"a pin is no device; write {device.bus}.17 in a signal or an actuator")
        return
    if isinstance(bus, PluginBus):
        return
    bus.check_device(at, name)
    for key, family in _foreign(at, bus):
        if at.written(*keys, key):
            at.error((*keys, key), f"{key} is for {family}, and bus {device.bus} is {bus.type}", at_key=True)
    for key in sorted(bus.needs(at, name)):
        if getattr(device, key) is None and not at.wrong(*keys, key):
            at.error(keys, f'"{key}" is missing in {name} (bus {device.bus} is {bus.type})')
    profile = device.profile_data
    if device.profile is None and bus.needs_profile and not at.wrong(*keys, "profile"):
        at.error(keys, f'"profile" is missing in {name}')
    kind = kind_of(profile)
    if kind is not None and bus.profile_kind and bus.profile_kind != kind.section:
        text = f"profile {device.profile} is for {kind.noun}, and bus {device.bus} is {bus.type}"
        at.error((*keys, "profile"), text)
    if device.output_watchdog is not None and not any(options.watches for options in bus.device_options):
        watched = listed([options.family for options in at.site.bus_types.device_options if options.watches])
        text = f"output_watchdog is for {watched}, and bus {device.bus} is {bus.type}"
        at.error((*keys, "output_watchdog"), text, at_key=True)


def _foreign(at: Checked, bus: BusModel) -> Iterator[tuple[str, str]]:
    """The keys of devices that are for other buses, each with the family of those."""
    for options in at.site.bus_types.device_options:
        if options.family and options not in bus.device_options:
            yield from ((key, options.family) for key in options.model_fields)


def _check_times(at: Checked, name: str) -> None:
    device = at.site.devices[name]
    keys: Keys = ("devices", name)
    interval = device.interval
    if device.stale_after is not None and interval is not None and device.stale_after < interval:
        at.error(
            (*keys, "stale_after"),
            f"{name} goes stale after {DURATION.format(device.stale_after)}, before it is read again "
            f"(every {DURATION.format(interval)})",
        )
    publish = device.publish
    if publish.max_silence is not None and publish.every is not None and publish.max_silence < publish.every:
        at.error(
            (*keys, "publish", "max_silence"),
            f"max_silence {DURATION.format(publish.max_silence)} is shorter than "
            f"every {DURATION.format(publish.every)}",
        )
    dog = device.output_watchdog
    if dog is not None and dog < 1:
        at.error((*keys, "output_watchdog"), f"{DURATION.format(dog)} is too little; write at least 1s")
