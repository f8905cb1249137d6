"""LoRaWAN by our own network server: what an uplink costs, bursts, and how soon a downlink is on its way."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import socket
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.demo.lorawan import AbpNode
from agent.runtime.socket import connect
from tests.bench import rig

__all__ = ["Figures", "measure", "rows"]

NODES = 200
GATEWAY = "0102030405060708"
KEY = bytes(range(1, 17))
CHANNELS = (868.1, 868.3, 868.5, 867.1, 867.3, 867.5, 867.7, 867.9)
PAYLOAD = bytes.fromhex("01100473")
STRUCT = "struct: [{field: temperature, type: i16be, scale: 0.01}, {field: humidity, type: u16be, scale: 0.1}]"
SCRIPT = """\
function decodeUplink(input) {
  var b = input.bytes;
  return { data: { temperature: ((b[0] << 8) | b[1]) / 100, humidity: ((b[2] << 8) | b[3]) / 10 } };
}
"""


@dataclass(frozen=True, slots=True)
class Figures:
    struct_ms: float
    """CPU milliseconds of an uplink, from UDP to the outbox, the codec's process included."""
    script_ms: float
    spread: int
    """Frames lost of 200 nodes that speak once each, at any moment within 40 s."""
    lost: int
    """Frames lost of bursts of 200 at once."""
    downlinks: int
    late: int
    """Of 1,000 confirmed uplinks: how many were answered, and how many of those later than 700 ms."""
    worst_ms: float
    p50_ms: float


class _Air:
    """A packet forwarder: what nodes say goes to the agent, what it orders is timed."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.connect(("127.0.0.1", port))
        self._socket.setblocking(False)
        self._pulled = float("-inf")
        self.nodes = [AbpNode(f"01ab{number:04x}", KEY, KEY) for number in range(NODES)]
        self.answered: list[float] = []
        """Milliseconds from each uplink to its PULL_RESP."""
        self.reached = False

    def say(self, node: AbpNode, channel: int, confirmed: bool = False) -> None:
        frame = node.uplink(2, PAYLOAD, confirmed=confirmed)
        packet = {
            "tmst": _microseconds(), "freq": CHANNELS[channel % len(CHANNELS)], "stat": 1, "modu": "LORA",
            "datr": "SF7BW125", "codr": "4/5", "rssi": -80, "lsnr": 7.0, "size": len(frame),
            "data": base64.b64encode(frame).decode(),
        }  # fmt: skip
        self._send(0, json.dumps({"rxpk": [packet]}).encode())

    def rest(self, seconds: float) -> None:
        """Take what comes, and say that we are there."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            if now - self._pulled > 2:
                self._pulled = now
                self._send(2)
            self._take()
            time.sleep(min(0.001, end - now))

    def close(self) -> None:
        self._socket.close()

    def _take(self) -> None:
        while True:
            try:
                data = self._socket.recv(4096)
            except OSError:
                return
            if data[3] == 4:
                self.reached = True
            elif data[3] == 3:
                order = json.loads(data[4:])["txpk"]
                self.answered.append((_microseconds() - order["tmst"] + 1_000_000) % (1 << 32) / 1000)
                self._send(5, token=data[1:3])

    def _send(self, kind: int, body: bytes = b"", token: bytes = b"ab") -> None:
        try:
            self._socket.send(bytes([2, *token, kind]) + bytes.fromhex(GATEWAY) + body)
        except ConnectionRefusedError:  # the agent is not there yet
            return


def measure(folder: Path) -> Figures:
    script = "codec: codecs/bench.js"
    with _agent(folder / "struct", STRUCT) as (air, process, runtime):
        struct_ms, spread = _cost(air, process), _spread(air, runtime)
        lost = _bursts(air, runtime) - spread
    with _agent(folder / "script", script) as (air, process, _):
        script_ms = _cost(air, process)
    with _agent(folder / "down", script, modbus=True) as (air, _, _):
        _confirmed(air)
        answered = air.answered
    late, worst = sum(ms > 700 for ms in answered), max(answered, default=0.0)
    return Figures(struct_ms, script_ms, spread, lost, len(answered), late, worst, statistics.median(answered or [0.0]))


@contextlib.contextmanager
def _agent(folder: Path, how: str, modbus: bool = False) -> Iterator[tuple[_Air, rig.Process, Path]]:
    """An agent with all nodes, and its runtime folder. With `modbus` 1,000 values/s go from a line of slaves to a
    broker beside them; without there is no uplink, and what comes ends in the outbox.
    """
    folder.mkdir(parents=True)
    with rig.broker(folder) as broker, rig.tcp_slaves(folder, 20) as first:
        port = rig.free_ports(1)
        site = rig.write_tcp_site(folder / "site", broker.port, first, 20, 1.0 if modbus else 600.0)
        _add_nodes(site, port, how, uplink=modbus)
        runtime = Path(f"/dev/shm/bocage-bench-lora-{folder.name}-{time.monotonic_ns()}")
        with rig.agent(site, runtime) as process:
            air = _Air(port)
            try:
                rig.until(lambda: air.rest(0.1) or air.reached, 30, "the agent's UDP port", process)
                yield air, process, runtime
            finally:
                air.close()


def _cost(air: _Air, process: rig.Process, rounds: int = 10) -> float:
    for number, node in enumerate(air.nodes):  # the codec is started, every node known
        air.say(node, number)
        air.rest(0.01)
    air.rest(3)
    before, began = _cpu(process.popen.pid), time.monotonic()
    air.rest(5)
    idle = (_cpu(process.popen.pid) - before) / (time.monotonic() - began)
    before, began = _cpu(process.popen.pid), time.monotonic()
    for _ in range(rounds):
        for number, node in enumerate(air.nodes):
            air.say(node, number)
            air.rest(0.005)
    air.rest(2)
    used = _cpu(process.popen.pid) - before - idle * (time.monotonic() - began)
    return used * 1000 / (rounds * NODES)


def _spread(air: _Air, runtime: Path, seconds: float = 40) -> int:
    """Every node once, each at a moment of its own. Frames that are missing until now."""
    chance = random.Random(1)
    moments = sorted(chance.uniform(0, seconds) for _ in air.nodes)
    began = time.monotonic()
    for number, (node, moment) in enumerate(zip(air.nodes, moments, strict=True)):
        air.rest(began + moment - time.monotonic())
        air.say(node, number)
    air.rest(2)
    return _missing(air, runtime)


def _bursts(air: _Air, runtime: Path, bursts: int = 5) -> int:
    """All nodes at once, five times. Frames that are missing until now."""
    for _ in range(bursts):
        for number, node in enumerate(air.nodes):
            air.say(node, number)
        air.rest(2)
    return _missing(air, runtime)


def _missing(air: _Air, runtime: Path) -> int:
    rows = asyncio.run(_devices(runtime))
    up = {row["dev_addr"]: row["fcnt_up"] for row in rows}
    unheard = sum(node.up - 1 - (up[f"{node.address:08x}"] or 0) for node in air.nodes)
    return unheard + sum(row["lost"] for row in rows)


def _confirmed(air: _Air, count: int = 1000) -> None:
    for number in range(count):
        air.say(air.nodes[number % NODES], number, confirmed=True)
        air.rest(0.04)
    air.rest(3)


async def _devices(runtime: Path) -> list[dict[str, Any]]:
    async with connect(runtime) as agent:
        rows: list[dict[str, Any]] = (await agent.request({"do": "inspect", "topic": "devices"}))["rows"]
    return rows


def _add_nodes(site: Path, port: int, how: str, uplink: bool) -> None:
    """The nodes beside the Modbus devices that the site has already."""
    profiles = site.parent / "profiles"
    (profiles / "codecs").mkdir()
    (profiles / "codecs" / "bench.js").write_text(SCRIPT)
    (profiles / "node.yaml").write_text(
        f"name: node\nlora:\n  fport: 2\n  interval: 40s\n  {how}\n"
        "points:\n  temperature: {unit: degC}\n  humidity: {unit: '%'}\n"
    )
    (site.parent / "node.key").write_text(KEY.hex())
    air = f'  air: {{type: lora_gwmp, listen: "127.0.0.1:{port}", gateways: ["{GATEWAY}"]}}\n'
    keys = "nwk_s_key: {file: node.key}, app_s_key: {file: node.key}"
    nodes = "".join(
        f'  n{number}: {{bus: air, dev_addr: "01ab{number:04x}", {keys}, profile: node}}\n' for number in range(NODES)
    )
    text = site.read_text().replace("\ndevices:\n", f"\n{air}devices:\n{nodes}")
    site.write_text("".join(line for line in text.splitlines(True) if uplink or not line.startswith("uplink:")))


def _cpu(pid: int) -> float:
    """Seconds of CPU of a process and its children."""
    total = 0.0
    pending = [pid]
    while pending:
        folder = Path(f"/proc/{pending.pop()}")
        stat = (folder / "stat").read_text().rpartition(")")[2].split()
        total += (int(stat[11]) + int(stat[12])) / rig.TICK
        for task in (folder / "task").iterdir():
            pending += map(int, (task / "children").read_text().split())
    return total


def _microseconds() -> int:
    return time.monotonic_ns() // 1000 % (1 << 32)


def rows(folder: Path) -> Iterator[tuple[str, str, float, float | None]]:
    """Item, unit, ours, goal."""
    found = measure(folder)
    yield "LoRaWAN: uplink from UDP to outbox, JavaScript codec, CPU", "ms", found.script_ms, 3
    yield "LoRaWAN: the same with a struct", "ms", found.struct_ms, 0.5
    yield "LoRaWAN: frames lost, 200 nodes within 40 s", "", found.spread, 0
    yield "LoRaWAN: frames lost, 200 nodes at once, 5 times", "", found.lost, 0
    yield "LoRaWAN: of 1,000 downlinks with Modbus beside, not answered", "", 1000 - found.downlinks, 0
    yield "LoRaWAN: of those, PULL_RESP later than 700 ms", "", found.late, 0
    yield "LoRaWAN: uplink to PULL_RESP, the middle one", "ms", found.p50_ms, None
    yield "LoRaWAN: uplink to PULL_RESP, the slowest", "ms", found.worst_ms, 700
