"""A look at radio buses while no agent runs: what is a fault and what is only silence."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys

import pytest

from agent.clock import SystemClock
from agent.demo.lorawan import Concentrator
from agent.demo.modem import DemoModem
from agent.errors import WireError
from drivers.api import BusSpec
from drivers.lora.probe import probe
from tests.fakes.ports import free_port

EUI = "b0ca9e0000000001"
CHIRPSTACK = {"event_topic": "application/{application}/device/{dev_eui}/event/{event}", "application": "a",
              "command_topic": "application/{application}/device/{dev_eui}/command/down"}  # fmt: skip


def look(kind, seconds=0.2, **options):
    return probe(BusSpec("b", kind, options, ()), SystemClock("always"), seconds)


@pytest.fixture
def udp():
    return free_port(socket.SOCK_DGRAM)


async def test_a_port_on_which_nobody_speaks_is_no_fault(udp):
    assert "no gateway heard in 0 s" in await look("lora_gwmp", listen=f"127.0.0.1:{udp}")


async def test_a_port_that_is_taken_is_a_fault(udp):
    with contextlib.closing(socket.socket(type=socket.SOCK_DGRAM)) as other:
        other.bind(("127.0.0.1", udp))
        with pytest.raises(WireError, match=f"127.0.0.1:{udp}: Address already in use"):
            await look("lora_gwmp", listen=f"127.0.0.1:{udp}")


@pytest.mark.parametrize(("allowed", "said"), [([EUI.upper()], f"gateway {EUI} is there"), ([], "is there"),
                                               (["00" * 8], "not in `gateways`")])  # fmt: skip
async def test_a_gateway_is_seen_and_not_answered(udp, allowed, said):
    air = await Concentrator("127.0.0.1", udp, EUI).open()
    try:
        assert said in await look("lora_gwmp", 5 if said.endswith("there") else 1, listen=f"127.0.0.1:{udp}",
                                  gateways=allowed)  # fmt: skip
        assert not air.reached.is_set()
    finally:
        await air.close()


async def test_a_broker_that_refuses_is_a_fault(unused_tcp_port):
    with pytest.raises(WireError, match="Connection refused"):
        await look("lora_chirpstack", url=f"mqtt://127.0.0.1:{unused_tcp_port}", **CHIRPSTACK)


async def test_a_modem_answers(tmp_path):
    link = tmp_path / "radio"
    with DemoModem(link, lambda: b"").serving():
        assert "a modem answers" in await look("lora_rak_p2p", port=str(link))


async def test_what_a_modem_prints_is_compared_with_the_pattern(tmp_path):
    master, near = os.openpty()
    name = os.ttyname(near)
    looking = asyncio.create_task(look("lora_line", 5, port=name, pattern="RX (?P<data>[0-9A-F]+)"))
    while not looking.done():
        os.write(master, b"hello\r\nRX 01\r\n")
        await asyncio.sleep(0.05)
    assert "a packet was heard" in await looking
    assert "nothing heard" in await look("lora_line", port=name, pattern="RX (?P<data>[0-9A-F]+)")
    with pytest.raises(WireError, match="No such file"):
        await look("lora_line", port=str(tmp_path / "none"), pattern="x")
    os.close(master)
    os.close(near)


@pytest.mark.parametrize(("words", "code"), [(["read"], 0), (["read", "tap.open"], 1),
                                             (["write", "--direct", "tap.open", "on"], 3),
                                             (["write", "--direct", "water", "on"], 3)])  # fmt: skip
def test_the_commands_say_that_an_agent_is_needed(tmp_path, udp, words, code):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "tap.yaml").write_text(
        "name: tap\n"
        "lora: {struct: [{field: open, type: bool}], downlink: [{field: open, values: {on: '01', off: '00'}}]}\n"
        "points: {open: {writable: true}}\n"
    )
    (tmp_path / "key").write_text("00" * 16)
    (tmp_path / "site.yaml").write_text(
        "version: 1\nsite: {id: x, name: X, latitude: 47, longitude: 5, timezone: Europe/Paris}\n"
        f"buses: {{air: {{type: lora_gwmp, listen: '127.0.0.1:{udp}'}}}}\n"
        "devices: {tap: {bus: air, dev_addr: '01020304', nwk_s_key: {file: key}, app_s_key: {file: key},"
        " profile: tap}}\n"
        "actuators: {water: {output: tap.open, safe_state: off, boot_state: off}}\n"
    )
    command, *rest = words
    env = {**os.environ, "BOCAGE_STATE_DIR": str(tmp_path / "state"), "BOCAGE_RUNTIME_DIR": str(tmp_path / "run")}
    done = subprocess.run([sys.executable, "-m", "agent", command, "site.yaml", *rest], cwd=tmp_path, env=env,
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == code, done
    assert "by a running agent only\nto start it: " in done.stderr and " run site.yaml" in done.stderr
