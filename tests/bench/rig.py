"""What a measurement is made with: the broker, the slaves, the two programs measured, and who listens to them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt

__all__ = [
    "Arrival", "Broker", "Listener", "Process", "Sample", "agent", "broker", "compiled", "free_ports", "listener",
    "plain", "rtu_line", "tcp_slaves", "until", "write_rtu_site", "write_tcp_site",
]  # fmt: skip

HERE = Path(__file__).parent
CLONE = HERE.parents[1]
REGISTERS = 50
TICK = os.sysconf("SC_CLK_TCK")


# -- processes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process: seconds of CPU, bytes written to disks, resident bytes, and when."""

    at: float
    cpu: float
    written: int
    rss: int


class Process:
    """A program that is measured from /proc, which costs it nothing."""

    def __init__(self, command: Sequence[str], log: Path, env: dict[str, str] | None = None) -> None:
        self._log = log
        self.started = time.monotonic()
        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=out, cwd=log.parent, env={**os.environ, **(env or {})}
            )

    def sample(self) -> Sample:
        folder = Path(f"/proc/{self.popen.pid}")
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            written = (folder / "io").read_text().partition("\nwrite_bytes: ")[2].partition("\n")[0]
            pages = (folder / "statm").read_text().split()[1]
        except (OSError, IndexError) as error:
            raise RuntimeError(f"{self.popen.args} ended: {self.tail()}") from error
        cpu = (int(stat[11]) + int(stat[12])) / TICK
        return Sample(time.monotonic(), cpu, int(written), int(pages) * os.sysconf("SC_PAGE_SIZE"))

    def line(self) -> str:
        """The next line of its output."""
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().decode().strip()

    def tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-5:])

    def stop(self) -> str:
        """SIGTERM, and what it said in the end; killed if it does not go."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            out, _ = self.popen.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            out, _ = self.popen.communicate()
        return str(out.decode())


def until(condition: Callable[[], Any], seconds: float, what: str, process: Process | None = None) -> float:
    """Wait until it holds; the seconds that took. TimeoutError if it never does, with the end of the process's log."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"{what}: not within {seconds:g} s. {process.tail() if process else ''}")
        time.sleep(0.005)
    return time.monotonic() - began


def free_ports(count: int) -> int:
    """The first of so many free ports in a row, below the kernel's own range."""
    for first in range(20000, 30000, count):
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise RuntimeError(f"no {count} free ports in a row")


def compiled(name: str, folder: Path) -> str:
    """A slave in C: on a small box it must not take the processor from what is measured."""
    program = folder / name
    if not program.exists():
        subprocess.run(["gcc", "-O2", "-o", program, HERE / f"{name}.c"], check=True)
    return str(program)


# -- the broker ------------------------------------------------------------------------------------------------------


class Broker:
    """A Mosquitto of our own. `kill` and `start` again are an outage."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
            "set_tcp_nodelay true\nmax_queued_messages 0\nlog_type error\n"
        )
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.launch()
        until(self._answers, 5, "mosquitto accepts connections")

    def launch(self) -> None:
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self._popen = subprocess.Popen([program, "-c", self._config], stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()

    def _answers(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[Broker]:
    made = Broker(folder)
    made.start()
    try:
        yield made
    finally:
        made.kill()


# -- who listens -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrival:
    """One value of one device's register, as the subscriber got it. `at` is CLOCK_MONOTONIC in seconds."""

    at: float
    device: str
    register: str
    value: int
    history: bool
    key: tuple[str, int] | None


@dataclass
class Listener:
    """Keeps what arrives and decodes it afterwards, so that listening costs little while somebody is measured."""

    port: int
    messages: list[tuple[float, str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe([("plain/#", 1), ("bocage/v1/+/telemetry", 1)])
        self._client.on_message = lambda _, __, message: self.messages.append(
            (time.monotonic(), message.topic, message.payload)
        )
        self.connect()

    def connect(self) -> bool:
        """Connect, again after an outage; False if nobody answers."""
        try:
            self._client.connect("127.0.0.1", self.port)
        except OSError:
            return False
        self._client.loop_start()
        return True

    def pause(self) -> None:
        """Let go of a broker that is gone, so that `connect` is not held up by an attempt under way."""
        self._client.loop_stop()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def arrivals(self, which: slice = slice(None), registers: Sequence[str] = ("r0", "r1")) -> Iterator[Arrival]:
        """What these messages hold, of these registers."""
        for at, topic, payload in self.messages[which]:
            if topic.startswith("plain/"):
                values = json.loads(payload)
                for register in registers:
                    yield Arrival(at, values["device"], register, int(values[register]), False, None)
            else:
                yield from _batch(at, payload, registers)


def _batch(at: float, payload: bytes, registers: Sequence[str]) -> Iterator[Arrival]:
    """A telemetry batch (docs: uplink topics): per point [dt, value, dseq, quality?]."""
    body = json.loads(payload if payload.startswith(b"{") else zlib.decompress(payload))
    store, first, _ = body["k"]
    for point, entries in body["p"].items():
        device, _, register = point.rpartition(".")
        if register in registers:
            seq = first
            for entry in entries:
                seq += entry[2]
                yield Arrival(at, device, register, int(entry[1]), bool(body.get("h")), (store, seq))


@contextlib.contextmanager
def listener(port: int) -> Iterator[Listener]:
    made = Listener(port)
    try:
        yield made
    finally:
        made.close()


# -- slaves ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def tcp_slaves(folder: Path, count: int) -> Iterator[int]:
    """So many Modbus TCP devices; gives their first port."""
    first = free_ports(count)
    slaves = Process([compiled("tcp_slave", folder), str(first), str(count)], folder / "slaves.log")
    try:
        assert slaves.line() == "ready", slaves.tail()
        yield first
    finally:
        slaves.stop()


@contextlib.contextmanager
def rtu_line(folder: Path, turnaround_ms: float) -> Iterator[tuple[str, Callable[[], tuple[int, float, float]]]]:
    """A line at 9600 baud; gives its terminal, and a function that ends it and says what was seen on it."""
    line = Process([compiled("rtu_slave", folder), "9600", str(turnaround_ms)], folder / "line.log")

    def end() -> tuple[int, float, float]:
        requests, took, needed = line.stop().split()
        return int(requests), float(took), float(needed)

    try:
        yield line.line(), end
    finally:
        if line.popen.poll() is None:
            line.stop()


# -- the two programs ------------------------------------------------------------------------------------------------


def write_tcp_site(folder: Path, broker_port: int, first: int, devices: int, period: float) -> Path:
    buses = [f"  b{index}: {{type: modbus_tcp, host: 127.0.0.1, port: {first + index}}}" for index in range(devices)]
    polled = [
        f"  d{index}: {{bus: b{index}, unit_id: 1, profile: bench{REGISTERS}, poll: {period * 1000:g}ms}}"
        for index in range(devices)
    ]
    return _write_site(folder, broker_port, REGISTERS, buses, polled)


def write_rtu_site(folder: Path, broker_port: int, terminal: str, units: int, registers: int) -> Path:
    """Polled as fast as the line goes: the period asked for is shorter than a cycle."""
    buses = [f"  line: {{type: modbus_rtu, port: {terminal}, baudrate: 9600, parity: N, stopbits: 1, timeout: 500ms}}"]
    polled = [
        f"  d{unit}: {{bus: line, unit_id: {unit}, profile: bench{registers}, poll: 100ms}}"
        for unit in range(1, units + 1)
    ]
    return _write_site(folder, broker_port, registers, buses, polled)


def _write_site(folder: Path, broker_port: int, registers: int, buses: list[str], devices: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "profiles").mkdir(exist_ok=True)
    points = "".join(f"  r{address}: {{register: holding, address: {address}}}\n" for address in range(registers))
    (folder / "profiles" / f"bench{registers}.yaml").write_text(f"name: bench{registers}\npoints:\n{points}")
    site = folder / "site.yaml"
    site.write_text(
        "version: 1\n"
        "site: {id: bench, name: Bench, latitude: 47.3, longitude: 5.0, timezone: Europe/Paris}\n"
        "clock: {trust: always}\n"
        f'uplink: {{url: "mqtt://127.0.0.1:{broker_port}", prefix: bocage/v1}}\n'
        "buses:\n" + "\n".join(buses) + "\ndevices:\n" + "\n".join(devices) + "\n"
    )
    return site


@contextlib.contextmanager
def agent(site: Path, runtime: Path | None = None) -> Iterator[Process]:
    """`bocage run`, with its state on the disk of the site file and its stage file in memory."""
    runtime = runtime or Path(f"/dev/shm/bocage-bench-{os.getpid()}-{time.monotonic_ns()}")
    command = [sys.executable, "-m", "agent", "run", str(site), "--state-dir", str(site.parent / "state"),
               "--runtime-dir", str(runtime), "--log-level", "warning"]  # fmt: skip
    process = Process(command, site.parent / "agent.log", {"PYTHONPATH": str(CLONE)})
    try:
        yield process
    finally:
        process.stop()
        shutil.rmtree(runtime, ignore_errors=True)


@contextlib.contextmanager
def plain(folder: Path, *arguments: object) -> Iterator[Process]:
    process = Process([sys.executable, str(HERE / "plain.py"), *map(str, arguments)], folder / "plain.log")
    try:
        yield process
    finally:
        process.stop()
