"""Slaves and lines for the tests of the Modbus driver."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.clock import SystemClock
from agent.model import Reading, Readings
from drivers.api import BusSpec, DeviceSpec
from drivers.modbus.line import ModbusLine
from drivers.modbus.open import open_rtu, open_rtu_over_tcp, open_tcp
from tests.fakes import modbus_slave


def point(register: str, address: int, **more: Any) -> dict[str, Any]:
    """One point of a profile, defaults filled in."""
    kind = "bool" if register in ("coil", "discrete") else "u16"
    defaults = {
        "type": kind, "order": "abcd", "scale": 1, "offset": 0, "unit": "", "unavailable": None, "poll": None,
        "writable": False, "low": None, "high": None, "length": None, "bit": None, "kind": None,
    }  # fmt: skip
    return {"register": register, "address": address, **defaults, **more}


def device(
    name: str, unit: int, points: dict[str, dict[str, Any]], poll: float = 0.1, modbus: Any = None, **more: Any
) -> DeviceSpec:
    limits = {"max_gap": 8, "max_read": 125, "guard": 0.0} | (modbus or {})
    return DeviceSpec(name, {"unit_id": unit}, {"name": name, "modbus": limits, "points": points}, poll, **more)


class Collector:
    """Iterates a line in a task, keeps what came, and waits for what a test wants."""

    def __init__(self, line: ModbusLine) -> None:
        self.line = line
        self.batches: list[Readings] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for batch in self.line.readings():
            self.batches.append(batch)

    @property
    def all(self) -> list[Reading]:
        return [reading for batch in self.batches for reading in batch]

    def of(self, name: str) -> list[Reading]:
        return [reading for reading in self.all if reading.point == name]

    async def until(self, condition: Callable[[], Any], seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                assert not self._task.done(), self._task
                await asyncio.sleep(0.002)  # conditions are of the slave and the line as well, not of readings alone

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


@pytest.fixture(name="point")
def _point() -> Any:
    return point


@pytest.fixture(name="device")
def _device() -> Any:
    return device


@pytest.fixture
async def lines() -> Any:
    """Makes lines and collectors, and ends them."""
    made: list[ModbusLine] = []
    collectors: list[Collector] = []

    class Lines:
        def tcp(self, slave: Any, *devices: DeviceSpec, timeout: float = 0.3, host: str = "127.0.0.1") -> ModbusLine:
            options = {"host": host, "port": slave if isinstance(slave, int) else slave.port, "timeout": timeout}
            made.append(open_tcp(BusSpec("plant", "modbus_tcp", options, devices), SystemClock("always"), None))
            return made[-1]

        def rtu_over_tcp(self, slave: Any, *devices: DeviceSpec, timeout: float = 0.2) -> ModbusLine:
            port = slave if isinstance(slave, int) else slave.port
            options = {"host": "127.0.0.1", "port": port, "timeout": timeout}
            spec = BusSpec("server", "modbus_rtu_over_tcp", options, devices)
            made.append(open_rtu_over_tcp(spec, SystemClock("always"), None))
            return made[-1]

        def rtu(self, port: Any, *devices: DeviceSpec, **options: Any) -> ModbusLine:
            options = {"port": str(port), "baudrate": 115200, "parity": "N", "stopbits": 1, "timeout": 0.2} | options
            made.append(open_rtu(BusSpec("rs485", "modbus_rtu", options, devices), SystemClock("always"), None))
            return made[-1]

        def collect(self, line: ModbusLine) -> Collector:
            collectors.append(Collector(line))
            return collectors[-1]

    yield Lines()
    for collector in collectors:
        await collector.stop()
    for line in made:
        await line.close()


@pytest.fixture
def slaves(tmp_path: Path) -> Iterator[Any]:
    """Makes raw-frame slaves, and ends them."""
    made: list[Any] = []

    ptys: list[tuple[int, int]] = []

    class Slaves:
        Unit = modbus_slave.Unit
        frame = staticmethod(modbus_slave.rtu)
        CLOSE, RESET, DEAF, LISTEN = modbus_slave.CLOSE, modbus_slave.RESET, modbus_slave.DEAF, modbus_slave.LISTEN

        def take_pty(self) -> None:
            """Hold a pseudo-terminal, so that the next one gets another number."""
            ptys.append(os.openpty())

        def tcp(self, units: dict[int, Any], **more: Any) -> Any:
            made.append(modbus_slave.TcpSlave(units, **more))
            return made[-1]

        def rtu_over_tcp(self, units: dict[int, Any], **more: Any) -> Any:
            made.append(modbus_slave.RtuTcpSlave(units, **more))
            return made[-1]

        def rtu(self, units: dict[int, Any], **more: Any) -> Any:
            made.append(modbus_slave.RtuSlave(tmp_path / "line", units, **more))
            return made[-1]

    yield Slaves()
    for pair in ptys:
        for fd in pair:
            os.close(fd)
    for slave in made:
        slave.end()
        assert slave.failure is None, slave.failure
