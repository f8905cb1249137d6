"""Encoding: what goes in comes out, whatever was batched how, and it is what the schemas say."""

from __future__ import annotations

import json
import random
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agent.model import Command, Event, Instant, Outcome, OutcomeState, Quality, Reading
from agent.outbox.blocks import LIMIT, Lot, cut, decode, encode, lots_of, pack, split

STORE = "7d9f3c52-3c0f-4a63-9f0b-2b1d6f3f3c11"
SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def conform(schema: str, body: bytes) -> None:
    """Fails with what is wrong."""
    text = body if body[:1] == b"{" else zlib.decompress(body)
    Draft202012Validator(json.loads((SCHEMAS / f"{schema}.json").read_text())).validate(json.loads(text))


values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
moments = st.builds(
    Instant, st.sampled_from(["boot-a", "boot-b"]), st.integers(0, 10**15), st.none() | st.integers(0, 2 * 10**12)
)
looks = st.lists(st.builds(Reading, st.sampled_from(["a.b", "c.d", "é"]), values, moments, st.sampled_from(Quality),
                            st.none() | st.integers(0, 2 * 10**12)),
                 min_size=1, max_size=30)  # fmt: skip


def plain(lots: list[Lot]) -> list[tuple[Any, ...]]:
    return [
        (lot.store, lot.seq + i, point, value, lot.qualities[i] if lot.qualities else "good", lot.wall_ms,
         None if lot.wall_ms is not None else lot.boottime_ns // 1_000_000, lot.measured[i] if lot.measured else None)
        for lot in lots for i, (point, value) in enumerate(zip(lot.points, lot.values, strict=True))
    ]  # fmt: skip


@given(st.lists(looks, min_size=1, max_size=5), st.integers(1, 40))
def test_live_batches_keep_every_reading_and_its_number(puts: list[list[Reading]], size: int) -> None:
    lots, seq = [], 1
    for readings in puts:
        lots += lots_of(readings, 2, STORE, seq, 0.0)
        seq += len(readings)
    rest, seen = list(lots), []
    while rest:
        chosen = cut(rest, size)
        body = encode(chosen)
        conform("telemetry", body)
        seen += decode(body)
        n = sum(lot.n for lot in chosen)
        rest = _after(rest, n)
    assert [tuple(row) for row in seen] == plain(lots)
    assert [row.value for row in seen] == [reading.value for readings in puts for reading in readings]


def _after(lots: list[Lot], n: int) -> list[Lot]:
    lots = list(lots)
    while n:
        if lots[0].n > n:
            lots[0] = split(lots[0], n)[1]
            break
        n -= lots.pop(0).n
    return lots


@given(st.lists(st.tuples(looks, st.sampled_from([1, 2, 3])), min_size=1, max_size=5))
def test_blocks_keep_every_reading_and_its_number(puts: list[tuple[list[Reading], int]]) -> None:
    lots, seq = [], 1
    for readings, cls in puts:
        lots += lots_of(readings, cls, STORE, seq, 0.0)
        seq += len(readings)
    rows = []
    for block in pack(lots):
        conform("telemetry", block.body)
        batch = decode(block.body)
        assert (batch[0].seq, batch[-1].seq, len(batch)) == (block.first, block.last, block.n)
        rows += batch
    assert sorted(tuple(row)[1:] for row in rows) == sorted((row[1:] for row in plain(lots)), key=lambda row: row[0])


def test_a_block_is_a_message_of_at_most_16_kb() -> None:
    rng = random.Random(1)
    at = Instant("b", 1, 1)
    lots = [
        lots_of([Reading(f"d.r{i}", rng.random(), at) for i in range(100)], 2, STORE, 1 + n * 100, 0.0)[0]
        for n in range(120)
    ]
    blocks = list(pack(lots))
    assert sum(block.n for block in blocks) == 12_000
    assert max(len(block.body) for block in blocks) <= LIMIT
    assert min(len(block.body) for block in blocks[:-1]) > LIMIT * 0.8
    long = pack(lots_of([Reading("d.text", "x" * 10 + str(rng.random()) * 20_000, at)], 2, STORE, 1, 0.0))
    assert [block.n for block in long] == [1]


@pytest.mark.parametrize("body", [b"", b"junk", b"\x78\x9cjunk", b"{"])
def test_what_is_no_batch(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(body)


@pytest.mark.parametrize("trusted", [True, False])
async def test_all_that_leaves_conforms(box: Any, trusted: bool) -> None:
    box.clock.trusted = trusted
    out, now = box.out, box.clock.now()
    await out.put_event(Event("alarm", "x", "km1", now, detail={"nan": float("nan"), "path": Path("/x"), "n": [1]}))
    await out.begin(Command("c-1", "km1", "on", now))
    await out.record(Outcome("c-1", "km1", 1.5, OutcomeState.FAILED, "no answer", now))
    out.put(box.readings(2, quality=Quality.BAD, value=None), 2)
    await box.tick(5)
    out.put(box.readings(2), 2)
    out.set_aside(await box.take(), "refused")
    await box.tick()
    topics = []
    for message in await box.drain():
        schema = "telemetry" if message.kind == "readings" else message.kind
        conform(schema, message.body)
        topics.append(schema)
    assert topics == ["result", "result", "event", "telemetry", "telemetry"]


async def test_a_devices_own_history_says_when_it_was_measured(box: Any) -> None:
    reading = box.readings(1)[0]
    box.out.put([reading._replace(measured_at=1_763_996_400_000), reading], 2)
    (live,) = await box.drain()
    assert list(json.loads(live.body)["p"].values()) == [[[0, 21.5, 0, "good", 1_763_996_400_000], [0, 21.5, 1]]]
    box.out.put([reading._replace(measured_at=1_763_996_400_000, quality=Quality.STALE)], 2)
    box.open()  # over the stage
    await box.tick(5)
    (stored,) = await box.drain()
    conform("telemetry", stored.body)
    assert [(row.quality, row.measured_ms) for row in decode(stored.body)] == [("stale", 1_763_996_400_000)]
