"""What a life may take of memory and files, looked at from outside while it runs (docs/guarantees.md, the contract)."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from tests.simulation.loop import LIFE

__all__ = ["look", "look_at_outbox"]

PERIOD = 60.0
TASKS, TIMERS, LINKS = 64, 64, 16
"""Of the small village; a larger site has more, by its buses and controls."""
COMMAND = 3
"""Tasks of a command that is not on flash yet: it is handed on, carried out and written. The broker keeps 20."""
FILES = 40
STATE = 2_000_000
"""Bytes beside the outbox: facts, two kept configurations, the ids of commands."""
READINGS = 25_000
"""What may be under way besides."""
RECORDS = 2_500
SEGMENT = 1_000_000
STAGE, A_READING, BURST = 8, 120, 500_000
"""Segments of the stage (1 MB, where a seed does not make it smaller and the flash takes what comes), bytes for each
reading that waits or came a moment ago, and bytes of what else came at once: the next pass tidies it."""
EMPTY = 2
"""The segment that is open, and the one that a kill left."""
LOG = 1_000_000
"""Bytes of the write-ahead log beyond the buffer, and of what a flash took at once after it had failed for long."""


def look(world: Any) -> None:
    """Now, and each minute from now on."""
    life = world.life
    if life is not None:
        _look_at_life(world, life)
    world.loop.call_later(PERIOD, look, world)


def _look_at_life(world: Any, life: Any) -> None:
    def must(holds: object, what: str) -> None:
        world.judge.must(holds, f"life {life.number} has {what}")

    life.tasks = [task for task in life.tasks if not task.done()]
    timers = [one for one in world.loop._scheduled if not one._cancelled and _is_of(one, life)]
    links = [wire for wire in life.wires if wire.fileno() >= 0]
    kept = sum(len(session.sent) for session in world.broker.sessions.values())
    must(len(life.tasks) <= TASKS + COMMAND * kept, f"{len(life.tasks)} tasks, and {kept} commands are not on flash")
    must(len(timers) <= TIMERS, f"{len(timers)} timers")
    must(len(links) <= LINKS, f"{len(links)} connections")
    files = _files(world.state)
    held = sum(size for name, size in files if not name.startswith("outbox.db"))
    must(len(files) <= FILES, f"{len(files)} files")
    must(held <= STATE, f"{held} bytes beside the outbox")
    parts = getattr(life.agent, "_parts", None)
    if parts is not None:
        look_at_outbox(world, parts.outbox, 100_000, parts.settings.buffer.max_bytes, files=files)


def look_at_outbox(
    world: Any, outbox: Any, most: int, max_bytes: int, lately: int = 0, files: list[tuple[str, int]] | None = None
) -> None:
    """At its files and its memory, which takes `most` readings; so many came since the pass before last."""
    from agent.outbox import stage

    writer, must = outbox._writer, world.judge.must
    lots = sum(lot.n for lot in writer.ram_queue.waiting)
    lots += sum(entry.message.n for entry in writer.ram_queue.under_way.values())
    must(lots <= most + READINGS, f"{lots} readings in memory")
    must(writer.ram_queue.n >= 0, f"{writer.ram_queue.n} readings in memory, it says")
    many = len(writer.events.unsaved) + len(writer.events.ready)
    must(many <= RECORDS, f"{many} records in memory")
    run = _files(world.run_folder)
    staged = [size for _, size in run]
    segment = SEGMENT if world.was_hurt() else stage._SEGMENT
    room = STAGE * segment + A_READING * (lots + lately) + BURST
    must(sum(staged) <= room, f"{sum(staged)} bytes on the stage for {lots} readings")
    segments = sum(name.endswith(".stage") for name, _ in run)
    few = world.was_hurt() or segments <= STAGE + A_READING * lots // stage._SEGMENT
    must(few, f"{segments} segments of the stage for {lots} readings")
    must(staged.count(0) <= EMPTY, f"{staged.count(0)} empty files on the stage")
    files = _files(world.state) if files is None else files
    held = sum(size for name, size in files if name.startswith("outbox.db") and "corrupt" not in name)
    must(held <= max_bytes + LOG, f"{held} bytes on flash, of {max_bytes}")


def _files(folder: Any) -> list[tuple[str, int]]:
    """Name and size (bytes) of each file in and below it."""
    found: list[tuple[str, int]] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found += _files(entry.path)
            else:
                found.append((entry.name, entry.stat(follow_symlinks=False).st_size))
    return found


def _is_of(handle: Any, life: Any) -> bool:
    return handle._context is not None and handle._context.get(LIFE) is life
