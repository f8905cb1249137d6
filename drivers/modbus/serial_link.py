"""Modbus RTU on a serial port."""

from __future__ import annotations

import asyncio

from drivers.modbus.rtu import CHARACTER_BITS, RtuLink
from drivers.serial_port import SerialPort

__all__ = ["SerialLink"]


class SerialLink(RtuLink):
    """A serial line of the machine itself. It belongs to one program at a time."""

    def __init__(self, port: str, baudrate: int, parity: str, stopbits: float, bytesize: int, timeout: float) -> None:
        character = CHARACTER_BITS / baudrate
        super().__init__(timeout, character, 0.00175 if baudrate > 19200 else 3.5 * character)
        self._port = SerialPort(
            port, self._received, self._hang_up, baudrate=baudrate, parity=parity, stopbits=stopbits, bytesize=bytesize
        )

    @property
    def is_open(self) -> bool:
        return self._port.is_open

    async def open(self) -> None:
        """WireError if the port is not there, refuses its settings, or belongs to another program."""
        self._port.open()
        self._echo.forget()
        self._last = asyncio.get_running_loop().time()

    def close(self) -> None:
        self._port.close()

    def _send(self, frame: bytes) -> None:
        self._port.send(frame)
