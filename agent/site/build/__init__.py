"""The site file as the parts want it: a pure translation of the checked models into `Settings`.

As a program (`python -m agent.site.build SITE.yaml`) it is the child that reads the file for the agent: what it found,
the `Settings` and all that is wrong, goes pickled to its standard output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.control.api import Control, Discreet, Metered, Telling
from agent.control.calendar_watch import CalendarWatch
from agent.core.actuator_spec import ActuatorSpec
from agent.core.hub import Policy
from agent.core.signals import Signal
from agent.settings import Buffer, Settings
from agent.site.build.calendars import sources, weekly_times
from agent.site.build.counters import digit, is_wide, least_between, max_rate, modulus, profile_point
from agent.site.build.defaults import ActuatorDefaults, WrittenPoint
from agent.site.build.peers import peer_buses, peer_controls, peer_policies
from agent.site.language.ports import broker
from agent.site.models import signals as config
from agent.site.models.buses import Bus
from agent.site.models.site import Site
from agent.uplink.settings import BrokerAddress, UplinkSettings
from drivers.api import BusSpec, DeviceSpec
from drivers.registry import is_driven

__all__ = ["build_settings", "controls", "written_points"]

STALE_POLLS = 3
"""A value is stale after this many of its polls, unless the site file says otherwise."""
REFRESH = 0.4
"""The part of a node's `fallback_after` after which it is written again, before half of the time is over."""
PIN_POLL = 10.0
"""Seconds between two looks at a pin when no edge comes."""
_MILLIAMPERES = {"uA": 0.001, "mA": 1.0, "A": 1000.0}


def build_settings(site: Site) -> Settings:
    """Everything that runs, of a site that was checked."""
    buses, calendars = _buses(site), tuple(sources(site))
    rules = [*controls(site), *(CalendarWatch(one.name) for one in calendars)]
    withheld = _withheld(site, rules)
    with_pins = {name for name, bus in site.buses.items() if bus.has_pins}
    pins = {device.name for name in with_pins & buses.keys() for device in buses[name].devices}
    return Settings(
        site=site.site.id,
        name=site.site.name,
        timezone=site.site.timezone,
        trust=site.clock.trust,
        config_hash=site.config_hash,
        buffer=_buffer(site),
        uplink=_uplink(site),
        buses=buses,
        idle_buses=tuple(_idle_buses(site)),
        not_driven=tuple(_not_driven(site)),
        signals=tuple(_signal(site, name, settings) for name, settings in site.signals.items()),
        policies=_policies(site, withheld),
        actuators=(*_actuators(site), *map(_of_point, written_points(site))),
        controls=tuple(rules),
        calendars=weekly_times(site),
        calendar_sources=calendars,
        stale_after={**dict(_stale_after(site)), **dict.fromkeys(pins, STALE_POLLS * PIN_POLL)},
        pins=frozenset(pins),
        personal=frozenset(withheld),
    )


def controls(site: Site) -> list[Control[Any]]:
    """The controls of the services that the site has, in the order of the file's sections; then those of its peers."""
    written = [(service, section) for service, section in site.services() if _is_written(section)]
    served = [control for service, section in written for control in service.build.controls(site, section)]
    return [*served, *peer_controls(site)]


def _is_written(section: Any) -> bool:
    """Whether the file has something in a service's section."""
    return bool(section if isinstance(section, dict) else section.model_fields_set)


def _actuator_defaults(site: Site) -> dict[str, ActuatorDefaults]:
    found: dict[str, ActuatorDefaults] = {}
    for service, section in site.services():
        defaults = getattr(service.build, "actuator_defaults", None)
        found |= defaults(section) if defaults is not None else {}
    return found


def written_points(site: Site) -> list[WrittenPoint]:
    """The points that services write as they stand."""
    found: list[WrittenPoint] = []
    for service, section in site.services():
        points = getattr(service.build, "written_points", None)
        found += points(site, section) if points is not None else ()
    return found


def _of_point(one: WrittenPoint) -> ActuatorSpec:
    """A device that wants to be refreshed goes back to its own program where its control is lost; another one keeps
    what was written."""
    return ActuatorSpec(
        one.point, one.point, kind="level", safe_state="hold", low=one.low, high=one.high, refresh=one.refresh
    )


def _buffer(site: Site) -> Buffer:
    uplink, audit_days = site.uplink, site.privacy.log_retention / 86400
    if uplink is None:
        return Buffer(audit_days=audit_days)
    return Buffer(uplink.durability_window, uplink.buffer.days, uplink.buffer.max, audit_days)


def _not_driven(site: Site) -> list[str]:
    buses = [f"bus {name} ({bus.type})" for name, bus in site.buses.items() if not is_driven(bus.type)]
    personal = [f"the daily index of {name} (personal)" for name in sorted(_personal(site))]
    return [*buses, *personal]


def _idle_buses(site: Site) -> Iterator[dict[str, Any]]:
    for name, bus in site.buses.items():
        if not is_driven(bus.type):
            yield {"name": name, "type": bus.type, "state": "not driven yet", "load": 0.0, "error": ""}


def _buses(site: Site) -> dict[str, BusSpec]:
    """The buses that have a driver, with their devices; a bus with pins has those as its devices."""
    specs = {}
    for name, bus in site.buses.items():
        if not is_driven(bus.type):
            continue
        devices = tuple(_pins(site, name) if bus.has_pins else _devices(site, name))
        fault = site.bus_types.faults.get(bus.type, "")  # by now: what was asked of the bus may have failed
        specs[name] = BusSpec(name, bus.type, dict(_options(site, bus)), devices, fault)
    return peer_buses(site, specs)


def _options(site: Site, bus: Bus) -> Iterator[tuple[str, Any]]:
    """The keys of a bus as its driver wants them: secrets still sealed, files with their folder."""
    for key in (*type(bus).model_fields, *(bus.model_extra or {})):
        value = getattr(bus, key)
        if key != "type" and value is not None:
            yield key, _beside(site, value) if isinstance(value, Path) else value


def _policies(site: Site, withheld: set[str]) -> dict[str, Policy]:
    """Report by exception, by device or by point. A pin that counts is for its signal alone."""
    found = {}
    for name, device in site.devices.items():
        publish = device.publish
        if publish.model_fields_set:
            deadband = publish.deadband
            policy = Policy(
                every=publish.every or 0.0,
                poll=device.interval or 0.0,
                is_polled=device.is_polled,
                deadband=deadband.amount if deadband and not deadband.relative else 0.0,
                deadband_percent=deadband.amount if deadband and deadband.relative else 0.0,
                max_silence=publish.max_silence or Policy().max_silence,
            )
            found[name] = policy
            for point in (device.profile_data or {}).get("points", {}):
                own = device.point_interval(point) or 0.0
                if own != policy.poll:
                    found[f"{name}.{point}"] = replace(policy, poll=own)
    for signal in site.signals.values():
        if signal.kind == "counter" and _is_pin(site, signal.from_):
            found[signal.from_] = Policy(local=True)
    found = {name: policy for name, policy in found.items() if withheld.isdisjoint(_names(name))}
    return found | peer_policies(site) | dict.fromkeys(withheld, Policy(local=True))


def _actuators(site: Site) -> list[ActuatorSpec]:
    """The actuators, each with the output watchdog of the device it hangs on."""
    specs, defaults = [], _actuator_defaults(site)
    for name, settings in site.actuators.items():
        device = site.devices.get(settings.output.partition(".")[0])
        point = profile_point(site, settings.output)
        usual = defaults.get(name, ActuatorDefaults())
        specs.append(
            ActuatorSpec(
                name,
                settings.output,
                kind=settings.kind,
                feedback=settings.feedback,
                safe_state=_level(settings.safe_state),
                boot_state=_level(settings.boot_state),
                stop_state=_level(settings.stop_state),
                min_on=usual.min_on if settings.min_on is None else settings.min_on,
                min_off=usual.min_off if settings.min_off is None else settings.min_off,
                max_on=settings.max_on,
                max_starts_per_hour=settings.max_starts_per_hour or usual.max_starts_per_hour,
                back_is_no_start=usual.back_is_no_start,
                travel=settings.travel or 0.0,
                fail=settings.fail,
                low=point.get("low"),
                high=point.get("high"),
                output_watchdog=device.output_watchdog if device else None,
                refresh=settings.refresh if settings.fallback_after is None else REFRESH * settings.fallback_after,
                stagger=usual.stagger,
                stagger_group=usual.stagger_group,
            )
        )
    return specs


def _uplink(site: Site) -> UplinkSettings | None:
    """The broker; None for a site without an uplink."""
    uplink = site.uplink
    if uplink is None:
        return None
    return UplinkSettings(
        host=uplink.host,
        port=uplink.port,
        tls=uplink.tls,
        prefix=uplink.prefix,
        protocol=uplink.protocol,
        username=uplink.username,
        password=uplink.password,
        ca=_beside(site, uplink.ca),
        cert=_beside(site, uplink.cert),
        key=_beside(site, uplink.key),
        keepalive=uplink.keepalive,
        min_interval=uplink.min_interval,
        state_interval=uplink.state_interval,
        session_expiry=uplink.session_expiry,
        max_message=uplink.max_message,
        fallback=tuple(BrokerAddress(*broker(url)) for url in uplink.fallback),
        allow=uplink.commands.allow,
        client_id=uplink.client_id or f"bocage-{site.site.id}",
        compress=uplink.compress,
    )


def _devices(site: Site, bus: str) -> Iterator[DeviceSpec]:
    for name, device in site.devices.items():
        if device.bus != bus:
            continue
        yield DeviceSpec(
            name,
            site.buses[bus].address(device),
            device.profile_data,
            device.period,
            {point: own.poll for point, own in device.points.items() if own.poll is not None},
            device.output_watchdog,
            site.buses[bus].options(device),
        )


def _pins(site: Site, bus: str) -> Iterator[DeviceSpec]:
    """The pins that the site file names, by what it wants of each: relays, counters, and inputs for all else."""
    options: dict[str, dict[str, Any]] = {}
    for signal in site.signals.values():
        counts = signal.kind == "counter"
        options[signal.from_] = {
            "role": "counter" if counts else "input",
            "debounce": signal.debounce if signal.debounce is not None else (0.02 if counts else 0.0),
            "pull": signal.pull,
            "active_high": None if signal.active is None else signal.active == "high",
            "least_between": least_between(signal) if counts else 0.0,
        }
    for actuator in site.actuators.values():
        options[actuator.output] = {"role": "relay", "active_high": actuator.active == "high"}
        if actuator.feedback is not None:
            options.setdefault(actuator.feedback, {"role": "input", "debounce": 0.02})
    for reference, wanted in options.items():
        home, _, pin = reference.partition(".")
        if home == bus:
            yield DeviceSpec(reference, {"pin": int(pin)}, poll=PIN_POLL, options=wanted)


def _signal(site: Site, name: str, settings: config.SignalConfig) -> Signal:
    source = profile_point(site, settings.from_)
    counts = settings.kind == "counter"
    scale = settings.scale
    if not isinstance(scale, tuple):
        scale = (1.0 if scale is None else scale, settings.offset)
    register = counts and not _is_pin(site, settings.from_)
    unit = settings.unit or ("" if settings.signal else source.get("unit") or "")
    return Signal(
        name,
        settings.from_,
        unit=unit,
        current=_MILLIAMPERES.get(source.get("unit") or "", 1.0) if settings.signal else None,
        scale=scale,
        valid=settings.valid,
        max_rate=max_rate(settings, unit),
        stale_after=settings.stale_after,
        per_pulse=(settings.per_pulse or 1.0) if counts else None,
        initial_index=settings.initial_index,
        modulus=modulus(settings.rollover, source) if register else None,
        digit=digit(source) if register else 1.0,
        wide=register and is_wide(source),
    )


def _stale_after(site: Site) -> Iterator[tuple[str, float | None]]:
    """Every point of every device, and when it is stale: the device's own time, else three of the point's polls.

    A radio node without a time of its own is left to its driver, which learns how often the node sends.
    """
    for name, device in site.devices.items():
        for point in (device.profile_data or {}).get("points", {}):
            interval = device.point_interval(point)
            polls = None if interval is None or not device.is_polled else STALE_POLLS * interval
            yield f"{name}.{point}", device.stale_after if device.stale_after is not None else polls


def _is_pin(site: Site, reference: str) -> bool:
    bus = site.buses.get(reference.partition(".")[0])
    return bus is not None and bus.has_pins


def _personal(site: Site) -> set[str]:
    return {name for name, device in site.devices.items() if device.personal} | set(site.privacy.personal)


def _withheld(site: Site, rules: Iterable[Control[Any]]) -> set[str]:
    """The points that are personal, their sources, and what is made of them: signals, and controls that count it."""
    found = _personal(site) | _private(site, rules)
    found |= {signal.from_ for name, signal in site.signals.items() if name in found}
    found |= {name for name, signal in site.signals.items() if not found.isdisjoint(_names(signal.from_))}
    metered = [one for one in rules if isinstance(one, Metered)]
    found |= {one.name for one in metered for meter in one.meters if not found.isdisjoint(_names(meter))}
    return found | {one.subject for one in rules if isinstance(one, Telling)
                    if any(not found.isdisjoint(_names(point)) for point in one.told)}  # fmt: skip


def _private(site: Site, rules: Iterable[Control[Any]]) -> set[str]:
    """The points that tell when people come by, and the radio nodes that send them: each of their frames tells it."""
    found = {name for one in rules if isinstance(one, Discreet) for name in one.private}
    sources = found | {signal.from_ for name, signal in site.signals.items() if name in found}
    devices = {name: site.devices.get(name) for name in (source.partition(".")[0] for source in sources)}
    return found | {name for name, device in devices.items() if device is not None and not device.is_polled}


def _names(reference: str) -> tuple[str, str]:
    """A point, and the device that it is of."""
    return reference, reference.partition(".")[0]


def _level(written: str | float | None) -> Any:
    """A state as the arbiter takes it; the configuration has already refused any other word."""
    return written


def _beside(site: Site, name: Path | None) -> Path | None:
    """A file of the site: a relative name starts at the site file's folder."""
    return None if name is None else site.path.parent / name
