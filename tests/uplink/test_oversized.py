"""A message that nobody could hold: skipped in pieces, acknowledged, refused with a reason, and the link stays."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from agent.lib.packet_limit import LONGEST, PacketLimit
from tests.fakes.broker import ScriptedBroker

CMD = "bocage/v1/village/cmd/"


class Peak:
    """The most memory that this process takes from now on (MB)."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): VmHWM begins anew
        self._before = self._read("VmRSS")

    def grown(self) -> float:
        return self._read("VmHWM") - self._before

    @staticmethod
    def _read(name: str) -> float:
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found is not None
        return int(found[1]) / 1024


@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize(
    ("protocol", "qos", "size"),
    [(5, 1, 200_000_000), ("3.1.1", 1, 200_000_000), (5, 0, 2_000_000), ("3.1.1", 0, 2_000_000), (5, 2, 2_000_000)],
)
async def test_a_command_of_200_mb_is_refused_and_the_next_one_is_carried_out(
    site: Any, until: Any, protocol: Any, qos: int, size: int, retain: bool
) -> None:
    async with ScriptedBroker() as broker, site.up(broker.port, protocol=protocol):
        await until(lambda: broker.subscribed)
        peak = Peak()
        mid = await broker.send_long(CMD + "big", size, qos=qos, retain=retain)
        next_mid = await broker.send(CMD + "c1", b'{"id":"c1","point":"km1","value":true}')
        await until(lambda: site.commands and next_mid in broker.connections[0].acknowledged, 30)
        assert [command.id for command in site.commands] == ["c1"]
        reason = "a command must not be retained" if retain else "longer than 64 kB"
        assert [(o.command, o.state, o.reason) for o in site.outbox.outcomes] == [("big", "rejected", reason)]
        assert (mid in broker.connections[0].acknowledged) is (qos > 0)
        assert len(broker.connections) == 1 and peak.grown() < 20


async def test_acknowledgements_and_pings_that_come_behind_it_are_waited_for(site: Any, until: Any) -> None:
    """A slow link: what is skipped takes longer than a keepalive, and is a sign of life all the same."""
    async with ScriptedBroker() as broker, site.up(broker.port, keepalive=1.0) as uplink:
        await until(lambda: uplink.status()["state"] == "connected" and broker.subscribed)
        site.outbox.fill(1)
        await until(lambda: site.outbox.delivered)
        sent = asyncio.create_task(broker.send_long(CMD + "big", 1_000_000, piece=100_000))
        (writer,) = broker._writers
        drain = writer.drain

        async def slowly() -> None:
            await asyncio.sleep(0.3)
            await drain()

        writer.drain = slowly  # type: ignore[method-assign]
        await sent
        await until(lambda: site.outbox.outcomes)
        assert len(broker.connections) == 1


async def test_properties_too_long_are_left_out(site: Any, until: Any) -> None:
    pair = b"\x26" + b"\xff\xff" + b"n" * 65_535 + b"\xff\xff" + b"v" * 65_535  # MQTT 5, 3.3.2.3.7
    async with ScriptedBroker() as broker, site.up(broker.port):
        await until(lambda: broker.subscribed)
        mid = await broker.send_long(CMD + "big", 10, properties=pair * 40)
        await until(lambda: mid in broker.connections[0].acknowledged and site.outbox.outcomes)
        assert site.outbox.outcomes[0].reason == "longer than 64 kB" and len(broker.connections) == 1


async def test_another_packet_as_long_ends_the_link(site: Any, until: Any) -> None:
    async with ScriptedBroker() as broker, site.up(broker.port):
        await until(lambda: broker.subscribed)
        for writer in broker._writers:
            writer.write(b"\x90\xff\xff\xff\x7f" + bytes(100))  # a SUBACK of 256 MB
        await until(lambda: len(broker.connections) == 2)


@pytest.mark.parametrize("piece", [1, 7, 100_000])
@pytest.mark.parametrize("v5", [True, False])
def test_whatever_the_pieces_in_which_it_comes(piece: int, v5: bool) -> None:
    seen: list[int] = []
    topic = b"\x00\x03a/b\x00\x07" + (b"\x00" if v5 else b"")
    length = len(topic) + LONGEST
    digits = bytes([length & 127 | 128, length >> 7 & 127 | 128, length >> 14])
    small = b"\x32\x0a\x00\x03a/b\x00\x08" + (b"\x00ok" if v5 else b"okk")
    stream = b"\xd0\x00" + b"\x32" + digits + topic + b"x" * LONGEST + small
    at = 0

    def recv(size: int) -> bytes:
        nonlocal at
        if at % 3 == 1 and piece == 1 and at not in refused:
            refused.add(at)
            raise BlockingIOError
        some = stream[at : at + min(size, piece)]
        at += len(some)
        return some

    refused: set[int] = set()
    packet_limit = PacketLimit(recv, 5, v5, seen.append)
    out = bytearray()
    while at < len(stream) or packet_limit._ready:
        try:
            out += packet_limit.recv(100)
        except BlockingIOError:
            continue
    cut = topic + b"x" * 5
    assert out == b"\xd0\x00" + b"\x32" + bytes([len(cut)]) + cut + small
    assert (seen, packet_limit.skipped) == ([0xD0, 0x32, 0x32], 1)


def test_what_is_no_mqtt_is_no_packet() -> None:
    stream = iter([b"\x32", b"\xff", b"\xff", b"\xff", b"\xff", b"\xff"])
    with pytest.raises(ConnectionError):
        PacketLimit(lambda size: next(stream), 5, True, print).recv(1)
