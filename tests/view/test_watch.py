"""`bocage watch` against the agent's socket."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.cli import main
from agent.demo import site
from agent.runtime.socket import SocketServer

STATUS = json.loads((Path(__file__).parent / "status.json").read_text())


@pytest.fixture
def place(tmp_path):
    """A site file, and the options that say where its agent is."""
    file = tmp_path / "site.yaml"
    file.write_text(site.text(tmp_path, 1, 2, 3, wires=False))
    return [str(file), "--runtime-dir", str(tmp_path)]


@pytest.fixture
def agent(tmp_path):
    """Somebody who answers `status`, in a thread of its own; called, it goes away."""
    up, over = threading.Event(), asyncio.Event()
    loops = []

    async def status(request, who):
        return STATUS

    async def serve():
        loops.append(asyncio.get_running_loop())
        async with SocketServer(tmp_path, {"status": status}).listening():
            up.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert up.wait(5)

    def go():
        loops[0].call_soon_threadsafe(over.set)
        thread.join()

    yield go
    if thread.is_alive():
        go()


def test_no_agent(place, capsys):
    assert main(["watch", *place]) == 3
    assert "no agent is running here" in capsys.readouterr().err


def test_one_frame(place, agent, capsys):
    assert main(["watch", *place, "--once"]) == 0
    assert "tank-level" in capsys.readouterr().out


def test_for_programs(place, agent, capsys):
    assert main(["watch", *place, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == STATUS


def test_a_picture(place, agent, tmp_path, capsys):
    assert main(["watch", *place, "--svg", str(tmp_path / "view.svg")]) == 0
    assert "tank-level" in (tmp_path / "view.svg").read_text()


def test_without_a_terminal_a_line_a_second_until_the_agent_goes(place, agent):
    command = [sys.executable, "-m", "agent", "watch", *place]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ) as watch:
        assert watch.stdout.readline().startswith("17:51:21 points 8/11 good")
        agent()
        _, error = watch.communicate(timeout=10)
    assert watch.returncode == 3
    assert "the agent went away" in error or "no agent" in error
