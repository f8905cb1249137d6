"""A serial port of the machine itself: opened for one program alone, read by the loop, and lost with a reason."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import termios
from collections.abc import Callable

import serial

from agent.errors import WireError
from drivers.flood import Flood

__all__ = ["SerialPort"]

log = logging.getLogger("bocage.serial")

_FLOOD = 65536
"""Bytes a second beside what the baud rate gives: adapters hand over what they have kept."""
_PAUSE = 1.0
"""Seconds for which a port that gave more is not read."""


class SerialPort:
    """Bytes in and out. `received` gets what comes, `lost` the reason when the port is gone; both in the event loop.

    `port` is looked up anew at each opening: an adapter that comes back under another ttyUSB keeps its by-id name.
    """

    def __init__(
        self,
        port: str,
        received: Callable[[bytes], None],
        lost: Callable[[str], None],
        *,
        baudrate: int,
        parity: str = "N",
        stopbits: float = 1,
        bytesize: int = 8,
    ) -> None:
        self.name = port
        self._received, self._lost = received, lost
        self._settings = {"baudrate": baudrate, "parity": parity, "stopbits": stopbits, "bytesize": bytesize}
        self._form = f"{baudrate} baud {bytesize}{parity}{stopbits:g}"
        self._serial: serial.Serial | None = None
        self._fd = -1
        self._flood = Flood(_FLOOD + baudrate // 8, least=4)
        self._flood_told = False

    @property
    def is_open(self) -> bool:
        return self._serial is not None

    def open(self) -> None:
        """WireError if the port is not there, refuses its settings, or belongs to another program."""
        self.close()
        try:
            self._serial = serial.Serial(self.name, exclusive=True, timeout=0, **self._settings)
        except (OSError, ValueError, termios.error) as error:
            raise WireError(self._why(error)) from error
        with contextlib.suppress(OSError, ValueError, NotImplementedError):
            self._serial.set_low_latency_mode(True)  # an FTDI adapter else keeps an answer for 16 ms
        self._fd, self._flood_told = self._serial.fileno(), False
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def close(self) -> None:
        port, self._serial = self._serial, None
        if port is None:
            return
        asyncio.get_running_loop().remove_reader(self._fd)
        with contextlib.suppress(OSError, termios.error):
            port.reset_output_buffer()  # else closing waits for an adapter that takes no bytes
        with contextlib.suppress(OSError):
            port.close()

    def send(self, data: bytes) -> None:
        """All of it, or WireError: then the port is closed."""
        if self._serial is None:
            raise WireError(f"{self.name} is closed")
        try:
            sent = os.write(self._fd, data)
        except OSError as error:
            self.close()
            raise WireError(self._why(error)) from error
        if sent < len(data):
            self.close()
            raise WireError(f"{self.name} takes no bytes")

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        except OSError as error:
            self._hang_up(self._why(error))
            return
        if not data:
            self._hang_up(f"{self.name} hung up")
        elif self._flood.rises(len(data), asyncio.get_running_loop().time()):
            self._pause()
        else:
            self._received(data)

    def _pause(self) -> None:
        """More came than a line of this speed can, from a USB device that is no adapter: it loads the loop."""
        if not self._flood_told:
            self._flood_told = True
            log.warning("port floods port=%s form=%s next=read for a part of each second", self.name, self._form)
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._fd)
        loop.call_later(_PAUSE, self._go_on, self._fd)

    def _go_on(self, fd: int) -> None:
        if self._serial is None or self._fd != fd:  # closed meanwhile, or opened anew
            return
        with contextlib.suppress(OSError, termios.error):
            self._serial.reset_input_buffer()  # what is a second old answers nothing
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def _hang_up(self, reason: str) -> None:
        self.close()
        self._lost(reason)

    def _why(self, error: Exception) -> str:
        number = error.errno if isinstance(error, OSError) else error.args[0] if error.args else None
        text = os.strerror(number) if isinstance(number, int) else str(error)
        if isinstance(error, termios.error):
            return f"{self.name} refuses {self._form}: {text}"
        if isinstance(error, BlockingIOError) or number in (11, 16):
            return f"{self.name} is used by another program"
        return f"{self.name}: {text}"
