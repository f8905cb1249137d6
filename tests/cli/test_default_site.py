"""On an installed box a command needs no site file: the one of the box is meant."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from agent.cli import common, main
from agent.runtime import folders
from agent.runtime.applied import Applied
from agent.runtime.configuration import Configuration
from agent.settings import SettingsReader

BOX = """\
version: 1
site: {id: the-box, name: Box, latitude: 47.32, longitude: 5.04, timezone: Europe/Paris}
"""
NO_AGENT = "no agent is running here"


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "etc" / "site.yaml"
    path.parent.mkdir()
    path.write_text(BOX)
    monkeypatch.setattr(common, "SITE", path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOCAGE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("BOCAGE_RUNTIME_DIR", str(tmp_path / "run"))
    return path


def said(capsys: Any, *arguments: str) -> tuple[int, str]:
    try:
        code = main(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    shown = capsys.readouterr()
    return code, shown.out + shown.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["check"], 0, "etc/site.yaml: 1 warning"),
        (["check", "--state-dir", "/tmp/x.yaml"], 0, "etc/site.yaml: 1 warning"),
        (["read", "m.x"], 1, 'unknown point "m.x" in'),
        (["read", "--json", "m.x"], 1, 'unknown point "m.x" in'),
        (["write", "km1", "on"], 3, NO_AGENT),
        (["write", "setpoint", "-5"], 3, NO_AGENT),
        (["write", "--for", "2h", "km1", "on"], 3, NO_AGENT),
        (["release", "km1"], 3, NO_AGENT),
        (["alarms"], 3, NO_AGENT),
        (["watch", "--once"], 3, NO_AGENT),
        (["reload"], 3, NO_AGENT),
        (["plan", "--days", "1"], 0, "the-box, 1 days"),
        (["buffer", "status"], 0, "undelivered"),
        (["scan", "b"], 1, 'unknown bus "b" in'),
        (["lora", "airtime"], 1, "there is no LoRa bus in"),
        (["simulate", "frost.yaml"], 1, "frost.yaml:1:1: error: cannot be read"),
        (["check", "other.yaml"], 1, "other.yaml:1:1: error: cannot be read"),
        (["write", "other.yaml", "km1"], 2, "the following arguments are required: VALUE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_site_file_of_the_box_is_meant(box: Path, capsys: Any, arguments: list[str], code: int, says: str) -> None:
    found, text = said(capsys, *arguments)
    assert says in text
    assert found == code


def test_a_file_that_is_named_is_taken(box: Path, capsys: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text(BOX.replace("the-box", "mine"))
    code, text = said(capsys, "plan", "mine", "--json")
    assert (code, json.loads(text)["site"]) == (0, "mine")


def test_without_a_box_the_missing_file_is_said(box: Path, capsys: Any) -> None:
    box.unlink()
    code, text = said(capsys, "write", "km1", "on")
    assert code == 2 and f"SITE.yaml is missing, and there is no {box}, which would be meant" in text


def test_an_agent_of_ones_own_is_asked_before_an_installed_one(
    box: Path, tmp_path: Path, agent_that_says: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo on a gateway: its own folder is meant while somebody listens there, and not what was killed."""
    monkeypatch.delenv("BOCAGE_RUNTIME_DIR")
    monkeypatch.setattr(folders, "INSTALLED_RUNTIME", tmp_path / "installed")
    monkeypatch.setattr(folders, "own_runtime", lambda site: tmp_path / f"own-{site}")
    status = {"alarms": [], "site": {"timezone": "Europe/Paris"}, "buses": []}
    alarm = {"severity": "major", "code": "installed", "subject": "x", "since": None, "acked": False}
    reloaded: dict[str, Any] = {"applied": True, "changed": []}
    with agent_that_says(tmp_path / "installed", status={**status, "alarms": [alarm]}, reload={"problems": []}):
        with agent_that_says(tmp_path / "own-the-box", status=status, reload=reloaded):
            assert said(capsys, "alarms", str(box)) == (0, "no alarm is open\n")
            assert said(capsys, "reload", str(box)) == (0, f"{box} is applied; changed: nothing that runs\n")
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(tmp_path / "own-the-box" / "agent.sock"))
        assert "installed x" in said(capsys, "alarms", str(box))[1]


@pytest.fixture
def demo(box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another site's file on the box, where the box's own site ran."""
    monkeypatch.delenv("BOCAGE_STATE_DIR")
    monkeypatch.setattr(folders, "INSTALLED_STATE", state := tmp_path / "state")
    state.mkdir()
    Applied.keep(state, box, "the-box", {box.name: box.read_bytes()})
    (state / "state.json").write_text("{}")
    demo = tmp_path / "demo" / "site.yaml"
    demo.parent.mkdir()
    demo.write_text(BOX.replace("the-box", "demo") + 'buses: {air: {type: lora_gwmp, listen: "127.0.0.1:1700"}}\n')
    return demo


@pytest.mark.parametrize(
    "command",
    ["buffer", "buffer --json", "buffer {} export", "lora {} devices", "write {} km1 on --direct", "stop-outputs"],
)
def test_another_site_is_not_told_of_the_installed_ones_state(
    demo: Path, box: Path, capsys: Any, monkeypatch: Any, command: str
) -> None:
    """Nor does it change anything there; the command that is named finds what it keeps elsewhere."""
    words = (command if "{}" in command else f"{command} {{}}").format(demo).split()
    monkeypatch.setattr("sys.argv", ["bocage", *words])
    before = {path: path.stat().st_mtime_ns for path in (box.parent.parent / "state").rglob("*")}
    code, text = said(capsys, *words)
    assert code == 1 and f"is of the site the-box ({box}), and {demo} is demo" in text
    assert text.rstrip().endswith(f"{' '.join(words)} --state-dir {demo.parent / 'state'}")
    assert {path: path.stat().st_mtime_ns for path in (box.parent.parent / "state").rglob("*")} == before
    assert "is of the site" not in said(capsys, *words, "--state-dir", str(demo.parent / "state"))[1]


@pytest.mark.parametrize("content", ["version: 1\nsite: {}\n", "", "site: [", None])
def test_a_slip_in_another_file_does_not_command_the_installed_site(
    demo: Path, tmp_path: Path, agent_that_says: Any, capsys: Any, content: str | None
) -> None:
    """Whose it is cannot be said then: not the village's, which is another file."""
    demo.unlink()
    if content is not None:
        demo.write_text(content)
    done = {"point": "km1", "value": True, "state": "applied", "reason": ""}
    with agent_that_says(tmp_path / "run", "the-box", write=done):
        code, text = said(capsys, "write", str(demo), "km1", "on")
    assert (code, "applied" in text) == (1, False) and f"{demo}:" in text
    code, text = said(capsys, "run", str(demo))
    assert code == 78 and f"{demo}:" in text


def test_another_site_does_not_take_the_installed_ones_state(
    demo: Path, box: Path, tmp_path: Path, capsys: Any
) -> None:
    """Its readings and outputs would be taken for the village's."""
    state = tmp_path / "state"

    def chosen(path: Path, given: str | None = None) -> str:
        return Configuration.choose(path, SettingsReader(path), given).settings.site

    code, text = said(capsys, "run", str(demo))
    assert (code, text.splitlines()[0][:7]) == (1, "bocage:")
    assert "is of the site the-box" in text and f"run {demo} --state-dir {demo.parent / 'state'}" in text
    assert chosen(box) == "the-box" and chosen(demo, str(state)) == "demo"  # whoever names it means it
    box.write_text(box.read_text().replace("the-box", "renamed"))
    assert chosen(box) == "renamed"
