"""The driver against a slave made with libmodbus: an implementation that shares nothing with ours."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.errors import Refused
from tests.fakes.ports import free_port

SOURCE = Path(__file__).parent.parent / "fakes" / "slave.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("cc") or subprocess.run(["pkg-config", "--exists", "libmodbus"], check=False).returncode:
        pytest.skip("needs a C compiler and libmodbus-dev")
    binary = tmp_path_factory.mktemp("slave") / "slave"
    flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "libmodbus"], text=True).split()
    subprocess.run(["cc", "-O1", "-Wall", "-Werror", str(SOURCE), "-o", str(binary), *flags], check=True)
    return binary


def started(*command: object) -> subprocess.Popen[str]:
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def tcp_port(program: Path) -> Iterator[int]:
    port = free_port()
    process = started(program, "tcp", port)
    yield port
    process.kill()
    process.wait()


@pytest.fixture
def tty_name(program: Path) -> Iterator[str]:
    """Two pseudo-terminals joined back to back; the slave has one end."""
    masters, ends = zip(*(os.openpty() for _ in range(2)), strict=True)
    for end in ends:
        tty.setraw(end)

    def join(source: int, target: int) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(source, 1024):
                os.write(target, data)
        os.close(source)

    for pair in (masters, masters[::-1]):
        threading.Thread(target=join, args=pair, daemon=True).start()
    process = started(program, "rtu", os.ttyname(ends[0]), 115200, 5)
    yield os.ttyname(ends[1])
    process.kill()
    process.wait()
    for end in ends:
        os.close(end)  # the last one to close an end hangs up its master, and ends the thread that reads it


@pytest.fixture
def serial_server(tty_name: str, tmp_path: Path) -> Iterator[int]:
    """socat as the serial server: a TCP port in front of the tty."""
    if not shutil.which("socat"):
        pytest.skip("needs socat")
    port = free_port()
    listen = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork"
    command = ["socat", "-d", "-d", listen, f"{tty_name},raw,echo=0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    while "listening" not in process.stderr.readline():
        assert process.poll() is None
    yield port
    process.kill()
    process.wait()
    process.stderr.close()


POINTS = [("holding", 50), ("input", 50), ("coil", 60), ("discrete", 61)]


async def exercise(line: Any, seen: Any) -> None:
    await seen.until(lambda: len(seen.of("s.last")) >= 3)
    found = {r.point: r.value for r in seen.readings}
    assert [found[f"s.{table}"] for table, _ in POINTS] == [50, 1050, True, False]
    assert found["s.last"] == 199 * 65536 + 198 and found["s.beyond"] is None
    await line.write("s.holding", 4242)
    await line.write("s.coil", False)
    await line.write("s.wide", -70000)
    await line.write("s.bit", True)
    values = [r.value for r in await line.read(["s.holding", "s.coil", "s.wide", "s.bit"])]
    assert values == [4242, False, -70000, True]
    with pytest.raises(Refused):
        await line.write("s.beyond", 1)


def spec(device: Any, point: Any) -> Any:
    points = {table: point(table, address, writable=True) for table, address in POINTS}
    points["last"] = point("holding", 198, type="u32", order="cdab")
    points["beyond"] = point("holding", 200, writable=True)
    points["wide"] = point("holding", 60, type="i32", writable=True)
    points["bit"] = point("holding", 0, bit=9, writable=True)
    return device("s", 5, points)


async def test_libmodbus_over_tcp(lines: Any, tcp_port: int, device: Any, point: Any) -> None:
    line = lines.tcp(tcp_port, spec(device, point), timeout=1.0)
    await exercise(line, lines.collect(line))


async def test_libmodbus_behind_a_serial_server(lines: Any, serial_server: int, device: Any, point: Any) -> None:
    line = lines.rtu_over_tcp(serial_server, spec(device, point), timeout=0.5)
    await exercise(line, lines.collect(line))


async def test_libmodbus_over_a_serial_line(lines: Any, tty_name: str, device: Any, point: Any) -> None:
    line = lines.rtu(tty_name, spec(device, point), timeout=0.5)
    await exercise(line, lines.collect(line))
