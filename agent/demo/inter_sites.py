"""`bocage demo inter-sites`: a reservoir in one village, its well in another, and the link between them cut.

Two agents, each with a Modbus TCP module of its own, reach one broker by a link each. The reservoir's tank is low, so
its site asks the station for the well. In the middle of the fill the reservoir's link is cut: the station's pump stops
by itself when the wish ends, and the fill goes on when the link is back.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.control.civil import Pace
from agent.demo.folder import must_be_free
from agent.demo.process import Cabinet
from agent.demo.slave import serve_tcp
from agent.demo.uplink import HOST, RuralLink, broker
from agent.demo.village import RelayModule
from agent.lib.hints import ours
from agent.runtime.folders import locked, own_runtime

__all__ = ["InterSites", "Works", "run", "verdict"]

RESERVOIR, STATION = "reservoir-haut", "pompage"
CUT, MEND, END = 20.0, 45.0, 75.0
"""Seconds from the first run of the pump: the link is cut, it is mended, and the demo ends."""
EVERY, LIVES = 5.0, 3
"""Seconds between two requests, and how many of these a wish holds."""
PATIENCE = 30.0
"""Seconds that the pump may take to start."""
_LATE = 3.0
"""Seconds that the pump may run on after the end of the wish."""
_FILL, _DRAW = 0.3, 0.1
"""Percent a second."""
_PORTS = 5

_UPLINK = """\
version: 1
site: {id: @SITE@, name: "@NAME@", timezone: Europe/Paris}
uplink: {url: "mqtt://127.0.0.1:@LINK@", protocol: 3.1.1}
buses:
  works: {type: modbus_tcp, host: 127.0.0.1, port: @TCP@}
"""
_SITES = {
    RESERVOIR: """\
  net:   {type: bocage_site, site: pompage, every: 5s}      # 1 min is usual; here it is to be seen
devices:
  io-1: {bus: works, unit_id: 1, profile: relay8_ai8, poll: 500ms}
  pompage:
    bus: net
    remote:
      well: {from: well, ask: true}                         # the station's pump, which is asked for
      runs: {from: well, kind: state}                       # whether it runs
signals:
  tank-level: {from: io-1.ai1, signal: 4-20mA, scale: [0, 100], unit: "%", stale_after: 30s}
actuators:
  well: {output: pompage.well, safe_state: off, boot_state: recompute}
water:
  tanks:
    reservoir: {level: tank-level, pump: well, start: 40 %, stop: 85 %}
""",
    STATION: """\
devices:
  io-1: {bus: works, unit_id: 1, profile: relay8_ai8, poll: 500ms}
actuators:
  well: {output: io-1.relay1, safe_state: off, boot_state: off, min_off: 2s}
peers: {reservoir-haut: [well]}                             # the reservoir may ask for the well, and for nothing else
""",
}
_NAMES = {RESERVOIR: "The village with the reservoir", STATION: "The pumping station"}


@dataclass(slots=True)
class Works:
    """The tank and the well, and when the pump ran."""

    level: float = 30.0
    pump: RelayModule = field(default_factory=lambda: RelayModule({}))
    tank: RelayModule = field(init=False)
    edges: list[tuple[float, bool]] = field(default_factory=list)
    """When the pump started and stopped."""

    def __post_init__(self) -> None:
        self.tank = RelayModule({0: lambda: 4000 + 160 * self.level})

    @property
    def runs(self) -> bool:
        return self.pump.relays[0]

    def step(self, seconds: float, now: float) -> None:
        """Let so many seconds pass until `now`."""
        self.level = min(100.0, max(0.0, self.level + seconds * (_FILL if self.runs else -_DRAW)))
        if self.runs is not bool(self.edges and self.edges[-1][1]):
            self.edges.append((now, self.runs))


def verdict(edges: list[tuple[float, bool]], cut: float, mended: float) -> tuple[int, str]:
    """The exit code and the last line: 0 if the pump ran before the cut, stopped by itself when the wish ended, and ran
    again after the link was mended."""
    before = [at for at, on in edges if on and at < cut]
    stops = [at for at, on in edges if not on and cut <= at < mended]
    again = [at for at, on in edges if on and at >= mended]
    if not before:
        return 1, "the pump never ran"
    if not stops:
        return 1, "the pump ran on without a link"
    if stops[0] - cut > LIVES * EVERY + _LATE:
        return 1, f"the pump stopped only {stops[0] - cut:.0f} s after the cut"
    if not again:
        return 1, "the pump did not run again"
    stopped, ran = stops[0] - cut, again[0] - mended
    return 0, f"the pump stopped {stopped:.0f} s after the cut, and ran again {ran:.0f} s after the link was back"


def run(seconds: float | None, port: int) -> int:
    """The whole of it in ./demo/inter-sites; 0 only if the pump did what it should."""
    return asyncio.run(InterSites(Path.cwd() / "demo" / "inter-sites", port, seconds or END).run())


class InterSites:
    """One run. `port` is the broker's; the links and the modules have the four after it."""

    def __init__(self, folder: Path, port: int, seconds: float) -> None:
        self._folder, self._port, self._seconds = folder, port, max(seconds, END)
        self._links = {RESERVOIR: RuralLink(port + 1, port), STATION: RuralLink(port + 2, port)}
        self._modules = {RESERVOIR: port + 3, STATION: port + 4}
        self._works = Works()
        self._begun = time.monotonic()
        self._stop, self._ran = asyncio.Event(), asyncio.Event()

    async def run(self) -> int:
        for number in range(self._port, self._port + _PORTS):
            must_be_free(number)
        for name in _SITES:
            self._prepare(name)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        async with self._everything():
            code, said = await self._script()
        print(f"demo: {said}")
        return code

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.yaml"

    def _runtime(self, name: str) -> Path:
        """In memory, where `bocage watch` looks by itself."""
        if named := os.environ.get("BOCAGE_RUNTIME_DIR"):
            return Path(named) / name
        folder = own_runtime(name)
        return folder if folder.parent.parent.is_dir() else self._folder / "run" / name

    def _prepare(self, name: str) -> None:
        """The site file, and none of an earlier run's state."""
        self._folder.mkdir(parents=True, exist_ok=True)
        text = _UPLINK + _SITES[name]
        link = self._port + 1 + list(_SITES).index(name)
        for key, value in {"SITE": name, "NAME": _NAMES[name], "LINK": link, "TCP": self._modules[name]}.items():
            text = text.replace(f"@{key}@", str(value))
        self._file(name).write_text(text)
        for folder in (self._folder / "state" / name, self._runtime(name)):
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder):
                for item in folder.iterdir():
                    shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()

    @asynccontextmanager
    async def _everything(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(broker(self._port))
            for name, module in {RESERVOIR: self._works.tank, STATION: self._works.pump}.items():
                server = await serve_tcp(HOST, self._modules[name], {1: module})
                stack.callback(server.close)
                await self._links[name].mend()
                stack.push_async_callback(self._links[name].cut)
            for name in _SITES:
                log, pace = self._folder / f"{name}.log", Pace(1.0, 0.0)
                log.unlink(missing_ok=True)
                cabinet = Cabinet(self._file(name), self._folder / "state" / name, self._runtime(name), log, pace)
                await cabinet.start()
                stack.callback(cabinet.kill)
                stack.push_async_callback(cabinet.stop)
            place = self._folder.relative_to(Path.cwd()) if self._folder.is_relative_to(Path.cwd()) else self._folder
            for name in _SITES:
                print(f"demo: {_NAMES[name].lower()}: {place}/{name}.yaml   ({ours('watch', f'{place}/{name}.yaml')})")
            print(f"demo: what they tell and ask: mosquitto_sub -p {self._port} -v -t 'bocage/v1/+/peer/#'", flush=True)
            living = asyncio.create_task(self._live())
            try:
                yield
            finally:
                living.cancel()

    async def _live(self) -> None:
        """The tank and the well, and a line a second."""
        at, shown = time.monotonic(), 0
        while True:
            await asyncio.sleep(0.1)
            before, at = at, time.monotonic()
            self._works.step(at - before, at)
            if self._works.runs:
                self._ran.set()
            if int(at - self._begun) > shown:
                shown = int(at - self._begun)
                self._say(shown)

    def _say(self, second: int) -> None:
        link = "up" if self._links[RESERVOIR].up else "CUT"
        pump = "on" if self._works.runs else "off"
        print(f"{second:4d} s  tank {self._works.level:.1f} %, pump {pump}, the reservoir's link {link}", flush=True)

    async def _script(self) -> tuple[int, str]:
        """Wait for the pump, cut the reservoir's link, mend it, and say what the pump did."""
        await self._until(time.monotonic() + PATIENCE, self._ran)
        started = time.monotonic()
        await self._until(started + CUT)
        cut = time.monotonic()
        await self._links[RESERVOIR].cut()
        await self._until(started + MEND)
        mended = time.monotonic()
        await self._links[RESERVOIR].mend()
        await self._until(started + self._seconds)
        if self._stop.is_set():
            return 1, "broken off"
        return verdict(self._works.edges, cut, mended)

    async def _until(self, at: float, event: asyncio.Event | None = None) -> None:
        """Until that moment, or the event; or until the demo is broken off."""
        waits = [asyncio.create_task(one.wait()) for one in (self._stop, event) if one is not None]
        await asyncio.wait(waits, timeout=max(0.0, at - time.monotonic()), return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
