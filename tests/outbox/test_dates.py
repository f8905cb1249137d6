"""What was written while nobody knew the time: dated later, or told with its bounds."""

from __future__ import annotations

import json
import zlib
from typing import Any

from agent.model import Event
from agent.outbox.blocks import decode
from agent.outbox.records import Boot, Boots


def start(box: Any, number: int, at: float, trusted: bool) -> None:
    """The box is switched on again: another boot id, its boottime from `at` on, and no stage."""
    for path in box.stage.glob("*"):
        path.unlink()
    box.clock.boot, box.clock.at, box.clock.trusted = f"boot-{number}", at, trusted
    box.open()


async def test_a_boot_is_dated_when_its_clock_is_trusted(box: Any) -> None:
    start(box, 2, 50, False)
    box.out.put(box.readings(2), 2)
    await box.out.put_event(Event("change", "x", "km1", box.clock.now()))
    await box.tick(5)
    box.out.put(box.readings(2), 2)
    box.clock.trusted = True
    await box.tick(1)
    messages = await box.drain()
    documents = {m.kind: json.loads(m.body) for m in messages if m.kind == "event"}
    assert documents["event"]["t"] is not None
    rows = sorted((row for m in messages if m.kind == "readings" for row in decode(m.body)), key=lambda r: r.seq)
    assert [row.ms for row in rows] == [1_764_000_050_000] * 2 + [1_764_000_055_000] * 2
    said = [json.loads(m.body) for m in messages if m.kind == "event" and b'"dated"' in m.body]
    assert [event["detail"] for event in said] == [{"boot": "boot-2", "offset_ms": 1_764_000_000_000}]


async def test_what_was_delivered_without_a_date_is_dated_by_a_later_process(box: Any, events: Any) -> None:
    """It left no block behind that would tell of it, and the time comes while no agent runs."""
    start(box, 2, 50, False)
    box.out.put(box.readings(2), 2)
    assert [json.loads(m.body)["clock"] for m in await box.drain() if m.kind == "readings"] == ["unsynced"]
    box.clock.at, box.clock.trusted = 60, True
    box.open()
    await box.tick(1)
    (said,) = events(await box.drain())
    assert (said["kind"], said["code"], said["detail"]["boot"]) == ("clock", "dated", "boot-2")
    assert said["detail"]["offset_ms"] == 1_764_000_000_000
    box.open()
    await box.tick(1)
    assert await box.drain() == [], "said once"


async def test_a_database_that_opens_late_shows_what_was_told_without_a_date(
    box: Any, events: Any, unreadable: Any
) -> None:
    """The start knows the time at once, and that an earlier one did not only when it can read."""
    start(box, 2, 50, False)
    box.out.put(box.readings(2), 2)
    assert [json.loads(m.body)["clock"] for m in await box.drain() if m.kind == "readings"] == ["unsynced"]
    box.clock.at, box.clock.trusted = 60, True
    with unreadable():
        box.open()
        await box.tick(1)
        await box.drain()
    await box.tick(60)
    said = [event for event in events(await box.drain()) if event["code"] == "dated"]
    assert [event["detail"] for event in said] == [{"boot": "boot-2", "offset_ms": 1_764_000_000_000}]
    for _ in range(2):
        box.open()
        await box.tick(1)
        assert [event for event in events(await box.drain()) if event["code"] == "dated"] == [], "said once"


async def test_an_event_alone_waits_for_its_date_too(box: Any, events: Any) -> None:
    start(box, 2, 50, False)
    await box.out.put_event(Event("change", "x", "km1", box.clock.now()))
    assert [event["t"] for event in events(await box.drain()) if event["kind"] == "change"] == [None]
    box.clock.trusted = True
    await box.tick(1)
    assert [event["code"] for event in events(await box.drain())] == ["dated"]


async def test_a_boot_whose_time_was_always_known_has_nothing_to_tell(box: Any) -> None:
    start(box, 2, 50, True)
    await box.tick(1)
    await box.drain()
    box.clock.trusted = False
    box.clock.at = 60.0
    box.out.put(box.readings(1), 2)
    (live,) = await box.drain()
    assert json.loads(live.body)["t"] == 1_764_000_060_000, "its date holds while the trust is lost"
    box.clock.trusted = True
    await box.tick(1)
    assert await box.drain() == []


async def test_an_earlier_boot_that_was_dated_after_its_blocks(box: Any) -> None:
    start(box, 2, 50, False)
    box.out.put(box.readings(2), 2)
    await box.tick(5)
    box.clock.trusted = True
    await box.tick(1)
    start(box, 3, 10, False)
    rows = [row for m in await box.drain() if m.kind == "readings" for row in decode(m.body)]
    assert [row.ms for row in rows] == [1_764_000_050_000] * 2


async def test_no_reading_of_a_boot_without_a_date_lies_behind_the_start_after_it(box: Any) -> None:
    await box.tick(600)
    start(box, 2, 50, False)
    box.out.put(box.readings(1), 2)
    box.clock.at += 3  # later than what is noted of how long this boot has lasted
    box.out.put(box.readings(1), 2)
    await box.tick(5)
    start(box, 3, 10, True)
    box.clock.at = 7000.0
    await box.tick(1)
    (body,) = [m.body for m in await box.drain() if m.kind == "readings"]
    batch = json.loads(zlib.decompress(body))
    latest = [batch["t_max"] + (row.boottime_ms or 0) - batch["boottime_ms"] for row in decode(body)]
    assert latest == [1_763_999_997_000, 1_764_000_000_000], "boottime 0 of the next start"


async def test_a_boot_without_a_date_lies_between_its_neighbours(box: Any) -> None:
    await box.tick(600)  # the first boot, dated
    start(box, 2, 50, False)
    box.out.put(box.readings(2), 2)
    await box.out.put_event(Event("change", "x", "km1", box.clock.now()))
    await box.tick(5)
    start(box, 3, 10, True)
    box.clock.at = 7000.0  # its boottime 0 was at 1 764 000 000 000
    await box.tick(1)
    messages = await box.drain()
    (body,) = [m.body for m in messages if m.kind == "readings"]
    (event,) = [json.loads(m.body) for m in messages if b'"change"' in m.body]
    batch = json.loads(zlib.decompress(body))
    assert (batch["t"], batch["clock"], batch["boot"], batch["boottime_ms"]) == (None, "bounded", "boot-2", 50_000)
    assert batch["t_min"] is not None and batch["t_max"] is not None
    assert event["clock"] == "bounded"


def test_bounds_count_what_each_boot_lasted() -> None:
    boots = Boots([Boot("a", 1_000_000, 5_000), Boot("b", None, 300), Boot("c", None, 2_000), Boot("d", 2_000_000, 10)])
    assert boots.bounds("b", 100) == (1_005_100, 1_997_800)
    assert boots.bounds("c", 500) == (1_005_800, 1_998_500)
    assert Boots([Boot("b", None, 300), Boot("c", None, 1)]).bounds("b", 100) == (None, None)
    assert boots.older_than(1_000) == {"a": 6_310, "b": 1_310, "c": 1_010}
