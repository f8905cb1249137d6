"""The collector's account: every number came, is explained by a gap, or is missing; nothing is kept twice."""

import json
import random
import sqlite3
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.collect.account import _explained
from agent.collect.schemas import InvalidMessage, Shelf
from agent.collect.store import CollectStore
from agent.errors import BocageError
from tests.collect.messages import BOOT, OTHER, STORE, batch, event


def rows(store, table="reading"):
    return store.db.execute(f"SELECT * FROM {table} ORDER BY seq").fetchall()


def test_a_batch_becomes_rows_with_their_own_times_and_keys(kept):
    kept.take("telemetry", "village", batch(7, [1.5, True, "open"]))
    assert rows(kept) == [
        (STORE, 7, "m.v", 1_764_000_000_000, 1.5, "good", None),
        (STORE, 8, "m.v", 1_764_000_010_000, 1, "good", None),
        (STORE, 9, "m.v", 1_764_000_020_000, "open", "good", None),
    ]


def test_what_comes_twice_is_one_row_and_counted(kept):
    for _ in range(3):
        kept.take("telemetry", "village", batch(1, [1, 2]))
        kept.take("event", "village", event(3))
    (account,) = kept.accounts()
    assert (account.readings, account.events, account.duplicates, account.conflicts) == (2, 1, 6, 0)


def test_one_key_with_two_contents_is_a_conflict(kept):
    kept.take("telemetry", "village", batch(1, [1, 2]))
    kept.take("telemetry", "village", batch(1, [1, 3]))
    (account,) = kept.accounts()
    assert (account.duplicates, account.conflicts) == (1, 1)


def test_holes_are_missing_until_a_gap_explains_them(kept):
    kept.take("telemetry", "village", batch(1, [1]))
    kept.take("telemetry", "village", batch(11, [1]))
    assert kept.accounts()[0].missing == 9
    gap = {"reason": "quota", "class": 2, "count": 6, "first": 2, "last": 9}
    kept.take("event", "village", event(12, "gap", "quota", **gap))
    (account,) = kept.accounts()
    assert (account.gaps, account.explained, account.missing) == (1, 6, 3), "no more than it counts"
    kept.take("event", "village", event(13, "gap", "power_cut", reason="power_cut", count=None, first=2, last=10))
    assert kept.accounts()[0].missing == 0


def test_an_aggregate_is_a_row_of_its_own_and_has_one_number(kept):
    kept.take("telemetry", "village", batch(1, [1.0, [1.0, 2.5, 4.0, 3.0, 90], 7.0], agg=900))
    assert rows(kept, "aggregate") == [(STORE, 2, "m.v", 1_764_000_010_000, 1.0, 2.5, 4.0, 3.0, 90)]
    (account,) = kept.accounts()
    assert (account.readings, account.aggregates, account.missing) == (2, 1, 0)


def test_an_aggregate_of_a_64_bit_counter_is_kept(kept):
    """Its last value is the reading's own: a whole number that SQLite has not."""
    kept.take("telemetry", "village", batch(1, [[2**63, 2.0**63, 2**64 - 1, 2**64 - 1, 90]], agg=900))
    assert rows(kept, "aggregate")[0][4:] == (2.0**63, 2.0**63, 2.0**64, 2.0**64, 90)


def test_what_never_gets_a_time_keeps_its_bounds(kept):
    """Those of a message are of the moment from which its readings count."""
    body = batch(1, [1, 2], t=None, boot=BOOT, boottime_ms=5_000, t_min=100, t_max=None)
    kept.take("telemetry", "village", {**body, "clock": "bounded"})
    assert rows(kept, "undated") == [(STORE, 1, BOOT, 5_000, 100, None), (STORE, 2, BOOT, 15_000, 10_100, None)]


def test_a_database_that_was_set_aside_explains_the_holes_of_its_store(kept):
    for first in (1, 9):
        kept.take("telemetry", "village", batch(first, [1]))
    assert kept.accounts()[0].missing == 7
    other = {**event(1, "gap", "store_corrupt", reason="store_corrupt", count=None, file="x"), "k": [OTHER, 1]}
    kept.take("event", "village", other)
    assert [(one.missing, one.explained) for one in kept.accounts() if one.store == STORE] == [(0, 7)]


def test_weeks_without_time_are_dated_in_portions(kept):
    """One message that costs as much as there is held a collector's end up: 12 s for 1.5 million readings."""
    for first in range(1, 30_001, 5000):
        body = batch(first, list(range(5000)), t=None, boot=BOOT, boottime_ms=first * 10_000)
        kept.take("telemetry", "village", body)
    kept.take("event", "village", event(30_001, "clock", "dated", boot=BOOT, offset_ms=7))
    kept.commit()
    left = [kept.accounts()[0].undated]
    while kept.date_some():
        kept.commit()
        left.append(kept.accounts()[0].undated)
    assert left[-1] == 0 and max(before - after for before, after in zip([30_000, *left], left, strict=False)) <= 10_000
    kept.take("telemetry", "village", batch(30_002, [1], t=None, boot=BOOT, boottime_ms=300_020_000))
    assert kept.db.execute("SELECT count(*) FROM reading WHERE t = seq * 10000 + 7").fetchone() == (30_001,)


def test_a_boot_without_time_is_dated_when_its_time_is_told(kept):
    kept.take("telemetry", "village", batch(1, [1, 2], t=None, boot=BOOT, boottime_ms=5_000))
    kept.take("event", "village", {**event(3, t=None), "boot": BOOT, "boottime_ms": 9_000, "clock": "unsynced"})
    assert [row[3] for row in rows(kept)] == [None, None]
    assert kept.accounts()[0].undated == 3
    kept.take("event", "village", event(4, "clock", "dated", boot=BOOT, offset_ms=1_000_000))
    assert [row[3] for row in rows(kept)] == [1_005_000, 1_015_000]
    assert rows(kept, "event")[0][2] == 1_009_000
    kept.take("telemetry", "village", batch(5, [1], t=None, boot=BOOT, boottime_ms=6_000))
    assert rows(kept)[-1][3] == 1_006_000, "one that comes later is dated at once"
    assert kept.accounts()[0].undated == 0
    kept.take("telemetry", "village", batch(1, [1, 2], t=1_005_000))
    assert kept.accounts()[0].conflicts == 0, "the same reading, sent again with its date"


@given(st.lists(st.integers(1, 200), max_size=60), st.lists(st.tuples(st.integers(1, 200), st.integers(0, 40))))
def test_the_account_is_that_of_plain_sets(came, gaps):
    store = CollectStore(__import__("pathlib").Path(":memory:"))
    try:
        for number in came:
            store.take("telemetry", "v", batch(number, [1]))
        for index, (first, length) in enumerate(gaps):
            gap = {"reason": "power_cut", "count": None, "first": first, "last": first + length}
            store.take("event", "v", event(1000 + index, "gap", "power_cut", **gap))
        found = store.accounts()
        if not found:
            return
        seen = set(came) | {1000 + index for index in range(len(gaps))}
        holes = set(range(min(seen), max(seen))) - seen
        explained = {number for first, length in gaps for number in range(first, first + length + 1)} & holes
        assert (found[0].missing, found[0].explained) == (len(holes - explained), len(explained))
        assert found[0].duplicates == len(came) - len(set(came))
    finally:
        store.close()


def test_a_file_of_somebody_else_is_refused_and_left_alone(tmp_path):
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE mine(x)")
    with pytest.raises(BocageError, match="not a file of bocage collect"):
        CollectStore(other)
    (tmp_path / "text.db").write_text("hello" * 300)
    with pytest.raises(BocageError, match="not a file of bocage collect"):
        CollectStore(tmp_path / "text.db")
    with pytest.raises(BocageError, match="no such file"):
        CollectStore(tmp_path / "none.db", create=False)


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"\x78\x9cnonsense", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "is not of type 'object'"),
        (json.dumps({**batch(1, [1]), "k": [STORE, 0, 1]}).encode(), "k/1"),
        (json.dumps({**batch(1, [1]), "p": {"m.v": [[0, 1]]}}).encode(), "p/m.v/0"),
        (json.dumps({**batch(1, [1]), "extra": 1}).encode(), "extra"),
    ],
)
def test_what_fits_no_schema_is_said_with_its_place(payload, why):
    with pytest.raises(InvalidMessage, match=why):
        Shelf().parse("telemetry", payload)


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(payload):
    try:
        Shelf().parse("event", payload)
    except InvalidMessage:
        pass


def test_a_real_run_of_shuffled_and_repeated_batches_ends_with_nothing_missing(kept):
    order = [batch(first, [first, first + 1, first + 2]) for first in range(1, 300, 3)]
    messages = order + random.Random(4).sample(order, 30)
    random.Random(5).shuffle(messages)
    for message in messages:
        kept.take("telemetry", "village", message)
    (account,) = kept.accounts()
    assert (account.readings, account.duplicates, account.missing, account.first) == (300, 90, 0, 1)


RUNS = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 12)).map(lambda one: (one[0], sum(one))), max_size=12)


@given(RUNS, st.lists(st.tuples(st.integers(1, 60), st.integers(-2, 12), st.one_of(st.none(), st.integers(1, 9)))))
def test_numbers_are_explained_once_and_at_most_as_many_as_were_told(runs, told):
    numbers = sorted({number for first, last in runs for number in range(first, last + 1)})
    holes = [(number, number) for number in numbers]
    gaps = [(first, first + more, count) for first, more, count in told]
    inside = sum(any(first <= number <= last for first, last, _ in gaps) for number in numbers)
    counts = [count for *_, count in gaps]
    assert _explained(holes, gaps) == (inside if None in counts else min(inside, sum(counts)))


def test_a_site_with_very_many_holes_does_not_hold_up_the_account():
    holes = [(10 * n + 1, 10 * n + 8) for n in range(50_000)]
    gaps = [(100 * n + 1, 100 * n + 40, 30) for n in range(3_000)]
    before = time.process_time()
    assert _explained(holes, gaps) == 3_000 * 30
    assert time.process_time() - before < 5, "some 0.1 s; each hole against each gap took 20 s"
