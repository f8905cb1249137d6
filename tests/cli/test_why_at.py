"""`bocage why --at`: a moment of the past, from the audit records on this box."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.cli import main
from agent.site.loader import load

CASES = Path(__file__).parents[1] / "cases"
SITE = CASES / "saint-seine.yaml"
NOW = datetime.now(UTC)


def record(t: datetime | None, to: bool | float, name: str = "km1", **more: Any) -> dict[str, Any]:
    detail = {"from": not to, "to": to, "priority": 15, "cause": "dusk", "by": "control"} | more
    at = None if t is None else round(t.timestamp() * 1000)
    return {"kind": "audit", "code": "output", "subject": name, "t": at, "detail": detail}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def ask(
        records: list[dict[str, Any]], at: datetime, *arguments: str, site: Path = SITE, name: str = "km1"
    ) -> tuple[int, str, str]:
        place = SimpleNamespace(site=load(site), state=None, runtime=None)
        monkeypatch.setattr("agent.cli.why.own_place", lambda _options: place)
        monkeypatch.setattr("agent.cli.why.export_events", lambda *_folders: records)
        code = main(["why", str(site), name, "--at", at.isoformat(), *arguments])
        return code, *capsys.readouterr()

    return ask


def test_the_future_is_refused(asked: Any) -> None:
    code, out, err = asked([record(NOW - timedelta(hours=1), True)], NOW + timedelta(days=365))
    assert (code, out) == (1, "") and err.endswith("is in the future; without --at, why says what comes next\n")


def test_a_clock_that_is_behind_its_own_records_is_not_believed(asked: Any) -> None:
    records = [record(NOW + timedelta(days=1), True), record(NOW + timedelta(days=3), False)]
    code, out, _ = asked(records, NOW + timedelta(days=2))
    assert code == 0 and out.startswith("km1 was on since ") and "then off at" in out


@pytest.mark.parametrize(("undated", "line"), [(1, "1 more record is"), (2, "2 more records are")])
def test_records_of_unknown_time_are_told(asked: Any, undated: int, line: str) -> None:
    records = [record(None, True)] * undated
    code, out, _ = asked(records, NOW - timedelta(hours=1))
    assert code == 1 and "no audit record on this box is from before" in out
    assert out.splitlines()[-1] == f"{line} from a time that is not known: before or after that"
    dated = [record(NOW - timedelta(hours=2), False), *records]
    code, out, _ = asked(dated, NOW - timedelta(hours=1))
    assert code == 0 and out.splitlines()[-1].startswith(line)
    assert json.loads(asked(dated, NOW - timedelta(hours=1), "--json")[1])["undated"] == undated
    assert "more record" not in asked(dated[:1], NOW - timedelta(hours=1))[1]


def test_a_point_that_a_zone_writes_as_it_stands_has_records_too(asked: Any) -> None:
    hall, name = CASES / "hall.yaml", "hp.flow_setpoint"
    records = [record(NOW - timedelta(hours=2), 41.5, name)]
    code, out, _ = asked(records, NOW - timedelta(hours=1), site=hall, name=name)
    assert code == 0 and out.startswith(f"{name} was 41.5 since ")
    code, _, err = asked(records, NOW - timedelta(hours=1), site=hall, name="hp.flow_temp")
    assert code == 1 and '"hp.flow_temp" is no actuator of' in err


def test_a_cause_without_an_author_names_none(asked: Any) -> None:
    _, out, _ = asked([record(NOW - timedelta(hours=2), False, cause="stop", by="", priority=5)], NOW)
    assert out.splitlines()[1] == "  because of priority 5: stop"


def test_before_the_first_record_it_tells_what_that_changed(asked: Any) -> None:
    first = NOW - timedelta(hours=1)
    code, out, _ = asked([record(first, True)], NOW - timedelta(hours=2))
    assert code == 1 and out.splitlines()[2:] == [
        "just before its first record here km1 was off",
        next(line for line in out.splitlines() if line.startswith("  then on at ")),
    ]  # fmt: skip
    unknown = asked([record(first, True, **{"from": None})], NOW - timedelta(hours=2))[1]
    assert "just before" not in unknown
