"""A backlog of a million readings drains while live ones go on: how fast, how late the live ones, how much memory.

.venv/bin/python -m tests.bench.backlog --send FOLDER PORT LIVE      is the sender, a process of its own
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import queue
import random
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from agent.clock import SystemClock
from agent.model import Reading, Readings
from agent.outbox import Outbox
from tests.bench import rig
from tests.fakes.clock import FakeClock

__all__ = ["Drain", "drain", "measure"]

DEVICES, REGISTERS = 20, 50


# -- the sender: an outbox, an uplink, and a live device -----------------------------------------------------------


async def send(folder: Path, port: int, live: float) -> None:
    """Send what lies in the outbox, and a look at a device `live` times a second, whose values say when it was."""
    from agent.uplink.dialects.native import Native
    from agent.uplink.settings import UplinkSettings
    from agent.uplink.uplink import Uplink

    clock = SystemClock("always")
    out = Outbox.open(folder / "state", Path(f"/dev/shm/bocage-bench-{folder.name}"), clock)
    settings = UplinkSettings("127.0.0.1", port, client_id="bocage-bench")
    dialect = Native(settings.prefix, "bench")
    uplink = Uplink(settings, dialect, out, _refuse, clock, agent="0", config_hash="", state=dict)
    print("ready", flush=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(out.run())
        group.create_task(uplink.run())
        while True:
            at = clock.now()
            out.put([Reading(f"live.r{i}", time.monotonic(), at) for i in range(10)], 2)
            await asyncio.sleep(1 / live)


async def _refuse(command: Any) -> Any:
    raise NotImplementedError


# -- a backlog -----------------------------------------------------------------------------------------------------


async def fill(folder: Path, readings: int) -> int:
    """An outage in which so many readings came, 1,000 a second; bytes of the blocks."""
    stage = Path(tempfile.mkdtemp(prefix="bocage-bench-", dir="/dev/shm"))
    boottime = time.clock_gettime(time.CLOCK_BOOTTIME)
    clock = FakeClock(boottime, boot=SystemClock("always").boot, epoch=time.time() - boottime)
    rng = random.Random(1)
    out = Outbox.open(folder / "state", stage, clock)
    values = [[round(rng.uniform(10, 400), 1) for _ in range(REGISTERS)] for _ in range(DEVICES)]
    for _ in range(readings // (DEVICES * REGISTERS)):
        for device, row in enumerate(values):
            out.put(_look(clock, device, row, rng), 2)
        clock.at += 1
        clock.epoch -= 1  # hours of an outage pass in seconds
        await out._pass()
    await out.close()
    shutil.rmtree(stage)
    return int(out.status()["bytes"])


def _look(clock: FakeClock, device: int, row: list[float], rng: random.Random) -> Readings:
    moment = clock.now()
    for i in range(REGISTERS):
        row[i] = round(row[i] + rng.choice((0, 0, 0, 0, 0.1, -0.1, 0.2, -0.2)), 1)
    return [Reading(f"dev-{device:02}.register_{i}", value, moment) for i, value in enumerate(row)]


# -- a slow link ---------------------------------------------------------------------------------------------------


class Link:
    """A proxy with a delay each way (s), and so many bytes a second towards the broker."""

    def __init__(self, to: int, delay: float = 0.0, rate: float = 0.0) -> None:
        self._to, self._delay, self._rate = to, delay, rate
        self.sent = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        if rate:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for source, sink, rate in ((near, far, self._rate), (far, near, 0.0)):
                    line: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                    threading.Thread(target=self._read, args=(source, line, rate), daemon=True).start()
                    threading.Thread(target=self._write, args=(sink, line), daemon=True).start()

    def _read(self, source: socket.socket, line: queue.SimpleQueue[tuple[float, bytes]], rate: float) -> None:
        free = time.monotonic()
        with contextlib.suppress(OSError):
            while data := source.recv(1024 if rate else 65536):
                now = time.monotonic()
                if rate:
                    free = max(free, now) + len(data) / rate
                    time.sleep(max(0.0, free - now))
                    self.sent += len(data)
                line.put((time.monotonic() + self._delay, data))
        line.put((0.0, b""))

    def _write(self, sink: socket.socket, line: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        with contextlib.suppress(OSError):
            while (item := line.get())[1]:
                time.sleep(max(0.0, item[0] - time.monotonic()))
                sink.sendall(item[1])

    def close(self) -> None:
        self._listener.close()


# -- measuring -----------------------------------------------------------------------------------------------------


class Drain(NamedTuple):
    """One run: readings a second, p99 of live ones (ms), highest RSS (MB), bytes a reading, part of the link used."""

    per_second: float
    live_p99_ms: float
    rss_mb: float
    bytes_a_reading: float
    used: float


def drain(
    folder: Path, readings: int, *, delay: float = 0.0, rate: float = 0.0, seconds: float = 60.0, live: float = 10.0
) -> Drain:
    """Drain a backlog through a link; with a `rate`, what `seconds` of it bring. `live` looks a second beside it."""
    folder.mkdir(parents=True)
    if readings:
        asyncio.run(fill(folder, readings))
    with rig.broker(folder) as broker, rig.listener(broker.port) as heard:
        link = Link(broker.port, delay, rate) if delay or rate else None
        port = link.port if link else broker.port
        with _sender(folder, port, live) as process:
            rig.until(lambda: heard.messages, 20, "a first message", process)
            began, peak, counted, seen, sent = time.monotonic(), 0, 0, 0, link.sent if link else 0
            while time.monotonic() - began < seconds and (not readings or counted < readings):
                time.sleep(0.05)
                peak = max(peak, process.sample().rss)
                messages = heard.messages
                while seen < len(messages):
                    counted += _history(messages[seen][2])
                    seen += 1
            took = time.monotonic() - began
            used = (link.sent - sent) / took / rate if link and rate else 0.0
        if link:
            link.close()
    shutil.rmtree(f"/dev/shm/bocage-bench-{folder.name}", ignore_errors=True)
    history = [(at, body) for at, _, body in heard.messages if _history(body)]
    late = [at - value for at, _, body in heard.messages if not _history(body) for value in _stamps(body)]
    span = history[-1][0] - history[0][0] if len(history) > 1 else 0.0
    count = sum(_history(body) for _, body in history)
    size = sum(len(body) for _, body in history)
    return Drain(
        count / span if span else 0.0,
        statistics.quantiles(late, n=100)[98] * 1000 if len(late) > 1 else float("nan"),
        peak / 1e6,
        size / count if count else 0.0,
        used,
    )


@contextlib.contextmanager
def _sender(folder: Path, port: int, live: float) -> Iterator[rig.Process]:
    command = [sys.executable, "-m", "tests.bench.backlog", "--send", str(folder), str(port), str(live)]
    process = rig.Process(command, folder / "sender.log", {"PYTHONPATH": str(rig.CLONE)})
    try:
        yield process
    finally:
        process.stop()


def _history(body: bytes) -> int:
    """Readings in a message of history; 0 if it is none."""
    if body[:1] != b"\x78":
        return 0
    batch = json.loads(zlib.decompress(body))
    return sum(len(entries) for entries in batch["p"].values())


def _stamps(body: bytes) -> list[float]:
    batch = json.loads(body) if body[:1] == b"{" else {}
    return [entry[1] for name, entries in batch.get("p", {}).items() if name.startswith("live.") for entry in entries]


def measure(folder: Path) -> dict[str, Drain]:
    """All figures: nothing to drain, a million readings, the same over a long way, and a thin line."""
    return {
        "empty": drain(folder / "empty", 0, seconds=10),
        "million": drain(folder / "million", 1_000_000, seconds=60),
        "far": drain(folder / "far", 1_000_000, delay=0.15, seconds=60),
        "thin": drain(folder / "thin", 200_000, rate=8_000, seconds=40, live=1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--send", nargs=3)
    options = parser.parse_args()
    if options.send:
        folder, port, live = options.send
        asyncio.run(send(Path(folder), int(port), float(live)))
        return 0
    with tempfile.TemporaryDirectory(prefix="bocage-bench-backlog-", dir="/var/tmp") as name:
        for what, found in measure(Path(name)).items():
            print(what, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
