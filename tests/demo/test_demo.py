"""`bocage demo` as a newcomer runs it: a process of its own, with signals, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from agent.demo import site
from agent.demo.nodes import make_keys
from agent.demo.run import Demo, Timetable, run, verdict
from agent.demo.uplink import Deliveries, broker
from agent.errors import BocageError
from agent.site.loader import check
from tests.fakes.waiting import wait_for

COLOURS = re.compile(rb"\x1b\[[0-9;]*m")
LAST = re.compile(r"demo: read (\d+), delivered (\d+), duplicates (\d+), lost (\d+)")


@pytest.fixture
def port(unused_tcp_port_factory):
    """Three ports in a row."""
    while True:
        first = unused_tcp_port_factory()
        with contextlib.suppress(OSError):
            for number in (first + 1, first + 2):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
            return first


@pytest.fixture
def demo(tmp_path, port):
    """Start a demo in an empty folder; it is killed at the end if it is still there."""
    started = []

    def start(*options):
        environment = {**os.environ, "BOCAGE_DEMO_PORT": str(port), "BOCAGE_RUNTIME_DIR": str(tmp_path / "runtime")}
        process = subprocess.Popen(
            [sys.executable, "-m", "agent", "demo", *options],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        process.stdout.close()


def cabinets(folder):
    """Processes of the agent that belong to this demo."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def test_the_site_file_is_right(tmp_path):
    file = tmp_path / "site.yaml"
    (tmp_path / "profiles" / "codecs").mkdir(parents=True)
    for name, text in site.PROFILES.items():
        (tmp_path / "profiles" / name).write_text(text)
    make_keys(tmp_path / "keys")
    file.write_text(site.text(tmp_path, 1, 2, 3))
    assert check(file) == []
    file.write_text(site.text(tmp_path, 1, 2, 3, wires=False))  # of the agent that drains
    assert check(file) == []


def test_a_short_demo_is_the_long_one_faster():
    assert (Timetable.of(None).cut, Timetable.of(None).mend, Timetable.of(None).end) == (30, 50, None)
    assert (Timetable.of(45).cut, Timetable.of(45).mend, Timetable.of(45).end) == (15, 25, 45)
    assert (Timetable.of(900).cut, Timetable.of(900).mend, Timetable.of(900).end) == (30, 50, 900)


@pytest.mark.parametrize(
    ("read", "code", "line"),
    [
        (2, 0, "demo: read 2, delivered 2, duplicates 1, lost 0"),
        (3, 1, "demo: read 3, delivered 2, duplicates 1, lost 1"),
    ],
)
def test_a_loss_is_said(read, code, line, capsys):
    deliveries = Deliveries()
    for number in (1, 2, 2):
        deliveries.take("bocage/v1/x/event", b'{"k":["store",%d]}' % number)
    assert verdict(read, deliveries) == code
    assert capsys.readouterr().out == f"{line}\n"
    assert verdict(0, Deliveries()) == 1  # nothing read is nothing proved


def test_the_terminal_is_given_back(tmp_path, port):
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (60, 160))
    environment = {**os.environ, "TERM": "xterm", "BOCAGE_DEMO_PORT": str(port),
                   "BOCAGE_RUNTIME_DIR": str(tmp_path / "runtime")}  # fmt: skip
    command = [sys.executable, "-m", "agent", "demo"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        seen, asked = b"", False
        patience = threading.Timer(60, process.kill)
        patience.start()
        with contextlib.suppress(OSError):  # the terminal's end
            while data := os.read(master, 65536):
                seen += data
                plain = COLOURS.sub(b"", seen)
                if not asked and all(words in plain for words in (b"uplink connected", b"held by", b"tank-level")):
                    process.send_signal(signal.SIGINT)
                    asked = True
        os.close(master)
    patience.cancel()
    assert process.returncode == 0, seen
    assert asked
    before, _, after = seen.rpartition(b"\x1b[?1049l")  # back from the alternate screen
    assert before.count(b"\x1b[?1049h") == 1 and LAST.search(after.decode())


@pytest.mark.slow
def test_nothing_is_lost(demo, tmp_path):
    process = demo("--seconds", "12")
    output, _ = process.communicate(timeout=60)
    lines = output.splitlines()
    assert process.returncode == 0, output
    read, delivered, _, lost = map(int, LAST.fullmatch(lines[-1]).groups())
    assert read == delivered > 100 and lost == 0
    assert any("uplink waiting" in line for line in lines)  # it was cut
    assert sum(" s  " in line for line in lines) >= 10  # a line a second
    assert not cabinets(tmp_path)
    assert not list((tmp_path / "demo" / "dev").iterdir())


@pytest.mark.slow
def test_a_village_in_a_hurry(demo, tmp_path):
    """Twenty seconds are more than three hours: the tank is filled by its control, and no control sees a fault."""
    process = demo("--seconds", "20", "--speed", "600")
    output, _ = process.communicate(timeout=60)
    lines = [line for line in output.splitlines() if "(600 x)" in line]
    assert process.returncode == 0, output
    levels = [float(re.search(r"tank ([0-9.]+) %", line).group(1)) for line in lines]
    assert max(levels) > min(levels) + 20
    assert any(re.search(r"on: .*\bwell\b", line) for line in lines)
    log = (tmp_path / "demo" / "agent.log").read_text()
    assert "command ended id=demo-0 state=verified" in log
    assert "joined device=hall" in log and "joined device=garden" in log
    assert 'command ended id=valve-0 state=verified reason="garden.valve reads on"' in log
    assert " alarm code=" not in log and "control failed" not in log


@pytest.mark.parametrize("speed", ["0", "1001", "fast", "nan"])
def test_a_wrong_speed_is_said(demo, speed):
    process = demo("--speed", speed)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 2 and "is not a number from 1 to 1000" in output


def test_ctrl_c_ends_it_with_the_count(demo, tmp_path):
    process = demo()
    for line in process.stdout:
        if "uplink connected" in line:
            break
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert LAST.fullmatch(output.splitlines()[-1]).group(4) == "0"
    assert not cabinets(tmp_path)


def test_the_agent_goes_with_a_demo_that_is_killed(demo, tmp_path):
    process = demo()
    wait_for(lambda: cabinets(tmp_path))
    process.kill()
    wait_for(lambda: not cabinets(tmp_path))


def test_a_busy_port_is_said(demo, port):
    with socket.create_server(("127.0.0.1", port)):
        process = demo()
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"port {port} is in use" in output and "BOCAGE_DEMO_PORT" in output


def test_a_wrong_port_is_said(monkeypatch):
    monkeypatch.setenv("BOCAGE_DEMO_PORT", "mqtt")
    with pytest.raises(BocageError, match="BOCAGE_DEMO_PORT=mqtt is not a port"):
        run(None, True, False)


async def test_a_missing_broker_is_said(monkeypatch, unused_tcp_port):
    monkeypatch.setitem(sys.modules, "amqtt.broker", None)
    with pytest.raises(BocageError, match=r"pip install 'bocage\[demo\]'"):
        async with broker(unused_tcp_port):
            pass


def test_it_ends_when_nobody_reads_its_lines(demo, tmp_path):
    process = demo()
    assert process.stdout.readline()
    process.stdout.close()
    process.wait(30)
    wait_for(lambda: not cabinets(tmp_path))


def test_an_agent_that_dies_is_said(demo, tmp_path):
    process = demo()
    for line in process.stdout:
        if "uplink connected" in line:
            break
    os.kill(cabinets(tmp_path)[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "the agent ended by itself with code -9" in output


def test_devices_only(demo, tmp_path):
    process = demo("--devices-only")
    for line in process.stdout:
        if "-a 1 -t 3:float" in line:
            command = line.split("#")[0].split()
        if "Ctrl-C" in line:
            break
    polled = subprocess.run([*command, "-1"], cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False)
    assert polled.returncode == 0, polled
    assert re.search(r"\[13\]:\s+3\d", polled.stdout)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_an_edited_site_file_is_kept(tmp_path, port):
    demo = Demo(tmp_path / "demo", port, Timetable.of(None), True)
    demo.folder.prepare()
    (tmp_path / "demo" / "site.yaml").write_text("mine")
    demo.folder.prepare()
    assert (tmp_path / "demo" / "site.yaml.old").read_text() == "mine"


@pytest.mark.slow
async def test_what_was_kept_at_the_stop_is_delivered_later(tmp_path, port, capsys, monkeypatch):
    """The agent is stopped while the link is down: another one delivers what it left."""

    class Impatient(Demo):
        async def _script(self):
            await self._until(3)
            await self._link.cut()
            await self._until(5)

        async def _settle(self):
            await self._link.mend()
            return await super()._settle()

    monkeypatch.setenv("BOCAGE_RUNTIME_DIR", str(tmp_path / "runtime"))
    assert await Impatient(tmp_path / "demo", port, Timetable.of(None), True).everything() == 0
    read, delivered, _, lost = map(int, LAST.fullmatch(capsys.readouterr().out.splitlines()[-1]).groups())
    assert read == delivered > 50 and lost == 0
    assert (tmp_path / "demo" / "drain.yaml").exists()
