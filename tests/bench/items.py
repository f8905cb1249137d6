"""The measurements. Each gives the rows of the table that it stands for."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench import rig

__all__ = ["ITEMS", "Row"]

WARM_UP = 15.0
WINDOW = 30.0
WRAP = 0x10000


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `goal` is what `ours` (or the ratio ours / plain) is to stay at or under."""

    item: str
    unit: str
    ours: float | None
    plain: float | None = None
    goal: float | None = None
    goal_is_ratio: bool = False

    @property
    def ratio(self) -> float | None:
        return self.ours / self.plain if self.ours is not None and self.plain else None

    @property
    def reached(self) -> bool | None:
        value = self.ratio if self.goal_is_ratio else self.ours
        return None if self.goal is None or value is None else value <= self.goal

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "reached": self.reached}


@dataclass(frozen=True, slots=True)
class Load:
    """What one program did under load."""

    per_second: float
    lost: int
    cpu_ms: float
    """CPU milliseconds per 1,000 values delivered."""
    rss_mb: float
    p50_ms: float
    p99_ms: float
    written: float
    """Bytes written to disks per value."""


# -- load ------------------------------------------------------------------------------------------------------------


def load_1k(folder: Path) -> Iterator[Row]:
    """20 devices x 50 registers every second: 1,000 values/s."""
    ours, plain = _both(folder, devices=20, period=1.0)
    yield Row("1,000 values/s: delivered", "values/s", ours.per_second, plain.per_second)
    yield Row("1,000 values/s: polls lost", "", ours.lost, plain.lost, goal=0)
    yield Row("1,000 values/s: CPU per 1,000 values", "ms", ours.cpu_ms, plain.cpu_ms, 1.0, goal_is_ratio=True)
    yield Row("1,000 values/s: RSS", "MB", ours.rss_mb, plain.rss_mb, 40)
    yield Row("1,000 values/s: wire to subscriber p50", "ms", ours.p50_ms, plain.p50_ms)
    yield Row("1,000 values/s: wire to subscriber p99", "ms", ours.p99_ms, plain.p99_ms, 10)
    yield Row("1,000 values/s: bytes written per reading, link up", "B", ours.written, plain.written, 1)


def load_10k(folder: Path) -> Iterator[Row]:
    """200 devices x 50 registers every second: 10,000 values/s."""
    ours, plain = _both(folder, devices=200, period=1.0)
    yield Row("10,000 values/s: delivered", "values/s", ours.per_second, plain.per_second)
    yield Row("10,000 values/s: polls lost", "", ours.lost, plain.lost, goal=0)
    yield Row("10,000 values/s: CPU per 1,000 values", "ms", ours.cpu_ms, plain.cpu_ms, 0.55, goal_is_ratio=True)
    yield Row("10,000 values/s: RSS", "MB", ours.rss_mb, plain.rss_mb)
    yield Row("10,000 values/s: wire to subscriber p99", "ms", ours.p99_ms, plain.p99_ms)


def _both(folder: Path, devices: int, period: float) -> tuple[Load, Load]:
    with rig.broker(folder) as broker, rig.tcp_slaves(folder, devices) as first:
        site = rig.write_tcp_site(folder / "ours", broker.port, first, devices, period)
        with rig.listener(broker.port) as heard, rig.agent(site) as ours:
            our_load = _under_load(ours, heard)
        with rig.listener(broker.port) as heard, rig.plain(folder, "tcp", broker.port, first, devices, period) as plain:
            plain_load = _under_load(plain, heard)
    return our_load, plain_load


def _under_load(process: rig.Process, heard: rig.Listener) -> Load:
    time.sleep(WARM_UP)
    before, first_message = process.sample(), len(heard.messages)
    time.sleep(WINDOW)
    after, last_message = process.sample(), len(heard.messages)
    time.sleep(1)
    stamps, counts, values = [], defaultdict(list), 0
    for arrival in heard.arrivals(slice(first_message, last_message)):
        if arrival.register == "r0":
            stamps.append((round(arrival.at * 10_000) - arrival.value) % WRAP / 10)
        else:
            counts[arrival.device].append(arrival.value)
            values += rig.REGISTERS
    if not values:
        raise RuntimeError(f"nothing arrived: {process.tail()}")
    seconds = after.at - before.at
    return Load(
        per_second=values / seconds,
        lost=sum(map(holes, counts.values())),
        cpu_ms=(after.cpu - before.cpu) * 1e6 / values,
        rss_mb=after.rss / 1e6,
        p50_ms=statistics.median(stamps),
        p99_ms=statistics.quantiles(stamps, n=100)[98],
        written=(after.written - before.written) / values,
    )


def holes(numbers: Iterable[int]) -> int:
    """How many are missing between the first and the last of a counter that wraps at 65,536; repeats do not count."""
    seen: set[int] = set()
    base: int | None = None
    for number in numbers:
        base = number if base is None else base
        seen.add((number - base + WRAP // 2) % WRAP)
    return max(seen) - min(seen) + 1 - len(seen) if seen else 0


# -- an outage -------------------------------------------------------------------------------------------------------


def outage(folder: Path) -> Iterator[Row]:
    """The broker is killed, and started again 30 s later, at 1,000 values/s."""
    devices, away = 20, 30.0
    between_attempts = away + 2.5  # the plain script tries every 5 s: neither lucky nor unlucky
    with rig.broker(folder) as broker, rig.tcp_slaves(folder, devices) as first:
        site = rig.write_tcp_site(folder / "ours", broker.port, first, devices, 1.0)
        with rig.listener(broker.port) as heard, rig.agent(site) as ours:
            before = _cut(broker, heard, ours, away)
            down = ours.sample()
            our_wait = _back(broker, heard)
            time.sleep(10)  # the backlog drains, and the deletions reach the disk
            after = ours.sample()
            lost = _holes_of(heard)
        buffered = rig.REGISTERS * devices * (down.at - before.at)
        with rig.listener(broker.port) as heard, rig.plain(folder, "tcp", broker.port, first, devices, 1.0) as plain:
            _cut(broker, heard, plain, between_attempts)
            plain_wait = _back(broker, heard)
            time.sleep(3)
            plain_lost = _holes_of(heard)
    yield Row("30 s outage: first message after the broker is back", "s", our_wait, plain_wait, 1.5)
    yield Row("30 s outage: polls lost", "", lost, plain_lost, 0)
    yield Row(
        "30 s outage: bytes written per reading, link down", "B", (down.written - before.written) / buffered, None, 8
    )
    yield Row("30 s outage: the same with the drain", "B", (after.written - before.written) / buffered, None, 14)


def _cut(broker: rig.Broker, heard: rig.Listener, process: rig.Process, away: float) -> rig.Sample:
    """Let it run, take the broker away for so long; the sample is of the moment of the cut."""
    rig.until(lambda: heard.messages, 15, "the first message", process)
    time.sleep(6)
    broker.kill()
    at_the_cut = process.sample()
    heard.pause()
    time.sleep(away)
    return at_the_cut


def _back(broker: rig.Broker, heard: rig.Listener) -> float:
    """Seconds from the broker's return to the first message."""
    known = len(heard.messages)
    broker.launch()
    rig.until(heard.connect, 5, "the broker is back")  # first of all, or it would miss what others publish
    back_at = time.monotonic()
    rig.until(lambda: len(heard.messages) > known, 30, "the first message after the outage")
    return heard.messages[known][0] - back_at


def _holes_of(heard: rig.Listener) -> int:
    counts = defaultdict(list)
    for arrival in heard.arrivals(registers=("r1",)):
        counts[arrival.device].append(arrival.value)
    return sum(map(holes, counts.values()))


# -- a serial line ---------------------------------------------------------------------------------------------------


def rtu(folder: Path) -> Iterator[Row]:
    """Four slaves x 10 registers at 9600 baud, polled as fast as the line goes; the slave takes 5 ms to answer."""
    units, registers, seconds = 4, 10, 15.0
    ratios = []
    for who in ("ours", "plain"):
        with rig.broker(folder) as broker, rig.rtu_line(folder, 5) as (terminal, end):
            if who == "ours":
                running: Any = rig.agent(rig.write_rtu_site(folder / "ours", broker.port, terminal, units, registers))
            else:
                running = rig.plain(folder, "rtu", terminal, units, registers)
            with running as process:
                time.sleep(seconds)
                requests, took, needed = end()
                if requests < 10:
                    raise RuntimeError(f"{who}: {requests} requests only: {process.tail()}")
            ratios.append(took / needed)
    yield Row("RTU line at 9600: cycle time over wire time", "", ratios[0], ratios[1], 1.10)


# -- the outbox, and the start ---------------------------------------------------------------------------------------


def outbox(folder: Path) -> Iterator[Row]:
    """What appending, peeking and deleting cost at a backlog of a million readings, over the cost at a thousand."""
    from tests.bench import bench_outbox

    figures = bench_outbox.run(folder)
    for name in ("append", "peek", "delete"):
        cost = figures[f"{name}_ratio"]
        yield Row(f"outbox: {name} with 1,000,000 waiting over 1,000", "", cost, None, 1.5)
    yield Row("outbox: taking in one look of 50 registers", "µs", figures["put_50_us"])


def start(folder: Path) -> Iterator[Row]:
    """From the command to the first reading at the subscriber, the middle of three starts."""
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    with rig.broker(folder) as broker, rig.tcp_slaves(folder, 20) as first:
        for turn in range(3):
            site = rig.write_tcp_site(folder / f"ours{turn}", broker.port, first, 20, 1.0)
            for who in ("ours", "plain"):
                running = rig.agent(site) if who == "ours" else rig.plain(folder, "tcp", broker.port, first, 20, 1.0)
                with rig.listener(broker.port) as heard, contextlib.ExitStack() as stack:
                    process = stack.enter_context(running)
                    rig.until(lambda heard=heard: heard.messages, 15, "the first reading", process)
                    times[who].append(heard.messages[0][0] - process.started)
    yield Row("start to first reading at the subscriber", "s", *(statistics.median(times[who]) for who in times), 1.5)


# -- a backlog -------------------------------------------------------------------------------------------------------


def backlog(folder: Path) -> Iterator[Row]:
    """A million readings of an outage, drained beside live ones."""
    from tests.bench import demo_bytes
    from tests.bench.backlog import measure

    found, demo = measure(folder), demo_bytes.measure(folder)
    empty, million, far, thin = (found[name] for name in ("empty", "million", "far", "thin"))
    yield Row("backlog of a million: drained", "readings/s", million.per_second)
    yield Row("backlog of a million: the time of it", "s", 1e6 / million.per_second, None, 1e6 / 113_000)
    yield Row("backlog of a million: live p99 meanwhile", "ms", million.live_p99_ms, None, 100)
    yield Row("backlog of a million: RSS more than without", "MB", million.rss_mb - empty.rss_mb, None, 5)
    yield Row("backlog of a million: bytes a reading on the air", "B", million.bytes_a_reading, None, 5)
    yield Row("the demo's readings, windows of 5 s: bytes each on flash", "B", demo["flash"], None, 5)
    yield Row("the demo's readings, windows of 5 s: bytes each on the air", "B", demo["air"], None, 5)
    yield Row("backlog of a million, round trip 300 ms: drained", "readings/s", far.per_second)
    yield Row("backlog of a million, round trip 300 ms: the time of it", "s", 1e6 / far.per_second, None, 20)
    yield Row("backlog on 64 kbit/s: part of the link unused", "%", 100 * (1 - thin.used), None, 20)


# -- the controls ----------------------------------------------------------------------------------------------------


def step(folder: Path) -> Iterator[Row]:
    """Lighting, water and heating of Saint-Seine in virtual time."""
    from tests.bench import bench_control

    asked, forced = bench_control.step(folder)
    yield Row("control: a step of the whole site, as it comes", "ms", asked, None, 0.1)
    yield Row("control: the same, every control stepped though nothing changed", "ms", forced)


def alarms(_folder: Path) -> Iterator[Row]:
    """A step of an alarm on a point, for each kind of condition."""
    from tests.bench import bench_alarms

    for kind, took in bench_alarms.steps().items():
        yield Row(f"alarm: a step, {kind}", "ms", took, None, 0.1)


def year(folder: Path) -> Iterator[Row]:
    """365 days of the same on one core."""
    from tests.bench import bench_control

    yield Row("control: 365 days of a site in virtual time, CPU", "s", bench_control.year(folder), None, 120)


def village(folder: Path) -> Iterator[Row]:
    """Forty days of the village with all, every analogue input another each minute, beside those of Saint-Seine."""
    from tests.bench import bench_control

    ours, saint_seine, varied = bench_control.village(folder)
    yield Row("control: 40 days of the village with all, CPU", "s", ours, None)
    yield Row("control: the same, over those of Saint-Seine nearly idle", "times", ours / saint_seine, None)
    yield Row("control: the same, over those of Saint-Seine whose inputs vary too", "times", ours / varied, None, 3)


# -- radio -----------------------------------------------------------------------------------------------------------


def lorawan(folder: Path) -> Iterator[Row]:
    """200 nodes on our own network server."""
    from tests.bench import lora

    for item, unit, ours, goal in lora.rows(folder):
        yield Row(item, unit, ours, None, goal)


# -- the simulation --------------------------------------------------------------------------------------------------


def simulation(folder: Path) -> Iterator[Row]:
    """Lives full of faults in virtual time, at 100 numbers a minute."""
    from tests.bench.simulation import cost

    for world, name, goal in (("agent", "whole agent", 1.0), ("outbox", "outbox and uplink", 0.2)):
        took = cost(world)
        yield Row(f"simulation: an hour of the {name}, CPU", "s", took.cpu_s_an_hour, None, goal)
        yield Row("    numbers a minute in it", "", took.numbers_a_minute)


ITEMS = {
    "load": load_1k, "load10": load_10k, "outage": outage, "rtu": rtu, "outbox": outbox, "start": start,
    "backlog": backlog, "step": step, "alarms": alarms, "year": year, "village": village, "lora": lorawan,
    "simulation": simulation,
}  # fmt: skip
