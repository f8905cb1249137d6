"""`bocage demo --site FILE`: any site file on simulated devices, in the file's own words and in a hurry.

The copy of the file is in ./demo/SITE-ID/. The terminal tells, line by line and in the site's time, what happens to the
site and what the agent makes of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiomqtt

from agent.clock import SystemClock
from agent.control.civil import Pace
from agent.demo.folder import DemoFolder
from agent.demo.peer_site import PeerSite
from agent.demo.process import Cabinet
from agent.demo.run import DemoRun, Timetable, first_port, short
from agent.demo.site_copy import SiteCopy, Wires
from agent.demo.slave import RtuLine, serve_tcp
from agent.demo.story import Story
from agent.demo.telling import Teller
from agent.demo.uplink import HOST, Deliveries
from agent.demo.world import World
from agent.lib.hints import ours

__all__ = ["SiteDemo", "run"]

LOOK = 0.1
"""Seconds between two steps of the world."""
DAY, HOUR, MINUTE = 2, 21, 15
"""A hurried demo begins on a Wednesday in January, in the evening: a night follows, and a school day without holidays.
(Monday is 0.)"""
HURRY = 10.0
"""The speed from which on it does: a slower demo begins now."""
CUT = 6.0
"""Seconds that the link is cut: an hour of a hurried site."""


def run(file: Path, seconds: float | None, speed: float) -> int:
    """The whole of it; 0 only if it ran and nothing was lost."""
    copy = SiteCopy(file)
    demo = SiteDemo(Path.cwd() / "demo", first_port(1 + len(copy.hosts) + len(copy.peers)), copy, seconds, speed)
    try:
        return asyncio.run(demo.everything())
    except asyncio.CancelledError:
        print("demo: broken off, nothing was counted")
        return 1


def beginning(now: datetime) -> datetime:
    """The evening of the second Wednesday of the next January."""
    for year in (now.year, now.year + 1):
        eighth = now.replace(year=year, month=1, day=8, hour=HOUR, minute=MINUTE, second=0, microsecond=0)
        if eighth > now:
            break
    return eighth + timedelta(days=(DAY - eighth.weekday()) % 7)


def hurried(now: datetime, begins: datetime, speed: float) -> Pace:
    """A pace by which it is `begins` now."""
    at = SystemClock().monotonic()
    return Pace(speed, at - (begins - now).total_seconds() / (speed - 1))


class SiteFolder(DemoFolder):
    """The folder of a copy. The ports after the link's are those of the Modbus TCP hosts, then of other sites."""

    def __init__(self, path: Path, port: int, copy: SiteCopy, speed: float) -> None:
        super().__init__(path, port)
        self.site_id = copy.site.site.id
        self.ports = 2 + len(copy.hosts) + len(copy.peers)
        self._copy, self._speed = copy, speed
        self.wires = Wires(
            port + 1, {name: port + 2 + n for n, name in enumerate(copy.hosts)}, lambda name: self.path / "dev" / name
        )

    def _put_files(self) -> None:
        self.site_file.write_text(self.site_text(), encoding="utf-8")
        for name, content in self._copy.files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    def site_text(self, wires: bool = True) -> str:
        return self._copy.text(self.wires, self._speed, wires)


class SiteDemo(DemoRun):
    """One run of a site file. `port` is the broker's; the link, the Modbus TCP hosts and other sites have the next."""

    def __init__(
        self,
        folder: Path,
        port: int,
        copy: SiteCopy,
        seconds: float | None,
        speed: float,
        begins: datetime | None = None,
    ) -> None:
        now = datetime.now(ZoneInfo(copy.site.site.timezone))
        begins = now if speed < HURRY else begins or beginning(now)
        times = Timetable.of(seconds)
        times = replace(times, mend=times.cut + CUT * times.scale)
        pace = hurried(now, begins, speed) if begins != now else Pace(speed, SystemClock().monotonic())
        super().__init__(
            SiteFolder(folder / copy.site.site.id, port, copy, speed), times, pace, Deliveries(copy.site.site.id)
        )
        self._copy, self._site = copy, copy.site
        self._world = World(copy.site, begins)
        self._story, self._teller = Story(self._world, speed), Teller()
        self._cabinet_now: Cabinet | None = None
        self._clock = SystemClock()
        self._began = self._pace.at(self._clock.monotonic())
        self._put: dict[str, str] = {}
        self._peers = dict(self._make_peers(port + 2 + len(copy.hosts)))
        self._asked = {
            one.output: (name, *one.output.split(".", 1))
            for name, one in self._site.actuators.items()
            if one.output.partition(".")[0] in self._peers
        }
        """The outputs of other sites: the actuator, the device and the point, by the output."""

    def _make_peers(self, port: int) -> Iterator[tuple[str, PeerSite]]:
        """The other sites, by the devices that stand for them."""
        asker, broker = self._site.site.id, self.folder.port
        for n, bus in enumerate(self._copy.peers):
            other = self._site.buses[bus].site  # type: ignore[attr-defined]
            for name, device in self._site.devices.items():
                if device.bus == bus:
                    path = self.folder.path / other
                    yield name, PeerSite(path, port + n, other, broker, asker, device.remote)  # type: ignore[attr-defined]

    def _main_cabinet(self) -> Cabinet:
        self._cabinet_now = self._cabinet(self.folder.site_file, self.folder.state, wired=True)
        return self._cabinet_now

    @asynccontextmanager
    async def _devices(self) -> AsyncIterator[None]:
        assert isinstance(self.folder, SiteFolder)
        async with AsyncExitStack() as stack:
            for name in self._copy.lines:
                units, baudrate = self._world.units.get(name, {}), self._copy.baudrate(name, self._pace.speed)
                stack.enter_context(RtuLine(self.folder.wires.line(name), units, baudrate).serving())
            for name, port in self.folder.wires.hosts.items():
                server = await serve_tcp(HOST, port, self._world.units.get(name, {}))
                stack.callback(server.close)
            for peer in self._peers.values():
                await stack.enter_async_context(peer.running())
            await stack.enter_async_context(self._beside(self._live()))
            yield

    async def _live(self) -> None:
        """The world and its pins."""
        while True:
            self._world.step(max(0.0, self._pace.at(self._clock.monotonic()) - self._began - self._world.seconds))
            for said in self._story.step():
                self._say(said)
            self._move_pins()
            self._ask_peers()
            await asyncio.sleep(LOOK)

    def _ask_peers(self) -> None:
        """Let the world see what runs at other sites."""
        for actuator, device, point in self._asked.values():
            peer = self._peers[device]
            runs = point in peer.outputs and peer.is_on(point)
            if runs is not self._world.pins.get(actuator, False):
                self._say(f"{peer.outputs[point]} of {peer.site_id} {'runs' if runs else 'stops'}")
            self._world.pins[actuator] = runs

    def _move_pins(self) -> None:
        """The pins of the cabinet, as the world has them."""
        if self._cabinet_now is None:
            return
        for name, signal in self._site.signals.items():
            bus, _, pin = signal.from_.partition(".")
            if bus in self._site.buses and self._site.buses[bus].has_pins:
                if signal.kind == "counter":
                    a_second = self._world.flows.get(name, 0.0) / (signal.per_pulse or 1.0) / 3600 * self._pace.speed
                    what = f"{a_second:.2f}"
                else:
                    what = "on" if self._world.sensed(name) else "off"
                if self._put.get(pin) != what:
                    self._put[pin] = what
                    self._cabinet_now.put(int(pin), what)

    async def _show(self) -> None:
        """Tell each event that the region gets, and the state of things each hour of the site."""
        heard, hour = 0, self._world.now.hour
        while True:
            await asyncio.sleep(0.2)
            if self._status is not None:
                for one in self._status.get("actuators") or []:
                    if one["output"] not in self._asked:
                        self._world.pins[one["name"]] = one["value"] or False
                for said in self._teller.counted(self._status):
                    self._say(f"  {said}")
            events, heard = self._deliveries.events[heard:], len(self._deliveries.events)
            for event in events:
                if said := self._teller.told(event):
                    self._say(f"  {said}", self._when(event["t"]))
            if hour != (hour := self._world.now.hour):
                self._say(self._state())

    def _state(self) -> str:
        """Levels and temperatures, and what was delivered."""
        site: Any = self._site
        names = [one.level for one in (*site.water.tanks.values(), *site.water.lift_stations.values()) if one.level]
        names += [one.sensor for one in site.heating.zones.values()]
        values = [f"{name} {self._world.sensed(name):.1f} {self._world.unit_of(name)}" for name in names]
        link = "" if self._link.up else "; THE LINK IS CUT"
        air = f"outdoors {self._world.outdoors():.1f} degC"
        return f"{', '.join([air, *values])}; {self._deliveries.delivered} readings and events delivered{link}"

    def _when(self, wall_ms: int | None) -> datetime | None:
        """The site's time of a moment."""
        if wall_ms is None:
            return None
        at = self._pace.at(self._clock.monotonic() - (time.time() - wall_ms / 1000))
        return self._world.at(at - self._began)

    def _say(self, words: str, at: datetime | None = None) -> None:
        print(f"{at or self._world.now:%a %H:%M}  {words}", flush=True)

    async def _operate(self, client: aiomqtt.Client) -> None:
        """The region commands nothing here."""

    def _say_where(self) -> None:
        folder = short(self.folder.path)
        print(f"demo: {self._site.site.name}: {folder}/site.yaml   ({ours('watch', f'{folder}/site.yaml')})")
        print(f"demo: broker {HOST}:{self.port}   (mosquitto_sub -p {self.port} -v -t 'bocage/v1/#')")
        for one in self._peers.values():
            print(f"demo: beside it  {short(one.path)}/site.yaml")
        begins, speed = f"{self._world.now:%A %d %B %Y, %H:%M}", self._pace.speed
        hint = "" if speed >= HURRY else "; little happens in that time, with --speed 600 a day passes in 2.4 minutes"
        print(f"demo: there it is {begins}; an hour passes in {round(3600 / speed, 1):g} s{hint}")
        print(f"demo: agent's log {folder}/agent.log", flush=True)
