"""Make the driver of each kind of Modbus bus from its options.

    wire = open_tcp(spec, clock, memory)
    async for batch in wire.readings(): ...
"""

from __future__ import annotations

from agent.clock import Clock
from drivers.api import BusSpec, DurableStore
from drivers.modbus.line import ModbusLine

__all__ = ["open_rtu", "open_rtu_over_tcp", "open_tcp"]


def open_rtu(spec: BusSpec, clock: Clock, _memory: DurableStore) -> ModbusLine:
    """A serial line. Options: port, baudrate (9600), parity "N", "E" or "O" ("N"), stopbits (1), bytesize (8),
    timeout in seconds (0.5).
    """
    from drivers.modbus.serial_link import SerialLink

    options = spec.options
    link = SerialLink(
        options["port"],
        options.get("baudrate") or 9600,
        options.get("parity") or "N",
        options.get("stopbits") or 1,
        options.get("bytesize") or 8,
        options.get("timeout") or 0.5,
    )
    return ModbusLine(spec, clock, link)


def open_tcp(spec: BusSpec, clock: Clock, _memory: DurableStore) -> ModbusLine:
    """A Modbus TCP host. Options: host, port (502), timeout in seconds (1)."""
    from drivers.modbus.tcp import TcpLink

    options = spec.options
    return ModbusLine(spec, clock, TcpLink(options["host"], options.get("port") or 502, options.get("timeout") or 1.0))


def open_rtu_over_tcp(spec: BusSpec, clock: Clock, _memory: DurableStore) -> ModbusLine:
    """A serial server that passes RTU frames on as they are. Options: host, port, timeout in seconds (1)."""
    from drivers.modbus.rtu_tcp import RtuTcpLink

    options = spec.options
    return ModbusLine(spec, clock, RtuTcpLink(options["host"], options["port"], options.get("timeout") or 1.0))
