"""What the outbox costs: CPU a put and a message, bytes on flash a reading, and whether a long backlog is dearer.

.venv/bin/python tests/bench/bench_outbox.py [FOLDER]      FOLDER on the disk to be measured (default: here)
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent.model import Reading, Readings
from agent.outbox import Outbox
from agent.outbox.blocks import Block, encode, lots_of, pack
from agent.outbox.store import Store, Work
from tests.fakes.clock import FakeClock

_BOOT = "6f1c7d6e-0000-4000-8000-000000000001"
_DEVICES, _REGISTERS = 20, 50


def _seconds(clock: FakeClock) -> Iterator[Readings]:
    """A site's looks at its devices, a tenth of a decimal at a time: 1,000 values a second."""
    rng = random.Random(1)
    values = [[round(rng.uniform(10, 400), 1) for _ in range(_REGISTERS)] for _ in range(_DEVICES)]
    while True:
        start = clock.at
        for device in range(_DEVICES):
            clock.at = start + device * 0.001
            moment = clock.now()
            row = values[device]
            for i in range(_REGISTERS):
                row[i] = round(row[i] + rng.choice((0, 0, 0, 0, 0.1, -0.1, 0.2, -0.2)), 1)
            yield [Reading(f"dev-{device:02}.register_{i}", value, moment) for i, value in enumerate(row)]
        clock.at = start + 1


def _written() -> int:
    line = next(line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("write_bytes"))
    return int(line.split()[1])


def _micros(action: Callable[[], Any], times: int = 2000) -> float:
    start = time.process_time()
    for _ in range(times):
        action()
    return (time.process_time() - start) / times * 1e6


async def _bytes(folder: Path, up: bool, seconds: int) -> dict[str, float]:
    """Bytes written a reading at 1,000 values/s, with the link up, or down and then drained."""
    clock = FakeClock(boot=_BOOT)
    out = Outbox.open(folder / "state", _shm(), clock)
    looks, start = _seconds(clock), _written()
    for _ in range(seconds):
        for _ in range(_DEVICES):
            out.put(next(looks), 2)
            if up:
                out.accepted(await out.take())
        await out._pass()
    appended = (_written() - start) / (seconds * 1000)
    while not up and out.status()["rows"]:
        out.accepted(await out.take())
        clock.at += 0.015  # 65 messages a second
        await out._pass()
    clock.at += 6
    await out._pass()
    await out.close()
    return {"append": appended, "total": (_written() - start) / (seconds * 1000)}


def _shm() -> Path:
    return Path(tempfile.mkdtemp(prefix="bocage-bench-", dir="/dev/shm"))


class _Backlog:
    """A database that holds so many readings, and what one step on it costs."""

    def __init__(self, folder: Path, readings: int) -> None:
        folder.mkdir()
        self._store = Store(folder)
        self._block = _template()
        self._newest, self._oldest = max(1, readings // self._block.n), 1
        for start in range(0, self._newest, 100):
            rows = range(start, min(start + 100, self._newest))
            self._store.commit(Work(blocks=[(row + 1, self._block) for row in rows]))
        self._store.checkpoint()
        self.cost: dict[str, list[float]] = {"append": [], "peek": [], "delete": []}

    def step(self) -> None:
        """Write a block, read one ahead, delete one."""
        self._newest += 1
        _timed(self.cost["append"], lambda: self._store.commit(Work(blocks=[(self._newest, self._block)])))
        _timed(self.cost["peek"], lambda: self._store.blocks_after(self._oldest - 1, 1, 1))
        _timed(self.cost["delete"], lambda: self._store.commit(Work(done_blocks=[self._oldest])))
        self._oldest += 1

    def medians(self) -> dict[str, float]:
        """Milliseconds."""
        self._store.close()
        return {name: sorted(values)[len(values) // 2] for name, values in self.cost.items()}


def _compare(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """A backlog of 1,000 and one of 1,000,000 readings, in turns, so that a busy machine hurts both alike."""
    small, large = _Backlog(folder / "small", 1_000), _Backlog(folder / "large", 1_000_000)
    for _ in range(150):
        small.step()
        large.step()
    return small.medians(), large.medians()


def _timed(into: list[float], action: Callable[[], Any]) -> None:
    start = time.perf_counter()
    action()
    into.append((time.perf_counter() - start) * 1000)


def _template() -> Block:
    """A block of 1,000 readings."""
    looks = _seconds(FakeClock())
    return next(pack([lot for i in range(20) for lot in lots_of(next(looks), 2, "bench", 1 + i * 50, 0.0)]))


def run(folder: Path | None = None) -> dict[str, Any]:
    """All figures; `folder` lies on the disk to be measured."""
    with tempfile.TemporaryDirectory(prefix="bocage-bench-", dir=folder or Path.cwd()) as name:
        base = Path(name)
        clock = FakeClock(boot=_BOOT)
        look = next(_seconds(clock))
        out = Outbox.open(base / "cpu", _shm(), clock)
        put = _micros(lambda: out.put(look, 2), 1000)
        lots = lots_of(look, 2, out.store, 1, 0.0)
        up, down = asyncio.run(_bytes(base / "up", True, 300)), asyncio.run(_bytes(base / "down", False, 1500))
        small, large = _compare(base)
        return {
            "put_50_us": round(put, 1),
            "encode_50_us": round(_micros(lambda: encode(lots)), 1),
            "bytes_a_reading_up": round(up["total"], 2),
            "bytes_a_reading_down": round(down["append"], 2),
            "bytes_a_reading_down_and_drained": round(down["total"], 2),
            **{f"{name}_ms_1k": round(small[name], 3) for name in small},
            **{f"{name}_ms_1m": round(large[name], 3) for name in large},
            **{f"{name}_ratio": round(large[name] / small[name], 2) for name in small},
        }


if __name__ == "__main__":
    figures = run(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    for name, value in figures.items():
        print(f"{name:<36} {value:>10}")
    print(json.dumps(figures))
    os.sync()
