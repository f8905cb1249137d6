"""A RAK3172 on a pseudo-terminal, of either firmware, with the habits that real ones have.

It is written from RAK's manuals and from what people publish of their modems' output, not from our driver.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import tty
from multiprocessing.connection import wait
from pathlib import Path

BANNER = (
    "\r\nRAKwireless RAK3172-E Example\r\n"
    "------------------------------------------------------\r\n"
    "Current Work Mode: {mode}.\r\n"
)


class RakModem:
    """A modem at `link`, a symlink that always points to the present pseudo-terminal.

    `dialect`: "rui3" receives while it sends and tells a packet in one line; "old" must be stopped before it sends,
    and tells it in two. `bandwidths`: which spelling of 125 kHz it takes ("125", "0"), and what it reads back is the
    first of them. `reboots`: a change of the work mode makes it start anew, with a banner. `echo`: it repeats
    commands. `chunk`: it writes so many bytes at a time. `busy`: so many commands are answered AT_BUSY_ERROR first.
    `strict`: busy too when told to receive while it does. `mute`: it hears commands and says nothing.
    """

    def __init__(
        self, link: Path, dialect: str = "rui3", bandwidths: tuple[str, ...] = ("125",), mode: int = 0,
        reboots: bool = True, echo: bool = False, chunk: int = 0, strict: bool = False,
    ) -> None:  # fmt: skip
        self.link, self.dialect, self.bandwidths, self.mode = link, dialect, bandwidths, mode
        self.reboots, self.echo, self.chunk, self.strict = reboots, echo, chunk, strict
        self.settings = "868000000:12:" + bandwidths[0] + ":0:8:5"
        self.receiving = 0
        self.busy, self.mute, self.after_send = 0, False, "+EVT:TXP2P DONE"
        self.refuse: dict[str, str] = {}
        """Command name (up to `=`) to the status it is answered with."""
        self.commands: list[str] = []
        self.sent: list[bytes] = []
        self.failure: BaseException | None = None
        self._master = self._keep = -1
        self._buffer = b""
        self._ended = False
        self._wake_r, self._wake_w = os.pipe()
        self._lock = threading.RLock()
        self.appear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    # -- what a test does to it --------------------------------------------------------------------------------

    def appear(self) -> None:
        """Plugged in, as another tty than before; it has forgotten that it received."""
        with self._lock:
            self._master, self._keep = os.openpty()
            tty.setraw(self._keep)
            self.receiving, self._buffer = 0, b""
            self.link.unlink(missing_ok=True)
            self.link.symlink_to(os.ttyname(self._keep))
        os.write(self._wake_w, b"x")

    def vanish(self) -> None:
        """Unplugged: the open port hangs up, the name is gone."""
        with self._lock:
            self.link.unlink(missing_ok=True)
            master, keep, self._master, self._keep = self._master, self._keep, -1, -1
            os.write(self._wake_w, b"x")
            os.close(keep)
            os.close(master)

    def reset(self, banner: bool = True) -> None:
        """It starts anew by itself: reception ends."""
        with self._lock:
            self.receiving, self._buffer = 0, b""
            if banner:
                self.say(BANNER.format(mode="LoRa P2P" if self.mode == 0 else "LoRaWAN"))

    def forget(self) -> None:
        """All settings are as from the factory, in LoRaWAN mode."""
        with self._lock:
            self.mode, self.settings, self.receiving = 1, "868000000:12:125:0:8:5", 0

    def hear(self, payload: bytes, rssi: int = -60, snr: int = 11) -> bool:
        """A packet on the air; whether the modem received it."""
        with self._lock:
            if not self.receiving or self.mode != 0:
                return False
            digits = payload.hex().upper()
            if self.dialect == "rui3":
                self.say(f"\r\n+EVT:RXP2P:{rssi}:{snr}:{digits}\r\n")
            else:
                self.say(f"\r\n+EVT:RXP2P, RSSI {rssi}, SNR {snr}\r\n+EVT:{digits}\r\n")
            return True

    def time_out(self) -> None:
        """Reception ends as after its 65.5 s."""
        with self._lock:
            self.receiving = 0
            self.say("\r\n+EVT:RXP2P RECEIVE TIMEOUT\r\n")

    def say(self, text: str | bytes) -> None:
        """These bytes, whatever they are."""
        data = text if isinstance(text, bytes) else text.encode()
        with self._lock:
            if self._master < 0:
                return
            if not self.chunk:
                os.write(self._master, data)
                return
            for start in range(0, len(data), self.chunk):
                os.write(self._master, data[start : start + self.chunk])
                time.sleep(0.0005)  # so that the reader sees pieces

    def end(self) -> None:
        self._ended = True
        os.write(self._wake_w, b"x")
        self._thread.join(5)
        if self._master >= 0:
            self.vanish()
        os.close(self._wake_r)
        os.close(self._wake_w)

    # -- what it does by itself --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._ended:
                files = [self._wake_r, *([self._master] if self._master >= 0 else [])]
                ready = wait(files, 0.5)
                if self._wake_r in ready:
                    os.read(self._wake_r, 64)
                with self._lock:
                    if self._master in ready:
                        self._readable()
        except (OSError, ValueError) as error:
            if not self._ended:
                self.failure = error

    def _readable(self) -> None:
        with contextlib.suppress(OSError):
            self._buffer += os.read(self._master, 1024)
        while b"\n" in self._buffer:
            line, self._buffer = self._buffer.split(b"\n", 1)
            self._command(line.decode("ascii", "replace").strip())

    def _command(self, command: str) -> None:
        self.commands.append(command)
        if self.mute or not command:
            return
        if self.echo:
            self.say(command + "\r\n")
        name, _, argument = command.partition("=")
        if self.busy:
            self.busy -= 1
            self._status("AT_BUSY_ERROR")
        elif name in self.refuse:
            self._status(self.refuse[name])
        elif name in ("AT+P2P", "AT+PRECV", "AT+PSEND") and self.mode != 0:
            self._status("AT_MODE_NO_SUPPORT")
        else:
            self._obey(name, argument)

    def _obey(self, name: str, argument: str) -> None:
        match name, argument:
            case ("AT", ""):
                self._status("OK")
            case ("AT+NWM", "?"):
                self._value(name, str(self.mode))
            case ("AT+NWM", "0"):
                changed, self.mode = self.mode != 0, 0
                self._status("OK")
                if changed and self.reboots:
                    self.reset()
            case ("AT+P2P", "?"):
                self._value(name, self.settings)
            case ("AT+P2P", _):
                self._set(argument)
            case ("AT+PRECV", _):
                self._receive(int(argument))
            case ("AT+PSEND", _):
                self._send(argument)
            case _:
                self._status("AT_ERROR")

    def _set(self, argument: str) -> None:
        parts = argument.split(":")
        if self.receiving:
            self._status("AT_BUSY_ERROR")
        elif len(parts) != 6 or parts[2] not in self.bandwidths or not 5 <= int(parts[5]) <= 22:
            self._status("AT_PARAM_ERROR")
        else:
            parts[2] = self.bandwidths[0]
            self.settings = ":".join(parts)
            self._status("OK")

    def _receive(self, window: int) -> None:
        if window and self.receiving and self.strict:
            self._status("AT_BUSY_ERROR")
        else:
            self.receiving = window
            self._status("OK")

    def _send(self, argument: str) -> None:
        if self.receiving and (self.dialect == "old" or self.receiving != 65533):
            self._status("AT_BUSY_ERROR")
            return
        try:
            payload = bytes.fromhex(argument)
        except ValueError:
            self._status("AT_PARAM_ERROR")
            return
        self._status("OK")
        self.sent.append(payload)
        if self.after_send:
            self.say(f"\r\n{self.after_send}\r\n")

    def _value(self, name: str, value: str) -> None:
        self.say(f"{name}={value}\r\n" if self.dialect == "rui3" else f"{value}\r\n")
        self._status("OK")

    def _status(self, text: str) -> None:
        self.say(f"\r\n{text}\r\n")
