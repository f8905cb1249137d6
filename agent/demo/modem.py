"""A LoRa modem on a pseudo-terminal, and one node that it hears: a level probe in the school's cistern.

It speaks RAK's RUI3 commands, as far as a gateway needs them: work mode, radio settings, continuous reception, sending.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.demo.terminal import terminal

__all__ = ["EVERY", "DemoModem"]

EVERY = 10.0
"""Seconds between two packets of the probe; a real one would be content with 15 min."""
FIRST = 4.0
NODE = 0x01
RSSI, SNR = -87, 6


class DemoModem:
    """`link` is a symlink to the end that the gateway opens; `probe` gives what the node's packets say now."""

    def __init__(self, link: Path, probe: Callable[[], bytes]) -> None:
        self._link, self._probe = link, probe
        self._settings, self._receiving = "868000000:12:125:0:8:14", False
        self._heard = bytearray()
        self._master = -1

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Answer and hear while the block runs."""
        try:
            with terminal(self._link, self._read) as self._master:
                node = asyncio.get_running_loop().create_task(self._node())
                try:
                    yield
                finally:
                    node.cancel()
        finally:
            self._master = -1

    async def _node(self) -> None:
        """The probe in the cistern. Frames that are sent while the receiver is off are lost, as on the air."""
        pause = FIRST
        while True:
            await asyncio.sleep(pause)
            pause = EVERY
            if self._receiving:
                packet = bytes([NODE]) + self._probe()
                self._say(f"+EVT:RXP2P:{RSSI}:{SNR}:{packet.hex().upper()}")

    def _read(self) -> None:
        self._heard += os.read(self._master, 4096)
        *lines, rest = bytes(self._heard).split(b"\r\n")
        self._heard[:] = rest[-1024:]
        for line in lines:
            self._obey(line.decode("ascii", "replace"))

    def _obey(self, command: str) -> None:
        name, _, argument = command.partition("=")
        match name, argument:
            case "AT", "":
                pass
            case "AT+NWM", "?":
                self._say("AT+NWM=0")
            case "AT+P2P", "?":
                self._say(f"AT+P2P={self._settings}")
            case "AT+P2P", _:
                self._settings = argument
            case "AT+PRECV", _:
                self._receiving = argument != "0"
            case "AT+PSEND", _:
                asyncio.get_running_loop().call_later(0.05, self._say, "+EVT:TXP2P DONE")
            case _:
                self._say("AT_ERROR")
                return
        self._say("OK")

    def _say(self, line: str) -> None:
        if self._master >= 0:
            with contextlib.suppress(BlockingIOError):  # no reader: bytes are lost, as on a wire
                os.write(self._master, f"\r\n{line}\r\n".encode())
