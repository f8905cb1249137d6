"""An outbox under random faults, many short lives, and the account of every number that it ever gave.

    python -m tests.outbox.stress --seeds 0..2000

A life is some dozens of random deeds: readings, events, commands, deliveries that are acknowledged, lost or given back.
Its stage finds no room, or half of it, its flash is full, and it ends in order, by a kill between any two writes, or by
a power cut. What a life leaves is the next one's. In the end all faults are mended and everything is drained.

What must hold: a key never stands for two contents; every number that was given is delivered or within a gap record;
what was put while the stage had room is delivered, unless there was a power cut; a command begins once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import json
import logging
import os
import random
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.model import Command, Event, Origin, Outcome, OutcomeState, Reading
from agent.outbox import Message, Outbox, messages, numbers, stage
from agent.outbox.blocks import decode
from agent.outbox.store import FILE, Store
from tests.fakes.clock import FakeClock
from tests.faults.power_cut import next_of

__all__ = ["Account", "run"]


class Killed(BaseException):
    """kill -9, at the place where it is raised."""


@dataclass
class Account:
    """What was promised and what came. `faults` are broken promises, in words: there must be none."""

    given: dict[tuple[str, int], object] = field(default_factory=dict)
    """What each number was given to."""
    safe: set[object] = field(default_factory=set)
    """What was on the stage when it was put: no kill may cost it."""
    begun: Counter[str] = field(default_factory=Counter)
    came: dict[tuple[str, int], object] = field(default_factory=dict)
    gaps: list[tuple[str, int, int]] = field(default_factory=list)
    unnamed: bool = False
    """A database was set aside at a start: its gap record explains every earlier store."""
    durable: set[str] = field(default_factory=set)
    """The stores of databases; the others are those of a process that could not reserve numbers."""
    shed: set[tuple[str, int]] = field(default_factory=set)
    """What went because there was too much for the memory."""
    excused: set[str] = field(default_factory=set)
    kills: int = 0
    faults: list[str] = field(default_factory=list)

    def forget_away(self) -> None:
        """Numbers that were given without the flash cannot be told of after a power cut."""
        self.given = {key: what for key, what in self.given.items() if key[0] in self.durable}
        self.excused |= {store for store, _ in self.came if store not in self.durable}

    def deliver(self, message: Message) -> None:
        """The broker has it, whether the outbox hears of that or not."""
        if message.kind == "readings":
            for row in decode(message.body):
                self._came((row.store, row.seq), row.value)
            return
        record = json.loads(message.body)
        self._came(tuple(record["k"]), record.get("subject") or record.get("state"))
        if record.get("kind") == "gap":
            detail = record["detail"]
            if "first" in detail:
                self.gaps.append((detail["store"], detail["first"], detail["last"]))
            else:
                self.unnamed = True

    def _came(self, key: Any, content: object) -> None:
        if self.came.setdefault(key, content) != content:
            self.faults.append(f"{key} is {self.came[key]!r} and {content!r}")

    def close(self) -> None:
        """Everything was drained: what is missing?"""
        told = {(store, n) for store, first, last in self.gaps for n in range(first, last + 1)}
        highest: dict[str, int] = {}
        for store, number in self.came:
            highest[store] = max(number, highest.get(store, 0))
        for store, last in highest.items():
            missing = [n for n in range(1, last) if (store, n) not in told and (store, n) not in self.came]
            if missing and not self.unnamed and store not in self.excused:
                self.faults.append(f"numbers of {store[:8]} missing and unexplained: {missing[:8]}")
        contents = set(self.came.values())
        for key, what in self.given.items():
            if what in contents or self.unnamed:
                continue
            if key not in told:
                self.faults.append(f"{what!r} under {key} neither came nor is it explained")
            elif what in self.safe and key not in self.shed:
                self.faults.append(f"{what!r} under {key} was on the stage, and is lost")
        if twice := [name for name, times in self.begun.items() if times > 1]:
            self.faults.append(f"commands begun twice: {twice}")


class Trial:
    """One seed: its folders, its dice, its faults."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.dice, self.clock, self.account = random.Random(seed), FakeClock(boot="boot-0"), Account()
        self.folder = folder
        self.stage_full = self.flash_full = self.killing = False
        self.n = 0
        self.commands: list[str] = []
        self.wrote = True

    def run(self) -> Account:
        with self._faults():
            for _ in range(self.dice.randint(2, 7)):
                self.killing = self.dice.random() < 0.7
                with contextlib.suppress(Killed):
                    asyncio.run(self._life(self.dice.randint(3, 40)))
                self._between()
            self.stage_full = self.flash_full = self.killing = False
            asyncio.run(self._last())
        self.account.close()
        return self.account

    def _between(self) -> None:
        if self.dice.random() < 0.05 and (database := self.folder / "state" / FILE).exists():
            for name in (f"{FILE}-wal", f"{FILE}-shm"):
                (database.parent / name).unlink(missing_ok=True)
            database.write_bytes(b"\x00rubbish\xff" * 700)
            self.account.safe.clear()
        if self.dice.random() < 0.1:
            shutil.rmtree(self.folder / "stage", ignore_errors=True)
            self.clock.boot = f"boot-{self.dice.random()}"
            self.account.safe.clear()
            self.account.forget_away()  # with the flash dead and the power cut, nobody knows of them

    async def _life(self, deeds: int) -> None:
        out = self._open()
        try:
            for _ in range(deeds):
                await self._deed(out)
            if self.dice.random() < 0.25:
                self.killing = False
                await out.close()
            else:
                self.account.kills += 1
        finally:
            _forget(out)

    def _open(self) -> Outbox:
        out = Outbox.open(self.folder / "state", self.folder / "stage", self.clock, window=5.0)
        if out._writer.flash.db is not None:
            self.account.durable.add(out._writer.flash.db.name)
        return out

    async def _deed(self, out: Outbox) -> None:
        dice = self.dice
        deed = dice.choice(("put", "put", "put", "event", "command", "pass", "pass", "send", "send", "stage", "flash"))
        self.clock.at += dice.choice((0.1, 0.5, 3.0, 7.0))
        if deed == "put":
            self._put(out)
        elif deed == "event":
            await self._event(out)
        elif deed == "command":
            await self._command(out)
        elif deed == "pass":
            await out._pass()
        elif deed == "send":
            await self._send(out, dice.randint(1, 6))
        elif deed == "stage":
            self.stage_full = dice.random() < 0.5
        else:
            self.flash_full = dice.random() < 0.5

    def _put(self, out: Outbox) -> None:
        at, count = self.clock.now(), self.dice.randint(1, 30)
        names = [f"r{self.n + i}" for i in range(count)]
        self.n += count
        before = self._next(out)
        self.wrote = True
        out.put([Reading("m.x", name, at) for name in names], self.dice.choice((1, 2, 2, 3)))
        store, first = self._taken(out, before)
        self.account.given |= {(store, first + i): name for i, name in enumerate(names)}
        if self.wrote and not out._writer.pending.losses:
            self.account.safe |= set(names)

    async def _event(self, out: Outbox) -> None:
        self.n += 1
        name, before = f"e{self.n}", self._next(out)
        self.wrote = True
        task = asyncio.ensure_future(out.put_event(Event("change", "x", name, self.clock.now())))
        await asyncio.sleep(0)
        if task.done():  # killed before anybody could know of its number
            await task
        if (taken := self._taken(out, before))[1]:
            self.account.given[taken] = name
            if self.wrote:
                self.account.safe.add(name)
        await task

    async def _command(self, out: Outbox) -> None:
        again = self.commands and self.dice.random() < 0.4
        name = self.dice.choice(self.commands) if again else f"c{len(self.commands)}"
        self.commands.append(name)
        if await out.begin(Command(name, "km1", "on", self.clock.now(), origin=Origin.MQTT)) is not None:
            return
        self.account.begun[name] += 1
        await out.record(Outcome(name, "km1", "on", OutcomeState.VERIFIED, "", self.clock.now()))

    async def _send(self, out: Outbox, most: int) -> None:
        held = []
        while len(held) < most and (message := await next_of(out)) is not None:
            held.append(message)
        for message in held:
            fate = self.dice.random()
            if fate < 0.8:
                self.account.deliver(message)
            if fate < 0.6:
                out.accepted(message)
        for message in reversed(held):
            out.put_back(message)  # those that were accepted are not there any more

    async def _last(self) -> None:
        out = self._open()
        for _ in range(6):
            self.clock.at += 70
            await out._pass()
            while (message := await next_of(out)) is not None:
                self.account.deliver(message)
                self.clock.at += 0.1
                out.accepted(message)
        await out.close()

    @staticmethod
    def _next(out: Outbox) -> tuple[str, int, dict[str, int]]:
        inside = out._writer.numbers
        return inside.store, inside.next, dict(inside._away)

    def _taken(self, out: Outbox, before: tuple[str, int, dict[str, int]]) -> tuple[str, int]:
        """Whose number was taken since, and the first; number 0 if none."""
        store, following, away = before
        after = self._next(out)
        if after[0] == store and after[1] > following:
            return store, following
        grown = (name for name, last in after[2].items() if last > away.get(name, 0))
        name = next(grown, "")
        return name, away.get(name, 0) + 1 if name else 0

    # -- faults ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """Between the outbox and its files. A few numbers and readings are many here."""
        kept = (Store.commit, numbers.RANGE, messages.MOST, messages.RamQueue.shed)
        write, commit, drop = stage.os.write, Store.commit, messages.RamQueue.shed

        def staged(descriptor: int, data: bytes) -> int:
            if data.startswith(b"BOCAGE-1"):  # the mark finds its one page of room
                return write(descriptor, data)
            self._maybe_die(0.01)
            if self.stage_full:
                self.wrote = False
                if self.dice.random() < 0.5:
                    done = write(descriptor, data[: self.dice.randrange(1, len(data))])
                    self._maybe_die(0.1)
                    return done
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done = write(descriptor, data)
            self._maybe_die(0.01)
            return done

        def committed(db: Store, work: Any) -> None:
            self._maybe_die(0.02)
            if self.flash_full:
                raise _full()
            commit(db, work)
            self._maybe_die(0.02)

        def shed(one: messages.RamQueue) -> Iterator[Any]:
            for lot in drop(one):
                self.account.shed |= {(lot.store, n) for n in range(lot.seq, lot.last + 1)}
                yield lot

        stage.os = _Os(os, write=staged)
        messages.RamQueue.shed = shed
        Store.commit = committed
        numbers.RANGE = 120
        messages.MOST = 200
        try:
            yield
        finally:
            stage.os = os
            Store.commit, numbers.RANGE, messages.MOST, messages.RamQueue.shed = kept

    def _maybe_die(self, chance: float) -> None:
        if self.killing and self.dice.random() < chance:
            self.account.kills += 1
            raise Killed


class _Os:
    """The module os with some of it replaced."""

    def __init__(self, module: Any, **other: Any) -> None:
        self._module = module
        self.__dict__ |= other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _full() -> sqlite3.Error:
    """Made anew each time: an error holds on to every frame that it was raised through."""
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


def _forget(out: Outbox) -> None:
    """What the kernel does with a process that is gone."""
    out._writer.flash._worker.shutdown(wait=True)
    if out._writer.flash.db is not None:
        out._writer.flash.db.close()
    if out._writer.stage._fd >= 0:
        os.close(out._writer.stage._fd)
        out._writer.stage._fd = -1
    out._writer.stage._mark = None


def run(seed: int) -> Account:
    """One seed in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="bocage-stress-", dir="/dev/shm") as folder:
        return Trial(Path(folder), seed).run()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0..200")
    options = parser.parse_args()
    first, _, last = options.seeds.partition("..")
    logging.disable(logging.CRITICAL)
    bad = kills = given = gaps = 0
    for seed in range(int(first), int(last or first) + 1):
        account = run(seed)
        kills, given, gaps = kills + account.kills, given + len(account.given), gaps + len(account.gaps)
        if account.faults:
            bad += 1
            print(f"seed {seed}: {len(account.faults)} faults: {account.faults[:3]}", flush=True)
    print(f"{kills} kills, {given} numbers given, {gaps} gap records, {bad} seeds with faults")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
