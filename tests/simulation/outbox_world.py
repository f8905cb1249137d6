"""The real outbox and uplink alone, fast and long: a generator stands for wires, arbiter and controls.

    make simulate WORLD=outbox SEEDS=100 HOURS=2

A seed draws how much comes in and how small everything is: the buffer, the memory, a segment of the stage, the numbers
reserved at a time. So the rare corners (quota full, thinning, rotation, memory full) are reached in minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import logging
import os
import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.simulation import edges as machine
from tests.simulation.bounds import look_at_outbox
from tests.simulation.edges import FileCalls, edges, replaced
from tests.simulation.faults import KINDS, Mixture
from tests.simulation.outbox_judge import OutboxJudge
from tests.simulation.world import World

__all__ = ["OutboxWorld", "run"]

SCALES: list[dict[str, Any]] = [
    {},
    {"agent.outbox.messages.MOST": 3_000, "agent.outbox.stage._SEGMENT": 20_000, "agent.outbox.numbers.RANGE": 2_000,
     "agent.outbox.messages.MANY": 40},
    {"agent.outbox.stage._SEGMENT": 5_000, "agent.outbox.numbers.RANGE": 500},
]  # fmt: skip
"""Bounds of the agent, as they are and smaller, by where they stand."""
PERIODS, PER_PUT = (30.0, 60.0, 60.0), (10, 30, 100, 100)
"""Seconds between two looks at everything, and how many readings such a look has."""


class RunCalls(FileCalls):
    """`os` on the disk, and on the memory disk beside it, which may be full."""

    def __init__(self, world: OutboxWorld) -> None:
        super().__init__(world)
        self._run = str(world.run_folder)
        self._staged: set[int] = set()

    def _is_run(self, path: Any) -> bool:
        return not isinstance(path, int) and os.fsdecode(path).startswith(self._run)

    def _room(self, n: int) -> None:
        room = self._world.run_room
        if room is not None:
            if n > room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._world.run_room = room - n

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: Any = None) -> int:
        if dir_fd is None and self._is_run(path) and flags & (os.O_WRONLY | os.O_RDWR):
            if not self._world.alive:
                return int(machine._real["open"]("/dev/null", os.O_WRONLY))
            if flags & os.O_CREAT and not os.path.lexists(path):
                self._room(1)
            fd = super().open(path, flags, mode)
            self._held.add(fd)
            self._staged.add(fd)
            return fd
        return super().open(path, flags, mode, dir_fd=dir_fd)

    def close(self, fd: int) -> None:
        self._staged.discard(fd)
        super().close(fd)

    def close_all(self) -> None:
        super().close_all()
        self._staged.clear()

    def write(self, fd: int, data: Any) -> int:
        if fd in self._staged:
            if not self._world.alive:
                return len(data)
            room = self._world.run_room
            if room is not None and 0 < room < len(data):
                data = bytes(data)[:room]
            self._room(len(data))
        return super().write(fd, data)


class OutboxWorld(World):
    """`known` is whether the box knows the time, `run_room` how many bytes the memory disk still takes (None: many)."""

    FURNISHED = False  # the frames of a radio that nobody hears would cost some of the time

    def __init__(self, seed: int, folder: Path) -> None:
        self.known, self.run_room, self.machine, self.clock_waits = True, None, 1, False
        super().__init__(seed, folder)
        self.dice = random.Random(f"{seed}/outbox")
        self.calls = RunCalls(self)
        self.outbox: Any = None
        self.box: OutboxJudge = OutboxJudge(self.loop.time, self.wall_ns() // 1_000_000)
        self.broker.accepted, self.broker.refused = self.box.took, self.box.refused
        self.broker.forgotten = self.box.forgot
        self.judge = self.box  # type: ignore[assignment]
        self.period = self.dice.choice(PERIODS)
        self.per_put = self.dice.choice(PER_PUT)
        self.max_bytes = self.dice.choice((160_000, 300_000, 300_000, 200_000_000))
        self.window = self.dice.choice((5.0, 60.0, 60.0, 60.0, 60.0, 60.0))
        self.scale = self.dice.choice(SCALES)
        self.box.window = self.window
        self.box.hurt, self.box.begun, self.box.died = self.disk.hurt, self.diary.begun, self.died
        self.box.parted = self.broker.parted
        self.box.is_hurt = lambda: self.disk.ails
        self.flood = self.storm = 0
        self.breaks = False
        """Whether the link breaks, and nobody notices yet, when the storm comes."""
        self.quiet = False
        """The generator has ended."""
        self.backup: Path | None = None
        self.most = 3_000 if "agent.outbox.messages.MOST" in self.scale else 100_000

    # -- the machine ---------------------------------------------------------------------------------------------

    def new_boot(self) -> None:
        super().new_boot()
        self.run_room = None
        if self.clock_waits:
            self.known = False
            self.until_healed(self.dice.expovariate(1 / self.dice.choice((20, 900, 7200))), self._know)

    def _know(self) -> None:
        self.known = True

    def cut_power(self) -> None:
        hurt = self.disk.ails
        super().cut_power()
        self.box.cuts.append((self.died[-1] if self.died else 0.0, self.loop.time(), hurt))

    # -- a life ----------------------------------------------------------------------------------------------------

    async def _live(self) -> int:
        from agent.clock import SystemClock
        from agent.lib.machine import Machine
        from agent.outbox import Outbox
        from agent.uplink.dialects.native import Native
        from agent.uplink.settings import UplinkSettings
        from agent.uplink.uplink import Uplink

        world = self

        class Clock(SystemClock):
            def _is_set(self) -> bool:
                return world.known

        clock = Clock("always")
        outbox = self.outbox = Outbox.open(
            self.state, self.run_folder, clock,
            window=self.window, max_bytes=self.max_bytes, machine=Machine(f"m{self.machine}"),
        )  # fmt: skip
        self.box.watch(outbox)

        async def submit(command: Any) -> Any:
            raise NotImplementedError

        settings = UplinkSettings("broker", client_id="v")
        uplink = Uplink(
            settings, Native(settings.prefix, "v"), outbox, submit, clock, agent="0", config_hash="0", state=dict,
            dice=self.dice.random,
        )  # fmt: skip
        stopped = asyncio.Event()
        self.loop.add_signal_handler(signal.SIGTERM, stopped.set)
        tasks = [asyncio.ensure_future(work) for work in (outbox.run(), uplink.run(), self._generate(outbox, clock))]
        waits = asyncio.ensure_future(stopped.wait())
        await asyncio.wait([waits, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done() and task.exception() is not None:
                task.result()
        tasks[2].cancel()
        await uplink.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await outbox.close()
        return 0

    async def _generate(self, outbox: Any, clock: Any) -> None:
        from agent.model import Reading

        dice, box = self.dice, self.box
        while True:
            await asyncio.sleep(self.period * (0.5 + dice.random()))
            if self.quiet:
                continue
            many, self.flood = 1 + self.flood, 0
            for _ in range(many):
                at = clock.now()
                for cls, share in ((2, 0.6), (1, 0.2), (3, 0.2)):
                    n = max(1, round(self.per_put * share))
                    values = box.make(cls, n, at)
                    outbox.put([Reading(f"c{cls}.p{v % 7}", box.value(v), at) for v in values], cls)
                    box.was_put(values)
                if many > 1:
                    await asyncio.sleep(0.01)
            if dice.random() < 0.1:
                await self._record(outbox, clock, "audit" if dice.random() < 0.1 else "note")
            storm, self.storm = self.storm, 0
            if storm and self.breaks:
                self.broker.silence()
            await asyncio.gather(*(self._record(outbox, clock, "note") for _ in range(storm)))
            look_at_outbox(self, outbox, self.most, self.max_bytes, box.put_since(self.loop.time() - self.window / 5))

    async def _record(self, outbox: Any, clock: Any, kind: str) -> None:
        from agent.model import Event, Severity

        at = clock.now()
        number = self.box.make_event(at)
        await outbox.put_event(Event(kind, "n", "s", at, Severity.INFO, {"n": number}))
        self.box.put_event(number)

    # -- what else happens to it -----------------------------------------------------------------------------------

    def keep_copy(self) -> None:
        """Somebody makes a backup of the state folder while the agent does not run."""
        self.kill()
        self.backup = self.folder / "backup"
        self.backup.mkdir(exist_ok=True)
        for path in self.backup.iterdir():
            machine._real["unlink"](path)
        for path in self.state.iterdir():
            if path.is_file():
                with machine._io_open(self.backup / path.name, "wb") as file:
                    file.write(path.read_bytes())
        self.box.copied()
        self.begin_later(1.0)

    def put_back(self) -> None:
        if self.backup is None:
            return
        self.cut_power()
        for path in self.state.iterdir():
            if path.is_file():
                machine._real["unlink"](path)
        for path in self.backup.iterdir():
            with machine._io_open(self.state / path.name, "wb") as file:
                file.write(path.read_bytes())
        self.box.put_back()
        self.begin_later(8.0)

    def move(self) -> None:
        """The card goes into another box."""
        self.cut_power()
        self.machine += 1
        self.begin_later(8.0)


def _run_full(world: OutboxWorld, dice: random.Random) -> None:
    def begin() -> None:
        world.run_room = dice.choice((0, 0, 300, 20_000))
        world.box.run_was_full = True

    def end() -> None:
        world.run_room = None

    begin()
    world.until_healed(dice.expovariate(1 / dice.choice((60, 3600))), end)


def _outage(world: OutboxWorld, dice: random.Random) -> None:
    world.refuses.add("broker")
    world.broker.cut()
    world.until_healed(dice.expovariate(1 / 86_400), lambda: world.refuses.discard("broker"))


def _dead_flash(world: OutboxWorld, dice: random.Random) -> None:
    """The flash cannot be written for hours, and meanwhile it is busy."""
    since = world.loop.time()
    world.disk.fault = dice.choice((errno.EIO, errno.ENOSPC, errno.EROFS))

    def end() -> None:
        world.disk.fault = 0
        world.disk.hurt.append((since, world.loop.time()))

    world.until_healed(dice.expovariate(1 / 3600), end)
    for _ in range(3):
        world.loop.call_later(dice.expovariate(1 / 600), _burst, world, dice)


def _burst(world: OutboxWorld, dice: random.Random) -> None:
    world.flood += dice.choice((500, 2_000, 2_000, 6_000)) // world.per_put + 1


def _storm(world: OutboxWorld, dice: random.Random) -> None:
    """Many records at once, as where a village loses its power: its devices fall silent, and often the link does."""
    world.storm, world.breaks = dice.choice((5, 20, 60)), dice.random() < 0.5


def _old_card(world: OutboxWorld, dice: random.Random) -> None:
    """A card is copied, used on, and put back, perhaps once more: each time the box may have used numbers since."""
    world.keep_copy()
    for pause in (dice.uniform(300, 1500), dice.uniform(1500, 3000)):
        world.until_peace(pause, world.put_back)


SHARED = (
    "kill", "power_cut", "fuse", "restart", "link_cut", "half_open", "broker_away", "refused", "unanswered", "door",
    "taken_over", "twin", "forgets", "late_acks", "far", "step_kill", "disk_error", "disk_full", "disk_read_only",
    "sync_fails", "disk_unreadable", "clock_step", "slow_disk",
)
"""Kinds of faults that this world has in common with that of the whole agent."""
CORNERS: dict[str, tuple[float, Callable[[Any, random.Random], None]]] = {
    "run_full": (1800, _run_full),
    "outage": (3600, _outage),
    "flash_dead": (3600, _dead_flash),
    "burst": (1800, _burst),
    "storm": (900, _storm),
    "clock_unknown": (1e9, lambda world, dice: None),
    "copy": (5400, lambda world, dice: world.keep_copy()),
    "put_back": (10_800, lambda world, dice: world.put_back()),
    "old_card": (5400, _old_card),
    "moved": (14_400, lambda world, dice: world.move()),
}
_log = logging.getLogger("bocage.world")


class Corners(Mixture):
    """The faults of this world."""

    def __init__(self, world: Any, only: set[str] | None = None) -> None:
        super().__init__(world, set())
        self._kinds = {name: KINDS[name] for name in SHARED} | {name: _noted(name) for name in CORNERS}
        self._dice = {name: random.Random(f"{world.seed}/faults/{name}") for name in self._kinds}
        drawn = {name: (dice.random() < 0.5, dice.choice((0.3, 1, 3, 10))) for name, dice in self._dice.items()}
        self.pauses = {name: self._kinds[name][0] * often for name, (on, often) in drawn.items()
                       if (on if only is None else name in only)}  # fmt: skip

    def _do(self, name: str) -> None:
        if not self._on:
            return
        self.done[name] += 1
        self._kinds[name][1](self._world, self._dice[name])
        self._next(name)


def _noted(name: str) -> tuple[float, Callable[[Any, random.Random], None]]:
    pause, hurt = CORNERS[name]

    def hurts(world: Any, dice: random.Random) -> None:
        _log.info("FAULT %s", name)
        hurt(world, dice)

    return pause, hurts


def _scaled(scale: dict[str, Any]) -> Iterator[tuple[Any, str, Any]]:
    """What is replaced, for bounds that are reached within hours."""
    for name, value in scale.items():
        module, _, attribute = name.rpartition(".")
        yield importlib.import_module(module), attribute, value
    # the routes are asked each second, and nothing changes them here
    yield importlib.import_module("agent.uplink.uplink"), "_route_gained", _never


def _heard(box: OutboxJudge) -> tuple[Any, str, Any]:
    """Who goes on under another store says so in a record, which may be lost: the judge hears it at once."""
    from agent.outbox.writer import OutboxWriter

    say = OutboxWriter._report_move

    def said(writer: OutboxWriter, before: str, now: str, why: str) -> None:
        box.older[now] = before
        say(writer, before, now, why)

    return OutboxWriter, "_report_move", said


@contextlib.contextmanager
def outbox_world(seed: int) -> Iterator[OutboxWorld]:
    with tempfile.TemporaryDirectory(prefix="bocage-simulation-", dir="/dev/shm") as folder:
        made = OutboxWorld(seed, Path(folder))
        asyncio.set_event_loop(made.loop)
        with edges(made), replaced([*_scaled(made.scale), _heard(made.box)]):
            yield made


async def _never() -> None:
    await asyncio.Event().wait()


def run(seed: int, hours: float, only: set[str] | None = None) -> OutboxWorld:
    """So many hours with faults, then one and a half without: everything that can be told has been told by then."""
    with outbox_world(seed) as made:
        mixture = made.mixture = Corners(made, only)
        made.clock_waits = "clock_unknown" in mixture.pauses
        made.box.kinds = set(mixture.pauses)
        if made.clock_waits:
            made.known = False
            made.until_healed(made.dice.expovariate(1 / 600), made._know)
        made.begin()
        mixture.begin()

        def calm() -> None:
            mixture.end()
            made.heal()
            made.begin_later(10.0)

        end = hours * 3600
        made.loop.call_later(end, calm)
        made.loop.call_later(end + 1200, setattr, made, "quiet", True)
        made.loop.call_later(end + 5400, made.loop.stop)
        made.loop.run_forever()
        made.kill()
    made.box.finish()
    return made
