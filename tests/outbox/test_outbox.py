"""A reading's way through the outbox: kept at once, sent at once, written only if it must be, deleted when accepted."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from agent.model import Command, Event, Outcome, OutcomeState, Quality, Severity
from agent.outbox import Outbox
from agent.outbox.blocks import decode


async def test_what_waits_leaves_in_one_message(box: Any) -> None:
    for _ in range(3):
        box.out.put(box.readings(4), 2)
    message = await box.take()
    assert (message.kind, message.zlib, message.n) == ("readings", False, 12)
    assert [row.seq for row in decode(message.body)] == list(range(message.first, message.last + 1))
    assert box.out.status()["rows"] == 12
    box.out.accepted(message)
    assert box.out.status()["rows"] == 0


async def test_accepted_within_the_window_is_never_written(box: Any) -> None:
    for _ in range(40):
        box.out.put(box.readings(50), 2)
        await box.tick(0.5)
        box.out.accepted(await box.take())
    await box.tick(60)
    assert box.out.status()["bytes"] == 0
    assert box.out._writer.flash.db.totals().next_id == 1


async def test_a_pass_that_finds_nothing_to_do_makes_no_task(box: Any) -> None:
    """There is one every few seconds, for years."""
    await box.tick()
    made: list[Any] = []
    asyncio.get_running_loop().set_task_factory(lambda loop, coro, **more: made.append(coro) or asyncio.Task(coro))  # type: ignore[arg-type]
    box.out.put(box.readings(3), 2)
    for _ in range(4):
        await box.tick(0.5)
    assert not made
    await box.tick(5)
    assert made


async def test_a_pass_comes_when_something_is_due_or_cannot_wait(box: Any) -> None:
    """An idle box sleeps: what comes meanwhile may wait for four fifths of the window before it is flushed."""
    await box.tick()
    writer = box.out._writer
    assert writer.rest() == 4.0
    box.clock.at += 1
    box.out.put(box.readings(), 2)
    assert writer.rest() == 4.0
    box.clock.at += 2.5
    assert writer.rest() == 1.5
    box.clock.at += 1.4
    assert writer.rest() == 0.5
    assert not writer.called.is_set()
    box.out.set_aside(await box.take(), "payload format invalid")
    assert writer.called.is_set()
    assert writer.rest() == 0.5
    await box.tick()
    assert not writer.called.is_set()
    assert writer.rest() == 4.0


@pytest.mark.parametrize("what", ["stage", "numbers"])
async def test_readings_call_for_a_pass_where_they_need_one(
    box: Any, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many in a second: more numbers are reserved before they run out, and the stage begins another segment."""
    monkeypatch.setattr("agent.outbox.stage._SEGMENT", 5_000 if what == "stage" else 10_000_000)
    await box.tick()
    writer = box.out._writer
    writer.numbers.next = writer.numbers.limit - (50_300 if what == "numbers" else 60_000)
    box.out.put(box.readings(200), 2)
    assert not writer.called.is_set()
    box.out.put(box.readings(200), 2)
    assert writer.called.is_set()


async def test_a_time_that_becomes_known_calls_for_a_pass(box: Any) -> None:
    box.clock.trusted = False
    box.open()
    await box.tick()
    assert box.out._writer.rest() == 1.0
    box.clock.trusted = True
    box.out.link(8, compress=False, limit=100_000)
    assert box.out._writer.called.is_set()


async def test_a_flash_that_fails_is_left_alone_until_its_time_and_the_clock_is_not(box: Any, flash: Any) -> None:
    """What nobody can write calls for no pass; a time that becomes known is seen within a second all the same."""
    writer = box.out._writer
    await box.tick()
    flash(False)
    box.out.put(box.readings(), 2)
    await box.tick(4)
    assert writer.flash.retry_at == box.clock.at + 5
    box.out.put(box.readings(), 2)
    assert writer.rest() == 4.0
    box.clock.at += 3
    assert writer.rest() == 2.0
    box.clock.at += 2
    assert writer.rest() == 0.5
    writer.dating.known = False
    box.clock.at -= 4
    assert writer.rest() == 1.0


async def test_unsent_goes_to_flash_within_the_window_and_comes_back_in_order(box: Any) -> None:
    for _ in range(30):
        box.out.put(box.readings(50), 2)
        await box.tick(0.5)
    status = box.out.status()
    assert status["rows"] == 1500
    assert status["bytes"] > 0
    messages = await box.drain()
    backlog = [message for message in messages if message.lane == "backlog"]
    live = messages[: -len(backlog)]
    assert [row.seq for message in backlog + live for row in decode(message.body)] == list(range(1, 1501))
    assert messages == live + backlog and all(message.zlib for message in backlog)
    await box.tick(10)
    assert box.out._writer.flash.db.totals().rows == 0
    assert box.out.status()["bytes"] == 0


async def test_a_link_lost_in_flight_sends_the_same_again(box: Any) -> None:
    box.out.put(box.readings(3), 2)
    first = await box.take()
    box.out.put(box.readings(3), 2)
    second = await box.take()
    box.out.put_back(second)
    box.out.put_back(first)
    assert [await box.take(), await box.take()] == [first, second]


async def test_in_flight_beyond_the_window_is_on_flash_and_sent_once(box: Any) -> None:
    box.out.put(box.readings(3), 2)
    message = await box.take()
    await box.tick(5)
    assert box.out._writer.flash.db.totals().rows == 3
    assert box.out.status()["rows"] == 3
    assert await box.peek() is None
    box.out.accepted(message)
    await box.tick(6)
    assert box.out._writer.flash.db.totals().rows == 0
    assert await box.drain() == []


async def test_class_0_goes_first(box: Any) -> None:
    box.out.put(box.readings(3), 2)
    await box.tick(5)
    await box.out.put_event(Event("alarm", "x", "km1", box.clock.now(), Severity.MAJOR))
    assert [message.kind for message in await box.drain()] == ["event", "readings"]


@pytest.mark.parametrize("flush", [False, True])
async def test_a_killed_process_loses_nothing_and_repeats_keys(box: Any, flush: bool) -> None:
    box.out.put(box.readings(10), 2)
    if flush:
        await box.tick(5)
    sent = decode((await box.take()).body)
    box.out.put(box.readings(10), 2)
    box.open()  # the old one is simply forgotten, as by kill -9
    again = sorted((row for message in await box.drain() for row in decode(message.body)), key=lambda row: row.seq)
    assert [row.seq for row in again] == list(range(1, 21))
    assert [row[:4] for row in again[:10]] == [row[:4] for row in sent]


async def test_what_was_accepted_before_a_kill_is_not_sent_again(box: Any) -> None:
    box.out.put(box.readings(10), 2)
    box.out.accepted(await box.take())
    box.out.put(box.readings(5), 2)
    await box.tick(5)
    box.out.accepted(await box.take())
    await box.out.put_event(Event("change", "y", "km1", box.clock.now()))
    box.out.accepted(await box.take())
    box.open()
    assert await box.drain() == []
    assert box.out.status()["rows"] == 0


async def test_an_orderly_end_leaves_no_stage_and_no_gap(box: Any) -> None:
    box.out.put(box.readings(10), 2)
    flying = await box.take()
    box.out.put(box.readings(10), 1)
    await box.out.close()
    assert list(box.stage.iterdir()) == []
    out: Outbox = box.open()
    status = out.status()
    assert (status["rows"], status["hours_left"], status["gaps"], status["lost"]) == (20, None, 0, {})
    messages = await box.drain()
    assert [row.seq for message in messages for row in decode(message.body)] == list(range(flying.first, 21))
    out.put(box.readings(1), 2)
    assert (await box.take()).first == 21


async def test_nothing_of_a_flapping_link_is_lost(box: Any) -> None:
    seen: set[int] = set()
    for turn in range(60):
        box.out.put(box.readings(7), 1 + turn % 3)
        await box.tick(0.7)
        held = [message for _ in range(4) if (message := await box.peek()) is not None]
        for number, message in enumerate(held):
            if (turn + number) % 3:
                box.out.put_back(message)
            else:
                box.out.accepted(message)
                seen |= {row.seq for row in decode(message.body)}
    seen |= {row.seq for message in await box.drain() for row in decode(message.body)}
    assert seen == set(range(1, 421))


async def test_take_waits_and_wakes_at_once(box: Any) -> None:
    taking = asyncio.ensure_future(box.out.take())
    await asyncio.sleep(0)
    assert not taking.done()
    box.out.put(box.readings(1), 2)
    assert (await asyncio.wait_for(taking, 5)).n == 1


async def test_clock_states_and_boots_do_not_mix(box: Any) -> None:
    box.clock.trusted, box.clock.boot = False, "6f1c7d6e-0000-4000-8000-000000000002"
    box.open()
    box.out.put(box.readings(2), 2)
    box.clock.trusted = True
    box.out.put(box.readings(2, quality=Quality.STALE), 2)
    first, second = [message for message in await box.drain() if message.kind == "readings"]
    assert [row.ms for row in decode(first.body)] == [None, None]
    assert [row.boottime_ms for row in decode(first.body)] == [1_000_000] * 2
    assert {(row.quality, row.boottime_ms) for row in decode(second.body)} == {("stale", None)}


async def test_odd_values_travel(box: Any) -> None:
    box.out.put(box.readings(1, value=float("nan")), 2)
    box.out.put(box.readings(1, value=OutcomeState.FAILED), 2)
    box.out.put(box.readings(1, value=b"no value"), 2)
    got = [(row.value, row.quality) for message in await box.drain() for row in decode(message.body)]
    assert got == [(None, "bad"), ("failed", "good"), (None, "bad")]
    box.open()
    assert await box.drain() == []


async def test_a_refused_repetition_does_not_hide_the_first(box: Any) -> None:
    assert await box.out.begin(Command("c1", "km1", "on", box.clock.now())) is None
    await box.out.record(Outcome("c1", "", None, OutcomeState.REJECTED, "retained", box.clock.now()))
    assert [(outcome.point, outcome.state) for outcome in await box.out.unfinished()] == [("km1", "accepted")]


async def test_a_command_that_expired_after_its_acceptance_has_ended(box: Any) -> None:
    """A radio node did not listen in time: a crash later finds nothing open, and tells no second end."""
    command = Command("c1", "valve", 42, box.clock.now())
    assert await box.out.begin(command) is None
    await box.out.record(Outcome("c1", "valve", 42, OutcomeState.EXPIRED, "it did not listen", box.clock.now()))
    assert await box.out.unfinished() == []
    known = await box.out.outcome(command)
    assert known is not None and known.state is OutcomeState.EXPIRED


async def test_words_off_the_network_that_are_no_unicode(box: Any) -> None:
    outcome = Outcome("c1", "km\ud800", "\ud800", OutcomeState.REJECTED, "unknown point km\ud800", box.clock.now())
    await box.out.record(outcome)
    assert (await box.out.begin(Command("c1", "km1", "on", box.clock.now()))).state == OutcomeState.REJECTED


async def test_the_stage_stays_small(box: Any) -> None:
    for _ in range(300):
        for _ in range(20):
            box.out.put(box.readings(50), 2)
        while box.out.status()["rows"]:
            box.out.accepted(await box.take())
        await box.tick(1)
    assert sum(path.stat().st_size for path in box.stage.iterdir()) < 3_000_000


async def test_a_long_backlog_is_not_held_in_memory(box: Any) -> None:
    for _ in range(100):
        box.out.put(box.readings(1000), 2)
        await box.tick(5)
    assert box.out.status()["rows"] == 100_000
    for _ in range(3):
        message = await box.take()
        box.out.accepted(message)
        assert message.zlib
    assert len(box.out._writer.backlog.ready) < 10
    assert not box.out._writer.ram_queue.waiting


async def test_a_block_that_is_refused_is_explained_although_a_kill_comes_before_the_flash_knows(
    box: Any, events: Callable[..., Any]
) -> None:
    """The stage says that it is done with: a start deletes it as delivered, and must know that it was not."""
    box.out.put(box.readings(10), 2)
    await box.tick(6)
    message = await box.take()
    assert message.lane == "backlog"
    box.out.set_aside(message, "payload format invalid")
    box.open()
    found = await box.drain()
    sent = [one for one in found if one.kind == "readings"]
    gaps = [event["detail"] for event in events(found) if event["kind"] == "gap"]
    assert (sent, [(gap["first"], gap["last"], gap["count"]) for gap in gaps]) == ([], [(1, 10, 10)])


async def test_a_refused_message_is_set_aside_and_explained(box: Any, events: Callable[..., Any]) -> None:
    box.out.put(box.readings(3), 2)
    box.out.set_aside(await box.take(), "payload format invalid")
    await box.tick()
    (gap,) = events(await box.drain())
    assert (gap["kind"], gap["code"], gap["detail"]["first"], gap["detail"]["last"]) == ("gap", "refused", 1, 3)
    assert box.out.status()["rows"] == 0


async def test_a_command_begins_once(box: Any) -> None:
    command = Command("c1", "km1", "on", box.clock.now())
    assert await box.out.begin(command) is None
    again = await box.out.begin(command)
    assert (again.state, again.point) == (OutcomeState.ACCEPTED, "km1")
    done = Outcome("c1", "km1", "on", OutcomeState.VERIFIED, "", box.clock.now())
    await box.out.record(done)
    assert await box.out.begin(command) == done
    assert [(message.kind, message.command) for message in await box.drain()] == [("result", "c1")] * 2
    assert await box.out.unfinished() == []


async def test_a_crash_after_acceptance_leaves_it_unfinished(box: Any) -> None:
    assert await box.out.begin(Command("c1", "km1", None, box.clock.now())) is None
    box.open()
    (outcome,) = await box.out.unfinished()
    assert (outcome.command, outcome.value, outcome.state) == ("c1", None, OutcomeState.ACCEPTED)
    assert (await box.out.begin(Command("c1", "km1", None, box.clock.now()))).state == OutcomeState.ACCEPTED
    assert len(await box.drain()) == 1


async def test_a_newer_versions_database_is_neither_reset_nor_garbled(box: Any) -> None:
    """It has a higher number and a column more: readings go in and come out, and the newer one finds its number."""
    box.out.put(box.readings(3), 2)
    await box.out.close()
    with sqlite3.connect(box.state / "outbox.db") as db:
        db.executescript("ALTER TABLE block ADD COLUMN later TEXT DEFAULT 'x'; PRAGMA user_version = 9;")
    box.open().put(box.readings(2), 2)
    await box.out.close()
    with sqlite3.connect(box.state / "outbox.db") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (9,)
        assert db.execute("SELECT sum(n), min(later) FROM block").fetchone() == (5, "x")
    box.open()
    assert sum(message.n for message in await box.drain()) == 5


@pytest.mark.parametrize("first", [True, False], ids=["before the close", "behind it"])
async def test_a_job_under_way_at_the_close_is_no_power_cut_at_the_next_start(box: Any, first: bool) -> None:
    """It reserves numbers; behind the last word on them they were told as lost: 100,000 that nobody had given."""
    box.out.put(box.readings(3), 2)
    await box.tick(5)
    box.out.put(box.readings(1), 2)
    box.clock.at += 5
    jobs = [box.out.close(), box.out._pass()]
    async with box.out._writer.flash.lock:
        tasks = [asyncio.ensure_future(job) for job in (jobs[::-1] if first else jobs)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    box.open()
    box.out.put(box.readings(1), 2)
    numbers = sorted(row.seq for message in await box.drain() if message.kind == "readings"
                     for row in decode(message.body))  # fmt: skip
    assert numbers == [1, 2, 3, 4, 5]
    assert box.out.status()["gaps"] == 0


async def test_what_a_refused_gap_record_told_is_told_again(box: Any, events: Callable[..., Any]) -> None:
    """Else the numbers that it told of were neither delivered nor explained."""
    box.out.put(box.readings(3), 2)
    box.out.set_aside(await box.take(), "implementation specific")
    await box.tick()
    for _ in range(3):
        told = await box.take()
        assert told.kind == "event"
        box.out.set_aside(told, "implementation specific")
        await box.tick()
    assert box.out.status()["lost"]["refused"]["2"] == 3, "counted once"
    gaps = [event["detail"] for event in events(await box.drain())]
    assert [(gap["first"], gap["last"], gap["count"]) for gap in gaps if gap["class"] == 2] == [(1, 3, 3)]
    refused = [gap for gap in gaps if gap["class"] == 0]
    assert min(gap["first"] for gap in refused) == 4, "the first gap record's own number"


async def test_a_gap_that_nobody_could_count_is_told_again_as_it_was(box: Any, events: Callable[..., Any]) -> None:
    box.out.put(box.readings(10), 2)
    shutil.rmtree(box.stage)
    box.open()
    box.out.set_aside(await box.take(), "implementation specific")
    await box.tick()
    codes = {event["code"]: event["detail"] for event in events(await box.drain())}
    assert codes.keys() == {"power_cut", "refused"}
    assert (codes["power_cut"]["first"], codes["power_cut"]["count"]) == (1, None)


async def test_one_gap_record_of_two_lanes_names_the_older_numbers_too(box: Any, events: Callable[..., Any]) -> None:
    box.out.put(box.readings(10), 2)
    await box.tick(5)
    history = await box.take()
    box.out.put(box.readings(2), 2)
    live = await box.take()
    assert (history.lane, live.lane) == ("backlog", "live")
    box.out.set_aside(live, "payload format invalid")
    box.out.set_aside(history, "payload format invalid")
    await box.tick()
    (gap,) = events(await box.drain())
    assert (gap["detail"]["first"], gap["detail"]["last"], gap["detail"]["count"]) == (1, 12, 12)
