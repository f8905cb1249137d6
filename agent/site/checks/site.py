"""What must hold between keys: references, wires, outputs, times. Each check reports at the value that is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from agent.control.calendar import DAY, PREPARED, Calendar, names
from agent.lib.suggestion import did_you_mean
from agent.site.checks.brokers import check_url
from agent.site.checks.mistakes import check_host, check_place, check_timeout, check_unit
from agent.site.checks.names import Checked, Pin, PointRef
from agent.site.checks.signal_units import check_units
from agent.site.language.document import Document, Keys
from agent.site.language.problems import listed
from agent.site.language.values import DURATION, Rate, number
from agent.site.models.bus import BusModel
from agent.site.models.buses import PluginBus
from agent.site.models.signals import ENERGIES, VOLUMES
from agent.site.models.site import Site
from agent.site.profiles.kinds import kind_of
from agent.site.profiles.model import Library
from drivers.registry import is_driven

__all__ = ["check_site"]

_BARE = re.compile(r"/dev/tty(USB|ACM)[0-9]+$")
_CURRENTS = {"uA", "mA", "A"}


def check_site(document: Document, site: Site, left_out: set[Keys], library: Library) -> None:
    """Report everything that the models by themselves cannot see."""
    at = Checked(document, site, left_out, library)
    _check_uplink(at)
    _check_buses(at)
    _check_devices(at)
    check_place(at)
    for index, name in enumerate((site.uplink and site.uplink.commands.allow) or ()):  # points are known by now
        _check_allowed(at, ("uplink", "commands", "allow", index), name)
    _check_names(at)
    for name in site.signals:
        _check_signal(at, name)
    for name in site.actuators:
        _check_actuator(at, name)
    _check_outputs(at)
    for index, name in enumerate(site.privacy.personal):
        at.known(("privacy", "personal", index), "device or signal", name, at.names("devices") | at.names("signals"))
    _check_privacy(at)
    _check_feasts(at)
    _check_school(at)
    for service, section in site.services():
        service.rules.check(at, section)
    for name in site.signals:
        check_unit(at, name)
    at.report_unknown()


def _check_feasts(at: Checked) -> None:
    """What is left out must be there."""
    info = at.site.site
    if not info.no_holidays or at.wrong("site", "public_holidays"):
        return
    country = Calendar(public=info.public_holidays)
    days = [date(PREPARED.start, 1, 1) + number * DAY for number in range(len(PREPARED) * 365)]
    known = frozenset[str]().union(*(names(day) for day in days if country.is_public_holiday(day)))
    for index, feast in enumerate(info.no_holidays):
        if feast not in known:
            at.warn(("site", "no_holidays", index), f"{feast} is no public holiday of {info.public_holidays} anyway")


def _check_school(at: Checked) -> None:
    """Zones A, B and C are those of the mainland: overseas each académie has a calendar of its own."""
    info = at.site.site
    if info.school_zone is not None and not info.timezone.startswith("Europe/"):
        at.warn(
            ("site", "school_zone"),
            f"the calendar of the school holidays in {info.timezone} is missing: {info.school_zone} is a zone of the "
            "mainland, its holidays are on other days",
            "leave it out: the days without school are ordinary ones then",
        )


def _check_privacy(at: Checked) -> None:
    """A promise that is not kept is refused: what is personal is not published at any step."""
    personal = [name for name, device in at.site.devices.items() if device.personal] + list(at.site.privacy.personal)
    if personal and at.written("privacy", "publish_step"):
        text = f"what is personal ({', '.join(personal)}) stays on the gateway, at every step; leave publish_step out"
        at.error(("privacy", "publish_step"), text)


def _check_uplink(at: Checked) -> None:
    up = at.site.uplink
    if up is None:
        if not at.wrong("uplink") and at.document.value(("uplink",)) is None:
            at.warn((), 'no "uplink": readings stay on the gateway')
        return
    check_url(at, ("uplink", "url"), up.url, up)
    for index, url in enumerate(up.fallback):
        check_url(at, ("uplink", "fallback", index), url, up)
    files = [key for key in ("ca", "cert", "key") if getattr(up, key) is not None]
    if files and not up.tls and not at.wrong("uplink", "url"):
        at.error(("uplink", files[0]), f"{files[0]} is for TLS, and the address begins with mqtt://; write mqtts://")
    if (up.cert is None) != (up.key is None) and not (at.wrong("uplink", "cert") or at.wrong("uplink", "key")):
        have, want = ("cert", "key") if up.key is None else ("key", "cert")
        at.error(("uplink", have), f'{have} without {want}: "{want}" is missing in uplink')
    if up.password is not None and up.username is None and not at.wrong("uplink", "username"):
        at.error(("uplink", "password"), 'a password without a user: "username" is missing in uplink')


def _check_allowed(at: Checked, keys: Keys, name: str) -> None:
    """A name that no command could ever mean is a slip; patterns, alarms, latches and indexes are taken as written."""
    actuators = at.names("actuators")
    others = name.startswith("alarm.") or name.endswith((".latch", ".baseline", ".index"))
    if "*" in name and name.endswith(".index"):
        at.warn(keys, f"{name} means no index", "name each one that a command may set")
    if "*" in name or name in actuators or others:
        return
    if "." not in name:
        at.known(keys, "actuator", name, actuators)
        return
    point = at.point(keys, name)
    if isinstance(point, PointRef) and not point.data.get("writable"):
        at.error(keys, f"{name} is read only: nothing can be commanded there")


# -- buses and devices ---------------------------------------------------------------------------------------------


def _check_buses(at: Checked) -> None:
    wires: dict[str, str] = {}
    for name, bus in at.site.buses.items():
        if why := at.site.bus_types.faults.get(bus.type):
            words = f"the driver of {bus.type} cannot be used: {why}; {name} is down, the rest of the site runs"
            at.unusable(("buses", name, "type"), words)
        elif not is_driven(bus.type):
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


def _check_devices(at: Checked) -> None:
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
    if device.profile is None:
        bus = at.site.buses.get(device.bus)
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
    if kind is not None and bus.profile_kind not in ("", kind.section):
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


def _check_names(at: Checked) -> None:
    """A point is named by its signal, its actuator or its device: each of these names is used once."""
    first: dict[str, tuple[str, str]] = {}
    for section, one in (("devices", "device"), ("signals", "signal"), ("actuators", "actuator")):
        for name in sorted(at.names(section)):
            if name in ("signals", "actuators") or (section, name) == ("devices", "store"):
                at.error((section, name), f'"{name}" is a topic of its own; take another name', at_key=True)
            if name in first:
                other, of = first[name]
                line = at.line(other, name)
                at.error((section, name), f'"{name}" is already the name of a {of} (line {line})', at_key=True)
            first.setdefault(name, (section, one))
    for name, bus in at.site.buses.items():
        if bus.has_pins and name in at.names("devices"):
            line = at.line("buses", name)
            at.error(("devices", name), f'"{name}" is already the name of the pins (line {line})', at_key=True)


# -- signals -------------------------------------------------------------------------------------------------------


def _check_signal(at: Checked, name: str) -> None:
    signal = at.site.signals[name]
    keys: Keys = ("signals", name)
    source = at.point((*keys, "from"), signal.from_)
    counter = signal.kind == "counter"
    if signal.signal is None and isinstance(signal.scale, tuple) and not at.wrong(*keys, "signal"):
        at.error((*keys, "scale"), 'two ends go with "signal: 4-20mA"; without it write a factor')
    if signal.signal is not None and not isinstance(signal.scale, tuple) and not at.wrong(*keys, "scale"):
        at.error((*keys, "scale"), "4-20mA needs scale: what 4 mA and 20 mA mean, such as [0, 100]")
    if signal.signal is not None and at.written(*keys, "offset"):
        at.error((*keys, "offset"), "offset does not go with 4-20mA; write it into scale", at_key=True)
    if signal.signal is not None and counter:
        at.error((*keys, "signal"), "a counter is no current; write one of signal and kind: counter", at_key=True)
    for key in ("per_pulse", "initial_index", "rollover"):
        if at.written(*keys, key) and not counter and not at.wrong(*keys, "kind"):
            at.error((*keys, key), f'"{key}" is for counters; write kind: counter as well', at_key=True)
    if counter and isinstance(signal.scale, float) and signal.scale != 1:
        at.error((*keys, "scale"), "a counter has no scale; per_pulse says how much one count is", at_key=True)
    if counter and signal.offset:
        at.error((*keys, "offset"), "a counter has no offset; initial_index says what its dial shows", at_key=True)
    _check_max_rate(at, name, source)
    if isinstance(source, PointRef):
        _check_point_signal(at, name, source)
    if isinstance(source, Pin):
        _check_pin_signal(at, name)


def _check_max_rate(at: Checked, name: str, source: Any) -> None:
    """A flow bounds a counter of water, a power one of energy, a plain rate anything."""
    signal = at.site.signals[name]
    rate = signal.max_rate
    keys: Keys = ("signals", name, "max_rate")
    if not isinstance(rate, Rate) or at.wrong("signals", name, "kind"):
        return
    noun, units = ("a flow", VOLUMES) if rate.of == "L/h" else ("a power", ENERGIES)
    unit = signal.unit or (source.data["unit"] if isinstance(source, PointRef) else "") or ""
    if signal.kind != "counter":
        at.error(keys, f"{noun} bounds a counter, and {name} is none; write how fast it may change, such as 5/min")
    elif unit not in units:
        better = "5 m3/h" if unit in VOLUMES else "40 kW" if unit in ENERGIES else "60/h"
        at.error(keys, f"{noun} bounds a counter in {listed(units)}; {name} is in {unit or 'no unit'}: write {better}")


def _check_point_signal(at: Checked, name: str, source: PointRef) -> None:
    signal = at.site.signals[name]
    keys: Keys = ("signals", name)
    for key in ("debounce", "pull", "active"):
        if at.written(*keys, key):
            at.error((*keys, key), f'"{key}" is for pins, and {signal.from_} is none', at_key=True)
    unit = source.data["unit"]
    if unit in ENERGIES and signal.unit in VOLUMES:
        at.error((*keys, "unit"), f"{signal.from_} is an energy, in {unit}: no factor makes {signal.unit} of it")
    check_units(at, name, source)
    if signal.signal is not None and unit not in _CURRENTS:
        at.error(
            (*keys, "signal"), f"{signal.from_} is in {unit or 'no unit'}; a 4-20mA source is in uA or mA"
        )  # fmt: skip
    interval = at.site.devices[source.device].point_interval(source.point)
    if signal.stale_after is not None and interval is not None and signal.stale_after < interval:
        at.error(
            (*keys, "stale_after"),
            f"{name} goes stale after {DURATION.format(signal.stale_after)}, before {source.device} is read again "
            f"(every {DURATION.format(interval)}, line {at.line('devices', source.device)})",
        )


def _check_pin_signal(at: Checked, name: str) -> None:
    signal = at.site.signals[name]
    keys: Keys = ("signals", name)
    if signal.signal is not None:
        at.error((*keys, "signal"), f"{signal.from_} is a pin: it measures no current", at_key=True)
    if signal.kind == "telemetry":
        at.error((*keys, "kind"), f"{signal.from_} is a pin; write state or counter")
    if signal.kind != "counter" and at.written(*keys, "scale"):
        at.error((*keys, "scale"), f"{signal.from_} is on or off; it has no scale", at_key=True)


# -- actuators -----------------------------------------------------------------------------------------------------


def _check_actuator(at: Checked, name: str) -> None:
    actuator = at.site.actuators[name]
    keys: Keys = ("actuators", name)
    output = at.point((*keys, "output"), actuator.output)
    if actuator.feedback is not None:
        at.contact((*keys, "feedback"), actuator.feedback)
    if actuator.feedback == actuator.output:
        at.error((*keys, "feedback"), f"{actuator.feedback} is the output itself; its read-back is checked anyway")
    if isinstance(output, PointRef):
        _check_device_output(at, name, output)
    if isinstance(output, Pin):
        at.site.buses[output.bus].check_pin(at, name, output.number)
    elif output is not None:
        _check_refresh(at, name, output)
        for key in ("active", "override"):
            if at.written(*keys, key):
                at.error((*keys, key), f'"{key}" is for pins, and {actuator.output} is none', at_key=True)
    _check_stands(at, name)
    _check_limits(at, name)


def _check_refresh(at: Checked, name: str, output: PointRef) -> None:
    actuator, device = at.site.actuators[name], at.site.devices[output.device]
    keys: Keys = ("actuators", name, "refresh")
    if actuator.refresh is None:
        return
    often, bus = DURATION.format(actuator.refresh), at.site.buses.get(device.bus)
    if actuator.fallback_after is not None:
        line = at.line("actuators", name, "fallback_after")
        at.error(keys, f"fallback_after (line {line}) says already when it is written again; write one of the two")
    elif actuator.refresh < 1:
        at.error(keys, f"{often} is too often: refresh must be at least 1 s")
    elif bus is not None:
        bus.check_refresh(at, name, output)


def _check_device_output(at: Checked, name: str, output: PointRef) -> None:
    actuator = at.site.actuators[name]
    keys: Keys = ("actuators", name)
    if not output.data["writable"]:
        at.error((*keys, "output"), f"{actuator.output} cannot be written (profile of {output.device})")
    if actuator.kind == "relay":  # a word that is read back never tells that it did not move
        at.contact((*keys, "output"), actuator.output)
    if output.data.get("moves"):
        relay = f"{output.device}.{output.data['moves']}"
        at.error((*keys, "output"), f"{actuator.output} moves {relay} for a moment and holds nothing; write {relay}")
    bus = at.site.buses.get(at.site.devices[output.device].bus)
    if bus is not None:
        bus.check_output(at, name, output)
    dog = at.site.devices[output.device].output_watchdog
    if dog is None or actuator.safe_state == "off" or (actuator.kind, type(actuator.safe_state)) == ("relay", float):
        return
    must = {"hold": "hold its state", "on": "stay on"}.get(str(actuator.safe_state), f"go to {actuator.safe_state} %")
    where = (*keys, "safe_state") if at.written(*keys, "safe_state") else (*keys, "output")
    at.error(
        where,
        f"{name} ({actuator.output}) must {must} on failure, but {output.device} drops its outputs after "
        f"{DURATION.format(dog)} (output_watchdog, line {at.line('devices', output.device, 'output_watchdog')})",
    )


def _check_stands(at: Checked, name: str) -> None:
    """A relay is on or off, a level has a level."""
    actuator = at.site.actuators[name]
    keys: Keys = ("actuators", name)
    if actuator.kind == "relay":
        for key in ("safe_state", "boot_state", "stop_state"):
            value = getattr(actuator, key)
            if isinstance(value, float) and at.written(*keys, key):
                at.error((*keys, key), f"{number(value)} is a level, and {name} is a relay; write on or off")
        if actuator.failure_level is not None:
            at.error((*keys, "failure_level"), '"failure_level" is for kind: level', at_key=True)
    if actuator.stop_state == "recompute":
        at.error((*keys, "stop_state"), "nothing computes after a stop; write on, off or hold")


def _check_limits(at: Checked, name: str) -> None:
    actuator = at.site.actuators[name]
    keys: Keys = ("actuators", name)
    if actuator.max_on is not None and actuator.min_on is not None and actuator.max_on < actuator.min_on:
        at.error(
            (*keys, "max_on"),
            f"max_on {DURATION.format(actuator.max_on)} is shorter than min_on {DURATION.format(actuator.min_on)}",
        )
    exercise = actuator.exercise
    if exercise is None:
        return
    if exercise.run >= exercise.every:
        at.error(
            (*keys, "exercise", "run"),
            f"run {DURATION.format(exercise.run)} is not shorter than every {DURATION.format(exercise.every)}",
        )
    if actuator.max_on is not None and exercise.run > actuator.max_on:
        at.error((*keys, "exercise", "run"), f"run is longer than max_on {DURATION.format(actuator.max_on)}")


def _check_outputs(at: Checked) -> None:
    """An output has one actuator, a pin one use."""
    used: dict[str, tuple[str, str]] = {}
    for name, actuator in at.site.actuators.items():
        first = used.setdefault(actuator.output, ("actuators", name))
        if first != ("actuators", name):
            at.error(
                ("actuators", name, "output"),
                f"{actuator.output} is already the output of {first[1]} (line {at.line(*first)})",
            )
    pins = {f"{name}." for name, bus in at.site.buses.items() if bus.has_pins}
    for name, signal in at.site.signals.items():
        if any(signal.from_.startswith(prefix) for prefix in pins):
            first = used.setdefault(signal.from_, ("signals", name))
            if first != ("signals", name):
                at.error(
                    ("signals", name, "from"), f"{signal.from_} is already used by {first[1]} (line {at.line(*first)})"
                )  # fmt: skip
