"""What an agent sends is within the bounds that a collector holds it to: both come from docs/schemas."""

import json
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.collect.schemas import MOST_BYTES, MOST_ENTRIES, Shelf
from agent.model import Event, Instant, Outcome, OutcomeState
from agent.outbox.blocks import HISTORY, LIMIT, PLAIN, Row, pieces
from agent.outbox.records import event_body, result_body
from tests.collect.messages import STORE

AT = Instant("boot", 1, 1_764_000_000_000)


def test_the_bounds_are_the_same():
    assert PLAIN < MOST_BYTES
    assert HISTORY <= MOST_ENTRIES


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([1.5, True, "x" * 250, [0.123456, 1.5, 2.987654, 1.0, 900]]), st.integers(1, 64), st.booleans())
def test_history_that_compresses_well_is_cut_into_messages_that_a_collector_takes(value, longest, compress):
    names = [f"{n}".zfill(longest) + ".v" for n in range(97)]
    rows = [Row(STORE, seq, names[seq % 97], value, "good", seq * 1000, None) for seq in range(1, 9000)]
    shelf, numbers = Shelf(), []
    for body, some in pieces(rows, lambda ms: {"t": ms, "clock": "synced"}, LIMIT, compress):
        shelf.parse("telemetry", body)
        assert len(some) <= HISTORY
        numbers += [row.seq for row in some]
    assert numbers == list(range(1, 9000)), "each once, in order"


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400_000), st.integers(1, 2000))
def test_an_event_and_a_result_are_cut_short(length, items):
    detail = {"problems": ["é" * (length // items + 1)] * items, "more": "x" * length}
    body = event_body(Event("alarm", "config_invalid", "site", AT, detail=detail), STORE, 1)
    Shelf().parse("event", body)
    assert json.loads(body)["detail"]["more"], "something of it is left"
    outcome = Outcome("c1", "km1", True, OutcomeState.REJECTED, "y" * length, AT)
    Shelf().parse("result", result_body(outcome, STORE, 1))


def test_a_block_of_before_that_is_longer_is_sent_in_pieces(tmp_path):
    from agent.outbox.backlog_reader import Form, _load, _plain
    from agent.outbox.blocks import StoredBlock
    from agent.outbox.records import Boots

    rows = [Row(STORE, seq, "mailbox.text", f"{'x' * 240}{seq}", "good", seq * 1000, None) for seq in range(1, 3000)]
    plain = json.dumps({
        "k": [STORE, 1, 2999], "t": 1000, "clock": "synced", "h": 1,
        "p": {"mailbox.text": [[1000 if n else 0, row.value, 1 if n else 0] for n, row in enumerate(rows)]},
    }).encode()  # fmt: skip
    body = zlib.compress(plain, 9)
    names = {"id": 1, "store": STORE, "first": 1, "last": 2999, "n": 2999, "boot": "b", "synced": True, "body": body}
    block = StoredBlock(**{**dict.fromkeys(StoredBlock._fields, 0), **names})
    assert _plain(body) > MOST_BYTES
    load = _load([block], Boots.__new__(Boots), Form(limit=len(body) + 1), as_it_is=False)
    for piece in load.pieces:
        Shelf().parse("telemetry", piece.body)
    assert sum(piece.n for piece in load.pieces) == 2999
