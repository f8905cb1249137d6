"""Stage and flash full together, and a kill: no number is used twice, none is missing without a word."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.model import Command, Event, Origin
from agent.outbox.blocks import decode
from tests.outbox.stress import run


@pytest.mark.parametrize("seed", range(0, 60, 20))
def test_random_faults_short_lives(seed: int) -> None:
    """Of each twenty lives; `python -m tests.outbox.stress --seeds 0..2000` does more."""
    for one in range(seed, seed + 20):
        assert run(one).faults == [], f"seed {one}"


class Disk:
    """A tmpfs of 400 kB that is filled to the last byte, and emptied again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", folder]).returncode:
            pytest.skip("a small tmpfs cannot be mounted here (needs root)")

    def fill(self) -> None:
        with (self.folder / "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        (self.folder / "filler").unlink()

    def close(self) -> None:
        subprocess.run(["umount", "-l", self.folder], check=True)


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[tuple[Disk, Disk]]:
    """The state folder's and the stage's."""
    made: list[Disk] = []
    try:
        for name in ("flash", "memory"):
            made.append(Disk(tmp_path / name))
        yield made[0], made[1]
    finally:
        for disk in made:
            disk.close()


def account(box: Any, messages: list[Any], events: Callable[..., Any]) -> tuple[dict[Any, Any], list[Any]]:
    """What came by key; ends the test where a key has two contents or a number is missing without a word."""
    came: dict[Any, Any] = {}
    for message in messages:
        if message.kind == "readings":
            for row in decode(message.body):
                assert came.setdefault((row.store, row.seq), row.value) == row.value, (row.store, row.seq)
    told = events(messages)
    for event in told:
        assert came.setdefault(tuple(event["k"]), event["subject"]) == event["subject"], event["k"]
    gaps = [event["detail"] for event in told if event["kind"] == "gap"]
    for store in {store for store, _ in came}:
        numbers = {number for name, number in came if name == store}
        for number in set(range(1, max(numbers))) - numbers:
            assert any(g["store"] == store and g["first"] <= number <= g["last"] for g in gaps), (store, number)
    return came, gaps


async def test_both_full_and_killed_within_the_pass(box: Any, events: Any, disks: tuple[Disk, Disk]) -> None:
    """What was only in memory is told; so is perhaps what the broker took meanwhile, for nothing could note it."""
    box.state, box.stage = (disk.folder for disk in disks)
    box.open()
    box.out.put(box.readings(10, value=1), 2)
    await box.tick(6)
    for disk in disks:
        disk.fill()
    for turn in range(300):  # what room the last pages have is used up
        box.out.put(box.readings(10, value=100 + turn), 2)
    sent = []
    for _ in range(3):
        sent.append(await box.take())
        box.out.accepted(sent[-1])
    box.open()  # killed: no pass could say that the stage has holes
    box.out.put(box.readings(10, value=7), 2)
    for disk in disks:
        disk.empty()
    await box.tick(70)
    await box.tick(6)
    sent += await box.drain()
    came, gaps = account(box, sent, events)
    lost = 10 + 3000 + 10 - sum(isinstance(value, int) for value in came.values())
    assert lost > 0
    assert lost <= sum(gap["count"] for gap in gaps) <= 3000


async def test_alarms_survive_a_kill_although_the_flash_is_full(
    box: Any, events: Any, disks: tuple[Disk, Disk]
) -> None:
    box.state = disks[0].folder
    box.open()
    disks[0].fill()
    for number in range(300):  # the pages that are free within the file are used up
        await box.out.put_event(Event("alarm", "disk_full", f"km{number}", box.clock.now()))
    assert box.out.fault
    refusal = await box.out.begin(Command("c1", "km1", "on", box.clock.now(), origin=Origin.MQTT))
    assert refusal.state == "rejected"
    box.open()
    messages = await box.drain()
    assert {event["subject"] for event in events(messages)} >= {f"km{number}" for number in range(300)}
    assert [m.command for m in messages if m.kind == "result"] == ["c1"]
    account(box, messages, events)


@pytest.mark.parametrize("mends", (False, True))
async def test_what_the_broker_took_while_the_stage_was_full_does_not_come_again(
    mends: bool, box: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No segment had room to say that it was taken, whether it takes a record later or not; then a kill."""

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    box.out.put(box.readings(3), 2)
    taken = await box.take()
    with monkeypatch.context() as patch:
        patch.setattr("agent.outbox.stage.os.write", full)
        if not mends:
            box.out.put(box.readings(1), 2)
            await box.tick(1)  # the flash hears how far the numbers go
        box.out.accepted(taken)
        await box.drain()
        if not mends:
            await box.tick(1)
    if mends:  # before any pass, which would hear of it
        box.out.put(box.readings(1), 2)
        await box.drain()
    await box.tick(100)
    box.open()
    assert [m.kind for m in await box.drain()] == []


async def test_a_gap_record_that_found_no_room_on_the_stage_is_told_after_a_kill(
    box: Any, events: Any, flash: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flash fails, and memory drops readings; the record of it finds the stage full, and more is dropped later."""

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def more(value: int) -> None:
        for _ in range(15):
            box.out.put(box.readings(10, value=value), 2)
            await box.tick(1)

    monkeypatch.setattr("agent.outbox.messages.MOST", 100)
    flash(False)
    with monkeypatch.context() as patch:
        patch.setattr("agent.outbox.messages.MOST", 1000)
        await more(1)
    await box.tick(1)
    box.out.put(box.readings(1, value=2), 2)
    with monkeypatch.context() as patch:
        patch.setattr("agent.outbox.stage.os.write", full)
        (event,) = events([await box.take()])
        assert event["kind"] == "gap"
    await more(3)
    flash(True)
    box.open()
    await box.tick(6)
    came, gaps = account(box, await box.drain(), events)
    values = [value for value in came.values() if isinstance(value, int)]
    assert sum(gap["count"] for gap in gaps if gap["reason"] == "memory") == 301 - len(values)


async def test_a_short_append_does_not_hide_an_earlier_hole(box: Any, events: Any, disks: tuple[Disk, Disk]) -> None:
    """The stage is full, mends, takes a short record, and dies: only the mark knows of what did not fit."""
    await box.out.close()
    box.stage = disks[1].folder
    box.open()
    disks[1].fill()
    box.out.put(box.readings(500, value=1), 2)
    assert box.out._writer.stage.broken
    disks[1].empty()
    box.out.put(box.readings(3, value=2), 2)
    assert not box.out._writer.stage.broken
    box.open()
    box.out.put(box.readings(1, value=3), 2)
    came, gaps = account(box, await box.drain(), events)
    assert sorted(value for value in came.values() if isinstance(value, int)) == [2, 2, 2, 3]
    assert [(gap["reason"], gap["first"], gap["last"], gap["count"]) for gap in gaps] == [("stage_cut", 1, 500, 500)]


async def test_a_memory_disk_without_room_for_a_mark(box: Any, events: Any, disks: tuple[Disk, Disk]) -> None:
    """Full before the first start: then nothing is certain, and the numbers begin behind all that were reserved."""
    box.stage = disks[1].folder
    disks[1].fill()
    await box.out.close()
    box.open()
    box.out.put(box.readings(20, value=1), 2)
    sent = [await box.take()]
    box.out.accepted(sent[0])
    box.open()
    box.out.put(box.readings(1, value=2), 2)
    sent += await box.drain()
    came, gaps = account(box, sent, events)
    assert sorted(value for value in came.values() if isinstance(value, int)) == [1] * 20 + [2]
    assert [gap["count"] for gap in gaps] == [None]
