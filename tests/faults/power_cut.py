"""Power cuts, replayed: what a real outbox wrote is recorded, and every way in which a cut could have left it is tried.

    figures = run(folder, states=300)

A child process works on an outbox and a state file under strace, which records each write, sync, rename and removal
in their order. At a cut, what was synced is there; of what was not, nothing, all, or any choice of sectors. Names are
made, changed and removed in their order, and are sure once the folder was synced. The stage (tmpfs) is gone. Then the
outbox is opened and emptied, and an account is made of every number that was ever given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.core.state import State
from agent.model import Event, Reading
from agent.outbox import Message, Outbox
from agent.outbox.blocks import decode
from tests.fakes.clock import FakeClock

__all__ = ["Figures", "run"]

WINDOW = 5.0
CLONE = Path(__file__).parents[2]
CALLS = "openat,write,pwrite64,fsync,fdatasync,ftruncate,rename,unlink,close"
ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")
CALL = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+)")


@dataclass
class Figures:
    """What was tried and found. `faults` are broken promises, in words: there must be none."""

    states: int = 0
    writes: int = 0
    readings: int = 0
    delivered: int = 0
    explained: int = 0
    faults: list[str] = field(default_factory=list)


# -- the child ---------------------------------------------------------------------------------------------------


async def work(folder: Path, seed: int, turns: int) -> None:
    """Put, take, accept, record; each promise that was given is marked in the same stream of writes."""
    rng, clock = random.Random(seed), FakeClock()
    marks = (folder / "marks").open("ab", buffering=0)

    def mark(**what: Any) -> None:
        marks.write(json.dumps(what).encode() + b"\n")

    state = State.open(folder / "state")
    out = Outbox.open(folder / "state", folder / "stage", clock, window=WINDOW, max_bytes=300_000)
    mark(open=out.store)
    held: list[Message] = []
    for turn in range(turns):
        n, at, first = rng.randint(1, 60), clock.now(), out._writer.numbers.next
        readings = [Reading(f"meter-a.r{i}", round(rng.uniform(0, 1000), 2), at) for i in range(n)]
        mark(put=[out.store, first, clock.at, [reading.value for reading in readings]])
        out.put(readings, rng.choice((1, 2, 2, 2, 3)))
        clock.at += rng.choice((0.1, 1, 2))
        await out._pass()
        mark(passed=clock.at)
        if rng.random() < 0.3:
            await out.put_event(Event("change", "x", f"km{turn}", clock.now()))
            mark(event=f"km{turn}")
        while rng.random() < (0.6 if turn % 60 < 30 else 0.1) and (message := await next_of(out)) is not None:
            held.append(message)
        for message in held:
            if rng.random() < 0.2:
                out.put_back(message)
                continue
            mark(accepted=accepted_of(message))
            out.accepted(message)
        held.clear()
        if turn % 10 == 0:
            mark(writing=turn)
            state.put("turn", turn, now=True)
            mark(state=turn)


def accepted_of(message: Message) -> Any:
    if message.kind == "readings":
        return [(row.store, row.seq) for row in decode(message.body)]
    event = json.loads(message.body)
    return [(*event["k"], event["subject"])]


async def next_of(out: Outbox) -> Message | None:
    """The next message; None if there is none although all is idle."""
    task, idle = asyncio.ensure_future(out.take()), 0
    while not task.done():
        await asyncio.sleep(0)
        idle = idle + 1 if not out._jobs else 0
        if idle == 10:
            task.cancel()
            return None
    return task.result()


# -- the recording ---------------------------------------------------------------------------------------------------


def record(folder: Path, seed: int, turns: int) -> list[tuple[Any, ...]]:
    """What the child did to its files: (call, path, …) in order, and its marks."""
    trace = folder / "trace"
    command = ["strace", "-f", "-xx", "-s", "10000000", "-e", f"trace={CALLS}", "-o", str(trace), sys.executable, "-m",
               "tests.faults.power_cut", "--work", str(folder), str(seed), str(turns)]  # fmt: skip
    subprocess.run(command, check=True, cwd=CLONE)
    return list(_operations(trace, folder))


def _operations(trace: Path, folder: Path) -> Iterator[tuple[Any, ...]]:
    files: dict[int, str] = {}
    begun: dict[str, str] = {}
    inside = str(folder / "state")
    for line in trace.read_text().splitlines():
        process, _, text = line.partition(" ")
        text = text.strip()
        if text.endswith("<unfinished ...>"):
            begun[process] = text.removesuffix("<unfinished ...>").rstrip()
            continue
        if text.startswith("<..."):
            text = begun.pop(process) + text.partition("resumed>")[2]
        found = CALL.match(text)
        if not found or int(found[3]) < 0:
            continue
        call, arguments, result = found[1], found[2], int(found[3])
        strings = [ESCAPED.sub(lambda m: bytes([int(m[1], 16)]), part.encode()) for part in
                   re.findall(r'"((?:\\x[0-9a-f]{2})*)"', arguments)]  # fmt: skip
        if call == "openat":
            files[result] = strings[0].decode()
            if files[result].startswith(inside):
                yield ("open", files[result], "O_TRUNC" in arguments, "O_CREAT" in arguments)
            continue
        if call in ("rename", "unlink"):
            if strings[0].decode().startswith(inside):
                yield (call, *(part.decode() for part in strings))
            continue
        descriptor = int(arguments.partition(",")[0])
        path = files.get(descriptor, "")
        if call == "close":
            files.pop(descriptor, None)
        elif path == str(folder / "marks") and call == "write":
            yield ("mark", json.loads(strings[0]))
        elif not path.startswith(inside) or path.endswith("-shm"):
            continue
        elif call in ("fsync", "fdatasync"):
            yield ("sync", path)
        elif call == "ftruncate":
            yield ("truncate", path, int(arguments.split(",")[1]))
        else:
            yield ("write", path, strings[0], int(arguments.rsplit(",", 1)[1]) if call == "pwrite64" else None)


# -- a disk that forgets -----------------------------------------------------------------------------------------


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[Any, ...]] = field(default_factory=list)
    length: int = 0


class Disk:
    """Applies operations; `left` is what one cut could leave."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._names: dict[str, _File] = {}
        self._sure: dict[str, _File] = {}
        self._pending: list[tuple[Any, ...]] = []

    def apply(self, operation: tuple[Any, ...]) -> None:
        call, path, *rest = operation
        if call == "sync" and path == self._folder:
            self._sure = dict(self._names)
            self._pending.clear()
        elif call == "rename":
            self._names[rest[0]] = self._names.pop(path)
            self._pending.append(dict(self._names))
        elif call == "unlink":
            self._names.pop(path, None)
            self._pending.append(dict(self._names))
        elif path == self._folder:
            return
        elif call == "open":
            if path not in self._names and rest[1]:
                self._names[path] = _File()
                self._pending.append(dict(self._names))
            elif rest[0] and path in self._names:
                self._names[path].pending.append(("truncate", 0))
                self._names[path].length = 0
        elif path in self._names:
            self._change(self._names[path], call, rest)

    def _change(self, file: _File, call: str, rest: list[Any]) -> None:
        if call == "write":
            offset = file.length if rest[1] is None else rest[1]
            file.pending.append(("write", offset, rest[0]))
            file.length = max(file.length, offset + len(rest[0]))
        elif call == "truncate":
            file.pending.append(("truncate", rest[0]))
            file.length = rest[0]
        elif call == "sync":
            file.durable = _played(file, lambda: True, 1 << 30)
            file.pending.clear()

    def left(self, how: str, rng: random.Random) -> dict[str, bytes]:
        """`how`: none, all, or torn (of what was not synced), in sectors of 512 or 4096 bytes."""
        names = self._sure
        if self._pending and how != "none":
            names = ([self._sure, *self._pending])[-1 if how == "all" else rng.randrange(len(self._pending) + 1)]
        keep = {"none": lambda: False, "all": lambda: True}.get(how, lambda: rng.random() < 0.5)
        sector = rng.choice((512, 4096))
        return {path: bytes(_played(file, keep, sector)) for path, file in names.items() if not path.endswith("-shm")}


def _played(file: _File, keep: Any, sector: int) -> bytearray:
    content = bytearray(file.durable)
    for call, *rest in file.pending:
        if call == "truncate":
            if keep():
                del content[rest[0] :]
                content.extend(bytes(rest[0] - len(content)))
            continue
        offset, data = rest
        at = 0
        while at < len(data):
            size = min(sector - (offset + at) % sector, len(data) - at)
            if keep():
                start = offset + at
                content.extend(bytes(max(0, start + size - len(content))))
                content[start : start + size] = data[at : at + size]
            at += size
    return content


# -- the account -----------------------------------------------------------------------------------------------------


@dataclass
class Promises:
    """What the child had been promised up to a moment."""

    put: dict[tuple[str, int], tuple[float, Any]] = field(default_factory=dict)
    accepted: set[tuple[str, int]] = field(default_factory=set)
    events: set[str] = field(default_factory=set)
    passed: float = 0.0
    state: tuple[int | None, int | None] = (None, None)

    def take(self, mark: dict[str, Any]) -> None:
        if "put" in mark:
            store, first, at, values = mark["put"]
            self.put |= {(store, first + i): (at, value) for i, value in enumerate(values)}
        elif "accepted" in mark:
            self.accepted |= {(store, seq) for store, seq, *_ in mark["accepted"]}
            self.events -= {subject for *_, subject in mark["accepted"] if isinstance(subject, str)}
        elif "event" in mark:
            self.events.add(mark["event"])
        elif "passed" in mark:
            self.passed = mark["passed"]
        elif "writing" in mark:
            self.state = (self.state[0], mark["writing"])
        elif "state" in mark:
            self.state = (mark["state"], mark["state"])


async def look(folder: Path, promises: Promises, figures: Figures, name: str) -> None:
    """Open what a cut left, empty it, and account for every number."""

    def fault(text: str) -> None:
        figures.faults.append(f"{name}: {text}")

    state = State.open(folder)
    if state.troubles or state.get("turn") not in promises.state:
        fault(f"state {state.get('turn')} is neither of {promises.state}; {state.troubles}")
    clock = FakeClock(boot="boot-2")
    clock.at = promises.passed + 100
    out = Outbox.open(folder, folder.parent / "stage", clock, window=WINDOW, max_bytes=300_000)
    if out.troubles:
        fault(f"troubles {out.troubles}")
    highest = max((seq for store, seq in promises.put if store == out.store), default=0)
    if out._writer.numbers.next <= highest:
        fault(f"number {out._writer.numbers.next} would be given again, up to {highest} was used")
    rows, records = {}, []
    while (message := await next_of(out)) is not None:
        clock.at += 0.1
        if message.kind == "readings":
            rows |= {(row.store, row.seq): row.value for row in decode(message.body)}
        else:
            records.append(json.loads(message.body))
        out.accepted(message)
    await out.close()
    spans = [record["detail"] for record in records if record.get("kind") == "gap"]
    dropped = {(s["store"], n) for s in spans if s["count"] is not None for n in range(s["first"], s["last"] + 1)}
    lost = {(s["store"], n) for s in spans if s["count"] is None for n in range(s["first"], s["last"] + 1)}
    told = {record["subject"] for record in records}
    if missing := promises.events - told:
        fault(f"events lost: {sorted(missing)[:5]}")
    figures.readings += len(promises.put)
    figures.delivered += len(rows)
    for key, (at, value) in promises.put.items():
        got = rows.get(key)
        if got is not None:
            if not isinstance(got, list) and got != value:
                fault(f"{key} is {got}, was {value}")
        elif key not in promises.accepted and key not in dropped:
            figures.explained += 1
            if at <= promises.passed - WINDOW:
                fault(f"{key} was put at {at}, lost at {promises.passed}")
            elif key not in lost and key[0] == out.store:
                fault(f"{key} is missing and unexplained")


def run(folder: Path, states: int = 300, seed: int = 1, turns: int = 240) -> Figures:
    """Record once, then try so many states. `folder` is empty, and on any file system."""
    figures, rng = Figures(), random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    operations = record(folder, seed, turns)
    disk, promises = Disk(str(folder / "state")), Promises()
    cuts = [index for index, operation in enumerate(operations) if operation[0] != "mark"]
    figures.writes = len(cuts)
    chosen = dict(_spread(cuts, states, rng))
    for index, operation in enumerate(operations):
        if operation[0] == "mark":
            promises.take(operation[1])
            continue
        disk.apply(operation)
        for turn in range(chosen.get(index, 0)):
            how = ("none", "all", "torn", "torn")[(figures.states + turn) % 4]
            figures.states += 1
            with tempfile.TemporaryDirectory(dir=folder) as left:
                target = Path(left) / "state"
                target.mkdir()
                for path, content in disk.left(how, rng).items():
                    (target / Path(path).name).write_bytes(content)
                asyncio.run(look(target, promises, figures, f"after write {index} ({how})"))
    return figures


def _spread(cuts: list[int], states: int, rng: random.Random) -> Iterator[tuple[int, int]]:
    """Where to cut: everywhere if there are so many states, else a random choice of places."""
    if states < len(cuts):
        yield from ((index, 1) for index in rng.sample(cuts, states))
        return
    each, more = divmod(states, len(cuts))
    yield from ((cut, each + (number < more)) for number, cut in enumerate(cuts))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", nargs=3)
    parser.add_argument("--states", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.work:
        folder, seed, turns = options.work
        asyncio.run(work(Path(folder), int(seed), int(turns)))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="bocage-power-"))
    try:
        figures = run(folder, options.states, options.seed)
    finally:
        shutil.rmtree(folder)
    print(figures)
    return 1 if figures.faults else 0


if __name__ == "__main__":
    sys.exit(main())
