"""Two lanes: what is live goes first, the backlog behind it, as fast as the link bears it and in its order."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agent.model import Event
from agent.outbox import Message
from agent.outbox.backlog_reader import BURST, FEW, RATE, STARVED, BacklogPace
from agent.outbox.blocks import LIMIT, decode


async def backlog(box: Any, blocks: int, n: int = 10) -> None:
    for _ in range(blocks):
        box.out.put(box.readings(n), 2)
        await box.tick(5)


async def taken(box: Any, first: int, then: int) -> list[Message]:
    """Two live messages that are under way, of so many readings."""
    messages = []
    for n in (first, then):
        box.out.put(box.readings(n), 2)
        messages.append(await box.take())
        await box.tick(0.1)
    return messages


async def test_live_goes_before_the_backlog_and_yields_to_events_only(box: Any) -> None:
    await backlog(box, 3)
    first = await box.take()
    box.out.put(box.readings(1), 2)
    second = await box.take()
    assert (first.lane, first.first, second.lane, second.first) == ("backlog", 1, "live", 31)
    assert second.zlib is False


@pytest.mark.parametrize("turns", range(4))
async def test_who_waits_for_the_backlog_can_be_called_off_also_as_there_is_news(
    box: Any, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each turn of the loop; it must not go round and wait again."""
    monkeypatch.setattr(BacklogPace, "wait", lambda self, now: 60.0)
    await backlog(box, 1)
    taking = asyncio.create_task(box.out.take())
    await asyncio.sleep(0.01)
    box.out.hold_back(())
    for _ in range(turns):
        await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait({taking}, timeout=5)
    assert taking.cancelled()


async def test_small_blocks_are_joined(box: Any) -> None:
    await backlog(box, 100)
    (message,) = await box.drain()
    assert [row.seq for row in decode(message.body)] == list(range(1, 1001))
    assert (message.first, message.last, message.n) == (1, 1000, 1000)
    assert box.out.status()["rows"] == box.out.status()["bytes"] == 0
    box.open()
    assert await box.drain() == [], "all the blocks of it were accepted"


async def test_a_joined_message_that_is_not_accepted_stays_whole(box: Any) -> None:
    await backlog(box, 20)
    first = await box.take()
    box.out.put_back(first)
    assert await box.take() == first
    box.open()
    (again,) = await box.drain()
    assert [row.seq for row in decode(again.body)] == list(range(1, 201))


@pytest.mark.parametrize("limit", [2_000, LIMIT])
async def test_without_compression_messages_stay_short(box: Any, limit: int) -> None:
    await backlog(box, 20, 100)
    read_already = await box.take()
    box.out.put_back(read_already)
    box.out.link(20, compress=False, limit=limit)
    messages = await box.drain()
    assert messages[0] == read_already, "what was under way comes again as it was"
    box.out.link(20, compress=False, limit=limit)
    await backlog(box, 20, 100)
    plain = await box.drain()
    assert all(not m.zlib and len(m.body) <= limit for m in plain)
    assert [row.seq for m in plain for row in decode(m.body)] == list(range(2001, 4001))
    assert all(json.loads(m.body)["h"] == 1 for m in plain)
    assert box.out.status()["rows"] == box.out.status()["bytes"] == 0


async def test_what_is_read_ahead_takes_the_form_of_a_new_link(box: Any) -> None:
    for _ in range(12):
        box.out.put(box.readings(3000), 2)
        await box.tick(5)
    box.out.accepted(await box.take())
    assert box.out._writer.backlog.ready
    box.out.link(20, compress=False, limit=LIMIT)
    rest = await box.drain()
    assert all(not m.zlib for m in rest)
    assert [row.seq for m in rest for row in decode(m.body)] == list(range(3001, 36001))


async def test_part_of_a_block_refused_part_accepted(box: Any) -> None:
    await backlog(box, 10, 100)
    box.out.link(20, compress=False, limit=LIMIT)
    first = await box.take()
    box.out.set_aside(first, "payload format invalid")
    rest = [m for m in await box.drain() if m.kind == "readings"]
    assert first.n + sum(m.n for m in rest) == 1000
    assert box.out.status()["rows"] == 0
    await box.tick(5)
    (gap,) = [json.loads(m.body)["detail"] for m in await box.drain()]
    assert (gap["reason"], gap["first"], gap["last"], gap["count"]) == ("refused", first.first, first.last, first.n)


async def test_a_live_message_that_was_stored_meanwhile_takes_its_turn_in_the_backlog(box: Any) -> None:
    await backlog(box, 3)
    box.out.put(box.readings(5), 2)
    live = await box.take()
    assert live.lane == "live"
    await box.tick(5)
    box.out.put_back(live)
    messages = await box.drain()
    assert [row.seq for m in messages for row in decode(m.body)] == list(range(1, 36))


def test_the_pace_grows_to_half_of_the_window_and_no_further() -> None:
    pace = BacklogPace(0.0)
    pace.link(20, 0.0)
    for _ in range(30):
        while pace.wait(0.0) == 0:
            pace.take(0, 0.0)
        pace.back()
        pace.acknowledged("backlog", 0.3, 0.0)
    assert pace.under_way == 9


def test_the_pace_yields_to_slow_live_acknowledgements_and_comes_back() -> None:
    pace = BacklogPace(0.0)
    pace.acknowledged("live", 0.01, 0.0)
    for _ in range(20):
        pace.acknowledged("backlog", 0.01, 0.0)
    for at in range(1, 30):
        pace.acknowledged("live", 0.5, float(at))
    pace.take(0, 31.0)
    assert pace.wait(31.0) is None, "one at a time"
    pace.back()
    for _ in range(5):
        pace.acknowledged("backlog", 0.01, 40.0)
    pace.take(0, 40.0)
    assert pace.wait(40.0) == 0


def test_the_pace_keeps_its_rate() -> None:
    pace = BacklogPace(0.0)
    for _ in range(20):
        pace.acknowledged("backlog", 0.01, 0.0)
    pace.take(BURST + RATE, 0.0)
    assert pace.wait(0.0) == pytest.approx(1.0)
    assert pace.wait(1.0) == 0


async def test_a_thin_link_that_live_readings_fill_brings_some_backlog_too(box: Any) -> None:
    await backlog(box, 300)
    lanes = []
    for _ in range(20):
        box.out.put(box.readings(1), 2)
        box.clock.at += STARVED / 5
        while box.out._jobs or (box.out._writer.backlog.behind("block") and not box.out._writer.backlog.ready):
            box.out._read_ahead()
            await asyncio.sleep(0)
        message = await box.take()
        lanes.append(message.lane)
        box.out.accepted(message)
    assert 2 <= lanes.count("backlog") <= 5


async def test_what_the_broker_refuses_is_passed_over_and_keeps_its_order(box: Any, alarm: Any) -> None:
    for number in range(30):  # more than are read from flash at a time
        await box.out.put_event(alarm(number))
    box.open()
    box.out.put(box.readings(1), 2)
    box.out.link(20, compress=True, limit=LIMIT)
    refused = [await box.take(), await box.take()]
    assert [message.kind for message in refused] == ["event", "event"]
    for message in refused:
        box.out.put_back(message)
    box.out.hold_back({"event"})
    passed = await box.drain()
    assert {message.kind for message in passed} == {"readings"}
    box.out.hold_back({"event", "readings"})
    box.out.put(box.readings(1), 2)
    assert await box.peek() is None
    box.out.hold_back(())
    events = [message for message in await box.drain() if message.kind == "event"]
    assert [json.loads(message.body)["subject"] for message in events] == [f"km{number}" for number in range(30)]


async def test_what_comes_back_while_the_flash_is_read_is_sent(box: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The read passed by what was under way when it began, and nobody read it again before the next start."""
    box.out.put(box.readings(10), 2)
    message = await box.take()
    await box.tick(60)
    flash = box.out._writer.backlog._flash
    job = flash.job

    async def during(work: Any) -> Any:
        result = await job(work)
        box.out.put_back(message)
        return result

    monkeypatch.setattr(flash, "job", during)
    (again,) = await box.drain()
    assert (again.first, again.last) == (message.first, message.last)


async def test_records_that_come_back_keep_their_order(box: Any) -> None:
    """One is made while the last ones of an earlier process are read from flash."""
    for number in range(2 * FEW):
        await box.out.put_event(Event("note", "n", "s", box.clock.now(), detail={"n": number}))
    box.open()
    taken = [await box.take() for _ in range(FEW)]
    reading = asyncio.create_task(box.take())
    while not box.out._writer.flash.lock.locked():
        await asyncio.sleep(0)
    await box.out.put_event(Event("note", "n", "s", box.clock.now(), detail={"n": 2 * FEW}))
    taken += [await reading, *[await box.take() for _ in range(FEW)]]
    for message in reversed(taken):
        box.out.put_back(message)
    again = await box.drain()
    assert [message.first for message in again] == [message.first for message in taken]
    assert [json.loads(message.body)["detail"]["n"] for message in again] == list(range(2 * FEW + 1))


async def test_pieces_of_a_message_keep_their_place_when_others_come_back(box: Any) -> None:
    """The broker cuts the link at a long one while a later one is under way, and then at every message."""
    long, later = await taken(box, 40, 5)
    assert box.out.split(long, len(long.body) // 2)
    box.out.put_back(later)
    for _ in range(2):
        piece = await box.take()
        box.out.put_back(piece)
    assert [row.seq for message in await box.drain() for row in decode(message.body)] == list(range(1, 46))


async def test_pieces_of_a_message_go_after_what_came_back_before(box: Any) -> None:
    """The broker had enough at the first of two, and finds the second too long."""
    first, long = await taken(box, 5, 40)
    box.out.put_back(first)
    assert box.out.split(long, len(long.body) // 2)
    assert [row.seq for message in await box.drain() for row in decode(message.body)] == list(range(1, 46))


async def test_what_a_flash_did_not_take_comes_back_before_what_went_meanwhile(box: Any) -> None:
    box.out.put(box.readings(10), 2)
    being_written = box.out._writer.ram_queue.flush()
    await box.tick(0.1)
    box.out.put(box.readings(5), 2)
    later = await box.take()
    box.out._writer.ram_queue.come_back(being_written)
    for message in await box.take(), later:
        box.out.put_back(message)
    assert [row.seq for message in await box.drain() for row in decode(message.body)] == list(range(1, 16))
