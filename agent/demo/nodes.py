"""Three LoRaWAN nodes of the village behind a concentrator of its own: two that join, and one whose keys are fixed."""

from __future__ import annotations

import asyncio
import random
import secrets
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agent.demo.lorawan import AbpNode, Concentrator, OtaaNode
from agent.demo.village import Village

__all__ = ["EVERY", "GATEWAY", "KEYS", "Nodes", "cards", "make_keys"]

GATEWAY = "b0ca9e0000000001"
JOIN_EUI = "b0ca9e0000000010"
HALL, VALVE = "b0ca9e0000000011", "b0ca9e0000000012"
POND = "01b0ca9e"
KEYS = ("hall.app", "garden.app", "pond.nwk_s", "pond.app_s")
"""Files of keys/ beside the site file."""
EVERY = 10.0
"""Seconds between two uplinks of a node; real ones send about every 10 min."""
FIRST = 2.0
WINDOWS = 1.5
"""Seconds from the start of RX1 until RX2, which opens 1 s later (LoRaWAN 1.0.3, 3.3), has closed."""
LINK_CHECK = b"\x02"  # LinkCheckReq (LoRaWAN 1.0.3, 5.1)


def make_keys(folder: Path) -> None:
    """Make random keys. The site file names their files and never holds a key.

    The keys of the node that cannot join are new each time, since it counts from 0 again; the others stay.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    for name in KEYS:
        file = folder / f"{name}.key"
        if not file.exists() or name.startswith("pond"):
            file.touch(0o600)
            file.write_text(secrets.token_hex(16) + "\n")


def cards(keys: str) -> list[str]:
    """The text on the cards that came with the nodes, a line each; `keys` is the folder with their keys."""
    return [
        f"thermometer  DevEUI {HALL}  JoinEUI {JOIN_EUI}  AppKey in {keys}/hall.app.key     Milesight EM300-TH",
        f"valve        DevEUI {VALVE}  JoinEUI {JOIN_EUI}  AppKey in {keys}/garden.app.key   port 10: open, battery",
        f"level probe  DevAddr {POND}, keys in {keys}/pond.nwk_s.key and {keys}/pond.app_s.key",
    ]


class Nodes:
    """A thermometer in the town hall, the valve of the garden, a probe in the pond. `port` is the server's (UDP)."""

    def __init__(self, host: str, port: int, keys: Path, village: Village) -> None:
        key = {name: bytes.fromhex((keys / f"{name}.key").read_text()) for name in KEYS}
        self._air = Concentrator(host, port, GATEWAY)
        self._village = village
        self.is_open = False
        """Whether the garden is watered."""
        self._hall = OtaaNode(HALL, JOIN_EUI, key["hall.app"])
        self._valve = OtaaNode(VALVE, JOIN_EUI, key["garden.app"])
        self._pond = AbpNode(POND, key["pond.nwk_s"], key["pond.app_s"])
        self._valve.on_downlink = self._turn

    @asynccontextmanager
    async def speaking(self) -> AsyncIterator[None]:
        """The nodes join and send while the block runs, each at its own times."""
        await self._air.open()
        self._air.nodes += [self._hall, self._valve, self._pond]
        lives = [asyncio.create_task(life) for life in (self._live_hall(), self._live_valve(), self._live_pond())]
        try:
            yield
        finally:
            for life in lives:
                life.cancel()
            await asyncio.wait(lives)
            await self._air.close()

    def _turn(self, _port: int, payload: bytes) -> None:
        if len(payload) == 1:
            self.is_open = payload == b"\x01"

    async def _say(self, node: OtaaNode, port: int, payload: bytes, rssi: int, snr: float) -> None:
        """Send one uplink. Every third asks for a confirmation; a node without one joins again before the next."""
        if node.up and node.up % 3 == 0 and not node.commands:
            await node.join(self._air)
        node.commands.clear()
        asks = LINK_CHECK if node.up % 3 == 2 else b""
        self._air.send(node.uplink(port, payload, commands=asks), rssi=rssi, snr=snr)

    async def _live_hall(self) -> None:
        """A Milesight EM300-TH: battery, temperature, humidity."""
        await self._hall.join(self._air)
        while True:
            temperature = round(10 * (19.4 + self._village.wave(700, 0.4)))
            payload = struct.pack("<BBBBBhBBB", 1, 0x75, 92, 3, 0x67, temperature, 4, 0x68, 2 * 47)
            await self._say(self._hall, 85, payload, rssi=-92, snr=7.5)
            await asyncio.sleep(max(_some(EVERY), self._hall.rx1_delay + WINDOWS))

    async def _live_valve(self) -> None:
        """Its position, and its battery; soon after it was told to move as well.

        As class A wants it, the next word waits until the windows of the last one have closed.
        """
        await self._valve.join(self._air)
        while True:
            stands = self.is_open
            await self._say(self._valve, 10, bytes([stands, 88]), rssi=-104, snr=1.8)
            await asyncio.sleep(self._valve.rx1_delay + WINDOWS)
            until = asyncio.get_running_loop().time() + _some(EVERY) - self._valve.rx1_delay - WINDOWS
            while stands == self.is_open and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110
                await asyncio.sleep(0.25)

    async def _live_pond(self) -> None:
        await asyncio.sleep(FIRST)
        while True:
            payload = struct.pack(">BHB", 1, round(1000 * (1.82 + self._village.wave(1100, 0.05))), 71)
            self._air.send(self._pond.uplink(2, payload), rssi=-111, snr=-3.2)
            await asyncio.sleep(_some(EVERY))


def _some(seconds: float) -> float:
    """About as long: nodes keep no step with one another."""
    return seconds * random.uniform(0.9, 1.1)
