"""What goes wrong in a world, and how often: a mixture that the seed draws, each kind switched off in half of them."""

from __future__ import annotations

import errno
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.simulation.radio_faults import RADIO

__all__ = ["KINDS", "Mixture"]

HOUR = 3600.0


class Mixture:
    """Kinds and their mean pauses (virtual s). `done` counts what was really done.

    Each kind has dice of its own: without one of them, or with a new one, the others come when they came before.
    """

    def __init__(self, world: Any, only: set[str] | None = None) -> None:
        self._world = world
        self._dice = {name: random.Random(f"{world.seed}/faults/{name}") for name in KINDS}
        self.done: Counter[str] = Counter()
        drawn = {name: (dice.random() < 0.5, dice.choice((0.3, 1, 3))) for name, dice in self._dice.items()}
        self.pauses = {name: KINDS[name][0] * often for name, (on, often) in drawn.items()
                       if (on if only is None else name in only)}  # fmt: skip
        self._on = True

    def begin(self) -> None:
        for name in self.pauses:
            self._next(name)

    def end(self) -> None:
        """From now on nothing goes wrong any more."""
        self._on = False

    def _next(self, name: str) -> None:
        pause = self._dice[name].expovariate(1 / self.pauses[name])
        self._world.loop.call_later(max(0.01, pause), self._do, name)

    def _do(self, name: str) -> None:
        if not self._on:
            return
        self.done[name] += 1
        KINDS[name][1](self._world, self._dice[name])
        self._next(name)


def _for(world: Any, dice: random.Random, begin: Callable[[], None], end: Callable[[], None], mean: float) -> None:
    begin()
    world.until_healed(dice.expovariate(1 / mean), end)


def _kill(world: Any, dice: random.Random) -> None:
    world.kill()
    world.begin_later(dice.choice((0.2, 1.0, 30.0)))


def _power(world: Any, dice: random.Random) -> None:
    world.cut_power()
    world.begin_later(dice.choice((5.0, 20.0, 600.0)))


def _fuse(world: Any, dice: random.Random) -> None:
    """Killed, or without power, in the middle of a change of the disk."""
    world.disk.fuse = dice.randrange(1, 40)
    world.blown_how = dice.choice(("kill", "power"))


def _restart(world: Any, dice: random.Random) -> None:
    world.stop()


def _link(world: Any, dice: random.Random) -> None:
    world.broker.cut()


def _away(world: Any, dice: random.Random) -> None:
    def begin() -> None:
        (world.deaf if deaf else world.refuses).add("broker")
        (world.broker.silence if dice.random() < 0.5 else world.broker.cut)()

    deaf = dice.random() < 0.5
    def end() -> None:
        (world.deaf if deaf else world.refuses).discard("broker")

    _for(world, dice, begin, end, dice.choice((20, 300, 7200)))


def _half_open(world: Any, dice: random.Random) -> None:
    world.broker.silence()


def _refusing(world: Any, dice: random.Random) -> None:
    code = dice.choice((0x97, 0x87, 0x80))
    share = dice.choice((0.05, 0.5, 1.0))

    def begin() -> None:
        world.broker.puback = lambda topic: code if dice.random() < share else 0

    _for(world, dice, begin, lambda: setattr(world.broker, "puback", lambda topic: 0), 60)


def _unanswered(world: Any, dice: random.Random) -> None:
    share = dice.choice((0.02, 0.3))

    def begin() -> None:
        world.broker.cut_at = lambda: dice.choice(("before", "after")) if dice.random() < share else ""

    _for(world, dice, begin, lambda: setattr(world.broker, "cut_at", lambda: ""), 60)


def _door(world: Any, dice: random.Random) -> None:
    code = dice.choice((0x89, 0x97, 0x87, 0x88))

    def begin() -> None:
        world.broker.connack = lambda: code if dice.random() < 0.8 else 0
        world.broker.cut()

    _for(world, dice, begin, lambda: setattr(world.broker, "connack", lambda: 0), 60)


def _taken(world: Any, dice: random.Random) -> None:
    world.broker.end(0x8E)


def _disk(number: int) -> Callable[[Any, random.Random], None]:
    def hurt(world: Any, dice: random.Random) -> None:
        def begin() -> None:
            if number == errno.ENOSPC:
                world.disk.room = dice.choice((0, 700, 50_000))
            else:
                world.disk.fault = number

        def end() -> None:
            world.disk.fault, world.disk.room = 0, None
            world.disk.hurt.append((since, world.loop.time()))

        since = world.loop.time()

        _for(world, dice, begin, end, dice.choice((1, 30, 300)))

    return hurt


def _slave(kind: str) -> Callable[[Any, random.Random], None]:
    def hurt(world: Any, dice: random.Random) -> None:
        share = dice.choice((0.1, 0.5, 1.0))
        slave = dice.choice(world.slaves)
        _for(world, dice, lambda: setattr(slave, kind, share), lambda: setattr(slave, kind, 0.0), 40)

    return hurt


def _slave_off(world: Any, dice: random.Random) -> None:
    host = dice.choice([*world.village.hosts, *world.village.ports])

    def begin() -> None:
        world.refuses.add(host)
        world.village.at(host).restart()
        world.reset_host(host)

    _for(world, dice, begin, lambda: world.refuses.discard(host), 20)


def _clock(world: Any, dice: random.Random) -> None:
    step = dice.choice((-7200, -30, -1, 1, 30, 7200, 86_400))
    world.shift_ns += step * 1_000_000_000
    world.until_healed(dice.expovariate(1 / 300), lambda: setattr(world, "shift_ns", 0))


def _command(world: Any, dice: random.Random) -> None:
    world.command(dice)


def _technician(world: Any, dice: random.Random) -> None:
    world.technician(dice)


def _slow(world: Any, dice: random.Random) -> None:
    _for(world, dice, lambda: setattr(world.loop, "slow", 4.0), lambda: setattr(world.loop, "slow", 0.0), 30)


def _reload(world: Any, dice: random.Random) -> None:
    world.edit(dice)
    world.loop.raise_signal(1)


KINDS: dict[str, tuple[float, Callable[[Any, random.Random], None]]] = {
    "kill": (900, _kill),
    "power_cut": (1800, _power),
    "fuse": (900, _fuse),
    "restart": (3600, _restart),
    "reload": (1800, _reload),
    "link_cut": (600, _link),
    "half_open": (1200, _half_open),
    "broker_away": (1800, _away),
    "refused": (1200, _refusing),
    "unanswered": (1200, _unanswered),
    "door": (1800, _door),
    "taken_over": (2400, _taken),
    "disk_error": (1800, _disk(errno.EIO)),
    "disk_full": (1800, _disk(errno.ENOSPC)),
    "disk_read_only": (3600, _disk(errno.EROFS)),
    "slave_silent": (600, _slave("silent")),
    "slave_late": (600, _slave("late")),
    "slave_noisy": (600, _slave("noisy")),
    "slave_excepts": (600, _slave("excepts")),
    "slave_off": (1800, _slave_off),
    "clock_step": (1800, _clock),
    "command": (120, _command),
    "technician": (180, _technician),
    "slow_disk": (1200, _slow),
    **RADIO,
}


def command(number: int, dice: random.Random) -> tuple[str, bytes]:
    """A command of the region: a level that no other one asks for, mostly; sometimes what is to be refused."""
    name = f"c-{number}"
    point, value = ("fan", number % 60_000 + 1) if dice.random() < 0.6 else ("lamp", dice.random() < 0.5)
    body: dict[str, Any] = {"id": name, "point": point, "value": value, "ttl_ms": dice.choice((5_000, 60_000, 600_000))}
    if dice.random() < 0.5:
        body["hold_ms"] = dice.choice((10_000, 600_000))
    if dice.random() < 0.05:
        body["point"] = dice.choice(("m.relay2", "nobody", "clock"))
    return name, json.dumps(body).encode()
