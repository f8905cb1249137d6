"""Another site that the demo's site has on a bus: an agent of its own, with what it is asked for and what it tells.

Each output is a relay of one module; each measurement a current of it, which flows while a relay is on. The region's
broker carries the wishes of one site to the other (drivers/bocage_site/README.md).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from agent.control.civil import REAL_TIME
from agent.demo.folder import DemoFolder
from agent.demo.process import Cabinet
from agent.demo.site_copy import dumped
from agent.demo.slave import serve_tcp
from agent.demo.uplink import HOST
from agent.demo.village import RelayModule

__all__ = ["PeerSite"]

RUNS = 12_000.0
"""uA of a measurement while something runs: the middle of its range."""
RANGE = [0, 40]


class PeerSite(DemoFolder):
    """The other site of `remote`, a device's points by their names. Its module is at `port`; `asker` is our site."""

    ports = 1

    def __init__(self, path: Path, port: int, site_id: str, broker: int, asker: str, remote: dict[str, Any]) -> None:
        super().__init__(path, port)
        self.site_id, self._broker, self._asker = site_id, broker, asker
        plain = {name: point for name, point in remote.items() if "." not in point.from_}
        self.outputs = {name: point.from_ for name, point in plain.items() if point.ask and point.sort == "state"}
        """The outputs that are asked for: their names here, by those in our site."""
        told = {point.from_: point.unit for point in plain.values() if not point.ask and point.sort == "telemetry"}
        self._told = {name: unit for name, unit in told.items() if name not in self.outputs.values()}
        self._module = RelayModule(dict.fromkeys(range(len(self._told)), self._current))

    def is_on(self, name: str) -> bool:
        """Whether an output runs, by its name in our site."""
        return self._module.relays[list(self.outputs).index(name)]

    def _current(self) -> float:
        return RUNS if any(self._module.relays) else 4000.0

    @property
    def runtime(self) -> Path:
        named = os.environ.get("BOCAGE_RUNTIME_DIR")
        return Path(named) / self.site_id if named else super().runtime

    def _put_files(self) -> None:
        self.site_file.write_text(self.site_text())

    def site_text(self, _wires: bool = True) -> str:
        told, asked = list(enumerate(self._told.items(), 1)), list(enumerate(self.outputs.values(), 1))
        return dumped({
            "version": 1,
            "site": {"id": self.site_id, "name": self.site_id},
            "uplink": {"url": f"mqtt://{HOST}:{self._broker}", "protocol": "3.1.1"},
            "buses": {"works": {"type": "modbus_tcp", "host": HOST, "port": self.port}},
            "devices": {"io-1": {"bus": "works", "unit_id": 1, "profile": "relay8_ai8", "poll": "500ms"}},
            "signals": {
                name: {"from": f"io-1.ai{n}", "signal": "4-20mA", "scale": RANGE, "unit": unit}
                for n, (name, unit) in told
            },
            "actuators": {
                name: {"output": f"io-1.relay{n}", "safe_state": "off", "boot_state": "off"} for n, name in asked
            },
            "peers": {self._asker: [name for _, name in asked]},
        })  # fmt: skip

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Its module and its agent."""
        self.prepare()
        self.forget()
        async with AsyncExitStack() as stack:
            server = await serve_tcp(HOST, self.port, {1: self._module})
            stack.callback(server.close)
            cabinet = Cabinet(self.site_file, self.state, self.runtime, self.log, REAL_TIME)
            await cabinet.start()
            stack.callback(cabinet.kill)
            stack.push_async_callback(cabinet.stop)
            yield
