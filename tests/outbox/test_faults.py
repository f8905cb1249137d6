"""What must hold when the process is killed, the power is cut, the flash is full or its file is no database."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.clock import SystemClock
from agent.errors import StorageError
from agent.model import Command, Event, Origin, Outcome, OutcomeState, Reading
from agent.outbox import Outbox
from agent.outbox.backlog_reader import export_readings
from agent.outbox.blocks import decode
from agent.outbox.stage import Stage, replay
from agent.outbox.store import Store
from tests.fakes import disk

CHILD = """
import asyncio, random, sys
from pathlib import Path
from agent.outbox.blocks import decode
from agent.clock import SystemClock
from agent.model import Reading
from agent.outbox import Outbox

async def main(folder, seed):
    rng, clock = random.Random(seed), SystemClock("always")
    out = Outbox.open(folder / "state", folder / "stage", clock, window=0.05)
    put, seen = open(folder / "put", "a"), open(folder / "seen", "a")
    running = asyncio.ensure_future(out.run())
    name = 0
    print("up", flush=True)
    while not running.done():
        at = clock.now()
        batch = [Reading(f"{seed}.{name + i}", i, at) for i in range(rng.randint(1, 40))]
        name += len(batch)
        out.put(batch, rng.choice((1, 2, 3)))
        put.write("".join(reading.point + "\\n" for reading in batch))
        put.flush()
        held = []
        while out.status()["rows"] and rng.random() < 0.6:
            try:
                held.append(await asyncio.wait_for(out.take(), 0.01))
            except TimeoutError:
                break
        for message in held:
            if rng.random() < 0.3:
                out.put_back(message)
                continue
            for row in decode(message.body) if message.kind == "readings" else ():
                seen.write(f"{row.store} {row.seq} {row.point}\\n")
            seen.flush()
            out.accepted(message)
        await asyncio.sleep(rng.choice((0, 0, 0.002)))

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


@pytest.mark.slow
async def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    """20 rounds: every reading that `put` took is seen, and a key never stands for two readings."""
    rng = random.Random(7)
    for round_ in range(20):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), str(round_)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.05 + rng.random() * 0.3)
        child.send_signal(signal.SIGKILL)
        child.communicate()
    out = Outbox.open(tmp_path / "state", tmp_path / "stage", SystemClock("always"))
    rest = []
    while out.status()["rows"]:
        message = await asyncio.wait_for(out.take(), 5)
        rest += decode(message.body) if message.kind == "readings" else []
        out.accepted(message)
    await out.close()
    lines = [line.split() for line in (tmp_path / "seen").read_text().splitlines()]
    seen = [(store, int(seq), point) for store, seq, point in lines if point]
    seen += [(row.store, row.seq, row.point) for row in rest]
    put = (tmp_path / "put").read_text().splitlines()
    assert len(put) > 1000
    assert set(put) - {point for _, _, point in seen} == set()
    keys: dict[tuple[str, int], str] = {}
    assert all(keys.setdefault((store, seq), point) == point for store, seq, point in seen)
    assert len(set(keys.values())) == len(keys), "a reading came under two keys"


async def test_a_power_cut_is_told_and_no_number_comes_again(box: Any, events: Callable[..., Any]) -> None:
    box.out.put(box.readings(10), 2)
    await box.tick(5)
    box.out.put(box.readings(10), 2)
    shutil.rmtree(box.stage)
    box.open()
    box.out.put(box.readings(1), 2)
    messages = await box.drain()
    (gap,) = events(messages)
    assert (gap["kind"], gap["code"]) == ("gap", "power_cut")
    assert (gap["detail"]["first"], gap["detail"]["store"]) == (11, box.out.store)
    numbers = [row.seq for message in messages if message.kind == "readings" for row in decode(message.body)]
    assert numbers[1:] == list(range(1, 11))
    assert numbers[0] > gap["detail"]["last"] >= 20
    assert box.out.status()["gaps"] == 1


async def start_unsynced(box: Any, kept_flash: Any) -> None:
    """A start without numbers or stage, whose first write is on flash although its sync failed."""
    box.out.put(box.readings(10), 2)
    await box.tick(5)
    shutil.rmtree(box.stage)
    kept_flash(False)
    box.open()
    kept_flash(True)


async def test_a_write_that_is_kept_although_its_sync_failed_gives_no_number_twice(
    box: Any, events: Callable[..., Any], kept_flash: Any
) -> None:
    """A start has no numbers left and something to tell; what the flash refused to sync is there nevertheless."""
    await start_unsynced(box, kept_flash)
    await box.tick(60)
    box.out.put(box.readings(10), 2)
    with sqlite3.connect(shutil.copy(box.state / "outbox.db", box.state / "without-its-log.db")) as alone:
        (reserved,) = alone.execute("SELECT value FROM fact WHERE key = 'reserved'").fetchone()
    alone.close()
    assert reserved >= box.out._writer.numbers.next - 1, "a log whose sync failed may be gone after a power cut"
    await box.tick(5)
    messages = await box.drain()
    box.open()  # what the first write left on flash comes with another start, at the latest
    messages += await box.drain()
    told: dict[tuple[str, int], object] = {(one["k"][0], one["k"][1]): one["code"] for one in events(messages)}
    numbered = {(row.store, row.seq): row.point for message in messages if message.kind == "readings"
                for row in decode(message.body)}  # fmt: skip
    assert not told.keys() & numbered.keys()
    assert "power_cut" in told.values() and len(numbered) == 20


async def test_an_unreadable_tail_is_cut(box: Any, events: Callable[..., Any]) -> None:
    box.out.put(box.readings(10), 2)
    box.out.put(box.readings(10), 2)
    (segment,) = [path for path in box.stage.glob("*.stage") if path.stat().st_size]
    segment.write_bytes(segment.read_bytes()[:-5])
    assert replay(box.stage).cut
    box.open()
    box.out.put(box.readings(1), 2)
    messages = await box.drain()
    (gap,) = events(messages)
    numbers = [row.seq for message in messages if message.kind == "readings" for row in decode(message.body)]
    assert numbers[:10] == list(range(1, 11))
    assert gap["detail"]["first"] == 11
    assert numbers[10] > gap["detail"]["last"]


async def test_a_corrupt_database_is_set_aside(box: Any, events: Callable[..., Any]) -> None:
    box.out.put(box.readings(10), 2)
    await box.tick(5)
    await box.out.close()
    old = box.out.store
    database = box.state / "outbox.db"
    database.write_bytes(b"\x00junk" * 500)
    out = box.open()
    assert out.store != old
    assert "corrupt" in out.troubles[0]
    assert [path.name for path in box.state.glob("outbox.db.corrupt-*")]
    out.put(box.readings(1), 2)
    messages = await box.drain()
    assert [event["code"] for event in events(messages)] == ["store_corrupt"]
    assert sum(message.n for message in messages if message.kind == "readings") == 1


def test_a_database_that_cannot_be_opened_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def noted(*args: Any, **more: Any) -> sqlite3.Connection:
        made.append(connect(*args, **more))
        return made[-1]

    (tmp_path / "outbox.db").write_bytes(b"\x00junk" * 500)
    monkeypatch.setattr(sqlite3, "connect", noted)
    with pytest.raises(sqlite3.DatabaseError):
        Store(tmp_path)
    (db,) = made
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        db.execute("PRAGMA user_version")


async def test_a_database_that_breaks_while_it_is_used(box: Any, events: Callable[..., Any]) -> None:
    box.out.put(box.readings(10), 2)
    await box.tick(5)
    malformed = sqlite3.DatabaseError("database disk image is malformed")
    malformed.sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    def commit(work: object) -> None:
        raise malformed

    box.out._writer.flash.db.commit = commit
    box.out.put(box.readings(5), 2)
    await box.tick(5)
    await box.tick()
    assert list(box.state.glob("outbox.db.corrupt-*"))
    messages = await box.drain()
    assert sorted((event["kind"], event["code"]) for event in events(messages)) == [
        ("alarm", "store_corrupt"),
        ("gap", "store_corrupt"),
    ]
    (gap,) = (event["detail"] for event in events(messages) if event["kind"] == "gap")
    assert (gap["store"], gap["first"]) == (box.first_store, 1) and gap["last"] >= 10
    assert {row.seq for message in messages[2:] for row in decode(message.body)} == {11, 12, 13, 14, 15}


async def test_a_database_whose_bytes_are_overwritten_while_it_is_used(box: Any, events: Callable[..., Any]) -> None:
    for _ in range(20):
        box.out.put(box.readings(300), 2)
        await box.tick(5)
    box.out._writer.flash.db.checkpoint()
    database = box.state / "outbox.db"
    size = database.stat().st_size
    with database.open("r+b") as file:
        file.seek(2048)
        file.write(os.urandom(size - 2048))
    box.out._writer.flash.db._db.execute("PRAGMA shrink_memory")
    box.out.put(box.readings(5), 2)
    for _ in range(4):
        await box.tick(6)
    messages = await box.drain()
    assert list(box.state.glob("outbox.db.corrupt-*"))
    told = {(event["kind"], event["code"]) for event in events(messages)}
    assert told >= {("alarm", "store_corrupt"), ("gap", "store_corrupt")}
    live = {(row.store, row.seq) for m in messages if m.kind == "readings" for row in decode(m.body)}
    assert {(box.first_store, n) for n in range(6001, 6006)} <= live
    box.out.put(box.readings(1), 2)
    await box.tick(5)
    assert box.out.fault == "" and box.out.was_written and box.out.status()["rows"] == 1


async def test_a_block_that_the_flash_garbled_costs_itself_only(box: Any, events: Callable[..., Any]) -> None:
    for _ in range(3):
        box.out.put(box.readings(300), 2)
        await box.tick(5)
    garbled = b"\x78\xda" + bytes(80)
    box.out._writer.flash.db._db.execute("UPDATE block SET body = ? WHERE id = 2", (garbled,))
    rows = [row.seq for m in await box.drain() for row in decode(m.body)]
    assert rows == [*range(1, 301), *range(601, 901)]
    await box.tick(5)
    (gap,) = events(await box.drain())
    assert (gap["detail"]["reason"], gap["detail"]["first"], gap["detail"]["count"]) == ("store_corrupt", 301, 300)
    assert box.out.status()["rows"] == 0


EIO = """
import asyncio, json, sys
from pathlib import Path
from tests.fakes.clock import FakeClock
from tests.faults.power_cut import next_of
from agent.model import Event, Reading
from agent.outbox import Outbox

async def main(folder):
    clock, faults = FakeClock(), 0
    out = Outbox.open(folder / "state", folder / "stage", clock, window=5.0)
    for turn in range(100):
        out.put([Reading(f"a.r{i}", turn, clock.now()) for i in range(10)], 2)
        clock.at += 6
        await out._pass()
        faults += bool(out.fault)
    await out.put_event(Event("change", "x", "km1", clock.now()))
    got, n = [], 0
    out._writer.flash.db._db.execute("PRAGMA shrink_memory")
    while (message := await next_of(out)) is not None or out.status()["rows"]:
        if message is None:
            clock.at += 61
            await out._pass()
            faults += 1
            continue
        clock.at += 0.1
        got.append(message.kind)
        n += message.n if message.kind == "readings" else 0
        out.accepted(message)
    for _ in range(3):
        clock.at += 61
        await out._pass()
    print(json.dumps({"faults": faults, "readings": n, "events": got.count("event"), "gaps": out.status()["gaps"],
                      "fault": out.fault}))

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize(
    "inject", ["fdatasync:error=EIO:when=10..16", "pwrite64:error=EIO:when=70..74", "pwrite64:error=ENOSPC:when=70..76",
               "pwrite64:error=EROFS:when=60..66"]
)  # fmt: skip
def test_a_flash_that_fails_for_a_while_costs_nothing(tmp_path: Path, inject: str) -> None:
    root = Path(__file__).parents[2]
    command = ["strace", "-f", "-o", "/dev/null", "-e", f"inject={inject}", sys.executable, "-c", EIO, str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=60)
    found = json.loads(done.stdout)
    assert found | {"faults": 0} == {"faults": 0, "readings": 1000, "events": 1, "gaps": 0, "fault": ""}, done.stderr
    assert found["faults"] > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """400 kB that can really be full."""
    with disk.small_disk(tmp_path / "small", "400k") as folder:
        yield folder


async def test_a_full_disk_costs_nothing_while_memory_lasts(box: Any, small_disk: Path) -> None:
    box.state = small_disk
    out = box.open()
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(os.urandom(1_000_000))
    for _ in range(20):
        out.put(box.readings(50), 2)
        await box.tick(1)
    await out.put_event(Event("alarm", "disk_full", "gateway", box.clock.now()))
    refused = await out.begin(Command("c1", "km1", "on", box.clock.now(), origin=Origin.MQTT))
    assert refused is not None
    assert refused.state == OutcomeState.REJECTED
    assert await out.begin(Command("c2", "km1", "on", box.clock.now(), origin=Origin.LOCAL)) is None
    assert out.status()["rows"] == 1000
    held = out.status()["bytes"]
    filler.unlink()
    await box.tick(100)
    assert out.status()["bytes"] > held
    messages = await box.drain()
    assert [message.kind + message.command for message in messages[:3]] == ["event", "resultc1", "resultc2"]
    assert sum(message.n for message in messages if message.kind == "readings") == 1000
    assert await out.begin(Command("c1", "km1", "on", box.clock.now())) is None


async def test_a_folder_that_cannot_be_written_from_the_start(box: Any, tmp_path: Path) -> None:
    box.state = tmp_path / "blocked"
    box.state.write_text("a file stands where the folder should be")
    out = box.open()
    assert out.troubles
    out.put(box.readings(3), 2)
    message = await box.take()
    box.state.unlink()
    out.put(box.readings(3), 2)
    await box.tick(100)
    assert out.status()["rows"] == 6
    out.accepted(message)
    assert [message.n for message in await box.drain()] == [3]
    out.put(box.readings(1), 2)
    assert decode((await box.take()).body)[0].store == out.store == out._writer.flash.db.name


async def test_memory_is_bounded_and_the_loss_is_told(
    box: Any, events: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.outbox.messages.MOST", 1000)
    for turn in range(30):
        box.out.put(box.readings(50), 3 if turn % 2 else 1)
    assert box.out.status()["rows"] <= 1000
    await box.tick()
    messages = await box.drain()
    seen = {row.seq for message in messages if message.kind == "readings" for row in decode(message.body)}
    (gap,) = events(messages)
    assert (gap["code"], gap["detail"]["class"], gap["detail"]["count"]) == ("memory", 3, 1500 - len(seen))
    assert set(range(1, 1501)) - seen <= set(range(gap["detail"]["first"], gap["detail"]["last"] + 1))


async def test_the_quota_drops_the_least_precious_and_says_so(box: Any, events: Callable[..., Any]) -> None:
    box.options = {"max_bytes": 300_000}
    box.open()
    rng = random.Random(1)
    for turn in range(150):
        at = box.clock.now()
        readings = [Reading(f"meter-a.r{i}", rng.random(), at) for i in range(300)]
        box.out.put(readings, 1 if turn % 10 == 0 else 3)
        await box.tick(5)
    assert sum(path.stat().st_size for path in box.state.glob("outbox.db*") if path.suffix != ".db-shm") <= 340_000
    messages = await box.drain()
    seen = {row.seq for message in messages if message.kind == "readings" for row in decode(message.body)}
    told = events(messages)
    assert {event["detail"]["class"] for event in told} == {3}
    used = {event["k"][1] for event in told}
    for number in set(range(1, max(seen))) - seen - used:
        assert any(event["detail"]["first"] <= number <= event["detail"]["last"] for event in told), number


async def test_an_outcome_that_could_not_be_stored_at_once(box: Any, small_disk: Path) -> None:
    box.state = small_disk
    out = box.open()
    assert await out.begin(Command("c1", "km1", "on", box.clock.now())) is None
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(os.urandom(1_000_000))
    for number in range(200):
        await out.put_event(Event("change", "x" * 200, f"km{number}", box.clock.now()))
    done = Outcome("c1", "km1", "on", OutcomeState.VERIFIED, "", box.clock.now())
    await out.record(done)
    filler.unlink()
    await box.tick(100)
    assert await out.begin(Command("c1", "km1", "on", box.clock.now())) == done
    assert out._writer.flash.db.outcome("c1") == done


async def test_events_keep_their_order_when_the_flash_comes_back(
    box: Any, events: Callable[..., Any], alarm: Any, flash: Any
) -> None:
    """Those that wait on flash are older than what was made while it failed, and the link was down meanwhile."""
    for number in range(30):
        await box.out.put_event(alarm(number))
    box.open()
    flash(False)
    for number in range(30, 35):
        await box.out.put_event(alarm(number))
    assert box.out.fault
    flash(True)
    await box.tick(61)
    assert not box.out.fault
    assert [event["subject"] for event in events(await box.drain())] == [f"km{number}" for number in range(35)]


async def test_a_power_cut_is_not_told_as_a_kill_by_a_second_start(
    box: Any, events: Callable[..., Any], flash: Any
) -> None:
    """The flash took no word of it; who is killed then left it on the stage, where it counts. Nobody counted them."""
    box.out.put(box.readings(10), 2)
    shutil.rmtree(box.stage)
    flash(False)
    box.open()
    box.open()
    box.out.put(box.readings(1), 2)
    flash(True)
    box.open()
    await box.tick(6)
    gaps = [event for event in events(await box.drain()) if event["kind"] == "gap"]
    assert [(gap["code"], gap["detail"]["first"], gap["detail"]["count"]) for gap in gaps] == [("power_cut", 1, None)]


@pytest.mark.parametrize("under_way", [0, 3])
async def test_records_beyond_what_memory_takes_are_told_though_they_were_to_be_sent(
    box: Any, events: Callable[..., Any], alarm: Any, flash: Any, monkeypatch: pytest.MonkeyPatch, under_way: int
) -> None:
    """The flash failed while there was no link, took what was kept when it was mended, and the power was cut."""
    monkeypatch.setattr("agent.outbox.messages.MANY", 10)
    flash(False)
    for number in range(under_way):
        await box.out.put_event(alarm(number))
    sent = [await box.take() for _ in range(under_way)]
    for number in range(under_way, 25):
        await box.out.put_event(alarm(number))
    assert len(box.out._writer.events.ready) <= 10
    for message in sent:
        box.out.put_back(message)
    flash(True)
    await box.tick(61)
    shutil.rmtree(box.stage)
    box.open()
    found = events(await box.drain())
    told = [event["detail"] for event in found if event["kind"] == "gap"]
    alarms = [event for event in found if event["kind"] == "alarm"]
    assert len(alarms) + sum(gap["count"] for gap in told if gap["reason"] == "memory") == 25
    assert {event["subject"] for event in alarms} >= {f"km{number}" for number in [*range(under_way), *range(20, 25)]}
    seen = {event["k"][1] for event in found}
    missing = set(range(1, max(seen))) - seen
    assert all(any(gap["first"] <= number <= gap["last"] for gap in told) for number in missing)


@pytest.mark.parametrize(
    ("state", "open_ones"), [("failed", 0), ("expired", 0), ("verified", 0), ("applied", 1), ("rejected", 1)]
)
async def test_a_command_that_ended_while_the_flash_failed_is_not_open(
    box: Any, flash: Any, state: str, open_ones: int
) -> None:
    """A reload looks for open commands, and so does a start that can read and not write. A repetition is refused."""
    assert await box.out.begin(Command("c1", "km1", "on", box.clock.now())) is None
    flash(False)
    box.clock.at += 1
    await box.out.record(Outcome("c1", "km1", "on", OutcomeState(state), "the agent stops", box.clock.now()))
    assert len(await box.out.unfinished()) == open_ones
    box.open()
    assert len(await box.out.unfinished()) == open_ones


@pytest.mark.parametrize("works", [False, True])
async def test_what_was_lost_in_memory_is_told_once_however_often_a_start_is_killed(
    box: Any, events: Callable[..., Any], flash: Any, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    """A start tells of it and is killed, before the flash could take the word or just after: the next one does not."""
    monkeypatch.setattr("agent.outbox.messages.MOST", 100)
    monkeypatch.setattr("agent.outbox.stage._SEGMENT", 500)
    flash(False)
    for _ in range(12):
        box.out.put(box.readings(10), 2)
        await box.tick(1)
    flash(works)
    for _ in range(4):
        box.open()
        box.out.put(box.readings(1), 2)
    flash(True)
    box.open()
    await box.tick(6)
    messages = await box.drain()
    came = sum(message.n for message in messages if message.kind == "readings")
    gaps = [event["detail"] for event in events(messages) if event["kind"] == "gap"]
    assert came < 124 and sum(gap["count"] for gap in gaps) == 124 - came


@pytest.mark.parametrize("put", [0, 3])
async def test_numbers_that_a_power_cut_left_open_are_not_counted_by_a_second_start(
    box: Any, events: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, put: int, unreadable: Any
) -> None:
    """The first one opened the database late, and was killed before it could tell: numbers that were only reserved."""

    class Dead(BaseException):
        pass

    def die(db: Store, work: object) -> None:
        box.out.put(box.readings(put), 2)
        raise Dead

    box.out.put(box.readings(10), 2)
    await box.tick(6)
    shutil.rmtree(box.stage)
    with unreadable():
        box.open()
    with monkeypatch.context() as killed:
        killed.setattr(Store, "commit", die)
        with pytest.raises(Dead):
            await box.tick(6)
    box.open()
    await box.tick(6)
    gaps = [event["detail"] for event in events(await box.drain()) if event["kind"] == "gap"]
    assert [(gap["first"], gap["count"]) for gap in gaps] == [(11, None)]


async def written_unawares(box: Any, kept_flash: Any, *records: Event) -> None:
    """Ten readings, and these records, are kept by the flash although their sync failed: nobody knows that they are."""
    kept_flash(False)
    box.out.put(box.readings(10), 2)
    for record in records:
        await box.out.put_event(record)
    await box.tick(6)
    kept_flash(True)


@pytest.mark.parametrize("then", ["waits", "is under way", "came back"])
async def test_what_a_database_has_is_not_brought_there_once_more_when_it_opens_late(
    box: Any, alarm: Any, kept_flash: Any, unreadable: Any, then: str
) -> None:
    """It is on the stage too, for nobody knew that it was written; the next start cannot read the database at first."""
    await written_unawares(box, kept_flash, alarm(1))
    box.out.put(box.readings(5), 2)
    with unreadable():
        box.open()
        if then != "waits":
            event, batch = await box.take(), await box.take()
            assert (event.n, batch.n) == (1, 15)
        if then == "came back":
            box.out.put_back(event)
            box.out.put_back(batch)
    await box.tick(60)
    await box.tick(60)
    with closing(sqlite3.connect(box.state / "outbox.db")) as db:
        assert db.execute("SELECT seq FROM message").fetchall() == [(11,)]
        assert db.execute("SELECT sum(n) FROM block").fetchone() == (15,)
    assert box.out.status()["rows"] == 15


async def test_what_a_database_has_and_was_sent_before_it_opened_does_not_come_again(
    box: Any, alarm: Any, kept_flash: Any, unreadable: Any
) -> None:
    await written_unawares(box, kept_flash, alarm(1))
    with unreadable():
        box.open()
        assert [message.n for message in await box.drain()] == [1, 10]
    await box.tick(60)
    assert [message.body for message in await box.drain()] == [] and box.out.status()["rows"] == 0


async def test_what_was_sent_before_its_database_opened_may_come_back(
    box: Any, kept_flash: Any, unreadable: Any
) -> None:
    """The database has all of it, so nothing of it is only here; then the link is lost."""
    await written_unawares(box, kept_flash)
    with unreadable():
        box.open()
        batch = await box.take()
    await box.tick(60)
    box.out.put(box.readings(5), 2)
    later = await box.take()
    for message in (later, batch):
        box.out.put_back(message)
    came = [row.seq for message in await box.drain() if message.kind == "readings" for row in decode(message.body)]
    assert came == [*range(11, 16), *range(1, 11)], "those from flash are backlog now"


async def test_what_is_under_way_may_come_back_when_its_database_is_gone(box: Any) -> None:
    """It was brought to flash meanwhile: what is under way is all that is left of it."""
    box.out.put(box.readings(10), 2)
    batch = await box.take()
    await box.tick(6)
    malformed = sqlite3.DatabaseError("database disk image is malformed")
    malformed.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    box.out._writer.flash.failed(malformed)
    await box.tick(6)
    box.out.put(box.readings(5), 2)
    later = await box.take()
    while later.kind != "readings":
        later = await box.take()
    for message in (later, batch):
        box.out.put_back(message)
    first, second = [message for message in await box.drain() if message.kind == "readings"]
    assert (first.body, second.body) == (batch.body, later.body)


@pytest.mark.parametrize("then", ["opens", "cannot be opened either"])
async def test_what_the_stage_sent_without_a_database_does_not_come_again(
    box: Any, monkeypatch: pytest.MonkeyPatch, unreadable: Any, then: str
) -> None:
    """What was put is held until a database heard of it; that it was delivered stood in segments that were not."""
    monkeypatch.setattr("agent.outbox.stage._SEGMENT", 500)
    box.out.put(box.readings(10), 2)
    await box.tick(60)
    box.out.put(box.readings(10), 2)
    with unreadable():
        box.open()
        sent = await box.drain()
        for _ in range(5):
            box.out.put(box.readings(10), 2)
            sent += await box.drain()
            await box.tick(60)
        if then == "cannot be opened either":
            box.open()
            sent += await box.drain()
    box.open()
    sent += await box.drain()
    came = [(row.store, row.seq) for message in sent if message.kind == "readings" for row in decode(message.body)]
    assert len(came) == len(set(came)) == 70


async def test_what_is_put_beside_the_word_of_a_delivery_does_not_come_again(
    box: Any, monkeypatch: pytest.MonkeyPatch, unreadable: Any
) -> None:
    """Nobody can open the database: a segment says that what an earlier process left was sent, and holds more."""
    monkeypatch.setattr("agent.outbox.stage._SEGMENT", 100)
    box.out.put(box.readings(10), 2)
    with unreadable():
        box.open()
        sent = await box.drain()
        for _ in range(5):
            box.out.put(box.readings(10), 2)
            sent.append(await box.take())
            await box.tick(0.01)  # another segment begins
            box.out.accepted(sent[-1])
            await box.tick(60)
        assert len(list(box.stage.glob("*.stage"))) <= 4
    box.open()
    sent += await box.drain()
    came = [(row.store, row.seq) for message in sent if message.kind == "readings" for row in decode(message.body)]
    assert len(came) == len(set(came)) == 60


async def test_a_command_that_nobody_can_look_up_is_refused(box: Any, unreadable: Any) -> None:
    """It may have been carried out: to call it new would do it twice, or tell a second end."""
    command = Command("c1", "km1", "on", box.clock.now(), origin=Origin.MQTT)
    assert await box.out.begin(command) is None
    await box.out.record(Outcome("c1", "km1", "on", OutcomeState.VERIFIED, "", box.clock.now()))
    await box.drain()
    await box.out.close()
    with unreadable():
        out = box.open()
        for known in (await out.outcome(command), await out.begin(command)):
            assert known is not None
            assert known.state is OutcomeState.REJECTED
        assert await out.outcome(replace(command, id="c2", origin=Origin.LOCAL)) is None
        assert [json.loads(one.body)["state"] for one in await box.drain() if one.command == "c1"] == [
            "rejected"
        ] * 2
    await box.tick(100)
    assert (await out.outcome(command)).state is OutcomeState.VERIFIED


async def test_a_command_that_could_not_be_looked_up_is_not_begun_by_a_write_that_succeeds(
    box: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command("c1", "km1", "on", box.clock.now(), origin=Origin.MQTT)
    assert await box.out.begin(command) is None
    with monkeypatch.context() as patched:
        patched.setattr(Store, "outcome", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("disk I/O error")))
        assert (await box.out.begin(command)).state is OutcomeState.REJECTED
    assert (await box.out.begin(command)).state is OutcomeState.ACCEPTED


async def test_the_last_word_of_a_command_stands_though_the_ledger_opens_late(
    box: Any, monkeypatch: pytest.MonkeyPatch, unreadable: Any
) -> None:
    """The stage had no room for it, and has the one before."""
    command = Command("c1", "km1", "on", box.clock.now())
    assert await box.out.begin(command) is None
    for state in (OutcomeState.APPLIED, OutcomeState.VERIFIED):
        box.clock.at += 1
        await box.out.record(Outcome("c1", "km1", "on", state, "", box.clock.now()))
        monkeypatch.setattr(Stage, "keep", lambda *arguments: False)
    monkeypatch.undo()
    assert len(await box.drain()) == 3
    with unreadable():
        box.open()
    await box.tick(60)
    await box.tick(60)
    assert (await box.out.outcome(command)).state is OutcomeState.VERIFIED
    assert await box.out.unfinished() == []


async def test_who_asks_for_open_commands_hears_that_nobody_can_read_them(box: Any, unreadable: Any) -> None:
    """None would mean that there are none."""
    assert await box.out.begin(Command("c1", "km1", "on", box.clock.now())) is None

    with unreadable():
        box.open()
        with pytest.raises(StorageError):
            await box.out.unfinished()
    assert [one.command for one in await box.out.unfinished()] == ["c1"]


async def test_what_was_delivered_before_two_starts_without_a_database_is_not_told_lost(
    box: Any, events: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that cannot open the database leaves what the stage knows to the next one."""
    box.out.put(box.readings(10), 2)
    box.out.accepted(await box.take())

    def fail(*args: object) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    with monkeypatch.context() as readonly:
        readonly.setattr(Store, "__init__", fail)
        box.open()
        await box.tick(1)
    box.open()
    await box.tick(1)
    assert await box.drain() == []


async def test_starts_that_are_killed_at_once_leave_no_files(
    box: Any, unreadable: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The stage is in memory, and only a write to flash lets its segments go: thousands of starts may find none."""
    box.out.put(box.readings(10), 2)
    with unreadable():
        for _ in range(20):
            box.open()
    assert len(list(box.stage.glob("*.stage"))) == 2  # what was put, and the one that is open
    box.open()
    (told,) = await box.drain()
    assert len(decode(told.body)) == 10
    caplog.clear()  # the errors in it hold what those starts had open


async def test_what_was_lost_in_memory_is_told_alone_after_a_kill(
    box: Any, events: Callable[..., Any], flash: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was delivered behind it is not told as lost, though the stage has forgotten that it was delivered."""
    monkeypatch.setattr("agent.outbox.messages.MOST", 100)
    monkeypatch.setattr("agent.outbox.stage._SEGMENT", 500)
    flash(False)
    await box.out.put_event(Event("alarm", "test", "km1", box.clock.now()))
    for _ in range(12):
        box.out.put(box.readings(10), 2)
    messages = await box.drain()
    came = [row.seq for message in messages if message.kind == "readings" for row in decode(message.body)]
    for _ in range(3):
        box.out.put(box.readings(10), 2)
        messages += await box.drain()
        await box.tick(1)
    flash(True)
    box.open()
    await box.tick(1)
    gaps = [event["detail"] for event in events(messages + await box.drain()) if event["kind"] == "gap"]
    assert [(gap["reason"], gap["first"], gap["count"]) for gap in gaps] == [("memory", 2, 120 - len(came))]


async def test_what_was_delivered_is_not_told_lost_while_a_gap_record_waits_for_the_flash(
    box: Any, events: Callable[..., Any], flash: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start tells of what the one before lost. Before the flash has its word, it tidies the stage, and is killed."""
    monkeypatch.setattr("agent.outbox.messages.MOST", 100)
    monkeypatch.setattr("agent.outbox.stage._SEGMENT", 500)
    flash(False)
    for _ in range(12):
        box.out.put(box.readings(10), 2)
    came = await box.drain()
    box.out.put(box.readings(10), 2)
    came += await box.drain()
    delivered = sum(message.n for message in came if message.kind == "readings")
    for _ in range(2):
        box.open()
        await box.tick(1)
    flash(True)
    box.open()
    await box.tick(1)
    gaps = [event["detail"] for event in events(await box.drain()) if event["kind"] == "gap"]
    assert [(gap["reason"], gap["first"], gap["count"]) for gap in gaps] == [("memory", 1, 130 - delivered)]


async def test_a_write_that_failed_and_was_kept_counts_once(
    box: Any, events: Callable[..., Any], kept_flash: Any
) -> None:
    """A sync that fails says nothing of what was written. It is written again, and was there twice."""
    box.options = {"max_bytes": 300_000, "window": 5.0}
    box.open()
    for _ in range(9):
        box.out.put(box.readings(300, value="x" * 30), 3)
        await box.tick(5)
    kept_flash(False)
    box.out.put(box.readings(300, value="y" * 30), 3)
    await box.tick(5)
    assert box.out.fault
    kept_flash(True)
    await box.tick(61)
    assert not box.out.fault
    numbers = [row.seq for row in export_readings(box.state, box.stage)]
    assert len(numbers) == len(set(numbers))
    box.out.put(box.readings(2_000, value="z" * 30), 1)
    for _ in range(9):
        await box.tick(6)
    for gap in events(await box.drain()):
        told = gap["detail"]
        assert 0 < told["count"] <= told["last"] - told["first"] + 1
    assert sum(classes["3"] for classes in box.out.status()["lost"].values()) <= 3_000


async def test_a_record_of_a_write_that_was_kept_is_not_told_under_two_numbers(
    box: Any, events: Callable[..., Any], kept_flash: Any
) -> None:
    """It was made for the numbers that this write reserved; they are given again, for the write failed."""
    await start_unsynced(box, kept_flash)
    await box.tick(61)
    box.out.put(box.readings(3), 2)
    await box.tick(61)
    messages = await box.drain()
    assert [event["code"] for event in events(messages)] == ["power_cut"]
    box.open()
    assert events(await box.drain()) == []


async def test_a_power_cut_takes_nothing_behind_a_write_of_a_killed_process_that_was_not_synced(
    box: Any, kept_flash: Any
) -> None:
    """The kernel does not write again what it could not sync, and says of later syncs that all is well."""
    box.out.put(box.readings(10), 2)
    await box.tick(5)
    log = box.state / "outbox.db-wal"
    before = log.stat().st_size
    kept_flash(False)
    box.out.put(box.readings(10), 2)
    await box.tick(5)
    unsynced = log.read_bytes()[before:]
    kept_flash(True)
    box.open()
    box.out.put(box.readings(10), 2)
    await box.tick(5)
    found = log.read_bytes()
    if unsynced and found[before : before + len(unsynced)] == unsynced:
        log.write_bytes(found[:before] + bytes(len(unsynced)) + found[before + len(unsynced) :])
    state, box.state, box.stage = box.state, box.state.with_name("after"), box.stage.with_name("none")
    shutil.copytree(state, box.state)
    box.open()
    numbers = {row.seq for m in await box.drain() if m.kind == "readings" for row in decode(m.body)}
    assert unsynced and numbers == set(range(1, 31))


async def test_what_a_kept_write_said_of_the_stage_is_taken_back(box: Any, kept_flash: Any) -> None:
    """It called the readings flushed. An event writes next, and a kill follows: they are somewhere."""
    kept_flash(False)
    box.out.put(box.readings(10), 2)
    await box.tick(5)
    kept_flash(True)
    await box.out.put_event(Event("note", "test", "", box.clock.now()))
    box.open()
    messages = [message for message in await box.drain() if message.kind == "readings"]
    sent = [row.seq for message in messages for row in decode(message.body)]
    assert sorted(sent) == list(range(1, 11))


async def test_a_read_that_succeeds_does_not_end_a_fault(box: Any, alarm: Any, flash: Any) -> None:
    flash(False)
    await box.out.put_event(alarm(1))
    assert box.out.fault
    assert await box.out.outcome(Command("c1", "km1", "on", box.clock.now())) is None
    assert box.out.fault
    flash(True)
    await box.tick(61)
    assert not box.out.fault


async def test_what_is_lost_while_the_flash_fails_is_told_before_it_is_mended(
    box: Any, events: Callable[..., Any], flash: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may never be: a dead card is replaced, and then nobody knows. Without a link, one record is enough."""
    monkeypatch.setattr("agent.outbox.messages.MOST", 100)
    flash(False)
    box.out.put(box.readings(1), 2)
    await box.tick(6)
    for _ in range(12):
        box.out.put(box.readings(30), 2)
        await box.tick(60)
    messages = await box.drain()
    came = {row.seq for message in messages if message.kind == "readings" for row in decode(message.body)}
    (gap,) = (event["detail"] for event in events(messages))
    assert (gap["reason"], gap["count"]) == ("memory", 361 - len(came))
    assert set(range(gap["first"], gap["last"] + 1)) >= set(range(1, 362)) - came
    lost = box.out.status()["lost"]
    flash(True)
    await box.tick(60)
    assert box.open().status()["lost"] == lost == {"memory": {"2": 361 - len(came)}}
