"""A collector among strangers: bad messages, other sites' numbers, and what must leave the file again."""

import contextlib
import json
import random
import sqlite3
import subprocess
import sys
import zlib

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli import main
from agent.collect.erase import Which, erase
from agent.collect.refusal_log import RefusalLog
from agent.collect.schemas import KINDS, MOST_BYTES, InvalidMessage, Shelf, schema
from agent.collect.shape import compiled
from agent.collect.store import CollectStore, Foreign
from tests.collect.messages import BOOT, OTHER, STORE, T, batch, event


def send(store, shelf, site, kind, body):
    """As the collector does: True if it is kept."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        store.take(kind, site, shelf.parse(kind, payload))
    except InvalidMessage as reason:
        store.refuse(f"bocage/v1/{site}/{kind}", reason, payload)
        return False
    return True


def report(file, capsys):
    code = main(["collect", "report", str(file), "--json"])
    return code, json.loads(capsys.readouterr().out)


# -- the schemas -----------------------------------------------------------------------------------------------------

GOOD = {
    "telemetry": [batch(1, [1.5, True, "open", None]), batch(1, [2], t=None, boot=BOOT, boottime_ms=5),
                  batch(1, [[1.0, 2.5, 4.0, 3.0, 90]], agg=900, h=1),
                  {**batch(1, [2], t=None, boot=BOOT, boottime_ms=5, t_min=1, t_max=None), "clock": "bounded"}],
    "event": [event(3), event(4, "clock", "dated", boot=BOOT, offset_ms=5),
              event(5, "gap", "quota", reason="quota", count=3, first=1, last=4)],
    "result": [{"id": "c", "point": "km1", "value": 1, "state": "accepted", "reason": "", "t": T, "k": [STORE, 1]}],
}  # fmt: skip
SCALARS = st.sampled_from([None, True, 1, 0, -1, 1.0, 1.5, 900, 2**53, 2**70, "", "x", "good", "bounded", "y" * 1500])
ANYTHING = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.sampled_from(["a", "t", "k"]), SCALARS))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_our_own_reading_of_a_schema_is_that_of_jsonschema(kind, data):
    body = json.loads(json.dumps(data.draw(st.sampled_from(GOOD[kind]))))
    for _ in range(data.draw(st.integers(0, 3))):
        place = body
        while True:
            keys = [*place] if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from([*keys, "t", "extra"] if isinstance(place, dict) else [*keys, None]))
            if key in keys and isinstance(place[key], (dict, list)) and data.draw(st.booleans()):
                place = place[key]
                continue
            break
        change = data.draw(ANYTHING)
        if isinstance(place, list):
            place.append(change) if key is None else place.__setitem__(key, change)
        elif key in place and data.draw(st.booleans()):
            del place[key]
        else:
            place[key] = change
    assert (compiled(schema(kind))(body) is None) == jsonschema.Draft202012Validator(schema(kind)).is_valid(body)


def test_a_keyword_that_is_not_known_is_not_passed_over():
    with pytest.raises(KeyError):
        compiled({"type": "object", "minContains": 1})


# -- one bad message costs itself ------------------------------------------------------------------------------------

POISON = {
    "a number beyond 64 bits": ("telemetry", batch(2**53 - 3, [1, 2, 3, 4])),
    "a store's number as a float of 300 digits": ("telemetry", b'{"k":["%s",1e300,1e300],"t":1,"clock":"synced",'
                                                  b'"p":{"a":[[0,1,0]]}}' % STORE.encode()),
    "times that add up beyond all bounds": ("telemetry", {**batch(50, [1]), "p": {"a": [[2**53 - 1, 1, 0]] * 3}}),
    "an infinity": ("telemetry", b'{"k":["%s",60,60],"t":1,"clock":"synced","p":{"a":[[0,1e999,0]]}}' % STORE.encode()),
    "half a surrogate pair": ("event", json.dumps(event(61, code="\ud800")).encode()),
    "a number outside of the batch": ("telemetry", {**batch(70, [1]), "p": {"a": [[0, 1, 0], [0, 1, 9]]}}),
    "a boot that is a list": ("event", event(80, "clock", "other", boot=[1], offset_ms=5)),
    "an offset that is a text": ("event", event(81, "clock", "other", boot=BOOT, offset_ms="x")),
    "an offset with a fraction": ("event", event(82, "clock", "other", boot=BOOT, offset_ms=1.5)),
    "an offset beyond all bounds": ("event", event(83, "clock", "other", boot=BOOT, offset_ms=2**62)),
    "a boot as long as a message": ("event", event(84, "clock", "other", boot="x" * 100_000)),
    "two zlib bodies in one": ("telemetry", zlib.compress(json.dumps(batch(10, [1])).encode()) * 2),
    "something behind a zlib body": ("telemetry", zlib.compress(json.dumps(batch(10, [1])).encode()) + b"\0"),
    "a long text": ("telemetry", batch(90, ["x" * 5000])),
    "a zlib bomb": ("telemetry", zlib.compress(b" " * 100_000_000)),
    "a long body": ("telemetry", json.dumps(batch(100, list(range(3000)))).encode() + b" " * MOST_BYTES),
    "too many entries": ("telemetry", batch(5000, [1] * 5001)),
    "a key that is there twice": ("telemetry", json.dumps(batch(1, [1])).encode()[:-1] + b',"t":1}'),
    "a point that is there twice": ("telemetry", b'{"k":["%s",1,1],"t":1,"clock":"synced",'
                                    b'"p":{"a":[[0,1,0]],"a":[[0,2,0]]}}' % STORE.encode()),
    "a thousand keys that are there twice": ("event", b"{%s}" % b",".join(b'"a":1' for _ in range(40_000))),
    **{f"a store that is no uuid: {name!r}": ("telemetry", batch(1, [1], store=name))
       for name in ("", "x", "a\0b", STORE + "\n", "x" * 36, STORE.replace("-", ""))},
    "nesting": ("event", b'{"a":' * 60_000),
}  # fmt: skip


@pytest.mark.parametrize("name", POISON)
def test_a_poisonous_message_is_refused_and_costs_nobody_else(name, kept, file, capsys):
    shelf = Shelf()
    kind, body = POISON[name]
    assert send(kept, shelf, "village", "telemetry", batch(1, [1, 2]))
    assert not send(kept, shelf, "village", kind, body)
    assert send(kept, shelf, "village", "telemetry", batch(3, [2**63 + 5, 4]))
    kept.commit()
    code, found = report(file, capsys)
    assert (code, found["refused"], found["alarms"]) == (0, 1, [])
    assert (found["stores"][0]["readings"], found["stores"][0]["last"]) == (4, 4), "and nothing of it is kept"


# -- whose it is -----------------------------------------------------------------------------------------------------


def test_a_store_and_a_boot_are_those_of_the_site_that_brought_them_first(kept, file, capsys):
    shelf = Shelf()
    assert send(kept, shelf, "village", "telemetry", batch(1, [1], t=None, boot=BOOT, boottime_ms=5_000))
    gap = event(2, "gap", "power_cut", store=OTHER, reason="power_cut", count=None, first=1, last=99)
    gap["detail"]["store"] = STORE
    assert send(kept, shelf, "village", "telemetry", batch(50, [1]))
    assert not send(kept, shelf, "thief", "telemetry", batch(2, [666]))
    assert not send(kept, shelf, "thief", "event", event(1, "clock", "dated", store=OTHER, boot=BOOT, offset_ms=7))
    own = {"t": None, "boot": OTHER, "boottime_ms": 1, "clock": "unsynced"}  # of a boot of its own
    body = {**event(1, "clock", "dated", store=OTHER, boot=BOOT, offset_ms=7), **own}
    assert not send(kept, shelf, "thief", "event", body)
    assert send(kept, shelf, "thief", "event", gap)
    kept.commit()
    code, found = report(file, capsys)
    assert code == 1
    assert sorted((one["code"], one["site"], one["subject"]) for one in found["alarms"]) == [
        ("foreign_boot", "thief", BOOT), ("foreign_store", "thief", STORE),
    ]  # fmt: skip
    (village,) = [one for one in found["stores"] if one["site"] == "village"]
    assert (village["readings"], village["undated"], village["missing"]) == (2, 1, 48), "nor does it explain its holes"


def test_a_site_with_a_new_name_is_renamed_and_what_was_refused_is_kept(kept, file, capsys):
    shelf = Shelf()
    send(kept, shelf, "old", "telemetry", batch(1, [1]))
    assert not send(kept, shelf, "new", "telemetry", batch(2, [2, 3]))
    kept.commit()
    assert main(["collect", "rename", str(file), "nobody", "new"]) == 1
    assert "nothing in this file is of site nobody" in capsys.readouterr().err
    assert main(["collect", "rename", str(file), "old", "new"]) == 0
    capsys.readouterr()
    code, found = report(file, capsys)
    assert (code, found["alarms"], found["refused"]) == (0, [], 0)
    assert [(one["site"], one["readings"]) for one in found["stores"]] == [("new", 3)]
    assert send(kept, shelf, "new", "telemetry", batch(4, [4]))
    with pytest.raises(Foreign):
        kept.take("telemetry", "old", batch(5, [5]))


def test_a_rename_that_is_ended_midway_is_finished_by_a_second_one(kept, file, capsys, monkeypatch):
    """It was one transaction, and a collector waited all the while for its file: 24 s for 1,000 messages."""
    shelf = Shelf()
    send(kept, shelf, "old", "telemetry", batch(1, [1]))
    send(kept, shelf, "third", "telemetry", batch(1, [1], store=OTHER))
    for first in range(2, 42):
        assert not send(kept, shelf, "new", "telemetry", batch(first, [1]))
    assert not send(kept, shelf, "new", "telemetry", batch(2, [1], store=OTHER))
    kept.commit()
    monkeypatch.setattr("agent.collect.rename._LONGEST", 0)
    turns = []

    def pause(seconds):
        with contextlib.closing(sqlite3.connect(file, timeout=0)) as other:  # a collector's turn
            other.execute("BEGIN IMMEDIATE")
        turns.append(seconds)
        if len(turns) == 20:
            raise KeyboardInterrupt

    monkeypatch.setattr("agent.collect.rename.time.sleep", pause)
    with contextlib.suppress(KeyboardInterrupt):
        main(["collect", "rename", str(file), "old", "new"])
    capsys.readouterr()
    assert 0 < report(file, capsys)[1]["refused"] < 41
    assert main(["collect", "rename", str(file), "old", "new", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stores"] == 0
    _, found = report(file, capsys)
    stores = [(one["site"], one["readings"], one["missing"]) for one in found["stores"]]
    assert stores == [("new", 41, 0), ("third", 1, 0)]
    assert (found["refused"], [(one["code"], one["subject"]) for one in found["alarms"]]) == (
        1, [("foreign_store", OTHER)]
    )  # fmt: skip
    assert main(["collect", "rename", str(file), "old", "new"]) == 1, "nothing is left to do"


def test_a_flood_of_poison_is_no_flood_of_lines(caplog):
    said = RefusalLog()
    for n in range(1_000):
        said.log("village", f"bocage/v1/village/cmd/{n}/result", InvalidMessage("not JSON"))
        said.log("thief", "bocage/v1/thief/telemetry", Foreign("foreign_store", str(n), "it is of site village"))
    said.log("neighbour", "bocage/v1/neighbour/telemetry", InvalidMessage("not JSON"))
    assert len(caplog.messages) == 11
    said.log_counts(at_once=True)
    said.log_counts(at_once=True)
    assert [line[:45] for line in caplog.messages[11:]] == [
        "messages refused site='village' more=995 next", "messages refused site='thief' more=995 next=k",
    ]  # fmt: skip


def test_a_conflict_keeps_both_and_is_an_alarm(kept, file, capsys):
    shelf = Shelf()
    for body in (batch(1, [1, 2]), batch(1, [1, 3]), batch(1, [1, 3])):
        assert send(kept, shelf, "village", "telemetry", body)
    assert send(kept, shelf, "village", "event", event(2))
    kept.commit()
    values = kept.db.execute("SELECT seq, kind, json_extract(row, '$.value') FROM conflict ORDER BY kind").fetchall()
    assert values == [(2, "event", None), (2, "reading", 3)]
    assert kept.db.execute("SELECT value FROM reading ORDER BY seq").fetchall() == [(1,), (2,)]
    code, found = report(file, capsys)
    assert (code, found["stores"][0]["conflicts"], found["stores"][0]["duplicates"]) == (1, 2, 3)
    assert [(one["code"], one["count"]) for one in found["alarms"]] == [("conflict", 2)]


UNDATED = {"t": None, "boot": BOOT, "boottime_ms": 5_000}


@pytest.mark.parametrize(
    ("first", "later", "conflicts"),
    [
        (batch(1, [1]), batch(1, [1], t=T + 1), 1),
        (batch(1, [1]), batch(1, [1], point="other"), 1),
        (batch(1, [1]), {**batch(1, [1]), "p": {"m.v": [[0, 1, 0, "stale"]]}}, 1),
        (batch(1, [1]), {**batch(1, [1]), "p": {"m.v": [[0, 1, 0, "good", T]]}}, 1),
        (batch(1, [1], **UNDATED), batch(1, [1], **{**UNDATED, "boottime_ms": 5_001}), 1),
        (batch(1, [1], **UNDATED), batch(1, [1], **{**UNDATED, "boot": OTHER}), 1),
        (event(1), event(1, t=T + 1), 1),
        ({**event(1), **UNDATED, "clock": "unsynced"},
         {**event(1), **UNDATED, "boottime_ms": 6, "clock": "unsynced"}, 1),
        (batch(1, [[1.0, 2.5, 4.0, 3.0, 90]], agg=900), batch(1, [[1.0, 2.5, 4.0, 3.0, 90]], agg=900, t=T + 1), 1),
        (batch(1, [1]), batch(1, [1]), 0),
        (batch(1, [1], **UNDATED), batch(1, [1], **UNDATED), 0),
        (batch(1, [1], **UNDATED), batch(1, [1]), 0),
        (batch(1, [1]), batch(1, [1], **UNDATED), 0),
    ],
)  # fmt: skip
def test_one_number_at_two_times_is_a_conflict_unless_one_of_them_was_not_known(first, later, conflicts, kept):
    shelf = Shelf()
    for body in (first, later):
        assert send(kept, shelf, "village", "event" if "kind" in body else "telemetry", body)
    (account,) = kept.accounts()
    assert (account.conflicts, account.duplicates, len(kept.alarms())) == (conflicts, 1 - conflicts, conflicts)
    assert account.undated == (first["t"] is None), "what has its time does not wait for it"


# -- what leaves it --------------------------------------------------------------------------------------------------


def fill(kept):
    """Three points and an audit, their numbers shuffled together, as a real gateway sends them."""
    shelf = Shelf()
    for seq in range(1, 41, 4):
        when = T + seq * 86_400_000
        for n, point in enumerate(("meter-a.power", "meter-ab.power", "tank")):
            assert send(kept, shelf, "village", "telemetry", batch(seq + n, [f"v-{point}-{seq}"], point=point, t=when))
        by = "uid 1000 (marie)" if seq % 8 == 1 else "mqtt"
        assert send(kept, shelf, "village", "event", event(seq + 3, "audit", t=when, subject="km1", by=by))
    assert send(kept, shelf, "other", "telemetry", batch(1, ["v-meter-a.power"], point="meter-a.power", store=OTHER))
    kept.commit()


@pytest.mark.parametrize(
    ("arguments", "gone", "stays", "erased"),
    [
        (["--device", "meter-a", "--site", "village"], "v-meter-a.power-", "v-meter-ab.power-1", 10),
        (["--device", "meter-a"], "v-meter-a.power", "v-meter-ab.power-1", 11),
        (["--point", "tank"], "v-tank", "v-meter-a.power-1", 10),
        (["--person", "marie"], "marie", "v-tank", 5),
        (["--site", "village", "--before", "2025-12-05"], "v-tank-9", "v-tank-13", 12),
        (["--site", "village"], "v-tank", "v-meter-a.power", 40),
    ],
)
def test_what_is_erased_is_gone_from_the_file_and_not_missing(file, capsys, arguments, gone, stays, erased):
    kept = CollectStore(file)
    fill(kept)
    before = {one.site: one for one in kept.accounts()}["village"]
    kept.close()
    assert main(["collect", "erase", str(file), *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"erased": erased}
    content = b"".join(path.read_bytes() for path in file.parent.iterdir())
    assert (gone.encode() in content, stays.encode() in content) == (False, True)
    code, found = report(file, capsys)
    assert (code, [one["missing"] for one in found["stores"]]) == (0, [0] * len(found["stores"]))
    if arguments == ["--site", "village"]:
        assert [one["site"] for one in found["stores"]] == ["other"]
        return
    again = CollectStore(file)
    fill(again)
    after = {one.site: one for one in again.accounts()}["village"]
    assert (after.readings + after.events + after.erased) == before.readings + before.events, "it does not come back"
    assert after.conflicts == 0
    again.close()


def test_a_device_among_others_is_erased_in_bounded_steps(kept, monkeypatch):
    """Each of its numbers is a run of its own: to go through all of them for each one never ended."""
    shelf = Shelf()
    for first in range(1, 3000, 2):
        assert send(kept, shelf, "village", "telemetry", batch(first, [1], point="meter-a.power"))
        assert send(kept, shelf, "village", "telemetry", batch(first + 1, [1], point="tank"))
    kept.commit()
    steps = count_steps(kept.db)
    erase(kept, Which(device="meter-a"))
    assert steps() < 1_000_000, "3,000 numbers; the half of them squared are 2,250,000"
    steps()
    assert send(kept, shelf, "village", "telemetry", batch(2_999, [7], point="meter-a.power"))
    assert send(kept, shelf, "village", "telemetry", batch(3_001, [1], point="meter-a.power"))
    assert steps() < 1_500, "an old number and a new one"
    (account,) = kept.accounts()
    assert (account.readings, account.erased, account.missing, account.duplicates) == (1_501, 1_500, 0, 1)


def count_steps(db):
    """A function that says how many steps of ten of SQLite's machine were done since it was asked last, times ten."""
    count = [0]

    def step():
        count[0] += 10

    def asked():
        found, count[0] = count[0], 0
        return found

    db.set_progress_handler(step, 10)
    return asked


@pytest.mark.parametrize("name", ["", " ", "a/b", "+", "#", "\udce9"])
def test_a_name_that_no_topic_can_have_is_no_new_name(name, kept, file, capsys):
    fill(kept)
    with pytest.raises(SystemExit):
        main(["collect", "rename", str(file), "village", name])
    assert "is no name of a site" in capsys.readouterr().err
    assert {one.site for one in kept.accounts()} == {"village", "other"}


def test_erase_says_what_it_wants(file, capsys):
    with pytest.raises(SystemExit):
        main(["collect", "erase", str(file)])
    assert "erase what?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--site", "village", "--device", ""], "argument --device: '' is no name"),
        (["--point", " "], "argument --point: ' ' is no name"),
        (["--person", "\udce9"], "is no name"),
        (["--site", "village", "--keep", "13mo"], "--keep is not for erase"),
        (["--site", "village", "--seconds", "9"], "--seconds is not for erase"),
    ],
)
def test_what_erase_does_not_understand_it_does_not_pass_over(arguments, says, file, capsys):
    kept = CollectStore(file)
    fill(kept)
    kept.close()
    before = file.read_bytes()
    with pytest.raises(SystemExit) as ended:
        main(["collect", "erase", str(file), *arguments])
    assert (ended.value.code, says in capsys.readouterr().err) == (2, True)
    assert file.read_bytes() == before
    for others in (["mqtt://127.0.0.1:1", "--sqlite", str(file)], ["report", str(file)]):
        with pytest.raises(SystemExit):
            main(["collect", *others, "--site", "village"])
        assert "--site is not for this, but for erase" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("person", "left"),
    [
        ("marie", ["uid 2 (MARIE)", "a_b", "uid 3 (axb)", "100%", "Zoé"]),
        ("a_b", ["uid 1 (marie)", "uid 2 (MARIE)", "uid 3 (axb)", "100%", "Zoé"]),
        ("%", ["uid 1 (marie)", "uid 2 (MARIE)", "a_b", "uid 3 (axb)", "100%", "Zoé"]),
        ("Zoé", ["uid 1 (marie)", "uid 2 (MARIE)", "a_b", "uid 3 (axb)", "100%"]),
    ],
)
def test_a_person_is_meant_to_the_letter(person, left, file, capsys):
    store, shelf = CollectStore(file), Shelf()
    for seq, by in enumerate(["uid 1 (marie)", "uid 2 (MARIE)", "a_b", "uid 3 (axb)", "100%", "Zoé"], 1):
        assert send(store, shelf, "village", "event", event(seq, "audit", by=by))
        assert not send(store, shelf, "village", "event", json.dumps({"by": f"<{by}>"}).encode())
        send(store, shelf, "village", "event", json.dumps({"by": f"<{by}>"}, ensure_ascii=False).encode())
    store.close()
    assert main(["collect", "erase", str(file), "--person", person]) == 0
    with sqlite3.connect(file) as db:
        assert [json.loads(detail)["by"] for (detail,) in db.execute("SELECT detail FROM event")] == left
        bodies = [json.loads(body)["by"] for (body,) in db.execute("SELECT body FROM refused")]
        assert not [one for one in bodies if person in one]
    db.close()


def test_no_copy_is_left_in_the_pages_of_a_file_that_was_filled_out_of_order(file, capsys):
    store, shelf, chance = CollectStore(file), Shelf(), random.Random(3)
    for n, seq in enumerate(chance.sample(range(1, 4001), 4000)):
        by = f"uid 1000 ({chance.choice(['marie', 'paul'])})"
        assert send(store, shelf, "village", "event", event(seq, "audit", by=by, note="x" * chance.randrange(300)))
        if n % 50 == 0:
            store.commit()
    store.close()
    assert b"marie" in file.read_bytes()
    assert main(["collect", "erase", str(file), "--person", "marie"]) == 0
    assert b"marie" not in b"".join(path.read_bytes() for path in file.parent.iterdir())


def test_what_a_reader_keeps_in_the_log_is_said(file, capsys, monkeypatch):
    monkeypatch.setattr("agent.collect.store._WAIT", 0.1)
    store = CollectStore(file)
    fill(store)
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM event").fetchone()
    assert main(["collect", "erase", str(file), "--person", "marie"]) == 1
    assert "5 rows are erased, but traces of them may be left" in capsys.readouterr().err
    reader.close()
    assert main(["collect", "erase", str(file), "--person", "marie", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"erased": 0}
    assert b"marie" not in b"".join(path.read_bytes() for path in file.parent.iterdir())
    store.close()


def test_a_detail_that_nobody_could_search_is_refused(kept):
    deep = "9" * 6000
    body = json.dumps(event(1, "audit", by="marie", x=0)).replace('"x": 0', f'"x": {"[" * 6000}{deep}{"]" * 6000}')
    assert not send(kept, Shelf(), "village", "event", body.encode())


def test_what_has_no_time_goes_with_what_came_after_it_however_much_there_is(kept):
    from agent.collect.erase import expire

    shelf = Shelf()
    without = {"t": None, "boot": BOOT, "boottime_ms": 1}
    for first in range(1, 8001, 500):
        assert send(kept, shelf, "village", "telemetry", batch(first, [0] * 500, **without))
    assert send(kept, shelf, "village", "event", {**event(8001, "audit", t=None), **without, "clock": "unsynced"})
    assert send(kept, shelf, "village", "telemetry", batch(8002, [0], t=T))
    assert send(kept, shelf, "village", "event", {**event(8003, "audit", t=None), **without, "clock": "unsynced"})
    assert send(kept, shelf, "village", "telemetry", batch(8004, [0], t=T + 9_000))
    assert send(kept, shelf, "village", "event", {**event(8005, "audit", t=None), **without, "clock": "unsynced"})
    kept.commit()
    portions = list(expire(kept, T + 5_000))
    assert (max(portions), sum(portions)) == (5_000, 8_002)
    left = kept.db.execute("SELECT seq FROM reading UNION SELECT seq FROM event ORDER BY 1").fetchall()
    assert left == [(8003,), (8004,), (8005,)]


def test_what_is_older_than_it_may_be_goes_a_portion_at_a_time(kept):
    from agent.collect.erase import expire

    shelf = Shelf()
    numbers = list(range(1, 12_001, 500))
    random.Random(1).shuffle(numbers)
    for first in numbers:
        assert send(kept, shelf, "village", "telemetry", batch(first, list(range(500)), t=T + first * 10_000))
    assert send(kept, shelf, "village", "telemetry", batch(12_001, [1], t=None, boot=BOOT, boottime_ms=1))
    kept.commit()
    portions = list(expire(kept, T + 9_000 * 10_000))
    assert max(portions) <= 5_000
    (account,) = kept.accounts()
    assert (account.readings, account.erased, account.missing, account.first) == (3_002, 8_999, 0, 9_000)
    assert kept.db.execute("SELECT count(*) FROM erased").fetchone() == (1,), "one run"
    assert sum(expire(kept, T + 9_000 * 10_000)) == 0


# -- files of before -------------------------------------------------------------------------------------------------

BEFORE = """
CREATE TABLE store(store TEXT PRIMARY KEY, site TEXT NOT NULL, duplicates INTEGER NOT NULL DEFAULT 0,
  conflicts INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE reading(store TEXT NOT NULL, seq INTEGER NOT NULL, point TEXT NOT NULL, t INTEGER, value,
  quality TEXT NOT NULL, measured_at INTEGER, PRIMARY KEY(store, seq)) WITHOUT ROWID;
CREATE TABLE aggregate(store TEXT NOT NULL, seq INTEGER NOT NULL, point TEXT NOT NULL, t INTEGER, min REAL, mean REAL,
  max REAL, last REAL, count INTEGER, PRIMARY KEY(store, seq)) WITHOUT ROWID;
CREATE TABLE event(store TEXT NOT NULL, seq INTEGER NOT NULL, t INTEGER, kind TEXT, code TEXT, subject TEXT,
  severity TEXT, detail TEXT, PRIMARY KEY(store, seq)) WITHOUT ROWID;
CREATE TABLE result(store TEXT NOT NULL, seq INTEGER NOT NULL, t INTEGER, id TEXT, point TEXT, value, state TEXT,
  reason TEXT, PRIMARY KEY(store, seq)) WITHOUT ROWID;
CREATE TABLE gap(store TEXT NOT NULL, first INTEGER, last INTEGER, count INTEGER, reason TEXT, class INTEGER,
  said_store TEXT NOT NULL, said_seq INTEGER NOT NULL, PRIMARY KEY(said_store, said_seq)) WITHOUT ROWID;
CREATE TABLE undated(store TEXT NOT NULL, seq INTEGER NOT NULL, boot TEXT NOT NULL, boottime_ms INTEGER NOT NULL,
  t_min INTEGER, t_max INTEGER, PRIMARY KEY(store, seq)) WITHOUT ROWID;
CREATE INDEX undated_boot ON undated(boot);
CREATE TABLE boot(boot TEXT PRIMARY KEY, offset_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE refused(at INTEGER, topic TEXT, reason TEXT, body BLOB);
PRAGMA user_version = 1;
"""


def test_a_file_of_before_is_opened_and_the_program_of_before_still_opens_it(file, capsys):
    with sqlite3.connect(file) as db:
        db.executescript(BEFORE)
        db.execute("INSERT INTO store VALUES(?, 'village', 0, 0)", (STORE,))
        db.execute("INSERT INTO reading VALUES(?, 1, 'm.v', NULL, 1, 'good', NULL)", (STORE,))
        db.execute("INSERT INTO undated VALUES(?, 1, ?, 5, NULL, NULL)", (STORE, BOOT))
    db.close()
    assert report(file, capsys)[1]["stores"][0]["readings"] == 1
    store = CollectStore(file)
    with pytest.raises(Foreign):
        store.take("event", "thief", event(1, "clock", "dated", store=OTHER, boot=BOOT, offset_ms=7))
    store.take("event", "village", event(2, "clock", "dated", boot=BOOT, offset_ms=7))
    store.close()
    with sqlite3.connect(file) as db:  # as the program of before looks at it, and writes
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT t FROM reading").fetchone() == (12,)
        db.execute("INSERT INTO refused VALUES(1, 't', 'r', x'00')")
        db.execute("INSERT INTO boot VALUES('b', 1)")
        db.execute("INSERT INTO undated VALUES('s', 1, 'b', 1, NULL, NULL)")


def test_no_other_package_is_needed(tmp_path):
    (tmp_path / "jsonschema.py").write_text("raise ImportError('not installed')")
    program = "import agent.collect.collector as s; s.Shelf().parse('event', b'{}')"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "InvalidMessage" in done.stderr, done.stderr
