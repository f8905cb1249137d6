"""What systemd hears from a real agent between its start and SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SITE = """
version: 1
site: {id: somewhere, name: Somewhere, latitude: 47.3, longitude: 5.0, timezone: Europe/Paris}
buses:
  away: {type: modbus_tcp, host: 127.0.0.1, port: 9}
devices:
  m: {bus: away, unit_id: 1, profile: relay8_di8}
"""


def test_ready_then_alive_then_stopping(tmp_path: Path) -> None:
    """With a dead bus and no uplink: neither may keep the agent from being ready, nor starve the watchdog."""
    (tmp_path / "site.yaml").write_text(SITE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        agent = subprocess.Popen(
            [sys.executable, "-m", "agent", "run", "site.yaml", "--state-dir", "state", "--runtime-dir", "runtime"],
            cwd=tmp_path, env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            heard = [_heard(manager)]
            while "WATCHDOG=1" not in heard[-1]:
                heard.append(_heard(manager))
            status = heard[-1]
            began = time.monotonic()
            agent.send_signal(signal.SIGTERM)
            while "STOPPING=1" not in heard[-1]:
                heard.append(_heard(manager))
            assert agent.wait(10) == 0
            assert time.monotonic() - began < 5
        finally:
            agent.kill()
            agent.wait()
    assert any("READY=1" in datagram for datagram in heard[:2])
    assert any(line.startswith("STATUS=0/1 buses up") for line in status), status


def _heard(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().splitlines()
