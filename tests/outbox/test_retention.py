"""A full buffer: what goes first, what is kept of it, and that every number is accounted for."""

from __future__ import annotations

import asyncio
import json
import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from agent.model import Event, Reading
from agent.outbox.blocks import decode

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def conform(schema: str, body: bytes) -> None:
    text = body if body[:1] == b"{" else zlib.decompress(body)
    Draft202012Validator(json.loads((SCHEMAS / f"{schema}.json").read_text())).validate(json.loads(text))


def looks(box: Any, n: int, rng: random.Random) -> list[Reading]:
    at = box.clock.now()
    return [Reading(f"meter-a.r{i}", round(rng.uniform(0, 1000), 3), at) for i in range(n)]


def unexplained(messages: list[Any], events: Callable[..., Any]) -> set[int]:
    """Numbers below the highest that neither came nor stand in a gap record."""
    came = {row.seq for m in messages if m.kind == "readings" for row in decode(m.body)}
    came |= {event["k"][1] for event in events(messages)}
    spans = [event["detail"] for event in events(messages) if event["kind"] == "gap"]
    told = {n for span in spans for n in range(span["first"], span["last"] + 1)}
    return set(range(1, max(came))) - came - told


async def fill(box: Any, turns: int, cls: Callable[[int], int], n: int = 100, step: float = 20) -> random.Random:
    rng = random.Random(3)
    for turn in range(turns):
        box.out.put(looks(box, n, rng), cls(turn))
        await box.tick(step)
    return rng


async def test_telemetry_is_thinned_before_anything_of_it_is_dropped(box: Any, events: Callable[..., Any]) -> None:
    box.options = {"max_bytes": 400_000}
    box.open()
    await fill(box, 900, lambda turn: 1 if turn % 20 == 0 else 2, n=60)
    lost = box.out.status()["lost"]
    assert set(lost) == {"thinned"} and set(lost["thinned"]) == {"2"}
    assert sum(box.out.status()["classes"].values()) < 400_000
    messages = await box.drain()
    for message in messages:
        conform("telemetry" if message.kind == "readings" else message.kind, message.body)
    rows = [row for m in messages if m.kind == "readings" for row in decode(m.body)]
    aggregates = [row.value for row in rows if isinstance(row.value, list)]
    assert aggregates
    for low, mean, high, last, n in aggregates:
        assert low <= mean <= high and low <= last <= high and n >= 2
    assert sum(row.value[4] if isinstance(row.value, list) else 1 for row in rows) == 900 * 60, "all are in it"
    assert unexplained(messages, events) == set()
    gone = sum(event["detail"]["count"] for event in events(messages))
    assert len(rows) + gone == 900 * 60


async def test_what_cannot_be_thinned_is_dropped_and_states_stay(box: Any, events: Callable[..., Any]) -> None:
    box.options = {"max_bytes": 300_000}
    box.open()
    rng = await fill(box, 400, lambda turn: (1, 2, 2, 2)[turn % 4], n=60, step=1000)
    lost = box.out.status()["lost"]
    assert set(lost["quota"]) == {"2"}
    for _ in range(400):
        box.out.put(looks(box, 60, rng), 1)
        await box.tick(1000)
    assert {"1", "2"} <= set(box.out.status()["lost"]["quota"])
    assert box.out.status()["classes"]["2"] == 0, "class 1 only after all of class 2"
    messages = await box.drain()
    assert unexplained(messages, events) == set()
    came = {row.seq for m in messages if m.kind == "readings" for row in decode(m.body)}
    gone = sum(event["detail"]["count"] for event in events(messages))
    assert len(came) + gone == 800 * 60


async def test_diagnostics_have_a_tenth(box: Any) -> None:
    box.options = {"max_bytes": 2_000_000}
    box.open()
    await fill(box, 300, lambda turn: 3)
    status = box.out.status()
    assert status["classes"]["3"] <= 200_000
    assert set(status["lost"]["quota"]) == {"3"}


async def test_a_flood_of_records_ends_at_the_buffer(box: Any, events: Callable[..., Any]) -> None:
    box.options = {"max_bytes": 300_000}
    box.open()
    for number in range(300):
        queue = box.out._writer.events
        queue.unsaved += [
            queue.add_event(Event("change", "x" * 100, f"km{number}", box.clock.now())) for _ in range(10)
        ]
        await box.tick(0.5)
    files = sum(path.stat().st_size for path in box.state.glob("outbox.db*") if not path.name.endswith("shm"))
    assert files < 400_000
    messages = await box.drain()
    assert unexplained(messages, events) == set()
    assert any(event["detail"].get("class") == 0 for event in events(messages))


async def test_in_a_long_outage_the_records_of_gaps_stay_few(
    box: Any, events: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a full buffer each look brings one of each class, and nobody takes them. What is in memory stays."""
    monkeypatch.setattr("agent.outbox.messages.MANY", 40)
    box.options = {"max_bytes": 300_000}
    box.open()
    await fill(box, 1_000, lambda turn: turn % 3 + 1, n=60, step=60)
    files = sum(path.stat().st_size for path in box.state.glob("outbox.db*") if not path.name.endswith("shm"))
    assert files < 400_000 and box.out.status()["classes"]["1"] > 25_000, "there is room for readings"
    messages = await box.drain()
    for message in messages:
        conform("telemetry" if message.kind == "readings" else message.kind, message.body)
    assert unexplained(messages, events) == set()
    gaps = [event["detail"] for event in events(messages) if event["kind"] == "gap"]
    assert len(gaps) < 100
    came = {row.seq for m in messages if m.kind == "readings" for row in decode(m.body)}
    assert len(came) + sum(gap["count"] for gap in gaps if gap["class"]) == 1_000 * 60
    numbers = {event["k"][1] for event in events(messages)} | came
    assert len(numbers) + sum(gap["count"] for gap in gaps) == max(numbers)


@pytest.mark.parametrize("wall", [0, 400 * 86_400])
async def test_days_are_days_of_running_not_of_the_wall(box: Any, events: Callable[..., Any], wall: float) -> None:
    box.options = {"days": 2}
    box.open()
    await fill(box, 3, lambda turn: turn % 3 + 1)
    box.clock.epoch += wall
    await box.tick(3600)
    assert box.out.status()["lost"] == {}
    await box.tick(2 * 86_400)
    await box.tick()
    assert box.out.status()["lost"] == {"age": {"2": 100, "3": 100}}
    messages = await box.drain()
    assert unexplained(messages, events) == set()


@pytest.mark.parametrize("wall", [0, 400 * 86_400])
async def test_audit_records_go_after_their_time_of_running(box: Any, events: Callable[..., Any], wall: float) -> None:
    """They say who wrote what: personal data. An alarm of the same age stays."""
    box.options = {"audit_days": 2}
    box.open()
    for kind in ("audit", "alarm", "audit"):
        await box.out.put_event(Event(kind, "x", "km1", box.clock.now(), detail={"by": "uid 1000 (somebody)"}))
    await box.tick()
    box.clock.epoch += wall
    await box.tick(3600)
    assert box.out.status()["lost"] == {}
    await box.tick(86_400)
    await box.out.put_event(Event("audit", "young", "km1", box.clock.now()))
    await box.tick(86_400)
    await box.tick()
    box.open()
    messages = await box.drain()
    assert [one["code"] for one in events(messages) if one["kind"] in ("audit", "alarm")] == ["x", "young"]
    assert unexplained(messages, events) == set()


async def test_freed_pages_are_used_again(box: Any) -> None:
    sizes = []
    for _ in range(6):
        await fill(box, 100, lambda turn: 2)
        await box.drain()
        await box.tick(10)
        box.out._writer.flash.db.checkpoint()
        sizes.append((box.state / "outbox.db").stat().st_size)
    assert sizes[-1] <= sizes[1]


async def test_what_the_broker_refuses_is_kept_within_a_bound(box: Any) -> None:
    for _ in range(150):
        box.out.put(box.readings(2), 2)
        box.out.set_aside(await box.take(), "refused")
        await box.tick()
    assert box.out._writer.flash.db._one("SELECT count(*) FROM refused") == 100


async def test_thinning_takes_whole_quarters_of_the_clock(box: Any) -> None:
    """Blocks lie across quarters, the box is killed in between: a point has one aggregate a quarter, of all of it."""
    box.options = {"max_bytes": 400_000}
    box.open()
    rng, put = random.Random(5), Counter[tuple[str, int]]()
    for turn in range(1200):
        readings = looks(box, 40, rng)
        put.update((reading.point, (reading.at.wall_ms or 0) // 900_000) for reading in readings)
        box.out.put(readings, 2)
        box.clock.at += 17
        if turn % 3 == 0:  # so that blocks begin in one quarter and end in the next
            await box.tick()
        if turn % 250 == 249:
            box.open()
    raw: Counter[tuple[str, int]] = Counter()
    thin: dict[tuple[str, int], list[int]] = defaultdict(list)
    for message in await box.drain():
        for row in decode(message.body) if message.kind == "readings" else ():
            where = row.point, row.ms // 900_000
            if isinstance(row.value, list):
                thin[where].append(row.value[4])
            else:
                raw[where] += 1
    assert len(thin) > 40 * 5
    assert {where: counts for where, counts in thin.items() if counts != [put[where]]} == {}
    assert {where for where in thin if raw[where]} == set()
    assert sum(raw.values()) + sum(put[where] for where in thin) == sum(put.values())


async def test_the_mean_of_any_values(box: Any) -> None:
    """It has digits enough to lie among them, and no size of a value ends the outbox."""
    series = {
        "pressure": (101325.2, 101325.4, 101325.3),
        "large": (123456789, 123456791, 123456791),
        "largest": (1.7e308, 1.7976931348623157e308, 1.7e308),
        "both": (-1.7e308, 1.7e308, -1.7e308),
        "least": (5e-324, 0.0, 0.0),
        "same": (7.123456789, 7.123456789, 7.123456789),
        "room": (19.5, 20.0, 20.5),
    }
    box.options = {"max_bytes": 400_000}
    box.open()
    rng = random.Random(1)
    for turn in range(400):
        at = box.clock.now()
        box.out.put([Reading(f"m.{name}", values[turn % 3], at) for name, values in series.items()], 2)
        box.out.put(looks(box, 90, rng), 2)
        await box.tick(20)
    rows = [row for m in await box.drain() if m.kind == "readings" for row in decode(m.body)]
    for name, values in series.items():
        aggregates = [row.value for row in rows if row.point == f"m.{name}" and isinstance(row.value, list)]
        assert aggregates, name
        for low, mean, high, _, _ in aggregates:
            assert low <= mean <= high, name
            assert abs(mean / 3 - sum(value / 9 for value in values)) <= (high / 3 - low / 3) * 0.1, name


async def test_class_0_does_not_wait_for_thinning(box: Any) -> None:
    await fill(box, 300, lambda turn: 2, n=200, step=20)
    await box.out.close()
    box.options = {"max_bytes": 200_000}
    box.open()
    thinning = asyncio.ensure_future(box.out._pass())
    await asyncio.sleep(0)
    for number in range(3):
        await box.out.put_event(Event("alarm", "test", f"km{number}", box.clock.now()))
        assert not thinning.done(), "it came in between"
    await thinning
    assert "thinned" in box.out.status()["lost"]


async def test_a_buffer_that_is_full_of_what_must_stay_is_looked_at_once_a_pass(box: Any) -> None:
    """Nothing may go: that is no reason to begin a hundred transactions in each pass."""
    box.options = {"max_bytes": 20_000}  # less than what an empty database takes
    out = box.open()
    await box.tick(20)
    assert out._writer.figures.over()
    begun = 0
    job = out._writer.flash.job

    async def counted(work: Callable[[Any], Any]) -> Any:
        nonlocal begun
        begun += 1
        return await job(work)

    out._writer.flash.job = counted
    await box.tick(20)
    assert 0 < begun < 10
