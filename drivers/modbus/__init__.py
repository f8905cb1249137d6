"""Modbus RTU, Modbus TCP, and RTU over TCP (README.md)."""

from __future__ import annotations

from functools import partial

from drivers.api import Driver, Scan

__all__ = ["DRIVERS"]

_modbus = partial(
    Driver,
    page="README.md",
    can_try=True,
    diagnose="drivers.modbus.diagnosis:diagnose",
    diagnostics="modbus",
    profile="drivers.modbus.config.profile:KIND",
    loggers=("pymodbus",),
    address={"unit_id": "unit"},
)
_on_a_line = partial(
    Scan,
    ids=range(1, 248),
    allowed=range(1, 248),
    refusal="is a line, where unit ids are 1 to 247; {id} is for modbus_tcp",
)

DRIVERS = (
    _modbus(
        type="modbus_rtu",
        open="drivers.modbus.open:open_rtu",
        config="drivers.modbus.config:ModbusRtu",
        scan=_on_a_line(hint="have the devices power, are A and B, baudrate and parity right?"),
        line={"baudrate": 9600, "parity": "N", "stopbits": 1, "bytesize": 8},
    ),
    _modbus(
        type="modbus_tcp",
        open="drivers.modbus.open:open_tcp",
        config="drivers.modbus.config:ModbusTcp",
        # a host without a line behind it answers to 255 or 0: Messaging Guide V1.0b, 4.4.2.2
        scan=Scan(ids=(255, 0, *range(1, 248)), allowed=range(256)),
        tcp_port=502,
    ),
    _modbus(
        type="modbus_rtu_over_tcp",
        open="drivers.modbus.open:open_rtu_over_tcp",
        config="drivers.modbus.config:ModbusRtuOverTcp",
        scan=_on_a_line(),
    ),
)
