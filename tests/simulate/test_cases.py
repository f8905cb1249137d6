"""tests/cases/*: a site, a scenario, and what matters of what `bocage simulate` then says.

`expected.json`, every key but `about` left out where it does not matter:

- `edges`: all edges of an actuator, in order; `has`: some of them. An edge is `at` (ISO, or seconds from the start) and
  `to`, and if wanted `priority` and a part of its `cause`. `within`: seconds (1).
- `events`: everything that is told of a subject, in order: `kind`, `code`, `at`, and if wanted `severity` and `detail`.
- `totals`: an actuator's `on_s` and `starts`, each between two bounds. `final`: its value, priority, part of the cause.
- `points`: what controls count and state in the end, by id: a value, or two bounds; null: it is not known.
- `open`: the alarms of the subjects in `events` that stand in the end, as "code subject".
- `as_without_faults`: these actuators switch as if nothing had failed.
- `value_at`: an actuator's value at times, `[[at, value], ...]`. `max_starts`: an actuator's `[seconds, starts]`: no
  more starts than that in any such time. `gap`: an actuator's least `min_on` and `min_off` (seconds) between its edges.
- `events_of`: each of these is told, `count` times if given. `never`: "code subject" that no alarm and no change tells.
- `accounts`: figures of light on request, as they are in the end.
- `outcomes`: the last state of a command, by its id (a text, or a list of those that are right).
- `never_together`: `[one, value, other, value]`, values that two actuators never have at one time. `after`: `[edge,
  edge, seconds]`, the second at least so long after the latest of the first.

A folder without a scenario is a programme on paper or a check. `kind: plan` has `args`, and `nights`: the segments of a
circuit's nights, by date, `within` so many seconds (60). `kind: check` has `exit` (0), `says`, `says_not`, and
`says_something` where any warning or error will do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main

CASES = Path(__file__).parent.parent / "cases"
FOUND = sorted(path.parent for path in CASES.glob("*/scenario.yaml"))
ON_PAPER = sorted(path.parent for path in CASES.glob("*/expected.json") if not (path.parent / "scenario.yaml").exists())

Item = Mapping[str, Any]


@pytest.mark.parametrize("case", FOUND, ids=lambda case: case.name)
def test_case(case: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    expected = json.loads((case / "expected.json").read_text(encoding="utf-8"))
    found = simulate(case / "site.yaml", case / "scenario.yaml", capsys)
    wrong = list(differences(expected, found))
    if "as_without_faults" in expected:
        told = (case / "scenario.yaml").read_text(encoding="utf-8")
        calm = tmp_path / "scenario.yaml"
        calm.write_text(without_faults(told), encoding="utf-8")
        plain = simulate(case / "site.yaml", calm, capsys)
        for actuator in expected["as_without_faults"]:
            assert list(edges(found, actuator)), f"{actuator} never moved"
            if list(map(place, edges(found, actuator))) != list(map(place, edges(plain, actuator))):
                wrong.append(f"{actuator} moves otherwise without the faults: {shown(edges(plain, actuator))}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("case", ON_PAPER, ids=lambda case: case.name)
def test_case_on_paper(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = json.loads((case / "expected.json").read_text(encoding="utf-8"))
    judge = {"plan": planned, "check": checked}[expected["kind"]]
    wrong = list(judge(expected, case / "site.yaml", capsys))
    assert not wrong, "\n".join(wrong)


def planned(expected: Item, site: Path, capsys: pytest.CaptureFixture[str]) -> Iterable[str]:
    capsys.readouterr()
    code = main(["plan", str(site), *expected["args"], "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    circuits = json.loads(out)["circuits"]
    for circuit, nights in expected["nights"].items():
        found = {night["night"]: night["segments"] for night in circuits[circuit]["nights"]}
        for day, wanted in nights.items():
            seen = [(one["on"], one["off"]) for one in found.get(day, [])]
            near = all(
                abs(_apart(at, other)) <= expected.get("within", 60)
                for one, two in zip(wanted, seen, strict=False)
                for at, other in zip(one, two, strict=True)
            )
            if len(seen) != len(wanted) or not near:
                yield f"{circuit}, night of {day}: wanted {wanted}, found {seen}"


def checked(expected: Item, site: Path, capsys: pytest.CaptureFixture[str]) -> Iterable[str]:
    capsys.readouterr()
    code = main(["check", str(site)])
    said = "".join(capsys.readouterr())
    if code != expected.get("exit", 0):
        yield f"exit {code}, wanted {expected.get('exit', 0)}: {said}"
    for text in expected.get("says", []):
        if text not in said:
            yield f"does not say {text!r}: {said}"
    for text in expected.get("says_not", []):
        if text in said:
            yield f"says {text!r}: {said}"
    if expected.get("says_something") and "warning" not in said and "error" not in said:
        yield f"says nothing: {said!r}"


def test_there_are_cases_of_every_service() -> None:
    names = [case.name for case in FOUND]
    assert len(names) >= 30
    for service in ("lighting", "water", "heating", "common"):
        assert any(name.startswith(f"{service}-") for name in names)


def simulate(site: Path, scenario: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """What the command prints."""
    capsys.readouterr()
    code = main(["simulate", str(site), str(scenario), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def without_faults(scenario: str) -> str:
    head, _, rest = scenario.partition("\nfaults:")
    tail = rest.split("\n")
    kept = next((index for index, line in enumerate(tail) if index and line[:1].strip()), len(tail))
    return "\n".join([head, *tail[kept:]])


def differences(expected: Item, found: Any) -> Iterable[str]:
    for actuator, wanted in expected.get("edges", {}).items():
        seen = list(edges(found, actuator))
        if len(seen) != len(wanted) or not all(map(fits, wanted, seen)):
            yield f"edges of {actuator}: wanted {shown(wanted)}, found {shown(seen)}"
    for actuator, wanted in expected.get("has", {}).items():
        for one in wanted:
            if not any(fits(one, edge) for edge in edges(found, actuator)):
                yield f"{actuator}: no edge {dict(one)} in {shown(edges(found, actuator))}"
    for subject, wanted in expected.get("events", {}).items():
        seen = [one for one in found["events"] if one["subject"] == subject]
        if len(seen) != len(wanted) or not all(map(fits, wanted, seen)):
            yield f"events of {subject}: wanted {shown(wanted)}, found {shown(seen)}"
    for actuator, wanted in expected.get("totals", {}).items():
        for key, (low, high) in wanted.items():
            value = found["totals"][actuator][key]
            if not low <= value <= high:
                yield f"{actuator}.{key} is {value}, wanted {low} to {high}"
    for actuator, wanted in expected.get("final", {}).items():
        if not fits(wanted, found["final"]["outputs"][actuator]):
            yield f"{actuator} ends as {found['final']['outputs'][actuator]}, wanted {wanted}"
    for point, wanted in expected.get("points", {}).items():
        value = found["final"]["points"].get(point)
        in_bounds = isinstance(wanted, list) and value is not None and wanted[0] <= value <= wanted[1]
        if value != wanted and not in_bounds:
            yield f"{point} is {value}, wanted {wanted}"
    yield from wrong_alarms(expected, found)
    yield from wrong_times(expected, found)
    for point, wanted in expected.get("accounts", {}).items():
        if found["accounts"].get(point) != wanted:
            yield f"{point} is {found['accounts'].get(point)}, wanted {wanted}"
    for name, wanted in expected.get("outcomes", {}).items():
        last = [one for one in found["events"] if one["kind"] == "outcome" and one.get("id") == name][-1:]
        if not last or last[0]["code"] not in ([wanted] if isinstance(wanted, str) else wanted):
            yield f"outcome of {name}: wanted {wanted}, found {shown(last)}"


def wrong_alarms(expected: Item, found: Any) -> Iterable[str]:
    events = found["events"]
    standing = [f"{one['code']} {one['subject']}" for one in found["final"]["alarms"]]
    subjects = {*expected.get("events", {}), *(one.split()[1] for one in expected.get("open", []))}
    standing = sorted(one for one in standing if one.split()[1] in subjects)
    if "open" in expected and standing != sorted(expected["open"]):
        yield f"open in the end: {standing}, wanted {sorted(expected['open'])}"
    for wanted in expected.get("events_of", []):
        times = sum(fits(wanted, one) for one in events)
        if times != wanted.get("count", max(times, 1)):
            told = [one for one in events if one["subject"] == wanted.get("subject")]
            yield f"{times} times {dict(wanted)} in {shown(told)}"
    for text in expected.get("never", []):
        code, subject = text.split()
        told = [one for one in events if one["kind"] in ("alarm", "change") and one["code"] == code]
        if told := [one for one in told if one["subject"] == subject]:
            yield f"{text} must not be told: {shown(told)}"


def wrong_times(expected: Item, found: Any) -> Iterable[str]:
    for actuator, moments in expected.get("value_at", {}).items():
        for at, wanted in moments:
            if (value := value_at(actuator, at, found)) != wanted:
                yield f"{actuator} at {at} is {value}, wanted {wanted}: {shown(edges(found, actuator))}"
    for actuator, (seconds, most) in expected.get("max_starts", {}).items():
        starts = [edge["t"] for edge in edges(found, actuator) if edge["to"]]
        worst = max((sum(one <= other < one + seconds for other in starts) for one in starts), default=0)
        if worst > most:
            yield f"{actuator} starts {worst} times in {seconds} s, at most {most} wanted"
    for actuator, least in expected.get("gap", {}).items():
        for one, two in pairwise(edges(found, actuator)):
            wanted = least.get("min_off" if two["to"] else "min_on", 0)
            if two["t"] - one["t"] < wanted - 0.01:
                yield f"{actuator}: less than {wanted} s between {shown([one, two])}"
    for one, value, other, another in expected.get("never_together", []):
        for at in sorted({edge["t"] for edge in found["edges"] if edge["actuator"] in (one, other)}):
            if value_at(one, at, found) == value and value_at(other, at, found) == another:
                yield f"{one} is {value} and {other} is {another} at {at} s"
    for first, second, least in expected.get("after", []):
        for edge in (edge for edge in found["edges"] if fits(second, edge)):
            before = [one for one in found["edges"] if fits(first, one) and one["t"] <= edge["t"]]
            if not before or edge["t"] - before[-1]["t"] < least - 0.01:
                yield f"less than {least} s after {dict(first)}: {dict(edge)}"


def value_at(actuator: str, at: Any, found: Any) -> Any:
    fallen = (edge for edge in found.get("dropped", []) if edge["actuator"] == actuator)
    moves = sorted([*edges(found, actuator), *fallen], key=lambda edge: edge["t"])
    value = moves[0]["from"] if moves else found["final"]["outputs"][actuator]["value"]
    for edge in moves:
        if (edge["t"] <= at) if isinstance(at, int | float) else (_apart(edge["at"], at) <= 0):
            value = edge["to"]
    return value


def edges(found: Any, actuator: str) -> Iterable[Item]:
    return (edge for edge in found["edges"] if edge["actuator"] == actuator)


def fits(wanted: Item, seen: Item) -> bool:
    """Whether all that is wanted is seen; a cause or a reason only in part, a time nearly."""
    return all(_fits(key, value, wanted, seen) for key, value in wanted.items() if key not in ("within", "count"))


def _fits(key: str, value: Any, wanted: Item, seen: Item) -> bool:
    if key == "at":
        apart = value - seen["t"] if isinstance(value, int | float) else _apart(value, seen["at"])
        return bool(abs(apart) <= wanted.get("within", 1))
    if key in ("cause", "reason"):
        return str(value) in (seen.get(key) or "")
    if key == "detail":
        return all((seen.get("detail") or {}).get(name) == one for name, one in value.items())
    return bool(seen.get(key) == value)


def _apart(one: str, other: str) -> float:
    return (datetime.fromisoformat(one) - datetime.fromisoformat(other)).total_seconds()


def place(edge: Item) -> tuple[Any, ...]:
    return edge["t"], edge["to"], edge["priority"], edge["cause"]


def shown(items: Iterable[Item]) -> str:
    return "".join(f"\n    {dict(item)}" for item in items) or " nothing"
