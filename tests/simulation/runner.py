"""Seeds, each in a process of its own that is forked from one where everything is imported; side by side."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import logging
import os
import re
import selectors
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.simulation import pages
from tests.simulation.options import NONE

__all__ = ["WORLDS", "Job", "forked", "prepare", "sort_of", "sorts", "verdict", "with_fixed_hashes"]

WORLDS = {"agent": "tests.simulation.world", "outbox": "tests.simulation.outbox_world"}
"""What lives in the simulated world: the whole agent, or its outbox with the uplink. Each module has `run`."""
MODULES = (
    "agent.app",
    "agent.uplink.uplink",
    "agent.site.build.found",
    "agent.services.heating.build",
    "agent.services.water.build",
    "astral.sun",
    "drivers.gpio.chip",
    "drivers.lora.codecs.downlink",
    "drivers.lora.codecs.structs",
    "drivers.lora.gwmp.bus",
    "drivers.modbus.rtu",
    "drivers.modbus.serial_link",
    "drivers.modbus.tcp",
    "importlib.resources.readers",
    "ruamel.yaml",
)
"""What the agent would import at its start or later."""
ENVIRONMENT = {"PYTHONHASHSEED": "0", "BOCAGE_CLOCK": "trusted"}
_NUMBER = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d[\d.]*")
_LIST = re.compile(r"\[[^\]]*\]|\([^)]*\)")
PATIENCE = 60.0, 40.0
"""CPU seconds that a seed may use, and as many for each of its hours. One that uses more goes round in a circle."""


@dataclass(frozen=True)
class Job:
    """A life to be run: of `only` these kinds of faults, or those that the seed draws."""

    seed: int
    hours: float
    only: frozenset[str] | None = None
    world: str = "agent"
    notes: bool = False
    """Whether the log and the faults are kept, with their moments."""
    lines: bool = False
    """Whether it is noted which lines of agent/ ran; this takes longer."""

    @property
    def command(self) -> str:
        """What repeats it."""
        only = f" ONLY={','.join(sorted(self.only)) or NONE}" if self.only is not None else ""
        world = f" WORLD={self.world}" if self.world != "agent" else ""
        return f"make simulate SEEDS=1 FROM={self.seed} HOURS={self.hours:g}{only}{world}"


def with_fixed_hashes(module: str) -> None:
    """Begin again with the environment in which equal seeds give equal lives: sets of texts have an order by hash."""
    if all(os.environ.get(name) == value for name, value in ENVIRONMENT.items()):
        return
    os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], {**os.environ, **ENVIRONMENT})


def prepare(world: str) -> None:
    """Import once what each seed needs: a fork has it at no cost, and what is there when a world begins is in it."""
    from tests.simulation.crash import crashes

    logging.basicConfig(level=logging.CRITICAL, handlers=[crashes])
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")  # whoever was to await it was killed
    for name in (*MODULES, WORLDS[world]):
        importlib.import_module(name)
    if world == "agent":
        _read_a_site()
        _live_a_while()
    gc.collect()
    gc.freeze()  # the end of each life collects: not what was imported
    gc.set_threshold(100_000, 20, 20)  # a life leaves few circles, and its end collects those


def _read_a_site() -> None:
    """What is made at the first use (validators of pydantic, patterns, tables of the parser) is in each fork.

    So is the YAML of the profiles: it is composed once for each text, though each life reads it anew.
    """
    from agent.site.build.found import read
    from agent.site.language import document
    from tests.simulation.datagrams import Datagrams
    from tests.simulation.village import Village

    document._compose = _once_a_text(document._compose)
    with tempfile.TemporaryDirectory() as folder:
        place, loop = Path(folder), asyncio.new_event_loop()
        Village(0, loop.time, loop.call_later, Datagrams(loop)).write(place)  # type: ignore[arg-type]
        read(place / "site.yaml", place)
        loop.close()


def _live_a_while() -> None:
    """The interpreter fits code to what it works on, at its first uses: one life does that for all forks."""
    sys.modules[WORLDS["agent"]].run(0, 0.2)


def _once_a_text(compose: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """Nodes are read, never changed; a text in which a problem was found is composed each time."""
    roots: dict[str, Any] = {}

    def composed(document: Any, text: str) -> Any:
        if text not in roots:
            root = compose(document, text)
            if document.problems:
                return root
            roots[text] = root
        return roots[text]

    return composed


def sort_of(broken: str) -> str:
    """Which promise it was, without moments and numbers."""
    text = broken.partition(" s: ")[2] or broken
    return _NUMBER.sub("#", _LIST.sub("…", text))[:60].strip()


def forked(jobs: Iterator[Job], side_by_side: int) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Each job with what came of it, as they end."""
    running: dict[int, tuple[int, Job]] = {}
    with selectors.DefaultSelector() as ready:
        try:
            while True:
                while len(running) < side_by_side and (job := next(jobs, None)) is not None:
                    pid, out = _fork(job)
                    running[out] = pid, job
                    ready.register(out, selectors.EVENT_READ, bytearray())
                if not running:
                    return
                for key, _ in ready.select():
                    some = os.read(key.fd, 65_536)
                    key.data.extend(some)
                    if not some:
                        ready.unregister(key.fd)
                        os.close(key.fd)
                        pid, job = running.pop(key.fd)
                        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                        yield job, _told(key.data, status)
        finally:
            for out, (pid, _) in running.items():  # whoever asked has gone: each takes its folder with it
                os.close(out)
                os.kill(pid, signal.SIGINT)
                os.waitpid(pid, 0)


def _told(data: bytearray, status: int) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        return dict(json.loads(data))
    return {"broken": [f"its process ended with status {status}"]}


def _fork(job: Job) -> tuple[int, int]:
    out, into = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(into)
        return pid, out
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupted)
        os.close(out)
        _say(into, _live(job, into))
    except BaseException as error:  # noqa: BLE001
        said = traceback.format_exc()
        with contextlib.suppress(OSError):
            _say(into, {"broken": [f"the simulation itself: {error!r}", said]})
    finally:
        os._exit(0)
    raise AssertionError  # never reached


def _interrupted(number: int, frame: Any) -> None:
    """Once: a terminal tells it to all, and the first process to each of the others."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda number, frame: None)  # SIG_IGN would be told of one that is on its way
    raise KeyboardInterrupt


def _say(into: int, result: dict[str, Any]) -> None:
    data = json.dumps(result).encode()
    while data:
        data = data[os.write(into, data) :]


def _live(job: Job, into: int) -> dict[str, Any]:
    """One seed, in this process."""
    from tests.simulation.crash import in_a_line
    from tests.simulation.notes import Notes
    from tests.simulation.reached import Reached

    def stuck(number: int, frame: Any) -> None:
        where = "".join(traceback.format_stack(frame)[-6:])
        _say(into, {"broken": [f"it goes round in a circle: {limit:.0f} CPU s were not enough", where]})
        os._exit(0)

    limit = PATIENCE[0] + PATIENCE[1] * job.hours
    signal.signal(signal.SIGPROF, stuck)
    signal.setitimer(signal.ITIMER_PROF, limit)
    notes = Notes() if job.notes else None
    began, reached = time.process_time(), Reached()
    pages.collapse()
    run = sys.modules[WORLDS[job.world]].run
    with reached if job.lines else contextlib.nullcontext():
        made = run(job.seed, job.hours, set(job.only) if job.only is not None else None)
    signal.setitimer(signal.ITIMER_PROF, 0)
    uncaught = [f"at {at:.3f} s: nobody caught {what if isinstance(what, str) else in_a_line(what)}"
                for at, what in made.loop.troubles]  # fmt: skip
    return {
        "digest": made.digest, "broken": [*made.judge.broken, *uncaught], "faults": dict(made.mixture.done),
        "kinds": sorted(made.mixture.pauses), "cpu": time.process_time() - began, "hours": made.loop.time() / 3600,
        "readings": len(made.judge.content), "lives": made.lives,
        "notes": notes.kept if notes else [], "lines": reached.lines,
    }  # fmt: skip


def verdict(job: Job) -> dict[str, Any]:
    """What comes of one job."""
    return next(forked(iter([job]), 1))[1]


def sorts(broken: Collection[str]) -> set[str]:
    return {sort_of(one) for one in broken}
