"""What is said of a time that nobody knows, and of times for people: the site's own, with its offset."""

from __future__ import annotations

import argparse
import itertools
import json

import pytest

from agent.cli import common, main

SITE = """\
version: 1
site: {id: far, name: Papeete, latitude: -17.53, longitude: -149.57, timezone: Pacific/Tahiti}
"""
POINT = {"unit": "degC", "quality": "good", "value": 7.5, "read": True, "at": "2026-01-15T06:00:00.000-10:00"}
UTC = "2026-01-15T16:00:00.000Z"
ALARM = {"severity": "major", "code": "device_lost", "subject": "m", "since": UTC, "acked": False}
OUTBOX = {
    "rows": 1, "bytes": 1, "oldest": UTC, "hours_left": None, "gaps": 0,
    "classes": dict.fromkeys("0123", 0), "lost": {}, "max_bytes": 9,
}  # fmt: skip


@pytest.fixture
def says(tmp_path, agent_that_says, capsys):
    """`says(command, clock, …)`: what a command prints while an agent answers so."""
    file = tmp_path / "site.yaml"
    file.write_text(SITE)
    count = itertools.count()

    def run(command, clock, *more, alarms=(), points=()):
        at = "2026-01-15T06:00:00.000-10:00" if clock == "synced" else None
        status = {
            "site": {"id": "far", "name": "Papeete", "timezone": "Pacific/Tahiti"}, "clock": clock, "at": at,
            "alarms": list(alarms), "buses": [], "outbox": OUTBOX,
        }  # fmt: skip
        folder = tmp_path / f"run-{next(count)}"
        with agent_that_says(folder, status=status, read={"points": dict(points), "unknown": {}}):
            main([command, str(file), *more, "--runtime-dir", str(folder), "--state-dir", str(tmp_path)])
        return capsys.readouterr()

    return run


def test_a_point_that_was_never_read_is_not_one_of_unknown_time(says):
    points = {"a": POINT, "b": {**POINT, "at": None}, "c": {**POINT, "value": None, "at": None, "read": False}}
    said = says("read", "unsynced", points=points)
    assert [line.split()[1:] for line in said.out.splitlines()] == [
        ["7.5", "degC", "2026-01-15T06:00:00.000-10:00"], ["7.5", "degC", "time", "unknown"], ["never", "read"],
    ]  # fmt: skip
    assert said.err.count("timedatectl") == 1 and "clock: {trust: always}" in said.err


def test_without_an_unknown_time_nothing_is_hinted(says):
    assert says("read", "unsynced", points={"a": POINT, "c": {**POINT, "at": None, "read": False}}).err == ""


def test_the_hint_does_not_need_the_file_again(tmp_path, capsys, monkeypatch):
    """Root has become the agent's user meanwhile, who may not look into a technician's home."""
    monkeypatch.setenv("BOCAGE_CLOCK", "untrusted")
    common.hint_time(
        argparse.Namespace(site=tmp_path / "gone.yaml", state_dir=str(tmp_path), runtime_dir=str(tmp_path))
    )
    assert "timedatectl" in capsys.readouterr().err


def test_a_time_that_was_unknown_then_needs_nothing(says):
    said = says("alarms", "synced", alarms=[{**ALARM, "since": None}])
    assert "since time unknown" in said.out and "nothing is to be done" in said.err and "timedatectl" not in said.err


def test_an_alarm_of_unknown_time_says_what_to_do(says):
    said = says("alarms", "unsynced", alarms=[{**ALARM, "since": None}])
    assert "since time unknown" in said.out and "timedatectl" in said.err


def test_json_has_no_hints(says):
    said = says("alarms", "unsynced", "--json", alarms=[{**ALARM, "since": None}])
    assert json.loads(said.out)["alarms"][0]["since"] is None and said.err == ""


@pytest.mark.parametrize("clock", ["synced", "unsynced"])
def test_people_see_site_time_even_while_the_time_now_is_not_known(says, clock):
    local = "2026-01-15T06:00:00-10:00"
    assert f"since {local}\n" in says("alarms", clock, alarms=[ALARM]).out
    assert f"oldest       {local}\n" in says("buffer", clock).out
    seen = says("watch", clock, "--once", alarms=[ALARM]).out
    assert "device_lost m 06:00:00" in seen and "oldest 06:00:00" in seen and "16:00" not in seen


def test_programs_see_utc(says):
    assert json.loads(says("alarms", "synced", "--json", alarms=[ALARM]).out)["alarms"][0]["since"] == UTC
    assert json.loads(says("buffer", "synced", "--json").out)["oldest"] == UTC


def test_without_an_agent_the_site_file_names_the_zone(tmp_path, capsys, monkeypatch):
    file = tmp_path / "site.yaml"
    file.write_text(SITE)
    found = {**OUTBOX}
    monkeypatch.setattr("agent.cli.buffer.read_status", lambda *_, **__: found)
    assert main(["buffer", str(file), "--runtime-dir", str(tmp_path), "--state-dir", str(tmp_path)]) == 0
    assert "oldest       2026-01-15T06:00:00-10:00\n" in capsys.readouterr().out


def test_an_oldest_of_unknown_time_says_what_to_do(tmp_path, capsys, monkeypatch):
    file = tmp_path / "site.yaml"
    file.write_text(SITE)
    monkeypatch.setattr("agent.cli.buffer.read_status", lambda *_, **__: {**OUTBOX, "oldest": None})
    arguments = ["buffer", str(file), "--runtime-dir", str(tmp_path), "--state-dir", str(tmp_path)]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "oldest       time unknown\n" in said.out and "bocage: time unknown: " in said.err
    assert main([*arguments, "--json"]) == 0
    assert capsys.readouterr().err == ""
