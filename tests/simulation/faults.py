"""What goes wrong in a world, and how often: a mixture that the seed draws, each kind switched off in half of them."""

from __future__ import annotations

import contextvars
import errno
import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.simulation.judge import level_of
from tests.simulation.pins import PINS
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
        how.add("broker")
        (world.broker.silence if dice.random() < 0.5 else world.broker.cut)()

    def end() -> None:
        how.discard("broker")

    how = dice.choice((world.deaf, world.deaf, world.refuses, world.refuses, world.nameless))

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


def _late_acks(world: Any, dice: random.Random) -> None:
    longest = dice.choice((0.3, 3.0, 30.0))
    broker = world.broker

    def begin() -> None:
        broker.ack_after = lambda: longest * dice.random()

    _for(world, dice, begin, lambda: setattr(broker, "ack_after", lambda: 0.0), 60)


def _detours(world: Any, dice: random.Random) -> None:
    longest = dice.choice((3.0, 30.0))
    broker = world.broker

    def begin() -> None:
        broker.detour = lambda: longest * dice.random()

    _for(world, dice, begin, lambda: setattr(broker, "detour", lambda: 0.0), 600)


def _far(world: Any, dice: random.Random) -> None:
    """A satellite, or a line that is full."""
    far = dice.choice((0.5, 2.0, 8.0))
    _for(world, dice, lambda: setattr(world, "far", far), lambda: setattr(world, "far", 0.02), 60)


def _twin(world: Any, dice: random.Random) -> None:
    """A second box with our name: the two push each other off."""
    going = {"on"}

    def come() -> None:
        if going:
            world.broker.take_over()
            world.loop.call_later(dice.expovariate(1 / 8), come)

    _for(world, dice, come, going.clear, 60)


def _forgets(world: Any, dice: random.Random) -> None:
    world.broker.forget()


def _step_kill(world: Any, dice: random.Random) -> None:
    """Killed between two steps of its tasks, wherever they stand."""
    left, loop, life = dice.randrange(1, dice.choice((10, 300, 3000))), world.loop, world.life

    def counted(callback: Any, *args: Any, context: Any = None) -> Any:
        nonlocal left
        handle = type(loop).call_soon(loop, callback, *args, context=context)
        left -= 1
        if left == 0:
            del loop.call_soon
            type(loop).call_soon(loop, gone, context=contextvars.Context())
        return handle

    def gone() -> None:
        if world.life is life:
            _kill(world, dice)

    loop.call_soon = counted


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


def _disk_in_part(what: str) -> Callable[[Any, random.Random], None]:
    def hurt(world: Any, dice: random.Random) -> None:
        def end() -> None:
            setattr(world.disk, what, 0)
            world.disk.hurt.append((since, world.loop.time()))

        since = world.loop.time()
        _for(world, dice, lambda: setattr(world.disk, what, errno.EIO), end, dice.choice((1, 30)))

    return hurt


def _unreadable(world: Any, dice: random.Random) -> None:
    """The database cannot be read: it is a start that reads. (Of other files an agent without any state comes.)"""
    _disk_in_part("read_fault")(world, dice)
    if dice.random() < 0.7:
        _kill(world, dice)


def _slave(kind: str) -> Callable[[Any, random.Random], None]:
    def hurt(world: Any, dice: random.Random) -> None:
        share = dice.choice((0.1, 0.5, 1.0))
        slave = dice.choice(world.slaves)
        _for(world, dice, lambda: setattr(slave, kind, share), lambda: setattr(slave, kind, 0.0), 40)

    return hurt


def _stuck(world: Any, dice: random.Random) -> None:
    share = dice.choice((0.3, 1.0))
    _for(world, dice, lambda: setattr(world.slave, "stuck", share), lambda: setattr(world.slave, "stuck", 0.0), 300)


def _slave_off(world: Any, dice: random.Random) -> None:
    host = dice.choice([*world.village.hosts, *world.village.ports])

    def begin() -> None:
        world.refuses.add(host)
        world.village.at(host).restart()
        world.reset_host(host)

    _for(world, dice, begin, lambda: world.refuses.discard(host), 20)


def _reset(world: Any, dice: random.Random) -> None:
    """A counter begins anew: another meter, or one that was set to 0."""
    slave = world.village.slaves["w"]
    slave.advance()
    slave.process.restart()


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


def _dry(world: Any, dice: random.Random) -> None:
    """The well is empty, where somebody watches over that."""
    slave = world.village.slaves["w"]
    tank, since = slave.process, world.loop.time()
    if tank.is_dry or "dry_run" not in world.village.site["water"]["tanks"]["reservoir"]:
        return

    def end() -> None:
        slave.advance()
        tank.is_dry = False
        world.diary.dry[-1] = since, world.loop.time()

    slave.advance()
    tank.is_dry = True
    world.diary.dry.append((since, float("inf")))
    world.until_healed(dice.expovariate(1 / dice.choice((90, 900))), end)


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
    "twin": (3600, _twin),
    "forgets": (2400, _forgets),
    "late_acks": (1200, _late_acks),
    "detours": (2400, _detours),
    "far": (1800, _far),
    "step_kill": (900, _step_kill),
    "disk_error": (1800, _disk(errno.EIO)),
    "disk_full": (1800, _disk(errno.ENOSPC)),
    "disk_read_only": (3600, _disk(errno.EROFS)),
    "sync_fails": (2400, _disk_in_part("sync_fault")),
    "disk_unreadable": (3600, _unreadable),
    "counter_reset": (2400, _reset),
    "slave_silent": (600, _slave("silent")),
    "slave_late": (600, _slave("late")),
    "slave_noisy": (600, _slave("noisy")),
    "slave_excepts": (600, _slave("excepts")),
    "slave_off": (1800, _slave_off),
    "slave_stuck": (1800, _stuck),
    "clock_step": (1800, _clock),
    "command": (120, _command),
    "technician": (180, _technician),
    "slow_disk": (1200, _slow),
    "clock_unknown": (1e9, lambda world, dice: None),  # at each boot: see `World.forget_time`
    "well_dry": (1800, _dry),
    **RADIO,
    **PINS,
}


def command(number: int, dice: random.Random, now_ms: int) -> tuple[str, bytes]:
    """A command of the region: a level that no other one asks for, mostly; sometimes what is to be refused.

    Each second one says when it was given (`now_ms`, Unix): its validity begins then, however long the broker keeps it.
    """
    name = f"c-{number}"
    point, value = ("fan", level_of(number)) if dice.random() < 0.6 else ("lamp", dice.random() < 0.5)
    body: dict[str, Any] = {"id": name, "point": point, "value": value, "ttl_ms": dice.choice((5_000, 60_000, 600_000))}
    if dice.random() < 0.5:
        body["hold_ms"] = dice.choice((10_000, 600_000))
    if dice.random() < 0.05:
        body["point"] = dice.choice(("m.relay2", "nobody", "clock"))
    if number % 2:
        body["issued_at"] = now_ms
    return name, json.dumps(body).encode()
