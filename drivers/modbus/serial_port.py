"""Modbus RTU on a serial port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios

import serial

from agent.errors import WireError
from drivers.modbus.rtu import CHARACTER_BITS, RtuLink

__all__ = ["SerialLink"]


class SerialLink(RtuLink):
    """A serial line of the machine itself. It belongs to one program at a time."""

    def __init__(self, port: str, baudrate: int, parity: str, stopbits: float, bytesize: int, timeout: float) -> None:
        character = CHARACTER_BITS / baudrate
        super().__init__(timeout, character, 0.00175 if baudrate > 19200 else 3.5 * character)
        self._port = port
        self._settings = {"baudrate": baudrate, "parity": parity, "stopbits": stopbits, "bytesize": bytesize}
        self._form = f"{baudrate} baud {bytesize}{parity}{stopbits:g}"
        self._serial: serial.Serial | None = None
        self._fd = -1

    @property
    def is_open(self) -> bool:
        return self._serial is not None

    async def open(self) -> None:
        """WireError if the port is not there, refuses its settings, or belongs to another program."""
        self.close()
        try:
            self._serial = serial.Serial(self._port, exclusive=True, timeout=0, **self._settings)
        except (OSError, ValueError, termios.error) as error:
            raise WireError(self._why(error)) from error
        with contextlib.suppress(OSError, ValueError, NotImplementedError):
            self._serial.set_low_latency_mode(True)  # an FTDI adapter else keeps an answer for 16 ms
        loop = asyncio.get_running_loop()
        self._fd = self._serial.fileno()
        self._last = loop.time()
        loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        port, self._serial = self._serial, None
        if port is None:
            return
        asyncio.get_running_loop().remove_reader(self._fd)
        with contextlib.suppress(OSError, termios.error):
            port.reset_output_buffer()  # else closing waits for an adapter that takes no bytes
        with contextlib.suppress(OSError):
            port.close()

    def _send(self, frame: bytes) -> None:
        if self._serial is None:
            raise WireError(f"{self._port} was lost")
        try:
            sent = os.write(self._fd, frame)
        except OSError as error:
            self.close()
            raise WireError(self._why(error)) from error
        if sent < len(frame):
            self.close()
            raise WireError(f"{self._port} takes no bytes")

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError as error:
            self._hang_up(self._why(error))
            return
        if not data:
            self._hang_up(f"{self._port} hung up")
            return
        self._received(data)

    def _why(self, error: Exception) -> str:
        number = error.errno if isinstance(error, OSError) else error.args[0] if error.args else None
        text = os.strerror(number) if isinstance(number, int) else str(error)
        if isinstance(error, termios.error):
            return f"{self._port} refuses {self._form}: {text}"
        if isinstance(error, BlockingIOError) or number in (11, 16):
            return f"{self._port} is used by another program"
        return f"{self._port}: {text}"
