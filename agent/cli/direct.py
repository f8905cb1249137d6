"""Reading and writing without a running agent: the same drivers, the same arbiter, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from agent.arbiter import Arbiter, JoinedLedger
from agent.arbiter.actuator_store import rename
from agent.arbiter.orphans import Orphans
from agent.clock import SystemClock
from agent.core.alarms import OpenAlarms
from agent.core.buses import Buses, VolatileStore
from agent.core.hub import Hub
from agent.core.state import State
from agent.core.trial import diagnostic, judged
from agent.errors import Busy, Rejected, WireError
from agent.model import Command, Kind, Origin, Outcome, Quality, Reading, Value
from agent.outbox import Outbox
from agent.runtime.folders import locked
from agent.runtime.report import points_json
from agent.runtime.socket import NotStarted
from agent.site import build as wiring
from agent.site.models.site import Site
from drivers.api import BusSpec
from drivers.registry import find, load, said

__all__ = ["on_the_air", "read_once", "scan_once", "stop_outputs", "try_wires", "write_once"]


async def read_once(site: Site, names: Sequence[str]) -> dict[str, Any]:
    """Read points (all, if none is named) straight from the buses; signals from their sources. See `points_json`.

    "errors" has what is wrong with a bus, by its name.

    A signal that counts needs its history, which is the agent's: here it has the count that the device gives now.
    """
    settings, clock = wiring.build_settings(site), SystemClock(site.clock.trust)
    buses = Buses(clock, VolatileStore())
    buses.configure(settings.buses)
    points = settings.points(buses.points)
    hub = Hub(points, settings.signals, {}, lambda _readings, _outbox_class: None, VolatileStore(), clock)
    try:
        outputs = settings.outputs
        wanted = [outputs.get(name, name) for name in names] or list(hub.points)
        sources = {signal.name: signal.source for signal in settings.signals}
        on_wire = dict.fromkeys(sources.get(name, name) for name in wanted)
        hub.publish(await buses.read([name for name in on_wire if name in hub.points]))
        answer = points_json(names, hub.points, hub.last, outputs, site.site.timezone)
        return {**answer, "errors": {bus["name"]: bus["error"] for bus in buses.status() if bus["error"]}}
    finally:
        await buses.close()


async def write_once(
    site: Site, state: Path, runtime: Path, point: str, value: Value, hold_ms: int | None, by: str
) -> Outcome:
    """One command through the arbiter without an agent; Rejected while one runs, NotStarted for what needs one."""
    try:
        async with _alone(site, state, runtime) as offline:
            if why := on_the_air(site, point):
                raise NotStarted(why)
            await offline.arbiter.start()
            name, now = f"direct-{uuid4().hex}", offline.clock.now()
            return await offline.arbiter.submit(
                Command(name, point, value, now, hold_ms=hold_ms, origin=Origin.LOCAL, by=by)
            )
    except Busy as error:
        raise Rejected("an agent is running on this site: leave --direct out and write through it") from error


async def stop_outputs(site: Site, state: Path, runtime: Path) -> tuple[bool, dict[str, str]]:
    """After a crash: drive outputs to their safe state on the wire; none if the agent had stopped in order.

    Outputs that left the site file and are not safe yet are tried once more, in both cases. Returns whether there was
    a crash, and the actuators that were not reached with the reason.
    """
    async with _alone(site, state, runtime) as offline:
        if offline.state.get("clean_stop") == offline.clock.boot:
            await offline.orphans.settle()
            return False, offline.orphans.missed
        missed, _ = await asyncio.gather(offline.arbiter.stop(crashed=True), offline.orphans.settle())
        return True, missed | offline.orphans.missed


async def try_wires(site: Site, names: Iterable[str] | None = None) -> list[tuple[str, bool, str]]:
    """Read every device of these buses (all) once: (device, whether all its points were read, in words).

    A bus whose driver has a probe is tried as a whole; one whose driver cannot be used is told as a whole too.
    """
    settings, clock = wiring.build_settings(site), SystemClock(site.clock.trust)
    wanted = set(settings.buses if names is None else names)
    specs = {name: spec for name, spec in settings.buses.items() if name in wanted and not spec.fault}
    probes = {name: driver.probe for name, spec in specs.items() if (driver := find(spec.type)) and driver.probe}
    looks = asyncio.gather(*(_probe(specs[name], probe, clock) for name, probe in probes.items()))
    buses = Buses(clock, VolatileStore())
    buses.configure({name: spec for name, spec in specs.items() if name not in probes})
    try:
        unread = [Reading(point.id, None, clock.now(), Quality.BAD) for point in buses.points]
        read = await buses.read([point.id for point in buses.points])
        found = {reading.point: reading for reading in (*unread, *read)}  # a driver may leave points out
        errors = {bus["name"]: bus["error"] for bus in buses.status()}
        said = {device: text for bus in buses.status() for device, text in bus.get("said", {}).items()}
        devices: dict[str, list[Reading]] = {}
        for point in buses.points:
            if point.kind is not Kind.DIAGNOSTIC and not point.moves:
                devices.setdefault(point.device, []).append(found[point.id])
    finally:
        await buses.close()
    lines = [(name, False, reason) for name, reason in buses.unusable.items()]
    down = {device.name for name in buses.unusable for device in specs[name].devices}
    for name, readings in devices.items():
        if name in down:
            continue
        bus = site.devices[name].bus if name in site.devices else name.partition(".")[0]
        own = {id.removeprefix(f"{name}."): one.value for id, one in found.items() if id.startswith(f"{name}.")}
        kind = site.buses[bus].type if bus in site.buses else ""
        counts = {count: value for id, value in own.items() if (count := diagnostic(kind, id))}
        lines.append((name, *judged(kind, readings, {**counts, "said": said.get(name)}, errors.get(bus) or "")))
    return lines + await looks


def on_the_air(site: Site, name: str) -> str:
    """Why a point or an actuator cannot be had without an agent: it is a radio node's. "" if it can."""
    output = site.actuators[name].output if name in site.actuators else name
    signal = site.signals.get(output)
    device = (signal.from_ if signal is not None else output).partition(".")[0]
    if device not in site.devices or not site.buses[site.devices[device].bus].is_radio:
        return ""
    return f"{name}: {device} is a radio node, which is heard and commanded by a running agent only"


async def _probe(spec: BusSpec, probe: str, clock: SystemClock) -> tuple[str, bool, str]:
    try:
        return spec.name, True, await load(probe)(spec, clock)
    except WireError as error:
        return spec.name, False, str(error)
    except Exception as error:  # noqa: BLE001  another distribution's code: it costs its own bus only
        return spec.name, False, f"the driver of {spec.type} failed: {said(error)}"


async def scan_once(
    spec: BusSpec, units: Sequence[int], timeout: float | None = None
) -> AsyncGenerator[Mapping[str, Any]]:
    """Scan these unit ids, one after the other, on a bus that no other process uses (see `Buses.scan`).

    BocageError for a bus without unit ids, WireError if the bus cannot be opened.
    """
    buses = Buses(SystemClock("always"), VolatileStore())
    buses.configure({spec.name: spec})
    try:
        for unit in units:
            yield await buses.scan(spec.name, unit, timeout)
    finally:
        await buses.close()


@dataclass(frozen=True, slots=True)
class _Offline:
    arbiter: Arbiter
    orphans: Orphans
    state: State
    clock: SystemClock


@asynccontextmanager
async def _alone(site: Site, state_folder: Path, runtime_folder: Path) -> AsyncIterator[_Offline]:
    """The arbiter of a site without the rest, while no agent runs; its audit goes out with the next agent's."""
    clock = SystemClock(site.clock.trust)
    with locked(state_folder), locked(runtime_folder):
        state = State.open(state_folder)
        outbox = Outbox.open(state_folder, runtime_folder, clock)
        buses = Buses(clock, state.scope("driver"))
        settings = wiring.build_settings(site)
        buses.configure(settings.buses)
        signals = (signal.point() for signal in settings.signals)
        points = {point.id: point for point in (*settings.points(buses.points), *signals)}
        open_alarms = OpenAlarms(outbox.put_event, state.scope("alarms"))
        orphans = Orphans(state.scope("outputs"), buses.write_aside, open_alarms.put_event, clock)
        orphans.take_up(settings.buses, settings.actuators, partial(rename, state.scope("arbiter")))

        async def write(point: str, value: Value, until: float | None = None) -> None:
            await orphans.claim(points[point])
            await buses.write(point, value, until)

        arbiter = Arbiter(
            settings.actuators,
            points,
            write,
            buses.read,
            JoinedLedger(outbox, open_alarms),
            state.scope("arbiter"),
            clock,
            handed=orphans.handed, why_down=buses.why_down,
        )
        try:
            yield _Offline(arbiter, orphans, state, clock)
        finally:
            await buses.close()
            await outbox.close()
            state.close()
