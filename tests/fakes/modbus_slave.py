"""A Modbus slave of raw frames that can be told to misbehave, on a pseudo-terminal (RTU) or a socket (TCP, RTU).

It runs in a thread of its own and shares no code with the driver. `behave` decides what is sent for a request:
a list of (seconds from the end of the request, bytes); by default the right answer at once.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import random
import socket
import struct
import threading
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import wait  # select.select ends at 1,024 files
from pathlib import Path
from typing import Any

CHARACTER_BITS = 11  # start, eight data, parity or second stop, stop


def crc16(data: bytes) -> bytes:
    """CRC-16 of MODBUS over Serial Line V1.02, appendix B, low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return struct.pack("<H", crc)


@dataclass
class Unit:
    """The tables of one slave. An address that is not in the table is an illegal one."""

    coil: dict[int, int] = field(default_factory=dict)
    discrete: dict[int, int] = field(default_factory=dict)
    holding: dict[int, int] = field(default_factory=dict)
    input: dict[int, int] = field(default_factory=dict)
    unknown: set[int] = field(default_factory=set)
    """Functions that it refuses with exception `refusal`."""
    refusal: int = 1
    most: int = 2000

    def answer(self, pdu: bytes) -> bytes:
        function, address, second = struct.unpack(">BHH", pdu[:5])
        if function in self.unknown:
            return bytes((function | 0x80, self.refusal))
        try:
            if function in (1, 2):
                return self._bits(function, address, second)
            if function in (3, 4):
                return self._words(function, address, second)
            return self._write(pdu, function, address, second)
        except KeyError:
            return bytes((function | 0x80, 2))

    def frozen(self, pdu: bytes) -> bytes:
        """Answers as `answer`, and takes no write."""
        kept = dict(self.coil), dict(self.holding)
        answer = Unit.answer(self, pdu)
        self.coil, self.holding = kept
        return answer

    def _bits(self, function: int, address: int, count: int) -> bytes:
        table = self.coil if function == 1 else self.discrete
        bits = sum(bool(table[address + n]) << n for n in range(count))
        size = (count + 7) // 8
        return bytes((function, size)) + bits.to_bytes(size, "little")

    def _words(self, function: int, address: int, count: int) -> bytes:
        table = self.holding if function == 3 else self.input
        if count > self.most:
            raise KeyError
        return bytes((function, 2 * count)) + b"".join(struct.pack(">H", table[address + n]) for n in range(count))

    def _write(self, pdu: bytes, function: int, address: int, second: int) -> bytes:
        if function == 5:
            _ = self.coil[address]
            self.coil[address] = second == 0xFF00
        elif function == 6:
            _ = self.holding[address]
            self.holding[address] = second
        elif function == 15:
            for n in range(second):
                _ = self.coil[address + n]
                self.coil[address + n] = pdu[6 + n // 8] >> n % 8 & 1
            return pdu[:5]
        elif function == 16:
            for n in range(second):
                _ = self.holding[address + n]
                self.holding[address + n] = struct.unpack_from(">H", pdu, 6 + 2 * n)[0]
            return pdu[:5]
        elif function == 23:
            at, count = struct.unpack(">HH", pdu[5:9])
            for n in range(count):
                _ = self.holding[at + n]
                self.holding[at + n] = struct.unpack_from(">H", pdu, 10 + 2 * n)[0]
            return bytes((23,)) + self._words(3, address, second)[1:]
        elif function == 22:
            (either,) = struct.unpack(">H", pdu[5:7])
            self.holding[address] = self.holding[address] & second | either & ~second
        else:
            return bytes((function | 0x80, 1))
        return pdu


@dataclass(frozen=True)
class Request:
    """What came: `frame` is the right answer, framed, or b"" if no such unit is here."""

    unit: int
    pdu: bytes
    frame: bytes
    number: int

    @property
    def function(self) -> int:
        return self.pdu[0]

    @property
    def address(self) -> int:
        return int.from_bytes(self.pdu[1:3], "big")


CLOSE, RESET = b"<close>", b"<reset>"
"""Sent over TCP these end the connection, by FIN and by RST."""
DEAF, LISTEN = b"<deaf>", b"<listen>"
"""Sent over TCP the first closes and takes no connection any more, the second takes them again."""

Behaviour = Callable[[Request], list[tuple[float, bytes]]]


def at_once(request: Request) -> list[tuple[float, bytes]]:
    return [(0.0, request.frame)]


def silent(request: Request) -> list[tuple[float, bytes]]:
    return []


def late_and_noisy(sent_late: list[bytes]) -> Behaviour:
    """An answer in four comes with the next question; others in noise, or after a frame for somebody else.

    `sent_late` gets those that came with the next question.
    """
    held: dict[int, bytes] = {}
    dice = random.Random(4)

    def behave(request: Request) -> list[tuple[float, bytes]]:
        late = held.pop(request.unit, None)
        if late is not None:
            sent_late.append(late)
            return [(0, late), (0.03, request.frame)]
        how = dice.choice(("late", "noise", "foreign", "fine"))
        if how == "late":
            held[request.unit] = request.frame
            return []
        before = {"noise": b"\x00\xff\x03", "foreign": b"\x09\x03\x02\x03\xe7\x59\x3d", "fine": b""}[how]
        return [(0, before), (0.01, request.frame)]

    return behave


class _Slave(threading.Thread):
    """`echo` makes an adapter that hears itself: a list of (seconds, bytes) for what came, as `behave` gives it."""

    echo: Callable[[bytes], list[tuple[float, bytes]]] | None = None

    def __init__(self, units: dict[int, Unit], behave: Behaviour = at_once) -> None:
        super().__init__(daemon=True)
        self.units, self.behave = units, behave
        self.requests: list[tuple[float, Request]] = []
        self.failure: BaseException | None = None
        self._queue: list[tuple[float, int, Any, bytes]] = []
        self._order = itertools.count()
        self._wake_r, self._wake_w = os.pipe()
        self._ending = False

    def end(self) -> None:
        self._ending = True
        os.write(self._wake_w, b"x")
        self.join(5)
        self._drop()
        os.close(self._wake_r)
        os.close(self._wake_w)

    def seen(self, unit: int) -> list[Request]:
        return [request for _, request in self.requests if request.unit == unit]

    def run(self) -> None:
        try:
            while not self._ending:
                now = time.monotonic()
                while self._queue and self._queue[0][0] <= now:
                    _, _, to, data = heapq.heappop(self._queue)
                    with contextlib.suppress(OSError):
                        self._send(to, data)
                rest = max(0.0, self._queue[0][0] - time.monotonic()) if self._queue else 0.5
                try:
                    ready: list[Any] = wait([*self._files(), self._wake_r], rest)
                except (OSError, ValueError):
                    continue  # vanished meanwhile
                for file in ready:
                    if file == self._wake_r:
                        os.read(self._wake_r, 100)
                    else:
                        self._readable(file)
        except BaseException as failure:
            self.failure = failure
            raise

    def _asked(self, to: Any, unit: int, pdu: bytes, arrived: float, wrap: Callable[[bytes], bytes]) -> None:
        frame = wrap(self.units[unit].answer(pdu)) if unit in self.units else b""
        request = Request(unit, pdu, frame, len(self.requests))
        self.requests.append((arrived, request))
        for delay, data in self.behave(request):
            for at, piece in self._pace(arrived + delay, data):
                heapq.heappush(self._queue, (at, next(self._order), to, piece))

    def _return(self, to: Any, came: bytes, arrived: float) -> None:
        for delay, data in self.echo(came) if self.echo else ():
            heapq.heappush(self._queue, (arrived + delay, next(self._order), to, data))

    def say(self, data: bytes) -> None:
        """Bytes that nobody asked for."""
        for to in self._files():
            self._send(to, data)

    def _pace(self, at: float, data: bytes) -> list[tuple[float, bytes]]:
        return [(at, data)]

    def _files(self) -> list[Any]:
        raise NotImplementedError

    def _send(self, to: Any, data: bytes) -> None:
        raise NotImplementedError

    def _readable(self, file: Any) -> None:
        raise NotImplementedError

    def _drop(self) -> None:
        raise NotImplementedError


class RtuSlave(_Slave):
    """Slaves on one line. `link` is a symlink that always points to the present pseudo-terminal.

    With `baudrate` the line is paced at 11 bits a byte in both directions, and a slave answers `turnaround`
    seconds after the end of the request (3.5 characters at the least).
    """

    def __init__(
        self,
        link: Path,
        units: dict[int, Unit],
        behave: Behaviour = at_once,
        baudrate: int | None = None,
        turnaround: float = 0.0,
    ) -> None:
        super().__init__(units, behave)
        self.link = link
        self._character = CHARACTER_BITS / baudrate if baudrate else 0.0
        self._turnaround = max(turnaround, 3.5 * self._character)
        self._master = self._keep = -1
        self._buffer = b""
        self.appear()
        self.start()

    def appear(self) -> None:
        """Plugged in, as another tty than before."""
        self._master, self._keep = os.openpty()
        tty.setraw(self._keep)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(os.ttyname(self._keep))
        os.write(self._wake_w, b"x")

    def vanish(self) -> None:
        """Unplugged: the open port hangs up, the name is gone."""
        self.link.unlink(missing_ok=True)
        self._drop()

    def wire_time(self, sent: int, received: int) -> float:
        """Seconds that one exchange of so many bytes takes at the least, silences and turnaround included."""
        return (sent + received + 3.5) * self._character + self._turnaround

    def _files(self) -> list[Any]:
        return [self._master] if self._master >= 0 else []

    def _drop(self) -> None:
        master, keep, self._master, self._keep = self._master, self._keep, -1, -1
        if master >= 0:
            os.write(self._wake_w, b"x")
            os.close(keep)
            os.close(master)

    def _send(self, to: Any, data: bytes) -> None:
        if to == self._master:
            os.write(to, data)

    def _readable(self, file: Any) -> None:
        try:
            came = os.read(file, 1024)
        except OSError:
            return
        self._buffer += came
        arrived = time.monotonic()
        self._return(file, came, arrived)
        while (size := self._request_size()) and len(self._buffer) >= size:
            frame, self._buffer = self._buffer[:size], self._buffer[size:]
            if crc16(frame[:-2]) != frame[-2:]:
                self._buffer = b""
                return
            unit = frame[0]
            end = arrived + size * self._character + self._turnaround

            def wrap(pdu: bytes, unit: int = unit) -> bytes:
                return rtu(unit, pdu)

            self._asked(file, unit, frame[1:-2], end, wrap)

    def _request_size(self) -> int:
        if len(self._buffer) < 8:
            return 0
        return request_size(self._buffer)

    def _pace(self, at: float, data: bytes) -> list[tuple[float, bytes]]:
        if not self._character:
            return [(at, data)]
        return [(at + (n + 1) * self._character, data[n : n + 1]) for n in range(len(data))]


class TcpSlave(_Slave):
    """Slaves behind one TCP port; `port` stays the same through `vanish` and `appear`."""

    def __init__(self, units: dict[int, Unit], behave: Behaviour = at_once) -> None:
        super().__init__(units, behave)
        self.port = 0
        self._listener: socket.socket | None = None
        self._clients: dict[socket.socket, bytes] = {}
        self.connections = 0
        self.appear()
        self.start()

    def appear(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        self.port = listener.getsockname()[1]
        self._listener = listener
        os.write(self._wake_w, b"x")

    def vanish(self) -> None:
        self._drop()

    def _drop(self) -> None:
        listener, self._listener = self._listener, None
        if listener:
            listener.close()
        clients, self._clients = self._clients, {}
        for client in clients:
            client.close()

    def _files(self) -> list[Any]:
        return [*([self._listener] if self._listener else []), *self._clients]

    def _send(self, to: Any, data: bytes) -> None:
        if data == LISTEN:
            self.appear()
        if to not in self._clients:
            return
        if data == DEAF:
            self._drop()
            return
        if data not in (CLOSE, RESET):
            to.sendall(data)
            return
        if data == RESET:
            to.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        del self._clients[to]
        to.close()

    def _readable(self, file: Any) -> None:
        with contextlib.suppress(OSError):
            if file is self._listener:
                client, _ = file.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._clients[client] = b""
                self.connections += 1
                return
            data = file.recv(4096)
            if not data:
                self._clients.pop(file, None)
                file.close()
                return
            self._return(file, data, time.monotonic())
            self._clients[file] += data
            self._frames(file)

    def _frames(self, client: socket.socket) -> None:
        buffer = self._clients[client]
        while len(buffer) >= 8 and len(buffer) >= (size := 6 + int.from_bytes(buffer[4:6], "big")):
            frame, buffer = buffer[:size], buffer[size:]
            head, unit = frame[:4], frame[6]

            def wrap(pdu: bytes, head: bytes = head, unit: int = unit) -> bytes:
                return head + struct.pack(">HB", len(pdu) + 1, unit) + pdu

            self._asked(client, unit, frame[7:], time.monotonic(), wrap)
        self._clients[client] = buffer


class RtuTcpSlave(TcpSlave):
    """A serial server: frames of the line, check sums and all, on a TCP connection."""

    def _frames(self, client: socket.socket) -> None:
        buffer = self._clients[client]
        while len(buffer) >= 8 and len(buffer) >= (size := request_size(buffer)):
            frame, buffer = buffer[:size], buffer[size:]
            unit = frame[0]
            if crc16(frame[:-2]) != frame[-2:]:
                buffer = b""
                break
            self._asked(client, unit, frame[1:-2], time.monotonic(), lambda pdu, unit=unit: rtu(unit, pdu))
        self._clients[client] = buffer


def request_size(buffer: bytes) -> int:
    """Bytes of the RTU request that begins here, once eight of them are known."""
    function = buffer[1]
    if function == 23:
        return 13 + buffer[10] if len(buffer) > 10 else 13
    return 9 + buffer[6] if function in (15, 16) else 10 if function == 22 else 8


def rtu(unit: int, pdu: bytes) -> bytes:
    """A frame of the serial line."""
    body = bytes((unit,)) + pdu
    return body + crc16(body)
