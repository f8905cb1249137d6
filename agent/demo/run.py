"""The demo from its first line to its last: devices, broker, link, agent, view, and the count at the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiomqtt
from rich.console import Console

from agent.cli.live import view
from agent.cli.live.page import page
from agent.cli.live.window import Page, live
from agent.clock import SystemClock
from agent.control.civil import Pace
from agent.demo import site
from agent.demo.folder import DemoFolder
from agent.demo.modem import DemoModem
from agent.demo.nodes import GATEWAY, Nodes, cards
from agent.demo.process import Cabinet, numbers_given
from agent.demo.slave import RtuLine, serve_tcp
from agent.demo.uplink import HOST, Deliveries, RuralLink, broker, subscriber
from agent.demo.village import Village
from agent.errors import BocageError
from agent.lib.hints import ours
from agent.model import LinkState
from agent.runtime.socket import NoAgent, connect

__all__ = ["Demo", "DemoRun", "Timetable", "first_port", "run", "short", "verdict", "when"]

GRACE = 15.0  # seconds for the rest of the backlog
ON_ITS_WAY = 20  # readings that wait although nothing is wrong
REMOTE = 8  # the priority of commands
OPERATOR, FIRST, EVERY, HELD = "km1", 10.0, 60.0, 15.0
"""The point that the operator switches on: seconds from the start, between two commands, and of the hold."""
GARDEN, WATERED = "garden.valve", 16.0
"""And the valve in the garden, on and off in turn: a LoRaWAN node, which hears it after its next word."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """Seconds from the start. A demo shorter than 90 s is the same one, faster."""

    cut: float
    mend: float
    end: float | None
    scale: float

    @classmethod
    def of(cls, seconds: float | None) -> Timetable:
        scale = 1.0 if seconds is None else min(1.0, seconds / 90)
        return cls(30 * scale, 50 * scale, seconds, scale)


def run(seconds: float | None, plain: bool, devices_only: bool, speed: float = 1.0) -> int:
    """The whole demo in ./demo; 0 only if it ran and nothing was lost. `speed` is that of the village's time."""
    demo = Demo(Path.cwd() / "demo", first_port(2), Timetable.of(seconds), plain or not sys.stdout.isatty(), speed)
    try:
        return asyncio.run(demo.devices() if devices_only else demo.everything())
    except asyncio.CancelledError:
        print("demo: broken off, nothing was counted")
        return 1


def first_port(more: int) -> int:
    """The broker's port. So many after it are used too."""
    named = os.environ.get("BOCAGE_DEMO_PORT", "18830")
    most = 65535 - more
    if not named.isdecimal() or not 1024 <= int(named) <= most:
        used = {1: "one", 2: "two", 3: "three", 4: "four"}.get(more, str(more))
        raise BocageError(
            f"BOCAGE_DEMO_PORT={named} is not a port from 1024 to {most} (the {used} after it are used too)"
        )
    return int(named)


def verdict(read: int, deliveries: Deliveries) -> int:
    """Say the last line. `read` is how many numbers the agent gave; 0 only if each of them, and any, arrived."""
    lost = read - deliveries.delivered
    print(f"demo: read {read}, delivered {deliveries.delivered}, duplicates {deliveries.duplicates}, lost {lost}")
    return 0 if read > 0 and lost == 0 else 1


class DemoRun(ABC):
    """One run of the agent among simulated devices: broker, link, agent, and the count at the end."""

    def __init__(self, folder: DemoFolder, timetable: Timetable, pace: Pace, deliveries: Deliveries) -> None:
        self.folder, self.port = folder, folder.port
        self._times, self._pace, self._deliveries = timetable, pace, deliveries
        port = folder.port
        self._link = RuralLink(port + 1, port)
        self._status: dict[str, Any] | None = None
        self._looked = asyncio.Event()
        self._stop = asyncio.Event()
        self._started = time.monotonic()
        self._stage = ""

    @abstractmethod
    def _devices(self) -> AbstractAsyncContextManager[None]:
        """The devices, and the world that moves them."""

    @abstractmethod
    async def _show(self) -> None:
        """Tell what goes on."""

    @abstractmethod
    async def _operate(self, client: aiomqtt.Client) -> None:
        """Command what the region commands."""

    @abstractmethod
    def _say_where(self) -> None:
        """Where a newcomer finds what the demo uses."""

    # From the start to the count

    async def everything(self) -> int:
        """Devices, broker, link, agent and view; then the count."""
        self.folder.prepare()
        self.folder.forget()
        self._say_where()
        cabinet = self._main_cabinet()
        with self._signals():
            async with broker(self.port), self._devices(), subscriber(self.port, self._deliveries) as operator:
                await self._link.mend()
                try:
                    died = await self._run(cabinet, operator)
                    read = await self._settle() if died is None else 0
                finally:
                    cabinet.kill()
                    await self._link.cut()
        if died is not None:
            log = short(self.folder.log)
            print(f"demo: the agent ended by itself with code {died}; its last words, from {log}:")
            print(cabinet.last_words(), end="")
        code = verdict(read, self._deliveries)
        return code if died is None else 1

    def _cabinet(self, file: Path, state: Path, wired: bool = False) -> Cabinet:
        return Cabinet(file, state, self.folder.runtime, self.folder.log, self._pace, wired)

    def _main_cabinet(self) -> Cabinet:
        return self._cabinet(self.folder.site_file, self.folder.state)

    async def _run(self, cabinet: Cabinet, operator: aiomqtt.Client) -> int | None:
        """The agent's life; its exit code if it ended before it was asked to."""
        await cabinet.start()
        self._started = time.monotonic()
        async with self._beside(self._watch()), self._beside(self._show()), self._beside(self._operate(operator)):
            script = asyncio.create_task(self._script())
            ended = asyncio.create_task(cabinet.ended())
            try:
                await asyncio.wait({script, ended}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    return cabinet.exit_code
                await script
                self._stage = "the agent stops: outputs to their stop state, outbox to flash"
                await cabinet.stop()
                return None
            finally:
                script.cancel()
                ended.cancel()

    async def _script(self) -> None:
        """Cut the link, mend it, and wait for the end and for the backlog."""
        times = self._times
        self._stage = f"the link will be cut after {times.cut:.0f} s"
        await self._until(times.cut)
        if not self._stop.is_set():
            await self._link.cut()
            self._stage = f"THE LINK IS CUT for {times.mend - times.cut:.0f} s: the backlog grows"
            await self._until(times.mend)
            await self._link.mend()
            self._stage = "the link is back: the backlog drains"
            await self._until(times.end)
        await self._link.mend()
        self._stage = "the end: what still waits goes out"
        await when(lambda: self._waiting() <= ON_ITS_WAY, self._looked, GRACE)

    def _waiting(self) -> int:
        return 0 if self._status is None else int(self._status["outbox"]["rows"])

    async def _settle(self) -> int:
        """Deliver what the agent kept when it stopped, and say how many numbers it gave.

        What it had no time to send is on flash. The next start would send it; here that is an agent without devices. It
        has the outbox alone: with the rest of the state it would see all outputs leave, and make them safe.
        """
        with self.folder.outbox_alone() as state:
            return await self._drained(state, self.folder.path / "drain.yaml")

    async def _drained(self, state: Path, file: Path) -> int:
        for _ in range(3):
            store, given = await asyncio.to_thread(numbers_given, state)
            given = max(given, self._deliveries.given(store))
            if await self._arrived(store, given, 1.0):
                break
            await asyncio.to_thread(file.write_text, self.folder.site_text(wires=False))
            drain = self._cabinet(file, state)
            await drain.start()
            try:
                await self._arrived(store, given, GRACE)
                await drain.stop()
            finally:
                drain.kill()
        return given

    async def _arrived(self, store: str, given: int, seconds: float) -> bool:
        """Wait until every number of the store has been delivered; False if that takes longer."""
        return await when(lambda: len(self._deliveries.keys.get(store, ())) >= given, self._deliveries.came, seconds)

    # What goes on meanwhile

    async def _watch(self) -> None:
        """Keep the agent's status document fresh, over its own socket."""
        while True:
            with contextlib.suppress(NoAgent):
                async with connect(self.folder.runtime) as local:
                    while True:
                        self._status = await local.request({"do": "status"})
                        self._looked.set()
                        await asyncio.sleep(0.5)
            await asyncio.sleep(0.2)

    def _is_connected(self) -> bool:
        return self._status is not None and self._status["uplink"]["state"] == LinkState.CONNECTED

    # Time and the end

    @asynccontextmanager
    async def _beside(self, work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        """Run a task while the block runs. If it fails (a closed pipe), the demo ends and says why."""
        task = asyncio.create_task(work)

        def look(done: asyncio.Task[None]) -> None:
            if not done.cancelled() and done.exception() is not None:
                self._stop.set()

        task.add_done_callback(look)
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    async def _sleep_until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, at - self._elapsed()))

    async def _until(self, at: float | None) -> None:
        """Wait for that second, for ever if None, or until the demo is to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if at is None else max(0.0, at - self._elapsed())):
                await self._stop.wait()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """The first Ctrl-C (or SIGTERM, SIGHUP) asks for the end, a second one does not wait for it."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def end() -> None:
            if self._stop.is_set():
                task.cancel()
            self._stop.set()

        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in signals:
            loop.add_signal_handler(number, end)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


class Demo(DemoRun):
    """The demo's own village, in `folder`. `port` is the broker's; the link and Modbus TCP have the two after it."""

    def __init__(self, folder: Path, port: int, timetable: Timetable, plain: bool, speed: float = 1.0) -> None:
        super().__init__(DemoFolder(folder, port), timetable, Pace(speed, SystemClock().monotonic()), Deliveries())
        self._plain = plain
        self._village = Village(datetime.now(ZoneInfo(site.TIMEZONE)))

    @asynccontextmanager
    async def _devices(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.enter_context(RtuLine(self.folder.rtu, self._village.line).serving())
            stack.enter_context(DemoModem(self.folder.radio, self._village.probe).serving())
            plant = await serve_tcp(HOST, self.port + 2, self._village.plant)
            stack.callback(plant.close)
            nodes = Nodes(HOST, self.port + 2, self.folder.keys, self._village)
            await stack.enter_async_context(nodes.speaking())
            await stack.enter_async_context(self._beside(self._live()))
            yield

    async def _live(self) -> None:
        clock, begun = SystemClock(), self._pace.since
        while True:
            await asyncio.sleep(0.25)
            self._village.step(self._pace.at(clock.monotonic()) - begun - self._village.seconds)

    # Devices alone

    async def devices(self) -> int:
        """The devices without the agent, until Ctrl-C or the end of the time."""
        self.folder.prepare()
        with self._signals():
            async with self._devices():
                rtu, radio, master = short(self.folder.rtu), short(self.folder.radio), "mbpoll -m rtu -b 9600 -P none"
                print("demo: devices only; read them with any Modbus master, for example")
                print(f"  {master} -a 1 -t 3:float -B -r 13 -c 1 {rtu}     # power of the street lighting, W")
                print(f"  {master} -a 2 -t 3:float -B -r 1 -c 3 {rtu}      # three voltages of the town hall, V")
                print(f"  {master} -a 10 -t 0 -r 1 {rtu} 1                 # switch the street lamps on")
                print(f"  mbpoll -m tcp -p {self.port + 2} -a 1 -t 3 -r 1 -c 2 {HOST}   # tank and pump, uA")
                print(f"demo: a LoRaWAN gateway, {GATEWAY}, sends to UDP {HOST}:{self.port + 2} what its nodes say")
                for line in cards(short(self.folder.keys)):
                    print(f"  {line}")
                print(f"demo: a LoRa modem (RAK, point to point, 868.1 MHz, SF7) hears node 01: {radio}")
                print("demo: Ctrl-C ends it", flush=True)
                await self._until(self._times.end)
        return 0

    # What goes on meanwhile

    async def _operate(self, client: aiomqtt.Client) -> None:
        """The operator's commands over MQTT. `ttl_ms` bounds the start, `hold_ms` the duration of the override.

        The first waits until the agent has connected once: before that it has no session in which the broker keeps it.
        """
        await when(self._is_connected, self._looked, GRACE)
        for number in count():
            await self._sleep_until((FIRST + number * EVERY) * self._times.scale)
            await self._command(client, f"demo-{number}", OPERATOR, "on", HELD * self._times.scale)
            await self._sleep_until((WATERED + number * EVERY) * self._times.scale)
            await self._command(client, f"valve-{number}", GARDEN, "off" if number % 2 else "on", 3600)

    async def _command(self, client: aiomqtt.Client, name: str, point: str, value: str, held: float) -> None:
        if not self._is_taken(point):
            command = {"id": name, "point": point, "value": value, "ttl_ms": 30_000, "hold_ms": round(held * 1000),
                       "by": "operator"}  # fmt: skip
            await client.publish(f"bocage/v1/{site.SITE_ID}/cmd/{name}", json.dumps(command), qos=1)

    def _is_taken(self, actuator: str) -> bool:
        """Whether the user has commanded the output: then the demo leaves it alone."""
        actuators = self._status["actuators"] if self._status else []
        held = [found for found in actuators if found["name"] == actuator and found["priority"] == REMOTE]
        return any(found["by"] != "operator" for found in held)

    def _tidings(self) -> str:
        """The state of the village, in one line."""
        village = self._village
        lamps, fast = "on" if village.is_lit else "off", f" ({self._pace.speed:g} x)" if self._pace.speed != 1 else ""
        return (
            f"{village.now:%a %H:%M}{fast}, lamps {lamps}, tank {village.level:.1f} %, "
            f"school {village.room:.1f} degC, outdoors {village.outdoors():.1f} degC"
        )

    async def _show(self) -> None:
        if self._plain:
            while True:
                await asyncio.sleep(1)
                status = view.line(self._status) if self._status else "the agent starts"
                heard = f"{self._tidings()}; {status}, delivered {self._deliveries.delivered}"
                print(f"{self._elapsed():4.0f} s  {heard}", flush=True)

        async def look() -> Page | None:
            return page(self._status, self._notes()) if self._status else None

        await live(Console(), look)
        self._stop.set()

    def _notes(self) -> list[str]:
        seen = f"the supervision got {self._deliveries.delivered}, {self._deliveries.duplicates} twice"
        return [f"{self._elapsed():.0f} s: {self._stage}", f"village {self._tidings()}", f"{seen}; q ends it"]

    def _say_where(self) -> None:
        folder = short(self.folder.path)
        print(f"demo: site file   {folder}/site.yaml   ({ours('check', f'{folder}/site.yaml')})")
        print(f"demo: RS-485 line {short(self.folder.rtu)}   Modbus TCP {HOST}:{self.port + 2}")
        print(f"demo: broker      {HOST}:{self.port}   (mosquitto_sub -p {self.port} -v -t 'bocage/v1/#')")
        print(f"demo: agent's log {folder}/agent.log", flush=True)


async def when(true: Callable[[], bool], news: asyncio.Event, seconds: float) -> bool:
    """Wait until something is true, looking again at every piece of news; False if that takes longer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not true():
                news.clear()
                await news.wait()
            return True
    return False


def short(path: Path) -> str:
    """A path from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
