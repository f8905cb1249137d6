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

SITE = Path(__file__).parents[1] / "cases" / "saint-seine.yaml"
NOW = datetime.now(UTC)


def record(t: datetime | None, to: bool) -> dict[str, Any]:
    detail = {"from": not to, "to": to, "priority": 15, "cause": "dusk", "by": "control"}
    at = None if t is None else round(t.timestamp() * 1000)
    return {"kind": "audit", "code": "output", "subject": "km1", "t": at, "detail": detail}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def ask(records: list[dict[str, Any]], at: datetime, *arguments: str) -> tuple[int, str, str]:
        place = SimpleNamespace(site=load(SITE), state=None, runtime=None)
        monkeypatch.setattr("agent.cli.why.own_place", lambda _options: place)
        monkeypatch.setattr("agent.cli.why.export_events", lambda *_folders: records)
        code = main(["why", str(SITE), "km1", "--at", at.isoformat(), *arguments])
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
