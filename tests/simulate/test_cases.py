"""tests/cases/*: a site, a scenario, and what matters of what `bocage simulate` then says.

`expected.json`, every key but `about` left out where it does not matter:

- `edges`: all edges of an actuator, in order; `has`: some of them. An edge is `at` (ISO, or seconds from the start) and
  `to`, and if wanted `priority` and a part of its `cause`. `within`: seconds (1).
- `events`: everything that is told of a subject, in order: `kind`, `code`, `at`, and if wanted `severity` and `detail`.
- `totals`: an actuator's `on_s` and `starts`, each between two bounds. `final`: its value, priority, part of the cause.
- `open`: the alarms of the subjects in `events` that stand in the end, as "code subject".
- `as_without_faults`: these actuators switch as if nothing had failed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main

CASES = Path(__file__).parent.parent / "cases"
FOUND = sorted(path.parent for path in CASES.glob("*/scenario.yaml"))

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
    standing = [f"{one['code']} {one['subject']}" for one in found["final"]["alarms"]]
    standing = sorted(one for one in standing if one.split()[1] in expected.get("events", {}))
    if "open" in expected and standing != sorted(expected["open"]):
        yield f"open in the end: {standing}, wanted {sorted(expected['open'])}"


def edges(found: Any, actuator: str) -> Iterable[Item]:
    return (edge for edge in found["edges"] if edge["actuator"] == actuator)


def fits(wanted: Item, seen: Item) -> bool:
    """Whether all that is wanted is seen; a cause or a reason only in part, a time nearly."""
    return all(_fits(key, value, wanted, seen) for key, value in wanted.items() if key != "within")


def _fits(key: str, value: Any, wanted: Item, seen: Item) -> bool:
    if key == "at":
        apart = value - seen["t"] if isinstance(value, int | float) else _apart(value, seen["at"])
        return bool(abs(apart) <= wanted.get("within", 1))
    if key in ("cause", "reason"):
        return str(value) in seen[key]
    if key == "detail":
        return all(seen["detail"].get(name) == one for name, one in value.items())
    return bool(seen[key] == value)


def _apart(one: str, other: str) -> float:
    return (datetime.fromisoformat(one) - datetime.fromisoformat(other)).total_seconds()


def place(edge: Item) -> tuple[Any, ...]:
    return edge["t"], edge["to"], edge["priority"], edge["cause"]


def shown(items: Iterable[Item]) -> str:
    return "".join(f"\n    {dict(item)}" for item in items) or " nothing"
