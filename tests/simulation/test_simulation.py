"""Lives of the whole agent in virtual time: some seeds with each run of the tests, and those that once found a fault.

Each runs in a process of its own (`python -m tests.simulation`), which sets what equal lives need. Many more:
`make simulate`; the hosted workflow does that at night.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.simulation import clock_judge
from tests.simulation.faults import KINDS
from tests.simulation.judge import Judge, wrote_last
from tests.simulation.kinds import kinds
from tests.simulation.mutants import MUTANTS, compiled
from tests.simulation.notes import first_moment, last_before
from tests.simulation.options import out_file
from tests.simulation.outbox_judge import OutboxJudge
from tests.simulation.outbox_world import CORNERS, SHARED
from tests.simulation.plant import Answer
from tests.simulation.runner import Job, sort_of
from tests.simulation.shrink import shrink
from tests.simulation.village import RULED

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "simulation.md"
SEEDS = {"agent": (80, 1.0), "outbox": (100, 2.0)}
"""How many seeds of how many hours each run of the tests has of each world, beside 20 of ruled villages: 358 CPU s
together."""
PART = 10
"""Seeds that one test runs: processes of pytest side by side share them."""
PARTS = [
    pytest.param(world, first, id=f"{world}-{first}", marks=[pytest.mark.slow] if first > 1 else [])
    for world, (seeds, _) in SEEDS.items()
    for first in [*range(1, seeds + 1, PART), *([RULED, RULED + PART] if world == "agent" else [])]
]
"""The first part of each world also runs on Debian 13, on its Python."""
NAMED = {path.stem: YAML(typ="safe").load(path) for path in sorted((Path(__file__).parent / "seeds").glob("*.yaml"))}


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.parametrize(("world", "first"), PARTS)
def test_promises_are_kept(world: str, first: int, tmp_path: Path) -> None:
    hours, out = SEEDS[world][1], tmp_path / "out.json"
    much = "--seeds", str(PART), "--from", str(first), "--hours", str(hours), "--world", world
    done = simulate(*much, "--jobs", "1", "--no-shrink", "--digests", "--out", str(out))
    told = json.loads(out.read_text()) if out.exists() else {}
    known = {(one.get("world", "agent"), one["seed"], one["hours"]) for one in NAMED.values() if one.get("open")}
    failed = [one for one in told.get("failed", ()) if (world, one["seed"], one["hours"]) not in known]
    assert told and not failed, done.stdout[-6000:] + done.stderr[-2000:]
    assert told["seeds"] == PART and told["hours"] >= PART * hours
    assert not done.stderr  # Python warns of what the dead left undone, if they were not buried well
    assert len(told["faults"]) >= 12 and told["lives"] > 2 * PART  # a mixture without most kinds proves nothing


@pytest.mark.slow
@pytest.mark.parametrize("world", list(SEEDS))
def test_equal_seeds_are_equal_lives(world: str) -> None:
    two = "--seeds", "2", "--from", "7", "--hours", "0.5", "--world", world, "--digests", "--no-shrink"
    first, second = (sorted(simulate(*two, "--jobs", "1").stdout.splitlines()[:2]) for _ in range(2))
    assert first == second
    assert [len(line.split()[1]) for line in first] == [32, 32] and first[0][1:] != first[1][1:]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, one in NAMED.items() if not one.get("open")])
def test_what_a_seed_found_does_not_come_back(name: str) -> None:
    one = NAMED[name]
    world = "--world", one.get("world", "agent")
    only = ("--only", ",".join(one["kinds"])) if "kinds" in one else ()
    life = "--seeds", "1", "--from", str(one["seed"]), "--hours", str(one["hours"])
    done = simulate(*life, "--no-shrink", *world, *only)
    assert done.returncode == 0, f"{one['story']}\n{done.stdout[-4000:]}{done.stderr[-2000:]}"


def test_open_faults_are_told() -> None:
    """A seed that fails today is not left out in silence."""
    page = PAGE.read_text()
    for name, one in NAMED.items():
        assert {"seed", "hours", "story"} <= set(one) <= {"seed", "hours", "world", "kinds", "story", "open"}
        assert f"`{name}`" in page


def test_each_mutant_still_has_its_place() -> None:
    page = PAGE.read_text()
    for mutant in MUTANTS:
        assert compiled(mutant)
        assert f"`{mutant.name}`" in page
    assert len({mutant.name for mutant in MUTANTS}) >= 20


@pytest.mark.parametrize(("text", "times"), [("no such text", 0), ("import", "[0-9]+")])
def test_a_mutant_that_no_longer_applies_is_a_failure(text: str, times: Any) -> None:
    stale = replace(MUTANTS[0], changes=(("agent/app.py", text, "pass"),))
    with pytest.raises(ValueError, match=f"mutant {stale.name}: '{text}' is {times} times in agent/app.py, expected 1"):
        compiled(stale)


@pytest.mark.slow
def test_a_defect_is_found() -> None:
    """The simulation sees what it is there for: a loss that nobody is told of is found within ten seeds."""
    command = [sys.executable, "-m", "tests.simulation.mutants", "--seeds", "10", "--only", "gap-not-told"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert "1 defects, 1 found" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--seeds", "0"), "argument --seeds: must be a whole number, at least 1, not '0'"),
        (("--jobs", "0"), "argument --jobs: must be a whole number, at least 1, not '0'"),
        (("--hours", "-1"), "argument --hours: must be hours, more than 0 and at most 10000, not '-1'"),
        (("--only", "kill,mice"), "argument --only: there is no kind of fault 'mice'; there are: kill, step_kill, "),
        (("--only", "none,kill"), "argument --only: there is no kind of fault 'none'"),
        (("--only", "command", "--world", "outbox"), "argument --only: there is no kind of fault 'command'"),
        (("--out", "/nowhere/x.json"), "argument --out: /nowhere/x.json cannot be written: No such file"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once(asked: tuple[str, ...], said: str) -> None:
    done = simulate(*asked)
    assert done.returncode == 2 and said in done.stderr


def test_a_run_that_is_killed_leaves_no_empty_file(tmp_path: Path) -> None:
    """Whether it can be written is tried at the start; what stood there stays until all is counted."""
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    old.write_text("{}")
    assert [out_file(str(path)) for path in (new, old)] == [str(new), str(old)]
    assert not new.exists() and old.read_text() == "{}"
    with pytest.raises(argparse.ArgumentTypeError, match="cannot be written: Is a directory"):
        out_file(str(tmp_path))


def test_all_kinds_of_faults_are_told() -> None:
    assert set(kinds("agent")) == set(KINDS)
    assert set(kinds("outbox")) == {*SHARED, *CORNERS}
    said = simulate("--only", "help", "--world", "outbox").stdout.splitlines()
    assert [line.split()[0] for line in said] == list(kinds("outbox"))


def test_no_kinds_are_none_for_make_too() -> None:
    assert Job(3, 1.0, frozenset()).command == "make simulate SEEDS=1 FROM=3 HOURS=1 ONLY=none"


def test_a_failing_seed_is_made_small() -> None:
    """It fails where power is cut, from 600 s on; kills and a slow disk have no part in it."""
    asked: list[Job] = []

    def verdict(job: Job) -> dict[str, Any]:
        asked.append(job)
        fails = job.hours > 0.17 and (job.only is None or "power_cut" in job.only)
        kinds = sorted(job.only if job.only is not None else {"power_cut", "kill", "slow_disk"})
        return {"broken": ["at 3600.000 s: poll 7, answered at 601.000 s, never came"] if fails else [], "kinds": kinds}

    job, result = shrink(Job(3, 8.0), verdict(Job(3, 8.0)), verdict)
    assert (job.only, job.seed, job.hours <= 0.26) == (frozenset({"power_cut"}), 3, True)
    assert verdict(job)["broken"] == result["broken"]
    assert job.command == f"make simulate SEEDS=1 FROM=3 HOURS={job.hours:g} ONLY=power_cut"
    assert len(asked) < 20


def test_a_failure_is_told_by_its_first_moment() -> None:
    broken = ["at 5400.000 s: poll 9, answered at 677.745 s, never came", "at 5400.000 s: numbers neither came"]
    assert first_moment(broken) == 677.745
    assert sort_of(broken[0]) == sort_of("at 9.000 s: poll 123, answered at 8.100 s, never came")
    assert sort_of(broken[0]) != sort_of(broken[1])
    of_outbox = "at 12600.000 s: 43147 (class 2, 3938.9 s, ('s', 9)) neither came nor was told: []"
    assert first_moment([of_outbox]) == 3938.9
    notes = [(at / 10, "x") for at in range(7000)]
    lines = last_before(notes, 677.745)
    assert len(lines) == 25 and lines[-1].split()[0] == "678.700"


@pytest.mark.parametrize(("last", "broken"), [(12, 0), (11, 1)])
def test_a_poll_that_the_broker_refused_is_told_by_a_gap(last: int, broken: int) -> None:
    judge = Judge(lambda: 99.0)
    batch = {"k": ["s", 11], "t": 5, "p": {"m.count": [[0, 6, 0], [1, 7, 1]]}}
    judge.refused("bocage/v1/v/telemetry", json.dumps(batch).encode())
    gap = {"store": "s", "first": 11, "last": last}
    event = {"k": ["s", 13], "kind": "gap", "code": "refused", "subject": "outbox", "detail": gap}
    judge.took("bocage/v1/v/event", json.dumps(event).encode(), False)
    judge.readings([Answer(7, 1.0, None)], [], [])
    assert len(judge.broken) == broken


@pytest.mark.parametrize(
    ("killed", "begun", "cut", "broken"), [(4.0, 34.0, 34.1, 0), (4.0, 34.0, 40.0, 1), (9.0, 34.0, 34.1, 1)]
)
def test_a_power_cut_may_take_what_nobody_had_the_time_to_write(
    killed: float, begun: float, cut: float, broken: int
) -> None:
    judge = Judge(lambda: 99.0)
    died = wrote_last(cut, [0.0, begun], [killed, cut])
    judge.readings([Answer(7, 1.0, None)], [(died, cut)], [])
    assert len(judge.broken) == broken


@pytest.mark.parametrize(("code", "missing"), [("store_moved", {}), ("dated", {"s": [(1, 11)]})])
def test_a_store_that_others_moved_to_goes_on_from_their_numbers(code: str, missing: dict[str, Any]) -> None:
    judge = Judge(lambda: 99.0)
    event = {"k": ["s", 12], "kind": "audit", "code": code, "subject": "gateway", "detail": {"store": "s"}}
    judge.took("bocage/v1/v/event", json.dumps(event).encode(), False)
    assert judge.missing() == missing


@pytest.mark.parametrize(
    ("steps", "broken"),
    [
        ("copied claim put_back claim", 1),
        ("copied claim put_back claim forgot", 1),
        ("copied claim forgot claim put_back claim", 1),
        ("copied claim forgot put_back claim", 0),
        ("copied claim put_back forgot claim", 0),
        ("copied claim refuse put_back claim", 0),
        ("copied claim refuse claim put_back claim", 1),
    ],
)
def test_a_number_may_come_twice_where_the_broker_knew_nothing_of_an_older_card(steps: str, broken: int) -> None:
    judge = OutboxJudge(lambda: 99.0, 0)
    judge.given["s"] = 7
    claim = json.dumps({"store": "s", "others": {}}).encode()
    for step in steps.split():
        if step == "claim":
            judge.took("bocage/v1/v/state/store", claim, True)
        elif step == "refuse":
            judge.refused("bocage/v1/v/state/store", claim)
        else:
            getattr(judge, step)()
    for subject in ("one", "another"):
        event = {"k": ["s", 7], "t": 5, "kind": "alarm", "code": "x", "subject": subject, "detail": {}}
        judge.took("bocage/v1/v/event", json.dumps(event).encode(), False)
    assert len(judge.broken) == broken


@pytest.mark.parametrize(
    ("deaths", "begun", "broken"),
    [([150.0], [], 0), ([], [], 1), ([50.0], [], 1), ([250.0], [], 1), ([20.0], [50.0], 0), ([20.0], [30.0], 1)],
)
def test_the_end_of_an_alarm_that_nobody_heard_of_comes_only_after_a_death(
    deaths: list[float], begun: list[float], broken: int
) -> None:
    judge = Judge(lambda: 99.0)
    for first, count in ((4, 1), (5, 2), (7, 3)):
        batch = {"k": ["s", first, first], "t": 5, "p": {"m.count": [[0, count, 0]]}}
        judge.took("bocage/v1/v/telemetry", json.dumps(batch).encode(), False)
    event = {"k": ["s", 6], "t": 5, "kind": "cleared", "code": "points_refused", "subject": "m", "severity": "info"}
    judge.took("bocage/v1/v/event", json.dumps(event).encode(), False)
    judge.alarms([Answer(1, 10.0, None), Answer(2, 100.0, None), Answer(3, 200.0, None)], deaths, [], begun)
    assert len(judge.broken) == broken


@pytest.mark.parametrize(
    ("told", "broken"),
    [
        ("b:alarm a:cleared", 0),
        ("a:alarm a:cleared", 0),
        ("a:cleared", 1),
        ("b:alarm b:alarm", 1),
        ("a:alarm a:cleared b:alarm a:cleared", 0),
        ("a:alarm a:cleared b:alarm a:cleared a:cleared", 1),
        ("a:alarm a:cleared b:alarm b:cleared a:cleared", 1),
        ("a:alarm b:cleared a:alarm a:cleared", 0),
    ],
)
def test_an_alarm_that_was_raised_under_another_store_ends_once(told: str, broken: int) -> None:
    """The store without durable numbers may come behind the other in the alphabet."""
    judge = Judge(lambda: 99.0)
    for number, (store, _, kind) in enumerate((one.partition(":") for one in told.split()), 1):
        event = {"k": [store, number], "t": 5, "kind": kind, "code": "disk_full", "subject": "gateway", "detail": {}}
        judge.took("bocage/v1/v/event", json.dumps(event | {"severity": "info"}).encode(), False)
    judge.alarms([Answer(1, 10.0, None)], [], [])
    assert len(judge.broken) == broken, judge.broken


@pytest.mark.parametrize(("died", "broken"), [(100.0, 1), (68.0, 0)])
def test_a_copy_lacks_what_nobody_was_there_to_write(died: float, broken: int) -> None:
    """Put at 60 s with a window of 5 s, copied at 100 s, and never heard of after that copy was put back."""
    now = [60.0]
    judge = OutboxJudge(lambda: now[0], 0)
    judge.begun, judge.died = [0.0], [died]
    numbers = SimpleNamespace(store="s", take=lambda n: ("s", 1))
    judge.watch(SimpleNamespace(_writer=SimpleNamespace(numbers=numbers), take=None))
    (v,) = judge.make(2, 1, None)
    judge.key[v] = ("s", 1)
    judge.was_put(range(v, v + 1))
    now[0] = 100.0
    judge.copied()
    judge.put_back()
    judge.finish()
    assert len(judge.broken) == broken, judge.broken


@pytest.mark.parametrize(("cut", "failed", "broken"), [(90.0, True, 0), (90.0, False, 1), (50.0, True, 1)])
def test_what_a_failing_flash_could_not_note_before_a_power_cut_comes_again(
    cut: float, failed: bool, broken: int
) -> None:
    now = [60.0]
    judge = OutboxJudge(lambda: now[0], 0)
    judge.cuts = [(cut, cut, failed)]
    judge.key[judge.make_event(None) :] = [("s", 7)]
    event = {"k": ["s", 7], "t": 60_000, "kind": "note", "code": "n", "subject": "s", "detail": {"n": 0}}
    for now[0] in (60.0, 200.0):
        judge.took("bocage/v1/v/event", json.dumps(event).encode(), False)
    assert len(judge.broken) == broken, judge.broken


@pytest.mark.parametrize(("since", "then", "broken"), [(9, 3, 0), (12, 3, 0), (12, 13, 1)])
def test_nobody_misses_what_lies_beyond_the_last_number_of_a_store(since: int, then: int, broken: int) -> None:
    """Of a card that is put back the numbers 4 to 9 go on under another store, and those behind 9 are undone."""
    judge = OutboxJudge(lambda: 99.0, 0)
    judge.given["s"] = 9
    judge.copied()
    judge.given["s"] = since
    judge.put_back()
    for number in (1, 2, 3, then):
        event = {"k": ["s", number], "kind": "note", "code": "m", "subject": "s", "detail": {}}
        judge.took("bocage/v1/v/event", json.dumps(event).encode(), False)
    judge.finish()
    assert len(judge.broken) == broken, judge.broken


@pytest.mark.parametrize(("older", "broken"), [({"s": "r"}, 0), ({}, 1)])
def test_a_store_may_begin_late_where_the_record_that_says_so_is_lost(older: dict[str, str], broken: int) -> None:
    judge = OutboxJudge(lambda: 99.0, 0)
    judge.older = older
    for number in (9, 10):
        event = {"k": ["s", number], "kind": "note", "code": "m", "subject": "s", "detail": {}}
        judge.took("bocage/v1/v/event", json.dumps(event).encode(), False)
    judge.finish()
    assert len(judge.broken) == broken, judge.broken


@pytest.mark.parametrize(("refused", "hurt", "broken"), [(True, True, 0), (False, True, 2), (True, False, 2)])
def test_who_lost_flash_and_power_tells_nothing_of_what_the_broker_refused(
    refused: bool, hurt: bool, broken: int
) -> None:
    """Number 1 of a store without durable ones is refused, 2 comes, and the power is cut."""
    judge = OutboxJudge(lambda: 50.0, 0)
    numbers = SimpleNamespace(store="s", take=lambda n, kind: ("away", len(judge.cls)))
    judge.watch(SimpleNamespace(_writer=SimpleNamespace(numbers=numbers), take=None))
    events = []
    for n in range(2):
        judge.make_event(None)
        key = numbers.take(1, "records")
        judge.put_event(n)
        events.append({"k": key, "t": None, "kind": "note", "code": "n", "subject": "s", "detail": {"n": n}})
    if refused:
        judge.refused("bocage/v1/v/event", json.dumps(events[0]).encode())
    judge.took("bocage/v1/v/event", json.dumps(events[1]).encode(), False)
    judge.cuts.append((60.0, 61.0, hurt))
    judge.finish()
    assert len(judge.broken) == broken, judge.broken


@pytest.mark.parametrize(("cls", "cut", "broken"), [(2, 51.0, 0), (2, 90.0, 1), (0, 51.0, 1)])
def test_a_power_cut_takes_what_came_just_before_it_and_found_no_durable_numbers(
    cls: int, cut: float, broken: int
) -> None:
    """The flash was well, and nothing of that store was sent: nobody misses a number of it."""
    judge = OutboxJudge(lambda: 50.0, 0)
    judge.away.add("away")
    (v,) = judge.make(cls, 1, None)
    judge.key[v], judge.kept[v] = ("away", 1), True
    judge.cuts.append((cut, cut, False))
    judge.finish()
    assert len(judge.broken) == broken, judge.broken


def _told(judge: Judge, number: int, kind: str, code: str = "device_lost") -> None:
    event = {"k": ["s", number], "t": 5, "kind": kind, "code": code, "subject": "m", "detail": {}, "severity": "info"}
    judge.took("bocage/v1/v/event", json.dumps(event).encode(), False)


@pytest.mark.parametrize(
    ("numbers", "hurt", "broken"), [((1, 2, 3), False, 0), ((1, 3, 2), False, 1), ((3, 2), True, 0)]
)
def test_records_come_in_their_order(numbers: tuple[int, ...], hurt: bool, broken: int) -> None:
    judge = Judge(lambda: 99.0, is_hurt=lambda: hurt)
    for number in numbers:
        _told(judge, number, "audit", "output")
    assert len(judge.broken) == broken


def test_a_record_that_the_broker_refused_comes_later() -> None:
    judge = Judge(lambda: 99.0)
    refused = {"k": ["s", 1], "t": 5, "kind": "alarm", "code": "device_lost", "subject": "m", "severity": "info"}
    judge.refused("bocage/v1/v/event", json.dumps(refused).encode())
    _told(judge, 2, "cleared")
    _told(judge, 1, "alarm")
    judge.at_peace([], [], [], ())
    assert not judge.broken


@pytest.mark.parametrize(
    ("ats", "steps", "broken"),
    [
        ((5_000_000, 5_000_500), False, 0), ((1_000_000, 5_000_000), False, 1), ((None, 5_000_000), False, 1),
        ((9_000_000, 9_000_500), False, 2), ((9_000_000, 9_000_500), True, 0), ((5_000_000, 9_000_000), True, 1),
        ((None, None), True, 0),
    ],
)  # fmt: skip
def test_what_the_broker_knows_in_the_end_is_fresh(ats: tuple[int | None, ...], steps: bool, broken: int) -> None:
    judge = Judge(lambda: 99.0)
    retained = {f"bocage/v1/v/state/d{n}": json.dumps({"at": at}).encode() for n, at in enumerate(ats)}
    retained["bocage/v1/v/status"] = b'{"state": "online"}'
    judge.last_words(retained, ["d0", "d1"], 5_000_000, steps)
    assert len(judge.broken) == broken


@pytest.mark.parametrize(
    ("last", "lasting", "broken"), [("cleared", (), 0), ("alarm", (), 1), ("alarm", ("device_lost",), 0)]
)
def test_no_alarm_is_open_in_the_end(last: str, lasting: tuple[str, ...], broken: int) -> None:
    judge = Judge(lambda: 99.0)
    _told(judge, 1, "alarm")
    if last == "cleared":
        _told(judge, 2, "cleared")
    judge.at_peace([], [], [], lasting)
    assert len(judge.broken) == broken


@pytest.mark.parametrize(
    ("states", "broken"),
    [
        (("accepted", "applied", "verified"), 0), (("accepted", "verified", "applied"), 1),
        (("accepted", "applied", "verified", "verified"), 0), (("applied", "accepted"), 1),
    ],
)  # fmt: skip
def test_a_command_goes_through_its_states_in_order(states: tuple[str, ...], broken: int) -> None:
    judge = Judge(lambda: 99.0)
    for number, state in enumerate(states, 1):
        result = {"k": ["s", number], "t": 5, "id": "c-1", "state": state, "reason": "r"}
        judge.took("bocage/v1/v/cmd/c-1/result", json.dumps(result).encode(), False)
    judge.commands([], [])
    assert len(judge.broken) == broken


@pytest.mark.parametrize(("put_back", "broken"), [(True, 0), (False, 1)])
def test_an_older_card_still_has_what_a_newer_one_had_thinned(put_back: bool, broken: int) -> None:
    judge = OutboxJudge(lambda: 99.0, 0)
    judge.copied()
    for number in (1, 2):
        judge.make_event(None)
        judge.key[-1] = "s", number
    for number in (2, 1):
        detail = {"n": number - 1}
        event = {"k": ["s", number], "t": None, "kind": "note", "code": "n", "subject": "s", "detail": detail}
        judge.took("bocage/v1/v/event", json.dumps(event).encode(), False)
        if put_back:
            judge.put_back()
    assert len(judge.broken) == broken, judge.broken


@pytest.mark.parametrize(("t", "broken"), [(100_400, 0), (5_000_000, 0), (900_000, 1)])
def test_a_count_that_noise_made_up_too_may_have_either_date(t: int, broken: int) -> None:
    """It was given at 100 s, and an answer that noise had changed looked like it at 5,000 s."""
    slave = SimpleNamespace(lies={7: [5000.0]}, answers=[Answer(7, 100.0, None, True)])
    judge = Judge(lambda: 6000.0, dates={7: {"t": t}})
    made = SimpleNamespace(mixture=SimpleNamespace(pauses={}), judge=judge, slave=slave,
                           village=SimpleNamespace(start_ms=0), doubts=[])  # fmt: skip
    clock_judge.judge(made)
    assert len(judge.broken) == broken
    assert all(first_moment(judge.broken) == 100.0 for _ in judge.broken)
