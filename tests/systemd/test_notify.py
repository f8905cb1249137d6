"""sd_notify against a socket of our own, as the service manager holds it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.lib.notify import Notifier

Manager = tuple[Notifier, socket.socket]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@bocage-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        sock.settimeout(5)
        yield Notifier({"NOTIFY_SOCKET": name}), sock


def test_what_systemd_hears_in_a_life(manager: Manager) -> None:
    notifier, sock = manager
    notifier.ready("2/2 buses up")
    notifier.status("1/2 buses up")
    notifier.watchdog()
    notifier.watchdog("2/2 buses up")
    notifier.stopping("outputs go to their stop state")
    assert [sock.recv(4096) for _ in range(5)] == [
        b"READY=1\nSTATUS=2/2 buses up",
        b"STATUS=1/2 buses up",
        b"WATCHDOG=1",
        b"WATCHDOG=1\nSTATUS=2/2 buses up",
        b"STOPPING=1\nSTATUS=outputs go to their stop state",
    ]


def test_a_line_break_does_not_become_an_assignment(manager: Manager) -> None:
    notifier, sock = manager
    notifier.status("device said\nWATCHDOG=1")
    assert sock.recv(4096) == b"STATUS=device said WATCHDOG=1"


def test_a_manager_that_does_not_listen_blocks_nobody(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    notifier, _ = manager
    for _ in range(100_000):
        notifier.watchdog()
        if caplog.records:
            break
    assert "service manager not told what=WATCHDOG=1" in caplog.text


def test_a_manager_that_is_gone_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    Notifier({"NOTIFY_SOCKET": "/nowhere/notify"}).ready()
    assert "No such file" in caplog.text


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_outside_a_unit_it_does_nothing(environ: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier(environ)
    notifier.ready("x")
    notifier.watchdog()
    assert not caplog.records
