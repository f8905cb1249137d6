"""What every row needs: a village that can be hurt, and the account of what became of each reading and command."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.collect.store import CollectStore, StoreAccount
from agent.errors import BocageError
from tests.fakes.gateway import PROFILE, Link, Mosquitto, Site, Slave, Subscriber
from tests.fakes.ports import free_port
from tests.fakes.waiting import wait_for

__all__ = ["PROFILE", "SlowLink", "Unsettled", "Verdict", "Village", "free_port", "slow_link", "village", "wait_for"]


_POLL = 0.05
"""Seconds between two polls."""
_WINDOW = 5.0
"""Seconds of readings that a power cut may take (the default of uplink.durability_window)."""


class Unsettled(Exception):
    """This machine cannot run a row (a tool is missing, or a right): said, and counted as failed."""


@dataclass
class Verdict:
    """What a row found. `figures` are printed in its line; anything in `broken` fails it."""

    figures: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def must(self, holds: object, what: str) -> None:
        if not holds:
            self.broken.append(what)

    def add(self, other: Verdict) -> None:
        """Another part of the same row: figures that count are summed."""
        for name, value in other.figures.items():
            if isinstance(value, int) and isinstance(self.figures.get(name, 0), int):
                self.figures[name] = self.figures.get(name, 0) + value
            else:
                self.figures[name] = value
        self.broken += other.broken


class Village:
    """An agent with a slave, a broker behind a link, a collector and a subscriber. Every reading is counted.

    Register 0 of the slave grows with each poll, so each number that the far side misses is a reading that was lost.
    """

    def __init__(self, folder: Path, *broker_lines: str, front: Any = None) -> None:
        """`front`, if given, makes what stands between the agent and the broker from the broker's port."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.slave = Slave()
        self.broker = Mosquitto(folder, *broker_lines).start()
        self.link = Link(self.broker.port) if front is None else front(self.broker.port)
        (folder / "site").mkdir()
        self._stage = tempfile.TemporaryDirectory(prefix="bocage-torture-", dir="/dev/shm")
        (folder / "site" / "run").symlink_to(self._stage.name)
        self.site = Site(folder / "site", self.slave, self.link.port)
        self.site.document["devices"]["m"]["poll"] = f"{_POLL * 1000:.0f}ms"
        self.site.document["buses"]["plant"]["timeout"] = "5s"  # on a busy machine too, no answer is given up
        self.site.allow("m.relay2")
        self.subscriber = Subscriber(self.broker.port)
        self.kills = 0
        self._collector: subprocess.Popen[bytes] | None = None
        self.given_up: set[int] = set()
        """Polls that a power cut may have taken: those of the durability window before it."""

    def with_tank(self) -> None:
        """A tank whose pump (relay2) starts at 40 % and stops at 85 % of its level (register 1)."""
        self.site.document["signals"]["tank"] |= {"stale_after": "10s"}
        self.site.document["actuators"]["well"] = {"output": "m.relay2", "safe_state": "off", "boot_state": "off"}
        tank = {"level": "tank", "pump": "well", "start": "40 %", "stop": "85 %", "low": "10 %", "high": "95 %"}
        self.site.document["water"] = {"tanks": {"reservoir": tank}}

    def with_room(self) -> None:
        """A room whose boiler (relay2) follows its temperature at once, both ways. Register 1: 8 mA is 10 degC."""
        room = {"from": "m.level", "signal": "4-20mA", "scale": [0, 40], "unit": "degC", "stale_after": "10s"}
        self.site.document["signals"]["room"] = room
        self.site.document["actuators"]["boiler"] = {"output": "m.relay2", "safe_state": "off", "boot_state": "off"}
        zone = {"sensor": "room", "control": {"type": "hysteresis"}, "plant": {"burner": "boiler"}}
        zone |= {"setpoints": {"comfort": 19, "reduced": 19, "frost": 8}}
        self.site.document["heating"] = {"zones": {"school": zone}}

    def collect(self) -> None:
        """Begin to collect; returns when the collector listens."""
        arguments = [f"mqtt://127.0.0.1:{self.broker.port}", "--sqlite", str(self.database)]
        log = (self.folder / "collect.log").open("ab")
        self._collector = subprocess.Popen(
            [sys.executable, "-m", "agent", "collect", *arguments], stdout=log, stderr=log
        )

        def listens() -> bool:
            hello = b'{"code": "", "kind": ""}'  # no event by its schema: refused, so it came
            self.subscriber.client.publish("bocage/v1/nobody/event", hello, qos=1)
            with contextlib.suppress(BocageError):  # the file is being made
                return self._look(lambda store: store.refused) > 0
            return False

        wait_for(listens, 20, "the collector")

    @property
    def database(self) -> Path:
        return self.folder / "region.db"

    def accounts(self) -> list[StoreAccount]:
        return self._look(lambda store: [one for one in store.accounts() if one.site != "nobody"])

    def collected(self, point: str) -> set[Any]:
        """Every value of a point that the collector has."""
        query = "SELECT value FROM reading WHERE point = ?"
        return self._look(lambda store: {value for (value,) in store.db.execute(query, (point,))})

    def _look(self, what: Callable[[CollectStore], Any]) -> Any:
        store = CollectStore(self.database, create=False)
        try:
            return what(store)
        finally:
            store.close()

    def edges(self) -> list[tuple[int, bool]]:
        """The writes that moved a relay. A start whose slave is slow to be read writes what stands once more."""
        coils: dict[int, bool] = {}
        moved = []
        for address, on in self.slave.writes:
            if coils.get(address, False) != on:
                moved.append((address, on))
            coils[address] = on
        return moved

    def kill(self) -> None:
        self.site.kill()
        self.kills += 1

    def cut_power(self) -> None:
        """The process is gone, and all that was in memory: the stage, the socket, and what the relays held."""
        self.kill()
        for found in (self.site.folder / "run").resolve().iterdir():
            found.unlink()
        last = self.slave.registers[0]
        self.given_up |= set(range(last - round(_WINDOW / _POLL), last + 1))
        self.slave.coils[:] = [False] * 8

    def polls(self, n: int, seconds: float = 30.0) -> None:
        """Wait for so many more polls."""
        target = self.slave.registers[0] + n
        wait_for(lambda: self.slave.registers[0] >= target, seconds, f"{n} polls")

    def settle(self, seconds: float = 60.0) -> None:
        """Wait until all that was read up to now is collected, or nothing more comes."""
        last, end = self.slave.registers[0], time.monotonic() + seconds
        while time.monotonic() < end and last not in self.collected("m.count"):
            time.sleep(0.3)
        wait_for(lambda: sum(one.missing for one in self.accounts()) == 0 or time.monotonic() > end, seconds + 5)

    def verdict(self, told_as_lost: bool = False, **figures: Any) -> Verdict:
        """The account: made, delivered, duplicates, lost, and what every row must hold to.

        With `told_as_lost` polls may be missing, if only their numbers are not: gap records name them.
        """
        made = self.slave.registers[0]
        counts, accounts = self.collected("m.count"), self.accounts()
        # A kill may fall between the slave's answer and the hub: the last answer of a connection was never accepted.
        unseen = set(range(1, max(counts, default=0) + 1)) - counts - set(self.slave.ends) - self.given_up
        found = Verdict(
            {
                "kills": self.kills,
                "made": made,
                "delivered": sum(one.readings for one in accounts),
                "duplicates": sum(one.duplicates for one in accounts),
                "gaps": sum(one.gaps for one in accounts),
                "lost": (0 if told_as_lost else len(unseen)) + sum(one.missing for one in accounts),
                **figures,
            }
        )
        found.must(counts, "nothing was collected")
        if told_as_lost:
            found.figures["polls told as lost"] = len(unseen)
        found.must(told_as_lost or not unseen, f"{len(unseen)} polls never arrived, such as {sorted(unseen)[:5]}")
        found.must(not any(one.missing for one in accounts), "numbers are missing without a gap record")
        found.must(not any(one.conflicts for one in accounts), "one key came with two contents")
        return found

    def close(self) -> None:
        for process in (self.site.process, self._collector):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
        self.subscriber.close()
        self.slave.close()
        self.link.close()
        self.broker.stop()
        self._stage.cleanup()


@contextlib.contextmanager
def village(folder: Path, *broker_lines: str, front: Any = None) -> Iterator[Village]:
    made = Village(folder, *broker_lines, front=front)
    try:
        made.collect()
        yield made
    finally:
        made.close()


class SlowLink:
    """A TCP proxy that hands everything on `delay` seconds later each way; it can swallow everything (`deaf`).

    A deaf link is a half-open one: nothing is refused, nothing arrives.
    """

    def __init__(self, broker_port: int, delay: float = 0.0) -> None:
        self.delay, self.deaf = delay, False
        self._to = broker_port
        self.port = self.accepted = 0
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        ready = threading.Event()
        threading.Thread(target=self._run, args=(ready,), daemon=True).start()
        ready.wait(5)

    def _run(self, ready: threading.Event) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._ended.wait()
        server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        except asyncio.CancelledError:
            writer.transport.abort()
            far_writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not self.deaf:
                    self._loop.call_later(self.delay, _write, writer, data)
        self._loop.call_later(self.delay, writer.close)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)

    def cut(self) -> None:
        self.deaf = True

    def mend(self) -> None:
        self.deaf = False


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)


def slow_link(delay: float) -> Callable[[int], SlowLink]:
    return lambda port: SlowLink(port, delay)
