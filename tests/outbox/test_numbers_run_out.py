"""The flash fails, and the numbers that were reserved are used up: after a power cut nobody may know of later ones."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from agent.outbox import Message
from agent.outbox.blocks import decode
from agent.outbox.store import Store


@pytest.fixture
def used_up(box: Any, alarm: Any, flash: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`await used_up()`: numbers go under stores that only this process knows; what was sent. Bounds are small."""
    bounds = {"messages.MOST": 100, "messages.MANY": 10, "numbers.RANGE": 20}

    async def use_up() -> list[Message]:
        await box.out.close()
        for name, value in bounds.items():
            monkeypatch.setattr(f"agent.outbox.{name}", value)
        box.open()
        flash(False)
        while box.out._writer.numbers.has(1):
            box.out.put(box.readings(1), 2)
        await box.out.put_event(alarm(0))
        return list(await box.drain())

    return use_up


@pytest.fixture
def hangs(monkeypatch: pytest.MonkeyPatch) -> Callable[[], threading.Event]:
    """`hangs()`: from now on a write takes until the event that it returns is set, and fails then."""

    def hang() -> threading.Event:
        ends = threading.Event()

        def fail(db: Store, work: object) -> None:
            ends.wait(5)
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(Store, "reopen", lambda db: [])
        monkeypatch.setattr(Store, "commit", fail)
        return ends

    return hang


def keys(message: Message, events: Any) -> list[tuple[str, int]]:
    if message.kind == "readings":
        return [(row.store, row.seq) for row in decode(message.body)]
    return [tuple(event["k"]) for event in events([message])]


def missed(taken: Sequence[Message], durable: str, events: Any) -> dict[str, set[int]]:
    """By store, numbers that the region misses and nobody has told of; what is `durable` the flash knows."""
    seen: dict[str, set[int]] = defaultdict(set)
    told: dict[str, set[int]] = defaultdict(set)
    for message in taken:
        for store, number in keys(message, events):
            seen[store].add(number)
    for detail in (event["detail"] for event in events(taken) if event["kind"] == "gap"):
        told[detail["store"]] |= set(range(detail["first"], detail["last"] + 1))
    holes = {store: set(range(1, max(of))) - of - told[store] for store, of in seen.items() if store != durable}
    return {store: of for store, of in holes.items() if of}


def never_missed(taken: Sequence[Message], durable: str, events: Any) -> None:
    """At no moment, whenever the power is cut."""
    for many in range(len(taken)):
        assert not missed(taken[: many + 1], durable, events), f"after {many + 1} messages"


@pytest.mark.parametrize("link", ["away", "slow", "flapping"])
async def test_a_power_cut_at_any_moment_leaves_no_number_unexplained(
    box: Any, events: Any, alarm: Any, used_up: Any, link: str
) -> None:
    """More comes than memory takes, readings and records. What is lost is told before what comes behind it leaves."""
    taken = await used_up()
    for turn in range(40):
        for _ in range(3):
            box.out.put(box.readings(10), 2 + turn % 2)
            await box.out.put_event(alarm(turn))
        await box.tick(1)
        if link != "away":
            message = await box.take()
            taken.append(message)
            (box.out.put_back if link == "flapping" and turn % 3 else box.out.accepted)(message)
    taken += await box.drain()
    kinds = {event["kind"] for event in events(taken)}
    assert kinds == {"alarm", "gap"} and any(message.kind == "readings" for message in taken)
    never_missed(taken, box.out.store, events)


async def test_what_a_burst_loses_before_the_flash_is_tried_is_told_first(
    box: Any, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes faster than numbers are reserved: a few are left, too few for readings. Then the power is cut."""
    await box.out.close()
    for name, value in {"messages.MOST": 100, "numbers.RANGE": 20}.items():
        monkeypatch.setattr(f"agent.outbox.{name}", value)
    box.open()
    for _ in range(12):
        box.out.put(box.readings(15), 2)
    assert box.out._writer.numbers.has(1) and box.out._writer.pending.lost and not box.out.fault
    taken = await box.drain()
    assert any(message.kind == "readings" for message in taken)
    never_missed(taken, box.out.store, events)


async def taken_while(box: Any, writing: asyncio.Future[Any], ends: Any) -> Message | None:
    """What the link is given when it asks while the flash hangs in a write."""
    taking = asyncio.ensure_future(box.take())
    await asyncio.sleep(0.05)
    ends.set()
    await writing
    return await taking


async def test_what_was_given_back_by_the_flash_leaves_before_what_came_meanwhile(
    box: Any, events: Any, used_up: Any, hangs: Any
) -> None:
    taken = await used_up()
    ends = hangs()
    box.out.put(box.readings(10), 2)
    box.clock.at += 100
    writing = asyncio.ensure_future(box.out._pass())
    while box.out._writer.ram_queue.waiting:
        await asyncio.sleep(0)
    box.out.put(box.readings(10), 2)
    assert not missed([*taken, await taken_while(box, writing, ends)], box.out.store, events)


@pytest.mark.parametrize("meanwhile", ["nothing", "another loss"])
async def test_nothing_overtakes_the_word_of_a_loss_that_is_being_written(
    box: Any, events: Any, alarm: Any, used_up: Any, hangs: Any, meanwhile: str
) -> None:
    """More records come than memory takes; before their loss was told the flash is tried again, and hangs."""
    taken = await used_up()
    for turn in range(14):
        await box.out.put_event(alarm(turn))
    assert box.out._writer.pending.lost
    ends = hangs()
    writing = asyncio.ensure_future(box.out.put_event(alarm(14)))
    while box.out._writer.pending.lost:
        await asyncio.sleep(0)
    for _ in range(0 if meanwhile == "nothing" else 12):
        box.out.put(box.readings(10), 2)
    assert not missed([*taken, await taken_while(box, writing, ends)], box.out.store, events)


async def test_a_loss_that_gets_a_durable_number_is_told_before_what_has_none(
    box: Any, events: Any, alarm: Any, used_up: Any, flash: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flash takes a reservation, and then no more; older records have waited to be sent all the while."""
    taken = await used_up()
    for turn in range(14):
        await box.out.put_event(alarm(turn))
    flash(True)
    commit = Store.commit

    def fills(db: Store, work: Any) -> None:
        if work.messages:
            raise sqlite3.OperationalError("database or disk is full")
        commit(db, work)

    monkeypatch.setattr(Store, "commit", fills)
    await box.out.put_event(alarm(14))
    taken += await box.drain()
    assert {event["k"][0] for event in events(taken) if event["kind"] == "gap"} == {box.out.store}
    never_missed(taken, box.out.store, events)


async def test_what_an_earlier_process_left_comes_back_in_its_order(
    box: Any, flash: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two stores: numbers say no order, and nobody knows any more when it was put."""
    await box.out.close()
    monkeypatch.setattr("agent.outbox.numbers.RANGE", 20)
    box.open()
    await box.drain()
    flash(False)
    durable = box.out.store
    while box.out._writer.numbers.has(1):
        box.out.put(box.readings(1), 2)
    box.out.put(box.readings(5), 2)
    box.open()
    taken = [await box.take()]
    while len({row.store for one in taken if one.kind == "readings" for row in decode(one.body)}) < 2:
        taken.append(await box.take())
    for message in reversed(taken):
        box.out.put_back(message)
    again = await box.drain()
    stores = [row.store for one in again if one.kind == "readings" for row in decode(one.body)]
    assert stores == sorted(stores, key=lambda store: store != durable) and stores.count(durable) < len(stores)
    assert [one.body for one in again if one.kind == "readings"] == [
        one.body for one in taken if one.kind == "readings"
    ]
