"""Slaves and lines for the tests of the Modbus driver."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.clock import SystemClock
from drivers.api import BusSpec, DeviceSpec
from drivers.modbus.line import ModbusLine
from drivers.modbus.open import open_rtu, open_rtu_over_tcp, open_tcp
from tests.fakes import modbus_slave
from tests.fakes.listening import Listening


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


@pytest.fixture(name="point")
def _point() -> Any:
    return point


@pytest.fixture(name="device")
def _device() -> Any:
    return device


@pytest.fixture
async def lines() -> Any:
    """Makes lines, listens to them, and ends both."""
    made: list[ModbusLine] = []
    listening: list[Listening] = []

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

        def collect(self, line: ModbusLine) -> Listening:
            listening.append(Listening(line))
            return listening[-1]

    yield Lines()
    for one in listening:
        await one.stop()
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
