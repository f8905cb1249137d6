"""Where only a right is missing, the command that has it is named."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main

NOBODY = 65534
SITE = """\
version: 1
site: {id: rights, name: R, latitude: 47.32, longitude: 5.04, timezone: Europe/Paris}
"""


def as_nobody(command: list[str], at_first: list[str] | None = None) -> int:
    """Run here (or another command), and then as a user without rights, who could not load our modules by himself."""
    main(at_first or command)
    child = os.fork()
    if child == 0:
        sys.argv = ["/opt/bocage/bin/bocage", *command]
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        code = 99
        try:
            code = main()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if os.geteuid() != 0:
        pytest.skip("being another user needs root")
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(folder.stat().st_mode | 0o011)
    monkeypatch.setenv("BOCAGE_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("BOCAGE_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "site.yaml").write_text(SITE)
    return tmp_path


def test_a_site_file_that_may_not_be_read(box: Path, capfd: Any) -> None:
    site = box / "site.yaml"
    site.chmod(0o600)
    assert as_nobody(["check", str(site)]) == 1
    assert "error: cannot be read: Permission denied" in (shown := capfd.readouterr()).out
    assert f"try: sudo /opt/bocage/bin/bocage check {site}\n" in shown.err


def test_a_socket_that_may_not_be_asked(box: Path, capfd: Any) -> None:
    (box / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(box / "run" / "agent.sock"))
        (box / "run" / "agent.sock").chmod(0o600)
        assert as_nobody(["write", str(box / "site.yaml"), "km 1", "on"]) == 1
    text = capfd.readouterr().err
    assert "permission denied" in text
    assert text.endswith(f"try: sudo /opt/bocage/bin/bocage write {box / 'site.yaml'} 'km 1' on\n")


@pytest.mark.parametrize(
    "command",
    [
        "init {closed}/new.yaml",
        "stop-outputs --state-dir {closed}",
        "collect mqtt://127.0.0.1:1 --sqlite {closed}/region.db",
    ],
)
def test_a_folder_that_may_not_be_used(box: Path, capfd: Any, command: str) -> None:
    closed = box / "closed"
    closed.mkdir(mode=0o700)
    words = command.format(closed=closed).split()
    (box / "open").mkdir()
    assert as_nobody(words, at_first=command.format(closed=box / "open").split()) == 1
    text = capfd.readouterr().err
    assert "permission denied" in text.lower()
    assert text.endswith(f"try: sudo /opt/bocage/bin/bocage {' '.join(words)}\n"), text
