"""One world from one seed: a village, its wires, its broker, its machine, and the lives of its agent."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import hashlib
import json
import math
import os
import pickle
import random
import shutil
import signal
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.simulation import bounds, clock_judge, meters, outputs, pins_judge, radio_judge
from tests.simulation.broker import Broker
from tests.simulation.crash import crashes, in_a_line
from tests.simulation.database import Files, connector
from tests.simulation.datagrams import Datagrams
from tests.simulation.disk import Disk
from tests.simulation.edges import FileCalls, edges
from tests.simulation.faults import Mixture, command
from tests.simulation.judge import RETRY, STARTS, Judge, wrote_last
from tests.simulation.loop import LIFE, Killed, SimLoop
from tests.simulation.outputs import Asked, Diary
from tests.simulation.systemd import Manager, ask
from tests.simulation.turns import LOOKS
from tests.simulation.village import Village
from tests.simulation.wire import Wire, pair

S = 1_000_000_000


@dataclass
class Doubt:
    """From the beginning of a boot until the box knows the time, or the next boot (virtual s)."""

    begin: float
    end: float = math.inf


HELD = {
    "agent.lib.resolver": ("_under_way", "_found"),
    "agent.lib.secret": ("_handed", "_withdrawn", "_last"),
    "agent.lib.tls": ("_last",),
}
"""What modules hold: it goes with the process, and lives of one world share one."""


class Life:
    """One process of the agent."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.tasks: list[asyncio.Task[Any]] = []
        self.wires: list[Wire] = []
        self.task: asyncio.Task[Any] | None = None
        self.dead = False
        self.agent: Any = None
        """Nothing of it runs any more."""


class World:
    FURNISHED = True
    """Whether the village may have radio and pins."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder, self._place = seed, folder, str(folder).encode()
        streams = "disk", "delays", "net", "bytes", "clock"
        self._dice = {name: random.Random(f"{seed}/{name}") for name in streams}
        self.loop = SimLoop(self._dice["delays"])
        self.loop.dial = self.dial
        self.state, self.run_folder, self.etc = folder / "state", folder / "run", folder / "etc"
        self.proc = folder / "machine"
        self.notify = str(folder / "notify")
        self.environment = {"NOTIFY_SOCKET": self.notify, "BOCAGE_CLOCK": "trusted", "BOCAGE_MACHINE": "box"}
        for place in (folder / "grave", self.run_folder, self.etc, self.proc):
            place.mkdir(parents=True, mode=0o700, exist_ok=True)
        self.disk = Disk(self.state, folder / "grave", self._dice["disk"])
        self.disk.blown = self._blown
        self.alive = False
        self._files = Files(f"simulated-{id(self)}", self.disk, lambda: self.alive)
        self.connect = connector(self._files)
        self.broker = Broker(self.loop)
        self.hosts: dict[str, Any] = {"broker": self.broker.connect}
        self.deaf: set[str] = set()
        self.refuses: set[str] = set()
        self.nameless: set[str] = set()
        self._healed = False
        """Hosts whose name nobody can resolve."""
        self.latency = self.far = 0.02
        """Seconds on the way, within the cabinet and to the broker."""
        self.booted_at = 0.0
        self._poll = self.loop.poll
        self._looked, self._boottime_ns, self._boottime = -1.0, 0, 0.0
        self.boots = 0
        self.shift_ns = self.wrong_ns = 0
        self.known, self.clock_late = True, False
        """Whether the box knows the time, and whether it takes a while until it does after a boot."""
        self.doubts: list[Doubt] = []
        self.life: Life | None = None
        self.lives = 0
        self.plans: dict[Any, bytes] = {}
        self.blown_how = "kill"
        self.log: list[str] = []
        self.died: list[float] = []
        self.cuts: list[tuple[float, float]] = []
        """When the process ended and when the power did."""
        self.diary = Diary()
        self.broker.delivered = self._delivered
        self.commands = self.by_hand = self.radio_commands = self.pin_commands = self.light_commands = 0
        self.off_until = 0.0
        self.answers: Counter[tuple[str, bool]] = Counter()
        """What technicians asked, and whether it was carried out."""
        self._healing: list[Any] = []
        self.datagrams = Datagrams(self.loop)
        self.notified: Callable[[bytes], None] = lambda data: None
        """What the agent tells systemd."""
        self.village = Village(seed, self.loop.time, self.loop.call_later, self.datagrams, self.FURNISHED)
        self._start_ns = self.village.start_ms * 1_000_000
        self.judge = Judge(self.loop.time)
        self.judge.is_hurt = self.was_hurt
        self.broker.accepted = self.judge.took
        self.broker.refused = self.judge.refused
        self.broker.acknowledged = self.judge.acknowledged
        self._digest = hashlib.blake2b(digest_size=16)
        self.broker.packets = self._note
        self.slaves = list(self.village.slaves.values())
        self.slave = self.slaves[0]
        self.judge.made_up = self.slave.lies.keys()
        self.hosts |= self.village.hosts
        self.calls = FileCalls(self)
        self.village.write(self.etc)
        self._machine()

    def _note(self, way: str, kind: int, body: bytes) -> None:
        body = body.replace(self._place, b"")  # its name is another one each time, of one length
        self._digest.update(b"%d %d %s" % (round(self._poll.now * 1e6), kind, body))

    @property
    def digest(self) -> str:
        """Of all packets that the broker got and all frames that the slaves got, with their moments."""
        if self.village.board is not None:
            for move in self.village.board.moves:
                self._digest.update(repr((round(move.at * 1e6), move.value)).encode())
        for slave in self.slaves:
            for at, *what in slave.writes:
                self._digest.update(repr((slave.name, round(at * 1e6), what)).encode())
        if self.village.air is not None:
            for order in self.village.air.gateway.orders:
                self._digest.update(b"%d %s" % (round(order.at * 1e6), order.frame))
        return self._digest.hexdigest()

    # -- the machine ---------------------------------------------------------------------------------------------

    def _machine(self) -> None:
        def put(name: str, text: str) -> None:
            path = self.proc / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

        put("proc/self/stat", "1 (python) S " + " ".join(["0"] * 50))
        put("proc/loadavg", "0.10 0.10 0.10 1/100 1\n")
        put("proc/self/statm", "10000 9000 0 0 0 0 0\n")
        put("proc/self/mounts", "tmpfs / tmpfs rw 0 0\n")
        put("proc/net/route", "Iface Destination Gateway\neth0 00000000 0101A8C0\n")
        self.new_boot()
        self.booted_at -= 10.0  # the box was on before the first process began

    def new_boot(self) -> None:
        self.boots += 1
        self.booted_at, self._looked = self.loop.time(), -1.0
        path = self.proc / "proc/sys/kernel/random/boot_id"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{self.boots:08x}-0000-4000-8000-{self.seed:012x}\n")
        if self.clock_late:
            self.forget_time()

    def forget_time(self) -> None:
        """The clock of a box without a battery: it shows what it likes until a time server is heard."""
        dice, doubt = self._dice["clock"], Doubt(self.loop.time())
        self.known, self.wrong_ns = False, dice.choice((-400 * 86_400, -3_600, -20, 7_200)) * S
        self.doubts.append(doubt)

        def hear() -> None:
            doubt.end = self.loop.time()
            if self.doubts[-1] is doubt:
                self.known, self.wrong_ns = True, 0

        self.until_healed(dice.expovariate(1 / dice.choice((20, 300, 1800))), hear)

    def redirected(self, path: str) -> str:
        return str(self.proc) + path

    def boottime_ns(self, which: int = 0) -> int:
        """Every clock that the agent asks for is the one since the boot."""
        self.monotonic()
        return self._boottime_ns

    def monotonic(self, which: int = 0) -> float:
        poll = self._poll
        poll.looks += 1
        if poll.now != self._looked or poll.looks == LOOKS:  # many look in one moment
            self._look()
        return self._boottime

    def _look(self) -> None:
        self._looked = now = self._poll.look()
        self._boottime_ns = round((now - self.booted_at) * 1e6) * 1000
        self._boottime = self._boottime_ns / 1e9

    def wall_ns(self) -> int:
        return self._start_ns + round(self._poll.now * 1e6) * 1000 + self.shift_ns + self.wrong_ns

    def random_bytes(self, n: int) -> bytes:
        return self._dice["bytes"].randbytes(n)

    def disk_usage(self, path: Any) -> Any:
        return shutil._ntuple_diskusage(1 << 33, 1 << 32, 1 << 32)  # type: ignore[attr-defined]

    def statvfs(self, path: Any) -> Any:
        return os.statvfs_result((4096, 4096, 1 << 21, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 0, 255))

    def delay(self) -> float:
        return self._dice["delays"].random() * 0.01

    def popen(self, command: list[str], **more: Any) -> Any:
        return Reader(self, command)

    # -- the network ---------------------------------------------------------------------------------------------

    def lag(self) -> float:
        return self.latency * (0.5 + self._dice["net"].random())

    def far_lag(self) -> float:
        return self.far * (0.5 + self._dice["net"].random())

    def dial_now(self, address: Any, timeout: Any = None, source_address: Any = None, **more: Any) -> Wire:
        """socket.create_connection, for paho in its thread."""
        host = address[0]
        if host in self.deaf:
            raise TimeoutError("timed out")
        if host in self.nameless:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if host in self.refuses or host not in self.hosts:
            raise ConnectionRefusedError(111, os.strerror(111))
        ours, theirs = pair(self.loop, host, self.far_lag)
        self.hosts[host](theirs)
        return ours

    async def dial(self, host: str, port: int) -> Wire:
        await asyncio.sleep(self.lag())
        if host in self.deaf:
            await asyncio.sleep(120)
            raise TimeoutError("timed out")
        if host in self.refuses or host not in self.hosts:
            raise ConnectionRefusedError(111, os.strerror(111))
        ours, theirs = pair(self.loop, host, self.lag)
        self.hosts[host](theirs)
        return ours

    def look_up(self, host: str, port: int, *args: Any, **more: Any) -> list[Any]:
        return [(2, 1, 6, "", (host, port))]

    # -- lives ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A process of the agent starts, if none is there."""
        if self.life is not None or self.loop.time() < self.off_until:
            return
        self.lives += 1
        self.diary.begun.append(self.loop.time())
        life = self.life = Life(self.lives)
        self.alive = True
        for module, names in HELD.items():
            for name in names if module in sys.modules else ():
                getattr(sys.modules[module], name).clear()
        if self.village.board is not None:
            self.village.board.begin()
        context = contextvars.copy_context()
        context.run(LIFE.set, life)
        life.task = context.run(self.loop.create_task, self._live())
        life.task.add_done_callback(self._ended, context=contextvars.Context())

    def begin_later(self, seconds: float) -> None:
        self.loop.call_later(seconds, self.begin)

    async def _live(self) -> int:
        from agent.app import Agent
        from agent.runtime.configuration import Configuration
        from agent.settings import SettingsReader

        site = self.etc / "site.yaml"
        configuration = Configuration.choose(site, SettingsReader(site), str(self.state))
        assert self.life is not None
        agent = self.life.agent = Agent(configuration, self.run_folder)
        return await agent.run()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        """The process has ended by itself: systemd starts it anew, and a crash is on record."""
        if self.life is None or self.life.task is not task:
            return
        error = task.exception()
        if isinstance(error, Killed):
            return  # `_die` is on its way
        if error is not None:
            self.judge.must(False, f"the agent ended by {in_a_line(error)}")
        elif task.result():
            self.judge.must(False, f"the agent ended with {task.result()}, by {crashes.last or 'no exception'}")
        else:
            self.diary.stopped.append(self.loop.time())
        self.kill()
        self.begin_later(1.0)

    def _blown(self) -> None:
        """In the middle of a change of the disk the process is gone."""
        life = self.life
        self.alive = False
        if life is not None:
            life.dead = True
            self.loop.silence(life)
            for wire in life.wires:
                wire.close()
        self.loop.call_soon(self._die, context=contextvars.Context())
        raise Killed

    def _die(self) -> None:
        if self.blown_how == "power":
            self.cut_power()
            self.begin_later(8.0)
        else:
            self.kill()
            self.begin_later(1.0)

    def kill(self) -> None:
        life = self.life
        self.alive = False
        if life is None:
            return
        self.died.append(self.loop.time())
        life.dead = True
        self.life = None
        self.disk.fuse = None
        for wire in life.wires:
            wire.close()
        self.loop.bury(life)
        self._files.bury()
        self.calls.close_all()
        if self.village.board is not None:
            self.village.board.end()

    def cut_power(self) -> None:
        """The box and the module in its cabinet."""
        self.kill()
        self.cuts.append((self.died[-1] if self.died else 0.0, self.loop.time()))
        self.disk.cut()
        for slave in self.slaves:
            slave.restart()
        if self.village.air is not None and self.village.air.gateway.on:
            self.village.air.gateway.switch_on()
        for found in self.run_folder.iterdir():
            found.unlink()
        self.off_until = self.loop.time() + 4.0
        self.new_boot()

    def windows(self, slack: float) -> list[tuple[float, float]]:
        """For each power cut: until when somebody could write, and when it was; a slow disk takes `slack` s more."""
        return [(wrote_last(died, self.diary.begun, self.died, STARTS + slack), cut) for died, cut in self.cuts]

    def unwritten(self) -> list[tuple[float, float]]:
        """When the flash could not be written: also before, if nobody was there to write since a process died."""
        return [(self._idle_since(begin), end) for begin, end in self.disk.hurt]

    def _idle_since(self, at: float) -> float:
        died = max((one for one in self.died if one <= at), default=0.0)
        return at if any(died < one <= at for one in self.diary.begun) else died or at

    def stop(self) -> None:
        self.diary.stopping.append(self.loop.time())
        self.loop.raise_signal(signal.SIGTERM)

    # -- what happens in it ----------------------------------------------------------------------------------------

    def until_healed(self, seconds: float, heal: Any) -> None:
        """After so many seconds, or at the end of the faults, it is as it was; soon, if they have ended."""
        self._healing.append(heal)
        seconds = min(seconds, 20.0) if self._healed else seconds

        def now() -> None:
            if heal in self._healing:
                self._healing.remove(heal)
                heal()

        self.loop.call_later(seconds, now)

    def until_peace(self, seconds: float, hurt: Callable[[], None]) -> None:
        """After so many seconds, unless the faults have ended by then."""
        self.loop.call_later(seconds, lambda: self._healed or hurt())

    def heal(self) -> None:
        healing, self._healing, self._healed = self._healing, [], True
        for one in healing:
            one()

    def still_wrong(self) -> set[str]:
        """Codes of what may be wrong though the faults are over."""
        codes = set()
        if "unanswered" in self.mixture.pauses:
            codes.add("uplink_refused")  # who cuts at messages is spared some
        if self.mixture.done["slave_stuck"]:
            codes.add("output_mismatch")  # it is not written a third time
        if self.mixture.done["clock_step"]:
            codes.add("clock_untrusted")
        if self.etc.joinpath("site.yaml").read_text()[:1] != "{":
            codes.add("config_invalid")  # the last technician saved rubbish
        return codes

    def was_hurt(self) -> bool:
        """Whether the flash refuses to be written, or did so lately."""
        return self.disk.ails or any(end + RETRY >= self.loop.time() for _, end in self.disk.hurt)

    def reset_host(self, host: str) -> None:
        if self.life is not None:
            for wire in self.life.wires:
                if wire.name == host and wire.fileno() >= 0:
                    wire.reset()

    def command(self, dice: random.Random) -> None:
        self.commands += 1
        name, body = command(self.commands, dice, self.village.start_ms + round(self.loop.time() * 1000))
        self.broker.send(f"bocage/v1/v/cmd/{name}", body)
        again = dice.random()
        if again < 0.1:
            self.broker.send(f"bocage/v1/v/cmd/{name}", body)
        elif again < 0.3:  # the region is not sure whether it came
            self.loop.call_later(dice.choice((5.0, 40.0, 300.0)), self.broker.send, f"bocage/v1/v/cmd/{name}", body)

    def _delivered(self, topic: str, payload: bytes) -> None:
        self.diary.asked.append(Asked(self.loop.time(), json.loads(payload)))

    def technician(self, dice: random.Random) -> None:
        """Somebody stands at the box."""
        what = dice.choice(("status", "status", "read", "write", "write", "reload"))
        request: dict[str, Any] = {"do": what}
        if what == "write":
            self.by_hand += 1
            request |= {"point": "fan", "value": 60_000 + self.by_hand * 1_709 % 5_000, "hold_ms": 60_000}
            self.diary.asked.append(Asked(self.loop.time(), request))
        ask(self, request)

    def edit(self, dice: random.Random) -> None:
        """A technician saves the site file."""
        text = self.village.edited(dice)
        self.diary.edited.append(self.loop.time())
        if text[:1] == "{" and '"lamp"' not in text:
            self.diary.without_lamp.append(self.loop.time())
        (self.etc / "site.yaml").write_text(text)


class Reader:
    """The process that reads a site file: done at once, and once for each content."""

    def __init__(self, world: World, command: list[str]) -> None:
        self.returncode = 0
        self._world, self._arguments = world, command[4:]

    def communicate(self) -> tuple[bytes, None]:
        from agent.site.build.found import read

        site, home = Path(self._arguments[0]), Path(self._arguments[-1])
        beside = [path for path in sorted(site.parent.rglob("*")) if path.is_file()]
        key = site, home, tuple((path, path.read_bytes()) for path in beside)
        if key not in self._world.plans:
            self._world.plans[key] = pickle.dumps(read(site, home))
        return self._world.plans[key], None


def run(seed: int, hours: float, only: set[str] | None = None) -> World:
    """One world, for so many hours with faults and a quarter without; its judge knows what was broken."""
    with world(seed) as made:
        mixture = Mixture(made, only)
        made.mixture = mixture
        if "clock_unknown" in mixture.pauses:
            made.clock_late = True
            os.environ["BOCAGE_CLOCK"] = ""  # what the site file says holds
            made.forget_time()
        made.begin()
        mixture.begin()

        def calm() -> None:
            mixture.end()
            made.heal()
            made.begin_later(5.0)

        made.loop.call_later(hours * 3600, calm)
        bounds.look(made)
        made.loop.call_later(hours * 3600 + 1800, made.loop.stop)
        made.loop.run_forever()
        told = made.village.slaves if "unanswered" not in mixture.pauses else ()  # who cuts at messages is spared some
        steps, wrong = "clock_step" in mixture.pauses, made.still_wrong()
        made.judge.last_words(made.broker.retained, told, made.wall_ns() // 1_000_000, steps)
        made.kill()
    judge = made.judge
    judge.alarms(made.slave.answers, made.died, made.disk.hurt, made.diary.begun[1:])
    judge.at_peace(made.slave.answers, made.died, made.disk.hurt, wrong)
    levels = [(one.at, one.body.get("value")) for one in made.diary.asked if one.body.get("point") == "fan"]

    def unkept(ms: int | None) -> bool:
        hurt, steps = made.disk.hurt, mixture.done["clock_step"] > 0
        if ms is None or steps:
            return bool(hurt)
        at = (ms - made.village.start_ms) / 1000
        return any(begin - 1.0 <= at <= died <= end + 70.0 for begin, end in hurt for died in made.died)

    judge.commands(made.slave.writes, levels, unkept)
    judge.answered(made.cuts, made.disk.hurt)
    slack = 8.0 if "slow_disk" in mixture.pauses else 0.0
    judge.readings(made.slave.answers, made.windows(slack), made.unwritten(), slack)
    outputs.judge(made)
    meters.judge(made)
    clock_judge.judge(made)
    radio_judge.judge(made)
    pins_judge.judge(made)
    for store, runs in judge.missing().items():
        judge.must(False, f"numbers of {store} neither came nor were told: {runs[:5]}")
    return made


@contextlib.contextmanager
def world(seed: int) -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="bocage-simulation-", dir="/dev/shm") as folder:
        made = World(seed, Path(folder))
        asyncio.set_event_loop(made.loop)
        Manager(made)
        with edges(made):
            yield made

