"""The guide "add a LoRaWAN sensor in five minutes", followed word by word on the demo's devices, but for the port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

GUIDE = Path(__file__).parent.parent.parent / "docs" / "add-a-lorawan-sensor.md"
PORT = "18832"
HALL, TAP = "b0ca9e0000000011", "b0ca9e0000000012"
PATIENCE = 60.0
HURRY = "from agent.demo import nodes; nodes.EVERY = 2.0; from agent.cli import main; main({})"
"""The demo, whose nodes speak more often."""

EXPECTED = [
    ("bocage check --bus site.yaml", r"air: ok: .*gateway b0ca9e0000000001 is there"),
    ("bocage lora site.yaml join-log", rf"(?s)({HALL}|{TAP})  not in.*({HALL}|{TAP})  not in"),
    ("bocage check site.yaml", ""),
    ("bocage lora site.yaml join-log", "hall  accepted"),
    ("bocage lora site.yaml devices", "hall .* heard"),
    ("bocage read site.yaml hall.", r"hall.temperature +19|hall.temperature +18"),
    ("bocage codec run profiles/my_tap.yaml", r"(?s)open.: true.*battery.: 88"),
    ("bocage codec encode profiles/my_tap.yaml", "^01$"),
    ("bocage check site.yaml", ""),
    ("bocage read site.yaml garden.open", "garden.open +off"),
    ("bocage write site.yaml garden.open on --for 10min", "garden.open on: verified"),
    ("bocage read site.yaml garden.open", "garden.open +on"),
    ("bocage lora site.yaml airtime", "garden "),
    ("bocage codec run profiles/codecs/probe.js", r"(?s)level.: 1.82.*battery.: 71"),
    ("bocage check site.yaml", ""),
    ("bocage read site.yaml pond.level", r"(?s)pond.level +1\.[789].*pond.payload +2:01"),
    ("bocage check chirpstack.yaml", ""),
]
"""Each command that says something, in the order of the guide, and what it says after a while."""


def statements() -> Iterator[str]:
    """The commands of the guide: indented lines that are no output; a here-document is one with its lines."""
    text = GUIDE.read_text(encoding="utf-8")
    for block in re.findall(r"(?:^    .*\n)+", text, re.MULTILINE):
        script = re.sub(r"^    ", "", block, flags=re.MULTILINE)
        yield from re.findall(r"^(?:cat .*\n(?:.*\n)*?END|(?:bocage|mkdir) .*)$", script, re.MULTILINE)


@pytest.mark.slow
def test_the_guide_can_be_followed(tmp_path: Path, unused_tcp_port_factory) -> None:  # type: ignore[no-untyped-def]
    port = unused_tcp_port_factory()
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
           "BOCAGE_DEMO_PORT": str(port), "BOCAGE_STATE_DIR": str(tmp_path / "state"),
           "BOCAGE_RUNTIME_DIR": str(tmp_path / "runtime")}  # fmt: skip
    expected = iter(EXPECTED)
    running: dict[str, subprocess.Popen[bytes]] = {}

    def start(command: str) -> None:
        """In a terminal of its own; what ran there before is ended with Ctrl-C."""
        name = command.split()[1]
        end(name)
        with (tmp_path / f"{name}.log").open("ab") as log:
            words = command.split()
            if name == "demo":
                words = [sys.executable, "-c", HURRY.format(words[1:])]
            running[name] = subprocess.Popen(words, cwd=tmp_path, env=env, stdout=log, stderr=log)

    def end(name: str) -> None:
        if name in running:
            running[name].send_signal(signal.SIGINT)
            running.pop(name).wait(20)

    def say(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-e", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True,
                              check=False)  # fmt: skip

    try:
        for statement in statements():
            command = statement.replace(PORT, str(port + 2))
            if re.match("bocage (demo|run)", command):
                start(command)
                continue
            if not command.startswith("bocage"):
                assert say(command).returncode == 0, command
                continue
            begins, pattern = next(expected)
            assert command.startswith(begins), (command, begins)
            deadline = time.monotonic() + PATIENCE
            done = say(command)
            while done.returncode or not re.search(pattern, done.stdout, re.MULTILINE):
                assert time.monotonic() < deadline, (command, done.stdout, done.stderr)
                time.sleep(0.2)
                done = say(command)
        assert next(expected, None) is None
    finally:
        for name in list(running):
            end(name)
